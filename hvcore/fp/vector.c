/* vector.c: runs SIMD instructions through their stubs: conditions, memory
 * operands, flags, SIMD exceptions; and those few that need no stub. */
#include <emmintrin.h>

#include "hvcore/exec/dispatch.h"
#include "hvcore/exec/flags.h"
#include "hvcore/fp/row.h"

/* -- conditions -------------------------------------------------------------------- */
static inline bool conditions_bad(const struct vcpu *c, const struct fp_op *o)
{
	return (c->cr0 & o->cr0_bad) | (~c->cr4 & o->cr4_need) |
	       (~c->fpu.xcr0 & o->xcr0_need);
}

/* CVTPI2PS and CVTPI2PD from memory leave x87 state alone. */
static bool is_mmx(const struct fp_op *o)
{
	unsigned p = o->row->pattern;

	if (o->mem && PAT_REG(p) == KIND_V)
		return false;
	return PAT_REG(p) == KIND_P || PAT_RM(p) == KIND_P ||
	       o->row->flags & EMMS;
}

void fp_conditions(struct vcpu *c, const struct fp_op *o)
{
	if (unlikely(conditions_bad(c, o))) {
		if ((c->cr0 & o->cr0_bad & CR0_EM) || ~c->cr4 & o->cr4_need ||
		    ~c->fpu.xcr0 & o->xcr0_need)
			cpu_raise(c, EXC_UD);
		cpu_raise(c, EXC_NM);
	}
	if (unlikely(is_mmx(o)))
		fp_check_mf(c);
}

/* -- running ------------------------------------------------------------------------- */
static void enter_mmx(struct fpu *f)
{
	f->fsw &= (uint16_t)~0x3800;
	f->ftw = 0xff;
	f->xinuse |= XCB(XC_X87);
}

static void after_mmx(struct vcpu *c, const struct fp_op *o)
{
	unsigned p = o->row->pattern;
	struct fpu *f = &c->fpu;

	enter_mmx(f);
	if (PAT_WR(p) == WR_REG && PAT_REG(p) == KIND_P)
		memset(f->st[o->reg] + 8, 0xff, 2);
	if (PAT_WR(p) == WR_RM && PAT_RM(p) == KIND_P && !o->mem)
		memset(f->st[o->rm] + 8, 0xff, 2);
}

void fp_run(struct vcpu *c, const struct fp_op *o, void *mem)
{
	uint64_t f = o->row->flags, result;

	if (unlikely(!o->run))
		cpu_stop(c, HV_STOP_UNSUPPORTED,
			 "no memory for host code of %s", o->row->name);
	if (f & FPX && unlikely(~c->fpu.mxcsr & 0x1f80)) {
		if (!fp_run_trapping(c, o, mem, &result)) {
			if (is_mmx(o))
				enter_mmx(&c->fpu);
			cpu_raise(c, c->cr4 & CR4_OSXMMEXCPT ? EXC_XM : EXC_UD);
		}
	} else {
		result = o->run(c, mem);
	}
	if (f & FLAGS)
		cc_set(c, CC_ALL, !(result & FLAG_ZF), result & FLAGS_ARITH);
	if (unlikely(is_mmx(o)))
		after_mmx(c, o);
	c->fpu.xinuse |= o->use;
}

static uint64_t operand_address(struct vcpu *c, const struct insn *i,
				const struct fp_op *o, enum mem_access access)
{
	uint64_t lin = ea_linear(c, i, o->msize, access);

	if (unlikely(lin & o->align) &&
	    !(o->elem && o->aaa && !fp_any_picked(c, o)))
		cpu_raise_error(c, EXC_GP, 0);
	return lin;
}

static void read_operand(struct vcpu *c, const struct insn *i, uint64_t lin,
			 unsigned size, uint8_t *buf)
{
	uint64_t v;

	switch (size) {
	case 1: v = mem_read8(c, i, lin); break;
	case 2: v = mem_read16(c, i, lin); break;
	case 4: v = mem_read32(c, i, lin); break;
	case 8: v = mem_read64(c, i, lin); break;
	default:
		mem_read_bytes(c, i, lin, buf, size);
		return;
	}
	memcpy(buf, &v, 8);
}

static void write_operand(struct vcpu *c, const struct insn *i, uint64_t lin,
			  unsigned size, const uint8_t *buf)
{
	uint64_t v;

	memcpy(&v, buf, 8);
	switch (size) {
	case 1: mem_write8(c, i, lin, (uint8_t)v); break;
	case 2: mem_write16(c, i, lin, (uint16_t)v); break;
	case 4: mem_write32(c, i, lin, (uint32_t)v); break;
	case 8: mem_write64(c, i, lin, v); break;
	default: mem_write_bytes(c, i, lin, buf, size); break;
	}
}

static __attribute__((noinline)) void run_any(struct vcpu *c,
					      const struct insn *i)
{
	const struct fp_op *o = i->ptr;
	alignas(64) uint8_t buf[64] = { 0 };
	bool store = o->mem && PAT_WR(o->row->pattern) == WR_RM;
	bool masked = o->elem && o->aaa;
	uint64_t lin;

	c->cur = i;
	fp_conditions(c, o);
	if (!o->mem) {
		fp_run(c, o, buf);
		return;
	}
	lin = operand_address(c, i, o, store ? ACC_WRITE : ACC_READ);
	if (!store) {
		if (masked)
			fp_read_masked(c, i, o, lin, buf);
		else
			read_operand(c, i, lin, o->msize, buf);
		fp_run(c, o, buf);
		return;
	}
	/* What changes more than memory asks first whether it may; but
	 * VCVTPS2PH raises #XM, and sets flags in MXCSR, before it stores. */
	if (masked && !(o->row->flags & (TUPLE | FPX)))
		fp_probe_masked(c, i, o, lin);
	else if (o->row->flags & TUPLE || is_mmx(o))
		mem_probe_write(c, i, lin, o->msize);
	fp_run(c, o, buf);
	if (masked)
		fp_write_masked(c, i, o, lin, buf);
	else
		write_operand(c, i, lin, o->msize, buf);
}

INSN(exec_any)
{
	run_any(c, i);
	NEXT(c, i);
}

/* Registers only, nothing that MXCSR could raise. */
INSN(exec_plain)
{
	const struct fp_op *o = i->ptr;

	if (unlikely(conditions_bad(c, o) ||
		     (o->row->flags & FPX && ~c->fpu.mxcsr & 0x1f80))) {
		run_any(c, i);
	} else {
		o->run(c, NULL);
		c->fpu.xinuse |= o->use;
	}
	NEXT(c, i);
}

/* A whole vector from or to memory that the TLB holds, aligned. */
static inline void *direct(const struct vcpu *c, const struct insn *i,
			   const struct fp_op *o, const struct tlbe *set)
{
	void *p = tlb_hit(set, ea_simple(c, i), o->msize);

	return (uintptr_t)p & (o->msize - 1u) ? NULL : p;
}

INSN(exec_load)
{
	const struct fp_op *o = i->ptr;
	void *p = direct(c, i, o, c->tlb->r);

	if (unlikely(!p || conditions_bad(c, o) ||
		     (o->row->flags & FPX && ~c->fpu.mxcsr & 0x1f80))) {
		run_any(c, i);
	} else {
		o->run(c, p);
		c->fpu.xinuse |= o->use;
	}
	NEXT(c, i);
}

INSN(exec_store)
{
	const struct fp_op *o = i->ptr;
	void *p = direct(c, i, o, c->tlb->w);

	if (unlikely(!p || conditions_bad(c, o)))
		run_any(c, i);
	else
		o->run(c, p);
	NEXT(c, i);
}

/* -- without a stub -------------------------------------------------------------------- */
INSN(exec_emms)
{
	c->cur = i;
	fp_conditions(c, i->ptr);
	enter_mmx(&c->fpu);
	c->fpu.ftw = 0;
	NEXT(c, i);
}

/* VZEROUPPER, VZEROALL: outside of 64-bit code eight registers only. */
INSN(exec_zeroupper)
{
	const struct fp_op *o = i->ptr;
	unsigned n = c->mode & MODE_CS64 ? 16 : 8, from = o->l ? 0 : 16;

	c->cur = i;
	fp_conditions(c, o);
	while (n--)
		memset(c->fpu.zmm[n] + from, 0, 64 - from);
	if (c->mode & MODE_CS64)
		c->fpu.xinuse &= ~(XCB(XC_AVX) | XCB(XC_ZMM_HI) |
				   (o->l ? XCB(XC_SSE) : 0));
	NEXT(c, i);
}

/* RCPPS and RSQRTPS differ from vendor to vendor within an error of 1.5 * 2^-12:
 * here it is the exact result rounded to twelve bits.  Denormals count as zero,
 * tiny results become zero. */
static uint32_t bits_of(float v)
{
	uint32_t b;

	memcpy(&b, &v, 4);
	return b;
}

static uint32_t approximate(uint32_t b, bool root)
{
	uint32_t sign = b & 0x80000000, mag = b & 0x7fffffff, r;
	float v;
	double d;

	if (mag > 0x7f800000)
		return b | 0x400000;
	if (mag < 0x800000)
		return sign | 0x7f800000;
	if (root && sign)
		return 0xffc00000;
	if (mag == 0x7f800000)
		return sign;
	memcpy(&v, &mag, 4);
	d = (double)v;
	if (root)
		d = _mm_cvtsd_f64(_mm_sqrt_sd(_mm_set_sd(d), _mm_set_sd(d)));
	r = bits_of((float)(1.0 / d));
	r = (r + 0x400) & ~0x7ffu;
	return sign | (r < 0x800000 ? 0 : r);
}

static __attribute__((noinline)) void run_approximate(struct vcpu *c,
						      const struct insn *i)
{
	const struct fp_op *o = i->ptr;
	bool scalar = o->row->pp == F3;
	unsigned len = scalar ? 4 : o->vl;
	uint8_t buf[64], *to = c->fpu.zmm[o->reg];
	uint32_t v;

	c->cur = i;
	fp_conditions(c, o);
	if (o->mem)
		read_operand(c, i, operand_address(c, i, o, ACC_READ),
			     o->msize, buf);
	else
		memcpy(buf, c->fpu.zmm[o->rm], 64);
	if (scalar && o->enc == ENC_VEX)
		memmove(to + 4, c->fpu.zmm[o->vvvv] + 4, 12);
	for (unsigned n = 0; n < len; n += 4) {
		memcpy(&v, buf + n, 4);
		v = approximate(v, o->row->opcode == 0x52);
		memcpy(to + n, &v, 4);
	}
	if (o->enc == ENC_VEX)
		memset(to + o->vl, 0, 64 - o->vl);
	c->fpu.xinuse |= o->use;
}

INSN(exec_approximate)
{
	run_approximate(c, i);
	NEXT(c, i);
}

/* -- which handler ----------------------------------------------------------------------- */
static insn_fn *special(const struct fp_op *o)
{
	uint64_t f = o->row->flags;

	if (f & EMMS)
		return exec_emms;
	if (f & ZEROUPPER)
		return exec_zeroupper;
	if (f & APPROXIMATE)
		return exec_approximate;
	if (f & VSIB)
		return fp_gather;
	if (f & MASKMOVQ)
		return fp_maskmovq;
	if (f & (VMASK4 | VMASK8))
		return fp_masked_move;
	return NULL;
}

insn_fn *fp_vector_handler(const struct fp_op *o, bool simple)
{
	insn_fn *f = special(o);
	bool whole = o->msize >= 4 && !(o->msize & (o->msize - 1)) && !o->aaa;

	if (f)
		return f;
	if (!o->run || o->row->flags & FLAGS || is_mmx(o))
		return exec_any;
	if (!o->mem)
		return exec_plain;
	if (!simple || !whole)
		return exec_any;
	if (PAT_WR(o->row->pattern) != WR_RM)
		return exec_load;
	return o->row->flags & FPX ? exec_any : exec_store;
}
