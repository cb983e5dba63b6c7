/* atomic.c: CMPXCHG, CMPXCHG8B/16B, XADD, MOVDIR64B.  One thread runs every
 * vCPU, so LOCK needs nothing; the decoder checked that it was legal. */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/families.h"

#define CMPXCHG_FORMS(b)						\
INSN(cmpxchg##b##_rr)							\
{									\
	uint##b##_t acc = RD##b(c, R_RAX), old = RD##b(c, i->rm);	\
	do_cmp##b(c, acc, old);						\
	if (acc == old)							\
		WR##b(c, i->rm, RD##b(c, i->reg));			\
	else								\
		WR##b(c, R_RAX, old);					\
	NEXT(c, i);							\
}									\
INSN(cmpxchg##b##_mrg)							\
{									\
	uint##b##_t acc = RD##b(c, R_RAX), y = RD##b(c, i->reg), old = acc; \
	RMW(b, c, i, EA_G(c, i, b / 8, ACC_RMW),			\
	    (old = v) == acc ? y : old);				\
	do_cmp##b(c, acc, old);						\
	if (acc != old)							\
		WR##b(c, R_RAX, old);					\
	NEXT(c, i);							\
}									\
INSN(xadd##b##_rr)							\
{									\
	uint##b##_t x = RD##b(c, i->rm), r = do_add##b(c, x, RD##b(c, i->reg)); \
	WR##b(c, i->reg, x);						\
	WR##b(c, i->rm, r);						\
	NEXT(c, i);							\
}									\
INSN(xadd##b##_mrg)							\
{									\
	uint##b##_t y = RD##b(c, i->reg), old = 0;			\
	RMW(b, c, i, EA_G(c, i, b / 8, ACC_RMW),			\
	    do_add##b(c, old = v, y));					\
	WR##b(c, i->reg, old);						\
	NEXT(c, i);							\
}
EACH_WIDTH(CMPXCHG_FORMS)
#define ATOMIC_FAMILY(name)						\
const struct family fam_##name = { .fn = {				\
	[F_RR] = BY_WIDTH(name, _rr), [F_MRG] = BY_WIDTH(name, _mrg),	\
} };
ATOMIC_FAMILY(cmpxchg)
ATOMIC_FAMILY(xadd)

static void put_zf(struct vcpu *c, bool zf)
{
	cc_set_flags(c, (cc_flags(c) & ~FLAG_ZF) | (zf ? FLAG_ZF : 0));
}

/* Memory is written in any case, with what it held if unequal. */
INSN(cmpxchg8b)
{
	uint64_t lin = EA_G(c, i, 8, ACC_RMW), acc, old = 0, y;

	acc = c->r[R_RDX] << 32 | RD32(c, R_RAX);
	y = c->r[R_RCX] << 32 | RD32(c, R_RBX);
	RMW(64, c, i, lin, (old = v) == acc ? y : old);
	if (old != acc) {
		c->r[R_RAX] = (uint32_t)old;
		c->r[R_RDX] = old >> 32;
	}
	put_zf(c, old == acc);
	NEXT(c, i);
}

INSN(cmpxchg16b)
{
	uint64_t lin = EA_G(c, i, 16, ACC_RMW), low, high;
	bool same;

	if (lin & 15) {
		c->cur = i;
		cpu_raise_error(c, EXC_GP, 0);
	}
	mem_probe_write(c, i, lin, 16);
	low = mem_read64(c, i, lin);
	high = mem_read64(c, i, lin + 8);
	same = low == c->r[R_RAX] && high == c->r[R_RDX];
	mem_write64(c, i, lin, same ? c->r[R_RBX] : low);
	mem_write64(c, i, lin + 8, same ? c->r[R_RCX] : high);
	if (!same) {
		c->r[R_RAX] = low;
		c->r[R_RDX] = high;
	}
	put_zf(c, same);
	NEXT(c, i);
}
const struct family fam_cmpxchg8b = { .fn = {
	[F_MIG] = { NULL, NULL, cmpxchg8b, cmpxchg16b },
} };

/* The destination is ES:reg, of the address size, aligned to 64 bytes.  Returns
 * nothing: its buffer's address may not be alive in a tail call. */
static void movdir64b_copy(struct vcpu *c, const struct insn *i)
{
	uint64_t src = EA_G(c, i, 64, ACC_READ), off = c->r[i->reg], dst;
	uint8_t buf[64];

	if (op_adsize(i) == 4)
		off = (uint32_t)off;
	else if (op_adsize(i) == 2)
		off = (uint16_t)off;
	dst = seg_linear(c, i, c->mode & MODE_CS64 ? SEG_NONE : SEG_ES, off, 64,
			 ACC_WRITE);
	/* not the operand that the base register makes a stack access */
	if (dst & 63 || (c->mode & MODE_CS64 && !canonical(c, dst))) {
		c->cur = i;
		cpu_raise_error(c, EXC_GP, 0);
	}
	mem_read_bytes(c, i, src, buf, 64);
	mem_write_bytes(c, i, dst, buf, 64);
}

INSN(movdir64b)
{
	movdir64b_copy(c, i);
	NEXT(c, i);
}
const struct family fam_movdir64b = { .fn = { [F_RMG] = ALL_SIZES(movdir64b) } };
