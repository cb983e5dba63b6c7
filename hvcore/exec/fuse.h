/* fuse.h: see fuse.c. */
#ifndef NSTATE_HVCORE_EXEC_FUSE_H
#define NSTATE_HVCORE_EXEC_FUSE_H

#include "hvcore/insn.h"

/* The handler that does both, or NULL. */
insn_fn *fuse_find(const struct insn *first, const struct insn *second);

/* The condition of a Jcc; -1: no Jcc.  A JMP to a relative target. */
int fuse_condition(const struct insn *i);
bool fuse_is_jmp(const struct insn *i);

/* The handler of all three, the last of which is a Jcc, or NULL; of an instruction and
 * the JMP behind it: triple.c. */
insn_fn *triple_find(const struct insn *first, const struct insn *second,
		     const struct insn *jcc);
insn_fn *jump_find(const struct insn *first, const struct insn *jmp);

/* The handler of both, or NULL: pair.c. */
insn_fn *pair_find(const struct insn *first, const struct insn *second);

/* The Jcc behind i, with condition n; for users of dispatch.h. */
#define FUSED_BRANCH(c, i, n) do {					\
	const struct insn *j_ = (i) + 1;				\
	if (cc_cond(c, n))						\
		GOTO_TAKEN(c, j_);					\
	GOTO_FALL(c, j_);						\
} while (0)

#endif
