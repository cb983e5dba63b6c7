/* vmx.c: a vCPU's VMX state: made, reset, freed; the current VMCS between guest
 * RAM and its copy; small questions that other parts ask. */
#include "hvcore/vmx/vmx.h"

#include <stdlib.h>

#define FEATURE_LOCK 1u

void vmx_init_vcpu(struct vcpu *c)
{
	c->vmx = aligned_alloc(64, (sizeof *c->vmx + 63) & ~63ul);
	if (!c->vmx)
		return;
	memset(c->vmx, 0, sizeof *c->vmx);
	c->vmx->l = vmx_layout();
	if (!c->vm->l0)
		c->vm->l0 = l0_default();
	vmx_reset(c);
}

void vmx_free_vcpu(struct vcpu *c)
{
	free(c->vmx);
	c->vmx = NULL;
}

void vmx_reset(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	if (!v)
		return;
	v->vmxon_pa = v->current = v->shadow_pa = VMX_NONE;
	vmx_recheck_all(v);
	v->run_pending = v->mtf_pending = v->mtf_armed = false;
	v->host_nmi_blocked = false;
	v->iret_icount = VMX_NONE;
	v->nested_size = 128;
	memset(&v->ctl, 0, sizeof v->ctl);
	v->ctl.apic_access = VMX_NONE;
	c->nonroot = false;
}

bool vmx_on(const struct vcpu *c)
{
	return c->vmx->vmxon_pa != VMX_NONE;
}

/* -- the current VMCS ---------------------------------------------------------- */
void vmx_write_back(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	if (v->current != VMX_NONE)
		phys_write(c, v->current, v->page, VMCS12_SIZE);
}

void vmx_load_page(struct vcpu *c, uint64_t pa)
{
	struct vmx *v = c->vmx;

	phys_read(c, pa, v->page, VMCS12_SIZE);
	v->current = pa;
	vmx_recheck_all(v);
}

/* Pages that hold cached VMX data are re-read when they are loaded, never while
 * they are cached: KVM does not look at them meanwhile either. */
void vmx_watch_write(struct vcpu *c, uint64_t gpa, unsigned len)
{
	(void)c, (void)gpa, (void)len;
}

/* -- questions ----------------------------------------------------------------------- */
uint64_t vmx_cr0_fixed(const struct vcpu *c, bool fixed1)
{
	return vmx_cap(&c->vmx->caps, fixed1 ? 0x487 : 0x486);
}

/* SDM 24.8: what MOV to CR0 and CR4 may load in VMX operation. */
bool vmx_cr_allowed(const struct vcpu *c, int cr, uint64_t v)
{
	const struct vmx_caps *caps = &c->vmx->caps;
	uint64_t must = vmx_cap(caps, cr ? 0x488 : 0x486);
	uint64_t may = vmx_cap(caps, cr ? 0x489 : 0x487);

	if (!vmx_on(c))
		return true;
	if (!cr && c->nonroot && c->vmx->ctl.sec & SEC_UNRESTRICTED)
		must &= ~(CR0_PE | CR0_PG);
	return (v & must) == must && !(v & ~may);
}

bool ept_enabled(const struct vcpu *c)
{
	return c->nonroot && c->vmx->ctl.ept;
}

uint64_t vmx_tlb_eptp(const struct vcpu *c)
{
	return ept_enabled(c) ? c->vmx->ctl.eptp : 0;
}

uint16_t vmx_tlb_vpid(const struct vcpu *c)
{
	return c->nonroot ? c->vmx->ctl.vpid : 0;
}

bool vmx_blocks_nmi(const struct vcpu *c)
{
	if (c->nonroot && c->vmx->ctl.pin & PIN_VNMI)
		return c->vmx->host_nmi_blocked;
	return c->blocking & BLOCK_NMI;
}

/* SDM 26.3: IRET ends virtual-NMI blocking, or blocking by NMI where NMIs do
 * not exit. */
bool vmx_iret_unblocks(struct vcpu *c)
{
	uint32_t pin = c->vmx->ctl.pin;

	if (pin & PIN_NMI && !(pin & PIN_VNMI))
		return false;
	if (c->blocking & BLOCK_NMI) {
		c->vmx->iret_icount = cpu_icount(c);
		c->vmx->iret_rip = c->r[R_RIP] + (c->cur ? c->cur->off : 0);
	}
	return true;
}

/* Neither retired nor left behind: the IRET itself is what exits. */
uint32_t vmx_nmi_unblocked(const struct vcpu *c)
{
	const struct vmx *v = c->vmx;
	uint64_t rip = c->r[R_RIP] + (c->cur ? c->cur->off : 0);

	return !c->event.valid && v->iret_icount == cpu_icount(c) &&
	       v->iret_rip == rip ? 1u << 12 : 0;
}

bool vmx_in_operation(const struct vcpu *c)
{
	return vmx_on(c);
}

bool vmx_mtf(const struct vcpu *c)
{
	return c->nonroot && c->vmx->mtf_armed;
}

/* SDM 26.6.5: offset and multiplier. */
uint64_t vmx_tsc(struct vcpu *c, uint64_t tsc)
{
	const struct vmx_ctl *k = &c->vmx->ctl;

	if (!c->nonroot || !(k->proc & PROC_TSC_OFFSET))
		return tsc;
	if (k->sec & SEC_TSC_SCALING)
		tsc = (uint64_t)((unsigned __int128)tsc * k->tsc_multiplier >>
				 48);
	return tsc + k->tsc_offset;
}

/* -- layout ------------------------------------------------------------------------- */
/* Fields that no vmcs12 has, in a part of the page that none reaches. */
static const struct { int field; uint16_t at; } beyond[] = {
	{ VMCS_IDX_EPTP_INDEX, 0xf00 },
	{ VMCS_IDX_VE_INFORMATION_ADDRESS, 0xf08 },
	{ VMCS_IDX_SPP_TABLE_POINTER, 0xf10 },
	{ VMCS_IDX_PLE_GAP, 0xf18 },
	{ VMCS_IDX_PLE_WINDOW, 0xf1c },
	/* Nothing here uses those below: SMM has no VM exits of its own. */
	{ VMCS_IDX_EXECUTIVE_VMCS_POINTER, 0xf20 },
	{ VMCS_IDX_GUEST_SMBASE, 0xf28 },
	{ VMCS_IDX_EXIT_IO_RCX, 0xf30 },
	{ VMCS_IDX_EXIT_IO_RSI, 0xf38 },
	{ VMCS_IDX_EXIT_IO_RDI, 0xf40 },
	{ VMCS_IDX_EXIT_IO_RIP, 0xf48 },
};

const struct layout *vmx_layout(void)
{
	static struct layout l;
	static int made; /* 0 no, 1 yes: every thread would write the same */

	if (!__atomic_load_n(&made, __ATOMIC_ACQUIRE)) {
		struct layout all = *layout_union();

		for (size_t n = 0; n < sizeof beyond / sizeof *beyond; n++)
			all.offset[beyond[n].field] = beyond[n].at;
		l = all;
		__atomic_store_n(&made, 1, __ATOMIC_RELEASE);
	}
	return &l;
}

/* -- capabilities -------------------------------------------------------------------- */
uint64_t vmx_msr_read(struct vcpu *c, uint32_t index, bool *gp)
{
	/* VMX itself must be offered, and the later MSRs by what they serve. */
	if (!cpu_has(c, 1, 0, 2, 5) || index < VMX_CAPS_FIRST ||
	    index >= VMX_CAPS_FIRST + VMX_CAPS_COUNT) {
		*gp = true;
		return 0;
	}
	const struct vmx_caps *caps = &c->vmx->caps;
	bool has_true = vmx_cap(caps, 0x480) >> 55 & 1;
	bool secondary = vmx_cap(caps, 0x48e) >> 63 & 1;
	uint64_t sec = vmx_cap(caps, 0x48b) >> 32;

	if ((index == 0x48b && !secondary) ||
	    (index == 0x48c && !(sec & (SEC_EPT | SEC_VPID))) ||
	    (index >= 0x48d && index <= 0x490 && !has_true) ||
	    (index == 0x491 && !(sec & SEC_VMFUNC)) ||
	    (index == 0x492 && !(vmx_cap(caps, 0x48e) >> 49 & 1)) ||
	    (index == 0x493 && !(vmx_cap(caps, 0x48f) >> 63 & 1)))
		*gp = true;
	return vmx_cap(caps, index);
}

/* Controls that a processor has only with a CPUID feature: index of the MSR of
 * allowed-1 settings, bits, and the feature. */
static const struct {
	uint16_t msr;
	uint32_t bits, leaf;
	uint8_t sub, reg, bit;
} with_cpuid[] = {
	{ 0x48b, SEC_RDRAND, 1, 0, 2, 30 },
	{ 0x48b, SEC_RDSEED, 7, 0, 1, 18 },
	{ 0x48b, SEC_INVPCID, 7, 0, 1, 10 },
	{ 0x48b, SEC_ENCLS, 7, 0, 1, 2 },
	{ 0x48b, SEC_USER_WAIT, 7, 0, 2, 5 },
	{ 0x48b, SEC_XSAVES, 0xd, 1, 0, 3 },
	{ 0x48f, EXIT_LOAD_CET, 7, 0, 2, 7 },
	{ 0x490, ENTRY_LOAD_CET, 7, 0, 2, 7 },
};

/* IA32_PERF_GLOBAL_CTRL comes with version 2 of performance monitoring. */
static bool has_perf_global(struct vcpu *c)
{
	uint32_t r[4];

	cpuid_query(c, 0xa, 0, r);
	return (r[0] & 0xff) >= 2;
}

static void offer_what_fits(struct vcpu *c, struct vmx_caps *caps)
{
	uint64_t *sec = &caps->msr[0x48b - VMX_CAPS_FIRST];

	for (size_t n = 0; n < sizeof with_cpuid / sizeof *with_cpuid; n++)
		if (!cpu_has(c, with_cpuid[n].leaf, with_cpuid[n].sub,
			     with_cpuid[n].reg, with_cpuid[n].bit))
			caps->msr[with_cpuid[n].msr - VMX_CAPS_FIRST] &=
				~((uint64_t)with_cpuid[n].bits << 32);
	if (!has_perf_global(c)) {
		caps->msr[0x48f - VMX_CAPS_FIRST] &=
			~((uint64_t)EXIT_LOAD_PERF << 32);
		caps->msr[0x490 - VMX_CAPS_FIRST] &=
			~((uint64_t)ENTRY_LOAD_PERF << 32);
	}
	if (!vmx_knows_field(c, VMCS_IDX_VE_INFORMATION_ADDRESS))
		*sec &= ~((uint64_t)SEC_VE << 32);
	if (!vmx_knows_field(c, VMCS_IDX_SPP_TABLE_POINTER))
		*sec &= ~((uint64_t)SEC_SPP << 32);
	if (!vmx_knows_field(c, VMCS_IDX_PLE_GAP))
		*sec &= ~((uint64_t)SEC_PLE << 32);
	/* They follow from the TRUE MSRs: vmx_caps_complete. */
	caps->msr[0x483 - VMX_CAPS_FIRST] = 0;
	caps->msr[0x484 - VMX_CAPS_FIRST] = 0;
}

/* The capabilities are the model's or the snapshot's MSRs; where it has none,
 * what its L0 offered.  0x489 follows from CPUID (A.8). */
void vmx_model_changed(struct vcpu *c)
{
	struct vmx_caps *caps = &c->vmx->caps;
	uint64_t value;

	memset(caps, 0, sizeof *caps);
	for (uint32_t n = 0; n < VMX_CAPS_COUNT; n++)
		if (model_msr(c, VMX_CAPS_FIRST + n, &value))
			caps->msr[n] = value;
	if (!vmx_cap(caps, 0x480)) {
		vmx_caps_model(c->vm->l0->caps, caps);
		offer_what_fits(c, caps);
	}
	caps->msr[0x489 - VMX_CAPS_FIRST] = ~cr4_reserved(c) & 0xffffffff;
	vmx_caps_complete(caps);
	vmx_recheck_all(c->vmx);
	c->vmx->slots_known = false;
	memset(c->vmx->slots, 0, sizeof c->vmx->slots);
}
