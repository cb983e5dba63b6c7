/* alu.h: arithmetic with flags, one inline function an operation and width.
 *
 * do_NAME(c, a, b) computes and sets the flags; nf_NAME leaves them alone.
 * cmp and test return nothing of use.
 */
#ifndef NSTATE_HVCORE_EXEC_ALU_H
#define NSTATE_HVCORE_EXEC_ALU_H

#include "hvcore/exec/ea.h"
#include "hvcore/exec/flags.h"

#define SX(b, v) ((uint64_t)(int64_t)(int##b##_t)(v))

#define ALU_FN(b, name, result, kind, source)				\
static inline uint##b##_t do_##name##b(struct vcpu *c, uint##b##_t x,	\
				       uint##b##_t y)			\
{									\
	uint##b##_t r = (uint##b##_t)(result);				\
	(void)y;							\
	cc_set(c, (kind) | CC_WIDTH(b), SX(b, r), source);		\
	return r;							\
}									\
static inline uint##b##_t nf_##name##b(struct vcpu *c, uint##b##_t x,	\
				       uint##b##_t y)			\
{									\
	(void)c, (void)y;						\
	return (uint##b##_t)(result);					\
}
#define ALU_NF(b, name, result)						\
static inline uint##b##_t nf_##name##b(uint##b##_t x)			\
{									\
	return (uint##b##_t)(result);					\
}
/* With carry in: which kind it is depends on the carry. */
#define ALU_CARRY(b, name, sign, kind)					\
static inline uint##b##_t do_##name##b(struct vcpu *c, uint##b##_t x,	\
				       uint##b##_t y)			\
{									\
	unsigned cf = cc_cf(c);						\
	uint##b##_t r = (uint##b##_t)(x sign y sign cf);		\
	cc_set(c, ((kind) + 2 * cf) | CC_WIDTH(b), SX(b, r), SX(b, x));	\
	return r;							\
}									\
static inline uint##b##_t nf_##name##b(struct vcpu *c, uint##b##_t x,	\
				       uint##b##_t y)			\
{									\
	unsigned cf = cc_cf(c);						\
	return (uint##b##_t)(x sign y sign cf);				\
}
#define ALU_WIDTH(b)							\
ALU_FN(b, add, x + y, CC_ADD, SX(b, x))					\
ALU_FN(b, sub, x - y, CC_SUB, SX(b, x))					\
ALU_FN(b, cmp, x - y, CC_SUB, SX(b, x))					\
ALU_FN(b, and, x & y, CC_BITS, 0)					\
ALU_FN(b, test, x & y, CC_BITS, 0)					\
ALU_FN(b, or, x | y, CC_BITS, 0)					\
ALU_FN(b, xor, x ^ y, CC_BITS, 0)					\
ALU_FN(b, not, ~x, CC_BITS, 0)						\
ALU_CARRY(b, adc, +, CC_ADD)						\
ALU_CARRY(b, sbb, -, CC_SUB)						\
ALU_NF(b, neg, 0 - x)							\
ALU_NF(b, inc, x + 1)							\
ALU_NF(b, dec, x - 1)							\
static inline uint##b##_t do_neg##b(struct vcpu *c, uint##b##_t x,	\
				    uint##b##_t y)			\
{									\
	(void)y;							\
	return do_sub##b(c, 0, x);					\
}									\
static inline uint##b##_t do_inc##b(struct vcpu *c, uint##b##_t x,	\
				    uint##b##_t y)			\
{									\
	uint##b##_t r = (uint##b##_t)(x + 1);				\
	uint64_t fl = cc_cf(c) ? FLAG_CF : 0;				\
	(void)y;							\
	fl |= r == (uint##b##_t)1 << (b - 1) ? FLAG_OF : 0;		\
	fl |= (r & 15) == 0 ? FLAG_AF : 0;				\
	cc_set(c, CC_BITS, SX(b, r), fl);				\
	return r;							\
}									\
static inline uint##b##_t do_dec##b(struct vcpu *c, uint##b##_t x,	\
				    uint##b##_t y)			\
{									\
	uint##b##_t r = (uint##b##_t)(x - 1);				\
	uint64_t fl = cc_cf(c) ? FLAG_CF : 0;				\
	(void)y;							\
	fl |= x == (uint##b##_t)1 << (b - 1) ? FLAG_OF : 0;		\
	fl |= (x & 15) == 0 ? FLAG_AF : 0;				\
	cc_set(c, CC_BITS, SX(b, r), fl);				\
	return r;							\
}
ALU_WIDTH(8)
ALU_WIDTH(16)
ALU_WIDTH(32)
ALU_WIDTH(64)

/* -- changing some flags and keeping the others -------------------------------- */
static inline void cc_replace(struct vcpu *c, uint64_t mask, uint64_t flags)
{
	if ((c->cc_op & 0xff) > CC_ALL) {
		uint64_t keep = (mask & FLAG_CF ? 0 : cc_cf(c) ? FLAG_CF : 0) |
				(mask & FLAG_OF ? 0 : cc_of(c) ? FLAG_OF : 0) |
				(cc_af(c) ? FLAG_AF : 0);

		c->cc_op = CC_BITS;
		c->cc_src = keep | flags;
	} else {
		c->cc_src = (c->cc_src & ~mask) | flags;
	}
}
static inline void cc_put_cf(struct vcpu *c, bool cf)
{
	cc_replace(c, FLAG_CF, cf ? FLAG_CF : 0);
}
static inline void cc_put_of(struct vcpu *c, bool of)
{
	cc_replace(c, FLAG_OF, of ? FLAG_OF : 0);
}
static inline void cc_put_cf_of(struct vcpu *c, bool cf, bool of)
{
	cc_replace(c, FLAG_CF | FLAG_OF,
		   (cf ? FLAG_CF : 0) | (of ? FLAG_OF : 0));
}

/* -- shapes of handlers ----------------------------------------------------------- */
/* [m] = expression of v, the old value.  Nothing changes if the write would
 * fault. */
#define RMW(b, c, i, lin, expr) do {					\
	uint64_t lin_ = (lin);						\
	uint##b##_t *p_ = tlb_hit((c)->tlb->w, lin_, b / 8), v;		\
	if (likely(p_)) {						\
		v = *p_;						\
		*p_ = (uint##b##_t)(expr);				\
	} else {							\
		mem_probe_write(c, i, lin_, b / 8);			\
		v = (uint##b##_t)mem_read_slow(c, i, lin_, b / 8);	\
		v = (uint##b##_t)(expr);				\
		mem_write_slow(c, i, lin_, b / 8, v);			\
	}								\
} while (0)

#define EACH_WIDTH(X) X(8) X(16) X(32) X(64)
#define BY_WIDTH(name, form) \
	{ name##8##form, name##16##form, name##32##form, name##64##form }
#define BY_WIDTH3(name, form) \
	{ NULL, name##16##form, name##32##form, name##64##form }

/* Unary families of rm/[m]: fn is do_NAME-like with an ignored operand. */
#define UNARY_FORMS(name, b)						\
INSN(name##b##_r)							\
{									\
	WR##b(c, i->rm, do_##name##b(c, RD##b(c, i->rm), 0));		\
	NEXT(c, i);							\
}									\
INSN(name##b##_mg)							\
{									\
	RMW(b, c, i, EA_G(c, i, b / 8, ACC_RMW), do_##name##b(c, v, 0));	\
	NEXT(c, i);							\
}									\
INSN(name##b##_m)							\
{									\
	PLACE_OR(name##b##_mg, b, c, i, p);				\
	*p = do_##name##b(c, *p, 0);					\
	NEXT(c, i);							\
}

#endif
