/* insn.h: a decoded instruction, a block of them, and how they are run.
 *
 * A handler is void h(struct vcpu *c, const struct insn *i).  It does its work
 * and ends with NEXT(c, i) (go on in the block) or, for an instruction that
 * ends a block, with one of the exits of exec/dispatch.h.  NEXT is the one
 * definition of dispatch: a tail call where the compiler makes one, else (with
 * HV_TRAMPOLINE: sanitizer and -O0 builds) a loop in the run function.
 */
#ifndef NSTATE_HVCORE_INSN_H
#define NSTATE_HVCORE_INSN_H

#include "hvcore/cpu.h"

#ifdef HV_TRAMPOLINE
typedef const struct insn *insn_result;
#else
typedef void insn_result;
#endif
typedef insn_result insn_fn(struct vcpu *c, const struct insn *i);

struct insn {
	insn_fn *fn;
	union {
		uint64_t imm;       /* immediate, sign-extended as the form says */
		const void *ptr;    /* fp/: the stub; branches: link slots */
	};
	int32_t disp;
	uint8_t reg, rm;        /* register numbers; for byte operands the byte's
	                         * offset in r[] (AH is 1, BL is 24) */
	uint8_t base, index;    /* of r[]; R_ZERO where absent */
	uint8_t scale;
	uint8_t seg;            /* SEG_NONE in 64-bit mode but for FS and GS */
	uint8_t len;            /* bytes of the instruction */
	uint8_t ord;            /* guest instructions before it in the block */
	uint16_t off;           /* bytes before it in the block */
	uint16_t op;            /* row of the instruction table */
};

#define INSN(name) \
	static insn_result name(struct vcpu *c, const struct insn *i)

/* One that the instruction table names itself. */
#define INSN_GLOBAL(name) insn_result name(struct vcpu *c, const struct insn *i)

#ifdef HV_TRAMPOLINE
#define DISPATCH(c, i) return (i)
#elif defined(__clang__)
#define DISPATCH(c, i) __attribute__((musttail)) return (i)->fn((c), (i))
#else
#define DISPATCH(c, i) return (i)->fn((c), (i))
#endif
#define NEXT(c, i) do { (void)(c); const struct insn *nx_ = (i) + 1; \
	DISPATCH(c, nx_); } while (0)

static inline uint64_t insn_rip(const struct vcpu *c, const struct insn *i)
{
	return c->r[R_RIP] + i->off;
}

#endif
