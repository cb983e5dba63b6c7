/* table.c: the instruction table's rows, and their index by opcode. */
#include "hvcore/decode/table.h"
#include "hvcore/exec/ea.h"
#include "hvcore/exec/families.h"

/* Flag letters of table.def. */
enum { O = FLAG_OF, S = FLAG_SF, Z = FLAG_ZF, A = FLAG_AF, P = FLAG_PF,
       C = FLAG_CF, OSZAPC = FLAGS_ARITH, ALL = FLAGS_ARITH,
       OSZAP = OSZAPC & ~FLAG_CF, SZAPC = OSZAPC & ~FLAG_OF,
       OSAPC = OSZAPC & ~FLAG_ZF };

const struct insn_row insn_rows[] = {
#define OP(m, o, e, px, nm, ops, fam, fr, fw, fu, at)			\
	{ .name = nm, .family = &fam, .attr = at, .ext = e, .reads = fr, \
	  .writes = (fw) | (fu), .undefined = fu, .map = m, .opcode = o, \
	  .prefix = px, .operands = ops },
#define SLOW(m, o, e, px, nm, ops, f, at)				\
	{ .name = nm, .slow = f, .attr = at, .ext = e, .reads = ALL,	\
	  .map = m, .opcode = o, .prefix = px, .operands = ops },
#define FAST(m, o, e, px, nm, ops, f, quick, at)			\
	{ .name = nm, .slow = f, .fast = quick, .attr = at, .ext = e,	\
	  .reads = ALL, .map = m, .opcode = o, .prefix = px,		\
	  .operands = ops },
#include "hvcore/decode/table.def"
#undef OP
#undef FAST
#undef SLOW
};
const unsigned insn_nrows = sizeof insn_rows / sizeof insn_rows[0];
_Static_assert(sizeof insn_rows / sizeof insn_rows[0] < OP_END,
	       "rows have to fit in struct insn.op");

void insn_index_build(struct insn_index *x)
{
	memset(x, 0, sizeof *x);
	for (unsigned i = 0; i < insn_nrows; i++) {
		const struct insn_row *r = &insn_rows[i];

		/* R8 may repeat an opcode whose special rows came before. */
		if (!x->count[r->map][r->opcode]++)
			x->first[r->map][r->opcode] = i;
	}
}

const struct insn_row *insn_row(const struct insn *i)
{
	unsigned n = i->op & OP_ROW;

	return n < insn_nrows ? &insn_rows[n] : NULL;
}
