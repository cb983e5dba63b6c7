/* xstate.c: x87 and SIMD registers as XSAVE components (SDM vol. 1, chapter 13).
 *
 * Owns the images: which bytes of struct fpu are which component, where it
 * stands in an area, what its initial value is.  It touches no guest memory.
 */
#include <stdlib.h>

#include "hvcore/fp/fp.h"

#define LEGACY_SIZE 512u
#define HEADER_SIZE 64u

/* -- x87 ------------------------------------------------------------------------ */
static unsigned top(const struct fpu *f)
{
	return f->fsw >> 11 & 7;
}

static void put(uint8_t *to, uint64_t v, unsigned n)
{
	memcpy(to, &v, n);
}

static uint64_t get(const uint8_t *from, unsigned n)
{
	uint64_t v = 0;

	memcpy(&v, from, n);
	return v;
}

/* CPUID.7.EBX[13]: the CPU no longer keeps FCS and FDS. */
static bool has_selectors(const struct vcpu *c)
{
	return !cpu_has(c, 7, 0, 1, 13);
}

void fp_x87_get(const struct vcpu *c, uint8_t *to, bool wide)
{
	const struct fpu *f = &c->fpu;

	put(to, f->fcw, 2);
	put(to + 2, f->fsw, 2);
	put(to + 4, f->ftw, 2);
	put(to + 6, f->fop, 2);
	if (wide) {
		put(to + 8, f->fip, 8);
		put(to + 16, f->fdp, 8);
	} else {
		uint64_t sel = has_selectors(c) ? ~0ull : 0;

		put(to + 8, f->fip, 4);
		put(to + 12, f->fcs & sel, 4);
		put(to + 16, f->fdp, 4);
		put(to + 20, f->fds & sel, 4);
	}
	for (unsigned n = 0; n < 8; n++) {
		uint8_t *st = to + 32 + 16 * n;

		memcpy(st, f->st[(top(f) + n) & 7], 10);
		memset(st + 10, 0, 6);
	}
}

void fp_x87_set(struct vcpu *c, const uint8_t *from, bool wide)
{
	struct fpu *f = &c->fpu;

	/* Bit 6 reads as one, 7 and 15:13 as zero; ES and B follow from the
	 * exceptions and their masks. */
	f->fcw = (get(from, 2) & 0x1f7f) | 0x40;
	f->fsw = get(from + 2, 2) & 0x7f7f;
	if (f->fsw & ~f->fcw & 0x3f)
		f->fsw |= 0x8080;
	f->ftw = from[4];
	f->fop = get(from + 6, 2) & 0x7ff;
	if (wide) {
		f->fip = get(from + 8, 8);
		f->fdp = get(from + 16, 8);
		f->fcs = f->fds = 0;
	} else {
		f->fip = get(from + 8, 4);
		f->fcs = get(from + 12, 2);
		f->fdp = get(from + 16, 4);
		f->fds = get(from + 20, 2);
	}
	for (unsigned n = 0; n < 8; n++) {
		uint8_t *st = f->st[(top(f) + n) & 7];

		memcpy(st, from + 32 + 16 * n, 10);
		memset(st + 10, 0, 6);
	}
}

static void x87_init(struct fpu *f)
{
	f->fcw = FCW_INIT;
	f->fsw = f->fop = 0;
	f->ftw = 0;
	f->fcs = f->fds = 0;
	f->fip = f->fdp = 0;
	memset(f->st, 0, sizeof f->st);
}

/* -- where components stand ------------------------------------------------------- */
uint32_t fp_mxcsr_mask(const struct vcpu *c)
{
	/* MM (bit 17) goes with AMD's misaligned SSE mode. */
	return 0xffff | (cpu_has(c, 0x80000001, 0, 2, 7) ? 0x20000u : 0);
}

static uint32_t own_size(unsigned n)
{
	static const uint16_t sizes[XC_COUNT] = { 160, 256, 256, 64, 64, 64, 512,
		1024, 128, 8, 8, 16, 24, [XC_TILECFG] = 64,
		[XC_TILEDATA] = XC_MAX_SIZE };

	return n < XC_COUNT ? sizes[n] : 0;
}

uint32_t fp_component_at(struct vcpu *c, unsigned n, uint64_t xcomp,
			 uint32_t *size)
{
	uint32_t r[4], at = LEGACY_SIZE + HEADER_SIZE;

	*size = own_size(n);
	if (!(xcomp >> 63)) {
		cpuid_query(c, 0xd, n, r);
		return r[0] >= *size && *size ? r[1] : 0;
	}
	for (unsigned k = 2; k <= n; k++) {
		if (!(xcomp >> k & 1))
			continue;
		cpuid_query(c, 0xd, k, r);
		if (r[2] & 2)
			at = (at + 63) & ~63u;
		if (k == n)
			return r[0] >= *size && *size ? at : 0;
		at += r[0];
	}
	return 0;
}

/* -- one component ------------------------------------------------------------------ */
/* Registers of struct fpu that a component slices: from byte `from` of each. */
static const struct slice { uint8_t first, count, from, bytes; } slices[] = {
	[XC_SSE] = { 0, 16, 0, 16 }, [XC_AVX] = { 0, 16, 16, 16 },
	[XC_ZMM_HI] = { 0, 16, 32, 32 }, [XC_HI16_ZMM] = { 16, 16, 0, 64 },
};

/* Components that are plain bytes of ours. */
static uint8_t *opaque(const struct vcpu *c, unsigned n)
{
	struct fp_state *s = c->fp;

	switch (n) {
	case XC_BNDREGS: return s->bndregs;
	case XC_BNDCSR: return s->bndcsr;
	case XC_OPMASK: return (uint8_t *)(uintptr_t)c->fpu.k;
	case XC_PT: return s->pt;
	case XC_PASID: return s->pasid;
	case XC_TILECFG: return s->tilecfg;
	case XC_TILEDATA: return s->tiledata;
	default: return NULL;
	}
}

void fp_component_get(const struct vcpu *c, unsigned n, uint8_t *to)
{
	const struct slice *s = &slices[n & 7];

	if (n < 8 && s->bytes) {
		for (unsigned k = 0; k < s->count; k++)
			memcpy(to + k * s->bytes,
			       c->fpu.zmm[s->first + k] + s->from, s->bytes);
	} else if (n == XC_PKRU) {
		put(to, c->fpu.pkru, 8);
	} else if (n == XC_CET_U) {
		put(to, c->msr.u_cet, 8);
		put(to + 8, c->msr.pl_ssp[3], 8);
	} else if (n == XC_CET_S) {
		memcpy(to, c->msr.pl_ssp, 24);
	} else if (opaque(c, n)) {
		memcpy(to, opaque(c, n), own_size(n));
	}
}

static void pkru_set(struct vcpu *c, uint32_t v)
{
	bool changed = c->fpu.pkru != v;

	c->fpu.pkru = v;
	if (changed)
		mem_switch_context(c);
}

void fp_component_set(struct vcpu *c, unsigned n, const uint8_t *from)
{
	const struct slice *s = &slices[n & 7];

	if (n < 8 && s->bytes) {
		for (unsigned k = 0; k < s->count; k++)
			memcpy(c->fpu.zmm[s->first + k] + s->from,
			       from + k * s->bytes, s->bytes);
	} else if (n == XC_PKRU) {
		pkru_set(c, (uint32_t)get(from, 4));
	} else if (n == XC_CET_U) {
		c->msr.u_cet = get(from, 8);
		c->msr.pl_ssp[3] = get(from + 8, 8);
		cpu_update_mode(c);
	} else if (n == XC_CET_S) {
		memcpy(c->msr.pl_ssp, from, 24);
	} else if (opaque(c, n)) {
		memcpy(opaque(c, n), from, own_size(n));
	}
}

void fp_component_init(struct vcpu *c, unsigned n)
{
	static const uint8_t zero[XC_MAX_SIZE];

	if (n == XC_X87)
		x87_init(&c->fpu);
	else
		fp_component_set(c, n, zero);
}

static bool all_zero(const uint8_t *p, unsigned n)
{
	while (n && !*p)
		p++, n--;
	return !n;
}

/* What hardware tracks by use is tracked by use in c->fpu.xinuse (x87, SSE,
 * and vector components); what has other ways in than SIMD instructions is
 * judged by its value. */
uint64_t fp_xinuse(const struct vcpu *c)
{
	static const uint8_t judged[] = { XC_BNDREGS, XC_BNDCSR, XC_PT, XC_PKRU,
		XC_PASID, XC_CET_U, XC_CET_S, XC_TILECFG, XC_TILEDATA };
	static const uint16_t bytes[] = { 64, 64, 128, 4, 8, 16, 24, 64,
		XC_MAX_SIZE };
	uint64_t use = c->fpu.xinuse;
	uint8_t buf[32];

	for (unsigned k = 0; k < sizeof judged; k++) {
		const uint8_t *p = opaque(c, judged[k]);

		if (!p) {
			fp_component_get(c, judged[k], buf);
			p = buf;
		}
		use &= ~XCB(judged[k]);
		if (!all_zero(p, bytes[k]))
			use |= XCB(judged[k]);
	}
	return use;
}

/* -- whole areas: KVM's struct kvm_xsave ----------------------------------------------- */
/* As KVM_GET_XSAVE gives it: standard format, initial values where a component
 * is not in use. */
void fp_to_xsave(const struct vcpu *c, uint8_t *area, uint32_t size)
{
	struct vcpu *v = (struct vcpu *)(uintptr_t)c; /* CPUID is asked of it */
	uint64_t use = fp_xinuse(c), bv = use & 3;
	uint8_t *buf;

	if (size < LEGACY_SIZE + HEADER_SIZE)
		return;
	memset(area, 0, size);
	buf = calloc(1, XC_MAX_SIZE);
	if (!buf)
		cpu_stop(v, HV_STOP_UNSUPPORTED, "out of memory");
	fp_x87_get(c, area, true);
	put(area + 24, c->fpu.mxcsr, 4);
	put(area + 28, fp_mxcsr_mask(c), 4);
	fp_component_get(c, XC_SSE, area + 160);
	memcpy(area + 464, c->fp->sw, sizeof c->fp->sw);
	for (unsigned n = 2; n < XC_COUNT; n++) {
		uint32_t len, at;

		/* KVM's image has user components only. */
		if (!(use >> n & 1) || n == XC_PT ||
		    (n >= XC_PASID && n <= XC_CET_S))
			continue;
		at = fp_component_at(v, n, 0, &len);
		if (!at || at > size || len > size - at)
			continue;
		fp_component_get(c, n, buf);
		memcpy(area + at, buf, len);
		bv |= XCB(n);
	}
	put(area + LEGACY_SIZE, bv, 8);
	free(buf);
}

void fp_from_xsave(struct vcpu *c, const uint8_t *area, uint32_t size)
{
	uint64_t bv, xcomp;
	uint8_t *buf;

	if (size < LEGACY_SIZE + HEADER_SIZE)
		return;
	buf = calloc(1, XC_MAX_SIZE);
	if (!buf)
		return;
	bv = get(area + LEGACY_SIZE, 8);
	xcomp = get(area + LEGACY_SIZE + 8, 8);
	memcpy(c->fp->sw, area + 464, sizeof c->fp->sw);
	c->fpu.mxcsr = (uint32_t)get(area + 24, 4) & fp_mxcsr_mask(c);
	c->fpu.xinuse = 0;
	for (unsigned n = 0; n < XC_COUNT; n++) {
		uint32_t len, at = n == XC_SSE ? 160 : 0;

		if (!(bv >> n & 1)) {
			/* PKRU is a register of its own to the kernel too, CET
			 * state comes with MSRs. */
			if (n < XC_PT || n == XC_PKRU || n > XC_CET_S)
				fp_component_init(c, n);
			continue;
		}
		if (n > XC_SSE) {
			at = fp_component_at(c, n, xcomp, &len);
			if (!at || at > size || len > size - at)
				continue;
			memcpy(buf, area + at, len);
		}
		if (n == XC_X87)
			fp_x87_set(c, area, true);
		else
			fp_component_set(c, n, n == XC_SSE ? area + at : buf);
		c->fpu.xinuse |= XCB(n);
	}
	free(buf);
}

/* SDM vol. 3, table 9-1: INIT leaves all of it alone but x87's and SSE's
 * places in XCR0, which it keeps too. */
void fp_reset(struct vcpu *c, bool init)
{
	if (init)
		return;
	for (unsigned n = 0; n < XC_COUNT; n++)
		if (n != XC_CET_U && n != XC_CET_S)
			fp_component_init(c, n);
	c->fpu.fcw = 0x40;
	c->fpu.ftw = 0xff;
	c->fpu.mxcsr = MXCSR_INIT;
	c->fpu.xcr0 = 1;
	c->fpu.xss = 0;
	c->fpu.xinuse = 1;
}
