/* fuse.h: see fuse.c. */
#ifndef NSTATE_HVCORE_EXEC_FUSE_H
#define NSTATE_HVCORE_EXEC_FUSE_H

#include "hvcore/insn.h"

/* The handler that does both, or NULL. */
insn_fn *fuse_find(const struct insn *first, const struct insn *second);

/* The handler of both, or NULL: pair.c. */
insn_fn *pair_find(const struct insn *first, const struct insn *second);

#endif
