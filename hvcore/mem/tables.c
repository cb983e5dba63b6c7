/* tables.c: VM entries and exits without a VPID, which invalidate all that is
 * cached for VPID 0 (SDM 29.4.3.1): twice an exit.
 *
 * Entries that would come out alike if they were walked for again may stay.  So
 * the pages of the paging structures that a walk in VPID 0 went through are
 * marked (PAGE_TABLE) and leave every write TLB; the first write to one, by whom
 * ever, is counted in vm->table_writes and takes the mark away.  A context whose
 * walks were all marked and that has seen no such write since is left alone.  EPT
 * entries are marked too: a transition leaves guest-physical mappings alone, but we
 * keep none, so that L1 sees what it changed in them as it would by an EPT walk.
 *
 * Where tables change all the time the marks cost more than they save; then they
 * are given up for some time. */
#include "hvcore/mem/tlb.h"

enum { LOSS = 8, TOO_MANY = 64, REST = 4096 };

/* One more page that the entries of x rest on. */
static void mark_page(struct vcpu *c, struct tlb_ctx *x, uint64_t hpa)
{
	uint8_t *flags = phys_flags(c->vm, hpa);

	if (unlikely(!flags || phys_mmio(c->vm, hpa))) {
		x->proven = false;
	} else if (!(*flags & PAGE_TABLE)) {
		*flags |= PAGE_TABLE;
		mem_flush_phys_code(c->vm, hpa);
	}
}

void tables_walked(struct vcpu *c, const struct walk *w)
{
	struct tlb_ctx *x = c->tlbs->cur;

	if (likely(!x->proven))
		return;
	for (unsigned n = 0; n < w->nsteps; n++)
		mark_page(c, x, w->step[n].hpa & ~PAGE_MASK);
}

void mem_rests_on(struct vcpu *c, uint64_t hpa)
{
	struct tlb_ctx *x = c->tlbs->cur;

	if (unlikely(x->proven))
		mark_page(c, x, hpa & ~PAGE_MASK);
}

void tables_written(struct vm *vm, uint8_t *flags)
{
	*flags &= (uint8_t)~PAGE_TABLE;
	vm->table_writes++;
}

/* Is x as a flush would leave it, but for entries that would come back alike? */
static bool still_good(const struct vcpu *c, const struct tlb_ctx *x)
{
	return x->proven && x->table_writes == c->vm->table_writes;
}

static bool resting(struct tlb_pool *p)
{
	if (!p->rest)
		return false;
	p->rest--;
	return true;
}

void mem_transition(struct vcpu *c)
{
	struct tlb_pool *p = c->tlbs;
	bool rest = resting(p), lost = false;

	for (unsigned i = 0; i < TLB_CONTEXTS; i++) {
		struct tlb_ctx *x = &p->ctx[i];

		if (!x->used || x->key.vpid || still_good(c, x))
			continue;
		lost |= x->proven;
		ctx_flush(c, x);
		x->proven = !rest;
		x->table_writes = c->vm->table_writes;
	}
	if (lost)
		p->losses += LOSS;
	else if (p->losses)
		p->losses--;
	if (p->losses > TOO_MANY) {
		p->losses = 0;
		p->rest = REST;
	}
}
