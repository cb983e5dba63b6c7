/* simd.c: random x87 and SIMD instructions, from the core's own table, with
 * random operands, MXCSR and x87 state; and the comparison of what came out.
 *
 * The operands are in the buffer, or at the end of the last page that is
 * mapped, so that an access that is too long, or not masked, faults.
 */
#include <cpuid.h>
#include <stdio.h>

#include "hvcore/fp/row.h"
#include "tests/native/native.h"

#define MIDDLE (NATIVE_BUF + NATIVE_BUF_SIZE / 2)
#define END (NATIVE_BASE + NATIVE_SIZE)

static alignas(64) uint8_t area[NATIVE_XSAVE_SIZE];

/* -- the vCPU ------------------------------------------------------------------- */
static uint64_t host_xcr0(void)
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
	c->fpu.xcr0 = host_xcr0() & 0xe7;
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

static void fill(struct rng *r, uint8_t *p, unsigned n, unsigned kind)
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

static void vector_state(struct rng *r, bool small)
{
	unsigned kind = rng_below(r, 4);
	uint32_t mxcsr = 0x1f80 | rng_below(r, 4) << 13;

	memset(area, 0, sizeof area);
	fill(r, area + 160, 256, kind);
	fill(r, area + 576, NATIVE_XSAVE_SIZE - 576, kind);
	if (small) /* indices */
		for (unsigned k = 160; k < NATIVE_XSAVE_SIZE; k += 4)
			if (k < 416 || k >= 576)
				put(area + k, (uint64_t)rng_below(r, 100) - 50, 4);
	x87_state(r, area);
	if (!rng_below(r, 4))
		mxcsr ^= rng_next(r) & 0xffff;
	else
		mxcsr |= rng_next(r) & (rng_below(r, 2) ? 0x3f : 0);
	put(area + 24, mxcsr, 4);
	put(area + 512, 0xe7 & host_xcr0(), 8);
}

/* -- encodings ------------------------------------------------------------------------ */
struct vform {
	const struct fp_row *row;
	unsigned reg, rm, vvvv, l, w, aaa, b, z;
	bool mem, sib;
	unsigned mod, base, index;
};

static unsigned pick_length(struct rng *r, const struct fp_row *w)
{
	unsigned l = rng_below(r, w->enc == ENC_EVEX ? 3 : 2);

	if (w->flags & L0)
		l = 0;
	else if (w->flags & L1)
		l = 1;
	else if (w->flags & L2)
		l = 2;
	else if (w->flags & LN0 && !l)
		l = 2;
	return rng_below(r, 50) ? l : rng_below(r, 2);
}

static unsigned number(struct rng *r, unsigned kind, bool evex)
{
	if (kind == KIND_K || kind == KIND_P)
		return rng_below(r, 8);
	return rng_below(r, evex && kind != KIND_G ? 32 : 16);
}

static void pick_form(struct rng *r, const struct fp_row *w, struct vform *f)
{
	bool evex = w->enc == ENC_EVEX;
	unsigned p = w->pattern;

	memset(f, 0, sizeof *f);
	f->row = w;
	f->reg = EXT_OF(w->flags) ? EXT_OF(w->flags) - 1 :
		 number(r, PAT_REG(p), evex);
	f->rm = number(r, PAT_RM(p), evex);
	f->vvvv = PAT_VV(p) == KIND_N ? 0 : number(r, PAT_VV(p), evex);
	f->l = w->enc == ENC_LEGACY ? 0 : pick_length(r, w);
	f->w = w->flags & W0 ? 0 : w->flags & W1 ? 1 : rng_below(r, 2);
	if (w->enc == ENC_LEGACY && (w->flags & STRING || rng_below(r, 2)))
		f->w = rng_below(r, 2);
	f->mem = w->flags & MEM || (!(w->flags & REG) && rng_below(r, 2));
	if (evex && !(w->flags & NOMASK) && rng_below(r, 4)) {
		f->aaa = rng_below(r, 8);
		f->z = f->aaa && PAT_REG(p) != KIND_K && rng_below(r, 2);
	}
	if (evex && w->flags & (f->mem ? BC : ER | SAE))
		f->b = !rng_below(r, 3);
	f->mod = 1 + rng_below(r, 2);
	f->base = number(r, KIND_G, false);
	f->sib = w->flags & VSIB || (f->base & 7) == R_RSP;
	f->index = w->flags & VSIB ? number(r, KIND_V, evex) : R_RSP;
}

struct code { uint8_t *p; };

static void byte(struct code *c, unsigned b)
{
	*c->p++ = (uint8_t)b;
}

static void prefix(struct code *c, const struct vform *f)
{
	static const uint8_t pps[] = { 0, 0x66, 0xf3, 0xf2 };
	const struct fp_row *w = f->row;
	unsigned rm = f->mem ? f->base : f->rm;
	unsigned x = f->mem ? f->sib && f->index & 8 && f->index != R_RSP :
		     rm >> 4 & 1;
	unsigned rxb = (f->reg & 8 ? 0 : 0x80) | (x ? 0 : 0x40) |
		       (rm & 8 ? 0 : 0x20);
	unsigned vvvv = f->vvvv;

	if (w->flags & VSIB && w->enc == ENC_EVEX)
		vvvv = f->index & 16;
	if (w->enc == ENC_LEGACY) {
		if (pps[w->pp])
			byte(c, pps[w->pp]);
		byte(c, 0x40 | f->w << 3 | (f->reg & 8) >> 1 | x << 1 |
		     (rm & 8) >> 3);
		byte(c, 0x0f);
		if (w->map > 1)
			byte(c, w->map == 2 ? 0x38 : 0x3a);
	} else if (w->enc == ENC_VEX) {
		byte(c, 0xc4);
		byte(c, rxb | w->map);
		byte(c, f->w << 7 | (~vvvv & 15) << 3 | f->l << 2 | w->pp);
	} else {
		byte(c, 0x62);
		byte(c, rxb | (f->reg & 16 ? 0 : 0x10) | w->map);
		byte(c, f->w << 7 | (~vvvv & 15) << 3 | 4 | w->pp);
		byte(c, f->z << 7 | f->l << 5 | f->b << 4 |
		     (vvvv & 16 ? 0 : 8) | f->aaa);
	}
	byte(c, w->opcode);
}

static void operand(struct code *c, const struct vform *f, int32_t disp)
{
	unsigned reg = (f->reg & 7) << 3;

	if (!f->mem) {
		byte(c, 0xc0 | reg | (f->rm & 7));
		return;
	}
	byte(c, f->mod << 6 | reg | (f->sib ? 4 : f->base & 7));
	if (f->sib)
		byte(c, (f->index & 7) << 3 | (f->base & 7) |
		     (f->row->flags & VSIB ? 0x40 : 0));
	for (unsigned k = 0; k < (f->mod == 1 ? 1 : 4u); k++)
		byte(c, (unsigned)(disp >> 8 * k));
}

static bool has_imm(const struct fp_row *w)
{
	return w->map == 3 || (w->map == 1 &&
	       ((w->opcode >= 0x70 && w->opcode <= 0x73) || w->opcode == 0xc2 ||
		(w->opcode >= 0xc4 && w->opcode <= 0xc6)));
}

/* -- cases -------------------------------------------------------------------------------- */
static void random_registers(struct rng *r, struct native_case *c)
{
	for (unsigned k = 0; k < 16; k++)
		c->in.r[k] = rng_value(r);
	c->in.rflags = 0x202 | (rng_next(r) & FLAGS_ARITH);
	fill(r, c->in.buf, NATIVE_BUF_SIZE, rng_below(r, 4));
	memset((void *)(END - 128), 0x5a, 128);
	c->in.xsave = area;
	c->code.insns = 1;
	c->code.compat = c->code.branches = false;
	c->undefined = 0;
	c->row = ~0u;
	c->may_lack = true;
}

/* Where base has to point for the operand to be where it is wanted. */
static uint64_t target(struct rng *r)
{
	switch (rng_below(r, 8)) {
	case 0: return END - rng_below(r, 80);
	case 1: return MIDDLE + rng_below(r, 64);
	default: return MIDDLE;
	}
}

static bool gen_vector(struct rng *r, struct native_case *c)
{
	const struct fp_row *w = &fp_rows[rng_below(r, fp_nrows)];
	struct code p = { c->code.bytes };
	struct vform f;
	int32_t disp;

	if (w->flags & APPROXIMATE)
		return false;
	pick_form(r, w, &f);
	random_registers(r, c);
	vector_state(r, w->flags & VSIB);
	disp = f.mod == 1 ? (int8_t)rng_next(r) & ~15 :
	       (int32_t)rng_below(r, 4096) & ~63;
	if (f.mem) /* disp8 may be scaled: keep well inside */
		c->in.r[f.base] = f.mod == 1 ?
			(rng_below(r, 8) ? MIDDLE : MIDDLE + rng_below(r, 64)) :
			target(r) - (uint64_t)(int64_t)disp;
	if (w->flags & MASKMOVQ)
		c->in.r[R_RDI] = target(r);
	prefix(&p, &f);
	if (w->pattern != NONE)
		operand(&p, &f, disp);
	if (has_imm(w))
		byte(&p, (unsigned)rng_next(r));
	c->code.len = (unsigned)(p.p - c->code.bytes);
	c->name = w->name;
	return true;
}

static bool gen_x87(struct rng *r, struct native_case *c)
{
	struct code p = { c->code.bytes };
	unsigned op = 0xd8 + rng_below(r, 8), modrm = rng_below(r, 256);

	random_registers(r, c);
	vector_state(r, false);
	/* An environment's selectors are the host kernel's affair. */
	if (modrm < 0xc0) {
		modrm = (modrm & 0x38) | 0x80 | R_RBX;
		c->in.r[R_RBX] = target(r) - 16;
	}
	byte(&p, op);
	byte(&p, modrm);
	for (unsigned k = 0; modrm < 0xc0 && k < 4; k++)
		byte(&p, k ? 0 : 16);
	c->code.len = (unsigned)(p.p - c->code.bytes);
	c->name = "x87";
	return true;
}

bool gen_simd(struct native *n, struct rng *r, struct native_case *c)
{
	(void)n;
	return rng_below(r, 5) ? gen_vector(r, c) : gen_x87(r, c);
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

/* VCVTPS2PH: a CPU may have set the flags of a store that faults then. */
static bool early_flags(const uint8_t *h, const uint8_t *k)
{
	uint32_t a, b;

	memcpy(&a, h + 24, 4);
	memcpy(&b, k + 24, 4);
	return (a | 0x3f) == (b | 0x3f) && !(b & ~a);
}

bool native_same_simd(const uint8_t *in, const uint8_t *h, const uint8_t *k,
		      bool faulted, bool print)
{
	/* A CPU may have begun to turn x87 registers into MMX ones. */
	bool ok = faulted || region("x87", h, k, in, 0, 6, print);
	uint32_t a, b, x, d;

	if (!faulted || !early_flags(h, k))
		ok &= region("MXCSR", h, k, in, 24, 4, print);
	ok &= faulted || region("st", h, k, in, 32, 128, print);
	ok &= region("xmm", h, k, in, 160, 256, print);
	for (unsigned n = 2; n < 8; n++) {
		if (!(host_xcr0() >> n & 1))
			continue;
		__cpuid_count(0xd, n, a, b, x, d);
		ok &= region(n == 2 ? "ymm" : n == 5 ? "k" : n == 6 ? "zmm" :
			     "zmm16", h, k, in, b, a, print);
	}
	return ok;
}
