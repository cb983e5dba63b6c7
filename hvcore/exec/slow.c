/* slow.c: SLOW instructions: the way into other parts' handlers; segment
 * register moves; what undefined and unknown opcodes do. */
#include "hvcore/exec/dispatch.h"
#include "hvcore/exec/families.h"

/* i is of a SLOW row. */
static slow_fn *slow_of(const struct insn *i)
{
	return insn_rows[i->op & OP_ROW].slow;
}

insn_result exec_slow(struct vcpu *c, const struct insn *i)
{
	c->cur = i;
	slow_of(i)(c, i);
	NEXT(c, i);
}

/* cur says whether the handler has moved RIP (cpu_jump, cpu_sync). */
insn_result exec_slow_ends(struct vcpu *c, const struct insn *i)
{
	c->cur = i;
	slow_of(i)(c, i);
	if (c->cur)
		cpu_sync(c, true);
	LEAVE(c);
}

void cpu_jump(struct vcpu *c, uint64_t rip)
{
	if (c->cur)
		cpu_sync(c, true);
	c->r[R_RIP] = rip;
}

void cpu_sync(struct vcpu *c, bool advance)
{
	const struct insn *i = c->cur;

	if (!i)
		return;
	c->r[R_RIP] += i->off + (advance ? i->len : 0);
	if (!(c->mode & MODE_CS64))
		c->r[R_RIP] = (uint32_t)c->r[R_RIP];
	c->budget -= i->ord + advance;
	c->cur = NULL;
}

insn_result exec_ud(struct vcpu *c, const struct insn *i)
{
	c->cur = i;
	cpu_raise(c, EXC_UD);
	NEXT(c, i);
}

insn_result exec_gp0(struct vcpu *c, const struct insn *i)
{
	c->cur = i;
	cpu_raise_error(c, EXC_GP, 0);
	NEXT(c, i);
}

const struct family fam_ud = { .fn = {
	[F_N] = ALL_SIZES(exec_ud), [F_RR] = ALL_SIZES(exec_ud),
	[F_RMG] = ALL_SIZES(exec_ud),
} };

/* The bytes come from memory again: a block does not keep them. */
static void stop_unknown(struct vcpu *c, const struct insn *i)
{
	char hex[3 * 16] = "";
	unsigned len = i->len;
	uint64_t lin, phys;

	c->cur = i;
	lin = insn_rip(c, i) + (c->mode & MODE_CS64 ? 0 : c->segbase[SEG_CS]);
	for (unsigned k = 0; k < len && k < 15; k++) {
		static const char digits[] = "0123456789abcdef";
		const uint8_t *p = mem_fetch(c, lin + k, &phys);
		uint8_t b = p ? *p : 0;

		hex[3 * k] = digits[b >> 4];
		hex[3 * k + 1] = digits[b & 15];
		hex[3 * k + 2] = k + 1 < len ? ' ' : 0;
	}
	cpu_stop(c, HV_STOP_UNKNOWN, "unknown instruction %s at %#llx", hex,
		 (unsigned long long)lin);
}

insn_result exec_unknown(struct vcpu *c, const struct insn *i)
{
	stop_unknown(c, i);
	NEXT(c, i);
}

/* PAUSE may exit (PAUSE exiting, PAUSE-loop exiting). */
INSN(pause)
{
	if (c->nonroot) {
		c->cur = i;
		vmx_hook_insn(c, i, VI_PAUSE);
	}
	NEXT(c, i);
}
const struct family fam_pause = { .fn = { [F_N] = ALL_SIZES(pause) } };

/* ENDBR32 and ENDBR64 are NOPs outside of the code size they are for. */
INSN(endbr)
{
	if (c->mode & MODE_CET) {
		c->cur = i;
		if (cet_waiting(c))
			cet_endbr(c);
	}
	NEXT(c, i);
}
const struct family fam_endbr = { .fn = { [F_RI] = ALL_SIZES(endbr) } };

/* -- segment registers ------------------------------------------------------------- */
/* To memory 16 bits, to a register zero-extended. */
INSN(mov_from_seg_r)
{
	unsigned n = i->reg & 7, size = op_opsize(i);

	if (n > SEG_GS) {
		c->cur = i;
		cpu_raise(c, EXC_UD);
	}
	if (size == 2)
		WR16(c, i->rm, c->seg[n].selector);
	else
		WR64(c, i->rm, c->seg[n].selector);
	NEXT(c, i);
}
INSN(mov_from_seg_m)
{
	unsigned n = i->reg & 7;

	if (n > SEG_GS) {
		c->cur = i;
		cpu_raise(c, EXC_UD);
	}
	mem_write16(c, i, EA_G(c, i, 2, ACC_WRITE), c->seg[n].selector);
	NEXT(c, i);
}
const struct family fam_mov_from_seg = { .fn = {
	[F_RR] = { NULL, mov_from_seg_r, mov_from_seg_r, mov_from_seg_r },
	[F_MRG] = { NULL, mov_from_seg_m, mov_from_seg_m, mov_from_seg_m },
} };

/* Loading SS holds off interrupts and debug traps for one instruction. */
static void load(struct vcpu *c, int seg, uint16_t selector)
{
	load_segment(c, seg, selector);
	if (seg == SEG_SS)
		c->blocking |= BLOCK_MOVSS;
}

static unsigned number(struct vcpu *c, const struct insn *i)
{
	unsigned n = i->reg & 7;

	if (n == SEG_CS || n > SEG_GS)
		cpu_raise(c, EXC_UD);
	return n;
}

void op_mov_to_seg(struct vcpu *c, const struct insn *i)
{
	unsigned n = number(c, i);
	uint16_t selector;

	if (insn_is_mem(i))
		selector = mem_read16(c, i, insn_linear(c, i));
	else
		selector = RD16(c, i->rm);
	c->cur = i;
	load(c, (int)n, selector);
}

/* The stack pointer's size is that of the stack that was popped from, even if
 * the pop was of SS. */
static void pop_segment(struct vcpu *c, const struct insn *i, int seg)
{
	unsigned size = op_opsize(i);
	uint64_t lin = stack_linear(c, i, stack_pointer(c), size, ACC_READ);
	uint16_t selector = mem_read16(c, i, lin);
	uint32_t old_mode = c->mode, new_mode;

	c->cur = i;
	load(c, seg, selector);
	new_mode = c->mode;
	c->mode = old_mode;
	stack_drop(c, size);
	c->mode = new_mode;
}

#define POP_SEGMENT(name, n)						\
void op_pop_##name(struct vcpu *c, const struct insn *i)		\
{									\
	pop_segment(c, i, n);						\
}
POP_SEGMENT(es, SEG_ES)
POP_SEGMENT(ss, SEG_SS)
POP_SEGMENT(ds, SEG_DS)
POP_SEGMENT(fs, SEG_FS)
POP_SEGMENT(gs, SEG_GS)

static void load_far(struct vcpu *c, const struct insn *i, int seg)
{
	unsigned size = op_opsize(i);
	uint64_t lin = insn_linear(c, i), off;
	uint16_t selector;

	off = size == 8 ? mem_read64(c, i, lin) :
	      size == 4 ? mem_read32(c, i, lin) : mem_read16(c, i, lin);
	selector = mem_read16(c, i, lin + size);
	c->cur = i;
	load(c, seg, selector);
	if (size == 8)
		WR64(c, i->reg, off);
	else if (size == 4)
		WR32(c, i->reg, off);
	else
		WR16(c, i->reg, off);
}

#define LOAD_FAR(name, n)						\
void op_l##name(struct vcpu *c, const struct insn *i)			\
{									\
	load_far(c, i, n);						\
}
LOAD_FAR(es, SEG_ES)
LOAD_FAR(ds, SEG_DS)
LOAD_FAR(ss, SEG_SS)
LOAD_FAR(fs, SEG_FS)
LOAD_FAR(gs, SEG_GS)
