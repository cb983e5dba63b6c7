/* decode.c: takes instructions apart (SDM vol. 2, chapter 2). */
#include "hvcore/decode/decode.h"
#include "hvcore/decode/table.h"
#include "hvcore/exec/ea.h"

#define INSN_MAX 15

enum { ST_OK, ST_CROSS, ST_LONG };

struct decoder {
	struct decode_ctx x;
	struct code_source *s;
	struct insn *i;
	const struct insn_row *row;
	uint8_t buf[INSN_MAX + 1];
	unsigned have, pos;
	unsigned off;          /* of the instruction in the block */
	int status;
	bool rip_relative;
	bool ds_prefix;        /* 3E was the last segment prefix: NOTRACK */
	int seg;               /* by prefix, or -1 */
};

/* -- bytes ------------------------------------------------------------------- */
static void more(struct decoder *d)
{
	const uint8_t *p;

	if (d->pos >= INSN_MAX) {
		d->status = ST_LONG;
	} else if (!d->s->next) {
		d->status = ST_CROSS;
	} else {
		p = d->s->next(d->s);
		memcpy(d->buf + d->have, p, INSN_MAX - d->have);
		d->have = INSN_MAX;
	}
}

static uint8_t byte(struct decoder *d)
{
	if (d->pos >= d->have && !d->status)
		more(d);
	return d->status ? 0 : d->buf[d->pos++];
}

static uint8_t peek(struct decoder *d)
{
	if (d->pos >= d->have && !d->status)
		more(d);
	return d->status ? 0 : d->buf[d->pos];
}

static uint64_t bytes(struct decoder *d, unsigned n)
{
	uint64_t v = 0;

	for (unsigned k = 0; k < n; k++)
		v |= (uint64_t)byte(d) << 8 * k;
	return v;
}

static int64_t sbytes(struct decoder *d, unsigned n)
{
	unsigned shift = 64 - 8 * n;

	return (int64_t)(bytes(d, n) << shift) >> shift;
}

/* -- prefixes ------------------------------------------------------------------ */
static bool cs64(const struct decoder *d)
{
	return d->x.mode & MODE_CS64;
}

static void segment_prefix(struct decoder *d, int seg)
{
	d->ds_prefix = seg == SEG_DS;
	if (!cs64(d) || seg >= SEG_FS)
		d->seg = seg;
}

static bool prefix(struct decoder *d, uint8_t b, bool *adsize)
{
	switch (b) {
	case 0x26: segment_prefix(d, SEG_ES); return true;
	case 0x2e: segment_prefix(d, SEG_CS); return true;
	case 0x36: segment_prefix(d, SEG_SS); return true;
	case 0x3e: segment_prefix(d, SEG_DS); return true;
	case 0x64: segment_prefix(d, SEG_FS); return true;
	case 0x65: segment_prefix(d, SEG_GS); return true;
	case 0x66: d->x.opsize16 = true; return true;
	case 0x67: *adsize = true; return true;
	case 0xf0: d->x.lock = true; return true;
	case 0xf2: case 0xf3: d->x.rep = b; return true;
	default: return false;
	}
}

static void prefixes(struct decoder *d)
{
	struct decode_ctx *x = &d->x;
	bool adsize = false;

	for (;;) {
		uint8_t b = peek(d);

		if (d->status)
			return;
		if (cs64(d) && (b & 0xf0) == 0x40) {
			d->pos++;
			x->rex = b;
			continue;
		}
		if (!prefix(d, b, &adsize))
			break;
		d->pos++;
		x->rex = 0; /* only right before the opcode does it count */
	}
	if (cs64(d))
		x->adsize = adsize ? 4 : 8;
	else
		x->adsize = (x->mode & MODE_CS32 ? 4 : 2) ^ (adsize ? 6 : 0);
	x->w = x->rex >> 3 & 1;
	x->pp = x->rep == 0xf3 ? 2 : x->rep == 0xf2 ? 3 : x->opsize16;
}

/* VEX and EVEX forbid the prefixes whose work they do. */
static bool clean(const struct decode_ctx *x)
{
	return !x->rex && !x->rep && !x->opsize16 && !x->lock;
}

/* REX-like bits come inverted; outside of 64-bit mode they have no effect. */
static uint8_t inverted_rex(const struct decoder *d, uint8_t b, bool w)
{
	uint8_t rxb = (uint8_t)~b >> 5;

	if (!cs64(d))
		rxb = 0;
	return 0x40 | (w && cs64(d) ? 8 : 0) | rxb;
}

static void vex(struct decoder *d, bool three)
{
	struct decode_ctx *x = &d->x;
	uint8_t b1 = byte(d), b2 = b1;

	x->enc = ENC_VEX;
	x->map = 1;
	if (three) {
		b2 = byte(d);
		x->map = b1 & 31;
		x->w = b2 >> 7;
		x->rex = inverted_rex(d, b1, x->w);
	} else {
		x->w = 0;
		x->rex = inverted_rex(d, b1 | 0x60, false);
	}
	x->vvvv = ~b2 >> 3 & 15;
	if (!cs64(d))
		x->vvvv &= 7;
	x->l = b2 >> 2 & 1;
	x->pp = b2 & 3;
	x->opcode = byte(d);
}

/* Returns R' and V' in bits 4 of what they extend; false: reserved bits. */
static bool evex(struct decoder *d, uint8_t *r_high)
{
	struct decode_ctx *x = &d->x;
	uint8_t p0 = byte(d), p1 = byte(d), p2 = byte(d);

	x->enc = ENC_EVEX;
	x->map = p0 & 7;
	x->w = p1 >> 7;
	x->rex = inverted_rex(d, p0, x->w);
	x->pp = p1 & 3;
	x->vvvv = (~p1 >> 3 & 15) | (p2 & 8 ? 0 : 16);
	*r_high = p0 & 0x10 ? 0 : 16;
	if (!cs64(d)) {
		x->vvvv &= 7;
		*r_high = 0;
	}
	x->evex_z = p2 >> 7;
	x->l = p2 >> 5 & 3;
	x->evex_b = p2 >> 4 & 1;
	x->aaa = p2 & 7;
	x->opcode = byte(d);
	return !(p0 & 8) && p1 & 4;
}

/* C4, C5 and 62 are LES, LDS and BOUND where the next byte is no register
 * form and this is not 64-bit code. */
static bool is_vector_prefix(struct decoder *d)
{
	if (cs64(d))
		return true;
	return d->x.mode & MODE_PROT && peek(d) >= 0xc0;
}

/* The opcode and its map; false: undefined. */
static bool opcode(struct decoder *d, uint8_t *r_high)
{
	struct decode_ctx *x = &d->x;
	uint8_t b = byte(d);

	*r_high = 0;
	if ((b == 0xc4 || b == 0xc5 || b == 0x62) && is_vector_prefix(d)) {
		bool ok = clean(x);

		if (b == 0x62)
			return evex(d, r_high) && ok;
		vex(d, b == 0xc4);
		return ok;
	}
	x->opcode = b;
	if (b != 0x0f)
		return true;
	x->map = 1;
	x->opcode = byte(d);
	if (x->opcode == 0x38 || x->opcode == 0x3a) {
		x->map = x->opcode == 0x38 ? 2 : 3;
		x->opcode = byte(d);
	}
	return true;
}

/* -- ModRM ---------------------------------------------------------------------- */
static void no_address(struct insn *i)
{
	i->base = i->index = R_ZERO;
	i->scale = 0;
	i->disp = 0;
}

static void address16(struct decoder *d)
{
	static const uint8_t bases[8] = { R_RBX, R_RBX, R_RBP, R_RBP, R_RSI,
		R_RDI, R_RBP, R_RBX };
	static const uint8_t indexes[8] = { R_RSI, R_RDI, R_RSI, R_RDI, R_ZERO,
		R_ZERO, R_ZERO, R_ZERO };
	unsigned mod = d->x.modrm >> 6, rm = d->x.modrm & 7;
	struct insn *i = d->i;

	i->base = bases[rm];
	i->index = indexes[rm];
	if (mod == 0 && rm == 6) {
		i->base = R_ZERO;
		i->disp = (int32_t)sbytes(d, 2);
	} else if (mod) {
		i->disp = (int32_t)sbytes(d, mod);
	}
	d->x.disp8 = mod == 1;
	i->seg = i->base == R_RBP ? SEG_SS : SEG_DS;
}

static void sib(struct decoder *d, unsigned mod)
{
	struct insn *i = d->i;
	uint8_t b = byte(d);
	unsigned index = (b >> 3 & 7) | (d->x.rex & 2 ? 8 : 0);

	d->x.sib = true;
	d->x.vindex = index | (d->x.enc == ENC_EVEX ? d->x.vvvv & 16 : 0);
	i->scale = b >> 6;
	i->index = index == R_RSP ? R_ZERO : index;
	i->base = (b & 7) | (d->x.rex & 1 ? 8 : 0);
	if ((b & 7) == R_RBP && mod == 0) {
		i->base = R_ZERO;
		i->disp = (int32_t)sbytes(d, 4);
	}
	if (i->index == R_ZERO)
		i->scale = 0;
}

static void address32(struct decoder *d)
{
	unsigned mod = d->x.modrm >> 6, rm = d->x.modrm & 7;
	struct insn *i = d->i;

	i->base = rm | (d->x.rex & 1 ? 8 : 0);
	if (rm == R_RSP) {
		sib(d, mod);
	} else if (mod == 0 && rm == R_RBP) {
		i->base = cs64(d) ? R_RIP : R_ZERO;
		d->rip_relative = cs64(d);
		i->disp = (int32_t)sbytes(d, 4);
	}
	if (mod)
		i->disp = (int32_t)sbytes(d, mod == 1 ? 1 : 4);
	d->x.disp8 = mod == 1;
	i->seg = i->base == R_RSP || i->base == R_RBP ? SEG_SS : SEG_DS;
}

static void modrm(struct decoder *d, uint8_t r_high)
{
	struct decode_ctx *x = &d->x;

	x->has_modrm = true;
	x->modrm = byte(d);
	x->reg = (x->modrm >> 3 & 7) | (x->rex & 4 ? 8 : 0) | r_high;
	x->rm = (x->modrm & 7) | (x->rex & 1 ? 8 : 0);
	x->mem = x->modrm < 0xc0;
	if (!x->mem) {
		if (x->enc == ENC_EVEX && x->rex & 2)
			x->rm |= 16;
		return;
	}
	if (x->adsize == 2)
		address16(d);
	else
		address32(d);
}

static void settle_segment(struct decoder *d, int standard)
{
	if (d->seg >= 0)
		d->i->seg = d->seg;
	else
		d->i->seg = cs64(d) ? SEG_NONE : standard;
}

/* After the last byte: lengths, and what depends on them. */
static void settle(struct decoder *d)
{
	static const uint8_t adsizes[9] = { [2] = ADSIZE_16, [4] = ADSIZE_32,
		[8] = ADSIZE_64 };
	struct decode_ctx *x = &d->x;
	struct insn *i = d->i;
	unsigned adsize = adsizes[x->adsize];

	x->len = i->len = d->pos;
	x->simple = cs64(d) && x->adsize == 8 && d->seg < 0;
	if (d->rip_relative) {
		int64_t disp = (int64_t)i->disp + d->off + i->len;

		if (disp == (int32_t)disp) {
			i->disp = (int32_t)disp;
		} else if (adsize == ADSIZE_32) {
			i->disp = (int32_t)(uint32_t)disp; /* wraps anyway */
		} else {
			adsize = ADSIZE_RIP;
			x->simple = false;
		}
	}
	i->op = adsize * OP_ADSIZE | (x->mem ? OP_MEM : 0);
}

/* -- rows ------------------------------------------------------------------------- */
static bool prefix_matches(const struct insn_row *r, const struct decode_ctx *x)
{
	if (r->prefix & PX_V)
		return x->enc == ENC_VEX &&
		       x->pp == (r->prefix & ~PX_V) - PX_NP;
	if (x->enc != ENC_LEGACY)
		return false;
	switch (r->prefix) {
	case PX_ANY: return true;
	case PX_NP: return x->pp == 0;
	case PX_66: return x->pp == 1;
	case PX_F3: return x->pp == 2;
	case PX_F2: return x->pp == 3;
	case PX_NF3: return x->pp != 2;
	default: return x->pp <= 1;
	}
}

static bool mode_matches(const struct insn_row *r, const struct decode_ctx *x)
{
	if (r->attr & A_I64 && x->mode & MODE_CS64)
		return false;
	if (r->attr & A_O64 && !(x->mode & MODE_CS64))
		return false;
	return !(r->attr & A_PROT) || x->mode & MODE_PROT;
}

static bool wants_modrm(const struct insn_row *r)
{
	switch (r->operands) {
	case X_EG: case X_GE: case X_E: case X_EI: case X_EIB: case X_E1:
	case X_EGI: case X_GEI: case X_GEIB: case X_GVE: case X_VE:
	case X_GEIBV:
		return true;
	default:
		return false;
	}
}

static bool modrm_matches(const struct insn_row *r, const struct decode_ctx *x)
{
	if (!wants_modrm(r))
		return true;
	if (r->ext & EXT_MODRM) {
		if (x->modrm != (r->ext & 0xff))
			return false;
	} else if (r->ext != EXT_ANY && r->ext != (x->modrm >> 3 & 7)) {
		return false;
	}
	if (r->attr & A_NORM)
		return true;
	return !(r->attr & (x->mem ? A_REG : A_MEM));
}

/* 90 with REX.B is XCHG and not NOP; F3 90 is PAUSE in any case. */
static bool is_xchg_r8(const struct insn_row *r, const struct decode_ctx *x)
{
	return x->map == 0 && x->opcode == 0x90 && r->operands == X_N &&
	       r->prefix == PX_ANY && x->rex & 1;
}

/* Reads ModRM when the first candidate shows that the opcode has one. */
static void find_row(struct decoder *d, const struct insn_index *ix,
		     uint8_t r_high)
{
	struct decode_ctx *x = &d->x;
	unsigned n, first;

	d->row = NULL;
	if (x->map > 3)
		return;
	n = ix->count[x->map][x->opcode];
	first = ix->first[x->map][x->opcode];
	for (unsigned k = first; n; k++) {
		const struct insn_row *r = &insn_rows[k];

		if (r->map != x->map || r->opcode != x->opcode)
			continue;
		n--;
		if (!prefix_matches(r, x) || !mode_matches(r, x) ||
		    is_xchg_r8(r, x))
			continue;
		if (wants_modrm(r) && !x->has_modrm) {
			modrm(d, r_high);
			if (d->status)
				return;
		}
		if (modrm_matches(r, x)) {
			d->row = r;
			return;
		}
	}
}

/* -- operand sizes, registers, immediates --------------------------------------- */
static unsigned opsize(const struct decoder *d)
{
	const struct decode_ctx *x = &d->x;
	uint32_t attr = d->row ? d->row->attr : 0;
	bool p66 = x->opsize16;

	if (x->enc != ENC_LEGACY)
		return x->w && cs64(d) ? 8 : 4;
	if (attr & A_FORCE64)
		return cs64(d) ? 8 : 4;
	if (!cs64(d)) {
		if (attr & A_W0)
			return 4;
		return (x->mode & MODE_CS32) == 0 ? (p66 ? 4 : 2) : p66 ? 2 : 4;
	}
	if (x->w || attr & A_F64)
		return 8;
	if (attr & A_W0)
		return 4;
	if (p66)
		return 2;
	return attr & A_D64 ? 8 : 4;
}

static uint8_t byte_reg(const struct decode_ctx *x, uint8_t n)
{
	return x->rex || n < 4 ? n * 8 : (n - 4) * 8 + 1;
}

static void immediate(struct decoder *d)
{
	struct decode_ctx *x = &d->x;
	struct insn *i = d->i;
	unsigned size = d->row->attr & A_B ? 1 : x->opsize;
	unsigned z = size == 8 ? 4 : size;

	switch (d->row->operands) {
	case X_EI: case X_AI: case X_GEI: case X_IZ:
		i->imm = (uint64_t)sbytes(d, z);
		break;
	case X_EIB: case X_GEIB: case X_IB: case X_EGI: case X_GEIBV:
		i->imm = (uint64_t)sbytes(d, 1);
		break;
	case X_IBU:
		i->imm = bytes(d, 1);
		break;
	case X_E1:
		i->imm = 1;
		break;
	case X_ZI:
		i->imm = bytes(d, size);
		break;
	case X_IW:
		i->imm = bytes(d, 2);
		break;
	case X_IWIB:
		i->imm = bytes(d, 2);
		i->imm |= bytes(d, 1) << 16;
		break;
	case X_AP:
		i->imm = bytes(d, x->opsize == 2 ? 2 : 4);
		i->imm |= bytes(d, 2) << 32;
		break;
	case X_OA: case X_AO:
		i->imm = bytes(d, x->adsize);
		break;
	case X_GVE:
		i->imm = x->vvvv;
		break;
	default:
		break;
	}
}

/* Relative branches: disp leads from the block's start to the target. */
static void branch(struct decoder *d)
{
	bool rel8 = d->row->operands == X_JB;
	int64_t rel = sbytes(d, rel8 ? 1 : d->x.opsize == 2 ? 2 : 4);
	int64_t disp = rel + d->pos + d->off;

	d->i->imm = 0;
	d->i->disp = (int32_t)disp;
	if (disp != (int32_t)disp)
		d->status = ST_CROSS; /* only from block offset 0, see below */
}

static void swap_regs(struct insn *i)
{
	uint8_t t = i->reg;

	i->reg = i->rm;
	i->rm = t;
}

/* Register numbers in struct insn, as the form of the handler wants them. */
static enum form operands(struct decoder *d)
{
	const struct insn_row *r = d->row;
	struct decode_ctx *x = &d->x;
	struct insn *i = d->i;
	bool b = r->attr & A_B;
	enum form form;

	i->reg = b ? byte_reg(x, x->reg) : x->reg;
	i->rm = b || r->attr & A_EB ? byte_reg(x, x->rm) : x->rm;
	switch (r->operands) {
	case X_EG: case X_EGI:
		return x->mem ? F_MRG : F_RR;
	case X_GE: case X_GEI: case X_GEIB: case X_GVE: case X_GEIBV:
		if (x->mem)
			return F_RMG;
		swap_regs(i);
		return F_RR;
	case X_VE:
		i->reg = x->vvvv;
		if (!x->mem)
			swap_regs(i);
		return x->mem ? F_RMG : F_RR;
	case X_E: case X_EI: case X_EIB: case X_E1:
		return x->mem ? F_MIG : F_RI;
	case X_AI:
		i->rm = R_RAX;
		return F_RI;
	case X_Z: case X_ZI: case X_AZ:
		i->rm = (x->opcode & 7) | (x->rex & 1 ? 8 : 0);
		if (b)
			i->rm = byte_reg(x, i->rm);
		i->reg = R_RAX;
		return r->operands == X_AZ ? F_RR : F_RI;
	case X_OA: case X_AO:
		i->reg = R_RAX;
		settle_segment(d, SEG_DS);
		form = r->operands == X_OA ? F_MRG : F_RMG;
		return form;
	default:
		return F_N;
	}
}

/* The most special form that the family has for this operand. */
static insn_fn *pick_handler(const struct decoder *d, enum form form)
{
	static const enum form plain[] = { [F_RMG] = F_RM, [F_MRG] = F_MR,
		[F_MIG] = F_MI };
	static const enum form based[] = { [F_RMG] = F_RMB, [F_MRG] = F_MRB,
		[F_MIG] = F_MIB };
	const struct insn_row *r = d->row;
	unsigned size = r->attr & A_B ? 0 : (unsigned)__builtin_ctz(d->x.opsize);
	insn_fn *f = NULL;

	if (d->x.simple && (form == F_RMG || form == F_MRG || form == F_MIG)) {
		if (d->i->index == R_ZERO)
			f = r->family->fn[based[form]][size];
		if (!f)
			f = r->family->fn[plain[form]][size];
	}
	return f ? f : r->family->fn[form][size];
}

/* -- the ends that decoding can come to ------------------------------------------ */
static enum decode_result finish(struct decoder *d, insn_fn *fn, unsigned op)
{
	d->i->fn = fn;
	d->i->op = (d->i->op & ~OP_ROW) | op;
	d->i->len = d->pos ? d->pos : 1;
	return DECODE_ENDS;
}

static enum decode_result undefined(struct decoder *d)
{
	return finish(d, exec_ud, OP_UD);
}

static enum decode_result troubled(struct decoder *d)
{
	if (d->status == ST_LONG)
		return finish(d, exec_gp0, OP_LONG);
	return DECODE_CROSS;
}

/* Which opcodes of fp/'s have an imm8 (SDM vol. 2, appendix A). */
static bool simd_has_imm(const struct decode_ctx *x)
{
	if (x->map == 3)
		return true;
	return x->map == 1 && ((x->opcode >= 0x70 && x->opcode <= 0x73) ||
			       x->opcode == 0xc2 ||
			       (x->opcode >= 0xc4 && x->opcode <= 0xc6));
}

static enum decode_result simd(struct decoder *d, uint8_t r_high)
{
	struct decode_ctx *x = &d->x;
	unsigned size;

	if (x->map == 0 && (x->opcode & 0xf8) != 0xd8)
		return undefined(d);
	if (!x->has_modrm && !(x->map == 1 && x->opcode == 0x77))
		modrm(d, r_high);
	x->has_imm = simd_has_imm(x);
	if (x->has_imm)
		x->imm8 = byte(d);
	if (d->status)
		return troubled(d);
	d->i->imm = x->imm8;
	x->opsize = opsize(d);
	size = __builtin_ctz(x->opsize);
	settle_segment(d, d->i->seg);
	settle(d);
	d->i->op |= size * OP_OPSIZE | OP_FP;
	if (x->lock)
		return undefined(d);
	if (fp_decode(d->s->c, x, d->i))
		return DECODE_OK;
	if (x->enc == ENC_LEGACY)
		return undefined(d);
	return finish(d, exec_unknown, OP_UNKNOWN);
}

static enum decode_result integer(struct decoder *d)
{
	const struct insn_row *r = d->row;
	struct decode_ctx *x = &d->x;
	struct insn *i = d->i;
	enum form form;

	if (r->attr & A_NORM)
		x->mem = false, no_address(i);
	if (x->enc == ENC_VEX && ((r->attr & A_L0 && x->l) ||
				  (r->operands == X_GEIBV && x->vvvv)))
		return undefined(d);
	x->opsize = opsize(d);
	immediate(d);
	if (r->operands == X_JB || r->operands == X_JZ)
		branch(d);
	if (d->status)
		return troubled(d);
	if (x->lock && !(r->attr & A_LOCK && x->mem))
		return undefined(d);
	settle_segment(d, x->mem ? i->seg : SEG_DS);
	settle(d);
	i->op |= (unsigned)__builtin_ctz(x->opsize) * OP_OPSIZE |
		 (unsigned)(r - insn_rows);
	i->scale |= x->rep == 0xf2 ? SCALE_F2 : x->rep == 0xf3 ? SCALE_F3 : 0;
	if (x->map == 0 && x->opcode == 0xff)
		i->scale = (i->scale & 3) | (d->ds_prefix ? SCALE_F3 : 0);
	if (r->slow) {
		bool ends = r->attr & A_ENDS ||
			    (r->attr & A_ENDS32 && !cs64(d));

		i->reg = x->reg;
		i->rm = x->rm;
		i->fn = ends ? exec_slow_ends :
			r->fast && cs64(d) && !x->mem ? r->fast : exec_slow;
		return ends ? DECODE_ENDS : DECODE_OK;
	}
	form = operands(d);
	i->fn = pick_handler(d, form);
	if (!i->fn)
		return finish(d, exec_unknown, OP_UNKNOWN);
	return r->attr & A_ENDS ? DECODE_ENDS : DECODE_OK;
}

enum decode_result decode_insn(const struct insn_index *ix,
			       struct code_source *s, uint32_t mode,
			       unsigned off, struct insn *out)
{
	struct decoder d = { .s = s, .i = out, .off = off, .seg = -1 };
	uint8_t r_high;
	bool good;

	memset(out, 0, sizeof *out);
	no_address(out);
	out->seg = SEG_DS;
	out->off = off;
	d.have = s->avail < INSN_MAX ? s->avail : INSN_MAX;
	memcpy(d.buf, s->bytes, d.have);
	d.x.mode = mode;
	d.x.bytes = d.buf;
	prefixes(&d);
	good = opcode(&d, &r_high);
	if (!d.status && good)
		find_row(&d, ix, r_high);
	if (d.status)
		return troubled(&d);
	if (!good)
		return undefined(&d);
	return d.row ? integer(&d) : simd(&d, r_high);
}
