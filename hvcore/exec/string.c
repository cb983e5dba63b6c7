/* string.c: MOVS, CMPS, STOS, LODS, SCAS, with and without REP.
 *
 * One execution of a repeated instruction does as many iterations as stay in
 * the pages that its pointers are in, then goes back to itself: so it can be
 * interrupted page by page, and each such part counts as one instruction
 * retired.  How much that is depends on addresses and count only, never on
 * whether the memory allowed the fast way: counts stay deterministic.
 */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/dispatch.h"
#include "hvcore/exec/families.h"

struct pointer {
	unsigned reg;      /* R_RSI or R_RDI */
	unsigned seg;
	enum mem_access access;
};

static uint64_t cut(uint64_t v, unsigned adsize)
{
	return adsize == 8 ? v : adsize == 4 ? (uint32_t)v : (uint16_t)v;
}

static void put(struct vcpu *c, unsigned reg, unsigned adsize, uint64_t v)
{
	if (adsize == 8)
		WR64(c, reg, v);
	else if (adsize == 4)
		WR32(c, reg, v);
	else
		WR16(c, reg, v);
}

static unsigned element(const struct insn *i)
{
	const struct insn_row *r = insn_row(i);

	return r->attr & A_B ? 1 : op_opsize(i);
}

static unsigned dest_seg(const struct vcpu *c)
{
	return c->mode & MODE_CS64 ? SEG_NONE : SEG_ES;
}

static bool single(const struct vcpu *c)
{
	return c->rflags & FLAG_TF || (c->nonroot && vmx_mtf(c));
}

/* Iterations before p leaves its page, with an element across it counting as
 * one; the linear address stands in for the offset: bases keep their page
 * offset within one instruction. */
static uint64_t in_page(const struct vcpu *c, const struct insn *i,
			const struct pointer *p, unsigned size)
{
	uint64_t off = cut(c->r[p->reg], op_adsize(i));
	uint64_t base = p->seg == SEG_NONE ? 0 : c->segbase[p->seg];
	unsigned at = (off + base) & PAGE_MASK;
	uint64_t n, room;

	if (c->rflags & FLAG_DF)
		n = at / size + 1;
	else
		n = (0x1000 - at) / size;
	/* nor may the offset wrap in the middle */
	if (op_adsize(i) != 8 && !(c->rflags & FLAG_DF)) {
		room = ((op_adsize(i) == 4 ? 1ull << 32 : 1ull << 16) - off) / size;
		n = n < room ? n : room;
	}
	return n ? n : 1;
}

static uint64_t rep_count(const struct vcpu *c, const struct insn *i)
{
	return cut(c->r[R_RCX], op_adsize(i));
}

static uint64_t load(struct vcpu *c, const struct insn *i,
		     const struct pointer *p, unsigned size)
{
	uint64_t lin = seg_linear(c, i, p->seg, cut(c->r[p->reg], op_adsize(i)),
				  size, p->access);

	switch (size) {
	case 1: return mem_read8(c, i, lin);
	case 2: return mem_read16(c, i, lin);
	case 4: return mem_read32(c, i, lin);
	default: return mem_read64(c, i, lin);
	}
}

static void store(struct vcpu *c, const struct insn *i, unsigned size, uint64_t v)
{
	uint64_t lin = seg_linear(c, i, dest_seg(c),
				  cut(c->r[R_RDI], op_adsize(i)), size, ACC_WRITE);

	switch (size) {
	case 1: mem_write8(c, i, lin, (uint8_t)v); break;
	case 2: mem_write16(c, i, lin, (uint16_t)v); break;
	case 4: mem_write32(c, i, lin, (uint32_t)v); break;
	default: mem_write64(c, i, lin, v); break;
	}
}

static void step(struct vcpu *c, const struct insn *i, unsigned reg, uint64_t n,
		 unsigned size)
{
	uint64_t by = c->rflags & FLAG_DF ? -(n * size) : n * size;

	put(c, reg, op_adsize(i), c->r[reg] + by);
}

/* Host pointer for n elements going up from p, or NULL. */
static void *bulk(struct vcpu *c, const struct insn *i, const struct pointer *p,
		  uint64_t n, unsigned size)
{
	uint64_t lin;

	if (n < 4 || c->rflags & FLAG_DF)
		return NULL;
	lin = seg_linear(c, i, p->seg, cut(c->r[p->reg], op_adsize(i)),
			 (unsigned)n * size, p->access);
	if ((lin & PAGE_MASK) + n * size > 0x1000)
		return NULL;
	return mem_bulk(c, i, lin, p->access);
}

/* -- one part of each: n iterations, registers kept up with every one -------------- */
static void movs_part(struct vcpu *c, const struct insn *i, uint64_t n,
		      unsigned size, bool rep)
{
	struct pointer s = { R_RSI, i->seg, ACC_READ };
	struct pointer d = { R_RDI, dest_seg(c), ACC_WRITE };
	uint8_t *to = NULL;
	const uint8_t *from = bulk(c, i, &s, n, size);

	if (from)
		to = bulk(c, i, &d, n, size);
	/* Copying upwards into itself repeats a pattern: not for memmove. */
	if (to && (to <= from || to >= from + n * size)) {
		memmove(to, from, n * size);
		step(c, i, R_RSI, n, size);
		step(c, i, R_RDI, n, size);
		put(c, R_RCX, op_adsize(i), c->r[R_RCX] - n);
		return;
	}
	for (; n; n--) {
		store(c, i, size, load(c, i, &s, size));
		step(c, i, R_RSI, 1, size);
		step(c, i, R_RDI, 1, size);
		if (rep)
			put(c, R_RCX, op_adsize(i), c->r[R_RCX] - 1);
	}
}

static void fill(uint8_t *to, uint64_t n, unsigned size, uint64_t v)
{
	if (size == 1) {
		memset(to, (int)(uint8_t)v, n);
		return;
	}
	for (; n; n--, to += size)
		memcpy(to, &v, size);
}

static void stos_part(struct vcpu *c, const struct insn *i, uint64_t n,
		      unsigned size, bool rep)
{
	struct pointer d = { R_RDI, dest_seg(c), ACC_WRITE };
	uint8_t *to = bulk(c, i, &d, n, size);

	if (to) {
		if (size == 8)
			fill(to, n, 8, c->r[R_RAX]);
		else
			fill(to, n, size, c->r[R_RAX]);
		step(c, i, R_RDI, n, size);
		put(c, R_RCX, op_adsize(i), c->r[R_RCX] - n);
		return;
	}
	for (; n; n--) {
		store(c, i, size, c->r[R_RAX]);
		step(c, i, R_RDI, 1, size);
		if (rep)
			put(c, R_RCX, op_adsize(i), c->r[R_RCX] - 1);
	}
}

static void lods_part(struct vcpu *c, const struct insn *i, uint64_t n,
		      unsigned size, bool rep)
{
	struct pointer s = { R_RSI, i->seg, ACC_READ };

	for (; n; n--) {
		uint64_t v = load(c, i, &s, size);

		if (size == 1)
			WR8(c, R_RAX, v);
		else
			put(c, R_RAX, size, v);
		step(c, i, R_RSI, 1, size);
		if (rep)
			put(c, R_RCX, op_adsize(i), c->r[R_RCX] - 1);
	}
}

static void compare(struct vcpu *c, unsigned size, uint64_t x, uint64_t y)
{
	switch (size) {
	case 1: do_cmp8(c, (uint8_t)x, (uint8_t)y); break;
	case 2: do_cmp16(c, (uint16_t)x, (uint16_t)y); break;
	case 4: do_cmp32(c, (uint32_t)x, (uint32_t)y); break;
	default: do_cmp64(c, x, y); break;
	}
}

/* F3 goes on while equal, F2 while unequal.  True: the condition ended it. */
static bool ended(const struct vcpu *c, unsigned rep)
{
	return cc_zf(c) == (rep == 0xf2);
}

static bool cmps_part(struct vcpu *c, const struct insn *i, uint64_t n,
		      unsigned size, unsigned rep)
{
	struct pointer s = { R_RSI, i->seg, ACC_READ };
	struct pointer d = { R_RDI, dest_seg(c), ACC_READ };

	for (; n; n--) {
		uint64_t x = load(c, i, &s, size), y = load(c, i, &d, size);

		compare(c, size, x, y);
		step(c, i, R_RSI, 1, size);
		step(c, i, R_RDI, 1, size);
		if (rep)
			put(c, R_RCX, op_adsize(i), c->r[R_RCX] - 1);
		if (rep && ended(c, rep))
			return true;
	}
	return false;
}

static bool scas_part(struct vcpu *c, const struct insn *i, uint64_t n,
		      unsigned size, unsigned rep)
{
	struct pointer d = { R_RDI, dest_seg(c), ACC_READ };

	for (; n; n--) {
		compare(c, size, c->r[R_RAX], load(c, i, &d, size));
		step(c, i, R_RDI, 1, size);
		if (rep)
			put(c, R_RCX, op_adsize(i), c->r[R_RCX] - 1);
		if (rep && ended(c, rep))
			return true;
	}
	return false;
}

/* -- the instructions ------------------------------------------------------------------ */
enum string_op { MOVS, CMPS, STOS, LODS, SCAS };

static uint64_t part_length(struct vcpu *c, const struct insn *i,
			    enum string_op op, unsigned size)
{
	struct pointer s = { R_RSI, i->seg, ACC_READ };
	struct pointer d = { R_RDI, dest_seg(c), ACC_READ };
	uint64_t n = rep_count(c, i), room;

	if (n && single(c))
		return 1;
	if (op == MOVS || op == CMPS || op == LODS) {
		room = in_page(c, i, &s, size);
		n = n < room ? n : room;
	}
	if (op != LODS) {
		room = in_page(c, i, &d, size);
		n = n < room ? n : room;
	}
	return n;
}

/* True: the instruction is complete. */
static bool run_string(struct vcpu *c, const struct insn *i, enum string_op op)
{
	unsigned size = element(i), rep = insn_rep(i);
	uint64_t n = rep ? part_length(c, i, op, size) : 1;
	bool done = false;

	if (!n)
		return true;
	switch (op) {
	case MOVS: movs_part(c, i, n, size, rep); break;
	case STOS: stos_part(c, i, n, size, rep); break;
	case LODS: lods_part(c, i, n, size, rep); break;
	case CMPS: done = cmps_part(c, i, n, size, rep); break;
	case SCAS: done = scas_part(c, i, n, size, rep); break;
	}
	return done || !rep || !rep_count(c, i);
}

#define STRING(name, op)						\
INSN(name)								\
{									\
	if (likely(run_string(c, i, op)))				\
		NEXT(c, i);						\
	c->r[R_RIP] += i->off;						\
	retire(c, i);							\
	TAIL(exec_continue, c, i);					\
}									\
const struct family fam_##name = { .fn = { [F_N] = ALL_SIZES(name) } };
STRING(movs, MOVS)
STRING(cmps, CMPS)
STRING(stos, STOS)
STRING(lods, LODS)
STRING(scas, SCAS)
