/* io.c: IN, OUT, INS, OUTS: rights, VM exits, then the board (SDM vol. 1, 19). */
#include "hvcore/exec/dispatch.h"
#include "hvcore/exec/families.h"

/* The I/O permission bitmap of the TSS: as many bits as bytes, all clear. */
static bool bitmap_allows(struct vcpu *c, uint16_t port, unsigned size)
{
	const struct segment *tr = &c->seg[SEG_TR];
	unsigned type = tr->attr & AR_TYPE;
	uint16_t base, bits;
	uint32_t at;

	/* only a 32-bit or 64-bit TSS has one */
	if (!(tr->attr & AR_P) || (type != 11 && type != 9) || tr->limit < 0x67)
		return false;
	mem_sys_read(c, tr->base + 0x66, &base, 2);
	at = base + port / 8;
	if (at + 1 > tr->limit)
		return false;
	mem_sys_read(c, tr->base + at, &bits, 2);
	return !(bits >> port % 8 & ((1u << size) - 1));
}

static void check_rights(struct vcpu *c, const struct insn *i, uint16_t port,
			 unsigned size)
{
	unsigned iopl = c->rflags >> 12 & 3;

	c->cur = i;
	if (!(c->cr0 & 1))
		return;
	if (c->mode & MODE_V86 || c->cpl > iopl)
		if (!bitmap_allows(c, port, size))
			cpu_raise_error(c, EXC_GP, 0);
}

static unsigned io_size(const struct insn *i)
{
	unsigned size = op_opsize(i);

	if (insn_row(i)->attr & A_B)
		return 1;
	return size > 4 ? 4 : size;
}

/* I/O breakpoints (CR4.DE, DR7 type 2) are traps. */
static void breakpoints(struct vcpu *c, uint16_t port, unsigned size)
{
	uint64_t dr7 = c->dr[7];

	if (!(c->cr4 & 8) || !(dr7 & 0xff))
		return;
	for (unsigned n = 0; n < 4; n++) {
		unsigned ctl = dr7 >> (16 + 4 * n) & 15, len = (ctl >> 2) + 1;
		uint64_t at = c->dr[n] & ~(uint64_t)(len - 1);

		if (!(dr7 >> 2 * n & 3) || (ctl & 3) != 2)
			continue;
		if (port < at + len && at < (uint64_t)port + size) {
			c->dr6_pending |= 1u << n;
			cpu_pend(c, PEND_TRAP);
		}
	}
}

/* -- IN, OUT ----------------------------------------------------------------------- */
static void do_in(struct vcpu *c, const struct insn *i, uint16_t port,
		  bool immediate)
{
	unsigned size = io_size(i);
	uint32_t v;

	check_rights(c, i, port, size);
	if (c->nonroot)
		vmx_hook_io(c, i, port, size, true, false, false, immediate);
	v = io_read(c, port, size);
	if (size == 1)
		WR8(c, R_RAX, v);
	else if (size == 2)
		WR16(c, R_RAX, v);
	else
		WR32(c, R_RAX, v);
	breakpoints(c, port, size);
}

static void do_out(struct vcpu *c, const struct insn *i, uint16_t port,
		   bool immediate)
{
	unsigned size = io_size(i);
	uint32_t v = RD32(c, R_RAX);

	v = size == 1 ? (uint8_t)v : size == 2 ? (uint16_t)v : v;
	check_rights(c, i, port, size);
	if (c->nonroot)
		vmx_hook_io(c, i, port, size, false, false, false, immediate);
	io_write(c, port, size, v);
	breakpoints(c, port, size);
}

/* Out of the block: the device may have asked for anything. */
#define LEAVE_AFTER(c, i) do {						\
	(c)->r[R_RIP] += (i)->off + (i)->len;				\
	retire(c, i);							\
	LEAVE(c);							\
} while (0)

INSN(in)
{
	do_in(c, i, (uint16_t)i->imm, true);
	LEAVE_AFTER(c, i);
}
INSN(in_dx)
{
	do_in(c, i, RD16(c, R_RDX), false);
	LEAVE_AFTER(c, i);
}
INSN(out)
{
	do_out(c, i, (uint16_t)i->imm, true);
	LEAVE_AFTER(c, i);
}
INSN(out_dx)
{
	do_out(c, i, RD16(c, R_RDX), false);
	LEAVE_AFTER(c, i);
}
const struct family fam_in = { .fn = { [F_N] = ALL_SIZES(in) } };
const struct family fam_in_dx = { .fn = { [F_N] = ALL_SIZES(in_dx) } };
const struct family fam_out = { .fn = { [F_N] = ALL_SIZES(out) } };
const struct family fam_out_dx = { .fn = { [F_N] = ALL_SIZES(out_dx) } };

/* -- INS, OUTS: one element an execution ---------------------------------------------- */
static uint64_t cut(uint64_t v, unsigned adsize)
{
	return adsize == 8 ? v : adsize == 4 ? (uint32_t)v : (uint16_t)v;
}

static void advance(struct vcpu *c, const struct insn *i, unsigned reg,
		    uint64_t by)
{
	unsigned adsize = op_adsize(i);

	if (adsize == 8)
		WR64(c, reg, c->r[reg] + by);
	else if (adsize == 4)
		WR32(c, reg, c->r[reg] + by);
	else
		WR16(c, reg, c->r[reg] + by);
}

static void one_ins(struct vcpu *c, const struct insn *i, unsigned size)
{
	uint16_t port = RD16(c, R_RDX);
	uint64_t lin = seg_linear(c, i, c->mode & MODE_CS64 ? SEG_NONE : SEG_ES,
				  cut(c->r[R_RDI], op_adsize(i)), size, ACC_WRITE);
	uint32_t v;

	mem_probe_write(c, i, lin, size);
	v = io_read(c, port, size);
	if (size == 1)
		mem_write8(c, i, lin, (uint8_t)v);
	else if (size == 2)
		mem_write16(c, i, lin, (uint16_t)v);
	else
		mem_write32(c, i, lin, v);
}

static void one_outs(struct vcpu *c, const struct insn *i, unsigned size)
{
	uint16_t port = RD16(c, R_RDX);
	uint64_t lin = seg_linear(c, i, i->seg,
				  cut(c->r[R_RSI], op_adsize(i)), size, ACC_READ);
	uint32_t v;

	if (size == 1)
		v = mem_read8(c, i, lin);
	else if (size == 2)
		v = mem_read16(c, i, lin);
	else
		v = mem_read32(c, i, lin);
	io_write(c, port, size, v);
}

/* True: the instruction is complete. */
static bool string_io(struct vcpu *c, const struct insn *i, bool in)
{
	unsigned size = io_size(i), rep = insn_rep(i);
	uint16_t port = RD16(c, R_RDX);
	uint64_t by = c->rflags & FLAG_DF ? -(uint64_t)size : size;

	if (rep && !cut(c->r[R_RCX], op_adsize(i)))
		return true;
	check_rights(c, i, port, size);
	if (c->nonroot)
		vmx_hook_io(c, i, port, size, in, true, rep, false);
	if (in)
		one_ins(c, i, size);
	else
		one_outs(c, i, size);
	advance(c, i, in ? R_RDI : R_RSI, by);
	if (rep)
		advance(c, i, R_RCX, ~0ull);
	breakpoints(c, port, size);
	return !rep || !cut(c->r[R_RCX], op_adsize(i));
}

INSN(ins)
{
	bool done = string_io(c, i, true);

	c->r[R_RIP] += i->off + (done ? i->len : 0);
	retire(c, i);
	LEAVE(c);
}
INSN(outs)
{
	bool done = string_io(c, i, false);

	c->r[R_RIP] += i->off + (done ? i->len : 0);
	retire(c, i);
	LEAVE(c);
}
const struct family fam_ins = { .fn = { [F_N] = ALL_SIZES(ins) } };
const struct family fam_outs = { .fn = { [F_N] = ALL_SIZES(outs) } };
