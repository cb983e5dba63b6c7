/* branch.c: near branches: JMP, Jcc, CALL, RET, LOOP, JCXZ, BOUND. */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/dispatch.h"
#include "hvcore/exec/families.h"
#include "hvcore/exec/run.h"

/* -- targets --------------------------------------------------------------------------- */
/* The instruction pointer cut to the operand size, and checked. */
static uint64_t near_target(struct vcpu *c, const struct insn *i, uint64_t rip)
{
	bool bad;

	if (c->mode & MODE_CS64) {
		bad = !canonical(c, rip);
	} else {
		rip = op_opsize(i) == 2 ? (uint16_t)rip : (uint32_t)rip;
		bad = rip > c->seg[SEG_CS].limit;
	}
	if (unlikely(bad)) {
		c->cur = i;
		cpu_raise_error(c, EXC_GP, 0);
	}
	return rip;
}

static uint64_t after(const struct vcpu *c, const struct insn *i)
{
	uint64_t rip = c->r[R_RIP] + i->off + i->len;

	if (c->mode & MODE_CS64)
		return rip;
	return op_opsize(i) == 2 ? (uint16_t)rip : (uint32_t)rip;
}

/* -- leaving a block ---------------------------------------------------------------------- */
insn_result exec_continue(struct vcpu *c, const struct insn *i)
{
	struct block *b;

	(void)i;
	c->cur = NULL;
	if (c->budget <= 0)
		LEAVE(c);
	b = block_get(c, c->mode);
	if (!b)
		LEAVE(c);
	if (unlikely(c->mode & MODE_CET))
		exec_check_endbr(c, b);
	ENTER_BLOCK(c, b);
}

insn_result exec_stale(struct vcpu *c, const struct insn *i)
{
	c->r[R_RIP] += i->off;
	c->budget -= i->ord;
	LEAVE(c);
}

/* RIP is the target, and i's block has retired.  In 64-bit and flat 32-bit code
 * (only there are ways used) it needs no check but a mask. */
static struct block *next_block(struct vcpu *c)
{
	c->cur = NULL;
	if (!(c->mode & MODE_CS64))
		c->r[R_RIP] = (uint32_t)c->r[R_RIP];
	return block_get(c, c->mode);
}

insn_result exec_link_miss(struct vcpu *c, const struct insn *i)
{
	struct link *l = (struct link *)(uintptr_t)i->ptr;
	struct way *w = &l->exits->way[l - l->exits->link];
	uint64_t rip = c->r[R_RIP], from = rip - (uint64_t)(int64_t)w->delta;
	struct block *b = next_block(c);

	if (!b)
		LEAVE(c);
	if (rip == c->r[R_RIP])
		block_link(c, l, b, (from ^ rip) < 0x1000 && b->phys2 == NO_PAGE);
	DISPATCH(c, b->insns);
}

insn_result exec_link_check(struct vcpu *c, const struct insn *i)
{
	const struct link *l = i->ptr;

	if (likely(l->gen == c->map_gen && l->rip == c->r[R_RIP]))
		DISPATCH(c, l->to->insns);
	TAIL(exec_link_miss, c, i);
}

/* An indirect branch in 64-bit mode whose target is in the jump cache is known
 * to be canonical; all others are looked at before anything changes. */
static inline struct block *cached_target(struct vcpu *c, uint64_t rip)
{
	struct jump_entry *e = jump_slot(c->blocks, rip);

	if (likely(e->lin == rip && e->gen == c->map_gen &&
		   e->to->mode == c->mode))
		return e->to;
	return NULL;
}

#define GOTO_RIP(c, i, rip, b) do {					\
	(c)->r[R_RIP] = (rip);						\
	retire(c, i);							\
	if (likely(b))							\
		ENTER_BLOCK(c, b);					\
	TAIL(exec_continue, c, i);					\
} while (0)

/* -- JMP, Jcc ---------------------------------------------------------------------------- */
/* Each relative branch has a second form (F_CHECK) without ways, for code with
 * limits or 16-bit instruction pointers. */
#define GOTO_CHECKED(c, i, taken) do {					\
	uint64_t t_ = after(c, i);					\
	if (taken)							\
		t_ = near_target(c, i, (c)->r[R_RIP] +			\
				 (uint64_t)(int64_t)(i)->disp);		\
	GOTO_RIP(c, i, t_, (struct block *)NULL);			\
} while (0)
#define BRANCH_FAMILY(name) \
const struct family fam_##name = { .fn = {				\
	[F_N] = ALL_SIZES(name), [F_CHECK] = ALL_SIZES(name##_check),	\
} };

INSN(jmp)
{
	GOTO_TAKEN(c, i);
}
INSN(jmp_check)
{
	GOTO_CHECKED(c, i, true);
}
BRANCH_FAMILY(jmp)

#define JCC(n)								\
INSN(jcc_##n)								\
{									\
	if (cc_cond(c, n))						\
		GOTO_TAKEN(c, i);					\
	GOTO_FALL(c, i);						\
}									\
INSN(jcc_##n##_check)							\
{									\
	GOTO_CHECKED(c, i, cc_cond(c, n));				\
}									\
BRANCH_FAMILY(jcc_##n)
JCC(0)
JCC(1)
JCC(2)
JCC(3)
JCC(4)
JCC(5)
JCC(6)
JCC(7)
JCC(8)
JCC(9)
JCC(10)
JCC(11)
JCC(12)
JCC(13)
JCC(14)
JCC(15)

/* The count register is of the address size. */
static inline uint64_t loop_count(const struct vcpu *c, const struct insn *i)
{
	unsigned size = op_adsize(i);

	return size == 8 ? c->r[R_RCX] : size == 4 ? RD32(c, R_RCX) :
	       RD16(c, R_RCX);
}

static inline void set_loop_count(struct vcpu *c, const struct insn *i, uint64_t n)
{
	unsigned size = op_adsize(i);

	if (size == 8)
		WR64(c, R_RCX, n);
	else if (size == 4)
		WR32(c, R_RCX, n);
	else
		WR16(c, R_RCX, n);
}

static inline bool count_down(struct vcpu *c, const struct insn *i)
{
	set_loop_count(c, i, loop_count(c, i) - 1);
	return loop_count(c, i) != 0;
}

/* The count changes only where the target is good. */
#define LOOP(name, condition)						\
INSN(name)								\
{									\
	bool more = count_down(c, i);					\
	if (more && (condition))					\
		GOTO_TAKEN(c, i);					\
	GOTO_FALL(c, i);						\
}									\
INSN(name##_check)							\
{									\
	bool go = loop_count(c, i) != 1 && (condition);			\
	if (go)								\
		near_target(c, i, c->r[R_RIP] + (uint64_t)(int64_t)i->disp); \
	count_down(c, i);						\
	GOTO_CHECKED(c, i, go);						\
}									\
BRANCH_FAMILY(name)
LOOP(loop, true)
LOOP(loope, cc_zf(c))
LOOP(loopne, !cc_zf(c))

INSN(jcxz)
{
	if (!loop_count(c, i))
		GOTO_TAKEN(c, i);
	GOTO_FALL(c, i);
}
INSN(jcxz_check)
{
	GOTO_CHECKED(c, i, !loop_count(c, i));
}
BRANCH_FAMILY(jcxz)

/* -- indirect JMP ----------------------------------------------------------------------- */
static void indirect(struct vcpu *c, const struct insn *i)
{
	c->cur = i;
	/* 3E (kept in scale) is NOTRACK in front of FF /2 and FF /4 */
	if (!(i->scale & SCALE_F3) || !cet_notrack(c))
		cet_track(c);
}

#define JMP_TO(c, i, target) do {					\
	uint64_t t_ = (target);						\
	struct block *b_ = NULL;					\
	if (likely(((c)->mode & (MODE_CS64 | MODE_CET)) == MODE_CS64))	\
		b_ = cached_target(c, t_);				\
	if (unlikely(!b_)) {						\
		t_ = near_target(c, i, t_);				\
		if ((c)->mode & MODE_CET)				\
			indirect(c, i);					\
	}								\
	GOTO_RIP(c, i, t_, b_);						\
} while (0)

static uint64_t target_in_memory(struct vcpu *c, const struct insn *i)
{
	unsigned size = op_opsize(i);
	uint64_t lin = EA_G(c, i, size, ACC_READ);

	if (size == 8)
		return mem_read64(c, i, lin);
	return size == 4 ? mem_read32(c, i, lin) : mem_read16(c, i, lin);
}

INSN(jmp_r)
{
	JMP_TO(c, i, c->r[i->rm]);
}
INSN(jmp_m64)
{
	uint64_t t = mem_read64(c, i, ea_simple(c, i));

	JMP_TO(c, i, t);
}
INSN(jmp_m)
{
	uint64_t t = target_in_memory(c, i);

	JMP_TO(c, i, t);
}
const struct family fam_jmp_e = { .fn = {
	[F_RI] = ALL_SIZES(jmp_r), [F_MI] = { NULL, NULL, NULL, jmp_m64 },
	[F_MIG] = ALL_SIZES(jmp_m),
} };

/* -- CALL ---------------------------------------------------------------------------------- */
/* Pushes the return address (the target is good); with shadow stacks there
 * too, before the ordinary stack changes but after it was probed. */
static void push_return(struct vcpu *c, const struct insn *i, bool track)
{
	unsigned size = op_opsize(i);
	uint64_t ret = after(c, i), sp = stack_pointer(c) - size, lin;

	lin = stack_linear(c, i, sp, size, ACC_WRITE);
	if (c->mode & MODE_CET) {
		mem_probe_write(c, i, lin, size);
		c->cur = i;
		/* CALL to the next instruction (how code finds where it is)
		 * has no return (SDM vol. 2, CALL). */
		if (track || i->disp != i->off + i->len)
			cet_call(c, ret, size);
	}
	stack_push(c, i, size, ret);
	if (c->mode & MODE_CET && track)
		indirect(c, i);
}

INSN(call_check)
{
	near_target(c, i, c->r[R_RIP] + (uint64_t)(int64_t)i->disp);
	push_return(c, i, false);
	GOTO_CHECKED(c, i, true);
}
INSN(call_miss)
{
	push_return(c, i, false);
	GOTO_TAKEN(c, i);
}
INSN(call64)
{
	uint64_t sp = c->r[R_RSP] - 8, *at = tlb_hit(c->tlb->w, sp, 8);

	if (unlikely(!at))
		TAIL(call_miss, c, i);
	*at = c->r[R_RIP] + i->off + i->len;
	c->r[R_RSP] = sp;
	GOTO_TAKEN(c, i);
}
const struct family fam_call = { .fn = {
	[F_N] = { NULL, call_check, call_miss, call64 },
	[F_CHECK] = ALL_SIZES(call_check),
} };

#define CALL_TO(c, i, target) do {					\
	uint64_t t_ = (target);						\
	struct block *b_ = NULL;					\
	if (likely(((c)->mode & (MODE_CS64 | MODE_CET)) == MODE_CS64))	\
		b_ = cached_target(c, t_);				\
	if (likely(b_)) {						\
		uint64_t sp_ = (c)->r[R_RSP] - 8;			\
		stack_write64(c, i, sp_, (c)->r[R_RIP] + (i)->off + (i)->len); \
		(c)->r[R_RSP] = sp_;					\
	} else {							\
		t_ = near_target(c, i, t_);				\
		push_return(c, i, true);				\
	}								\
	GOTO_RIP(c, i, t_, b_);						\
} while (0)

INSN(call_r)
{
	CALL_TO(c, i, c->r[i->rm]);
}
INSN(call_m64)
{
	uint64_t t = mem_read64(c, i, ea_simple(c, i));

	CALL_TO(c, i, t);
}
INSN(call_m)
{
	uint64_t t = target_in_memory(c, i);

	CALL_TO(c, i, t);
}
const struct family fam_call_e = { .fn = {
	[F_RI] = ALL_SIZES(call_r), [F_MI] = { NULL, NULL, NULL, call_m64 },
	[F_MIG] = ALL_SIZES(call_m),
} };

/* -- RET ------------------------------------------------------------------------------------ */
/* imm: bytes of parameters to release, 0 for the plain form. */
static uint64_t ret_target(struct vcpu *c, const struct insn *i)
{
	unsigned size = op_opsize(i);
	uint64_t t = near_target(c, i, stack_top(c, i, size));

	if (c->mode & MODE_CET) {
		c->cur = i;
		cet_ret(c, t, size);
	}
	return t;
}

INSN(ret64)
{
	uint64_t t;
	struct block *b;

	if (unlikely(c->mode & MODE_CET)) {
		t = ret_target(c, i);
		b = NULL;
	} else {
		t = stack_read64(c, i, c->r[R_RSP]);
		b = cached_target(c, t);
		if (unlikely(!b))
			near_target(c, i, t);
	}
	c->r[R_RSP] += 8 + i->imm;
	GOTO_RIP(c, i, t, b);
}
INSN(ret)
{
	uint64_t t = ret_target(c, i);

	stack_drop(c, op_opsize(i) + (unsigned)i->imm);
	c->r[R_RIP] = t;
	retire(c, i);
	TAIL(exec_continue, c, i);
}
const struct family fam_ret = { .fn = { [F_N] = { NULL, ret, ret, ret64 } } };

/* -- BOUND ------------------------------------------------------------------------------------ */
INSN(bound16)
{
	uint64_t lin = EA_G(c, i, 4, ACC_READ);
	int16_t x = (int16_t)RD16(c, i->reg);

	if (x < (int16_t)mem_read16(c, i, lin) ||
	    x > (int16_t)mem_read16(c, i, lin + 2)) {
		c->cur = i;
		cpu_raise(c, EXC_BR);
	}
	NEXT(c, i);
}
INSN(bound32)
{
	uint64_t lin = EA_G(c, i, 8, ACC_READ);
	int32_t x = (int32_t)RD32(c, i->reg);

	if (x < (int32_t)mem_read32(c, i, lin) ||
	    x > (int32_t)mem_read32(c, i, lin + 4)) {
		c->cur = i;
		cpu_raise(c, EXC_BR);
	}
	NEXT(c, i);
}
const struct family fam_bound = { .fn = {
	[F_RMG] = { NULL, bound16, bound32, NULL },
} };
