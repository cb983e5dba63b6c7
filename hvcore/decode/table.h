/* table.h: the shape of the instruction table, decode/table.def.
 *
 * A row says what an opcode is; rows of one opcode stand together and the first
 * that matches (prefix, ModRM.reg, register or memory, mode) is taken.
 */
#ifndef NSTATE_HVCORE_DECODE_TABLE_H
#define NSTATE_HVCORE_DECODE_TABLE_H

#include "hvcore/insn.h"
#include "hvcore/parts.h"

/* Forms of a family of handlers.  RR: rm = rm op reg.  RM: reg = reg op [m].
 * MR: [m] = [m] op reg.  RI, MI: with an immediate, or unary.  N: no ModRM.
 * A G form takes any address, the plain one ea_simple ones only, a B form
 * those without an index.  _NF forms
 * leave the flags alone, for where they are dead.  CHECK: a relative branch
 * that looks at its target each time. */
enum form { F_N, F_RR, F_RM, F_RMG, F_MR, F_MRG, F_RI, F_MI, F_MIG,
            F_RR_NF, F_RM_NF, F_RI_NF, F_CHECK,
            F_RMB, F_MRB, F_MIB, FORM_COUNT };
/* Indexed by form and by log2 of the operand size.  A plain memory form that
 * is missing is replaced by its G form. */
struct family { insn_fn *fn[FORM_COUNT][4]; };

/* Operands: what follows the opcode, and which form that makes. */
enum operands {
	X_N,      /* nothing: F_N */
	X_EG,     /* E, G: RR or MR */
	X_GE,     /* G, E: RR with the roles changed, or RM */
	X_E,      /* E: RI or MI */
	X_EI,     /* E, Iz: RI or MI */
	X_EIB,    /* E, Ib (sign-extended) */
	X_E1,     /* E, 1 */
	X_AI,     /* rAX, Iz: RI */
	X_Z,      /* +r: RI */
	X_ZI,     /* +r, Iv (a whole 64-bit immediate): RI */
	X_AZ,     /* rAX, +r: RR */
	X_EGI,    /* E, G, Ib: as EG */
	X_GEI,    /* G, E, Iz: as GE */
	X_GEIB,   /* G, E, Ib (sign-extended) */
	X_GVE,    /* G, VEX.vvvv, E: as GE, vvvv in imm */
	X_VE,     /* VEX.vvvv, E: as GE, vvvv in reg */
	X_GEIBV,  /* G, E, Ib with VEX (RORX) */
	X_JB, X_JZ,  /* relative branch: N */
	X_OA, X_AO,  /* moffs: MR, RM (always G), address in imm */
	X_IB, X_IZ, X_IW, /* an immediate alone: N; Ib sign-extended */
	X_IBU,    /* Ib zero-extended */
	X_AP,     /* far pointer: N */
	X_IWIB,   /* ENTER: N */
};

enum attributes {
	A_B = 1,           /* operands of one byte */
	A_EB = 2,          /* E is a byte, G is not */
	A_LOCK = 4,        /* LOCK is legal with a memory destination */
	A_MEM = 8,         /* memory only, else no match */
	A_REG = 0x10,      /* register only, else no match */
	A_I64 = 0x20,      /* not in 64-bit mode (no match) */
	A_O64 = 0x40,      /* only in 64-bit mode */
	A_PROT = 0x80,     /* #UD in real and virtual-8086 mode */
	A_D64 = 0x100,     /* operand size 64 by default in 64-bit mode */
	A_F64 = 0x200,     /* operand size always 64 in 64-bit mode */
	A_W0 = 0x400,      /* operand size 32 unless REX.W (no 16) */
	A_ENDS = 0x800,    /* ends its block */
	A_ENDS32 = 0x1000, /* ends its block outside of 64-bit mode */
	A_WRITES = 0x2000, /* SLOW: the memory operand is written (too) */
	A_FORCE64 = 0x4000,/* MOV CR/DR: 64 in 64-bit mode, else 32 */
	A_PRIV = 0x8000,   /* CPL 0 or I/O rights: not for tests in user mode */
	A_FAR = 0x10000,   /* memory operand is offset and selector */
	A_NORM = 0x20000,  /* ModRM.mod is ignored: always a register (MOV CR) */
	A_SIZE1 = 0x100000, A_SIZE2 = 0x200000, A_SIZE4 = 0x400000,
	A_SIZE8 = 0x800000, A_SIZE10 = 0x1000000, A_SIZE16 = 0x2000000,
	A_SIZE64 = 0x4000000, /* SLOW: bytes of the memory operand, if
	                       * not the operand size */
	A_SIZES = 0x7f00000,
	A_L0 = 0x8000000,  /* VEX.L must be 0 */
	A_COUNT = 0x10000000, /* an immediate count of 0 changes no flag */
};

/* Prefix column: which mandatory prefixes a row wants. */
enum { PX_ANY, PX_NP, PX_66, PX_F3, PX_F2, PX_NF3, /* all but F3 */
       PX_NREP /* neither F2 nor F3; 66 is the operand size */,
       PX_V = 0x10 /* VEX; with VEX.pp as PX_NP..PX_F2 */ };
#define EXT_ANY 8   /* ModRM.reg: 0..7 or any */
#define EXT_MODRM 0x100 /* or: the whole ModRM byte, EXT_MODRM + byte */

struct insn_row {
	const char *name;
	const struct family *family;
	slow_fn *slow;         /* instead of family */
	insn_fn *fast;         /* before slow, for 64-bit code with register
	                        * operands; goes to exec_slow where it cannot */
	uint32_t attr;
	uint16_t ext;
	uint16_t reads, writes, undefined; /* arithmetic flags; undefined ones
	                        * are also among those written */
	uint8_t map, opcode, prefix, operands;
};
extern const struct insn_row insn_rows[];
extern const unsigned insn_nrows;

/* First row and number of rows of each opcode of maps 0..3. */
struct insn_index { uint16_t first[4][256]; uint8_t count[4][256]; };
void insn_index_build(struct insn_index *x);

/* Where code bytes come from. */
struct code_source {
	const uint8_t *bytes;   /* at the instruction */
	unsigned avail;         /* bytes there, up to the page's end */
	/* Called when more are needed: returns the next page's first bytes (up
	 * to 15), or raises; NULL: do not go past the end (result DECODE_CROSS). */
	const uint8_t *(*next)(struct code_source *s);
	struct vcpu *c;
	uint64_t lin;
	uint64_t phys2;
};

enum decode_result {
	DECODE_OK, DECODE_ENDS, /* ends the block */
	DECODE_CROSS,           /* needs the next page */
};

/* Decodes one instruction at block offset off.  Undefined opcodes and too long
 * ones decode to handlers that raise; branches get no links yet. */
enum decode_result decode_insn(const struct insn_index *x,
			       struct code_source *s, uint32_t mode,
			       unsigned off, struct insn *out);
/* Row of a decoded instruction. NULL: one of fp/'s. */
const struct insn_row *insn_row(const struct insn *i);
/* The other values of its row number. */
enum { OP_FP = 0x3ff, OP_UD = 0x3fe, OP_UNKNOWN = 0x3fd, OP_LONG = 0x3fc,
       OP_END = 0x3fb };

/* exec/: the handlers that decoding itself names. */
insn_fn exec_slow, exec_slow_ends, exec_ud, exec_gp0, exec_unknown;

#endif
