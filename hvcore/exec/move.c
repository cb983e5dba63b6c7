/* move.c: MOV and its kin: extensions, LEA, XCHG, CMOV, SETcc, BSWAP, XLAT. */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/families.h"

/* -- MOV --------------------------------------------------------------------------- */
#define MOV_STORE(b, form, value)					\
INSN(mov##b##_##form##g)						\
{									\
	mem_write##b(c, i, EA_G(c, i, b / 8, ACC_WRITE),		\
		     (uint##b##_t)(value));				\
	NEXT(c, i);							\
}									\
INSN(mov##b##_##form)							\
{									\
	PLACE_OR(mov##b##_##form##g, b, c, i, p);			\
	*p = (uint##b##_t)(value);					\
	NEXT(c, i);							\
}									\
INSN(mov##b##_b##form)							\
{									\
	PLACE_AT(mov##b##_##form##g, b, c, i, ea_base, p);		\
	*p = (uint##b##_t)(value);					\
	NEXT(c, i);							\
}
#define MOV_LOAD(b)							\
INSN(mov##b##_rmg)							\
{									\
	WR##b(c, i->reg, mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ))); \
	NEXT(c, i);							\
}									\
INSN(mov##b##_rm)							\
{									\
	LOAD_OR(mov##b##_rmg, b, c, i, v);				\
	WR##b(c, i->reg, v);						\
	NEXT(c, i);							\
}									\
INSN(mov##b##_brm)							\
{									\
	LOAD_FROM(mov##b##_rmg, b, c, i, ea_base, v);			\
	WR##b(c, i->reg, v);						\
	NEXT(c, i);							\
}
#define MOV_FORMS(b)							\
INSN(mov##b##_rr)							\
{									\
	WR##b(c, i->rm, RD##b(c, i->reg));				\
	NEXT(c, i);							\
}									\
INSN(mov##b##_ri)							\
{									\
	WR##b(c, i->rm, i->imm);					\
	NEXT(c, i);							\
}									\
MOV_LOAD(b)								\
MOV_STORE(b, mr, RD##b(c, i->reg))					\
MOV_STORE(b, mi, i->imm)						\
INSN(moffs##b##_rm)							\
{									\
	uint64_t lin = seg_linear(c, i, i->seg, i->imm, b / 8, ACC_READ); \
	WR##b(c, i->reg, mem_read##b(c, i, lin));			\
	NEXT(c, i);							\
}									\
INSN(moffs##b##_mr)							\
{									\
	uint64_t lin = seg_linear(c, i, i->seg, i->imm, b / 8, ACC_WRITE); \
	mem_write##b(c, i, lin, RD##b(c, i->reg));			\
	NEXT(c, i);							\
}
EACH_WIDTH(MOV_FORMS)
const struct family fam_mov = { .fn = {
	[F_RR] = BY_WIDTH(mov, _rr), [F_RI] = BY_WIDTH(mov, _ri),
	[F_RM] = BY_WIDTH(mov, _rm), [F_RMG] = BY_WIDTH(mov, _rmg),
	[F_MR] = BY_WIDTH(mov, _mr), [F_MRG] = BY_WIDTH(mov, _mrg),
	[F_MI] = BY_WIDTH(mov, _mi), [F_MIG] = BY_WIDTH(mov, _mig),
	[F_RMB] = BY_WIDTH(mov, _brm), [F_MRB] = BY_WIDTH(mov, _bmr),
	[F_MIB] = BY_WIDTH(mov, _bmi),
} };
const struct family fam_moffs = { .fn = {
	[F_RMG] = BY_WIDTH(moffs, _rm), [F_MRG] = BY_WIDTH(moffs, _mr),
} };

/* -- MOVZX, MOVSX, MOVSXD --------------------------------------------------------- */
#define EXTEND(name, from, type, to)					\
INSN(name##to##_rr)							\
{									\
	WR##to(c, i->rm, (type)RD##from(c, i->reg));			\
	NEXT(c, i);							\
}									\
INSN(name##to##_rmg)							\
{									\
	WR##to(c, i->reg, (type)mem_read##from(c, i,			\
			EA_G(c, i, from / 8, ACC_READ)));		\
	NEXT(c, i);							\
}									\
INSN(name##to##_rm)							\
{									\
	LOAD_OR(name##to##_rmg, from, c, i, v);				\
	WR##to(c, i->reg, (type)v);					\
	NEXT(c, i);							\
}
#define EXTEND_FAMILY(name, from, type)					\
EXTEND(name, from, type, 16)						\
EXTEND(name, from, type, 32)						\
EXTEND(name, from, type, 64)						\
const struct family fam_##name = { .fn = {				\
	[F_RR] = BY_WIDTH3(name, _rr), [F_RM] = BY_WIDTH3(name, _rm),	\
	[F_RMG] = BY_WIDTH3(name, _rmg),				\
} };
/* The byte number of an RR form's source is in reg: the decoder saw to that. */
EXTEND_FAMILY(movzx8, 8, uint8_t)
EXTEND_FAMILY(movzx16, 16, uint16_t)
EXTEND_FAMILY(movsx8, 8, int8_t)
EXTEND_FAMILY(movsx16, 16, int16_t)
/* 63 with a 16-bit operand moves 16 bits, with a 32-bit one 32. */
EXTEND(movsxd, 32, int32_t, 32)
EXTEND(movsxd, 32, int32_t, 64)
const struct family fam_movsxd = { .fn = {
	[F_RR] = { NULL, mov16_rr, movsxd32_rr, movsxd64_rr },
	[F_RM] = { NULL, mov16_rm, movsxd32_rm, movsxd64_rm },
	[F_RMG] = { NULL, mov16_rmg, movsxd32_rmg, movsxd64_rmg },
} };

/* -- LEA, XCHG, BSWAP, MOVBE ------------------------------------------------------ */
#define LEA_FORMS(b)							\
INSN(lea##b##_rm)							\
{									\
	WR##b(c, i->reg, ea_simple(c, i));				\
	NEXT(c, i);							\
}									\
INSN(lea##b##_rmg)							\
{									\
	WR##b(c, i->reg, ea_offset(c, i));				\
	NEXT(c, i);							\
}
LEA_FORMS(16)
LEA_FORMS(32)
LEA_FORMS(64)
const struct family fam_lea = { .fn = {
	[F_RM] = BY_WIDTH3(lea, _rm), [F_RMG] = BY_WIDTH3(lea, _rmg),
} };

#define XCHG_FORMS(b)							\
INSN(xchg##b##_rr)							\
{									\
	uint##b##_t x = RD##b(c, i->rm), y = RD##b(c, i->reg);		\
	WR##b(c, i->rm, y);						\
	WR##b(c, i->reg, x);						\
	NEXT(c, i);							\
}									\
INSN(xchg##b##_mrg)							\
{									\
	uint##b##_t y = RD##b(c, i->reg), old = 0;			\
	RMW(b, c, i, EA_G(c, i, b / 8, ACC_RMW), (old = v, y));		\
	WR##b(c, i->reg, old);						\
	NEXT(c, i);							\
}
EACH_WIDTH(XCHG_FORMS)
const struct family fam_xchg = { .fn = {
	[F_RR] = BY_WIDTH(xchg, _rr), [F_MRG] = BY_WIDTH(xchg, _mrg),
} };

/* Of 16 bits it is undefined; processors clear the word. */
INSN(bswap16)
{
	WR16(c, i->rm, 0);
	NEXT(c, i);
}
INSN(bswap32)
{
	WR32(c, i->rm, __builtin_bswap32(RD32(c, i->rm)));
	NEXT(c, i);
}
INSN(bswap64)
{
	WR64(c, i->rm, __builtin_bswap64(RD64(c, i->rm)));
	NEXT(c, i);
}
const struct family fam_bswap = { .fn = {
	[F_RI] = { NULL, bswap16, bswap32, bswap64 },
} };

#define MOVBE_FORMS(b)							\
INSN(movbe##b##_rm)							\
{									\
	uint##b##_t v = mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ));	\
	WR##b(c, i->reg, __builtin_bswap##b(v));			\
	NEXT(c, i);							\
}									\
INSN(movbe##b##_mr)							\
{									\
	mem_write##b(c, i, EA_G(c, i, b / 8, ACC_WRITE),		\
		     __builtin_bswap##b(RD##b(c, i->reg)));		\
	NEXT(c, i);							\
}
MOVBE_FORMS(16)
MOVBE_FORMS(32)
MOVBE_FORMS(64)
const struct family fam_movbe = { .fn = {
	[F_RMG] = BY_WIDTH3(movbe, _rm), [F_MRG] = BY_WIDTH3(movbe, _mr),
} };

/* -- CMOVcc, SETcc ------------------------------------------------------------------ */
/* The load is done, and a 32-bit destination cleared above, in any case. */
#define CMOV_FORMS(n, b)						\
INSN(cmov##n##_##b##_rr)						\
{									\
	uint##b##_t y = RD##b(c, i->reg);				\
	WR##b(c, i->rm, cc_cond(c, n) ? y : RD##b(c, i->rm));		\
	NEXT(c, i);							\
}									\
INSN(cmov##n##_##b##_rmg)						\
{									\
	uint##b##_t y = mem_read##b(c, i, EA_G(c, i, b / 8, ACC_READ));	\
	WR##b(c, i->reg, cc_cond(c, n) ? y : RD##b(c, i->reg));		\
	NEXT(c, i);							\
}
#define CONDITIONAL(n)							\
CMOV_FORMS(n, 16)							\
CMOV_FORMS(n, 32)							\
CMOV_FORMS(n, 64)							\
const struct family fam_cmov_##n = { .fn = {				\
	[F_RR] = BY_WIDTH3(cmov##n##_, _rr),				\
	[F_RMG] = BY_WIDTH3(cmov##n##_, _rmg),				\
} };									\
INSN(set##n##_r)							\
{									\
	WR8(c, i->rm, cc_cond(c, n));					\
	NEXT(c, i);							\
}									\
INSN(set##n##_m)							\
{									\
	mem_write8(c, i, EA_G(c, i, 1, ACC_WRITE), cc_cond(c, n));	\
	NEXT(c, i);							\
}									\
const struct family fam_set_##n = { .fn = {				\
	[F_RI] = { set##n##_r }, [F_MIG] = { set##n##_m },		\
} };
CONDITIONAL(0)
CONDITIONAL(1)
CONDITIONAL(2)
CONDITIONAL(3)
CONDITIONAL(4)
CONDITIONAL(5)
CONDITIONAL(6)
CONDITIONAL(7)
CONDITIONAL(8)
CONDITIONAL(9)
CONDITIONAL(10)
CONDITIONAL(11)
CONDITIONAL(12)
CONDITIONAL(13)
CONDITIONAL(14)
CONDITIONAL(15)

/* -- CBW, CWD, XLAT ------------------------------------------------------------------ */
INSN(cbw16) { WR16(c, R_RAX, (int8_t)c->r[R_RAX]); NEXT(c, i); }
INSN(cbw32) { WR32(c, R_RAX, (int16_t)c->r[R_RAX]); NEXT(c, i); }
INSN(cbw64) { WR64(c, R_RAX, (int64_t)(int32_t)c->r[R_RAX]); NEXT(c, i); }
const struct family fam_cbw = { .fn = {
	[F_N] = { NULL, cbw16, cbw32, cbw64 },
} };
INSN(cwd16) { WR16(c, R_RDX, (int16_t)c->r[R_RAX] >> 15); NEXT(c, i); }
INSN(cwd32) { WR32(c, R_RDX, (int32_t)c->r[R_RAX] >> 31); NEXT(c, i); }
INSN(cwd64) { WR64(c, R_RDX, (int64_t)c->r[R_RAX] >> 63); NEXT(c, i); }
const struct family fam_cwd = { .fn = {
	[F_N] = { NULL, cwd16, cwd32, cwd64 },
} };

INSN(xlat)
{
	uint64_t off = c->r[R_RBX] + (uint8_t)c->r[R_RAX], lin;

	if (op_adsize(i) == 4)
		off = (uint32_t)off;
	else if (op_adsize(i) == 2)
		off = (uint16_t)off;
	lin = seg_linear(c, i, i->seg, off, 1, ACC_READ);
	WR8(c, R_RAX, mem_read8(c, i, lin));
	NEXT(c, i);
}
const struct family fam_xlat = { .fn = { [F_N] = ALL_SIZES(xlat) } };

/* -- nothing ------------------------------------------------------------------------- */
INSN(nop)
{
	NEXT(c, i);
}
const struct family fam_nop = { .fn = {
	[F_N] = ALL_SIZES(nop), [F_RI] = ALL_SIZES(nop),
	[F_MIG] = ALL_SIZES(nop),
} };

/* Faults as a load of a byte does; there is no cache to flush. */
INSN(clflush)
{
	(void)mem_read8(c, i, EA_G(c, i, 1, ACC_READ));
	NEXT(c, i);
}
const struct family fam_clflush = { .fn = { [F_MIG] = ALL_SIZES(clflush) } };
