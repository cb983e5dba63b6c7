/* decode.c: finds the row of a SIMD instruction, judges its prefixes, and
 * writes down how the host is to run it (SDM vol. 2, chapter 2). */
#include "hvcore/decode/table.h"
#include "hvcore/exec/dispatch.h"
#include "hvcore/fp/row.h"

/* -- rows ----------------------------------------------------------------------- */
static bool rounds(const struct decode_ctx *x)
{
	return x->enc == ENC_EVEX && x->evex_b && !x->mem;
}

static bool length_fits(const struct fp_row *r, const struct decode_ctx *x)
{
	unsigned l = rounds(x) ? 2 : x->l;

	if (r->flags & LIG || x->enc == ENC_LEGACY)
		return true;
	if (r->flags & LN0)
		return l != 0;
	if (r->flags & (L0 | L1 | L2))
		return r->flags & (L0 << l);
	return true;
}

static bool fits(const struct fp_row *r, const struct decode_ctx *x)
{
	if (EXT_OF(r->flags) && EXT_OF(r->flags) - 1 != (x->modrm >> 3 & 7u))
		return false;
	if (r->flags & (x->mem ? REG : MEM))
		return false;
	if (x->enc != ENC_LEGACY && r->flags & (x->w ? W0 : W1))
		return false;
	return length_fits(r, x);
}

/* *known: there are rows for the opcode, though they may not fit. */
static const struct fp_row *find(const struct decode_ctx *x, bool *known)
{
	*known = false;
	for (unsigned n = 0; n < fp_nrows; n++) {
		const struct fp_row *r = &fp_rows[n];

		if (r->opcode != x->opcode || r->map != x->map ||
		    r->enc != x->enc || r->pp != x->pp)
			continue;
		*known = true;
		if (fits(r, x))
			return r;
	}
	return NULL;
}

/* -- features ---------------------------------------------------------------------- */
static uint32_t ask_guest(void *arg, uint32_t leaf, uint32_t sub, unsigned reg)
{
	uint32_t r[4];

	cpuid_query(arg, leaf, sub, r);
	return r[reg];
}

struct needs { enum feature f[4]; unsigned n; };

static void need(struct needs *s, enum feature f)
{
	s->f[s->n++] = f;
}

static void needs_of(const struct fp_op *o, struct needs *s)
{
	uint64_t f = o->row->flags;

	s->n = 0;
	need(s, o->row->feature);
	if (o->enc == ENC_VEX && o->row->feature < AVX512F)
		need(s, AVX);
	if (f & AVX2L1 && o->l == 1 && o->enc == ENC_VEX)
		need(s, AVX2);
	if (o->enc != ENC_EVEX)
		return;
	need(s, AVX512F);
	if (o->vl < 64 && !(f & LIG) && (f & (L0 | NOMASK)) != (L0 | NOMASK))
		need(s, AVX512VL);
}

static bool guest_has(struct vcpu *c, const struct needs *s)
{
	for (unsigned n = 0; n < s->n; n++)
		if (!fp_feature(ask_guest, c, s->f[n]))
			return false;
	return true;
}

static bool host_has(struct vcpu *c, const struct needs *s)
{
	for (unsigned n = 0; n < s->n; n++)
		if (!fp_host_has(fp_code_of(c), s->f[n]))
			return false;
	return true;
}

/* -- what the prefixes say ------------------------------------------------------------ */
static unsigned bytes_of(const struct fp_row *r, const struct decode_ctx *x,
			 unsigned vl)
{
	switch (r->bytes) {
	case M_L: return vl;
	case M_L2: return vl / 2;
	case M_L4: return vl / 4;
	case M_L8: return vl / 8;
	case M_W: return x->w ? 8 : 4;
	case M_G: return x->w && x->mode & MODE_CS64 ? 8 : 4;
	default: return r->bytes;
	}
}

static bool evex_good(const struct fp_row *r, const struct decode_ctx *x)
{
	bool to_mem = x->mem && PAT_WR(r->pattern) == WR_RM;
	bool to_k = PAT_WR(r->pattern) == WR_REG &&
		    PAT_REG(r->pattern) == KIND_K;

	if (x->l == 3 && !rounds(x))
		return false;
	if (r->flags & NOMASK && (x->aaa || x->evex_z))
		return false;
	if (x->evex_z && (!x->aaa || to_mem || to_k || r->flags & VSIB))
		return false;
	if (r->flags & VSIB && (!x->aaa || !x->sib))
		return false;
	if (!x->evex_b)
		return true;
	return r->flags & (x->mem ? BC : ER | SAE);
}

static bool registers_good(const struct fp_row *r, const struct decode_ctx *x)
{
	unsigned p = r->pattern, vv = x->vvvv;

	if (x->enc == ENC_LEGACY)
		return true;
	if (r->flags & VSIB)
		vv &= x->enc == ENC_EVEX ? 15 : 31;
	if (PAT_VV(p) == KIND_N && vv)
		return false;
	if (PAT_VV(p) == KIND_K && vv > 7)
		return false;
	if (PAT_REG(p) == KIND_K && x->reg > 7)
		return false;
	if (PAT_REG(p) == KIND_G && x->reg > 15)
		return false;
	if (!(r->flags & VSIB))
		return true;
	if (x->enc == ENC_EVEX)
		return PAT_WR(p) == WR_RM || x->reg != x->vindex;
	return x->sib && x->reg != x->vindex && x->reg != x->vvvv &&
	       x->vvvv != x->vindex;
}

/* What must hold of CR0, CR4 and XCR0. */
static void conditions_of(struct fp_op *o)
{
	unsigned p = o->row->pattern;
	bool vec = PAT_REG(p) == KIND_V || PAT_RM(p) == KIND_V ||
		   PAT_VV(p) == KIND_V;
	bool mask = PAT_REG(p) == KIND_K || PAT_RM(p) == KIND_K;

	o->cr0_bad = CR0_TS;
	if (o->enc == ENC_LEGACY) {
		o->cr0_bad |= CR0_EM;
		o->cr4_need = vec ? CR4_OSFXSR : 0;
	} else {
		o->cr4_need = CR4_OSXSAVE;
		o->xcr0_need = o->enc == ENC_EVEX || mask ? 0xe6 : 6;
	}
}

static uint64_t vector_use(const struct fp_op *o, unsigned n)
{
	if (n > 15)
		return XCB(XC_HI16_ZMM);
	return XCB(XC_SSE) | (o->vl > 16 ? XCB(XC_AVX) : 0) |
	       (o->vl > 32 ? XCB(XC_ZMM_HI) : 0);
}

/* What is put to use: that of which a register is written. */
static void use_of(struct fp_op *o)
{
	unsigned p = o->row->pattern, kind = KIND_N, n = 0;

	switch (PAT_WR(p)) {
	case WR_REG: kind = PAT_REG(p); n = o->reg; break;
	case WR_RM: kind = o->mem ? KIND_N : PAT_RM(p); n = o->rm; break;
	case WR_VV: kind = PAT_VV(p); n = o->vvvv; break;
	default: break;
	}
	if (kind == KIND_V)
		o->use |= vector_use(o, n);
	if (kind == KIND_K)
		o->use |= XCB(XC_OPMASK);
	if (o->row->flags & XMM0OUT)
		o->use |= XCB(XC_SSE);
	if (o->row->flags & VSIB) /* the mask is written, too */
		o->use |= o->enc == ENC_EVEX ? XCB(XC_OPMASK) :
			  vector_use(o, o->vvvv);
	if (PAT_REG(p) == KIND_P || (PAT_RM(p) == KIND_P && !o->mem))
		o->use |= XCB(XC_X87);
}

static void alignment_of(struct fp_op *o)
{
	uint64_t f = o->row->flags;

	if (!o->mem)
		return;
	if (f & ALIGNED)
		o->align = o->vl - 1;
	else if (o->enc == ENC_LEGACY && o->msize == 16 && !(f & UNAL))
		o->align = 15;
}

/* -- as the host runs it -------------------------------------------------------------- */
/* General registers become rax, memory becomes [rsi]. */
static void encode(struct fp_op *o, const struct decode_ctx *x)
{
	static const uint8_t pps[] = { 0, 0x66, 0xf3, 0xf2 };
	unsigned p = o->row->pattern;
	unsigned reg = PAT_REG(p) == KIND_G ? 0 : o->reg;
	unsigned rm = o->mem ? 6 : PAT_RM(p) == KIND_G ? 0 : o->rm;
	uint8_t *h = o->host;
	/* inverted R, X, B, R' as VEX and EVEX have them */
	uint8_t rxb = (reg & 8 ? 0 : 0x80) | (rm & 16 ? 0 : 0x40) |
		      (rm & 8 ? 0 : 0x20);
	uint8_t w = o->w ? 0x80 : 0;

	if (o->enc == ENC_LEGACY) {
		if (pps[x->pp])
			*h++ = pps[x->pp];
		*h++ = 0x40 | o->w << 3 | (reg & 8) >> 1 | (rm & 8) >> 3;
		*h++ = 0x0f;
		if (x->map > 1)
			*h++ = x->map == 2 ? 0x38 : 0x3a;
	} else if (o->enc == ENC_VEX) {
		*h++ = 0xc4;
		*h++ = rxb | x->map;
		*h++ = w | (~o->vvvv & 15) << 3 | o->l << 2 | x->pp;
	} else {
		*h++ = 0x62;
		*h++ = rxb | (reg & 16 ? 0 : 0x10) | x->map;
		*h++ = w | (~o->vvvv & 15) << 3 | 4 | x->pp;
		*h++ = x->evex_z << 7 | o->l << 5 | x->evex_b << 4 |
		       (o->vvvv & 16 ? 0 : 8) | o->aaa;
	}
	*h++ = x->opcode;
	*h++ = (o->mem ? 0 : 0xc0) | (reg & 7) << 3 | (rm & 7);
	if (x->has_imm)
		*h++ = o->imm;
	o->host_len = (uint8_t)(h - o->host);
}

/* SIB's scale; the general decoder drops it where the index is none. */
static uint8_t sib_scale(const struct decode_ctx *x)
{
	uint8_t first = x->enc == ENC_EVEX ? 0x62 : 0xc4;
	unsigned n = 0;

	while (x->bytes[n] != first)
		n++;
	return x->bytes[n + (x->enc == ENC_EVEX ? 6 : 5)] >> 6;
}

static void fill(struct fp_op *o, const struct fp_row *r,
		 const struct decode_ctx *x)
{
	unsigned p = r->pattern;

	memset(o, 0, sizeof *o);
	o->row = r;
	o->enc = x->enc;
	o->l = x->enc == ENC_LEGACY ? 0 : x->l;
	o->w = x->w;
	o->imm = x->imm8;
	o->aaa = x->enc == ENC_EVEX ? x->aaa : 0;
	o->zeroing = x->enc == ENC_EVEX && x->evex_z;
	o->vl = r->flags & LIG || x->enc == ENC_LEGACY ? 16 :
		rounds(x) ? 64 : 16 << x->l;
	o->reg = x->reg;
	o->rm = PAT_RM(p) == KIND_G ? x->rm & 15 :
		PAT_RM(p) == KIND_K || PAT_RM(p) == KIND_P ? x->rm & 7 : x->rm;
	o->vvvv = x->enc == ENC_LEGACY ? 0 : x->vvvv;
	if (PAT_REG(p) == KIND_P)
		o->reg &= 7;
	if (!(x->mode & MODE_CS64))
		o->imm &= r->flags & IS4 ? 0x7f : 0xff;
	o->mem = x->mem && p != NONE;
	if (o->mem) {
		o->rm = 0;
		o->whole = o->msize = bytes_of(r, x, o->vl);
		o->elem = r->elem == M_W ? (x->w ? 8 : 4) : r->elem;
		o->broadcast = x->enc == ENC_EVEX && x->evex_b;
		if (o->broadcast)
			o->msize = x->w ? 8 : 4;
	}
	if (r->flags & VSIB) {
		o->vindex = x->vindex;
		o->scale = sib_scale(x);
		o->vvvv &= 15;
	}
	conditions_of(o);
	use_of(o);
	alignment_of(o);
	if (p != NONE && !(r->flags & (VSIB | MASKMOVQ | APPROXIMATE)))
		encode(o, x);
}

/* -- the way in ------------------------------------------------------------------------ */
static bool undefined(struct insn *i)
{
	i->fn = exec_ud;
	return true;
}

INSN(run_lacking)
{
	const struct fp_row *r = i->ptr;

	c->cur = i;
	cpu_stop(c, HV_STOP_UNSUPPORTED,
		 "the host CPU has no %s, which the guest's CPUID promises", r->name);
	NEXT(c, i);
}

INSN(run_vmxcsr)
{
	c->cur = i;
	if (!(c->cr4 & CR4_OSXSAVE) || (c->fpu.xcr0 & 6) != 6)
		cpu_raise(c, EXC_UD);
	if (c->cr0 & CR0_TS)
		cpu_raise(c, EXC_NM);
	if (i->reg == 2)
		fp_ldmxcsr(c, i);
	else
		fp_stmxcsr(c, i);
	NEXT(c, i);
}

/* VLDMXCSR, VSTMXCSR */
static bool decode_vmxcsr(struct vcpu *c, const struct decode_ctx *x,
			  struct insn *i)
{
	i->reg = x->modrm >> 3 & 7;
	if ((i->reg != 2 && i->reg != 3) || !x->mem || x->pp || x->l ||
	    x->vvvv || !fp_feature(ask_guest, c, AVX))
		return undefined(i);
	i->fn = run_vmxcsr;
	return true;
}

static bool settle(struct vcpu *c, const struct decode_ctx *x, struct insn *i,
		   const struct fp_row *r)
{
	struct fp_op o;
	struct needs s;

	fill(&o, r, x);
	needs_of(&o, &s);
	if (!guest_has(c, &s))
		return undefined(i);
	if ((x->enc == ENC_EVEX && !evex_good(r, x)) || !registers_good(r, x))
		return undefined(i);
	if (x->enc == ENC_EVEX && x->disp8)
		i->disp = (int32_t)((uint32_t)i->disp *
			  (r->flags & VSIB || (r->flags & EXPAND && o.elem) ?
			   o.elem : o.msize));
	if (r->flags & VSIB) {
		i->index = R_ZERO;
		i->scale = 0;
	}
	if (!host_has(c, &s)) {
		i->ptr = r;
		i->fn = run_lacking;
		return true;
	}
	i->ptr = fp_op_get(c, &o);
	i->fn = i->ptr ? fp_vector_handler(i->ptr, x->simple) : exec_stale;
	return true;
}

bool fp_decode(struct vcpu *c, const struct decode_ctx *x, struct insn *i)
{
	const struct fp_row *r;
	bool known;

	if (!c || !c->fp)
		return false;
	if (x->map == 0)
		return fp_decode_x87(c, x, i);
	if (x->enc == ENC_VEX && x->map == 1 && x->opcode == 0xae)
		return decode_vmxcsr(c, x, i);
	r = find(x, &known);
	if (r)
		return settle(c, x, i, r);
	/* Half-precision arithmetic has maps of its own. */
	if (known || ((x->map == 5 || x->map == 6) &&
		      !fp_feature(ask_guest, c, AVX512FP16)))
		return undefined(i);
	return false;
}
