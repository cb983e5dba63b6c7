/* bit.c: bit tests and scans, BMI1/2, ADX, CRC32. */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/families.h"

/* -- BT, BTS, BTR, BTC ---------------------------------------------------------------- */
/* A register bit number reaches any word around the memory operand. */
static uint64_t bit_address(struct vcpu *c, const struct insn *i, unsigned b,
			    int64_t n, enum mem_access access)
{
	uint64_t off = ea_offset(c, i) + (uint64_t)(n >> __builtin_ctz(b)) * (b / 8);

	if (op_adsize(i) == 4)
		off = (uint32_t)off;
	else if (op_adsize(i) == 2)
		off = (uint16_t)off;
	return seg_linear(c, i, i->seg, off, b / 8, access);
}

#define BIT_READ(b)							\
INSN(bt##b##_rr)							\
{									\
	cc_put_cf(c, RD##b(c, i->rm) >> (RD##b(c, i->reg) & (b - 1)) & 1); \
	NEXT(c, i);							\
}									\
INSN(bt##b##_ri)							\
{									\
	cc_put_cf(c, RD##b(c, i->rm) >> (i->imm & (b - 1)) & 1);	\
	NEXT(c, i);							\
}									\
INSN(bt##b##_mr)							\
{									\
	int64_t n = (int##b##_t)RD##b(c, i->reg);			\
	uint64_t lin = bit_address(c, i, b, n, ACC_READ);		\
	cc_put_cf(c, mem_read##b(c, i, lin) >> (n & (b - 1)) & 1);	\
	NEXT(c, i);							\
}									\
INSN(bt##b##_mi)							\
{									\
	uint64_t lin = EA_G(c, i, b / 8, ACC_READ);			\
	cc_put_cf(c, mem_read##b(c, i, lin) >> (i->imm & (b - 1)) & 1);	\
	NEXT(c, i);							\
}
#define BIT_WRITE(name, b, result)					\
static inline uint##b##_t do_##name##b(struct vcpu *c, uint##b##_t x,	\
				       unsigned n)			\
{									\
	uint##b##_t bit;						\
	n &= b - 1;							\
	bit = (uint##b##_t)((uint##b##_t)1 << n);			\
	cc_put_cf(c, x & bit);						\
	return (uint##b##_t)(result);					\
}									\
INSN(name##b##_rr)							\
{									\
	WR##b(c, i->rm, do_##name##b(c, RD##b(c, i->rm), RD##b(c, i->reg))); \
	NEXT(c, i);							\
}									\
INSN(name##b##_ri)							\
{									\
	WR##b(c, i->rm, do_##name##b(c, RD##b(c, i->rm), (unsigned)i->imm)); \
	NEXT(c, i);							\
}									\
INSN(name##b##_mr)							\
{									\
	int64_t n = (int##b##_t)RD##b(c, i->reg);			\
	RMW(b, c, i, bit_address(c, i, b, n, ACC_RMW),			\
	    do_##name##b(c, v, (unsigned)n));				\
	NEXT(c, i);							\
}									\
INSN(name##b##_mi)							\
{									\
	RMW(b, c, i, EA_G(c, i, b / 8, ACC_RMW),			\
	    do_##name##b(c, v, (unsigned)i->imm));			\
	NEXT(c, i);							\
}
#define BIT_WIDTH(b)							\
BIT_READ(b)								\
BIT_WRITE(bts, b, x | bit)						\
BIT_WRITE(btr, b, x & ~bit)						\
BIT_WRITE(btc, b, x ^ bit)
BIT_WIDTH(16)
BIT_WIDTH(32)
BIT_WIDTH(64)
#define BIT_FAMILY(name)						\
const struct family fam_##name = { .fn = {				\
	[F_RR] = BY_WIDTH3(name, _rr), [F_RI] = BY_WIDTH3(name, _ri),	\
	[F_MRG] = BY_WIDTH3(name, _mr), [F_MIG] = BY_WIDTH3(name, _mi),	\
} };
BIT_FAMILY(bt)
BIT_FAMILY(bts)
BIT_FAMILY(btr)
BIT_FAMILY(btc)

/* -- one source, one destination -------------------------------------------------------- */
/* do_NAME(c, old destination, source) returns the new destination. */
#define SCAN_WIDTH(b)							\
static inline uint##b##_t do_popcnt##b(struct vcpu *c, uint##b##_t old,	\
				       uint##b##_t x)			\
{									\
	(void)old;							\
	cc_set_flags(c, x ? 0 : FLAG_ZF);				\
	return (uint##b##_t)__builtin_popcountll(x);			\
}									\
static inline uint##b##_t do_tzcnt##b(struct vcpu *c, uint##b##_t old,	\
				      uint##b##_t x)			\
{									\
	uint##b##_t r = x ? (uint##b##_t)__builtin_ctzll(x) : b;	\
	(void)old;							\
	cc_set(c, CC_BITS, r, x ? 0 : FLAG_CF);				\
	return r;							\
}									\
static inline uint##b##_t do_lzcnt##b(struct vcpu *c, uint##b##_t old,	\
				      uint##b##_t x)			\
{									\
	uint##b##_t r = x ? (uint##b##_t)(__builtin_clzll(x) - (64 - b)) : b; \
	(void)old;							\
	cc_set(c, CC_BITS, r, x ? 0 : FLAG_CF);				\
	return r;							\
}
#define WIDE_SCAN(b)							\
static inline uint##b##_t do_andn##b(struct vcpu *c, uint##b##_t x,	\
				     uint##b##_t y)			\
{									\
	uint##b##_t r = ~x & y;						\
	cc_set(c, CC_BITS, SX(b, r), 0);				\
	return r;							\
}									\
static inline uint##b##_t do_blsr##b(struct vcpu *c, uint##b##_t old,	\
				     uint##b##_t x)			\
{									\
	uint##b##_t r = x & (x - 1);					\
	(void)old;							\
	cc_set(c, CC_BITS, SX(b, r), x ? 0 : FLAG_CF);			\
	return r;							\
}									\
static inline uint##b##_t do_blsmsk##b(struct vcpu *c, uint##b##_t old,	\
				       uint##b##_t x)			\
{									\
	uint##b##_t r = x ^ (x - 1);					\
	(void)old;							\
	cc_set(c, CC_BITS, SX(b, r), x ? 0 : FLAG_CF);			\
	return r;							\
}									\
static inline uint##b##_t do_blsi##b(struct vcpu *c, uint##b##_t old,	\
				     uint##b##_t x)			\
{									\
	uint##b##_t r = x & (0 - x);					\
	(void)old;							\
	cc_set(c, CC_BITS, SX(b, r), x ? FLAG_CF : 0);			\
	return r;							\
}									\
static inline uint##b##_t do_adcx##b(struct vcpu *c, uint##b##_t x,	\
				     uint##b##_t y)			\
{									\
	uint##b##_t cf = cc_cf(c), r = x + y + cf;			\
	cc_put_cf(c, r < x || (cf && r == x));				\
	return r;							\
}									\
static inline uint##b##_t do_adox##b(struct vcpu *c, uint##b##_t x,	\
				     uint##b##_t y)			\
{									\
	uint##b##_t of = cc_of(c), r = x + y + of;			\
	cc_put_of(c, r < x || (of && r == x));				\
	return r;							\
}
SCAN_WIDTH(16)
SCAN_WIDTH(32)
SCAN_WIDTH(64)
WIDE_SCAN(32)
WIDE_SCAN(64)

#define SCAN_FORMS(name, b)						\
INSN(name##b##_rr)							\
{									\
	WR##b(c, i->rm, do_##name##b(c, RD##b(c, i->rm), RD##b(c, i->reg))); \
	NEXT(c, i);							\
}									\
INSN(name##b##_rmg)							\
{									\
	uint##b##_t y = mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ));	\
	WR##b(c, i->reg, do_##name##b(c, RD##b(c, i->reg), y));		\
	NEXT(c, i);							\
}
#define SCAN_FAMILY2(name)						\
SCAN_FORMS(name, 32)							\
SCAN_FORMS(name, 64)							\
const struct family fam_##name = { .fn = {				\
	[F_RR] = { NULL, NULL, name##32_rr, name##64_rr },		\
	[F_RMG] = { NULL, NULL, name##32_rmg, name##64_rmg },		\
} };
#define SCAN_FAMILY(name)						\
SCAN_FORMS(name, 16)							\
SCAN_FORMS(name, 32)							\
SCAN_FORMS(name, 64)							\
const struct family fam_##name = { .fn = {				\
	[F_RR] = BY_WIDTH3(name, _rr), [F_RMG] = BY_WIDTH3(name, _rmg),	\
} };
SCAN_FAMILY(popcnt)
SCAN_FAMILY(tzcnt)
SCAN_FAMILY(lzcnt)
SCAN_FAMILY2(blsr)
SCAN_FAMILY2(blsmsk)
SCAN_FAMILY2(blsi)
SCAN_FAMILY2(adcx)
SCAN_FAMILY2(adox)

/* BSF, BSR: a zero source leaves the whole destination register alone. */
#define BIT_SCAN(name, b, result)					\
INSN(name##b##_rr)							\
{									\
	uint##b##_t x = RD##b(c, i->reg);				\
	if (x)								\
		WR##b(c, i->rm, result);				\
	cc_set(c, CC_BITS, x != 0, 0);					\
	NEXT(c, i);							\
}									\
INSN(name##b##_rmg)							\
{									\
	uint##b##_t x = mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ));	\
	if (x)								\
		WR##b(c, i->reg, result);				\
	cc_set(c, CC_BITS, x != 0, 0);					\
	NEXT(c, i);							\
}
#define BIT_SCAN_WIDTH(b)						\
BIT_SCAN(bsf, b, __builtin_ctzll(x))					\
BIT_SCAN(bsr, b, 63 - __builtin_clzll(x))
BIT_SCAN_WIDTH(16)
BIT_SCAN_WIDTH(32)
BIT_SCAN_WIDTH(64)
#define BIT_SCAN_FAMILY(name)						\
const struct family fam_##name = { .fn = {				\
	[F_RR] = BY_WIDTH3(name, _rr), [F_RMG] = BY_WIDTH3(name, _rmg),	\
} };
BIT_SCAN_FAMILY(bsf)
BIT_SCAN_FAMILY(bsr)

/* -- two sources, one of them VEX.vvvv (its number is in imm) ----------------------------- */
static uint64_t deposit(uint64_t x, uint64_t mask)
{
	uint64_t r = 0;

	for (; mask; mask &= mask - 1, x >>= 1)
		if (x & 1)
			r |= mask & -mask;
	return r;
}

static uint64_t extract(uint64_t x, uint64_t mask)
{
	uint64_t r = 0;

	for (unsigned n = 0; mask; mask &= mask - 1, n++)
		if (x & mask & -mask)
			r |= 1ull << n;
	return r;
}

/* do_NAME(c, vvvv, E) */
#define VEX_WIDTH(b)							\
static inline uint##b##_t do_bzhi##b(struct vcpu *c, uint##b##_t v,	\
				     uint##b##_t e)			\
{									\
	unsigned n = v & 0xff;						\
	uint##b##_t r = n < b ? e & (((uint##b##_t)1 << n) - 1) : e;	\
	cc_set(c, CC_BITS, SX(b, r), n > b - 1 ? FLAG_CF : 0);		\
	return r;							\
}									\
static inline uint##b##_t do_bextr##b(struct vcpu *c, uint##b##_t v,	\
				      uint##b##_t e)			\
{									\
	unsigned start = v & 0xff, len = v >> 8 & 0xff;			\
	uint##b##_t r = start < b ? e >> start : 0;			\
	if (len < b)							\
		r &= ((uint##b##_t)1 << len) - 1;			\
	cc_set(c, CC_BITS, SX(b, r), 0);				\
	return r;							\
}									\
static inline uint##b##_t do_pdep##b(struct vcpu *c, uint##b##_t v,	\
				     uint##b##_t e)			\
{									\
	(void)c;							\
	return (uint##b##_t)deposit(v, e);				\
}									\
static inline uint##b##_t do_pext##b(struct vcpu *c, uint##b##_t v,	\
				     uint##b##_t e)			\
{									\
	(void)c;							\
	return (uint##b##_t)extract(v, e);				\
}
VEX_WIDTH(32)
VEX_WIDTH(64)
#define VEX_FORMS(name, b)						\
INSN(name##b##_rr)							\
{									\
	WR##b(c, i->rm, do_##name##b(c, RD##b(c, i->imm), RD##b(c, i->reg))); \
	NEXT(c, i);							\
}									\
INSN(name##b##_rmg)							\
{									\
	uint##b##_t e = mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ));	\
	WR##b(c, i->reg, do_##name##b(c, RD##b(c, i->imm), e));		\
	NEXT(c, i);							\
}
#define VEX_FAMILY(name)						\
VEX_FORMS(name, 32)							\
VEX_FORMS(name, 64)							\
const struct family fam_##name = { .fn = {				\
	[F_RR] = { NULL, NULL, name##32_rr, name##64_rr },		\
	[F_RMG] = { NULL, NULL, name##32_rmg, name##64_rmg },		\
} };
VEX_FAMILY(andn)
VEX_FAMILY(bzhi)
VEX_FAMILY(bextr)
VEX_FAMILY(pdep)
VEX_FAMILY(pext)

/* -- CRC32 (the Castagnoli polynomial, reflected) ----------------------------------------- */
static uint32_t crc32c(uint32_t crc, uint64_t data, unsigned bytes)
{
	for (; bytes; bytes--, data >>= 8) {
		crc ^= (uint8_t)data;
		for (unsigned k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return crc;
}

#define CRC_FORMS(b)							\
INSN(crc32_##b##_rr)							\
{									\
	c->r[i->rm] = crc32c(RD32(c, i->rm), RD##b(c, i->reg), b / 8);	\
	NEXT(c, i);							\
}									\
INSN(crc32_##b##_rmg)							\
{									\
	uint##b##_t y = mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ));	\
	c->r[i->reg] = crc32c(RD32(c, i->reg), y, b / 8);		\
	NEXT(c, i);							\
}
EACH_WIDTH(CRC_FORMS)
const struct family fam_crc32_8 = { .fn = {
	[F_RR] = ALL_SIZES(crc32_8_rr), [F_RMG] = ALL_SIZES(crc32_8_rmg),
} };
const struct family fam_crc32 = { .fn = {
	[F_RR] = BY_WIDTH3(crc32_, _rr), [F_RMG] = BY_WIDTH3(crc32_, _rmg),
} };
