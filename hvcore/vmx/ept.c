/* ept.c: second-level translation: walk, rights, accessed and dirty flags,
 * violations and misconfigurations (SDM volume 3, chapter 29.3). */
#include "hvcore/vmx/vmx.h"

#define EPT_R 1ull
#define EPT_W 2ull
#define EPT_X 4ull
#define EPT_RWX 7ull
#define EPT_LARGE 0x80ull
#define EPT_A 0x100ull
#define EPT_D 0x200ull
#define EPT_XU 0x400ull
#define EPT_SUPPRESS_VE (1ull << 63)
#define EPT_SPP (1ull << 61)
#define EPT_ADDR 0x000ffffffffff000ull

/* Exit qualification of an EPT violation (table 28-7). */
#define QUAL_LINEAR (1ull << 7)
#define QUAL_FINAL (1ull << 8)

struct ept_walk {
	uint64_t entry[5], at[5];  /* values and L1-physical addresses */
	unsigned n;                /* levels read */
	uint64_t rights;           /* AND of bits 2:0 and 10 */
	unsigned shift;            /* of the leaf */
};

/* -- what the entries may hold ---------------------------------------------------------- */
static uint64_t ept_caps(const struct vcpu *c)
{
	return vmx_cap(&c->vmx->caps, 0x48c);
}

static bool memory_type_ok(uint64_t type)
{
	return type == 0 || type == 1 || (type >= 4 && type <= 6);
}

bool vmx_eptp_valid(const struct vcpu *c, uint64_t eptp)
{
	uint64_t caps = ept_caps(c), levels = (eptp >> 3 & 7) + 1;

	if ((eptp & 7) == 0 ? !(caps >> 8 & 1) : (eptp & 7) == 6 ?
	    !(caps >> 14 & 1) : true)
		return false;
	if (levels == 4 ? !(caps >> 6 & 1) : levels == 5 ? !(caps >> 7 & 1) :
	    true)
		return false;
	if ((eptp >> 6 & 1 && !(caps >> 21 & 1)) || eptp & 0xf80)
		return false;
	return !(eptp >> maxphyaddr(c));
}

static bool present(const struct vcpu *c, uint64_t e)
{
	return e & (c->vmx->ctl.sec & SEC_MBEC ? EPT_RWX | EPT_XU : EPT_RWX);
}

/* 29.3.3.1: reserved settings of a present entry at `level` (1 the lowest). */
static bool misconfigured(const struct vcpu *c, uint64_t e, unsigned level,
			  bool leaf)
{
	uint64_t reserved = EPT_ADDR & ~((1ull << maxphyaddr(c)) - 1);
	bool mbec = c->vmx->ctl.sec & SEC_MBEC;

	if (e & EPT_W && !(e & EPT_R))
		return true;
	if (!(e & EPT_R) && (e & EPT_X || (mbec && e & EPT_XU)) &&
	    !(ept_caps(c) & 1))
		return true;
	if (leaf) {
		if (!memory_type_ok(e >> 3 & 7))
			return true;
		if (level > 1)
			reserved |= (1ull << (PAGE_BITS + 9 * (level - 1))) -
				0x1000;
	} else {
		reserved |= 0xf8; /* bit 7 too: a page size that is not had */
	}
	return e & reserved;
}

static bool may_be_large(const struct vcpu *c, unsigned level)
{
	return level == 2 ? ept_caps(c) >> 16 & 1 :
	       level == 3 ? ept_caps(c) >> 17 & 1 : false;
}

enum walk_result { WALK_OK, WALK_ABSENT, WALK_MISCONFIG };

static enum walk_result walk(struct vcpu *c, uint64_t gpa, struct ept_walk *w)
{
	uint64_t eptp = c->vmx->ctl.eptp, table = eptp & EPT_ADDR;
	unsigned level = (eptp >> 3 & 7) + 1;

	w->n = 0;
	w->rights = EPT_RWX | EPT_XU;
	if (gpa >> (PAGE_BITS + 9 * level)) {
		w->rights = 0;
		return WALK_ABSENT;
	}
	for (;; level--) {
		unsigned shift = PAGE_BITS + 9 * (level - 1);
		uint64_t at = table + (gpa >> shift & 511) * 8;
		uint64_t e = phys_read64(c, at);
		bool leaf = level == 1 || (e & EPT_LARGE &&
					   may_be_large(c, level));

		w->at[w->n] = at;
		w->entry[w->n++] = e;
		w->rights &= e;
		if (!present(c, e)) {
			w->rights = 0;
			return WALK_ABSENT;
		}
		if (misconfigured(c, e, level, leaf))
			return WALK_MISCONFIG;
		if (leaf) {
			w->shift = shift;
			return WALK_OK;
		}
		table = e & EPT_ADDR;
	}
}

/* -- exits ---------------------------------------------------------------------------------- */
static void record_addresses(struct vcpu *c, const struct ept_access *a)
{
	VSET(c->vmx, GUEST_PHYSICAL_ADDRESS, a->gpa);
	if (a->lin_valid)
		VSET(c->vmx, GUEST_LINEAR_ADDRESS, a->lin);
}

_Noreturn static void misconfiguration(struct vcpu *c,
				       const struct ept_access *a)
{
	VSET(c->vmx, GUEST_PHYSICAL_ADDRESS, a->gpa);
	vmx_exit_memory(c, XR_EPT_MISCONFIG, 0);
}

static uint64_t advanced(const struct vcpu *c, const struct ept_access *a)
{
	if (!(ept_caps(c) >> 22 & 1) || !a->lin_valid || a->walk)
		return 0;
	return (uint64_t)a->lin_user << 9 | (uint64_t)a->lin_writable << 10 |
	       (uint64_t)a->lin_nx << 11;
}

static uint64_t qualification(const struct vcpu *c, const struct ept_access *a,
			      unsigned access, const struct ept_walk *w)
{
	uint64_t q = access & (ACC_READ | ACC_WRITE | ACC_FETCH);

	q |= (w->rights & EPT_RWX) << 3;
	if (c->vmx->ctl.sec & SEC_MBEC && w->rights & EPT_XU)
		q |= 1ull << 6;
	if (a->lin_valid)
		q |= QUAL_LINEAR | (a->walk ? 0 : QUAL_FINAL);
	if (a->access & ACC_SHSTK)
		q |= 1ull << 13;
	return q | vmx_nmi_unblocked(c) | advanced(c, a);
}

/* 26.5.7: to the guest as #VE where all of its conditions hold. */
static void try_ve(struct vcpu *c, const struct ept_access *a, uint64_t qual,
		   const struct ept_walk *w)
{
	struct vmx *v = c->vmx;
	uint64_t area = VGET(v, VE_INFORMATION_ADDRESS);
	bool suppressed = w->n && w->entry[w->n - 1] & EPT_SUPPRESS_VE;
	uint16_t index = (uint16_t)VGET(v, EPTP_INDEX);

	if (!(v->ctl.sec & SEC_VE) || suppressed || c->event.valid ||
	    !(c->cr0 & CR0_PE) || phys_read32(c, area + 4))
		return;
	phys_write32(c, area, XR_EPT_VIOLATION);
	phys_write32(c, area + 4, 0xffffffff);
	phys_write64(c, area + 8, qual);
	phys_write64(c, area + 16, a->lin_valid ? a->lin : 0);
	phys_write64(c, area + 24, a->gpa);
	phys_write(c, area + 32, &index, sizeof index);
	cpu_raise(c, EXC_VE);
}

_Noreturn static void violation(struct vcpu *c, const struct ept_access *a,
				unsigned access, const struct ept_walk *w)
{
	uint64_t q = qualification(c, a, access, w);

	try_ve(c, a, q, w);
	record_addresses(c, a);
	vmx_exit_memory(c, XR_EPT_VIOLATION, q);
}

/* -- page-modification logging ------------------------------------------------------------------ */
/* 29.3.6: when a flag has to be set the index is looked at first; an entry is
 * written when a dirty flag goes from 0 to 1. */
static void pml_check(struct vcpu *c, const struct ept_access *a, bool dirty)
{
	struct vmx *v = c->vmx;

	if (!(v->ctl.sec & SEC_PML) ||
	    (!dirty && c->vm->l0->pml_dirty_only) ||
	    VGET(v, GUEST_PML_INDEX) < 512)
		return;
	c->vm->stats.pml_fulls++;
	/* KVM tells where; the SDM does not define it. */
	if (c->vm->l0->pml_dirty_only)
		VSET(v, GUEST_PHYSICAL_ADDRESS, a->gpa);
	vmx_exit_memory(c, XR_PML_FULL, vmx_nmi_unblocked(c));
}

static void pml_log(struct vcpu *c, uint64_t gpa)
{
	struct vmx *v = c->vmx;
	uint16_t index;

	if (!(v->ctl.sec & SEC_PML))
		return;
	index = (uint16_t)VGET(v, GUEST_PML_INDEX);
	phys_write64(c, VGET(v, PML_ADDRESS) + 8ull * index, gpa & ~PAGE_MASK);
	VSET(v, GUEST_PML_INDEX, (uint16_t)(index - 1));
	c->vm->stats.pml_entries++;
	if (c->vm->ops.pml)
		c->vm->ops.pml(c->vm->ops.arg, c->id, gpa & ~PAGE_MASK);
}

static void set_flags(struct vcpu *c, const struct ept_access *a, bool write,
		      struct ept_walk *w)
{
	uint64_t *leaf = &w->entry[w->n - 1];
	bool dirty = write && !(*leaf & EPT_D), accessed = false;

	for (unsigned n = 0; n < w->n; n++)
		accessed |= !(w->entry[n] & EPT_A);
	if (!dirty && !accessed)
		return;
	pml_check(c, a, dirty);
	for (unsigned n = 0; n < w->n; n++) {
		uint64_t e = w->entry[n] | EPT_A;

		if (n == w->n - 1 && write)
			e |= EPT_D;
		if (e == w->entry[n])
			continue;
		phys_write64(c, w->at[n], e);
		w->entry[n] = e;
	}
	if (dirty)
		pml_log(c, a->gpa);
}

/* -- translation ----------------------------------------------------------------------------------- */
static bool allowed(const struct vcpu *c, const struct ept_access *a,
		    unsigned access, uint64_t rights)
{
	uint64_t fetch = EPT_X;

	if (c->vmx->ctl.sec & SEC_MBEC && a->lin_user)
		fetch = EPT_XU;
	if (access & ACC_READ && !(rights & EPT_R))
		return false;
	if (access & ACC_WRITE && !(rights & EPT_W))
		return false;
	return !(access & ACC_FETCH) || rights & fetch;
}

/* Sub-page write permissions (29.3.4): a page whose leaf has W=0 and bit 61 set
 * is written by 128-byte pieces as the SPP table allows. */
static bool spp_allows(struct vcpu *c, const struct ept_access *a,
		       const struct ept_walk *w)
{
	uint64_t table, e, upper = EPT_RWX;

	for (unsigned n = 0; n + 1 < w->n; n++)
		upper &= w->entry[n];
	const uint64_t reserved = ~((1ull << maxphyaddr(c)) - 1);

	if (!(c->vmx->ctl.sec & SEC_SPP) || w->shift != PAGE_BITS ||
	    !(w->entry[w->n - 1] & EPT_SPP) || !(a->access & ACC_WRITE) ||
	    a->walk || !(upper & EPT_W) || !(w->rights & EPT_R))
		return false;
	table = VGET(c->vmx, SPP_TABLE_POINTER) & EPT_ADDR;
	for (unsigned level = 4; level; level--) {
		unsigned shift = PAGE_BITS + 9 * (level - 1);
		e = phys_read64(c, table + (a->gpa >> shift & 511) * 8);
		if (level > 1 ? !(e & 1) || e & (reserved | 0xffe) :
		    e & 0xaaaaaaaaaaaaaaaa) {
			bool miss = level > 1 && !(e & 1);

			record_addresses(c, a);
			vmx_exit_memory(c, XR_SPP, (uint64_t)miss << 11 |
					vmx_nmi_unblocked(c));
		}
		if (level == 1)
			return e >> (2 * (a->gpa >> 7 & 31)) & 1;
		table = e & EPT_ADDR;
	}
	return false;
}

static uint8_t acc_rights(uint64_t rights, uint64_t fetch)
{
	return (rights & EPT_R ? ACC_READ : 0) |
	       (rights & EPT_W ? ACC_WRITE : 0) |
	       (rights & fetch ? ACC_FETCH : 0);
}

/* -- cache of last-level tables ------------------------------------------------------------------ */
/* The entry itself is read anew each time; only the way to its table is kept,
 * as the SDM lets paging-structure caches do (29.4.2), until INVEPT. */
static void remember(struct vcpu *c, uint64_t gpa, const struct ept_walk *w)
{
	struct ept_slot *s = &c->vmx->ept[gpa >> 21 & (EPT_SLOTS - 1)];
	uint64_t table = w->at[w->n - 1] & ~PAGE_MASK;

	if (w->shift != PAGE_BITS || !phys_is_ram(c->vm, table))
		return;
	s->tag = gpa >> 21;
	s->eptp = c->vmx->ctl.eptp;
	s->gen = mem_gpa_generation(c);
	s->table = phys_ptr(c->vm, table, PAGE_MASK + 1);
	s->table_hpa = table;
	s->upper = EPT_RWX | EPT_XU;
	for (unsigned n = 0; n + 1 < w->n; n++)
		s->upper &= w->entry[n];
	s->reserved = EPT_ADDR & ~((1ull << maxphyaddr(c)) - 1);
}

bool ept_translate_plain(struct vcpu *c, const struct ept_access *a,
			 struct ept_result *out)
{
	const struct vmx_ctl *k = &c->vmx->ctl;
	const struct ept_slot *s = &c->vmx->ept[a->gpa >> 21 &
						(EPT_SLOTS - 1)];
	unsigned access = a->access & (ACC_RMW | ACC_FETCH);
	uint64_t e, rights, flags = 0;

	if (s->tag != a->gpa >> 21 || s->eptp != k->eptp ||
	    s->gen != mem_gpa_generation(c) || a->walk ||
	    a->access & ACC_SHSTK || k->sec & (SEC_MBEC | SEC_SPP))
		return false;
	memcpy(&e, s->table + (a->gpa >> PAGE_BITS & 511) * 8, sizeof e);
	rights = e & s->upper;
	if (k->ept_ad)
		flags = access & ACC_WRITE ? EPT_A | EPT_D : EPT_A;
	if (!(e & EPT_R) || e & s->reserved || (e & flags) != flags ||
	    !memory_type_ok(e >> 3 & 7))
		return false;
	out->rights = acc_rights(rights, EPT_X);
	if (access & ~(unsigned)out->rights)
		return false;
	mem_rests_on(c, s->table_hpa);
	out->hpa = (e & EPT_ADDR) | (a->gpa & PAGE_MASK);
	out->rights_ufetch = out->rights & ACC_FETCH;
	out->dirty = !k->ept_ad || e & EPT_D;
	out->page_shift = PAGE_BITS;
	out->special = vmx_is_apic_access(c, out->hpa);
	return true;
}

void ept_translate(struct vcpu *c, const struct ept_access *a,
		   struct ept_result *out)
{
	struct vmx_ctl *k = &c->vmx->ctl;
	unsigned access = a->access & (ACC_RMW | ACC_FETCH);
	uint64_t fetch = EPT_X, mask;
	struct ept_walk w;
	bool spp = false;

	if (a->access & ACC_SHSTK && !access)
		access = ACC_READ;
	/* With A/D flags, a guest paging-structure access counts as a write. */
	if (a->walk && k->ept_ad)
		access |= ACC_READ | ACC_WRITE;
	switch (walk(c, a->gpa, &w)) {
	case WALK_MISCONFIG:
		misconfiguration(c, a);
	case WALK_ABSENT:
		violation(c, a, access, &w);
	case WALK_OK:
		break;
	}
	if (!allowed(c, a, access, w.rights)) {
		spp = spp_allows(c, a, &w);
		if (!spp)
			violation(c, a, access, &w);
	}
	if (k->ept_ad)
		set_flags(c, a, access & ACC_WRITE, &w);
	mask = (1ull << w.shift) - 1;
	out->hpa = (w.entry[w.n - 1] & EPT_ADDR & ~mask) | (a->gpa & mask);
	if (k->sec & SEC_MBEC && a->lin_user)
		fetch = EPT_XU;
	if (a->walk && vmx_is_apic_access(c, out->hpa))
		vapic_physical(c);
	remember(c, a->gpa, &w);
	for (unsigned n = 0; n < w.n; n++)
		mem_rests_on(c, w.at[n]);
	out->rights = acc_rights(w.rights, fetch);
	out->rights_ufetch = (k->sec & SEC_MBEC ? w.rights & EPT_XU :
			      w.rights & EPT_X) ? ACC_FETCH : 0;
	if (spp)
		out->rights |= ACC_WRITE;
	out->dirty = !k->ept_ad || w.entry[w.n - 1] & EPT_D;
	out->page_shift = (uint8_t)w.shift;
	out->special = spp || vmx_is_apic_access(c, out->hpa);
}

bool ept_peek(struct vcpu *c, uint64_t gpa, uint64_t *hpa)
{
	struct ept_walk w;
	uint64_t mask;

	if (walk(c, gpa, &w) != WALK_OK)
		return false;
	mask = (1ull << w.shift) - 1;
	*hpa = (w.entry[w.n - 1] & EPT_ADDR & ~mask) | (gpa & mask);
	return true;
}
