/* xsave.c: FXSAVE, FXRSTOR, the XSAVE family, XGETBV, XSETBV, LDMXCSR, STMXCSR,
 * FWAIT (SDM vol. 1, chapter 13; vol. 2).
 *
 * An area is judged and its pages are probed as a whole before the first byte
 * of it, or of the registers, changes.
 */
#include "hvcore/fp/fp.h"

#define HEADER 512u
#define COMPACT (1ull << 63)

void fp_check_mf(struct vcpu *c)
{
	if (unlikely(c->fpu.fsw & 0x80))
		cpu_raise(c, EXC_MF);
}

/* -- conditions ------------------------------------------------------------------- */
static void need_bit(struct vcpu *c, uint32_t leaf, uint32_t sub, unsigned reg,
		     unsigned bit)
{
	if (!cpu_has(c, leaf, sub, reg, bit))
		cpu_raise(c, EXC_UD);
}

static void no_ts(struct vcpu *c)
{
	if (c->cr0 & CR0_TS)
		cpu_raise(c, EXC_NM);
}

static uint64_t aligned(struct vcpu *c, const struct insn *i, uint64_t align)
{
	uint64_t lin = insn_linear(c, i);

	if (lin & (align - 1))
		cpu_raise_error(c, EXC_GP, 0);
	return lin;
}

static uint64_t read64(struct vcpu *c, const struct insn *i, uint64_t lin)
{
	uint64_t v;

	mem_read_bytes(c, i, lin, &v, 8);
	return v;
}

static bool wide(const struct insn *i)
{
	return insn_opsize(i) == 8;
}

static bool cs64(const struct vcpu *c)
{
	return c->mode & MODE_CS64;
}

/* -- FXSAVE, FXRSTOR ---------------------------------------------------------------- */
static void fx_conditions(struct vcpu *c)
{
	need_bit(c, 1, 0, 3, 24);
	if (c->cr0 & (CR0_TS | CR0_EM))
		cpu_raise(c, EXC_NM);
}

/* AMD's fast FXSAVE leaves XMM registers out at CPL 0 in 64-bit mode. */
static bool fx_fast(const struct vcpu *c)
{
	return c->efer & 1 << 14 && c->cpl == 0 && cs64(c);
}

static unsigned xmm_bytes(const struct vcpu *c)
{
	return cs64(c) ? 256 : 128;
}

void op_fxsave(struct vcpu *c, const struct insn *i)
{
	uint8_t area[416];
	uint32_t mask = fp_mxcsr_mask(c);
	uint64_t lin;

	fx_conditions(c);
	lin = aligned(c, i, 16);
	mem_probe_write(c, i, lin, 512);
	fp_x87_get(c, area, wide(i));
	memcpy(area + 24, &c->fpu.mxcsr, 4);
	memcpy(area + 28, &mask, 4);
	fp_component_get(c, XC_SSE, area + 160);
	mem_write_bytes(c, i, lin, area, fx_fast(c) ? 160 : 160 + xmm_bytes(c));
}

static void check_mxcsr(struct vcpu *c, uint32_t v)
{
	if (v & ~fp_mxcsr_mask(c))
		cpu_raise_error(c, EXC_GP, 0);
}

/* Outside of 64-bit mode the upper half of the registers stays as it is. */
static void xmm_set(struct vcpu *c, const uint8_t *from)
{
	for (unsigned n = 0; n < xmm_bytes(c) / 16; n++)
		memcpy(c->fpu.zmm[n], from + 16 * n, 16);
}

void op_fxrstor(struct vcpu *c, const struct insn *i)
{
	uint8_t area[512];
	uint32_t mxcsr;
	uint64_t lin;

	fx_conditions(c);
	lin = aligned(c, i, 16);
	mem_read_bytes(c, i, lin, area, sizeof area);
	memcpy(&mxcsr, area + 24, 4);
	if (c->cr4 & CR4_OSFXSR)
		check_mxcsr(c, mxcsr);
	fp_x87_set(c, area, wide(i));
	c->fpu.xinuse |= XCB(XC_X87);
	if (!(c->cr4 & CR4_OSFXSR))
		return;
	c->fpu.mxcsr = mxcsr;
	if (!fx_fast(c))
		xmm_set(c, area + 160);
	c->fpu.xinuse |= XCB(XC_SSE);
}

/* -- XSAVE, XSAVEOPT, XSAVEC, XSAVES -------------------------------------------------- */
enum kind { K_PLAIN, K_OPT, K_COMPACT, K_SUPERVISOR };

static void xsave_conditions(struct vcpu *c, enum kind k)
{
	static const uint8_t bits[] = { [K_OPT] = 0, [K_COMPACT] = 1,
		[K_SUPERVISOR] = 3 };

	need_bit(c, 1, 0, 2, 26);
	if (k != K_PLAIN)
		need_bit(c, 0xd, 1, 0, bits[k]);
	if (!(c->cr4 & CR4_OSXSAVE))
		cpu_raise(c, EXC_UD);
}

static uint64_t requested(const struct vcpu *c, enum kind k)
{
	uint64_t mask = (uint32_t)c->r[R_RAX] | c->r[R_RDX] << 32;

	return mask & (c->fpu.xcr0 | (k == K_SUPERVISOR ? c->fpu.xss : 0));
}

/* Bytes of the area that a save or load of rfbm may touch. */
static uint32_t area_size(struct vcpu *c, uint64_t rfbm, uint64_t xcomp)
{
	uint32_t end = HEADER + 64;

	for (unsigned n = 2; n < XC_COUNT; n++) {
		uint32_t size, at;

		if (!(rfbm >> n & 1))
			continue;
		at = fp_component_at(c, n, xcomp, &size);
		if (at && at + size > end)
			end = at + size;
	}
	return end;
}

/* The first bytes of component n that 32-bit code sees: the upper registers
 * are neither saved nor loaded there (SDM vol. 1, 13.5). */
static uint32_t visible(const struct vcpu *c, unsigned n, uint32_t size)
{
	if (cs64(c))
		return size;
	if (n == XC_AVX || n == XC_ZMM_HI)
		return size / 2;
	return n == XC_HI16_ZMM ? 0 : size;
}

static void save_extended(struct vcpu *c, const struct insn *i, uint64_t lin,
			  uint64_t which, uint64_t xcomp)
{
	uint8_t buf[XC_MAX_SIZE];

	for (unsigned n = 2; n < XC_COUNT; n++) {
		uint32_t size, at;

		if (!(which >> n & 1))
			continue;
		at = fp_component_at(c, n, xcomp, &size);
		if (!at)
			continue;
		fp_component_get(c, n, buf);
		size = visible(c, n, size);
		if (size)
			mem_write_bytes(c, i, lin + at, buf, size);
	}
}

static void save_legacy(struct vcpu *c, const struct insn *i, uint64_t lin,
			uint64_t which, bool mxcsr)
{
	uint8_t x[160], xmm[256];
	uint32_t mask = fp_mxcsr_mask(c);

	if (which & XCB(XC_X87)) {
		fp_x87_get(c, x, wide(i));
		mem_write_bytes(c, i, lin, x, 24);
		mem_write_bytes(c, i, lin + 32, x + 32, 128);
	}
	if (mxcsr) {
		memcpy(x, &c->fpu.mxcsr, 4);
		memcpy(x + 4, &mask, 4);
		mem_write_bytes(c, i, lin + 24, x, 8);
	}
	if (which & XCB(XC_SSE)) {
		fp_component_get(c, XC_SSE, xmm);
		mem_write_bytes(c, i, lin + 160, xmm, xmm_bytes(c));
	}
}

static void save(struct vcpu *c, const struct insn *i, enum kind k)
{
	uint64_t rfbm = requested(c, k), use = fp_xinuse(c) & rfbm;
	uint64_t lin = aligned(c, i, 64), which = rfbm, xcomp = 0;
	uint64_t header[2];
	bool mxcsr = rfbm & (XCB(XC_SSE) | XCB(XC_AVX));

	if (k >= K_COMPACT) {
		/* MXCSR counts as SSE state here. */
		if (c->fpu.mxcsr != MXCSR_INIT)
			use |= rfbm & XCB(XC_SSE);
		xcomp = rfbm | COMPACT;
		mxcsr = use & XCB(XC_SSE);
	}
	if (k != K_PLAIN)
		which = use;
	mem_probe_write(c, i, lin, area_size(c, rfbm, xcomp));
	header[0] = use;
	header[1] = xcomp;
	if (k < K_COMPACT)
		header[0] |= read64(c, i, lin + HEADER) & ~rfbm;
	save_legacy(c, i, lin, which, mxcsr);
	save_extended(c, i, lin, which, xcomp);
	mem_write_bytes(c, i, lin + HEADER, header, k < K_COMPACT ? 8 : 16);
}

void op_xsave(struct vcpu *c, const struct insn *i)
{
	xsave_conditions(c, K_PLAIN);
	no_ts(c);
	save(c, i, K_PLAIN);
}

void op_xsaveopt(struct vcpu *c, const struct insn *i)
{
	xsave_conditions(c, K_OPT);
	no_ts(c);
	save(c, i, K_OPT);
}

void op_xsavec(struct vcpu *c, const struct insn *i)
{
	xsave_conditions(c, K_COMPACT);
	no_ts(c);
	save(c, i, K_COMPACT);
}

static void privileged(struct vcpu *c)
{
	if (c->cpl)
		cpu_raise_error(c, EXC_GP, 0);
}

void op_xsaves(struct vcpu *c, const struct insn *i)
{
	xsave_conditions(c, K_SUPERVISOR);
	privileged(c);
	vmx_hook_insn(c, i, VI_XSAVES);
	no_ts(c);
	save(c, i, K_SUPERVISOR);
}

/* -- XRSTOR, XRSTORS -------------------------------------------------------------------- */
static bool header_good(struct vcpu *c, const uint64_t *h, enum kind k)
{
	uint64_t all = c->fpu.xcr0 | (k == K_SUPERVISOR ? c->fpu.xss : 0);

	if (!(h[1] & COMPACT)) /* standard: bytes 23:8 are zero */
		return k != K_SUPERVISOR && !(h[0] & ~all) && !h[1] && !h[2];
	if (k != K_SUPERVISOR && !cpu_has(c, 0xd, 1, 0, 1))
		return false;
	if (h[1] & ~COMPACT & ~all || h[0] & ~h[1])
		return false;
	for (unsigned n = 2; n < 8; n++)
		if (h[n])
			return false;
	return true;
}

static void load_component(struct vcpu *c, unsigned n, const uint8_t *area,
			   uint64_t xcomp)
{
	uint8_t buf[XC_MAX_SIZE];
	uint32_t size, at = fp_component_at(c, n, xcomp, &size);
	uint32_t seen = visible(c, n, size);

	if (!at || !seen)
		return;
	if (seen < size)
		fp_component_get(c, n, buf);
	memcpy(buf, area + at, seen);
	fp_component_set(c, n, buf);
}

static void init_component(struct vcpu *c, unsigned n)
{
	static const uint8_t zero[256];
	uint8_t buf[1024];
	uint32_t size = n == XC_ZMM_HI ? 512 : 256;

	if (cs64(c) || (n != XC_AVX && n != XC_ZMM_HI && n != XC_SSE)) {
		if (cs64(c) || n != XC_HI16_ZMM)
			fp_component_init(c, n);
	} else if (n == XC_SSE) {
		xmm_set(c, zero);
	} else {
		fp_component_get(c, n, buf);
		memset(buf, 0, size / 2);
		fp_component_set(c, n, buf);
	}
}

static void load_state(struct vcpu *c, const struct insn *i, uint64_t rfbm,
		       const uint8_t *area, const uint64_t *header)
{
	uint64_t bv = header[0] & rfbm;

	for (unsigned n = 0; n < XC_COUNT; n++) {
		if (!(rfbm >> n & 1))
			continue;
		if (!(bv >> n & 1))
			init_component(c, n);
		else if (n == XC_X87)
			fp_x87_set(c, area, wide(i));
		else if (n == XC_SSE)
			xmm_set(c, area + 160);
		else
			load_component(c, n, area, header[1]);
	}
	c->fpu.xinuse = (c->fpu.xinuse & ~rfbm) | bv;
}

static void restore(struct vcpu *c, const struct insn *i, enum kind k)
{
	uint8_t area[12288];
	uint64_t rfbm = requested(c, k), lin = aligned(c, i, 64), header[8];
	bool from_memory;
	uint32_t mxcsr, size;

	mem_read_bytes(c, i, lin + HEADER, header, sizeof header);
	if (!header_good(c, header, k))
		cpu_raise_error(c, EXC_GP, 0);
	size = area_size(c, header[0] & rfbm, header[1]);
	if (size > sizeof area)
		cpu_stop(c, HV_STOP_UNSUPPORTED, "XSAVE area of %u bytes", size);
	mem_read_bytes(c, i, lin, area, size);
	memcpy(&mxcsr, area + 24, 4);
	if (header[1] & COMPACT)
		from_memory = rfbm & header[0] & XCB(XC_SSE);
	else
		from_memory = rfbm & (XCB(XC_SSE) | XCB(XC_AVX));
	if (from_memory)
		check_mxcsr(c, mxcsr);
	load_state(c, i, rfbm, area, header);
	if (from_memory)
		c->fpu.mxcsr = mxcsr;
	else if (rfbm & XCB(XC_SSE))
		c->fpu.mxcsr = MXCSR_INIT;
}

void op_xrstor(struct vcpu *c, const struct insn *i)
{
	xsave_conditions(c, K_PLAIN);
	no_ts(c);
	restore(c, i, K_PLAIN);
}

void op_xrstors(struct vcpu *c, const struct insn *i)
{
	xsave_conditions(c, K_SUPERVISOR);
	privileged(c);
	vmx_hook_insn(c, i, VI_XRSTORS);
	no_ts(c);
	restore(c, i, K_SUPERVISOR);
}

/* -- XGETBV, XSETBV ---------------------------------------------------------------------- */
void op_xgetbv(struct vcpu *c, const struct insn *i)
{
	uint32_t n = (uint32_t)c->r[R_RCX];
	uint64_t v = c->fpu.xcr0;

	(void)i;
	xsave_conditions(c, K_PLAIN);
	if (n > 1 || (n == 1 && !cpu_has(c, 0xd, 1, 0, 2)))
		cpu_raise_error(c, EXC_GP, 0);
	if (n == 1) /* MXCSR counts as SSE state here */
		v &= fp_xinuse(c) |
		     (c->fpu.mxcsr != MXCSR_INIT ? XCB(XC_SSE) : 0);
	c->r[R_RAX] = (uint32_t)v;
	c->r[R_RDX] = v >> 32;
}

/* SDM vol. 1, 13.3: which components are enabled only together. */
static bool xcr0_good(struct vcpu *c, uint64_t v)
{
	const uint64_t avx512 = XCB(XC_OPMASK) | XCB(XC_ZMM_HI) |
				XCB(XC_HI16_ZMM);
	const uint64_t mpx = XCB(XC_BNDREGS) | XCB(XC_BNDCSR);
	const uint64_t amx = XCB(XC_TILECFG) | XCB(XC_TILEDATA);
	uint32_t r[4];

	cpuid_query(c, 0xd, 0, r);
	if (v & ~(r[0] | (uint64_t)r[3] << 32) || !(v & 1))
		return false;
	if (v & XCB(XC_AVX) && !(v & XCB(XC_SSE)))
		return false;
	if (v & avx512 && ((v & avx512) != avx512 || !(v & XCB(XC_AVX))))
		return false;
	if (v & amx && (v & amx) != amx)
		return false;
	return !(v & mpx) || (v & mpx) == mpx;
}

void op_xsetbv(struct vcpu *c, const struct insn *i)
{
	uint64_t v = (uint32_t)c->r[R_RAX] | c->r[R_RDX] << 32;

	xsave_conditions(c, K_PLAIN);
	privileged(c);
	vmx_hook_insn(c, i, VI_XSETBV);
	if ((uint32_t)c->r[R_RCX] || !xcr0_good(c, v))
		cpu_raise_error(c, EXC_GP, 0);
	c->fpu.xcr0 = v;
}

/* -- MXCSR, FWAIT -------------------------------------------------------------------------- */
static void sse_conditions(struct vcpu *c)
{
	need_bit(c, 1, 0, 3, 25);
	if (c->cr0 & CR0_EM || !(c->cr4 & CR4_OSFXSR))
		cpu_raise(c, EXC_UD);
	no_ts(c);
}

void fp_ldmxcsr(struct vcpu *c, const struct insn *i)
{
	uint32_t v = mem_read32(c, i, insn_linear(c, i));

	check_mxcsr(c, v);
	c->fpu.mxcsr = v;
}

void fp_stmxcsr(struct vcpu *c, const struct insn *i)
{
	mem_write32(c, i, insn_linear(c, i), c->fpu.mxcsr);
}

void op_ldmxcsr(struct vcpu *c, const struct insn *i)
{
	sse_conditions(c);
	fp_ldmxcsr(c, i);
}

void op_stmxcsr(struct vcpu *c, const struct insn *i)
{
	sse_conditions(c);
	fp_stmxcsr(c, i);
}

void op_fwait(struct vcpu *c, const struct insn *i)
{
	(void)i;
	if ((c->cr0 & (CR0_TS | CR0_MP)) == (CR0_TS | CR0_MP))
		cpu_raise(c, EXC_NM);
	fp_check_mf(c);
}
