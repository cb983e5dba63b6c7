/* fp.h: between the files of hvcore/fp/.
 *
 * xstate.c keeps the registers as XSAVE components, xsave.c is the XSAVE and
 * FXSAVE instructions; table.def says what every x87 and SIMD opcode is,
 * decode.c finds its row, stub.c makes host code of it, vector.c, masked.c and
 * x87.c run it.  Nothing here is shared between vCPUs.
 */
#ifndef NSTATE_HVCORE_FP_FP_H
#define NSTATE_HVCORE_FP_FP_H

#include "hvcore/insn.h"
#include "hvcore/mem.h"
#include "hvcore/parts.h"
#include "hvcore/sys/bits.h"

/* XSAVE components (SDM vol. 1, 13.1). */
enum { XC_X87, XC_SSE, XC_AVX, XC_BNDREGS, XC_BNDCSR, XC_OPMASK, XC_ZMM_HI,
       XC_HI16_ZMM, XC_PT, XC_PKRU, XC_PASID, XC_CET_U, XC_CET_S,
       XC_TILECFG = 17, XC_TILEDATA, XC_COUNT };
#define XCB(n) (1ull << (n))
#define XC_MAX_SIZE 8192

#define MXCSR_INIT 0x1f80u
#define FCW_INIT 0x37fu

struct fp_code;

struct fp_state {
	uint8_t sw[48];        /* bytes 464..511 of the image that was loaded */
	/* Components that instructions of ours never touch. */
	uint8_t bndregs[64], bndcsr[64], pt[128], pasid[8], tilecfg[64];
	uint8_t tiledata[XC_MAX_SIZE];
	struct fp_code *code;  /* stub.c */
};

/* -- xstate.c ----------------------------------------------------------------- */
uint32_t fp_mxcsr_mask(const struct vcpu *c);
/* Where component n stands in an area of format xcomp (0: standard); 0: it has
 * no place.  *size: its bytes. */
uint32_t fp_component_at(struct vcpu *c, unsigned n, uint64_t xcomp,
			 uint32_t *size);
void fp_component_get(const struct vcpu *c, unsigned n, uint8_t *to);
void fp_component_set(struct vcpu *c, unsigned n, const uint8_t *from);
void fp_component_init(struct vcpu *c, unsigned n);
/* XINUSE, with those components that are judged by value. */
uint64_t fp_xinuse(const struct vcpu *c);
/* The 160 bytes that x87 state takes, MXCSR apart; wide: 64-bit FIP, FDP. */
void fp_x87_get(const struct vcpu *c, uint8_t *to, bool wide);
void fp_x87_set(struct vcpu *c, const uint8_t *from, bool wide);

/* -- rules common to all (xsave.c) --------------------------------------------- */
/* #MF if an unmasked x87 exception is pending. */
void fp_check_mf(struct vcpu *c);
/* LDMXCSR and STMXCSR behind the conditions of the legacy or VEX form. */
void fp_ldmxcsr(struct vcpu *c, const struct insn *i);
void fp_stmxcsr(struct vcpu *c, const struct insn *i);

#endif
