/* tlb.c: the pool of TLB contexts: finding the current one, filling, flushing.
 *
 * Owns struct tlb_pool and c->tlb, c->map_gen.  Knows nothing of how a
 * translation comes about (walk.c).
 */
#include <stdlib.h>

#include "hvcore/mem/tlb.h"
#include "hvcore/sys/bits.h"

/* -- one TLB ------------------------------------------------------------- */
static struct tlbe *slot_at(struct tlb *t, unsigned slot)
{
	if (slot < TLB_SETS)
		return &t->r[slot];
	if (slot < 2 * TLB_SETS)
		return &t->w[slot - TLB_SETS];
	return &t->x[slot - 2 * TLB_SETS];
}

static void tlb_clear(struct tlb_full *t)
{
	for (unsigned i = 0; i < t->nfilled; i++)
		slot_at(&t->t, t->filled[i])->tag = TLB_EMPTY;
	t->nfilled = 0;
}

static struct tlb_full *tlb_alloc(void)
{
	struct tlb_full *t = aligned_alloc(64, (sizeof *t + 63) & ~(size_t)63);

	if (!t)
		return NULL;
	memset(t, 0, sizeof *t);
	for (unsigned i = 0; i < 3 * TLB_SETS; i++)
		slot_at(&t->t, i)->tag = TLB_EMPTY;
	return t;
}

static void put(struct tlb_full *t, unsigned slot, uint64_t page,
		uint64_t addend)
{
	struct tlbe *e = slot_at(&t->t, slot);

	if (e->tag == TLB_EMPTY)
		t->filled[t->nfilled++] = (uint16_t)slot;
	e->tag = page;
	e->addend = addend;
}

/* Empty slots stay in `filled` only if they are listed once: a slot dropped on
 * its own leaves the list too. */
static void drop(struct tlb_full *t, unsigned slot)
{
	struct tlbe *e = slot_at(&t->t, slot);

	if (e->tag == TLB_EMPTY)
		return;
	e->tag = TLB_EMPTY;
	for (unsigned i = t->nfilled; i-- > 0;) {
		if (t->filled[i] == slot) {
			t->filled[i] = t->filled[--t->nfilled];
			return;
		}
	}
}

static void drop_page(struct tlb_full *t, uint64_t page)
{
	unsigned set = page >> PAGE_BITS & (TLB_SETS - 1);

	for (unsigned k = 0; k < 3; k++)
		if (slot_at(&t->t, k * TLB_SETS + set)->tag == page)
			drop(t, k * TLB_SETS + set);
}

/* Every entry whose address agrees with lin above bit shift. */
static void drop_region(struct tlb_full *t, uint64_t lin, unsigned shift)
{
	for (unsigned i = t->nfilled; i-- > 0;) {
		struct tlbe *e = slot_at(&t->t, t->filled[i]);

		if ((e->tag ^ lin) >> shift == 0) {
			e->tag = TLB_EMPTY;
			t->filled[i] = t->filled[--t->nfilled];
		}
	}
}

/* -- contexts ------------------------------------------------------------ */
static void pde_clear(struct tlb_ctx *x)
{
	for (unsigned i = 0; i < PDE_SLOTS; i++)
		x->pde[i].tag = ~0ull;
}

/* Values are never used twice in a VM: they guard links between blocks, which
 * all its vCPUs share. */
static void new_gens(struct vcpu *c, struct tlb_ctx *x)
{
	struct tlb_pool *p = c->tlbs;

	x->gen_super = (uint64_t)c->id << 52 | ++p->next_gen;
	x->gen_user = (uint64_t)c->id << 52 | ++p->next_gen;
	memset(x->bloom, 0, sizeof x->bloom);
	if (x == p->cur)
		c->map_gen = c->cpl == 3 ? x->gen_user : x->gen_super;
}

void ctx_flush(struct vcpu *c, struct tlb_ctx *x)
{
	bool had = false;

	for (unsigned k = 0; k < CLS_COUNT; k++) {
		if (!x->cls[k])
			continue;
		had |= x->cls[k]->nfilled != 0;
		tlb_clear(x->cls[k]);
	}
	pde_clear(x);
	x->big_first = ~0ull;
	x->big_last = 0;
	x->big_shift = 0;
	for (unsigned i = 0; i < BLOOM_BITS / 64; i++)
		had |= x->bloom[i] != 0;
	/* Nothing was fetched through it: no link depends on it. */
	if (had)
		new_gens(c, x);
}

static void make_key(const struct vcpu *c, struct ctx_key *k)
{
	const uint64_t cr4 = CR4_PSE | CR4_PAE | CR4_LA57 | CR4_SMEP |
			     CR4_SMAP | CR4_PKE | CR4_PKS | CR4_CET;

	*k = (struct ctx_key){ 0 };
	if (c->nonroot) {
		k->mode = KEY_NONROOT;
		k->eptp = vmx_tlb_eptp(c);
		k->vpid = vmx_tlb_vpid(c);
	}
	if (!(c->cr0 & CR0_PG)) {
		k->cr3 = ~0ull; /* no CR3 is like that */
		return;
	}
	k->mode |= (uint32_t)(c->cr4 & cr4) |
		   (c->cr0 & CR0_WP ? KEY_WP : 0) |
		   (c->efer & EFER_NXE ? KEY_NXE : 0);
	if (c->efer & EFER_LMA) {
		k->cr3 = c->cr3 & ~PAGE_MASK;
		k->mode |= KEY_LMA;
		if (c->cr4 & CR4_PCIDE)
			k->pcid = c->cr3 & PAGE_MASK;
		if (c->cr4 & CR4_PKE)
			k->pkru = c->fpu.pkru;
		if (c->cr4 & CR4_PKS)
			k->pkrs = (uint32_t)c->msr.pkrs;
	} else if (c->cr4 & CR4_PAE) {
		/* CR3 bits 11:5 are address bits of the PDPTEs.  These are
		 * registers, which a VM entry can change by themselves. */
		k->cr3 = c->cr3 & ~0x1full;
		for (unsigned i = 0; i < 4; i++)
			k->pkru = k->pkru * 31 +
				  (uint32_t)(c->pdptr[i] >> 12 ^ c->pdptr[i]);
	} else {
		k->cr3 = c->cr3 & ~PAGE_MASK;
	}
}

static struct tlb_ctx *find_ctx(struct vcpu *c, const struct ctx_key *k)
{
	struct tlb_pool *p = c->tlbs;
	struct tlb_ctx *old = &p->ctx[0];

	for (unsigned i = 0; i < TLB_CONTEXTS; i++) {
		struct tlb_ctx *x = &p->ctx[i];

		if (x->used && !memcmp(&x->key, k, sizeof *k))
			return x;
		if (!x->used || (old->used && x->last_use < old->last_use))
			old = x;
	}
	ctx_flush(c, old);
	old->used = true;
	old->proven = false;
	old->key = *k;
	new_gens(c, old);
	return old;
}

enum tlb_class tlb_class_of(const struct vcpu *c)
{
	if (c->cpl == 3)
		return CLS_USER;
	return c->rflags & FLAG_AC && c->cr4 & CR4_SMAP ? CLS_SUPER_AC :
							  CLS_SUPER;
}

struct tlb_full *tlb_get(struct vcpu *c, enum tlb_class cls)
{
	struct tlb_ctx *x = c->tlbs->cur;

	if (unlikely(!x->cls[cls])) {
		x->cls[cls] = tlb_alloc();
		if (!x->cls[cls])
			cpu_stop(c, HV_STOP_UNSUPPORTED, "out of memory");
	}
	return x->cls[cls];
}

void mem_switch_context(struct vcpu *c)
{
	struct tlb_pool *p = c->tlbs;
	struct ctx_key k;

	/* Pages with data breakpoints stay out of the TLB: whoever sets DR7
	 * (VM entries and exits do) comes by here. */
	if (unlikely(c->dr[7] != p->dr7)) {
		p->dr7 = c->dr[7];
		if (c->dr[7] & 0xff)
			mem_flush_all(c);
	}
	make_key(c, &k);
	if (memcmp(&p->cur->key, &k, sizeof k))
		p->cur = find_ctx(c, &k);
	p->cur->last_use = ++p->clock;
	c->tlb = &tlb_get(c, tlb_class_of(c))->t;
	c->map_gen = c->cpl == 3 ? p->cur->gen_user : p->cur->gen_super;
}

bool mem_init_vcpu(struct vcpu *c)
{
	struct tlb_pool *p = calloc(1, sizeof *p);

	if (!p)
		return false;
	c->tlbs = p;
	p->gpa_gen = 1;
	p->cur = &p->ctx[0];
	for (unsigned i = 0; i < TLB_CONTEXTS; i++)
		ctx_flush(c, &p->ctx[i]);
	p->ctx[0].used = true;
	new_gens(c, &p->ctx[0]);
	p->ctx[0].cls[CLS_SUPER] = tlb_alloc();
	if (!p->ctx[0].cls[CLS_SUPER])
		return false;
	c->tlb = &p->ctx[0].cls[CLS_SUPER]->t;
	return true;
}

void mem_free_vcpu(struct vcpu *c)
{
	if (!c->tlbs)
		return;
	for (unsigned i = 0; i < TLB_CONTEXTS; i++)
		for (unsigned k = 0; k < CLS_COUNT; k++)
			free(c->tlbs->ctx[i].cls[k]);
	free(c->tlbs);
	c->tlbs = NULL;
}

/* -- filling ------------------------------------------------------------- */
static unsigned bloom_bit(uint64_t page)
{
	return (page >> PAGE_BITS) * 0x9e3779b97f4a7c15ull >> 54;
}

void tlb_fill(struct vcpu *c, struct tlb_full *t, const struct walk *w,
	      uint8_t *host_page, bool no_write)
{
	struct tlb_ctx *x = c->tlbs->cur;
	uint64_t page = w->lin & ~PAGE_MASK;
	uint64_t addend = (uint64_t)(uintptr_t)host_page - page;
	unsigned set = page >> PAGE_BITS & (TLB_SETS - 1), bit;

	if (w->access & ACC_FETCH) {
		put(t, 2 * TLB_SETS + set, page, addend);
		t->t.xphys[set] = w->hpa & ~PAGE_MASK;
		bit = bloom_bit(page);
		x->bloom[bit / 64] |= 1ull << bit % 64;
	} else {
		if (w->rights & ACC_READ)
			put(t, set, page, addend);
		if (w->rights & ACC_WRITE && !no_write)
			put(t, TLB_SETS + set, page, addend);
	}
	if (w->leaf_shift > PAGE_BITS) {
		if (page < x->big_first)
			x->big_first = page;
		if (page > x->big_last)
			x->big_last = page;
		if (w->leaf_shift > x->big_shift)
			x->big_shift = w->leaf_shift;
	}
}

/* -- flushing ------------------------------------------------------------ */
void mem_flush_all(struct vcpu *c)
{
	for (unsigned i = 0; i < TLB_CONTEXTS; i++)
		if (c->tlbs->ctx[i].used)
			ctx_flush(c, &c->tlbs->ctx[i]);
	c->tlbs->gpa_gen++;
}

/* Entries of a PCID; with globals, of all PCIDs (a global entry made under
 * one is cached in its context only). In the current VPID. */
void mem_flush_pcid(struct vcpu *c, uint16_t pcid, bool globals)
{
	uint16_t vpid = c->nonroot ? vmx_tlb_vpid(c) : 0;

	for (unsigned i = 0; i < TLB_CONTEXTS; i++) {
		struct tlb_ctx *x = &c->tlbs->ctx[i];

		if (x->used && x->key.vpid == vpid &&
		    (globals || x->key.pcid == pcid))
			ctx_flush(c, x);
	}
}

void mem_flush_vpid(struct vcpu *c, uint16_t vpid, bool keep_globals)
{
	(void)keep_globals; /* dropping them too is always allowed */
	for (unsigned i = 0; i < TLB_CONTEXTS; i++) {
		struct tlb_ctx *x = &c->tlbs->ctx[i];

		if (x->used && x->key.vpid == vpid)
			ctx_flush(c, x);
	}
}

void mem_flush_eptp(struct vcpu *c, uint64_t eptp)
{
	for (unsigned i = 0; i < TLB_CONTEXTS; i++) {
		struct tlb_ctx *x = &c->tlbs->ctx[i];

		/* Hardware tags with bits 51:12 (SDM 29.4.2). */
		if (x->used && x->key.eptp &&
		    (!eptp || !((x->key.eptp ^ eptp) & 0xffffffffff000ull)))
			ctx_flush(c, x);
	}
	c->tlbs->gpa_gen++;
}

uint32_t mem_gpa_generation(const struct vcpu *c)
{
	return c->tlbs->gpa_gen;
}

static void ctx_flush_page(struct vcpu *c, struct tlb_ctx *x, uint64_t lin)
{
	uint64_t page = lin & ~PAGE_MASK, region;
	unsigned bit = bloom_bit(page);
	bool big;

	region = x->big_shift ? page >> x->big_shift << x->big_shift : page;
	big = x->big_shift && x->big_first <= x->big_last &&
	      region <= x->big_last &&
	      (page | ((1ull << x->big_shift) - 1)) >= x->big_first;
	for (unsigned k = 0; k < CLS_COUNT; k++) {
		if (!x->cls[k])
			continue;
		if (big)
			drop_region(x->cls[k], page, x->big_shift);
		else
			drop_page(x->cls[k], page);
	}
	/* INVLPG drops all paging-structure caches of the PCID (SDM 4.10.4). */
	pde_clear(x);
	if (big || x->bloom[bit / 64] >> bit % 64 & 1)
		new_gens(c, x);
}

void mem_flush_addr(struct vcpu *c, uint16_t vpid, uint64_t lin)
{
	for (unsigned i = 0; i < TLB_CONTEXTS; i++) {
		struct tlb_ctx *x = &c->tlbs->ctx[i];

		if (x->used && x->key.vpid == vpid)
			ctx_flush_page(c, x, lin);
	}
}

/* Of every PCID, for the page may have been global. */
void mem_flush_page(struct vcpu *c, uint64_t lin)
{
	mem_flush_addr(c, c->nonroot ? vmx_tlb_vpid(c) : 0, lin);
}

/* A fault drops what is cached for its address (SDM 4.10.4.1, 29.4.3.1): the
 * software that handles it need not. */
void tlb_forget(struct vcpu *c, uint64_t lin)
{
	struct tlb_ctx *x = c->tlbs->cur;

	for (unsigned k = 0; k < CLS_COUNT; k++)
		if (x->cls[k])
			drop_page(x->cls[k], lin & ~PAGE_MASK);
	x->pde[lin >> 21 & (PDE_SLOTS - 1)].tag = ~0ull;
}

/* Write entries that lead to the host page. */
static void drop_host_page(struct tlb_full *t, const uint8_t *host)
{
	for (unsigned i = t->nfilled; i-- > 0;) {
		unsigned slot = t->filled[i];
		struct tlbe *e;

		if (slot < TLB_SETS || slot >= 2 * TLB_SETS)
			continue;
		e = slot_at(&t->t, slot);
		if (e->tag + e->addend == (uint64_t)(uintptr_t)host) {
			e->tag = TLB_EMPTY;
			t->filled[i] = t->filled[--t->nfilled];
		}
	}
}

void mem_flush_phys_code(struct vm *vm, uint64_t gpa)
{
	const uint8_t *host = phys_ptr(vm, gpa & ~PAGE_MASK, PAGE_MASK + 1);

	if (!host)
		return;
	for (unsigned v = 0; v < vm->nvcpus; v++) {
		struct tlb_pool *p = vm->vcpus[v]->tlbs;

		for (unsigned i = 0; i < TLB_CONTEXTS; i++)
			for (unsigned k = 0; k < CLS_COUNT; k++)
				if (p->ctx[i].cls[k])
					drop_host_page(p->ctx[i].cls[k], host);
	}
}
