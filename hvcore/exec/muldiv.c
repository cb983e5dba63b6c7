/* muldiv.c: MUL, IMUL, DIV, IDIV, MULX, and the decimal adjustments. */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/families.h"

typedef unsigned __int128 u128;
typedef __int128 s128;

/* -- multiplication --------------------------------------------------------------- */
/* CF and OF say that the high half holds something; the rest is undefined. */
static inline void mul_flags(struct vcpu *c, uint64_t low, bool wide)
{
	cc_set(c, CC_BITS, low, wide ? FLAG_CF | FLAG_OF : 0);
}

static inline void do_mul8(struct vcpu *c, uint8_t y)
{
	uint16_t r = (uint16_t)(RD8(c, 0) * y);

	WR16(c, R_RAX, r);
	mul_flags(c, SX(8, r), r >> 8);
}
static inline void do_imul1_8(struct vcpu *c, uint8_t y)
{
	int r = (int8_t)RD8(c, 0) * (int8_t)y;

	WR16(c, R_RAX, r);
	mul_flags(c, SX(8, r), r != (int8_t)r);
}
#define MUL_WIDE(b, uwide, swide)					\
static inline void do_mul##b(struct vcpu *c, uint##b##_t y)		\
{									\
	uwide r = (uwide)RD##b(c, R_RAX) * y;				\
	WR##b(c, R_RAX, (uint##b##_t)r);				\
	WR##b(c, R_RDX, (uint##b##_t)(r >> b));				\
	mul_flags(c, SX(b, r), (uint##b##_t)(r >> b) != 0);		\
}									\
static inline void do_imul1_##b(struct vcpu *c, uint##b##_t y)		\
{									\
	swide r = (swide)(int##b##_t)RD##b(c, R_RAX) * (int##b##_t)y;	\
	WR##b(c, R_RAX, (uint##b##_t)r);				\
	WR##b(c, R_RDX, (uint##b##_t)(r >> b));				\
	mul_flags(c, SX(b, r), r != (int##b##_t)r);			\
}									\
static inline uint##b##_t do_imul##b(struct vcpu *c, uint##b##_t x,	\
				     uint##b##_t y)			\
{									\
	swide r = (swide)(int##b##_t)x * (int##b##_t)y;			\
	mul_flags(c, SX(b, r), r != (int##b##_t)r);			\
	return (uint##b##_t)r;						\
}									\
INSN(imul2_##b##_rr)							\
{									\
	WR##b(c, i->rm, do_imul##b(c, RD##b(c, i->rm), RD##b(c, i->reg))); \
	NEXT(c, i);							\
}									\
INSN(imul2_##b##_rr_nf)							\
{									\
	WR##b(c, i->rm, (uint##b##_t)((uwide)RD##b(c, i->rm) *		\
				      RD##b(c, i->reg)));		\
	NEXT(c, i);							\
}									\
INSN(imul2_##b##_rmg)							\
{									\
	uint##b##_t y = mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ));	\
	WR##b(c, i->reg, do_imul##b(c, RD##b(c, i->reg), y));		\
	NEXT(c, i);							\
}									\
INSN(imul3_##b##_rr)							\
{									\
	WR##b(c, i->rm, do_imul##b(c, RD##b(c, i->reg),			\
				   (uint##b##_t)i->imm));		\
	NEXT(c, i);							\
}									\
INSN(imul3_##b##_rmg)							\
{									\
	uint##b##_t x = mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ));	\
	WR##b(c, i->reg, do_imul##b(c, x, (uint##b##_t)i->imm));	\
	NEXT(c, i);							\
}
MUL_WIDE(16, uint32_t, int32_t)
MUL_WIDE(32, uint64_t, int64_t)
MUL_WIDE(64, u128, s128)

/* Unary operand of the rAX:rDX family. */
#define ACCUMULATOR(name, fn, b)					\
INSN(name##b##_r)							\
{									\
	fn##b(c, RD##b(c, i->rm));					\
	NEXT(c, i);							\
}									\
INSN(name##b##_mg)							\
{									\
	fn##b(c, mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ)));	\
	NEXT(c, i);							\
}
#define ACCUMULATOR_FAMILY(name)					\
const struct family fam_##name = { .fn = {				\
	[F_RI] = BY_WIDTH(name, _r), [F_MIG] = BY_WIDTH(name, _mg),	\
} };
#define MUL_FORMS(b) \
	ACCUMULATOR(mul, do_mul, b) ACCUMULATOR(imul1, do_imul1_, b)
EACH_WIDTH(MUL_FORMS)
ACCUMULATOR_FAMILY(mul)
ACCUMULATOR_FAMILY(imul1)
const struct family fam_imul2 = { .fn = {
	[F_RR] = BY_WIDTH3(imul2_, _rr), [F_RR_NF] = BY_WIDTH3(imul2_, _rr_nf),
	[F_RMG] = BY_WIDTH3(imul2_, _rmg),
} };
const struct family fam_imul3 = { .fn = {
	[F_RR] = BY_WIDTH3(imul3_, _rr), [F_RMG] = BY_WIDTH3(imul3_, _rmg),
} };

/* G gets the high half, vvvv (in imm) the low one; G wins if they are one. */
#define MULX(b, wide)							\
static inline void do_mulx##b(struct vcpu *c, unsigned high, unsigned low, \
			      uint##b##_t y)				\
{									\
	wide r = (wide)RD##b(c, R_RDX) * y;				\
	WR##b(c, low, (uint##b##_t)r);					\
	WR##b(c, high, (uint##b##_t)(r >> b));				\
}									\
INSN(mulx##b##_rr)							\
{									\
	do_mulx##b(c, i->rm, (unsigned)i->imm, RD##b(c, i->reg));	\
	NEXT(c, i);							\
}									\
INSN(mulx##b##_rmg)							\
{									\
	do_mulx##b(c, i->reg, (unsigned)i->imm,				\
		   mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ)));	\
	NEXT(c, i);							\
}
MULX(32, uint64_t)
MULX(64, u128)
const struct family fam_mulx = { .fn = {
	[F_RR] = { NULL, NULL, mulx32_rr, mulx64_rr },
	[F_RMG] = { NULL, NULL, mulx32_rmg, mulx64_rmg },
} };

/* -- division ------------------------------------------------------------------------ */
static _Noreturn void divide_error(struct vcpu *c, const struct insn *i)
{
	c->cur = i;
	cpu_raise(c, EXC_DE);
}

static void do_div8(struct vcpu *c, const struct insn *i, uint8_t y)
{
	uint16_t x = RD16(c, R_RAX);

	if (!y || x / y > 0xff)
		divide_error(c, i);
	WR16(c, R_RAX, (x / y) | (x % y) << 8);
}
static void do_idiv8(struct vcpu *c, const struct insn *i, uint8_t y)
{
	int x = (int16_t)RD16(c, R_RAX), d = (int8_t)y;

	if (!d || x / d != (int8_t)(x / d))
		divide_error(c, i);
	WR16(c, R_RAX, (uint8_t)(x / d) | (uint8_t)(x % d) << 8);
}
#define DIV_WIDE(b, uwide, swide)					\
static void do_div##b(struct vcpu *c, const struct insn *i, uint##b##_t y) \
{									\
	uwide x = (uwide)RD##b(c, R_RDX) << b | RD##b(c, R_RAX);	\
	if (RD##b(c, R_RDX) >= y) /* y == 0 too */			\
		divide_error(c, i);					\
	WR##b(c, R_RAX, (uint##b##_t)(x / y));				\
	WR##b(c, R_RDX, (uint##b##_t)(x % y));				\
}									\
static void do_idiv##b(struct vcpu *c, const struct insn *i, uint##b##_t y) \
{									\
	swide x = (swide)((uwide)RD##b(c, R_RDX) << b | RD##b(c, R_RAX)); \
	int##b##_t d = (int##b##_t)y;					\
	swide q;							\
	/* -MIN / -1 would trap on the host */				\
	if (!d || (d == -1 && x == (swide)((uwide)1 << (2 * b - 1))))	\
		divide_error(c, i);					\
	q = x / d;							\
	if (q != (int##b##_t)q)						\
		divide_error(c, i);					\
	WR##b(c, R_RAX, (uint##b##_t)q);				\
	WR##b(c, R_RDX, (uint##b##_t)(x % d));				\
}
DIV_WIDE(16, uint32_t, int32_t)
DIV_WIDE(32, uint64_t, int64_t)
DIV_WIDE(64, u128, s128)
#define DIVIDE(name, b)							\
INSN(name##b##_r)							\
{									\
	do_##name##b(c, i, RD##b(c, i->rm));				\
	NEXT(c, i);							\
}									\
INSN(name##b##_mg)							\
{									\
	do_##name##b(c, i, mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ))); \
	NEXT(c, i);							\
}
#define DIVIDE_FORMS(b) DIVIDE(div, b) DIVIDE(idiv, b)
EACH_WIDTH(DIVIDE_FORMS)
ACCUMULATOR_FAMILY(div)
ACCUMULATOR_FAMILY(idiv)

/* -- decimal adjustment (SDM vol. 2, AAA to DAS) --------------------------------------- */
static void decimal_flags(struct vcpu *c, uint8_t al, bool cf, bool af)
{
	cc_set(c, CC_BITS, SX(8, al), (cf ? FLAG_CF : 0) | (af ? FLAG_AF : 0));
}

INSN(daa)
{
	uint8_t al = RD8(c, 0), old = al;
	bool af = cc_af(c) || (al & 15) > 9, cf = cc_cf(c) || old > 0x99;

	al += (af ? 6 : 0) + (cf ? 0x60 : 0);
	WR8(c, 0, al);
	decimal_flags(c, al, cf, af);
	NEXT(c, i);
}
INSN(das)
{
	uint8_t al = RD8(c, 0), old = al;
	bool af = cc_af(c) || (al & 15) > 9, high = cc_cf(c) || old > 0x99;
	bool cf = high || (af && old < 6);

	al -= (af ? 6 : 0) + (high ? 0x60 : 0);
	WR8(c, 0, al);
	decimal_flags(c, al, cf, af);
	NEXT(c, i);
}
INSN(aaa)
{
	bool adjust = cc_af(c) || (RD8(c, 0) & 15) > 9;

	if (adjust)
		WR16(c, R_RAX, RD16(c, R_RAX) + 0x106);
	WR8(c, 0, RD8(c, 0) & 15);
	decimal_flags(c, RD8(c, 0), adjust, adjust);
	NEXT(c, i);
}
INSN(aas)
{
	bool adjust = cc_af(c) || (RD8(c, 0) & 15) > 9;

	if (adjust)
		WR16(c, R_RAX, RD16(c, R_RAX) - 0x106);
	WR8(c, 0, RD8(c, 0) & 15);
	decimal_flags(c, RD8(c, 0), adjust, adjust);
	NEXT(c, i);
}
INSN(aam)
{
	uint8_t al = RD8(c, 0), base = (uint8_t)i->imm;

	if (!base)
		divide_error(c, i);
	WR16(c, R_RAX, (al / base) << 8 | al % base);
	decimal_flags(c, RD8(c, 0), false, false);
	NEXT(c, i);
}
INSN(aad)
{
	uint8_t al = (uint8_t)(RD8(c, 0) + RD8(c, 1) * i->imm);

	WR16(c, R_RAX, al);
	decimal_flags(c, al, false, false);
	NEXT(c, i);
}
const struct family fam_daa = { .fn = { [F_N] = ALL_SIZES(daa) } };
const struct family fam_das = { .fn = { [F_N] = ALL_SIZES(das) } };
const struct family fam_aaa = { .fn = { [F_N] = ALL_SIZES(aaa) } };
const struct family fam_aas = { .fn = { [F_N] = ALL_SIZES(aas) } };
const struct family fam_aam = { .fn = { [F_N] = ALL_SIZES(aam) } };
const struct family fam_aad = { .fn = { [F_N] = ALL_SIZES(aad) } };
