/* shift.c: shifts and rotates, double shifts, and the flagless ones of BMI2. */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/families.h"

#define COUNT_MASK(b) ((b) == 64 ? 63 : 31)

/* What of OF is undefined (counts other than 1) is as for a count of 1. */
#define SHIFT_FNS(b)							\
static inline uint##b##_t do_shl##b(struct vcpu *c, uint##b##_t x, unsigned n)	\
{									\
	uint##b##_t r;							\
	bool cf;							\
	n &= COUNT_MASK(b);						\
	if (!n)								\
		return x;						\
	r = n < b ? (uint##b##_t)((uint64_t)x << n) : 0;		\
	cf = n <= b && x >> (b - n) & 1;				\
	cc_set(c, CC_BITS, SX(b, r), (cf ? FLAG_CF : 0) |		\
	       ((r >> (b - 1) ^ cf) & 1 ? FLAG_OF : 0));		\
	return r;							\
}									\
static inline uint##b##_t do_shr##b(struct vcpu *c, uint##b##_t x, unsigned n)	\
{									\
	uint##b##_t r;							\
	bool cf;							\
	n &= COUNT_MASK(b);						\
	if (!n)								\
		return x;						\
	r = n < b ? x >> n : 0;						\
	cf = n <= b && x >> (n - 1) & 1;				\
	cc_set(c, CC_BITS, SX(b, r), (cf ? FLAG_CF : 0) |		\
	       (x >> (b - 1) & 1 ? FLAG_OF : 0));			\
	return r;							\
}									\
static inline uint##b##_t do_sar##b(struct vcpu *c, uint##b##_t x, unsigned n)	\
{									\
	int64_t w = (int##b##_t)x;					\
	uint##b##_t r;							\
	n &= COUNT_MASK(b);						\
	if (!n)								\
		return x;						\
	r = (uint##b##_t)(w >> n);					\
	cc_set(c, CC_BITS, SX(b, r), w >> (n - 1) & 1 ? FLAG_CF : 0);	\
	return r;							\
}									\
static inline uint##b##_t do_rol##b(struct vcpu *c, uint##b##_t x, unsigned n)	\
{									\
	unsigned k = n & (b - 1);					\
	uint##b##_t r;							\
	if (!(n & COUNT_MASK(b)))					\
		return x;						\
	r = k ? (uint##b##_t)(x << k | x >> (b - k)) : x;		\
	cc_put_cf_of(c, r & 1, (r >> (b - 1) ^ r) & 1);			\
	return r;							\
}									\
static inline uint##b##_t do_ror##b(struct vcpu *c, uint##b##_t x, unsigned n)	\
{									\
	unsigned k = n & (b - 1);					\
	uint##b##_t r;							\
	if (!(n & COUNT_MASK(b)))					\
		return x;						\
	r = k ? (uint##b##_t)(x >> k | x << (b - k)) : x;		\
	cc_put_cf_of(c, r >> (b - 1) & 1, (r >> (b - 1) ^ r >> (b - 2)) & 1); \
	return r;							\
}									\
static inline uint##b##_t do_rcl##b(struct vcpu *c, uint##b##_t x, unsigned n)	\
{									\
	bool cf = cc_cf(c);						\
	n = (n & COUNT_MASK(b)) % (b + 1);				\
	if (!n)								\
		return x;						\
	for (; n; n--) {						\
		bool out = x >> (b - 1) & 1;				\
		x = (uint##b##_t)(x << 1 | cf);				\
		cf = out;						\
	}								\
	cc_put_cf_of(c, cf, (x >> (b - 1) ^ cf) & 1);			\
	return x;							\
}									\
static inline uint##b##_t do_rcr##b(struct vcpu *c, uint##b##_t x, unsigned n)	\
{									\
	bool cf = cc_cf(c);						\
	n = (n & COUNT_MASK(b)) % (b + 1);				\
	if (!n)								\
		return x;						\
	for (; n; n--) {						\
		bool out = x & 1;					\
		x = (uint##b##_t)(x >> 1 | (uint##b##_t)cf << (b - 1));	\
		cf = out;						\
	}								\
	cc_put_cf_of(c, cf, (x >> (b - 1) ^ x >> (b - 2)) & 1);		\
	return x;							\
}
EACH_WIDTH(SHIFT_FNS)

/* For where the flags are dead (RCL and RCR have no such form). */
#define PLAIN_SHIFT_FNS(b)						\
static inline uint##b##_t nf_shl##b(uint##b##_t x, unsigned n)		\
{									\
	n &= COUNT_MASK(b);						\
	return n < b ? (uint##b##_t)((uint64_t)x << n) : 0;		\
}									\
static inline uint##b##_t nf_shr##b(uint##b##_t x, unsigned n)		\
{									\
	n &= COUNT_MASK(b);						\
	return n < b ? (uint##b##_t)(x >> n) : 0;			\
}									\
static inline uint##b##_t nf_sar##b(uint##b##_t x, unsigned n)		\
{									\
	return (uint##b##_t)((int64_t)(int##b##_t)x >> (n & COUNT_MASK(b))); \
}									\
static inline uint##b##_t nf_rol##b(uint##b##_t x, unsigned n)		\
{									\
	n &= b - 1;							\
	return (uint##b##_t)(x << n | x >> (-n & (b - 1)));		\
}									\
static inline uint##b##_t nf_ror##b(uint##b##_t x, unsigned n)		\
{									\
	n &= b - 1;							\
	return (uint##b##_t)(x >> n | x << (-n & (b - 1)));		\
}
EACH_WIDTH(PLAIN_SHIFT_FNS)

#define PLAIN_SHIFT(name, b, suffix, count)				\
INSN(name##suffix##b##_r_nf)						\
{									\
	WR##b(c, i->rm, nf_##name##b(RD##b(c, i->rm), (unsigned)(count))); \
	NEXT(c, i);							\
}
#define SHIFT_BY(name, b, suffix, count)				\
INSN(name##suffix##b##_r)						\
{									\
	WR##b(c, i->rm, do_##name##b(c, RD##b(c, i->rm), (unsigned)(count))); \
	NEXT(c, i);							\
}									\
INSN(name##suffix##b##_mg)						\
{									\
	RMW(b, c, i, EA_G(c, i, b / 8, ACC_RMW),			\
	    do_##name##b(c, v, (unsigned)(count)));			\
	NEXT(c, i);							\
}
#define SHIFT_WIDTH(name, b)						\
SHIFT_BY(name, b, _i, i->imm)						\
SHIFT_BY(name, b, _1, 1)						\
SHIFT_BY(name, b, _cl, c->r[R_RCX])
#define SHIFT_TABLE(table, handlers)					\
const struct family table = { .fn = {					\
	[F_RI] = BY_WIDTH(handlers, _r), [F_MIG] = BY_WIDTH(handlers, _mg), \
} };
#define PLAIN_TABLE(table, handlers)					\
const struct family table = { .fn = {					\
	[F_RI] = BY_WIDTH(handlers, _r), [F_MIG] = BY_WIDTH(handlers, _mg), \
	[F_RI_NF] = BY_WIDTH(handlers, _r_nf),				\
} };
#define SHIFT_FAMILY(name)						\
SHIFT_WIDTH(name, 8)							\
SHIFT_WIDTH(name, 16)							\
SHIFT_WIDTH(name, 32)							\
SHIFT_WIDTH(name, 64)							\
SHIFT_TABLE(fam_##name, name##_i)					\
SHIFT_TABLE(fam_##name##1, name##_1)					\
SHIFT_TABLE(fam_##name##_cl, name##_cl)
#define PLAIN_WIDTH(name, b)						\
SHIFT_WIDTH(name, b)							\
PLAIN_SHIFT(name, b, _i, i->imm)					\
PLAIN_SHIFT(name, b, _1, 1)						\
PLAIN_SHIFT(name, b, _cl, c->r[R_RCX])
#define PLAIN_FAMILY(name)						\
PLAIN_WIDTH(name, 8)							\
PLAIN_WIDTH(name, 16)							\
PLAIN_WIDTH(name, 32)							\
PLAIN_WIDTH(name, 64)							\
PLAIN_TABLE(fam_##name, name##_i)					\
PLAIN_TABLE(fam_##name##1, name##_1)					\
PLAIN_TABLE(fam_##name##_cl, name##_cl)
SHIFT_FAMILY(rcl)
SHIFT_FAMILY(rcr)
PLAIN_FAMILY(rol)
PLAIN_FAMILY(ror)
PLAIN_FAMILY(shl)
PLAIN_FAMILY(shr)
PLAIN_FAMILY(sar)

/* -- SHLD, SHRD ------------------------------------------------------------------------ */
/* 16 bits with a count above 16 are undefined; processors go on into a second
 * copy of the destination, as here. */
static uint64_t double_value(unsigned b, uint64_t x, uint64_t y, bool left,
			     unsigned n)
{
	if (b == 16) {
		uint64_t w = left ? x << 32 | y << 16 | x : x << 32 | y << 16 | x;

		return left ? w << n >> 32 : w >> n;
	}
	return left ? x << n | y >> (b - n) : x >> n | y << (b - n);
}

static bool double_carry(unsigned b, uint64_t x, uint64_t y, bool left,
			 unsigned n)
{
	if (n > b) /* 16 bits only: the bit comes out of the second word */
		return left ? y >> (32 - n) & 1 : y >> (n - 17) & 1;
	return left ? x >> (b - n) & 1 : x >> (n - 1) & 1;
}

#define DOUBLE_FNS(b)							\
static inline uint##b##_t do_double##b(struct vcpu *c, uint##b##_t x,	\
				uint##b##_t y, bool left, unsigned n)	\
{									\
	uint##b##_t r;							\
	bool cf;							\
	n &= COUNT_MASK(b);						\
	if (!n)								\
		return x;						\
	r = (uint##b##_t)double_value(b, x, y, left, n);		\
	cf = double_carry(b, x, y, left, n);				\
	cc_set(c, CC_BITS, SX(b, r), (cf ? FLAG_CF : 0) |		\
	       ((r ^ x) >> (b - 1) & 1 ? FLAG_OF : 0));			\
	return r;							\
}
#define DOUBLE_FORMS(name, b, left, count)				\
INSN(name##b##_rr)							\
{									\
	WR##b(c, i->rm, do_double##b(c, RD##b(c, i->rm), RD##b(c, i->reg), \
				     left, (unsigned)(count)));		\
	NEXT(c, i);							\
}									\
INSN(name##b##_mrg)							\
{									\
	RMW(b, c, i, EA_G(c, i, b / 8, ACC_RMW),			\
	    do_double##b(c, v, RD##b(c, i->reg), left, (unsigned)(count))); \
	NEXT(c, i);							\
}
#define DOUBLE_WIDTH(b)							\
DOUBLE_FNS(b)								\
DOUBLE_FORMS(shld, b, true, i->imm)					\
DOUBLE_FORMS(shrd, b, false, i->imm)					\
DOUBLE_FORMS(shld_cl, b, true, c->r[R_RCX])				\
DOUBLE_FORMS(shrd_cl, b, false, c->r[R_RCX])
DOUBLE_WIDTH(16)
DOUBLE_WIDTH(32)
DOUBLE_WIDTH(64)
#define DOUBLE_FAMILY(name)						\
const struct family fam_##name = { .fn = {				\
	[F_RR] = BY_WIDTH3(name, _rr), [F_MRG] = BY_WIDTH3(name, _mrg),	\
} };
DOUBLE_FAMILY(shld)
DOUBLE_FAMILY(shrd)
DOUBLE_FAMILY(shld_cl)
DOUBLE_FAMILY(shrd_cl)

/* -- SHLX, SHRX, SARX, RORX: no flags ---------------------------------------------------- */
#define FLAGLESS(name, b, expr)						\
INSN(name##b##_rr)							\
{									\
	uint##b##_t x = RD##b(c, i->reg);				\
	unsigned n = (expr) & (b - 1);					\
	WR##b(c, i->rm, flagless_##name##b(x, n));			\
	NEXT(c, i);							\
}									\
INSN(name##b##_rmg)							\
{									\
	uint##b##_t x = mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ));	\
	unsigned n = (expr) & (b - 1);					\
	WR##b(c, i->reg, flagless_##name##b(x, n));			\
	NEXT(c, i);							\
}
#define FLAGLESS_WIDTH(b)						\
static inline uint##b##_t flagless_shlx##b(uint##b##_t x, unsigned n)	\
{ return x << n; }							\
static inline uint##b##_t flagless_shrx##b(uint##b##_t x, unsigned n)	\
{ return x >> n; }							\
static inline uint##b##_t flagless_sarx##b(uint##b##_t x, unsigned n)	\
{ return (uint##b##_t)((int##b##_t)x >> n); }				\
static inline uint##b##_t flagless_rorx##b(uint##b##_t x, unsigned n)	\
{ return n ? x >> n | x << (b - n) : x; }				\
FLAGLESS(shlx, b, (unsigned)c->r[i->imm])				\
FLAGLESS(shrx, b, (unsigned)c->r[i->imm])				\
FLAGLESS(sarx, b, (unsigned)c->r[i->imm])				\
FLAGLESS(rorx, b, (unsigned)i->imm)
FLAGLESS_WIDTH(32)
FLAGLESS_WIDTH(64)
#define FLAGLESS_FAMILY(name)						\
const struct family fam_##name = { .fn = {				\
	[F_RR] = { NULL, NULL, name##32_rr, name##64_rr },		\
	[F_RMG] = { NULL, NULL, name##32_rmg, name##64_rmg },		\
} };
FLAGLESS_FAMILY(shlx)
FLAGLESS_FAMILY(shrx)
FLAGLESS_FAMILY(sarx)
FLAGLESS_FAMILY(rorx)
