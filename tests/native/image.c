/* image.c: x87 and SIMD registers as XSAVE images: random ones to begin with,
 * and whether two that came of one are the same. */
#include <cpuid.h>
#include <math.h>
#include <stdio.h>

#include "tests/native/native.h"

/* -- the vCPU ------------------------------------------------------------------- */
uint64_t native_host_xcr0(void)
{
	uint32_t lo, hi;

	__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo | (uint64_t)hi << 32;
}

/* The host's CPUID, so that #UD comes where the host has it. */
void native_simd_cpu(struct vcpu *c)
{
	static struct kvm_cpuid_entry2 e[40];
	struct snapshot_vcpu v = { .have = 1u << SN_CPUID, .cpuid = e };
	static const uint32_t leaves[] = { 0, 1, 7, 0x80000000, 0x80000001,
					   0x80000008 };

	for (unsigned k = 0; k < 6; k++)
		e[v.ncpuid++].function = leaves[k];
	e[v.ncpuid].index = 1;
	e[v.ncpuid++].function = 7;
	for (unsigned k = 0; k < 20; k++) {
		e[v.ncpuid].index = k;
		e[v.ncpuid++].function = 0xd;
	}
	for (unsigned k = 0; k < v.ncpuid; k++) {
		if (e[k].function == 7 || e[k].function == 0xd)
			e[k].flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		__cpuid_count(e[k].function, e[k].index, e[k].eax, e[k].ebx,
			      e[k].ecx, e[k].edx);
	}
	hv_vcpu_load(c, &v, NULL);
	c->fpu.xcr0 = native_host_xcr0();
}

/* -- operands ---------------------------------------------------------------------- */
static void put(uint8_t *p, uint64_t v, unsigned n)
{
	memcpy(p, &v, n);
}

static uint64_t float_bits(struct rng *r)
{
	static const uint32_t edges[] = { 0, 0x80000000, 1, 0x807fffff,
		0x00800000, 0x7f7fffff, 0x7f800000, 0xff800000, 0x7fc00000,
		0x7f800001, 0xffffffff, 0x3f800000, 0xbf800000, 0x4f000000,
		0x5f000000, 0x34000000 };

	if (rng_below(r, 2))
		return edges[rng_below(r, 16)];
	/* values near enough to each other for sums to cancel */
	return (rng_next(r) & 0x807fffff) | (120 + rng_below(r, 16)) << 23;
}

static uint64_t double_bits(struct rng *r)
{
	static const uint64_t edges[] = { 0, 1ull << 63, 1, 0xfffffffffffff,
		0x10000000000000, 0x7fefffffffffffff, 0x7ff0000000000000,
		0xfff0000000000000, 0x7ff8000000000000, 0x7ff0000000000001,
		0x3ff0000000000000, 0xbff0000000000000, 0x41e0000000000000,
		0x43e0000000000000, 0x3690000000000000, 0x47f0000000000000 };

	if (rng_below(r, 2))
		return edges[rng_below(r, 16)];
	return (rng_next(r) & 0x800fffffffffffff) |
	       (uint64_t)(1016 + rng_below(r, 16)) << 52;
}

void native_fill(struct rng *r, uint8_t *p, unsigned n, unsigned kind)
{
	for (unsigned k = 0; k < n; k += 8) {
		uint64_t v = kind == 0 ? float_bits(r) | float_bits(r) << 32 :
			     kind == 1 ? double_bits(r) :
			     kind == 2 ? rng_next(r) : rng_value(r);

		put(p + k, v, 8);
	}
}

static void x87_state(struct rng *r, uint8_t *x)
{
	bool odd = !rng_below(r, 8);

	put(x, 0x340 | (odd ? rng_next(r) & 0xf3f : 0x3f |
			(rng_below(r, 4) << 10)), 2);
	put(x + 2, (rng_next(r) & 0x7f40) | (odd ? rng_next(r) & 0x3f : 0), 2);
	put(x + 6, rng_next(r) & 0x7ff, 2);
	put(x + 8, rng_next(r) & 0x7fffffffffff, 8);
	put(x + 16, rng_next(r) & 0x7fffffffffff, 8);
	put(x + 4, rng_below(r, 4) ? 0xff : rng_next(r) & 0xff, 1);
	for (unsigned k = 0; k < 8; k++) {
		uint8_t *st = x + 32 + 16 * k;
		static const uint16_t exps[] = { 0, 1, 0x3fff, 0x4000, 0x403e,
			0x7ffe, 0x7fff, 0x3fbf };
		unsigned e = exps[rng_below(r, 8)] + rng_below(r, 3);

		put(st, rng_value(r) | (rng_below(r, 8) ? 1ull << 63 : 0), 8);
		put(st + 8, (e & 0x7fff) | (rng_below(r, 2) << 15), 2);
	}
}

void native_image(struct rng *r, uint8_t *area, unsigned indices)
{
	unsigned kind = rng_below(r, 4);
	uint32_t mxcsr = 0x1f80 | rng_below(r, 4) << 13;

	memset(area, 0, NATIVE_XSAVE_SIZE);
	native_fill(r, area + 160, 256, kind);
	native_fill(r, area + 576, NATIVE_XSAVE_SIZE - 576, kind);
	if (indices)
		for (unsigned k = 160; k < NATIVE_XSAVE_SIZE; k += indices)
			if (k < 416 || k >= 576)
				put(area + k, (uint64_t)rng_below(r, 100) - 50,
				    indices);
	x87_state(r, area);
	if (!rng_below(r, 4))
		mxcsr ^= rng_next(r) & 0xffff;
	else
		mxcsr |= rng_next(r) & (rng_below(r, 2) ? 0x3f : 0);
	put(area + 24, mxcsr, 4);
	put(area + 512, 0xe7 & native_host_xcr0() &
	    (rng_below(r, 4) ? ~0ull : rng_next(r)), 8);
}

/* -- comparison ----------------------------------------------------------------------------- */
static bool region(const char *name, const uint8_t *h, const uint8_t *k,
		   const uint8_t *in, unsigned from, unsigned n, bool print)
{
	unsigned at = 0;

	if (!memcmp(h + from, k + from, n))
		return true;
	while (h[from + at] == k[from + at])
		at++;
	if (!print)
		return false;
	at = at & ~7u;
	printf("  %s + %#x: in %016llx host %016llx core %016llx (MXCSR %x, FCW %x)\n",
	       name, at, *(const unsigned long long *)(in + from + at),
	       *(const unsigned long long *)(h + from + at),
	       *(const unsigned long long *)(k + from + at),
	       *(const uint32_t *)(in + 24), *(const uint16_t *)in);
	return false;
}

/* Within the error that RCPPS and RSQRTPS may have, twice over; about 2^-126 that
 * error decides whether the result is tiny and flushed to zero. */
static void level(const uint8_t *h, uint8_t *k, unsigned n)
{
	for (unsigned at = 0; at < n; at += 4) {
		float a, b;

		memcpy(&a, h + at, 4);
		memcpy(&b, k + at, 4);
		if (fabsf(a - b) <= fabsf(a) * 0x1p-10f ||
		    (a == 0 && signbit(a) == signbit(b) &&
		     fabsf(b) <= 0x1p-126f * (1 + 0x1p-10f)))
			memcpy(k + at, h + at, 4);
	}
}

bool native_same_simd(const struct native_case *c, const uint8_t *h, uint8_t *k,
		      bool faulted, bool print)
{
	const uint8_t *in = c->in.xsave;
	/* A CPU may have begun to turn x87 registers into MMX ones. */
	bool ok = faulted || region("x87", h, k, in, 0, 24, print);
	uint32_t a, b, x, d;

	/* What is in use; a CPU's assists may put x87 and SSE to use as well. */
	if (!faulted && ((h[512] ^ k[512]) & 0xe4 || k[512] & ~h[512] & 3)) {
		if (print)
			printf("  XSTATE_BV in %x host %x core %x\n", in[512],
			       h[512], k[512]);
		ok = false;
	}
	ok &= region("MXCSR", h, k, in, 24, 4, print);
	if (c->approximate) {
		level(h + 160, k + 160, 256);
		level(h + 576, k + 576, 256);
	}
	ok &= faulted || region("st", h, k, in, 32, 128, print);
	ok &= region("xmm", h, k, in, 160, 256, print);
	for (unsigned n = 2; n < 8; n++) {
		if (!(native_host_xcr0() >> n & 1))
			continue;
		__cpuid_count(0xd, n, a, b, x, d);
		ok &= region(n == 2 ? "ymm" : n == 5 ? "k" : n == 6 ? "zmm" :
			     "zmm16", h, k, in, b, a, print);
	}
	return ok;
}
