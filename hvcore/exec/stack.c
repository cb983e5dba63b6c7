/* stack.c: PUSH, POP, PUSHA, POPA, ENTER, LEAVE.  64-bit operands in 64-bit mode
 * have handlers of their own; all others go by stack size and segment. */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/families.h"

/* -- any size ------------------------------------------------------------------------ */
static void put_reg(struct vcpu *c, unsigned n, unsigned size, uint64_t v)
{
	if (size == 8)
		WR64(c, n, v);
	else if (size == 4)
		WR32(c, n, v);
	else
		WR16(c, n, v);
}

static uint64_t read_mem(struct vcpu *c, const struct insn *i, unsigned size)
{
	uint64_t lin = EA_G(c, i, size, ACC_READ);

	if (size == 8)
		return mem_read64(c, i, lin);
	return size == 4 ? mem_read32(c, i, lin) : mem_read16(c, i, lin);
}

INSN(push_reg)
{
	stack_push(c, i, op_opsize(i), c->r[i->rm]);
	NEXT(c, i);
}
INSN(pop_reg)
{
	unsigned size = op_opsize(i);
	uint64_t v = stack_top(c, i, size);

	stack_drop(c, size);
	put_reg(c, i->rm, size, v);
	NEXT(c, i);
}
INSN(push_imm)
{
	stack_push(c, i, op_opsize(i), i->imm);
	NEXT(c, i);
}
INSN(push_mem)
{
	stack_push(c, i, op_opsize(i), read_mem(c, i, op_opsize(i)));
	NEXT(c, i);
}
/* An address based on the stack pointer counts from after the pop. */
INSN(pop_mem)
{
	unsigned size = op_opsize(i);
	uint64_t v = stack_top(c, i, size), old = c->r[R_RSP], lin;

	stack_drop(c, size);
	lin = ea_offset(c, i);
	c->r[R_RSP] = old;
	lin = seg_linear(c, i, i->seg, lin, size, ACC_WRITE);
	if (size == 8)
		mem_write64(c, i, lin, v);
	else if (size == 4)
		mem_write32(c, i, lin, (uint32_t)v);
	else
		mem_write16(c, i, lin, (uint16_t)v);
	stack_drop(c, size);
	NEXT(c, i);
}
/* -- 64-bit: the TLB hit only ---------------------------------------------------- */
#define PUSH_OR(slow, c, i, value) do {					\
	uint64_t sp_ = (c)->r[R_RSP] - 8, *at_;				\
	at_ = tlb_hit((c)->tlb->w, sp_, 8);				\
	if (unlikely(!at_))						\
		TAIL(slow, c, i);					\
	*at_ = (value);							\
	(c)->r[R_RSP] = sp_;						\
} while (0)

INSN(push64)
{
	PUSH_OR(push_reg, c, i, c->r[i->rm]);
	NEXT(c, i);
}
INSN(push_imm64)
{
	PUSH_OR(push_imm, c, i, i->imm);
	NEXT(c, i);
}
INSN(pop64)
{
	const uint64_t *p = tlb_hit(c->tlb->r, c->r[R_RSP], 8);
	uint64_t v;

	if (unlikely(!p))
		TAIL(pop_reg, c, i);
	v = *p;
	c->r[R_RSP] += 8;
	c->r[i->rm] = v;
	NEXT(c, i);
}
const struct family fam_push = { .fn = {
	[F_RI] = { NULL, push_reg, push_reg, push64 },
} };
const struct family fam_pop = { .fn = {
	[F_RI] = { NULL, pop_reg, pop_reg, pop64 },
} };
const struct family fam_push_imm = { .fn = {
	[F_N] = { NULL, push_imm, push_imm, push_imm64 },
} };
const struct family fam_push_e = { .fn = {
	[F_RI] = { NULL, push_reg, push_reg, push64 },
	[F_MIG] = { NULL, push_mem, push_mem, push_mem },
} };
const struct family fam_pop_e = { .fn = {
	[F_RI] = { NULL, pop_reg, pop_reg, pop64 },
	[F_MIG] = { NULL, pop_mem, pop_mem, pop_mem },
} };

/* -- segment registers ----------------------------------------------------------------- */
/* Of a 32-bit slot processors write the low half only (SDM vol. 2, PUSH). */
static void push_selector(struct vcpu *c, const struct insn *i, int seg)
{
	unsigned size = op_opsize(i);
	uint64_t sp = stack_pointer(c) - size;

	if (size != 4) {
		stack_push(c, i, size, c->seg[seg].selector);
		return;
	}
	mem_write16(c, i, stack_linear(c, i, sp, size, ACC_WRITE),
		    c->seg[seg].selector);
	stack_set_pointer(c, sp);
}

#define PUSH_SEGMENT(name, n)						\
INSN(push_##name)							\
{									\
	push_selector(c, i, n);						\
	NEXT(c, i);							\
}									\
const struct family fam_push_##name = { .fn = { [F_N] = ALL_SIZES(push_##name) } };
PUSH_SEGMENT(es, SEG_ES)
PUSH_SEGMENT(cs, SEG_CS)
PUSH_SEGMENT(ss, SEG_SS)
PUSH_SEGMENT(ds, SEG_DS)
PUSH_SEGMENT(fs, SEG_FS)
PUSH_SEGMENT(gs, SEG_GS)

/* -- PUSHA, POPA: not in 64-bit mode --------------------------------------------------- */
INSN(pusha)
{
	unsigned size = op_opsize(i);
	uint64_t sp = stack_pointer(c), old = c->r[R_RSP];

	/* Every slot may be written, then they are. */
	for (int n = R_RAX; n <= R_RDI; n++)
		mem_probe_write(c, i, stack_linear(c, i, sp - size * (n + 1),
						   size, ACC_WRITE), size);
	for (int n = R_RAX; n <= R_RDI; n++)
		stack_push(c, i, size, n == R_RSP ? old : c->r[n]);
	NEXT(c, i);
}

static void popa_common(struct vcpu *c, const struct insn *i)
{
	unsigned size = op_opsize(i);
	uint64_t sp = stack_pointer(c), v[8];

	for (int n = R_RDI; n >= R_RAX; n--) {
		uint64_t lin = stack_linear(c, i, sp + size * (R_RDI - n), size,
					    ACC_READ);

		v[n] = size == 4 ? mem_read32(c, i, lin) : mem_read16(c, i, lin);
	}
	for (int n = R_RDI; n >= R_RAX; n--)
		if (n != R_RSP)
			put_reg(c, n, size, v[n]);
	stack_drop(c, size * 8);
}

INSN(popa)
{
	popa_common(c, i);
	NEXT(c, i);
}
const struct family fam_pusha = { .fn = { [F_N] = ALL_SIZES(pusha) } };
const struct family fam_popa = { .fn = { [F_N] = ALL_SIZES(popa) } };

/* -- ENTER, LEAVE ------------------------------------------------------------------------- */
static void frame_pointers(struct vcpu *c, const struct insn *i, unsigned size,
			   uint64_t *sp, unsigned level)
{
	uint64_t bp = c->r[R_RBP];

	for (unsigned k = 1; k < level; k++) {
		uint64_t lin = stack_linear(c, i, bp - size * k, size, ACC_READ);
		uint64_t v = size == 8 ? mem_read64(c, i, lin) :
			     size == 4 ? mem_read32(c, i, lin) :
			     mem_read16(c, i, lin);

		*sp -= size;
		lin = stack_linear(c, i, *sp, size, ACC_WRITE);
		if (size == 8)
			mem_write64(c, i, lin, v);
		else if (size == 4)
			mem_write32(c, i, lin, (uint32_t)v);
		else
			mem_write16(c, i, lin, (uint16_t)v);
	}
}

/* Memory below the stack pointer is not state: it may be written before a
 * fault; the registers change last.  The frame's end is probed as SDM says. */
static void enter_common(struct vcpu *c, const struct insn *i)
{
	unsigned size = op_opsize(i), level = i->imm >> 16 & 31;
	uint64_t sp = stack_pointer(c) - size, frame = sp, lin;

	lin = stack_linear(c, i, sp, size, ACC_WRITE);
	if (size == 8)
		mem_write64(c, i, lin, c->r[R_RBP]);
	else if (size == 4)
		mem_write32(c, i, lin, RD32(c, R_RBP));
	else
		mem_write16(c, i, lin, RD16(c, R_RBP));
	if (level) {
		frame_pointers(c, i, size, &sp, level);
		sp -= size;
		lin = stack_linear(c, i, sp, size, ACC_WRITE);
		if (size == 8)
			mem_write64(c, i, lin, frame);
		else if (size == 4)
			mem_write32(c, i, lin, (uint32_t)frame);
		else
			mem_write16(c, i, lin, (uint16_t)frame);
	}
	sp -= i->imm & 0xffff;
	mem_probe_write(c, i, stack_linear(c, i, sp, size, ACC_WRITE), size);
	put_reg(c, R_RBP, size, frame);
	stack_set_pointer(c, sp);
}

INSN(enter)
{
	enter_common(c, i);
	NEXT(c, i);
}
/* Should the pop fault, the stack pointer is still the old one. */
INSN(leave)
{
	unsigned size = op_opsize(i);
	uint64_t lin = stack_linear(c, i, c->r[R_RBP], size, ACC_READ), v;

	v = size == 8 ? mem_read64(c, i, lin) :
	    size == 4 ? mem_read32(c, i, lin) : mem_read16(c, i, lin);
	stack_set_pointer(c, c->r[R_RBP]);
	stack_drop(c, size);
	put_reg(c, R_RBP, size, v);
	NEXT(c, i);
}
INSN(leave64)
{
	const uint64_t *p = tlb_hit(c->tlb->r, c->r[R_RBP], 8);

	if (unlikely(!p))
		TAIL(leave, c, i);
	c->r[R_RSP] = c->r[R_RBP] + 8;
	c->r[R_RBP] = *p;
	NEXT(c, i);
}
const struct family fam_enter = { .fn = { [F_N] = ALL_SIZES(enter) } };
const struct family fam_leave = { .fn = {
	[F_N] = { NULL, leave, leave, leave64 },
} };
