/* pair.c: two register instructions with one destination as one handler.
 *
 * Guest registers live in memory, so an instruction that works on the result of
 * the one before waits for a store to be forwarded to its load.  Where both write
 * the same register, leave the flags alone (they are dead) and cannot fault, the
 * first's handler does both and goes on behind the second; the second keeps its
 * place in the block, as in fuse.c.
 */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/families.h"
#include "hvcore/exec/fuse.h"

/* The destination's new value, from its old one v and instruction i. */
#define OP_mov_rr(b) RD##b(c, i->reg)
#define OP_add_rr(b) v + RD##b(c, i->reg)
#define OP_sub_rr(b) v - RD##b(c, i->reg)
#define OP_xor_rr(b) v ^ RD##b(c, i->reg)
#define OP_and_rr(b) v & RD##b(c, i->reg)
#define OP_or_rr(b) v | RD##b(c, i->reg)
#define OP_imul_rr(b) v * RD##b(c, i->reg)
#define OP_add_ri(b) v + i->imm
#define OP_sub_ri(b) v - i->imm
#define OP_and_ri(b) v & i->imm
#define OP_shl_ri(b) v << (i->imm & (b - 1))
#define OP_shr_ri(b) v >> (i->imm & (b - 1))
#define OP_rol_ri(b) v << (i->imm & (b - 1)) | v >> (-i->imm & (b - 1))

#define EACH_SECOND(X, b, first)					\
	X(b, first, add_rr) X(b, first, sub_rr) X(b, first, xor_rr)	\
	X(b, first, and_rr) X(b, first, or_rr) X(b, first, imul_rr)	\
	X(b, first, add_ri) X(b, first, sub_ri) X(b, first, and_ri)	\
	X(b, first, shl_ri) X(b, first, shr_ri) X(b, first, rol_ri)
#define EACH_FIRST(X, b)						\
	X(b, mov_rr) X(b, add_rr) X(b, sub_rr) X(b, xor_rr) X(b, and_rr)	\
	X(b, or_rr) X(b, imul_rr) X(b, add_ri) X(b, sub_ri) X(b, and_ri) \
	X(b, shl_ri) X(b, shr_ri) X(b, rol_ri)
/* In the order of both lists, with MOV, which can be first only, in front. */
enum { MOV_RR, SECONDS = 12 };

#define PAIR(b, first, second)						\
INSN(first##_##second##b)						\
{									\
	uint##b##_t v = RD##b(c, i->rm);				\
	v = (uint##b##_t)(OP_##first(b));				\
	i++;								\
	v = (uint##b##_t)(OP_##second(b));				\
	WR##b(c, i->rm, v);						\
	NEXT(c, i);							\
}
#define PAIRS(b, first) EACH_SECOND(PAIR, b, first)
EACH_FIRST(PAIRS, 32)
EACH_FIRST(PAIRS, 64)

#define NAME(b, first, second) first##_##second##b,
#define NAMES(b, first) { EACH_SECOND(NAME, b, first) },
static insn_fn *const pairs[2][SECONDS + 1][SECONDS] = {
	{ EACH_FIRST(NAMES, 32) },
	{ EACH_FIRST(NAMES, 64) },
};

static const struct {
	const struct family *family;
	enum form form;
} ops[SECONDS + 1] = {
	{ &fam_mov, F_RR },
	{ &fam_add, F_RR_NF }, { &fam_sub, F_RR_NF }, { &fam_xor, F_RR_NF },
	{ &fam_and, F_RR_NF }, { &fam_or, F_RR_NF }, { &fam_imul2, F_RR_NF },
	{ &fam_add, F_RI_NF }, { &fam_sub, F_RI_NF }, { &fam_and, F_RI_NF },
	{ &fam_shl, F_RI_NF }, { &fam_shr, F_RI_NF }, { &fam_rol, F_RI_NF },
};

/* Which of ops i is, with operands of 4 << wide bytes; or -1. */
static int op_of(const struct insn *i, unsigned wide)
{
	for (int n = 0; n <= SECONDS; n++)
		if (ops[n].family->fn[ops[n].form][2 + wide] == i->fn)
			return n;
	return -1;
}

static bool reads_register(int op)
{
	return ops[op].form != F_RI_NF;
}

insn_fn *pair_find(const struct insn *first, const struct insn *second)
{
	for (unsigned wide = 0; wide < 2; wide++) {
		int a = op_of(first, wide), b;

		if (a < 0)
			continue;
		b = op_of(second, wide);
		if (b <= MOV_RR || first->rm != second->rm)
			return NULL;
		/* the first's result, still to be stored */
		if (reads_register(b) && second->reg == second->rm)
			return NULL;
		return pairs[wide][a][b - 1];
	}
	return NULL;
}
