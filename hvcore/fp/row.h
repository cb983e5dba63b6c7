/* row.h: the shape of fp/table.def, and of what is made of a row when an
 * instruction is decoded.  Only for the files of fp/.
 */
#ifndef NSTATE_HVCORE_FP_ROW_H
#define NSTATE_HVCORE_FP_ROW_H

#include "hvcore/decode/decode.h"
#include "hvcore/fp/fp.h"

enum { NP, P66, F3, F2 };

/* Kinds of operand, and which one is written. */
enum { KIND_N, KIND_V, KIND_P /* MMX */, KIND_G, KIND_K };
enum { WR_NONE, WR_REG, WR_RM, WR_VV };
#define PAT(reg, rm, vv, wr) \
	(KIND_##reg | KIND_##rm << 3 | KIND_##vv << 6 | WR_##wr << 9)
#define PAT_REG(p) ((p) & 7)
#define PAT_RM(p) ((p) >> 3 & 7)
#define PAT_VV(p) ((p) >> 6 & 7)
#define PAT_WR(p) ((p) >> 9 & 3)

/* As in the SDM's opcode maps: V, P, G, K by ModRM.reg, W, Q, E, U, N by
 * ModRM.rm, H by vvvv; the first is written, but with _R. */
enum pattern {
	NONE = 0,
	VW = PAT(V, V, N, REG), VHW = PAT(V, V, V, REG),
	WV = PAT(V, V, N, RM), WHV = PAT(V, V, V, RM), VW_R = PAT(V, V, N, NONE),
	VE = PAT(V, G, N, REG), VHE = PAT(V, G, V, REG), EV = PAT(V, G, N, RM),
	GW = PAT(G, V, N, REG), GU = GW, GN = PAT(G, P, N, REG),
	PE = PAT(P, G, N, REG), EP = PAT(P, G, N, RM),
	PQ = PAT(P, P, N, REG), PPQ = PQ, QP = PAT(P, P, N, RM),
	PQ_R = PAT(P, P, N, NONE),
	VQ = PAT(V, P, N, REG), VN = VQ, PW = PAT(P, V, N, REG), PU = PW,
	HW = PAT(N, V, V, VV), NW = PAT(N, V, N, RM), NQ = PAT(N, P, N, RM),
	KHW = PAT(K, V, V, REG), KW = PAT(K, V, N, REG), VK = PAT(V, K, N, REG),
	KHK = PAT(K, K, K, REG), KK = PAT(K, K, N, REG), KK_R = PAT(K, K, N, NONE),
	KKST = PAT(K, K, N, RM), KE = PAT(K, G, N, REG), GK = PAT(G, K, N, REG),
};

/* Bytes of a memory operand that depend on length or W. */
enum { M_L = 0x80, M_L2, M_L4, M_L8, M_W, M_G };

enum feature { FPU_, CMOV, MMX_, MMXEXT, SSE, SSE2, SSE3, SSSE3, SSE41, SSE42,
	AES, PCLMUL, SHA, GFNI, AVX, F16C, FMA, AVX2, VAES, VPCLMUL, AVXVNNI,
	AVX512F, AVX512DQ, AVX512IFMA, AVX512CD, AVX512BW, AVX512VL, AVX512VBMI,
	AVX512VBMI2, AVX512VNNI, AVX512BITALG, AVX512POPCNT, AVX512BF16,
	AVX512VP2I, AVX512FP16, FEATURES };

enum row_flags {
	W0 = 1, W1 = 2,           /* neither: W is ignored or picks a size */
	L0 = 4, L1 = 8, L2 = 0x10, LN0 = 0x20 /* 256 or 512 */, LIG = 0x40,
	BC = 0x80,                /* memory may be one element, repeated */
	ER = 0x100, SAE = 0x200,  /* EVEX.b with registers */
	NOMASK = 0x400,           /* EVEX.aaa and z must be zero */
	REG = 0x800, MEM = 0x1000,/* only this form */
	UNAL = 0x2000,            /* legacy, 16 bytes, any alignment */
	ALIGNED = 0x4000,         /* to the vector length, VEX and EVEX too */
	FPX = 0x8000,             /* reads MXCSR and reports exceptions there */
	FLAGS = 0x10000, XMM0 = 0x20000, IS4 = 0x40000,
	AVX2L1 = 0x80000,         /* the 256-bit form is AVX2's */
	MASKMOVQ = 0x100000, VMASK4 = 0x200000, VMASK8 = 0x400000,
	VSIB = 0x800000, QIDX = 0x1000000, EXPAND = 0x2000000,
	TUPLE = 0x4000000,        /* memory operand is repeated; of stores: all of
	                           * it must be writable, whatever the mask */
	STRING = 0x8000000, XMM0OUT = 0x10000000, ECXOUT = 0x20000000,
	KPAIR = 0x40000000,
};
/* Beyond what an enum holds everywhere. */
#define EMMS 0x100000000ull
#define ZEROUPPER 0x200000000ull
#define APPROXIMATE 0x400000000ull
#define EXT(n) (((n) + 1ull) << 40)
#define EXT_OF(flags) ((flags) >> 40 & 15) /* 0: any */

struct fp_row {
	const char *name;
	uint64_t flags;
	uint16_t pattern;
	uint8_t enc, map, opcode, pp;
	uint8_t bytes, elem, feature;
};

typedef uint64_t fp_stub(struct vcpu *c, void *mem);

/* A decoded instruction.  Everything up to run tells it from others. */
struct fp_op {
	const struct fp_row *row; /* NULL: x87, see x87.c */
	uint64_t cr0_bad, cr4_need, xcr0_need; /* see fp_conditions */
	uint64_t use;          /* XSAVE components that it puts to use */
	uint8_t host[16];      /* the instruction as the host runs it */
	uint8_t host_len;
	uint8_t msize;         /* bytes of the memory operand; 0: none */
	uint8_t whole;         /* the same before broadcast */
	uint8_t elem;          /* what a mask bit lets into memory; 0: all */
	uint8_t align;         /* mask of address bits that must be zero */
	uint8_t vl;            /* vector length in bytes */
	uint8_t reg, rm, vvvv, aaa;
	uint8_t w, l, enc, imm;
	uint8_t vindex, scale;
	bool mem, broadcast, zeroing;
	fp_stub *run;
	struct fp_op *next;    /* in its hash chain */
};

struct fp_code;
/* table.c */
extern const struct fp_row fp_rows[];
extern const unsigned fp_nrows;
bool fp_feature(uint32_t (*ask)(void *, uint32_t, uint32_t, unsigned),
		void *arg, enum feature f);
/* stub.c */
struct fp_code *fp_code_of(struct vcpu *c);
bool fp_host_has(const struct fp_code *k, enum feature f);
/* The one op equal to *o, with code made for it; NULL: no room (a flush of all
 * blocks was asked for). */
const struct fp_op *fp_op_get(struct vcpu *c, const struct fp_op *o);
/* Runs op->run where an unmasked exception may trap; false: it did, MXCSR has
 * its flags and nothing else has changed. */
bool fp_run_trapping(struct vcpu *c, const struct fp_op *o, void *mem,
		     uint64_t *result);
/* vector.c */
void fp_conditions(struct vcpu *c, const struct fp_op *o);
/* simple: ea_simple() will do for the operand's address. */
insn_fn *fp_vector_handler(const struct fp_op *o, bool simple);
void fp_run(struct vcpu *c, const struct fp_op *o, void *mem);
/* masked.c */
insn_fn fp_masked_move, fp_gather, fp_maskmovq;
/* Does the mask let anything of the memory operand through? */
bool fp_any_picked(const struct vcpu *c, const struct fp_op *o);
void fp_read_masked(struct vcpu *c, const struct insn *i, const struct fp_op *o,
		    uint64_t lin, uint8_t *buf);
void fp_probe_masked(struct vcpu *c, const struct insn *i,
		     const struct fp_op *o, uint64_t lin);
void fp_write_masked(struct vcpu *c, const struct insn *i,
		     const struct fp_op *o, uint64_t lin, const uint8_t *buf);
/* x87.c */
bool fp_decode_x87(struct vcpu *c, const struct decode_ctx *x, struct insn *i);

#endif
