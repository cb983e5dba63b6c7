/* test_paging.c: page walks against a second, independent description of
 * paging: random tables, random accesses; the verdict, the error code, the
 * accessed and dirty flags and what lands in memory all have to agree.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hvcore/mem.h"
#include "hvcore/parts.h"
#include "hvcore/sys/bits.h"

#define RAM_SIZE 0x1000000u
#define TABLES 0x100000u     /* where page tables are made */
#define DATA 0x800000u       /* where pages lead */

struct machine {
	struct vm *vm;
	struct vcpu *c;
	uint8_t *ram;
	uint64_t random;
};

static uint64_t rnd(struct machine *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random;
}

static bool chance(struct machine *m, unsigned in)
{
	return rnd(m) % in == 0;
}

static void make(struct machine *m, const char *model)
{
	m->random = 88172645463325252ull;
	m->vm = hv_vm_new(NULL);
	assert_non_null(m->vm);
	m->ram = aligned_alloc(4096, RAM_SIZE);
	memset(m->ram, 0, RAM_SIZE);
	assert_int_equal(hv_map_ram(m->vm, 0, RAM_SIZE, m->ram, NULL), NST_OK);
	m->c = hv_vcpu_new(m->vm);
	assert_non_null(m->c);
	assert_int_equal(hv_vcpu_set_model(m->c, model, NULL), NST_OK);
}

static void unmake(struct machine *m)
{
	hv_vm_free(m->vm);
	free(m->ram);
}

/* -- one access, its fault caught ---------------------------------------- */
enum how { READ, WRITE, FETCH, SYS_READ, SYS_WRITE };

struct verdict {
	bool fault;
	uint32_t error;
	uint64_t cr2, gpa;
};

static bool go(struct vcpu *c, enum how how, uint64_t lin, uint64_t *value)
{
	jmp_buf unwind;
	uint8_t byte = (uint8_t)*value;
	uint64_t phys;

	c->unwind = &unwind;
	if (setjmp(unwind)) {
		c->unwind = NULL;
		return false;
	}
	switch (how) {
	case READ:
		*value = mem_read8(c, NULL, lin);
		break;
	case WRITE:
		mem_write8(c, NULL, lin, byte);
		break;
	case FETCH:
		*value = *mem_fetch(c, lin, &phys);
		break;
	case SYS_READ:
		mem_sys_read(c, lin, &byte, 1);
		*value = byte;
		break;
	case SYS_WRITE:
		mem_sys_write(c, lin, &byte, 1);
		break;
	}
	c->unwind = NULL;
	return true;
}

/* -- the reference ------------------------------------------------------- */
struct format { unsigned levels, entry, bits; };

struct ref {
	uint64_t entries[5], at[5];
	unsigned n;
	struct verdict v;
};

static uint64_t entry_read(const struct machine *m, uint64_t at, unsigned size)
{
	uint64_t v = 0;

	memcpy(&v, m->ram + at, size);
	return v;
}

/* Is e malformed at a level (1: page table)? */
static bool malformed(const struct vcpu *c, uint64_t e, unsigned level,
		      const struct format *f)
{
	bool ps = e >> 7 & 1;

	if (f->entry == 4)
		return level == 2 && ps && c->cr4 & CR4_PSE && e & 0x3fe000 &
		       ~((1u << (13 + 8)) - 1u);
	if (e >> 46 & 0x3f)
		return true;
	if (f->levels == 2 && e >> 52 & 0x7ff)
		return true;
	if (e >> 63 && !(c->efer & EFER_NXE))
		return true;
	if (ps && level >= 4)
		return true;
	if (ps && level == 3 && e & 0x3fffe000)
		return true;
	return ps && level == 2 && e & 0x1fe000;
}

/* Rights, as chapter 4.6 lists them. */
static bool denied(const struct vcpu *c, const struct format *f, enum how how,
		   uint64_t e, bool all_w, bool all_u, bool any_nx,
		   uint32_t *error)
{
	bool user = c->cpl == 3 && how < SYS_READ;
	bool write = how == WRITE || how == SYS_WRITE;
	bool ac = c->rflags & FLAG_AC && how < SYS_READ, no;
	unsigned key = f->levels >= 4 ? e >> 59 & 15 : 0, k;

	if (how == FETCH)
		return any_nx || (user ? !all_u : all_u && c->cr4 & CR4_SMEP);
	if (user)
		no = !all_u || (write && !all_w);
	else
		no = (all_u && c->cr4 & CR4_SMAP && !ac) ||
		     (write && !all_w && c->cr0 & CR0_WP);
	if (f->levels < 4 || !all_u || !(c->cr4 & CR4_PKE))
		return no;
	k = c->fpu.pkru >> 2 * key & 3;
	if (k & 1 || (k & 2 && write && (user || c->cr0 & CR0_WP))) {
		*error |= 32;
		return true;
	}
	return no;
}

static void reference(const struct machine *m, const struct format *f,
		      enum how how, uint64_t lin, struct ref *r)
{
	const struct vcpu *c = m->c;
	bool user = c->cpl == 3 && how < SYS_READ;
	bool write = how == WRITE || how == SYS_WRITE, fetch = how == FETCH;
	bool all_w = true, all_u = true, any_nx = false;
	uint64_t table = c->cr3 & 0xfffffffff000ull, e = 0;
	unsigned level = f->levels, shift = 0;
	uint32_t err = (write ? 2 : 0) | (user ? 4 : 0);

	if (fetch && ((c->efer & EFER_NXE && f->entry == 8) ||
		      c->cr4 & CR4_SMEP))
		err |= 16;
	memset(r, 0, sizeof *r);
	r->v.fault = true;
	r->v.error = err;
	r->v.cr2 = lin;
	if (f->levels == 2 && f->entry == 8)
		table = c->pdptr[lin >> 30 & 3] & 0xfffffffff000ull;
	for (;; level--) {
		bool leaf;

		shift = 12 + f->bits * (level - 1);
		r->at[r->n] = table + (lin >> shift & ((1u << f->bits) - 1)) *
				      f->entry;
		e = entry_read(m, r->at[r->n], f->entry);
		r->entries[r->n++] = e;
		if (!(e & 1))
			return;
		leaf = level == 1 || (e >> 7 & 1 &&
			(f->entry == 8 || c->cr4 & CR4_PSE));
		if (malformed(c, e, level, f)) {
			r->v.error |= 9;
			return;
		}
		all_w = all_w && e & 2;
		all_u = all_u && e & 4;
		any_nx = any_nx || (f->entry == 8 && e >> 63);
		table = f->entry == 8 ? e & 0xffffffffff000ull :
					e & 0xfffff000;
		if (leaf)
			break;
	}
	r->v.error |= 1;
	if (denied(c, f, how, e, all_w, all_u, any_nx, &r->v.error))
		return;
	r->v.fault = false;
	table &= ~((1ull << shift) - 1);
	if (f->entry == 4 && level == 2)
		table |= (e >> 13 & 0xff) << 32;
	r->v.gpa = table | (lin & ((1ull << shift) - 1));
	for (unsigned n = 0; n < r->n; n++)
		r->entries[n] |= 0x20;
	if (write)
		r->entries[r->n - 1] |= 0x40;
}

/* -- random tables ------------------------------------------------------- */
static uint64_t random_flags(struct machine *m, const struct format *f)
{
	uint64_t e = 0;

	e |= chance(m, 12) ? 0 : 1;
	e |= chance(m, 4) ? 0 : 2;
	e |= chance(m, 3) ? 0 : 4;
	e |= chance(m, 2) ? 0x20 : 0;
	e |= chance(m, 2) ? 0x40 : 0;
	if (f->entry == 8) {
		e |= chance(m, 6) ? 1ull << 63 : 0;
		e |= chance(m, 40) ? 1ull << 50 : 0;
		if (f->levels > 2)
			e |= (rnd(m) & 15) << 59;
	}
	return e;
}

/* A path of tables for lin. */
static void build(struct machine *m, const struct format *f, uint64_t lin)
{
	uint64_t table = TABLES, e;

	m->c->cr3 = TABLES;
	for (unsigned n = 0; n < 4; n++)
		m->c->pdptr[n] = TABLES | 1;
	for (unsigned level = f->levels; level; level--) {
		unsigned shift = 12 + f->bits * (level - 1);
		uint64_t at = table + (lin >> shift & ((1u << f->bits) - 1)) *
				      f->entry;
		uint64_t next = table + 0x1000;
		bool ps = level > 1 && level < 5 && chance(m, 6);

		e = random_flags(m, f);
		if (ps)
			e |= 0x80;
		if (ps && (level <= 2 || chance(m, 2)))
			next = chance(m, 10) ? DATA + 0x4000 :
			       (level == 2 ? DATA : 0);
		else if (level == 1)
			next = DATA + (rnd(m) & 0xff000);
		e |= next;
		memcpy(m->ram + at, &e, f->entry);
		table = next;
		if (ps)
			break;
	}
}

static void random_mode(struct machine *m, const struct format *f)
{
	struct vcpu *c = m->c;

	c->cr0 = CR0_PE | CR0_PG | (chance(m, 2) ? CR0_WP : 0);
	c->cr4 = (chance(m, 2) ? CR4_SMEP : 0) | (chance(m, 2) ? CR4_SMAP : 0);
	c->efer = chance(m, 4) ? 0 : EFER_NXE;
	if (f->entry == 8)
		c->cr4 |= CR4_PAE;
	else if (chance(m, 2))
		c->cr4 |= CR4_PSE;
	if (f->levels > 2) {
		c->efer |= EFER_LMA | EFER_LME;
		c->cr4 |= chance(m, 2) ? CR4_PKE : 0;
	}
	if (f->levels == 5)
		c->cr4 |= CR4_LA57;
	c->fpu.pkru = (uint32_t)(chance(m, 2) ? 0 : rnd(m) & rnd(m));
	c->cpl = chance(m, 2) ? 3 : 0;
	c->rflags = 2 | (chance(m, 2) ? FLAG_AC : 0);
	mem_switch_context(c);
}

static void check_one(struct machine *m, const struct format *f, enum how how,
		      uint64_t lin)
{
	uint64_t value = rnd(m) & 0xff, before = value;
	struct ref r;
	bool ok;

	reference(m, f, how, lin, &r);
	if (!r.v.fault && r.v.gpa >= RAM_SIZE)
		return; /* only RAM is looked at here */
	if (!r.v.fault && how != WRITE && how != SYS_WRITE)
		m->ram[r.v.gpa] = (uint8_t)~value;
	ok = go(m->c, how, lin, &value);
	assert_int_equal(!ok, r.v.fault);
	if (!ok) {
		assert_int_equal(m->c->fault.vector, EXC_PF);
		assert_int_equal(m->c->fault.error, r.v.error);
		assert_true(m->c->fault.cr2 == lin);
	} else if (how == WRITE || how == SYS_WRITE) {
		assert_int_equal(m->ram[r.v.gpa], (uint8_t)before);
	} else {
		assert_int_equal((uint8_t)value, (uint8_t)~before);
	}
	for (unsigned n = 0; n < r.n; n++)
		assert_true(entry_read(m, r.at[n], f->entry) == r.entries[n]);
}

static void run_format(const struct format *f, unsigned rounds)
{
	struct machine m;

	make(&m, "icelake-server");
	for (unsigned i = 0; i < rounds; i++) {
		uint64_t lin = rnd(&m) & 0x7fffffffffffull;

		if (f->levels == 2)
			lin &= 0xffffffff;
		if (f->levels == 5)
			lin = rnd(&m) & 0xffffffffffffffull;
		random_mode(&m, f);
		build(&m, f, lin);
		m.c->cr3 = TABLES;
		mem_switch_context(m.c);
		/* The same page several times, from the TLB too: what a stale
		 * entry would wrongly allow is flushed by hand first. */
		mem_flush_all(m.c);
		for (unsigned k = 0; k < 4; k++)
			check_one(&m, f, (enum how)(rnd(&m) % 5), lin);
		mem_flush_page(m.c, lin);
		check_one(&m, f, (enum how)(rnd(&m) % 5), lin);
	}
	unmake(&m);
}

static void walks_32(void **state)
{
	(void)state;
	run_format(&(struct format){ 2, 4, 10 }, 30000);
}

static void walks_pae(void **state)
{
	(void)state;
	run_format(&(struct format){ 2, 8, 9 }, 30000);
}

static void walks_4(void **state)
{
	(void)state;
	run_format(&(struct format){ 4, 8, 9 }, 50000);
}

static void walks_5(void **state)
{
	(void)state;
	run_format(&(struct format){ 5, 8, 9 }, 30000);
}

/* -- what the TLB may and may not keep ----------------------------------- */
static void map4(struct machine *m, uint64_t lin, uint64_t gpa, uint64_t flags)
{
	uint64_t *t = (uint64_t *)(void *)(m->ram + TABLES);

	t[lin >> 39 & 511] = (TABLES + 0x1000) | 0x27;
	t[512 + (lin >> 30 & 511)] = (TABLES + 0x2000) | 0x27;
	t[1024 + (lin >> 21 & 511)] = (TABLES + 0x3000) | 0x27;
	t[1536 + (lin >> 12 & 511)] = gpa | flags;
}

static void long_mode_on(struct machine *m)
{
	struct vcpu *c = m->c;

	c->cr0 = CR0_PE | CR0_PG | CR0_WP;
	c->cr4 = CR4_PAE;
	c->efer = EFER_LMA | EFER_LME | EFER_NXE;
	c->cr3 = TABLES;
	c->cpl = 0;
	c->rflags = 2;
	mem_switch_context(c);
}

static uint8_t peek8(struct machine *m, uint64_t lin)
{
	uint64_t v = 0;

	assert_true(go(m->c, READ, lin, &v));
	return (uint8_t)v;
}

static void contexts_are_kept(void **state)
{
	struct machine m;
	const struct tlb *first;

	(void)state;
	make(&m, "icelake-server");
	long_mode_on(&m);
	m.c->cr4 |= CR4_PCIDE;
	map4(&m, 0x5000, DATA, 7);
	m.ram[DATA] = 1;
	m.ram[DATA + 0x1000] = 2;
	mem_switch_context(m.c);
	assert_int_equal(peek8(&m, 0x5000), 1);
	first = m.c->tlb;
	m.c->cr3 = TABLES | 1; /* another PCID */
	mem_switch_context(m.c);
	assert_ptr_not_equal(m.c->tlb, first);
	assert_int_equal(peek8(&m, 0x5000), 1);
	m.c->cr3 = TABLES;
	mem_switch_context(m.c);
	assert_ptr_equal(m.c->tlb, first);
	/* Not flushed: the old translation may be used, and is. */
	map4(&m, 0x5000, DATA + 0x1000, 7);
	assert_int_equal(peek8(&m, 0x5000), 1);
	mem_flush_pcid(m.c, 0, false);
	assert_int_equal(peek8(&m, 0x5000), 2);
	m.c->cr3 = TABLES | 1;
	mem_switch_context(m.c);
	assert_int_equal(peek8(&m, 0x5000), 1);
	mem_flush_page(m.c, 0x5123);
	assert_int_equal(peek8(&m, 0x5000), 2);
	unmake(&m);
}

static void generations(void **state)
{
	struct machine m;
	uint64_t v = 0, gen;

	(void)state;
	make(&m, "icelake-server");
	long_mode_on(&m);
	map4(&m, 0x5000, DATA, 7);
	assert_true(go(m.c, FETCH, 0x5000, &v));
	gen = m.c->map_gen;
	mem_flush_page(m.c, 0x9000); /* not code */
	assert_true(m.c->map_gen == gen);
	mem_flush_page(m.c, 0x5000);
	assert_true(m.c->map_gen != gen);
	assert_true(go(m.c, FETCH, 0x5000, &v));
	gen = m.c->map_gen;
	mem_flush_all(m.c);
	assert_true(m.c->map_gen != gen);
	unmake(&m);
}

static void large_pages_go_whole(void **state)
{
	struct machine m;
	uint64_t *t, v = 0;

	(void)state;
	make(&m, "icelake-server");
	long_mode_on(&m);
	map4(&m, 0x200000, DATA, 7);
	t = (uint64_t *)(void *)(m.ram + TABLES);
	t[1024 + 1] = DATA | 0xe7;
	m.ram[DATA + 0x3000] = 7;
	m.ram[0xa00000 + 0x3000] = 9;
	assert_int_equal(peek8(&m, 0x203000), 7);
	assert_int_equal(peek8(&m, 0x205000), 0);
	t[1024 + 1] = 0xa00000 | 0xe7;
	/* Any address of the page names it. */
	mem_flush_page(m.c, 0x205000);
	assert_int_equal(peek8(&m, 0x203000), 9);
	t[1024 + 1] = 0;
	mem_flush_page(m.c, 0x3ff000);
	assert_false(go(m.c, READ, 0x203000, &v));
	unmake(&m);
}

static void code_pages_are_told(void **state)
{
	struct machine m;
	uint64_t v = 0x90;

	(void)state;
	make(&m, "icelake-server");
	long_mode_on(&m);
	map4(&m, 0x5000, DATA, 0x67);
	assert_true(go(m.c, WRITE, 0x5000, &v));
	assert_non_null(tlb_hit(m.c->tlb->w, 0x5000, 1));
	m.vm->slots[0].flags[DATA >> 12] |= PAGE_WATCH;
	mem_flush_phys_code(m.vm, DATA);
	assert_null(tlb_hit(m.c->tlb->w, 0x5000, 1));
	assert_non_null(tlb_hit(m.c->tlb->r, 0x5000, 1));
	m.vm->slots[0].flags[DATA >> 12] = 0;
	unmake(&m);
}

/* Nothing of an access that crosses into a page that refuses it happens. */
static void crossing_is_all_or_nothing(void **state)
{
	struct machine m;
	jmp_buf unwind;
	uint64_t v;

	(void)state;
	make(&m, "icelake-server");
	long_mode_on(&m);
	map4(&m, 0x5000, DATA, 3);
	map4(&m, 0x6000, DATA + 0x1000, 1);
	m.c->unwind = &unwind;
	if (!setjmp(unwind)) {
		mem_write64(m.c, NULL, 0x5ffc, ~0ull);
		fail();
	}
	assert_true(m.c->fault.cr2 == 0x6000);
	assert_int_equal(m.c->fault.error, 3);
	memcpy(&v, m.ram + DATA + 0xff8, 8);
	assert_true(v == 0);
	map4(&m, 0x6000, DATA + 0x4000, 3);
	mem_flush_page(m.c, 0x6000);
	if (!setjmp(unwind))
		mem_write64(m.c, NULL, 0x5ffc, 0x1122334455667788ull);
	else
		fail();
	memcpy(&v, m.ram + DATA + 0xffc, 4);
	assert_true((uint32_t)v == 0x55667788);
	memcpy(&v, m.ram + DATA + 0x4000, 4);
	assert_true((uint32_t)v == 0x11223344);
	if (!setjmp(unwind))
		assert_true(mem_read64(m.c, NULL, 0x5ffc) ==
			    0x1122334455667788ull);
	m.c->unwind = NULL;
	unmake(&m);
}

static void unbacked_reads_ones(void **state)
{
	struct machine m;
	uint64_t v;

	(void)state;
	make(&m, "icelake-server");
	phys_read(m.c, 0x40000000, &v, 8);
	assert_true(v == ~0ull);
	v = 5;
	phys_write(m.c, 0x40000000, &v, 8);
	phys_read(m.c, RAM_SIZE - 4, &v, 8);
	assert_true(v == 0xffffffff00000000ull);
	unmake(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(walks_32), cmocka_unit_test(walks_pae),
		cmocka_unit_test(walks_4), cmocka_unit_test(walks_5),
		cmocka_unit_test(contexts_are_kept),
		cmocka_unit_test(generations),
		cmocka_unit_test(large_pages_go_whole),
		cmocka_unit_test(code_pages_are_told),
		cmocka_unit_test(crossing_is_all_or_nothing),
		cmocka_unit_test(unbacked_reads_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
