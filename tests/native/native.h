/* native.h: one piece of user-mode code run twice, by the host CPU and by the
 * core, from the same state and over the same memory, and compared.
 *
 * Both see the area at the same linear address: the core's guest maps it one
 * to one.  Code stands at NATIVE_CODE; a branch may go to NATIVE_TAKEN or
 * NATIVE_TAKEN8; the operands are to be in the buffer.
 */
#ifndef NSTATE_TESTS_NATIVE_H
#define NSTATE_TESTS_NATIVE_H

#include "hvcore/decode/decode.h"
#include "hvcore/decode/table.h"
#include "hvcore/exec/ea.h"
#include "hvcore/parts.h"

#define NATIVE_BASE 0x10000000ull
#define NATIVE_CODE (NATIVE_BASE + 0x800)
#define NATIVE_TAKEN (NATIVE_BASE + 0xc00)
#define NATIVE_TAKEN8 (NATIVE_BASE + 0x860)  /* in reach of rel8; single only */
#define NATIVE_XSAVE (NATIVE_BASE + 0x2000)  /* in; out follows at + 0x3000 */
#define NATIVE_XSAVE_SIZE 0x3000
#define NATIVE_BUF (NATIVE_BASE + 0x8000)
#define NATIVE_BUF_SIZE 0x4000u
#define NATIVE_SIZE 0x10000ull

struct native_state {
	uint64_t r[16];
	uint64_t rflags;
	int vector;            /* exception, or -1 */
	uint64_t cr2;          /* of a page fault; the core's only */
	bool taken;            /* control came out at one of those */
	_Alignas(8) uint8_t buf[NATIVE_BUF_SIZE];
	uint8_t *xsave;        /* NATIVE_XSAVE_SIZE bytes, or NULL: no SIMD */
};

struct native_code {
	uint8_t bytes[400];
	unsigned len;
	unsigned insns;        /* 1: by itself, exceptions allowed */
	bool compat;           /* 32-bit code, in compatibility mode */
	bool branches;         /* a sequence that ends in a branch */
};

struct native;
struct native *native_new(void);
void native_free(struct native *n);
struct vcpu *native_vcpu(struct native *n);
/* 64-bit or 32-bit user code from now on. */
void native_set_mode(struct native *n, bool compat);
/* XSAVE components that host and core both have; 0: no XSAVE. */
uint64_t native_xcr0(const struct native *n);

/* Runs code from `in` and says how it ended. */
void native_run_host(struct native *n, const struct native_code *code,
		     const struct native_state *in, struct native_state *out);
void native_run_core(struct native *n, const struct native_code *code,
		     const struct native_state *in, struct native_state *out);

/* A generator of cases.  Returns false if it has none this time. */
struct native_case {
	struct native_code code;
	struct native_state in;
	uint64_t undefined;    /* flags not to compare */
	const char *name;
	bool may_lack;         /* the host may have no such instruction */
	unsigned form;         /* see forms.c; ~0u: none */
	bool approximate;      /* floats that may differ a little */
	bool partial;          /* registers may be half loaded at a fault */
};
struct rng { uint64_t s; };
uint64_t rng_next(struct rng *r);
uint64_t rng_value(struct rng *r);       /* edge cases often */
static inline unsigned rng_below(struct rng *r, unsigned n)
{
	return (unsigned)(rng_next(r) >> 32) % n;
}

bool gen_integer(struct native *n, struct rng *r, struct native_case *c);
bool gen_compat(struct native *n, struct rng *r, struct native_case *c);
bool gen_sequence(struct native *n, struct rng *r, struct native_case *c);
bool gen_simd(struct native *n, struct rng *r, struct native_case *c);

/* image.c: XSAVE images as input, and two of them that came of one */
uint64_t native_host_xcr0(void);
void native_simd_cpu(struct vcpu *c);
void native_fill(struct rng *r, uint8_t *p, unsigned n, unsigned kind);
/* x: NATIVE_XSAVE_SIZE bytes; indices: vectors are small integers of so many
 * bytes, unless it is 0 */
void native_image(struct rng *r, uint8_t *x, unsigned indices);
bool native_same_simd(const struct native_case *c, const uint8_t *host,
		      uint8_t *core, bool faulted, bool print);

/* forms.c */
unsigned forms_count(void);
bool form_x87(unsigned id, uint8_t *opcode, uint8_t *modrm);
bool form_vector(unsigned id, unsigned *row, bool *mem, unsigned *l);
/* Those that gen_simd makes cases of; to be freed. */
unsigned *forms_simd(struct native *n, unsigned *count);
unsigned forms_report(struct native *n, const unsigned *ran,
		      const unsigned *lacks, bool all);

#endif
