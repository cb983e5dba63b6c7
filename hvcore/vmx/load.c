/* load.c: loads the guest state of a VM entry (SDM 27.3, 27.4), MSR areas, the
 * preemption timer. */
#include "hvcore/vmx/vmx.h"

/* -- MSR areas ------------------------------------------------------------------------- */
struct msr_entry { uint32_t index, reserved; uint64_t value; };

/* MSRs that an area may not name (27.4, 28.4). */
static bool forbidden(uint32_t index, bool store)
{
	if ((index >= 0x800 && index <= 0x8ff) || index == 0x9e)
		return true;
	return !store && (index == 0xc0000100 || index == 0xc0000101 ||
			  index == 0x79 || index == 0x8b);
}

/* What comes of longer areas is undefined (A.6): this does what is recommended
 * and fails then, as KVM does where it has not refused the entry. */
static uint32_t most_entries(const struct vcpu *c)
{
	return vmx_most_msrs(&c->vmx->caps);
}

uint32_t vmx_load_msrs(struct vcpu *c, uint64_t area, uint32_t count)
{
	for (uint32_t n = 0; n < count; n++) {
		struct msr_entry m;
		bool gp = false;

		if (n >= most_entries(c))
			return n + 1;
		phys_read(c, area + 16ull * n, &m, sizeof m);
		if (m.reserved || forbidden(m.index, false))
			return n + 1;
		msr_write(c, m.index, m.value, &gp);
		if (gp)
			return n + 1;
	}
	return 0;
}

bool vmx_store_msrs(struct vcpu *c, uint64_t area, uint32_t count)
{
	for (uint32_t n = 0; n < count; n++) {
		struct msr_entry m;
		bool gp = false;

		if (n >= most_entries(c))
			return false;
		phys_read(c, area + 16ull * n, &m, sizeof m);
		if (m.reserved || forbidden(m.index, true))
			return false;
		/* The time-stamp counter is stored without offset (28.4). */
		m.value = m.index == 0x10 ? cpu_tsc(c) :
			msr_read(c, m.index, &gp);
		if (gp)
			return false;
		phys_write64(c, area + 16ull * n + 8, m.value);
	}
	return true;
}

/* -- preemption timer --------------------------------------------------------------------- */
static unsigned ptimer_shift(const struct vcpu *c)
{
	return vmx_cap(&c->vmx->caps, 0x485) & 31;
}

/* It counts down whenever the TSC's bit `shift` changes (26.5.1). */
void vmx_arm_ptimer(struct vcpu *c, uint64_t value)
{
	unsigned shift = ptimer_shift(c);

	c->vmx->ptimer_due = ((cpu_tsc(c) >> shift) + value) << shift;
}

uint32_t vmx_ptimer_value(const struct vcpu *c)
{
	unsigned shift = ptimer_shift(c);
	uint64_t now = cpu_tsc(c) >> shift, due = c->vmx->ptimer_due >> shift;

	return due > now ? (uint32_t)(due - now) : 0;
}

uint64_t vmx_ptimer_left(const struct vcpu *c)
{
	uint64_t now;

	if (!c->nonroot || !(c->vmx->ctl.pin & PIN_PTIMER) ||
	    c->activity == ACT_WAIT_SIPI)
		return VMX_NONE;
	now = cpu_tsc(c);
	return c->vmx->ptimer_due > now ? c->vmx->ptimer_due - now : 0;
}

/* -- guest state ---------------------------------------------------------------------------- */
/* The eight registers' fields stand in a row in the list of fields. */
#define IN_A_ROW(what) _Static_assert(					\
	VMCS_IDX_GUEST_TR_##what - VMCS_IDX_GUEST_ES_##what == SEG_TR, "")
IN_A_ROW(SELECTOR);
IN_A_ROW(LIMIT);
IN_A_ROW(AR_BYTES);
IN_A_ROW(BASE);

#define SEGMENT_FIELD(v, what, s, to) \
	memcpy(&(to), (v)->page + (v)->l->offset[VMCS_IDX_GUEST_ES_##what + (s)], \
	       sizeof(to))

void vmx_load_segments(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	for (unsigned s = SEG_ES; s <= SEG_TR; s++) {
		struct segment *g = &c->seg[s];

		SEGMENT_FIELD(v, SELECTOR, s, g->selector);
		SEGMENT_FIELD(v, LIMIT, s, g->limit);
		SEGMENT_FIELD(v, AR_BYTES, s, g->attr);
		SEGMENT_FIELD(v, BASE, s, g->base);
		if (s < SEG_LDTR)
			c->segbase[s] = g->base;
	}
}

static void load_controlled(struct vcpu *c)
{
	struct vmx *v = c->vmx;
	uint32_t entry = v->ctl.entry;

	if (entry & ENTRY_LOAD_DEBUG) {
		c->dr[7] = (VGET(v, GUEST_DR7) & 0xffff2fffull) | DR7_INIT;
		c->msr.debugctl = VGET(v, GUEST_IA32_DEBUGCTL);
	}
	if (entry & ENTRY_LOAD_EFER) {
		c->efer = VGET(v, GUEST_IA32_EFER);
	} else {
		c->efer &= ~EFER_LMA;
		if (entry & ENTRY_IA32E)
			c->efer |= EFER_LMA | EFER_LME;
		else if (c->cr0 & CR0_PG)
			c->efer &= ~EFER_LME;
	}
	if (entry & ENTRY_LOAD_PAT)
		c->msr.pat = VGET(v, GUEST_IA32_PAT);
	if (entry & ENTRY_LOAD_PERF)
		c->msr.perf_global_ctrl = VGET(v, GUEST_IA32_PERF_GLOBAL_CTRL);
	if (entry & ENTRY_LOAD_BNDCFGS)
		c->msr.bndcfgs = VGET(v, GUEST_BNDCFGS);
	if (entry & ENTRY_LOAD_CET) {
		c->msr.s_cet = VGET(v, GUEST_S_CET);
		c->msr.ssp = VGET(v, GUEST_SSP);
		c->msr.ssp_tbl = VGET(v, GUEST_INTR_SSP_TABLE);
	}
}

void vmx_load_guest(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	c->cr0 = (VGET(v, GUEST_CR0) & ~CR0_KEPT) | (c->cr0 & CR0_KEPT) | CR0_ET;
	c->cr3 = VGET(v, GUEST_CR3);
	c->cr4 = VGET(v, GUEST_CR4);
	load_controlled(c);
	c->msr.sysenter_cs = VGET(v, GUEST_SYSENTER_CS);
	c->msr.sysenter_esp = VGET(v, GUEST_SYSENTER_ESP);
	c->msr.sysenter_eip = VGET(v, GUEST_SYSENTER_EIP);
	vmx_load_segments(c);
	c->gdtr = (struct dtable){ VGET(v, GUEST_GDTR_BASE),
				   (uint16_t)VGET(v, GUEST_GDTR_LIMIT) };
	c->idtr = (struct dtable){ VGET(v, GUEST_IDTR_BASE),
				   (uint16_t)VGET(v, GUEST_IDTR_LIMIT) };
	c->cpl = (uint8_t)AR_DPL(c->seg[SEG_SS].attr);
	c->r[R_RSP] = VGET(v, GUEST_RSP);
	c->r[R_RIP] = VGET(v, GUEST_RIP);
	cpu_set_rflags(c, VGET(v, GUEST_RFLAGS));
	if (!(c->cr4 & CR4_PAE) || !(c->cr0 & CR0_PG) || c->efer & EFER_LMA)
		return;
	if (!v->ctl.ept) { /* the entry checks have passed them */
		pdptrs_load(c, c->cr3);
	} else {
		c->pdptr[0] = VGET(v, GUEST_PDPTR0);
		c->pdptr[1] = VGET(v, GUEST_PDPTR1);
		c->pdptr[2] = VGET(v, GUEST_PDPTR2);
		c->pdptr[3] = VGET(v, GUEST_PDPTR3);
	}
}

void vmx_switched(struct vcpu *c)
{
	cpu_update_mode(c);
	mem_switch_context(c);
}
