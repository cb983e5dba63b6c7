/* simd.c: random x87 and SIMD instructions, from the core's own table, with
 * random operands, MXCSR and x87 state; and those instructions of the general
 * table that save, load or wait for that state.
 *
 * The operands are in the buffer, or at the end of the last page that is
 * mapped, so that an access that is too long, or not masked, faults.
 */
#include <stdlib.h>

#include "hvcore/fp/row.h"
#include "tests/native/native.h"

#define MIDDLE (NATIVE_BUF + NATIVE_BUF_SIZE / 2)
#define END (NATIVE_BASE + NATIVE_SIZE)

static alignas(64) uint8_t area[NATIVE_XSAVE_SIZE];

/* -- encodings ------------------------------------------------------------------------ */
struct vform {
	const struct fp_row *row;
	unsigned reg, rm, vvvv, l, w, aaa, b, z;
	bool mem, sib;
	unsigned mod, base, index;
};

static unsigned number(struct rng *r, unsigned kind, bool evex)
{
	if (kind == KIND_K || kind == KIND_P)
		return rng_below(r, 8);
	return rng_below(r, evex && kind != KIND_G ? 32 : 16);
}

static void pick_form(struct rng *r, unsigned id, struct vform *f)
{
	unsigned row, l;
	bool mem = form_vector(id, &row, &mem, &l) && mem;
	const struct fp_row *w = &fp_rows[row];
	bool evex = w->enc == ENC_EVEX;
	unsigned p = w->pattern;

	memset(f, 0, sizeof *f);
	f->row = w;
	f->reg = EXT_OF(w->flags) ? EXT_OF(w->flags) - 1 :
		 number(r, PAT_REG(p), evex);
	f->rm = number(r, PAT_RM(p), evex);
	f->vvvv = PAT_VV(p) == KIND_N ? 0 : number(r, PAT_VV(p), evex);
	f->l = w->flags & LIG && w->enc != ENC_LEGACY ? rng_below(r, 2) : l;
	f->w = w->flags & W0 ? 0 : w->flags & W1 ? 1 : rng_below(r, 2);
	if (w->enc == ENC_LEGACY && (w->flags & STRING || rng_below(r, 2)))
		f->w = rng_below(r, 2);
	f->mem = mem;
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
	native_fill(r, c->in.buf + NATIVE_BUF_SIZE / 2 - 512, 8192 - 2048,
		    rng_below(r, 4));
	memset((void *)(END - 128), 0x5a, 128);
	c->in.xsave = area;
	c->code.insns = 1;
	c->code.compat = c->code.branches = false;
	c->undefined = 0;
	c->may_lack = true;
	c->approximate = c->partial = false;
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

static bool gen_vector(struct rng *r, struct native_case *c, unsigned id)
{
	struct code p = { c->code.bytes };
	const struct fp_row *w;
	struct vform f;
	int32_t disp;

	pick_form(r, id, &f);
	w = f.row;
	/* What a gather that faults has loaded before is the processor's choice. */
	c->partial = w->flags & VSIB;
	native_image(r, area, !(w->flags & VSIB) ? 0 : w->flags & QIDX ? 8 : 4);
	if (!rng_below(r, 50) && w->enc != ENC_LEGACY) {
		f.l = rng_below(r, 3); /* which may be no form at all */
		c->form = ~0u;
	}
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
	c->approximate = w->flags & APPROXIMATE;
	return true;
}

static bool gen_x87(struct rng *r, struct native_case *c, unsigned op,
		    unsigned modrm)
{
	struct code p = { c->code.bytes };

	native_image(r, area, 0);
	if (modrm < 0xc0) {
		modrm = (modrm & 0x38) | 0x80 | R_RBX;
		c->in.r[R_RBX] = target(r) - 16;
	}
	if (!rng_below(r, 8)) /* environments of 14 bytes; nothing else */
		byte(&p, 0x66);
	byte(&p, op);
	byte(&p, modrm);
	for (unsigned k = 0; modrm < 0xc0 && k < 4; k++)
		byte(&p, k ? 0 : 16);
	c->code.len = (unsigned)(p.p - c->code.bytes);
	c->name = "x87";
	return true;
}

/* -- saving and loading ------------------------------------------------------------------- */
/* An area of any format, mostly a good one, in the buffer. */
static void saved_area(struct rng *r, uint8_t *to)
{
	static alignas(64) uint8_t image[NATIVE_XSAVE_SIZE];
	uint64_t bv, comp;

	native_image(r, image, 0);
	memcpy(to, image, 4096);
	if (!rng_below(r, 16)) /* MXCSR with reserved bits */
		to[26] = (uint8_t)rng_next(r);
	memcpy(&bv, to + 512, 8);
	if (rng_below(r, 2)) {
		comp = 1ull << 63 | (0xe7 & (bv | rng_next(r)));
		memcpy(to + 520, &comp, 8);
	}
	if (!rng_below(r, 16))
		to[512 + rng_below(r, 64)] ^= 1u << rng_below(r, 8);
	/* Tile state is not asked for: it may need the kernel's leave. */
	to[512 + 2] &= (uint8_t)~6;
	to[520 + 2] &= (uint8_t)~6;
}

static bool gen_slow(struct rng *r, struct native_case *c, unsigned id)
{
	static const uint8_t pps[] = { [PX_66] = 0x66, [PX_F3] = 0xf3,
				       [PX_F2] = 0xf2, [PX_V] = 0 };
	const struct insn_row *w = &insn_rows[id];
	struct code p = { c->code.bytes };
	unsigned modrm = 0x80 | R_RBX;

	native_image(r, area, 0);
	saved_area(r, c->in.buf + NATIVE_BUF_SIZE / 2);
	if (w->attr & A_SIZE4) /* MXCSR alone */
		memcpy(c->in.buf + NATIVE_BUF_SIZE / 2,
		       c->in.buf + NATIVE_BUF_SIZE / 2 + 24, 4);
	c->in.r[R_RBX] = rng_below(r, 8) ? MIDDLE : target(r);
	/* XRSTOR may find reserved bits in MXCSR when it has loaded registers. */
	c->partial = c->in.r[R_RBX] != MIDDLE || c->in.buf[NATIVE_BUF_SIZE / 2 + 26];
	c->in.r[R_RAX] = rng_below(r, 2) ? 0xe7 : rng_next(r) & 0xe7;
	c->in.r[R_RDX] = 0;
	c->in.r[R_RCX] = rng_below(r, 3);
	if (pps[w->prefix & 15])
		byte(&p, pps[w->prefix & 15]);
	if (rng_below(r, 2))
		byte(&p, 0x48);
	if (w->map)
		byte(&p, 0x0f);
	if (w->map > 1)
		byte(&p, w->map == 2 ? 0x38 : 0x3a);
	byte(&p, w->opcode);
	if (w->attr & A_REG)
		modrm |= 0xc0;
	if (w->ext & EXT_MODRM)
		modrm = w->ext & 0xff;
	else if (w->ext < 8)
		modrm |= w->ext << 3u;
	if (w->operands != X_N)
		byte(&p, modrm);
	for (unsigned k = 0; w->operands != X_N && modrm < 0xc0 && k < 4; k++)
		byte(&p, 0);
	c->code.len = (unsigned)(p.p - c->code.bytes);
	c->name = w->name;
	return true;
}

/* Form by form, round and round. */
bool gen_simd(struct native *n, struct rng *r, struct native_case *c)
{
	static unsigned *ids, count, next;
	uint8_t opcode, modrm;

	if (!ids)
		ids = forms_simd(n, &count);
	random_registers(r, c);
	c->form = ids[next++ % count];
	if (form_x87(c->form, &opcode, &modrm))
		return gen_x87(r, c, opcode, modrm);
	if (c->form < insn_nrows)
		return gen_slow(r, c, c->form);
	return gen_vector(r, c, c->form);
}
