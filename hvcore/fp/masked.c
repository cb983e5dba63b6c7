/* masked.c: memory operands of which only some elements are touched: AVX-512
 * masks, VMASKMOV, MASKMOVDQU, gathers and scatters.  What the mask leaves out
 * raises no fault.
 */
#include "hvcore/exec/dispatch.h"
#include "hvcore/fp/row.h"

/* Elements of a memory operand, and which of them are touched. */
struct pick {
	unsigned size, n;
	uint64_t on;
};

static uint64_t ones(unsigned n)
{
	return n >= 64 ? ~0ull : (1ull << n) - 1;
}

static void pick_elements(const struct vcpu *c, const struct fp_op *o,
			  struct pick *k)
{
	uint64_t f = o->row->flags, mask = c->fpu.k[o->aaa];
	bool store = PAT_WR(o->row->pattern) == WR_RM;
	unsigned n;

	k->size = o->elem;
	k->n = o->msize / o->elem;
	if (f & EXPAND) { /* as many as there are bits, from the first on */
		k->on = ones((unsigned)__builtin_popcountll(mask & ones(k->n)));
		return;
	}
	/* Destination elements; several may come from one in memory. */
	n = f & LIG ? 1 : o->broadcast ? o->whole / o->elem :
	    !store && (f & TUPLE || o->msize == o->elem) ? o->vl / o->elem : k->n;
	k->on = 0;
	for (unsigned b = 0; b < n; b++)
		if (mask >> b & 1)
			k->on |= 1ull << b % k->n;
}

/* The next run of elements that are touched, from *at on: bytes. */
static bool next_run(const struct pick *k, unsigned *at, unsigned *from,
		     unsigned *bytes)
{
	unsigned first;

	while (*at < k->n && !(k->on >> *at & 1))
		++*at;
	first = *at;
	while (*at < k->n && k->on >> *at & 1)
		++*at;
	*from = first * k->size;
	*bytes = (*at - first) * k->size;
	return *bytes;
}

static void read_picked(struct vcpu *c, const struct insn *i,
			const struct pick *k, uint64_t lin, uint8_t *buf)
{
	unsigned at = 0, from, n;

	while (next_run(k, &at, &from, &n))
		mem_read_bytes(c, i, lin + from, buf + from, n);
}

static void probe_picked(struct vcpu *c, const struct insn *i,
			 const struct pick *k, uint64_t lin)
{
	unsigned at = 0, from, n;

	while (next_run(k, &at, &from, &n))
		mem_probe_write(c, i, lin + from, n);
}

static void write_picked(struct vcpu *c, const struct insn *i,
			 const struct pick *k, uint64_t lin, const uint8_t *buf)
{
	unsigned at = 0, from, n;

	while (next_run(k, &at, &from, &n))
		mem_write_bytes(c, i, lin + from, buf + from, n);
}

bool fp_any_picked(const struct vcpu *c, const struct fp_op *o)
{
	struct pick k;

	pick_elements(c, o, &k);
	return k.on;
}

void fp_read_masked(struct vcpu *c, const struct insn *i, const struct fp_op *o,
		    uint64_t lin, uint8_t *buf)
{
	struct pick k;

	pick_elements(c, o, &k);
	read_picked(c, i, &k, lin, buf);
}

void fp_probe_masked(struct vcpu *c, const struct insn *i,
		     const struct fp_op *o, uint64_t lin)
{
	struct pick k;

	pick_elements(c, o, &k);
	probe_picked(c, i, &k, lin);
}

void fp_write_masked(struct vcpu *c, const struct insn *i,
		     const struct fp_op *o, uint64_t lin, const uint8_t *buf)
{
	struct pick k;

	pick_elements(c, o, &k);
	write_picked(c, i, &k, lin, buf);
}

/* -- VMASKMOV: the mask is the elements' sign bits in vvvv --------------------------- */
static uint64_t signs(const uint8_t *v, unsigned size, unsigned n)
{
	uint64_t on = 0;

	for (unsigned k = 0; k < n; k++)
		on |= (uint64_t)(v[k * size + size - 1] >> 7) << k;
	return on;
}

static __attribute__((noinline)) void masked_move(struct vcpu *c,
						  const struct insn *i)
{
	const struct fp_op *o = i->ptr;
	bool store = PAT_WR(o->row->pattern) == WR_RM;
	uint8_t buf[64] = { 0 }, *reg = c->fpu.zmm[o->reg];
	struct pick k;
	uint64_t lin;

	c->cur = i;
	fp_conditions(c, o);
	k.size = o->row->flags & VMASK8 ? 8 : 4;
	k.n = o->msize / k.size;
	k.on = signs(c->fpu.zmm[o->vvvv], k.size, k.n);
	lin = ea_linear(c, i, o->msize, store ? ACC_WRITE : ACC_READ);
	if (store) {
		probe_picked(c, i, &k, lin);
		write_picked(c, i, &k, lin, reg);
	} else {
		read_picked(c, i, &k, lin, buf);
		memcpy(reg, buf, 64);
	}
	c->fpu.xinuse |= o->use;
}

insn_result fp_masked_move(struct vcpu *c, const struct insn *i)
{
	masked_move(c, i);
	NEXT(c, i);
}

/* -- MASKMOVQ, MASKMOVDQU: to [rDI] ------------------------------------------------------ */
static __attribute__((noinline)) void maskmovq(struct vcpu *c,
					       const struct insn *i)
{
	const struct fp_op *o = i->ptr;
	bool mmx = PAT_REG(o->row->pattern) == KIND_P;
	const uint8_t *data = mmx ? c->fpu.st[o->reg] : c->fpu.zmm[o->reg];
	struct pick k = { 1, mmx ? 8 : 16, 0 };
	unsigned adsize = op_adsize(i);
	uint64_t off = c->r[R_RDI], lin;

	c->cur = i;
	fp_conditions(c, o);
	off = adsize == 8 ? off : adsize == 4 ? (uint32_t)off : (uint16_t)off;
	k.on = signs(mmx ? c->fpu.st[o->rm] : c->fpu.zmm[o->rm], 1, k.n);
	lin = seg_linear(c, i, i->seg, off, k.n, ACC_WRITE);
	/* CPUs differ in what bytes left out may raise; here they may. */
	mem_probe_write(c, i, lin, k.n);
	write_picked(c, i, &k, lin, data);
	if (mmx) {
		c->fpu.fsw &= (uint16_t)~0x3800;
		c->fpu.ftw = 0xff;
	}
	c->fpu.xinuse |= o->use;
}

insn_result fp_maskmovq(struct vcpu *c, const struct insn *i)
{
	maskmovq(c, i);
	NEXT(c, i);
}

/* -- gathers and scatters: element by element, each finished before the next ---------- */
struct vsib {
	unsigned size, index_size, n;
	bool vex, store;
	uint64_t base;
};

static void vsib_of(struct vcpu *c, const struct insn *i, const struct fp_op *o,
		    struct vsib *v)
{
	unsigned widest;

	v->size = o->w ? 8 : 4;
	v->index_size = o->row->flags & QIDX ? 8 : 4;
	widest = v->size > v->index_size ? v->size : v->index_size;
	v->n = o->vl / widest;
	v->vex = o->enc == ENC_VEX;
	v->store = PAT_WR(o->row->pattern) == WR_RM;
	/* i->index is none: base and displacement, not yet cut. */
	v->base = c->r[i->base] + (uint64_t)(int64_t)i->disp;
}

static uint64_t element_address(struct vcpu *c, const struct insn *i,
				const struct fp_op *o, const struct vsib *v,
				unsigned k)
{
	const uint8_t *p = c->fpu.zmm[o->vindex] + k * v->index_size;
	int64_t index = 0;
	uint64_t off;

	if (v->index_size == 8) {
		memcpy(&index, p, 8);
	} else {
		int32_t x;

		memcpy(&x, p, 4);
		index = x;
	}
	off = v->base + ((uint64_t)index << o->scale);
	if (op_adsize(i) != 8)
		off = (uint32_t)off;
	return seg_linear(c, i, i->seg, off, v->size,
			  v->store ? ACC_WRITE : ACC_READ);
}

static bool element_on(const struct vcpu *c, const struct fp_op *o,
		       const struct vsib *v, unsigned k)
{
	if (v->vex)
		return c->fpu.zmm[o->vvvv][k * v->size + v->size - 1] >> 7;
	return c->fpu.k[o->aaa] >> k & 1;
}

static void element_done(struct vcpu *c, const struct fp_op *o,
			 const struct vsib *v, unsigned k)
{
	if (v->vex)
		memset(c->fpu.zmm[o->vvvv] + k * v->size, 0, v->size);
	else
		c->fpu.k[o->aaa] &= ~(1ull << k);
}

/* A vector mask shrinks to its sign bits before the first access. */
static void settle_mask(struct vcpu *c, const struct fp_op *o,
			const struct vsib *v)
{
	uint8_t *m = c->fpu.zmm[o->vvvv];

	for (unsigned k = 0; k < o->vl / v->size; k++)
		memset(m + k * v->size, element_on(c, o, v, k) ? 0xff : 0,
		       v->size);
	memset(m + o->vl, 0, 64u - o->vl);
}

static __attribute__((noinline)) void gather(struct vcpu *c,
					     const struct insn *i)
{
	const struct fp_op *o = i->ptr;
	uint8_t *reg = c->fpu.zmm[o->reg];
	struct vsib v;
	unsigned end;

	c->cur = i;
	fp_conditions(c, o);
	vsib_of(c, i, o, &v);
	if (v.vex)
		settle_mask(c, o, &v);
	for (unsigned k = 0; k < v.n; k++) {
		uint64_t lin;

		if (!element_on(c, o, &v, k))
			continue;
		lin = element_address(c, i, o, &v, k);
		if (v.store)
			mem_write_bytes(c, i, lin, reg + k * v.size, v.size);
		else
			mem_read_bytes(c, i, lin, reg + k * v.size, v.size);
		element_done(c, o, &v, k);
		/* the rest of the register goes with the first element */
		if (!v.store)
			memset(reg + o->vl, 0, 64u - o->vl);
	}
	end = v.n * v.size;
	if (!v.store)
		memset(reg + end, 0, 64 - end);
	if (v.vex)
		memset(c->fpu.zmm[o->vvvv], 0, 64);
	else
		c->fpu.k[o->aaa] = 0;
	c->fpu.xinuse |= o->use;
}

insn_result fp_gather(struct vcpu *c, const struct insn *i)
{
	gather(c, i);
	NEXT(c, i);
}
