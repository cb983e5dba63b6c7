/* decode.h: from instruction bytes to struct insn; what fp/ is handed.
 *
 * decode_insn() takes apart prefixes, opcode, ModRM, SIB, displacement and
 * immediate; the instruction table (decode/table.h) says what each opcode is.
 * SIMD and x87 opcodes are handed to fp_decode with a struct decode_ctx.
 * This folder touches no guest state: code bytes come from struct code_source.
 */
#ifndef NSTATE_HVCORE_DECODE_H
#define NSTATE_HVCORE_DECODE_H

#include "hvcore/insn.h"

enum decode_enc { ENC_LEGACY, ENC_VEX, ENC_EVEX };

/* SDM vol. 2, 2.1 and 2.3-2.7.  All of it is filled before fp_decode is called.
 * What a memory operand's address is made of stands already in the struct insn
 * (base, index, scale, disp, seg), where a RIP-relative disp counts from the
 * block's start; only EVEX disp8*N and VSIB are left to fp/. */
struct decode_ctx {
	uint32_t mode;        /* enum cpu_mode */
	const uint8_t *bytes; /* the whole instruction, prefixes first; up to 15 */
	uint8_t len;          /* bytes of all of it, immediate included */
	uint8_t enc;          /* enum decode_enc */
	uint8_t map;          /* 0 one byte, 1 0F, 2 0F38, 3 0F3A, 5, 6 (EVEX) */
	uint8_t opcode;
	uint8_t pp;           /* 0 none, 1 66, 2 F3, 3 F2: mandatory prefix, as
	                       * VEX.pp; for legacy F2/F3 win over 66 */
	uint8_t rep;          /* 0, 0xf2, 0xf3: the last such legacy prefix */
	bool opsize16;        /* 66 prefix seen (legacy) */
	bool lock;
	uint8_t rex;          /* 0 or 0x40..0x4f */
	uint8_t opsize;       /* 2, 4, 8: of a general operand */
	uint8_t adsize;       /* 2, 4, 8 */
	/* ModRM; reg and rm with REX/VEX/EVEX extensions (rm: when not memory;
	 * with EVEX.X as bit 4, which only vector registers have) */
	bool has_modrm;
	bool mem;
	uint8_t modrm;
	uint8_t reg, rm;
	bool simple;          /* address is base + index*scale + disp of 64 bits
	                       * with no segment base: ea_simple() will do */
	bool disp8;           /* EVEX: disp is an unscaled disp8: scale it by N */
	bool sib;
	uint8_t vindex;       /* SIB's index as a vector register, 0..31 (VSIB) */
	/* VEX, EVEX */
	uint8_t w;            /* VEX.W, EVEX.W, or REX.W */
	uint8_t vvvv;         /* not inverted any more; with V' 0..31 */
	uint8_t l;            /* vector length (and EVEX rounding): 0, 1, 2, 3 */
	bool evex_b, evex_z;
	uint8_t aaa;          /* mask register */
	/* Immediate: read for every SIMD opcode that has one (i->imm too) */
	bool has_imm;
	uint8_t imm8;
};

#endif
