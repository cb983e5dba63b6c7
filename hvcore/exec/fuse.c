/* fuse.c: an arithmetic instruction and the Jcc behind it as one handler.
 *
 * The pair keeps its two places in the block: the first's handler does both
 * and branches as the second would.  The flags are stored as ever; only the
 * condition is computed from the operands at hand.  A TLB miss falls back to
 * the plain pair.
 */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/dispatch.h"
#include "hvcore/exec/families.h"
#include "hvcore/exec/fuse.h"

/* A miss goes on in the general form of the first alone. */
#define MISS(name, form, size)						\
static insn_result name##size##_##form##_miss(struct vcpu *c,		\
					      const struct insn *i)	\
{									\
	TAIL((fam_##name.fn[form][__builtin_ctz(size / 8)]), c, i);	\
}

/* do_NAME without a result to keep */
#define FUSE_RR(name, b, n)						\
INSN(name##b##_rr_##n)							\
{									\
	do_##name##b(c, RD##b(c, i->rm), RD##b(c, i->reg));		\
	FUSED_BRANCH(c, i, n);					\
}
#define FUSE_RI(name, b, n)						\
INSN(name##b##_ri_##n)							\
{									\
	do_##name##b(c, RD##b(c, i->rm), (uint##b##_t)i->imm);		\
	FUSED_BRANCH(c, i, n);					\
}
#define FUSE_RM(name, b, n)						\
INSN(name##b##_rm_##n)							\
{									\
	LOAD_OR(name##b##_F_RMG_miss, b, c, i, v);			\
	do_##name##b(c, RD##b(c, i->reg), v);				\
	FUSED_BRANCH(c, i, n);					\
}
#define FUSE_MR(name, b, n)						\
INSN(name##b##_mr_##n)							\
{									\
	LOAD_OR(name##b##_F_MRG_miss, b, c, i, v);			\
	do_##name##b(c, v, RD##b(c, i->reg));				\
	FUSED_BRANCH(c, i, n);					\
}
#define FUSE_MI(name, b, n)						\
INSN(name##b##_mi_##n)							\
{									\
	LOAD_OR(name##b##_F_MIG_miss, b, c, i, v);			\
	do_##name##b(c, v, (uint##b##_t)i->imm);			\
	FUSED_BRANCH(c, i, n);					\
}
/* with one */
#define FUSE_WRR(name, b, n)						\
INSN(name##b##_wrr_##n)							\
{									\
	WR##b(c, i->rm, do_##name##b(c, RD##b(c, i->rm), RD##b(c, i->reg))); \
	FUSED_BRANCH(c, i, n);					\
}
#define FUSE_WRI(name, b, n)						\
INSN(name##b##_wri_##n)							\
{									\
	WR##b(c, i->rm, do_##name##b(c, RD##b(c, i->rm),		\
				     (uint##b##_t)i->imm));		\
	FUSED_BRANCH(c, i, n);					\
}

#define EACH_CC(X, name, b)						\
	X(name, b, 0) X(name, b, 1) X(name, b, 2) X(name, b, 3)		\
	X(name, b, 4) X(name, b, 5) X(name, b, 6) X(name, b, 7)		\
	X(name, b, 8) X(name, b, 9) X(name, b, 10) X(name, b, 11)	\
	X(name, b, 12) X(name, b, 13) X(name, b, 14) X(name, b, 15)
#define ROW_CC(name, b, form) {						\
	name##b##_##form##_0, name##b##_##form##_1, name##b##_##form##_2, \
	name##b##_##form##_3, name##b##_##form##_4, name##b##_##form##_5, \
	name##b##_##form##_6, name##b##_##form##_7, name##b##_##form##_8, \
	name##b##_##form##_9, name##b##_##form##_10,			\
	name##b##_##form##_11, name##b##_##form##_12,			\
	name##b##_##form##_13, name##b##_##form##_14,			\
	name##b##_##form##_15 }

#define COMPARES(b)							\
MISS(cmp, F_RMG, b)							\
MISS(cmp, F_MRG, b)							\
MISS(cmp, F_MIG, b)							\
MISS(test, F_MIG, b)							\
EACH_CC(FUSE_RR, cmp, b)						\
EACH_CC(FUSE_RI, cmp, b)						\
EACH_CC(FUSE_RM, cmp, b)						\
EACH_CC(FUSE_MR, cmp, b)						\
EACH_CC(FUSE_MI, cmp, b)						\
EACH_CC(FUSE_RR, test, b)						\
EACH_CC(FUSE_RI, test, b)						\
EACH_CC(FUSE_MI, test, b)
COMPARES(8)
COMPARES(32)
COMPARES(64)
#define RESULTS(b)							\
EACH_CC(FUSE_WRR, sub, b)						\
EACH_CC(FUSE_WRI, sub, b)						\
EACH_CC(FUSE_WRI, add, b)						\
EACH_CC(FUSE_WRI, and, b)						\
EACH_CC(FUSE_WRI, inc, b)						\
EACH_CC(FUSE_WRI, dec, b)
RESULTS(32)
RESULTS(64)

struct fusion {
	const struct family *family;
	enum form form;
	unsigned size;  /* log2 of bytes */
	insn_fn *fn[16];
};

#define COMPARE_ROWS(b, size)						\
	{ &fam_cmp, F_RR, size, ROW_CC(cmp, b, rr) },			\
	{ &fam_cmp, F_RI, size, ROW_CC(cmp, b, ri) },			\
	{ &fam_cmp, F_RM, size, ROW_CC(cmp, b, rm) },			\
	{ &fam_cmp, F_MR, size, ROW_CC(cmp, b, mr) },			\
	{ &fam_cmp, F_MI, size, ROW_CC(cmp, b, mi) },			\
	{ &fam_test, F_RR, size, ROW_CC(test, b, rr) },			\
	{ &fam_test, F_RI, size, ROW_CC(test, b, ri) },			\
	{ &fam_test, F_MI, size, ROW_CC(test, b, mi) },
#define RESULT_ROWS(b, size)						\
	{ &fam_sub, F_RR, size, ROW_CC(sub, b, wrr) },			\
	{ &fam_sub, F_RI, size, ROW_CC(sub, b, wri) },			\
	{ &fam_add, F_RI, size, ROW_CC(add, b, wri) },			\
	{ &fam_and, F_RI, size, ROW_CC(and, b, wri) },			\
	{ &fam_inc, F_RI, size, ROW_CC(inc, b, wri) },			\
	{ &fam_dec, F_RI, size, ROW_CC(dec, b, wri) },
static const struct fusion fusions[] = {
	COMPARE_ROWS(8, 0)
	COMPARE_ROWS(32, 2)
	COMPARE_ROWS(64, 3)
	RESULT_ROWS(32, 2)
	RESULT_ROWS(64, 3)
};

static bool is_relative(const struct insn_row *r)
{
	return r && (r->operands == X_JB || r->operands == X_JZ);
}

int fuse_condition(const struct insn *i)
{
	const struct insn_row *r = insn_row(i);

	if (!is_relative(r) || (r->opcode & 0xf0) != (r->map ? 0x80 : 0x70))
		return -1;
	return r->opcode & 15;
}

bool fuse_is_jmp(const struct insn *i)
{
	const struct insn_row *r = insn_row(i);

	return is_relative(r) && !r->map && (r->opcode == 0xe9 || r->opcode == 0xeb);
}

insn_fn *fuse_find(const struct insn *first, const struct insn *second)
{
	const struct insn_row *a = insn_row(first);
	int cc = fuse_condition(second);

	if (!a || !a->family || cc < 0)
		return NULL;
	for (unsigned n = 0; n < sizeof fusions / sizeof fusions[0]; n++) {
		const struct fusion *f = &fusions[n];

		if (f->family == a->family &&
		    f->family->fn[f->form][f->size] == first->fn)
			return f->fn[cc];
	}
	return NULL;
}
