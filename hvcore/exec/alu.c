/* alu.c: the two-operand arithmetic of groups 1 and 3, INC, DEC, NEG, NOT. */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/families.h"

/* RR, RI and loads, with the flags (do) or without (nf). */
#define REG_FORMS(name, b, kind, suffix)				\
INSN(name##b##_rr##suffix)						\
{									\
	WR##b(c, i->rm, kind##_##name##b(c, RD##b(c, i->rm),		\
					 RD##b(c, i->reg)));		\
	NEXT(c, i);							\
}									\
INSN(name##b##_ri##suffix)						\
{									\
	WR##b(c, i->rm, kind##_##name##b(c, RD##b(c, i->rm),		\
					 (uint##b##_t)i->imm));		\
	NEXT(c, i);							\
}									\
INSN(name##b##_rm##suffix)						\
{									\
	LOAD_OR(name##b##_rmg, b, c, i, y);				\
	WR##b(c, i->reg, kind##_##name##b(c, RD##b(c, i->reg), y));	\
	NEXT(c, i);							\
}
#define MEM_FORM(name, b, form, operand)				\
INSN(name##b##_##form##g)						\
{									\
	uint##b##_t y = (uint##b##_t)(operand);				\
	RMW(b, c, i, EA_G(c, i, b / 8, ACC_RMW), do_##name##b(c, v, y)); \
	NEXT(c, i);							\
}									\
INSN(name##b##_##form)							\
{									\
	PLACE_OR(name##b##_##form##g, b, c, i, p);			\
	*p = do_##name##b(c, *p, (uint##b##_t)(operand));		\
	NEXT(c, i);							\
}
#define ALU_FORMS(name, b)						\
INSN(name##b##_rmg)							\
{									\
	uint##b##_t y = mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ));	\
	WR##b(c, i->reg, do_##name##b(c, RD##b(c, i->reg), y));		\
	NEXT(c, i);							\
}									\
REG_FORMS(name, b, do, )						\
REG_FORMS(name, b, nf, _nf)						\
MEM_FORM(name, b, mr, RD##b(c, i->reg))					\
MEM_FORM(name, b, mi, i->imm)

#define ALU_FAMILY(name)						\
ALU_FORMS(name, 8)							\
ALU_FORMS(name, 16)							\
ALU_FORMS(name, 32)							\
ALU_FORMS(name, 64)							\
const struct family fam_##name = { .fn = {				\
	[F_RR] = BY_WIDTH(name, _rr), [F_RI] = BY_WIDTH(name, _ri),	\
	[F_RM] = BY_WIDTH(name, _rm), [F_RMG] = BY_WIDTH(name, _rmg),	\
	[F_MR] = BY_WIDTH(name, _mr), [F_MRG] = BY_WIDTH(name, _mrg),	\
	[F_MI] = BY_WIDTH(name, _mi), [F_MIG] = BY_WIDTH(name, _mig),	\
	[F_RR_NF] = BY_WIDTH(name, _rr_nf),				\
	[F_RM_NF] = BY_WIDTH(name, _rm_nf),				\
	[F_RI_NF] = BY_WIDTH(name, _ri_nf),				\
} };

ALU_FAMILY(add)
ALU_FAMILY(or)
ALU_FAMILY(adc)
ALU_FAMILY(sbb)
ALU_FAMILY(and)
ALU_FAMILY(sub)
ALU_FAMILY(xor)

/* -- CMP and TEST: no result --------------------------------------------------------- */
/* v is what was loaded. */
#define COMPARE_MEM(name, b, form, x, y)				\
INSN(name##b##_##form##g)						\
{									\
	uint##b##_t v = mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ));	\
	do_##name##b(c, (uint##b##_t)(x), (uint##b##_t)(y));		\
	NEXT(c, i);							\
}									\
INSN(name##b##_##form)							\
{									\
	LOAD_OR(name##b##_##form##g, b, c, i, v);			\
	do_##name##b(c, (uint##b##_t)(x), (uint##b##_t)(y));		\
	NEXT(c, i);							\
}
#define COMPARE_FORMS(name, b)						\
INSN(name##b##_rr)							\
{									\
	do_##name##b(c, RD##b(c, i->rm), RD##b(c, i->reg));		\
	NEXT(c, i);							\
}									\
INSN(name##b##_ri)							\
{									\
	do_##name##b(c, RD##b(c, i->rm), (uint##b##_t)i->imm);		\
	NEXT(c, i);							\
}									\
COMPARE_MEM(name, b, rm, RD##b(c, i->reg), v)				\
COMPARE_MEM(name, b, mr, v, RD##b(c, i->reg))				\
COMPARE_MEM(name, b, mi, v, i->imm)
#define COMPARE_FAMILY(name)						\
COMPARE_FORMS(name, 8)							\
COMPARE_FORMS(name, 16)							\
COMPARE_FORMS(name, 32)							\
COMPARE_FORMS(name, 64)							\
const struct family fam_##name = { .fn = {				\
	[F_RR] = BY_WIDTH(name, _rr), [F_RI] = BY_WIDTH(name, _ri),	\
	[F_RM] = BY_WIDTH(name, _rm), [F_RMG] = BY_WIDTH(name, _rmg),	\
	[F_MR] = BY_WIDTH(name, _mr), [F_MRG] = BY_WIDTH(name, _mrg),	\
	[F_MI] = BY_WIDTH(name, _mi), [F_MIG] = BY_WIDTH(name, _mig),	\
} };
COMPARE_FAMILY(cmp)
COMPARE_FAMILY(test)

/* -- one operand ------------------------------------------------------------------------ */
#define UNARY_NF(name, b)						\
INSN(name##b##_r_nf)							\
{									\
	WR##b(c, i->rm, nf_##name##b(RD##b(c, i->rm)));			\
	NEXT(c, i);							\
}
#define UNARY_WIDTH(b)							\
UNARY_FORMS(inc, b)							\
UNARY_FORMS(dec, b)							\
UNARY_FORMS(neg, b)							\
UNARY_NF(inc, b)							\
UNARY_NF(dec, b)							\
UNARY_NF(neg, b)							\
INSN(not##b##_r)							\
{									\
	WR##b(c, i->rm, nf_not##b(c, RD##b(c, i->rm), 0));		\
	NEXT(c, i);							\
}									\
INSN(not##b##_mg)							\
{									\
	RMW(b, c, i, EA_G(c, i, b / 8, ACC_RMW), nf_not##b(c, v, 0));	\
	NEXT(c, i);							\
}
EACH_WIDTH(UNARY_WIDTH)

#define UNARY_FAMILY(name)						\
const struct family fam_##name = { .fn = {				\
	[F_RI] = BY_WIDTH(name, _r), [F_RI_NF] = BY_WIDTH(name, _r_nf),	\
	[F_MI] = BY_WIDTH(name, _m), [F_MIG] = BY_WIDTH(name, _mg),	\
} };
UNARY_FAMILY(inc)
UNARY_FAMILY(dec)
UNARY_FAMILY(neg)
const struct family fam_not = { .fn = {
	[F_RI] = BY_WIDTH(not, _r), [F_MIG] = BY_WIDTH(not, _mg),
} };
