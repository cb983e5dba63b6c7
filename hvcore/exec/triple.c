/* triple.c: three instructions that end a block as one handler: a MOV, arithmetic on
 * what it moved, and the Jcc behind that; and a MOV or an addition with the JMP behind
 * it.
 *
 * As in fuse.c all keep their places in the block, flags are stored as ever, and a TLB
 * miss goes on in the general form of the first alone, behind which the fused pair
 * stands.  What is saved beside dispatch is the way of a register through memory, which
 * the next instruction would wait for.
 */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/dispatch.h"
#include "hvcore/exec/families.h"
#include "hvcore/exec/fuse.h"

#define MISS(b)								\
static insn_result load##b##_miss(struct vcpu *c, const struct insn *i)	\
{									\
	TAIL((fam_mov.fn[F_RMG][__builtin_ctz(b / 8)]), c, i);		\
}
MISS(32)
MISS(64)

/* A load, then a comparison of what was loaded: v.  i is the second instruction. */
#define LOADED(op, form, b, n)						\
INSN(load_##op##b##_##form##_##n)					\
{									\
	LOAD_OR(load##b##_miss, b, c, i, v);				\
	WR##b(c, i->reg, v);						\
	i++;								\
	do_##op##b(c, FIRST_##form(b), SECOND_##form(b));		\
	FUSED_BRANCH(c, i, n);					\
}
#define FIRST_vr(b) v
#define SECOND_vr(b) RD##b(c, i->reg)
#define FIRST_rv(b) RD##b(c, i->rm)
#define SECOND_rv(b) v
#define FIRST_vv(b) v
#define SECOND_vv(b) v
#define FIRST_vi(b) v
#define SECOND_vi(b) (uint##b##_t)i->imm

/* MOV between registers, then a subtraction from, or comparison of, the copy. */
#define COPIED(op, form, b, n)						\
INSN(copy_##op##b##_##form##_##n)					\
{									\
	uint##b##_t v = RD##b(c, i->reg);				\
	unsigned to = i->rm;						\
									\
	i++;								\
	v = do_##op##b(c, v, SECOND_##form(b));				\
	WR##b(c, to, v);						\
	FUSED_BRANCH(c, i, n);					\
}

#define EACH_CC(X, op, form, b)						\
	X(op, form, b, 0) X(op, form, b, 1) X(op, form, b, 2)		\
	X(op, form, b, 3) X(op, form, b, 4) X(op, form, b, 5)		\
	X(op, form, b, 6) X(op, form, b, 7) X(op, form, b, 8)		\
	X(op, form, b, 9) X(op, form, b, 10) X(op, form, b, 11)		\
	X(op, form, b, 12) X(op, form, b, 13) X(op, form, b, 14)	\
	X(op, form, b, 15)
#define TRIPLES(b)							\
	EACH_CC(LOADED, cmp, vr, b) EACH_CC(LOADED, cmp, rv, b)		\
	EACH_CC(LOADED, cmp, vi, b) EACH_CC(LOADED, test, vv, b)	\
	EACH_CC(COPIED, sub, vr, b) EACH_CC(COPIED, sub, vi, b)		\
	EACH_CC(COPIED, and, vi, b)
TRIPLES(32)
TRIPLES(64)

#define NAME_LOADED(op, form, b, n) load_##op##b##_##form##_##n,
#define NAME_COPIED(op, form, b, n) copy_##op##b##_##form##_##n,

/* Where the moved register is among the second's operands. */
enum place { IN_RM, IN_REG, IN_BOTH };
struct triple {
	bool load;               /* the MOV's form; else between registers */
	const struct family *family;
	enum form form;          /* of the second */
	enum place place;
	insn_fn *fn[16];
};
#define ROW(load, fam, form, place, kind, op, how, b)			\
	{ load, &fam, form, place, { EACH_CC(NAME_##kind, op, how, b) } },
#define ROWS(b)	{							\
	ROW(true, fam_cmp, F_RR, IN_RM, LOADED, cmp, vr, b)		\
	ROW(true, fam_cmp, F_RR, IN_REG, LOADED, cmp, rv, b)		\
	ROW(true, fam_cmp, F_RI, IN_RM, LOADED, cmp, vi, b)		\
	ROW(true, fam_test, F_RR, IN_BOTH, LOADED, test, vv, b)		\
	ROW(false, fam_sub, F_RR, IN_RM, COPIED, sub, vr, b)		\
	ROW(false, fam_sub, F_RI, IN_RM, COPIED, sub, vi, b)		\
	ROW(false, fam_and, F_RI, IN_RM, COPIED, and, vi, b)		\
}
#define NROWS 7
static const struct triple triples[2][NROWS] = { ROWS(32), ROWS(64) };

/* The register that i, a MOV of 4 << wide bytes, writes; -1: another instruction. */
static int moved(const struct insn *i, unsigned wide, bool load)
{
	insn_fn *const (*fn)[4] = fam_mov.fn;

	if (!load)
		return fn[F_RR][2 + wide] == i->fn ? i->rm : -1;
	return fn[F_RM][2 + wide] == i->fn || fn[F_RMB][2 + wide] == i->fn ?
		i->reg : -1;
}

static bool in_place(const struct triple *t, const struct insn *i, int reg)
{
	if (t->form == F_RI)
		return i->rm == reg;
	switch (t->place) {
	case IN_RM: return i->rm == reg && i->reg != reg;
	case IN_REG: return i->reg == reg && i->rm != reg;
	default: return i->rm == reg && i->reg == reg;
	}
}

insn_fn *triple_find(const struct insn *first, const struct insn *second,
		     const struct insn *jcc)
{
	int cc = fuse_condition(jcc);

	for (unsigned wide = 0; cc >= 0 && wide < 2; wide++)
		for (unsigned n = 0; n < NROWS; n++) {
			const struct triple *t = &triples[wide][n];
			int reg = moved(first, wide, t->load);

			if (reg >= 0 &&
			    t->family->fn[t->form][2 + wide] == second->fn &&
			    in_place(t, second, reg))
				return t->fn[cc];
		}
	return NULL;
}

/* -- with the JMP behind it ----------------------------------------------------------- */
#define JUMPS(b)							\
INSN(mov##b##_rr_jmp)							\
{									\
	WR##b(c, i->rm, RD##b(c, i->reg));				\
	i++;								\
	GOTO_TAKEN(c, i);						\
}									\
INSN(add##b##_ri_jmp)							\
{									\
	WR##b(c, i->rm, do_add##b(c, RD##b(c, i->rm),			\
				  (uint##b##_t)i->imm));		\
	i++;								\
	GOTO_TAKEN(c, i);						\
}
JUMPS(32)
JUMPS(64)

insn_fn *jump_find(const struct insn *first, const struct insn *jmp)
{
	static const struct {
		const struct family *family;
		enum form form;
		insn_fn *fn[2];
	} rows[] = {
		{ &fam_mov, F_RR, { mov32_rr_jmp, mov64_rr_jmp } },
		{ &fam_add, F_RI, { add32_ri_jmp, add64_ri_jmp } },
	};

	if (!fuse_is_jmp(jmp))
		return NULL;
	for (unsigned n = 0; n < sizeof rows / sizeof rows[0]; n++)
		for (unsigned wide = 0; wide < 2; wide++)
			if (rows[n].family->fn[rows[n].form][2 + wide] == first->fn)
				return rows[n].fn[wide];
	return NULL;
}
