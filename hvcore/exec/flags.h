/* flags.h: the lazy arithmetic flags; the only place that knows their form.
 *
 * cc_dst is the last result, sign-extended to 64 bits: ZF, SF and PF come from
 * it whatever the width.  cc_op says where CF, OF and AF come from: its low
 * byte is a kind, the next byte the number of the sign bit (7, 15, 31, 63).
 * cc_src is the first operand, sign-extended: sign extension keeps unsigned
 * order, so CF is one 64-bit compare for every width.
 */
#ifndef NSTATE_HVCORE_EXEC_FLAGS_H
#define NSTATE_HVCORE_EXEC_FLAGS_H

#include "hvcore/cpu.h"

enum {
	CC_BITS, /* CF, OF and AF are those bits of cc_src */
	CC_ALL,  /* every flag is in cc_src; cc_dst is 0 if and only if ZF */
	CC_ADD, CC_SUB,
	CC_ADC, CC_SBB, /* with carry in: the kinds above plus two */
};
#define CC_WIDTH(bits) ((bits - 1) << 8)

static inline void cc_set(struct vcpu *c, uint32_t op, uint64_t dst,
			  uint64_t src)
{
	c->cc_op = op;
	c->cc_dst = dst;
	c->cc_src = src;
}

static inline bool cc_cf(const struct vcpu *c)
{
	uint64_t a = c->cc_src, r = c->cc_dst;

	switch (c->cc_op & 0xff) {
	case CC_ADD: return r < a;
	case CC_SUB: return r > a;
	case CC_ADC: return r <= a;
	case CC_SBB: return r >= a;
	default: return a & FLAG_CF;
	}
}

/* The second operand, right in the low bits of the operation's width. */
static inline uint64_t cc_second(const struct vcpu *c)
{
	uint64_t a = c->cc_src, r = c->cc_dst;

	switch (c->cc_op & 0xff) {
	case CC_ADD: return r - a;
	case CC_ADC: return r - a - 1;
	case CC_SUB: return a - r;
	default: return a - r - 1;
	}
}

static inline bool cc_of(const struct vcpu *c)
{
	uint64_t a = c->cc_src, r = c->cc_dst, b;
	unsigned sign = c->cc_op >> 8;

	switch (c->cc_op & 0xff) {
	case CC_BITS: case CC_ALL:
		return a & FLAG_OF;
	case CC_ADD: case CC_ADC:
		b = cc_second(c);
		return ((a ^ r) & (b ^ r)) >> sign & 1;
	default:
		b = cc_second(c);
		return ((a ^ b) & (a ^ r)) >> sign & 1;
	}
}

static inline bool cc_af(const struct vcpu *c)
{
	if ((c->cc_op & 0xff) <= CC_ALL)
		return c->cc_src & FLAG_AF;
	return (c->cc_src ^ cc_second(c) ^ c->cc_dst) & 0x10;
}

static inline bool cc_zf(const struct vcpu *c)
{
	return c->cc_dst == 0;
}

static inline bool cc_sf(const struct vcpu *c)
{
	if (unlikely((c->cc_op & 0xff) == CC_ALL))
		return c->cc_src & FLAG_SF;
	return (int64_t)c->cc_dst < 0;
}

static inline bool cc_pf(const struct vcpu *c)
{
	if (unlikely((c->cc_op & 0xff) == CC_ALL))
		return c->cc_src & FLAG_PF;
	return !__builtin_parity((uint8_t)c->cc_dst);
}

/* All six as RFLAGS bits. */
static inline uint32_t cc_flags(const struct vcpu *c)
{
	if ((c->cc_op & 0xff) == CC_ALL)
		return (uint32_t)c->cc_src & FLAGS_ARITH;
	return (cc_cf(c) ? FLAG_CF : 0) | (cc_pf(c) ? FLAG_PF : 0) |
	       (cc_af(c) ? FLAG_AF : 0) | (cc_zf(c) ? FLAG_ZF : 0) |
	       (cc_sf(c) ? FLAG_SF : 0) | (cc_of(c) ? FLAG_OF : 0);
}

static inline void cc_set_flags(struct vcpu *c, uint32_t flags)
{
	cc_set(c, CC_ALL, !(flags & FLAG_ZF), flags & FLAGS_ARITH);
}

/* A condition code as Jcc, SETcc and CMOVcc number them; n is a constant. */
static inline bool cc_cond(const struct vcpu *c, unsigned n)
{
	bool v;

	switch (n >> 1) {
	case 0: v = cc_of(c); break;
	case 1: v = cc_cf(c); break;
	case 2: v = cc_zf(c); break;
	case 3: v = cc_cf(c) || cc_zf(c); break;
	case 4: v = cc_sf(c); break;
	case 5: v = cc_pf(c); break;
	case 6: v = cc_sf(c) != cc_of(c); break;
	default: v = cc_zf(c) || cc_sf(c) != cc_of(c); break;
	}
	return v != (n & 1);
}

#endif
