/* ea.c: addresses outside of the simple 64-bit case: address sizes, segment
 * limits and rights, stacks; and what SLOW handlers may ask of an instruction. */
#include "hvcore/exec/dispatch.h"
#include "hvcore/decode/table.h"

static uint64_t cut(uint64_t off, unsigned adsize)
{
	return adsize == 8 ? off : adsize == 4 ? (uint32_t)off : (uint16_t)off;
}

uint64_t ea_offset(const struct vcpu *c, const struct insn *i)
{
	uint64_t off = ea_simple(c, i);

	if ((i->op / OP_ADSIZE & 3) == ADSIZE_RIP)
		return off + i->off + i->len;
	return cut(off, op_adsize(i));
}

static _Noreturn void segment_fault(struct vcpu *c, const struct insn *i,
				    unsigned seg)
{
	c->cur = i;
	cpu_raise_error(c, seg == SEG_SS ? EXC_SS : EXC_GP, 0);
}

/* SDM vol. 3, 6.3 and 6.4: limits, expand-down segments, types. */
static bool segment_allows(const struct segment *s, uint64_t off, unsigned size,
			   enum mem_access access, bool real)
{
	unsigned type = s->attr & AR_TYPE;
	uint64_t last = off + size - 1;

	if (!real) {
		if (s->attr & AR_UNUSABLE)
			return false;
		if (access & ACC_WRITE && (type & 8 || !(type & 2)))
			return false;
		if (access & ACC_READ && type & 8 && !(type & 2))
			return false;
	}
	if ((type & 0xc) == 4 && !real)
		return off > s->limit &&
		       last <= (s->attr & AR_DB ? 0xffffffff : 0xffff);
	return last <= s->limit;
}

uint64_t seg_linear(struct vcpu *c, const struct insn *i, unsigned seg,
		    uint64_t off, unsigned size, enum mem_access access)
{
	if (c->mode & MODE_CS64)
		return off + (seg >= SEG_FS ? c->segbase[seg] : 0);
	if (c->mode & MODE_FLAT && seg != SEG_CS && seg < SEG_FS &&
	    off + size - 1 <= 0xffffffff)
		return off;
	if (seg > SEG_GS)
		return (uint32_t)off;
	if (!segment_allows(&c->seg[seg], off, size, access,
			    !(c->mode & MODE_PROT)))
		segment_fault(c, i, seg);
	return (uint32_t)(c->segbase[seg] + off);
}

uint64_t ea_linear(struct vcpu *c, const struct insn *i, unsigned size,
		   enum mem_access access)
{
	return seg_linear(c, i, i->seg, ea_offset(c, i), size, access);
}

/* -- stacks --------------------------------------------------------------------- */
static unsigned stack_adsize(const struct vcpu *c)
{
	return c->mode & MODE_CS64 ? 8 : c->mode & MODE_SS32 ? 4 : 2;
}

uint64_t stack_pointer(const struct vcpu *c)
{
	return cut(c->r[R_RSP], stack_adsize(c));
}

void stack_set_pointer(struct vcpu *c, uint64_t sp)
{
	if (stack_adsize(c) == 8)
		c->r[R_RSP] = sp;
	else if (stack_adsize(c) == 4)
		c->r[R_RSP] = (uint32_t)sp;
	else
		WR16(c, R_RSP, sp);
}

uint64_t stack_linear(struct vcpu *c, const struct insn *i, uint64_t sp,
		      unsigned size, enum mem_access access)
{
	sp = cut(sp, stack_adsize(c));
	if (c->mode & MODE_CS64) {
		if (!canonical(c, sp) || !canonical(c, sp + size - 1))
			segment_fault(c, i, SEG_SS);
		return sp;
	}
	return seg_linear(c, i, SEG_SS, sp, size, access);
}

static void write_sized(struct vcpu *c, const struct insn *i, uint64_t lin,
			unsigned size, uint64_t v)
{
	if (size == 8)
		mem_write64(c, i, lin, v);
	else if (size == 4)
		mem_write32(c, i, lin, (uint32_t)v);
	else
		mem_write16(c, i, lin, (uint16_t)v);
}

void stack_push(struct vcpu *c, const struct insn *i, unsigned size, uint64_t v)
{
	uint64_t sp = stack_pointer(c) - size;

	write_sized(c, i, stack_linear(c, i, sp, size, ACC_WRITE), size, v);
	stack_set_pointer(c, sp);
}

uint64_t stack_top(struct vcpu *c, const struct insn *i, unsigned size)
{
	uint64_t lin = stack_linear(c, i, stack_pointer(c), size, ACC_READ);

	if (size == 8)
		return mem_read64(c, i, lin);
	return size == 4 ? mem_read32(c, i, lin) : mem_read16(c, i, lin);
}

void stack_drop(struct vcpu *c, unsigned bytes)
{
	stack_set_pointer(c, stack_pointer(c) + bytes);
}

uint64_t stack_read_slow(struct vcpu *c, const struct insn *i, uint64_t lin)
{
	if (!canonical(c, lin) || !canonical(c, lin + 7))
		segment_fault(c, i, SEG_SS);
	return mem_read_slow(c, i, lin, 8);
}

void stack_write_slow(struct vcpu *c, const struct insn *i, uint64_t lin,
		      uint64_t v)
{
	if (!canonical(c, lin) || !canonical(c, lin + 7))
		segment_fault(c, i, SEG_SS);
	mem_write_slow(c, i, lin, 8, v);
}

/* -- for SLOW handlers -------------------------------------------------------------- */
bool insn_is_mem(const struct insn *i)
{
	return i->op & OP_MEM;
}

unsigned insn_opsize(const struct insn *i)
{
	return op_opsize(i);
}

unsigned insn_adsize(const struct insn *i)
{
	return op_adsize(i);
}

unsigned insn_rep(const struct insn *i)
{
	return i->scale & SCALE_F3 ? 0xf3 : i->scale & SCALE_F2 ? 0xf2 : 0;
}

unsigned insn_opcode(const struct insn *i)
{
	const struct insn_row *r = insn_row(i);

	return r ? r->opcode : 0;
}

static unsigned operand_bytes(const struct insn *i, uint32_t attr)
{
	static const uint8_t sizes[] = { 1, 2, 4, 8, 10, 16, 64 };

	if (attr & A_SIZES)
		return sizes[__builtin_ctz((attr & A_SIZES) / A_SIZE1)];
	if (attr & A_B)
		return 1;
	return op_opsize(i) + (attr & A_FAR ? 2 : 0);
}

uint64_t insn_effective(struct vcpu *c, const struct insn *i)
{
	return ea_offset(c, i);
}

/* A segment of FS or GS is no stack segment, whatever the base register. */
static bool stack_based(const struct vcpu *c, const struct insn *i)
{
	if (!(c->mode & MODE_CS64))
		return i->seg == SEG_SS;
	return i->seg == SEG_NONE && (i->base == R_RSP || i->base == R_RBP);
}

void insn_address_fault(struct vcpu *c, const struct insn *i)
{
	segment_fault(c, i, stack_based(c, i) ? SEG_SS : SEG_DS);
}

uint64_t insn_linear(struct vcpu *c, const struct insn *i)
{
	const struct insn_row *r = insn_row(i);
	uint32_t attr = r ? r->attr : 0;
	unsigned size = operand_bytes(i, attr);
	uint64_t lin = ea_linear(c, i, size,
				 attr & A_WRITES ? ACC_WRITE : ACC_READ);

	if (c->mode & MODE_CS64 &&
	    (!canonical(c, lin) || !canonical(c, lin + size - 1)))
		insn_address_fault(c, i);
	return lin;
}
