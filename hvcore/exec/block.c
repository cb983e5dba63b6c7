/* block.c: builds blocks, finds them, links them, and kills them when their
 * code changes.  See block.h for what a block is. */
#include <stdlib.h>
#include <sys/mman.h>

#include "hvcore/exec/dispatch.h"
#include "hvcore/exec/families.h"
#include "hvcore/exec/fuse.h"
#include "hvcore/mem/tlb.h"

#define ARENA_SIZE (64u << 20)
#define HASH_SETS (1u << 16)
#define PAGE_SETS (1u << 12)

/* A page that holds code: bit n of code is set where a block overlaps bytes
 * 64n to 64n+63. */
struct code_page {
	uint64_t page, code;
	struct block *blocks;
	struct code_page *next;
};

/* -- the cache ------------------------------------------------------------------ */
struct block_cache *block_cache_new(struct vm *vm)
{
	struct block_cache *bc = calloc(1, sizeof *bc);

	if (!bc)
		return NULL;
	bc->vm = vm;
	bc->index = malloc(sizeof *bc->index);
	bc->hash = calloc(HASH_SETS, sizeof *bc->hash);
	bc->pages = calloc(PAGE_SETS, sizeof *bc->pages);
	bc->size = ARENA_SIZE;
	bc->arena = mmap(NULL, ARENA_SIZE, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!bc->index || !bc->hash || !bc->pages || bc->arena == MAP_FAILED) {
		block_cache_free(bc);
		return NULL;
	}
	insn_index_build(bc->index);
	block_flush(bc);
	return bc;
}

void block_cache_free(struct block_cache *bc)
{
	if (!bc)
		return;
	if (bc->arena && bc->arena != MAP_FAILED)
		munmap(bc->arena, bc->size);
	free(bc->index);
	free(bc->hash);
	free(bc->pages);
	free(bc);
}

static void clear_code_flag(struct block_cache *bc, uint64_t page)
{
	uint8_t *flags = phys_flags(bc->vm, page);

	if (flags)
		*flags &= (uint8_t)~PAGE_CODE;
}

void block_flush(struct block_cache *bc)
{
	for (unsigned n = 0; n < PAGE_SETS; n++)
		for (struct code_page *p = bc->pages[n]; p; p = p->next)
			clear_code_flag(bc, p->page);
	memset(bc->hash, 0, HASH_SETS * sizeof *bc->hash);
	memset(bc->pages, 0, PAGE_SETS * sizeof *bc->pages);
	for (unsigned n = 0; n < JUMP_SETS; n++)
		bc->jump[n] = (struct jump_entry){ .lin = ~0ull };
	bc->used = 0;
	bc->flush_wanted = false;
	bc->generation++;
}

static void *take(struct block_cache *bc, size_t bytes)
{
	void *p = bc->arena + bc->used;

	bc->used += (bytes + 15) & ~(size_t)15;
	return p;
}

static struct block **hash_slot(struct block_cache *bc, uint64_t phys,
				uint32_t mode)
{
	uint64_t h = (phys ^ (uint64_t)mode << 40) * 0x9e3779b97f4a7c15ull;

	return &bc->hash[h >> 48 & (HASH_SETS - 1)];
}

/* -- pages ------------------------------------------------------------------------ */
static struct code_page *page_find(struct block_cache *bc, uint64_t page)
{
	struct code_page *p = bc->pages[page >> PAGE_BITS & (PAGE_SETS - 1)];

	while (p && p->page != page)
		p = p->next;
	return p;
}

static struct code_page *page_get(struct block_cache *bc, uint64_t page)
{
	struct code_page *p = page_find(bc, page), **slot;

	if (p)
		return p;
	slot = &bc->pages[page >> PAGE_BITS & (PAGE_SETS - 1)];
	p = take(bc, sizeof *p);
	*p = (struct code_page){ .page = page, .next = *slot };
	*slot = p;
	return p;
}

/* Bits of [first, last] within one page. */
static uint64_t sub_bits(unsigned first, unsigned last)
{
	return (~0ull << (first >> 6)) & (~0ull >> (63 - (last >> 6)));
}

static uint64_t block_bits(const struct block *b, uint64_t page)
{
	unsigned first = b->phys & PAGE_MASK, end = first + b->bytes;

	if ((b->phys & ~PAGE_MASK) == page)
		return sub_bits(first, end > 0x1000 ? 0xfff : end - 1);
	return sub_bits(0, end - 0x1000 - 1);
}

/* A page that gets its first code leaves every write TLB. */
static void page_add(struct block_cache *bc, struct block *b, unsigned which)
{
	uint64_t page = which ? b->phys2 : b->phys & ~PAGE_MASK;
	struct code_page *p = page_get(bc, page);
	uint8_t *flags = phys_flags(bc->vm, page);

	b->page_next[which] = p->blocks;
	p->blocks = b;
	p->code |= block_bits(b, page);
	if (flags && !(*flags & PAGE_CODE)) {
		*flags |= PAGE_CODE;
		mem_flush_phys_code(bc->vm, page);
	}
}

/* -- links -------------------------------------------------------------------------- */
static struct way *link_way(struct link *l)
{
	return &l->exits->way[l - l->exits->link];
}

static void unlink_one(struct link *l)
{
	if (!l->to)
		return;
	*l->prev = l->next;
	if (l->next)
		l->next->prev = l->prev;
	l->to = NULL;
	l->guard.fn = exec_link_miss;
	link_way(l)->go = &l->guard;
}

void block_link(struct vcpu *c, struct link *l, struct block *b, bool page)
{
	unlink_one(l);
	l->to = b;
	l->gen = c->map_gen;
	l->rip = c->r[R_RIP];
	l->guard.fn = exec_link_check;
	link_way(l)->go = page ? b->insns : &l->guard;
	l->next = b->incoming;
	l->prev = &b->incoming;
	if (l->next)
		l->next->prev = &l->next;
	b->incoming = l;
}

/* -- death ---------------------------------------------------------------------------- */
static bool overlaps(const struct block *b, uint64_t gpa, unsigned len)
{
	uint64_t page = gpa & ~PAGE_MASK, start = b->phys;

	if (b->phys2 == page && (b->phys & ~PAGE_MASK) != page)
		start = page - (0x1000 - (b->phys & PAGE_MASK));
	return gpa < start + b->bytes && start < gpa + len;
}

static void hash_remove(struct block_cache *bc, struct block *b)
{
	struct block **p = hash_slot(bc, b->phys, b->mode);

	while (*p && *p != b)
		p = &(*p)->hash_next;
	if (*p)
		*p = b->hash_next;
}

static struct block **page_link(struct block *b, uint64_t page)
{
	return &b->page_next[(b->phys & ~PAGE_MASK) != page];
}

static void page_remove(struct block_cache *bc, struct block *b, uint64_t page)
{
	struct code_page *p = page_find(bc, page);
	struct block **at;

	if (!p)
		return;
	p->code = 0;
	for (at = &p->blocks; *at;) {
		if (*at == b) {
			*at = *page_link(b, page);
			continue;
		}
		p->code |= block_bits(*at, page);
		at = page_link(*at, page);
	}
	if (!p->blocks)
		clear_code_flag(bc, page);
}

/* The block may be running: its instructions turn into exits to what is there
 * now, and its memory stays until the arena is emptied. */
static void kill(struct block_cache *bc, struct block *b)
{
	hash_remove(bc, b);
	page_remove(bc, b, b->phys & ~PAGE_MASK);
	if (b->phys2 != NO_PAGE)
		page_remove(bc, b, b->phys2);
	while (b->incoming)
		unlink_one(b->incoming);
	for (unsigned n = 0; b->exits && n < 2; n++)
		unlink_one(&b->exits->link[n]);
	for (unsigned n = 0; n < b->n; n++)
		b->insns[n].fn = exec_stale;
	b->mode = ~0u; /* no look-up finds it */
}

static void invalidate_in_page(struct block_cache *bc, uint64_t gpa, unsigned len)
{
	struct code_page *p = page_find(bc, gpa & ~PAGE_MASK);
	unsigned first = gpa & PAGE_MASK;
	struct block *b, *next;

	if (!p || !(p->code & sub_bits(first, first + len - 1)))
		return;
	for (b = p->blocks; b; b = next) {
		next = *page_link(b, p->page);
		if (overlaps(b, gpa, len))
			kill(bc, b);
	}
}

void block_invalidate(struct vm *vm, uint64_t gpa, unsigned len)
{
	while (vm->blocks && len) {
		unsigned left = 0x1000 - (gpa & PAGE_MASK);
		unsigned n = len < left ? len : left;

		invalidate_in_page(vm->blocks, gpa, n);
		gpa += n;
		len -= n;
	}
}

/* -- flags that nobody reads ---------------------------------------------------------- */
/* An instruction that can neither fault nor exit: what the flags are before it
 * shows only in what it reads. */
static bool pure(const struct insn *i, const struct insn_row *r)
{
	if (!r || r->slow || r->attr & (A_D64 | A_F64 | A_PRIV | A_ENDS))
		return false;
	if (r->operands == X_OA || r->operands == X_AO)
		return false;
	return !(i->op & OP_MEM) || r->family == &fam_lea ||
	       r->family == &fam_nop;
}

static insn_fn *without_flags(const struct insn *i, const struct insn_row *r)
{
	const struct family *f = r->family;
	unsigned size = r->attr & A_B ? 0 : (unsigned)__builtin_ctz(op_opsize(i));

	if (i->fn == f->fn[F_RR][size])
		return f->fn[F_RR_NF][size];
	if (i->fn == f->fn[F_RI][size])
		return f->fn[F_RI_NF][size];
	if (i->fn == f->fn[F_RM][size])
		return f->fn[F_RM_NF][size];
	return NULL;
}

/* Flags that matter before i, if live do after it. */
static unsigned before(const struct insn *i, const struct insn_row *r,
		       unsigned live)
{
	unsigned mask = op_opsize(i) == 8 && !(r->attr & A_B) ? 63 : 31;

	if (r->attr & A_COUNT && !(i->imm & mask))
		return live;
	return (live & ~r->writes) | r->reads;
}

static void drop_dead_flags(struct block *b)
{
	unsigned live = FLAGS_ARITH;

	for (int n = b->n - 1; n >= 0; n--) {
		struct insn *i = &b->insns[n];
		const struct insn_row *r = insn_row(i);

		if (r && r->family && r->writes && !(r->writes & live)) {
			insn_fn *f = without_flags(i, r);

			if (f)
				i->fn = f;
		}
		live = pure(i, r) ? before(i, r, live) : FLAGS_ARITH;
	}
}

static void fuse_last(struct block *b)
{
	struct insn *last = &b->insns[b->n - 1];
	insn_fn *both, *all = NULL;

	if (b->n < 2)
		return;
	both = fuse_find(last - 1, last);
	both = both ? both : jump_find(last - 1, last);
	if (b->n > 2)
		all = triple_find(last - 2, last - 1, last);
	if (both)
		last[-1].fn = both;
	if (all)
		last[-2].fn = all;
}

static void fuse_pairs(struct block *b)
{
	for (unsigned n = 0; n + 1 < b->n; n++) {
		insn_fn *f = pair_find(&b->insns[n], &b->insns[n + 1]);

		if (f)
			b->insns[n++].fn = f;
	}
}

/* -- building -------------------------------------------------------------------------- */
insn_fn exec_end;

insn_result exec_end(struct vcpu *c, const struct insn *i)
{
	GOTO_FALL(c, i);
}

static uint64_t linear_rip(const struct vcpu *c)
{
	if (c->mode & MODE_CS64)
		return c->r[R_RIP];
	return (uint32_t)(c->segbase[SEG_CS] + c->r[R_RIP]);
}

static bool has_limit(const struct vcpu *c)
{
	return !(c->mode & (MODE_CS64 | MODE_FLAT));
}

/* Bytes from RIP to the end of the code segment. */
static uint64_t limit_room(const struct vcpu *c)
{
	uint64_t limit = c->seg[SEG_CS].limit, rip = c->r[R_RIP];

	return rip > limit ? 0 : limit - rip + 1;
}

static uint64_t next_page(const struct vcpu *c, uint64_t lin)
{
	lin = (lin | PAGE_MASK) + 1;
	return c->mode & MODE_CS64 ? lin : (uint32_t)lin;
}

/* More bytes are wanted of the block's first instruction. */
static const uint8_t *cross(struct code_source *s)
{
	const uint8_t *p;

	if (has_limit(s->c) && limit_room(s->c) <= s->avail)
		cpu_raise_error(s->c, EXC_GP, 0);
	p = mem_fetch(s->c, next_page(s->c, s->lin), &s->phys2);
	if (!p)
		cpu_stop(s->c, HV_STOP_UNSUPPORTED,
			 "code runs from RAM into device memory");
	return p;
}

static void start_source(struct vcpu *c, struct code_source *s, uint64_t lin,
			 const uint8_t *host)
{
	s->c = c;
	s->lin = lin;
	s->bytes = host;
	s->avail = 0x1000 - (lin & PAGE_MASK);
	if (has_limit(c) && limit_room(c) < s->avail)
		s->avail = (unsigned)limit_room(c);
	s->next = cross;
	s->phys2 = NO_PAGE;
}

static bool is_relative(const struct insn *i)
{
	const struct insn_row *r = insn_row(i);

	return r && (r->operands == X_JB || r->operands == X_JZ);
}

/* Ways may be used where neither limits nor masks matter: the target of a way
 * is not looked at when it is taken. */
static bool may_link(const struct vcpu *c, const struct insn *i)
{
	if (c->mode & MODE_CET && insn_row(i)->family == &fam_call)
		return false;
	if (c->mode & MODE_CS64)
		return canonical(c, c->r[R_RIP] + (uint64_t)(int64_t)i->disp);
	return c->mode & MODE_FLAT && c->mode & MODE_CS32 && op_opsize(i) == 4;
}

static void checked(struct insn *i)
{
	unsigned size = (unsigned)__builtin_ctz(op_opsize(i));

	i->fn = insn_row(i)->family->fn[F_CHECK][size];
}

static void make_exits(struct block_cache *bc, struct block *b,
		       const struct insn *from)
{
	struct exits *x = take(bc, sizeof *x);

	memset(x, 0, sizeof *x);
	for (unsigned n = 0; n < 2; n++) {
		struct link *l = &x->link[n];

		l->exits = x;
		l->from = from;
		l->guard = (struct insn){ .fn = exec_link_miss, .ptr = l,
			.base = R_ZERO, .index = R_ZERO, .op = OP_END };
		x->way[n].go = &l->guard;
		x->way[n].cost = b->n;
	}
	x->way[0].delta = from->disp;
	x->way[1].delta = b->bytes;
	b->exits = x;
}

/* The end: a relative branch gets ways; where the block just stops, an END. */
static void finish(struct vcpu *c, struct block *b, bool ends)
{
	struct block_cache *bc = c->blocks;
	struct insn *last = &b->insns[b->n - 1], *end = last + 1;

	*end = (struct insn){ .fn = exec_end, .base = R_ZERO, .index = R_ZERO,
			      .ord = b->n - 1, .off = b->bytes, .op = OP_END };
	take(bc, sizeof *b + (b->n + 1u) * sizeof(struct insn));
	if (is_relative(last)) {
		if (!may_link(c, last)) {
			checked(last);
			return;
		}
		make_exits(bc, b, last);
		last->ptr = b->exits;
		/* Only where the branch has ways: a fused one looks at none. */
		if (!(b->mode & MODE_STEP))
			fuse_last(b);
	} else if (!ends) {
		make_exits(bc, b, end);
		end->ptr = b->exits;
	}
}

/* True: the last instruction does not go on to the next. */
static bool decode_block(struct vcpu *c, struct block *b, struct code_source *s,
			 uint32_t mode)
{
	unsigned max = mode & MODE_STEP ? 1 : BLOCK_MAX;

	while (b->n < max) {
		struct insn *i = &b->insns[b->n];
		enum decode_result r = DECODE_CROSS;

		if (s->avail || !b->n)
			r = decode_insn(c->blocks->index, s, mode, b->bytes, i);
		if (r == DECODE_CROSS && b->n)
			break;
		if (r == DECODE_CROSS)
			cpu_stop(c, HV_STOP_UNSUPPORTED,
				 "a branch across the ends of the address space");
		i->ord = b->n++;
		b->bytes += i->len;
		if (r == DECODE_ENDS)
			return true;
		if (i->len > s->avail)
			break;
		s->bytes += i->len;
		s->avail -= i->len;
		s->next = NULL;
	}
	return false;
}

static struct block *build(struct vcpu *c, uint64_t lin, uint64_t phys,
			   const uint8_t *host, uint32_t mode)
{
	struct block_cache *bc = c->blocks;
	struct block *b = (struct block *)(bc->arena + bc->used), **slot;
	struct code_source s;
	bool ends;

	if (bc->size - bc->used < sizeof *b + 8192) {
		bc->flush_wanted = true;
		return NULL;
	}
	memset(b, 0, sizeof *b);
	b->phys = phys;
	b->phys2 = NO_PAGE;
	b->mode = mode;
	start_source(c, &s, lin, host);
	ends = decode_block(c, b, &s, mode);
	if ((phys & PAGE_MASK) + b->bytes > 0x1000)
		b->phys2 = s.phys2 & ~PAGE_MASK;
	if (!(mode & MODE_STEP))
		drop_dead_flags(b);
	finish(c, b, ends);
	if (!(mode & MODE_STEP))
		fuse_pairs(b);
	slot = hash_slot(bc, phys, mode);
	b->hash_next = *slot;
	*slot = b;
	page_add(bc, b, 0);
	if (b->phys2 != NO_PAGE && b->phys2 != (phys & ~PAGE_MASK))
		page_add(bc, b, 1);
	return b;
}

/* Code in device memory: one instruction, decoded anew each time. */
static struct block *build_uncached(struct vcpu *c, uint64_t lin, uint32_t mode)
{
	struct block_cache *bc = c->blocks;
	struct block *b = (struct block *)(bc->arena + bc->used);
	struct code_source s;
	uint8_t bytes[16];
	uint64_t gpa;

	if (bc->size - bc->used < sizeof *b + 8192) {
		bc->flush_wanted = true;
		return NULL;
	}
	if (!mem_peek_linear(c, lin, &gpa))
		cpu_stop(c, HV_STOP_UNSUPPORTED, "code where nothing is");
	phys_read(c, gpa, bytes, 15);
	memset(b, 0, sizeof *b);
	b->phys = gpa;
	b->phys2 = NO_PAGE;
	start_source(c, &s, lin, bytes);
	finish(c, b, decode_block(c, b, &s, mode | MODE_STEP));
	b->mode = ~0u;
	return b;
}

/* -- finding ---------------------------------------------------------------------------- */
static struct block *find(struct vcpu *c, uint64_t lin, uint64_t phys,
			  uint32_t mode)
{
	struct block *b = *hash_slot(c->blocks, phys, mode);
	uint64_t phys2;

	for (; b; b = b->hash_next) {
		if (b->phys != phys || b->mode != mode)
			continue;
		if (b->phys2 == NO_PAGE)
			return b;
		if (mem_fetch(c, next_page(c, lin), &phys2) &&
		    (phys2 & ~PAGE_MASK) == b->phys2)
			return b;
	}
	return NULL;
}

struct block *block_get(struct vcpu *c, uint32_t mode)
{
	struct block_cache *bc = c->blocks;
	uint64_t lin = linear_rip(c), phys;
	struct jump_entry *e = jump_slot(bc, lin);
	struct block *b = e->to;
	const uint8_t *host;

	if (has_limit(c) && !limit_room(c))
		cpu_raise_error(c, EXC_GP, 0);
	if (e->lin != lin || e->gen != c->map_gen || b->mode != mode) {
		host = mem_fetch(c, lin, &phys);
		if (!host)
			return build_uncached(c, lin, mode);
		b = find(c, lin, phys, mode);
		if (!b)
			b = build(c, lin, phys, host, mode);
		if (!b)
			return NULL;
		*e = (struct jump_entry){ lin, c->map_gen, b };
	}
	if (has_limit(c) && b->bytes > limit_room(c)) {
		if (b->n == 1)
			cpu_raise_error(c, EXC_GP, 0);
		return block_get(c, mode | MODE_STEP);
	}
	return b;
}
