/* main.c: the host CPU as oracle: random cases, differences, coverage.
 *
 *   native [CASES [SEED]]
 */
#include <stdio.h>
#include <stdlib.h>

#include "tests/native/native.h"

#define MAX_REPORTS 20

uint64_t rng_next(struct rng *r)
{
	r->s ^= r->s << 13;
	r->s ^= r->s >> 7;
	r->s ^= r->s << 17;
	return r->s * 0x2545f4914f6cdd1dull;
}

uint64_t rng_value(struct rng *r)
{
	static const uint64_t edges[] = { 0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff,
		0x8000, 0xffff, 0x7fffffff, 0x80000000, 0xffffffff,
		0x100000000, 0x7fffffffffffffff, 0x8000000000000000, ~0ull };

	switch (rng_below(r, 4)) {
	case 0: return edges[rng_below(r, 16)];
	case 1: return rng_next(r) >> rng_below(r, 64);
	case 2: return edges[rng_below(r, 16)] + rng_below(r, 5) - 2;
	default: return rng_next(r);
	}
}

static void print_code(const struct native_case *c)
{
	printf("%s%s:", c->code.compat ? "32-bit " : "", c->name);
	for (unsigned k = 0; k < c->code.len; k++)
		printf(" %02x", c->code.bytes[k]);
	printf("\n");
}

/* #PF and #GP are one signal of the host, #SS and #AC another, the arithmetic
 * exceptions a third. */
static int fold(int vector)
{
	if (vector == EXC_PF || vector == EXC_BR)
		return EXC_GP;
	if (vector == EXC_XM || vector == EXC_MF)
		return EXC_DE;
	if (vector == EXC_SS)
		return EXC_AC;
	return vector;
}

static unsigned buf_diff(const struct native_state *a, const struct native_state *b)
{
	for (unsigned k = 0; k < NATIVE_BUF_SIZE; k++)
		if (a->buf[k] != b->buf[k])
			return k;
	return ~0u;
}

static bool same(const struct native_case *c, const struct native_state *h,
		 const struct native_state *k, bool print)
{
	uint64_t mask = (FLAGS_ARITH | FLAG_DF) & ~c->undefined;
	bool ok = true;

	if (h->vector != fold(k->vector) || h->taken != k->taken) {
		if (print)
			printf("  vector %d/%d taken %d/%d (host/core)\n",
			       h->vector, k->vector, h->taken, k->taken);
		return false;
	}
	for (unsigned n = 0; n < 16; n++)
		if (h->r[n] != k->r[n]) {
			if (print)
				printf("  r%u in %016llx host %016llx core %016llx\n",
				       n, (unsigned long long)c->in.r[n],
				       (unsigned long long)h->r[n],
				       (unsigned long long)k->r[n]);
			ok = false;
		}
	if (h->vector < 0 && (h->rflags ^ k->rflags) & mask) {
		if (print)
			printf("  flags in %llx host %llx core %llx (of %llx)\n",
			       (unsigned long long)c->in.rflags,
			       (unsigned long long)h->rflags,
			       (unsigned long long)k->rflags,
			       (unsigned long long)mask);
		ok = false;
	}
	if (memcmp(h->buf, k->buf, NATIVE_BUF_SIZE)) {
		if (print)
			printf("  memory at buffer + %#x\n", buf_diff(h, k));
		ok = false;
	}
	if (c->in.xsave && !(c->partial && h->vector >= 0) &&
	    !native_same_simd(c, h->xsave, k->xsave,
			      h->vector == EXC_GP || h->vector == EXC_AC, print))
		ok = false;
	return ok;
}

static bool (*const generators[8])(struct native *, struct rng *,
				   struct native_case *) = {
	gen_integer, gen_compat, gen_simd, gen_sequence,
	gen_simd, gen_compat, gen_simd, gen_integer,
};

/* The core's guest has the area alone; a process has more at addresses that a case may
 * happen on (with ASan, gigabytes of it). */
static bool elsewhere(const struct native_state *host, const struct native_state *core)
{
	return host->vector != EXC_GP && core->vector == EXC_PF &&
	       core->cr2 - NATIVE_BASE >= NATIVE_SIZE;
}

struct tally {
	unsigned *ran, *lacks; /* by form */
	unsigned long done, bad, faults;
};

static void compare(struct native *n, struct native_case *c, struct tally *t)
{
	static alignas(64) uint8_t images[2][NATIVE_XSAVE_SIZE];
	static struct native_state host, core;
	bool counts = c->form < forms_count();

	host.xsave = images[0];
	core.xsave = images[1];
	native_run_host(n, &c->code, &c->in, &host);
	native_run_core(n, &c->code, &c->in, &core);
	t->done++;
	t->faults += host.vector >= 0;
	if (host.vector == EXC_UD && core.vector != EXC_UD && c->may_lack) {
		t->lacks[counts ? c->form : 0] += counts;
		return;
	}
	if (elsewhere(&host, &core))
		return;
	t->ran[counts ? c->form : 0] += counts && host.vector < 0;
	if (same(c, &host, &core, false))
		return;
	if (t->bad++ < MAX_REPORTS) {
		print_code(c);
		same(c, &host, &core, true);
	}
}

/* With this many cases every form has its turn, again and again. */
#define ENOUGH 300000

int main(int argc, char **argv)
{
	unsigned long cases = argc > 1 ? strtoul(argv[1], NULL, 0) : ENOUGH;
	struct rng r = { argc > 2 ? strtoul(argv[2], NULL, 0) : 1 };
	struct native *n = native_new();
	static struct native_case c;
	struct tally t = { calloc(forms_count(), sizeof(unsigned)),
			   calloc(forms_count(), sizeof(unsigned)), 0, 0, 0 };
	bool only_simd = getenv("NATIVE_SIMD");
	unsigned missing;

	while (t.done < cases) {
		c.in.xsave = NULL;
		if (generators[only_simd ? 2 : t.done % 8](n, &r, &c))
			compare(n, &c, &t);
	}
	missing = forms_report(n, t.ran, t.lacks, cases >= ENOUGH && !only_simd);
	printf("native: %lu cases, %lu with exceptions, %u forms missed, "
	       "%lu differences\n", t.done, t.faults, missing, t.bad);
	free(t.ran);
	free(t.lacks);
	native_free(n);
	return t.bad || missing;
}
