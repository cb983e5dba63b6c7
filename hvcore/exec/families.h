/* families.h: the families of handlers that the instruction table names. */
#ifndef NSTATE_HVCORE_EXEC_FAMILIES_H
#define NSTATE_HVCORE_EXEC_FAMILIES_H

#include "hvcore/decode/table.h"

/* Every family and exec/'s own slow functions, declared from the table. */
#define OP(m, o, e, px, nm, ops, fam, fr, fw, fu, at) \
	extern const struct family fam;
#define SLOW(m, o, e, px, nm, ops, f, at) slow_fn f;
#define FAST(m, o, e, px, nm, ops, f, quick, at) \
	slow_fn f; \
	insn_fn quick;
#include "hvcore/decode/table.def"
#undef OP
#undef FAST
#undef SLOW

#define ALL_SIZES(f) { f, f, f, f }

#endif
