/* walk.c: linear to physical: 32-bit, PAE, 4- and 5-level paging (SDM vol. 3,
 * chapter 4), each guest-physical access of the walk through the second level
 * where there is one.
 *
 * Accessed and dirty flags are written once the whole translation, rights
 * included, has succeeded, upper levels first: nothing that an access which
 * faults went through is marked.
 */
#include "hvcore/mem/tlb.h"
#include "hvcore/sys/bits.h"

#define PTE_P 1ull
#define PTE_W 2ull
#define PTE_U 4ull
#define PTE_A 0x20ull
#define PTE_D 0x40ull
#define PTE_PS 0x80ull
#define PTE_NX (1ull << 63)
#define ADDR_MASK 0x000ffffffffff000ull

static bool fail(struct walk *w, uint32_t bits)
{
	w->error |= bits;
	return false;
}

/* -- second level -------------------------------------------------------- */
static bool user_access(const struct walk *w)
{
	return w->cls == CLS_USER;
}

/* The page that holds lin: w->gpa is set, hpa and the rights follow. */
static bool final_page(struct vcpu *c, struct walk *w)
{
	struct ept_access a = {
		.gpa = w->gpa, .lin = w->lin, .lin_valid = true,
		.access = w->access & (ACC_RMW | ACC_FETCH | ACC_SHSTK),
		.user = user_access(w),
		.lin_user = w->perm & PERM_U,
		.lin_writable = w->perm & PERM_W,
		.lin_nx = w->perm & PERM_NX,
	};
	struct ept_result r;

	if (!ept_enabled(c)) {
		w->hpa = w->gpa;
		return true;
	}
	if (w->peek)
		return ept_peek(c, w->gpa, &w->hpa);
	if (!ept_translate_plain(c, &a, &r)) {
		tlb_forget(c, w->lin); /* it may exit */
		ept_translate(c, &a, &r);
	}
	w->hpa = r.hpa;
	w->special = r.special;
	if (r.page_shift < w->shift)
		w->shift = r.page_shift;
	w->rights &= r.dirty ? r.rights : r.rights & ~ACC_WRITE;
	return true;
}

/* Address of a paging-structure entry, after the second level. */
static bool entry_address(struct vcpu *c, struct walk *w, uint64_t gpa,
			  unsigned access, uint64_t *hpa)
{
	struct ept_access a = { .gpa = gpa, .lin = w->lin, .lin_valid = true,
				.access = (uint8_t)access, .walk = true,
				.user = user_access(w) };
	struct ept_result r = { 0 };

	if (!ept_enabled(c)) {
		*hpa = gpa;
		return true;
	}
	if (w->peek) {
		w->entry_missing = !ept_peek(c, gpa, hpa);
		return !w->entry_missing;
	}
	ept_translate(c, &a, &r);
	*hpa = r.hpa;
	return true;
}

static uint64_t read_entry(struct vcpu *c, uint64_t hpa, unsigned size)
{
	const uint8_t *p = phys_ptr(c->vm, hpa, size);
	uint64_t v = 0;

	if (likely(p && !phys_mmio(c->vm, hpa)))
		memcpy(&v, p, size);
	else
		phys_read(c, hpa, &v, size);
	return v;
}

/* Reads the entry at gpa into the next step. */
static bool step(struct vcpu *c, struct walk *w, uint64_t gpa, unsigned size,
		 uint64_t *value)
{
	uint64_t hpa;

	if (!entry_address(c, w, gpa, ACC_READ, &hpa))
		return false;
	*value = read_entry(c, hpa, size);
	w->step[w->nsteps].gpa = gpa;
	w->step[w->nsteps].hpa = hpa;
	w->step[w->nsteps].value = *value;
	w->nsteps++;
	return true;
}

/* -- rights -------------------------------------------------------------- */
static unsigned leaf_key(const struct walk *w)
{
	return w->leaf >> 59 & 15;
}

/* Does the protection key forbid a data access? */
static bool key_denies(const struct vcpu *c, const struct walk *w, bool write)
{
	unsigned shift = 2 * leaf_key(w);
	uint32_t bits;

	if (!(c->efer & EFER_LMA))
		return false;
	if (w->perm & PERM_U) {
		if (!(c->cr4 & CR4_PKE))
			return false;
		bits = c->fpu.pkru >> shift & 3;
		return bits & 1 || (bits & 2 && write &&
				    (user_access(w) || c->cr0 & CR0_WP));
	}
	if (!(c->cr4 & CR4_PKS))
		return false;
	bits = (uint32_t)c->msr.pkrs >> shift & 3;
	return bits & 1 || (bits & 2 && write && c->cr0 & CR0_WP);
}

/* A shadow-stack page: read-only and dirty below writable levels (4.6). */
static bool shstk_page(const struct vcpu *c, const struct walk *w)
{
	return c->cr4 & CR4_CET && w->shstk_upper && !(w->leaf & PTE_W) &&
	       w->leaf & PTE_D;
}

static bool may_shstk(const struct vcpu *c, const struct walk *w)
{
	bool user_page = w->perm & PERM_U;

	return shstk_page(c, w) && user_page == user_access(w);
}

static bool may_read(const struct vcpu *c, const struct walk *w)
{
	if (user_access(w))
		return w->perm & PERM_U;
	return !(w->perm & PERM_U && c->cr4 & CR4_SMAP && w->cls == CLS_SUPER);
}

static bool may_write(const struct vcpu *c, const struct walk *w)
{
	if (!may_read(c, w))
		return false;
	return w->perm & PERM_W || (!user_access(w) && !(c->cr0 & CR0_WP));
}

static bool may_fetch(const struct vcpu *c, const struct walk *w)
{
	if (w->perm & PERM_NX)
		return false;
	if (user_access(w))
		return w->perm & PERM_U;
	return !(w->perm & PERM_U && c->cr4 & CR4_SMEP);
}

/* Sets w->rights; false: this access is not allowed. */
static bool check_rights(const struct vcpu *c, struct walk *w)
{
	bool write = w->access & ACC_WRITE, ok;

	w->rights = 0;
	if (may_read(c, w) && !key_denies(c, w, false))
		w->rights |= ACC_READ;
	if (w->leaf & PTE_D && may_write(c, w) && !key_denies(c, w, true))
		w->rights |= ACC_WRITE;
	if (may_fetch(c, w))
		w->rights |= ACC_FETCH;
	if (w->access & ACC_FETCH)
		return w->rights & ACC_FETCH || fail(w, PF_P);
	if (w->access & ACC_SHSTK)
		ok = may_shstk(c, w);
	else
		ok = write ? may_write(c, w) : may_read(c, w);
	if (key_denies(c, w, write))
		return fail(w, PF_P | PF_PK);
	return ok || fail(w, PF_P);
}

/* -- accessed and dirty flags -------------------------------------------- */
static void mark(struct vcpu *c, struct walk *w, unsigned n, uint64_t bits,
		 unsigned size)
{
	uint64_t hpa = w->step[n].hpa, v = w->step[n].value | bits;

	if (v == w->step[n].value)
		return;
	/* The update is a write: the second level may refuse it. */
	entry_address(c, w, w->step[n].gpa, ACC_RMW, &hpa);
	if (size == 8)
		phys_write64(c, hpa, v);
	else
		phys_write32(c, hpa, (uint32_t)v);
	w->step[n].value = v;
}

static void set_flags(struct vcpu *c, struct walk *w, unsigned size)
{
	for (unsigned n = 0; n + 1 < w->nsteps; n++)
		mark(c, w, n, PTE_A, size);
	mark(c, w, w->nsteps - 1,
	     w->access & ACC_WRITE ? PTE_A | PTE_D : PTE_A, size);
	if (w->access & ACC_WRITE && may_write(c, w) &&
	    !key_denies(c, w, true))
		w->rights |= ACC_WRITE;
}

/* -- the formats --------------------------------------------------------- */
static void add_level(struct walk *w, uint64_t e, bool leaf)
{
	if (!(e & PTE_W)) {
		w->perm &= ~PERM_W;
		if (!leaf)
			w->shstk_upper = false;
	}
	if (!(e & PTE_U))
		w->perm &= ~PERM_U;
	if (e & PTE_NX)
		w->perm |= PERM_NX;
}

static uint64_t reserved64(const struct vcpu *c)
{
	uint64_t r = ADDR_MASK & ~((1ull << maxphyaddr(c)) - 1);

	if (!(c->efer & EFER_NXE))
		r |= PTE_NX;
	if (!(c->efer & EFER_LMA))
		r |= 0x7ff0000000000000ull; /* PAE: 62:52 too */
	return r;
}

static bool has_1g(const struct vcpu *c)
{
	return cpu_has(c, 0x80000001, 0, 3, 26);
}

/* Entries of 8 bytes from level `level` down; table is the first one's. */
static bool walk64(struct vcpu *c, struct walk *w, uint64_t table,
		   unsigned level)
{
	uint64_t reserved = reserved64(c), e;

	for (;; level--) {
		unsigned shift = PAGE_BITS + 9 * (level - 1);
		bool leaf;

		if (!step(c, w, table + (w->lin >> shift & 511) * 8, 8, &e))
			return false;
		if (!(e & PTE_P))
			return false;
		leaf = level == 1 || (e & PTE_PS && level <= 3);
		if (e & reserved || (e & PTE_PS && level > 3) ||
		    (e & PTE_PS && level == 3 && !has_1g(c)))
			return fail(w, PF_P | PF_RSVD);
		/* Bit 12 of a large page is its PAT bit. */
		if (leaf && level > 1 && e & ((1ull << shift) - 0x2000))
			return fail(w, PF_P | PF_RSVD);
		add_level(w, e, leaf);
		table = e & ADDR_MASK;
		if (!leaf)
			continue;
		w->leaf = e;
		w->leaf_shift = (uint8_t)shift;
		w->gpa = (table & ~((1ull << shift) - 1)) |
			 (w->lin & ((1ull << shift) - 1));
		return true;
	}
}

static bool walk_pae(struct vcpu *c, struct walk *w)
{
	uint64_t e = c->pdptr[w->lin >> 30 & 3];

	if (!(e & PTE_P))
		return false;
	return walk64(c, w, e & ADDR_MASK, 2);
}

/* A 4 MiB page: PSE-36 gives its address more bits (SDM table 4-4). */
static bool leaf_4m(const struct vcpu *c, struct walk *w, uint64_t e)
{
	unsigned width = maxphyaddr(c) < 40 ? maxphyaddr(c) : 40;
	uint64_t reserved = 1ull << 21;

	if (!cpu_has(c, 1, 0, 3, 17))
		width = 32;
	reserved |= 0x3fe000ull & ~((1ull << (width - 32 + 13)) - 1);
	if (e & reserved)
		return fail(w, PF_P | PF_RSVD);
	w->leaf = e;
	w->leaf_shift = 22;
	w->gpa = (e & 0xffc00000) | (e >> 13 & 0xff) << 32 |
		 (w->lin & 0x3fffff);
	return true;
}

static bool walk32(struct vcpu *c, struct walk *w)
{
	uint64_t pde, pte;

	if (!step(c, w, (c->cr3 & 0xfffff000) + (w->lin >> 22 & 1023) * 4, 4,
		  &pde) || !(pde & PTE_P))
		return false;
	if (pde & PTE_PS && c->cr4 & CR4_PSE) {
		add_level(w, pde, true);
		return leaf_4m(c, w, pde);
	}
	add_level(w, pde, false);
	if (!step(c, w, (pde & 0xfffff000) + (w->lin >> 12 & 1023) * 4, 4,
		  &pte) || !(pte & PTE_P))
		return false;
	add_level(w, pte, true);
	w->leaf = pte;
	w->leaf_shift = PAGE_BITS;
	w->gpa = (pte & 0xfffff000) | (w->lin & PAGE_MASK);
	return true;
}

static bool walk_tables(struct vcpu *c, struct walk *w)
{
	if (c->efer & EFER_LMA)
		return walk64(c, w, c->cr3 & ADDR_MASK,
			      c->cr4 & CR4_LA57 ? 5 : 4);
	if (c->cr4 & CR4_PAE)
		return walk_pae(c, w);
	return walk32(c, w);
}

/* -- cache of last-level tables ------------------------------------------ */
static struct pde_slot *pde_slot(struct vcpu *c, uint64_t lin)
{
	return &c->tlbs->cur->pde[lin >> 21 & (PDE_SLOTS - 1)];
}

static void pde_store(struct vcpu *c, const struct walk *w)
{
	struct pde_slot *s = pde_slot(c, w->lin);
	uint64_t page = w->step[w->nsteps - 1].hpa & ~PAGE_MASK;
	uint8_t perm = PERM_W | PERM_U;

	if (w->leaf_shift != PAGE_BITS || phys_mmio(c->vm, page))
		return;
	s->table = phys_ptr(c->vm, page, PAGE_MASK + 1);
	if (!s->table) {
		s->tag = ~0ull;
		return;
	}
	for (unsigned n = 0; n + 1 < w->nsteps; n++) {
		uint64_t e = w->step[n].value;

		perm &= (e & PTE_W ? PERM_W : 0) | (e & PTE_U ? PERM_U : 0) |
			PERM_NX;
		if (e & PTE_NX)
			perm |= PERM_NX;
	}
	s->tag = w->lin >> 21;
	s->table_hpa = page;
	s->rights = perm;
}

/* True: translated, and nothing had to be written. */
static bool walk_cached(struct vcpu *c, struct walk *w)
{
	const struct pde_slot *s = pde_slot(c, w->lin);
	uint64_t e;

	if (s->tag != w->lin >> 21)
		return false;
	memcpy(&e, s->table + (w->lin >> PAGE_BITS & 511) * 8, sizeof e);
	if (!(e & PTE_P) || !(e & PTE_A) || e & reserved64(c))
		return false;
	if (w->access & ACC_WRITE && !(e & PTE_D))
		return false;
	w->perm = s->rights;
	w->shstk_upper = s->rights & PERM_W;
	add_level(w, e, true);
	w->leaf = e;
	w->leaf_shift = w->shift = PAGE_BITS;
	w->gpa = (e & ADDR_MASK) | (w->lin & PAGE_MASK);
	return check_rights(c, w);
}

/* -- whole --------------------------------------------------------------- */
static void start(const struct vcpu *c, struct walk *w)
{
	w->error = 0;
	if (w->access & ACC_WRITE)
		w->error |= PF_W;
	if (user_access(w))
		w->error |= PF_U;
	if (w->access & ACC_SHSTK)
		w->error |= PF_SS;
	if (w->access & ACC_FETCH &&
	    (c->cr4 & CR4_SMEP ||
	     (c->efer & EFER_NXE && c->cr4 & CR4_PAE)))
		w->error |= PF_I;
	w->perm = PERM_W | PERM_U;
	w->shstk_upper = true;
	w->nsteps = 0;
	w->special = w->entry_missing = false;
}

static bool walk_unpaged(struct vcpu *c, struct walk *w)
{
	w->gpa = w->lin;
	w->leaf_shift = w->shift = PAGE_BITS;
	w->leaf = PTE_D;
	w->perm = PERM_W | PERM_U;
	w->rights = ACC_RMW | ACC_FETCH;
	return final_page(c, w);
}

bool walk_linear(struct vcpu *c, struct walk *w)
{
	bool wide = c->efer & EFER_LMA || c->cr4 & CR4_PAE;

	if (!(c->efer & EFER_LMA))
		w->lin = (uint32_t)w->lin;
	start(c, w);
	if (!(c->cr0 & CR0_PG))
		return walk_unpaged(c, w);
	if (wide && !w->peek) {
		uint32_t error = w->error;

		if (walk_cached(c, w)) {
			mem_rests_on(c, pde_slot(c, w->lin)->table_hpa);
			return final_page(c, w);
		}
		w->error = error;
		w->perm = PERM_W | PERM_U;
		w->shstk_upper = true;
	}
	if (!walk_tables(c, w))
		return false;
	w->shift = w->leaf_shift;
	if (w->peek)
		return final_page(c, w);
	if (!check_rights(c, w))
		return false;
	set_flags(c, w, wide ? 8 : 4);
	tables_walked(c, w);
	if (wide)
		pde_store(c, w);
	return final_page(c, w);
}
