/* integer.c: random cases of the instruction table's user-mode rows. */
#include "hvcore/exec/block.h"
#include "hvcore/exec/families.h"
#include "tests/native/native.h"

/* -- bytes --------------------------------------------------------------------------- */
struct bytes {
	uint8_t b[32];
	unsigned n;
};

static void put(struct bytes *o, unsigned v)
{
	o->b[o->n++] = (uint8_t)v;
}

static void prefix_bytes(struct bytes *o, struct rng *r, const struct insn_row *w)
{
	bool string = w->map == 0 && w->opcode >= 0xa4 && w->opcode <= 0xaf &&
		      w->operands == X_N;

	if (w->attr & A_LOCK && rng_below(r, 6) == 0)
		put(o, 0xf0);
	if (w->prefix == PX_66 || (w->prefix != PX_NP && !(w->prefix & PX_V) &&
				   rng_below(r, 5) == 0))
		put(o, 0x66);
	if (rng_below(r, 16) == 0)
		put(o, 0x67);
	if (w->prefix == PX_F3 || (string && rng_below(r, 2)))
		put(o, 0xf3);
	else if (w->prefix == PX_F2 || (string && rng_below(r, 2)))
		put(o, 0xf2);
}

static void opcode_bytes(struct bytes *o, struct rng *r,
			 const struct insn_row *w, bool compat)
{
	unsigned rex = rng_below(r, 16);

	if (w->prefix & PX_V) {
		unsigned pp = (w->prefix & ~PX_V) - PX_NP;

		put(o, 0xc4);
		put(o, (unsigned)(rng_next(r) & 0xe0) | w->map |
			   (compat ? 0xc0 : 0));
		put(o, (unsigned)(rng_next(r) & 0xf8) | pp);
		if (rng_below(r, 8))
			o->b[o->n - 1] &= ~4; /* L */
		if (w->operands == X_GEIBV)
			o->b[o->n - 1] |= 0x78;
	} else {
		if (!compat && rng_below(r, 2))
			put(o, 0x40 | rex);
		if (w->map)
			put(o, 0x0f);
		if (w->map > 1)
			put(o, w->map == 2 ? 0x38 : 0x3a);
	}
	put(o, w->opcode);
}

static bool has_modrm(const struct insn_row *w)
{
	switch (w->operands) {
	case X_N: case X_AI: case X_Z: case X_ZI: case X_AZ: case X_JB:
	case X_JZ: case X_OA: case X_AO: case X_IB: case X_IZ: case X_IW:
	case X_IBU: case X_AP: case X_IWIB:
		return false;
	default:
		return true;
	}
}

static void modrm_bytes(struct bytes *o, struct rng *r, const struct insn_row *w)
{
	unsigned m = (unsigned)rng_next(r) & 0xff;

	if (w->ext & EXT_MODRM)
		m = w->ext & 0xff;
	else if (w->ext != EXT_ANY)
		m = (m & 0xc7) | w->ext << 3;
	if (w->attr & A_REG)
		m |= 0xc0;
	put(o, m);
	if (m < 0xc0 && (m & 7) == 4)
		put(o, (unsigned)rng_next(r) & 0xff);
	if (m >> 6 == 1)
		put(o, (unsigned)rng_next(r) & 0xff);
	if (m >> 6 == 2)
		for (int k = 0; k < 4; k++)
			put(o, (unsigned)rng_next(r) & 0xff);
}

static void immediate_bytes(struct bytes *o, struct rng *r,
			    const struct insn_row *w)
{
	uint64_t v = rng_value(r);

	if (w->operands == X_OA || w->operands == X_AO)
		v = NATIVE_BUF + rng_below(r, NATIVE_BUF_SIZE - 8);
	if (w->operands == X_IWIB) /* ENTER: not too deep, not too far */
		v &= rng_below(r, 2) ? 0x00ff : 0x1f00ff;
	for (int k = 0; k < 8; k++)
		put(o, v >> 8 * k & 0xff);
}

/* -- state ------------------------------------------------------------------------------ */
static uint64_t somewhere(struct rng *r)
{
	return NATIVE_BUF + 0x1000 + rng_below(r, 0x2000) - rng_below(r, 2) *
	       rng_below(r, 8);
}

static void random_state(struct rng *r, struct native_state *s)
{
	uint64_t *w = (uint64_t *)s->buf;

	for (unsigned k = 0; k < 16; k++)
		s->r[k] = rng_value(r);
	s->r[R_RSP] = somewhere(r);
	s->rflags = (rng_next(r) & (FLAGS_ARITH | FLAG_DF)) | 0x202;
	/* the buffer changes a little from case to case */
	for (unsigned k = 0; k < 16; k++)
		w[rng_below(r, NATIVE_BUF_SIZE / 8)] = rng_value(r);
}

static bool is_bit_string(const struct insn_row *w)
{
	return w->operands == X_EG &&
	       (w->family == &fam_bt || w->family == &fam_bts ||
		w->family == &fam_btr || w->family == &fam_btc);
}

/* Gives the address registers values that make the operand lie at target. */
static bool aim(struct rng *r, const struct insn_row *w, const struct insn *i,
		struct native_state *s, uint64_t *target)
{
	unsigned mask = op_adsize(i) == 4;

	if (is_bit_string(w)) {
		s->r[i->reg] = (uint64_t)(int64_t)((int)rng_below(r, 4096) - 2048);
		if (i->reg == i->base || i->reg == i->index)
			return false;
	}
	if (w->family == &fam_movdir64b) {
		s->r[i->reg] = somewhere(r) & ~(rng_below(r, 8) ? 63ull : 31ull);
		if (i->reg == i->base || i->reg == i->index)
			return false;
	}
	if (i->base >= R_RIP || i->base == i->index)
		return false;
	*target = somewhere(r);
	if (w->family == &fam_cmpxchg8b && rng_below(r, 8))
		*target &= ~15ull;
	s->r[i->base] = *target - (uint64_t)(int64_t)i->disp -
		(i->index == R_ZERO ? 0 : s->r[i->index] << INSN_SHIFT(i));
	if (mask)
		s->r[i->base] = (uint32_t)s->r[i->base] | rng_next(r) << 32;
	return true;
}

static void poke(struct native_state *s, uint64_t at, uint64_t v)
{
	memcpy(s->buf + (at - NATIVE_BUF), &v, 8);
}

/* Branches go to NATIVE_TAKEN. */
static bool branch_state(const struct insn_row *w, const struct insn *i,
			 struct native_state *s, uint64_t target)
{
	if (w->family == &fam_ret)
		poke(s, s->r[R_RSP], NATIVE_TAKEN);
	if (w->family != &fam_call_e && w->family != &fam_jmp_e)
		return true;
	if (i->op & OP_MEM)
		poke(s, target, NATIVE_TAKEN);
	else
		s->r[i->rm] = NATIVE_TAKEN;
	return (i->op & OP_MEM) || i->rm != R_RSP;
}

static void implicit_state(struct rng *r, const struct insn_row *w,
			   struct native_state *s)
{
	if (w->operands == X_N && w->map == 0 && w->opcode >= 0xa4 &&
	    w->opcode <= 0xaf) {
		s->r[R_RSI] = somewhere(r);
		s->r[R_RDI] = somewhere(r);
		if (rng_below(r, 4) == 0)
			s->r[R_RDI] = s->r[R_RSI] + rng_below(r, 16);
		s->r[R_RCX] = rng_below(r, 60);
	}
	if (w->family == &fam_leave || w->family == &fam_enter)
		s->r[R_RBP] = somewhere(r);
	if (w->family == &fam_xlat)
		s->r[R_RBX] = somewhere(r);
	if (w->family == &fam_popf)
		poke(s, s->r[R_RSP], rng_next(r) & (FLAGS_ARITH | FLAG_DF));
	if (w->family == &fam_loop || w->family == &fam_loope ||
	    w->family == &fam_loopne || w->family == &fam_jcxz)
		s->r[R_RCX] = rng_below(r, 3) ? rng_below(r, 3) : s->r[R_RCX];
}

/* -- which flags are undefined --------------------------------------------------------------- */
static bool is_shift(const struct insn_row *w)
{
	return (w->map == 0 && (w->opcode == 0xc0 || w->opcode == 0xc1 ||
				(w->opcode >= 0xd0 && w->opcode <= 0xd3))) ||
	       (w->map == 1 && (w->opcode == 0xa4 || w->opcode == 0xa5 ||
				w->opcode == 0xac || w->opcode == 0xad));
}

/* Shifts by 0 change no flag, by 1 define OF, by less than the width CF. */
static uint64_t shift_undefined(const struct insn_row *w, const struct insn *i,
				const struct native_state *s)
{
	bool by_cl = w->operands == X_E || w->operands == X_EG;
	unsigned bits = w->attr & A_B ? 8 : 8 * op_opsize(i);
	unsigned count = (unsigned)(by_cl ? s->r[R_RCX] : i->imm);
	bool rotate = w->map == 0 && w->ext < 4;
	uint64_t u = w->undefined;

	count &= bits == 64 ? 63 : 31;
	if (!count)
		return 0;
	if (count == 1)
		u &= ~(uint64_t)FLAG_OF;
	if (rotate || count < bits)
		u &= ~(uint64_t)FLAG_CF;
	if (w->map == 1 && count > bits)
		u |= FLAGS_ARITH;
	return u;
}

/* -- one instruction --------------------------------------------------------------------------- */
static bool wanted(const struct insn_row *w, bool compat)
{
	return (w->family || w->slow == op_arpl) &&
	       !(w->attr & (A_PRIV | (compat ? A_O64 : A_I64)));
}

static bool decode(struct native *n, const struct bytes *o, struct insn *i)
{
	struct code_source src = { .bytes = o->b, .avail = o->n,
				   .c = native_vcpu(n) };
	enum decode_result res = decode_insn(native_vcpu(n)->blocks->index, &src,
					     native_vcpu(n)->mode, 0, i);

	return res != DECODE_CROSS;
}

static void set_branch(const struct insn_row *w, struct native_code *code)
{
	int32_t rel = (int32_t)(NATIVE_TAKEN - (NATIVE_CODE + code->len));

	if (w->operands == X_JZ)
		memcpy(code->bytes + code->len - 4, &rel, 4);
	if (w->operands == X_JB)
		code->bytes[code->len - 1] =
			(uint8_t)(NATIVE_TAKEN8 - (NATIVE_CODE + code->len));
}

/* What 16-bit addresses and instruction pointers reach is not the area. */
static bool out_of_reach(const struct insn_row *w, const struct insn *i)
{
	bool string = w->operands == X_N && w->map == 0 && w->opcode >= 0xa4 &&
		      w->opcode <= 0xaf;

	if (op_adsize(i) == 2 &&
	    (string || w->family == &fam_xlat || w->operands == X_OA ||
	     w->operands == X_AO ||
	     (i->op & OP_MEM && w->family != &fam_lea && w->family != &fam_nop)))
		return true;
	return w->attr & A_F64 && op_opsize(i) == 2;
}

static void narrow(struct native_state *s)
{
	for (unsigned k = 0; k < 8; k++)
		s->r[k] = (uint32_t)s->r[k];
}

static bool generate(struct native *n, struct rng *r, struct native_case *c,
		     bool compat)
{
	unsigned row = rng_below(r, insn_nrows);
	const struct insn_row *w = &insn_rows[row];
	struct bytes o = { .n = 0 };
	uint64_t target = 0;
	struct insn i;

	if (!wanted(w, compat))
		return false;
	native_set_mode(n, compat);
	prefix_bytes(&o, r, w);
	opcode_bytes(&o, r, w, compat);
	if (has_modrm(w))
		modrm_bytes(&o, r, w);
	immediate_bytes(&o, r, w);
	if (!decode(n, &o, &i))
		return false;
	/* what decodes to another row is that row's case; undefined: as well */
	if ((i.op & OP_ROW) < insn_nrows)
		row = i.op & OP_ROW;
	else if ((i.op & OP_ROW) != OP_UD)
		return false;
	w = &insn_rows[row];
	if (!wanted(w, compat))
		return false;
	c->form = row;
	c->approximate = false;
	c->name = w->name;
	c->may_lack = w->map > 1;
	memcpy(c->code.bytes, o.b, i.len);
	c->code.len = i.len;
	c->code.insns = 1;
	c->code.branches = false;
	c->code.compat = compat;
	if (compat && out_of_reach(w, &i))
		return false;
	set_branch(w, &c->code);
	random_state(r, &c->in);
	implicit_state(r, w, &c->in);
	if (compat)
		narrow(&c->in);
	if (i.op & OP_MEM && w->family != &fam_nop &&
	    !aim(r, w, &i, &c->in, &target))
		return false;
	if (!branch_state(w, &i, &c->in, target))
		return false;
	if (compat)
		narrow(&c->in);
	c->undefined = is_shift(w) ? shift_undefined(w, &i, &c->in) : w->undefined;
	return true;
}

bool gen_integer(struct native *n, struct rng *r, struct native_case *c)
{
	return generate(n, r, c, false);
}

bool gen_compat(struct native *n, struct rng *r, struct native_case *c)
{
	return generate(n, r, c, true);
}

/* -- sequences: for blocks, fused pairs and flags that nobody reads ---------------------------- */
static bool fits_sequence(const struct insn_row *w, const struct insn *i,
			  uint64_t undefined)
{
	if (w->attr & A_ENDS)
		return false;
	if (w->operands == X_N || w->operands == X_OA || w->operands == X_AO ||
	    w->attr & (A_D64 | A_MEM) || is_bit_string(w))
		return false;
	if (w->reads & undefined)
		return false;
	if (i->op & OP_MEM)
		return i->base == R_R15 && i->index == R_ZERO;
	return true;
}

/* R15 holds the buffer's address throughout: nothing may write it. */
static bool touches_r15(const struct insn_row *w, const struct insn *i)
{
	if (i->op & OP_MEM)
		return i->reg == R_R15 || i->reg >= 0x78;
	return i->reg == R_R15 || i->rm == R_R15 || i->reg >= 0x78 ||
	       i->rm >= 0x78 || (w->prefix & PX_V && i->imm == R_R15);
}

static bool append(struct native *n, struct rng *r, struct native_case *c)
{
	unsigned row = rng_below(r, insn_nrows);
	const struct insn_row *w = &insn_rows[row];
	struct bytes o = { .n = 0 };
	struct insn i;

	if (!wanted(w, false) || c->code.len + 16 > sizeof c->code.bytes)
		return false;
	prefix_bytes(&o, r, w);
	opcode_bytes(&o, r, w, false);
	if (has_modrm(w))
		modrm_bytes(&o, r, w);
	immediate_bytes(&o, r, w);
	if (!decode(n, &o, &i) || (i.op & OP_ROW) != row ||
	    !fits_sequence(w, &i, c->undefined) || touches_r15(w, &i))
		return false;
	if (i.op & OP_MEM && (i.disp > 2000 || i.disp < -2000))
		return false;
	if (w->attr & A_L0 || w->map > 1)
		return false; /* the host may lack it */
	memcpy(c->code.bytes + c->code.len, o.b, i.len);
	c->code.len += i.len;
	c->code.insns++;
	if (!is_shift(w)) /* its count may be 0 */
		c->undefined &= ~(uint64_t)w->writes;
	c->undefined |= w->undefined;
	return true;
}

/* Jcc to NATIVE_TAKEN on flags that are defined. */
static void append_branch(struct rng *r, struct native_case *c)
{
	static const uint32_t reads[8] = { FLAG_OF, FLAG_CF, FLAG_ZF,
		FLAG_CF | FLAG_ZF, FLAG_SF, FLAG_PF, FLAG_SF | FLAG_OF,
		FLAG_SF | FLAG_OF | FLAG_ZF };
	unsigned cc = rng_below(r, 16);
	uint8_t *p = c->code.bytes + c->code.len;
	int32_t rel;

	c->code.branches = !(reads[cc / 2] & c->undefined) && rng_below(r, 8);
	if (!c->code.branches)
		return;
	c->code.len += 6;
	c->code.insns++;
	rel = (int32_t)(NATIVE_TAKEN - (NATIVE_CODE + c->code.len));
	p[0] = 0x0f;
	p[1] = (uint8_t)(0x80 | cc);
	memcpy(p + 2, &rel, 4);
}

static void put_rr(struct native_case *c, bool wide, uint8_t op, unsigned reg,
		   unsigned rm)
{
	uint8_t *p = c->code.bytes + c->code.len;

	p[0] = (uint8_t)(0x40 | wide << 3 | (reg >> 3) << 2 | rm >> 3);
	p[1] = op;
	p[2] = (uint8_t)(0xc0 | (reg & 7) << 3 | (rm & 7));
	c->code.len += 3;
	c->code.insns++;
}

static void put_ri(struct native_case *c, struct rng *r, bool wide, unsigned ext,
		   unsigned rm)
{
	uint32_t imm = (uint32_t)rng_value(r);

	put_rr(c, wide, 0x81, ext, rm);
	memcpy(c->code.bytes + c->code.len, &imm, 4);
	c->code.len += 4;
}

/* What exec/triple.c makes one handler of, with the branch that follows: a MOV and
 * arithmetic on the register that it wrote. */
static void append_triple(struct rng *r, struct native_case *c)
{
	unsigned to = rng_below(r, 15), other = rng_below(r, 15);
	bool wide = rng_below(r, 2), load = rng_below(r, 2);
	uint32_t disp = rng_below(r, 1000);

	if (load) {
		put_rr(c, wide, 0x8b, to, R_R15);
		c->code.bytes[c->code.len - 1] &= 0xbf; /* [r15 + disp32] */
		memcpy(c->code.bytes + c->code.len, &disp, 4);
		c->code.len += 4;
	} else {
		put_rr(c, wide, 0x89, rng_below(r, 15), to);
	}
	c->undefined = 0;
	switch (rng_below(r, 7)) {
	case 0: put_rr(c, wide, 0x39, other, to); break;  /* cmp */
	case 1: put_rr(c, wide, 0x39, to, other); break;
	case 2: put_ri(c, r, wide, 7, to); break;
	case 3: put_rr(c, wide, 0x29, other, to); break;  /* sub */
	case 4: put_ri(c, r, wide, 5, to); break;
	case 5:
		put_rr(c, wide, 0x85, to, to);            /* test */
		c->undefined = FLAG_AF;
		break;
	default:
		put_ri(c, r, wide, 4, to);                /* and */
		c->undefined = FLAG_AF;
	}
}

bool gen_sequence(struct native *n, struct rng *r, struct native_case *c)
{
	unsigned want = 1 + rng_below(r, 20);

	c->code.len = c->code.insns = 0;
	c->code.compat = false;
	native_set_mode(n, false);
	c->undefined = 0;
	c->name = "sequence";
	c->may_lack = false;
	c->form = ~0u;
	c->approximate = false;
	for (unsigned tries = 0; tries < 2000 && c->code.insns < want; tries++)
		append(n, r, c);
	if (!rng_below(r, 3) && c->code.len + 24 < sizeof c->code.bytes)
		append_triple(r, c);
	append_branch(r, c);
	random_state(r, &c->in);
	c->in.r[R_R15] = NATIVE_BUF + 0x2000 + rng_below(r, 64);
	return c->code.insns > 1;
}
