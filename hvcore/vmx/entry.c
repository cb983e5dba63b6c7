/* entry.c: VM entries: checks, guest state, injection, what waits at once (SDM
 * volume 3, chapter 27). */
#include "hvcore/vmx/vmx.h"

enum { ERR_CONTROLS = 7, ERR_HOST = 8 };

/* -- decoded controls --------------------------------------------------------------- */
static const uint8_t *ram_page(struct vcpu *c, bool on, uint64_t gpa)
{
	return on ? phys_ptr(c->vm, gpa, PAGE_MASK + 1) : NULL;
}

static void decode_pages(struct vcpu *c)
{
	struct vmx *v = c->vmx;
	struct vmx_ctl *k = &v->ctl;

	k->msr_bitmap = ram_page(c, k->proc & PROC_MSR_BITMAP,
				 VGET(v, MSR_BITMAP));
	k->io_a = ram_page(c, k->proc & PROC_IO_BITMAP, VGET(v, IO_BITMAP_A));
	k->io_b = ram_page(c, k->proc & PROC_IO_BITMAP, VGET(v, IO_BITMAP_B));
	k->vmread_bitmap = ram_page(c, k->sec & SEC_SHADOW,
				    VGET(v, VMREAD_BITMAP));
	k->vmwrite_bitmap = ram_page(c, k->sec & SEC_SHADOW,
				     VGET(v, VMWRITE_BITMAP));
	k->vapic = k->proc & PROC_TPR_SHADOW ?
		phys_ptr(c->vm, VGET(v, VIRTUAL_APIC_PAGE_ADDR),
			 PAGE_MASK + 1) : NULL;
	k->apic_access = k->sec & SEC_APIC_ACCESS ?
		VGET(v, APIC_ACCESS_ADDR) : VMX_NONE;
}

void vmx_decode_controls(struct vcpu *c)
{
	struct vmx *v = c->vmx;
	struct vmx_ctl *k = &v->ctl;

	k->pin = (uint32_t)VGET(v, PIN_BASED_VM_EXEC_CONTROL);
	k->proc = (uint32_t)VGET(v, CPU_BASED_VM_EXEC_CONTROL);
	k->sec = k->proc & PROC_SECONDARY ?
		(uint32_t)VGET(v, SECONDARY_VM_EXEC_CONTROL) : 0;
	k->exit = (uint32_t)VGET(v, VM_EXIT_CONTROLS);
	k->entry = (uint32_t)VGET(v, VM_ENTRY_CONTROLS);
	k->exceptions = (uint32_t)VGET(v, EXCEPTION_BITMAP);
	k->pfec_mask = (uint32_t)VGET(v, PAGE_FAULT_ERROR_CODE_MASK);
	k->pfec_match = (uint32_t)VGET(v, PAGE_FAULT_ERROR_CODE_MATCH);
	k->cr0_mask = VGET(v, CR0_GUEST_HOST_MASK);
	k->cr4_mask = VGET(v, CR4_GUEST_HOST_MASK);
	k->cr0_shadow = VGET(v, CR0_READ_SHADOW);
	k->cr4_shadow = VGET(v, CR4_READ_SHADOW);
	k->ept = k->sec & SEC_EPT;
	k->eptp = k->ept ? VGET(v, EPT_POINTER) : 0;
	k->ept_ad = k->eptp >> 6 & 1;
	k->vpid = k->sec & SEC_VPID ? (uint16_t)VGET(v, VIRTUAL_PROCESSOR_ID) : 0;
	k->tsc_offset = VGET(v, TSC_OFFSET);
	k->tsc_multiplier = VGET(v, TSC_MULTIPLIER);
	decode_pages(c);
}

/* -- checks ----------------------------------------------------------------------------- */
static bool read_ram(void *arg, uint64_t gpa, void *buf, unsigned len)
{
	struct vcpu *c = arg;
	const uint8_t *p = phys_ptr(c->vm, gpa, len);

	if (!p)
		return false;
	memcpy(buf, p, len);
	return true;
}

static uint64_t efer_reserved(const struct vcpu *c)
{
	uint64_t known = EFER_SCE | EFER_LME | EFER_LMA;

	if (cpu_has(c, 0x80000001, 0, 3, 20))
		known |= EFER_NXE;
	return ~known;
}

/* A bit for each counter that CPUID tells of; the MSR comes with version 2. */
static uint64_t perf_reserved(struct vcpu *c)
{
	uint32_t r[4];
	unsigned general, fixed;

	cpuid_query(c, 0xa, 0, r);
	general = r[0] >> 8 & 0xff;
	fixed = r[3] & 0x1f;
	if ((r[0] & 0xff) < 2 || general > 32 || fixed > 16)
		return ~0ull;
	return ~(((1ull << general) - 1) | ((1ull << fixed) - 1) << 32);
}

void hv_check_context(struct vcpu *c, const uint8_t *page, uint64_t vmcs_pa,
		      struct vmx_check_ctx *x)
{
	struct vmx *v = c->vmx;

	*x = (struct vmx_check_ctx){
		.l = v->l, .page = page, .caps = &v->caps,
		.maxphyaddr = maxphyaddr(c),
		.long_mode = cpu_has(c, 0x80000001, 0, 3, 29),
		.linear_bits = cpu_has(c, 7, 0, 2, 16) ? 57 : 48,
		.cr4_reserved = cr4_reserved(c),
		.efer_reserved = efer_reserved(c),
		.perf_reserved = perf_reserved(c),
		.host_lma = c->efer & EFER_LMA,
		.has_rtm = cpu_has(c, 7, 0, 1, 11),
		.msr_counts = c->vm->l0->msr_counts,
		.read = read_ram, .arg = c, .current = vmcs_pa,
	};
}

/* What the checks look at beside the page, made anew when the model changes. */
static struct vmx_check_ctx *context(struct vcpu *c)
{
	struct recheck *r = &c->vmx->recheck;

	if (!r->context_known)
		hv_check_context(c, c->vmx->page, c->vmx->current, &r->context);
	r->context_known = true;
	r->context.current = c->vmx->current;
	r->context.host_lma = c->efer & EFER_LMA;
	return &r->context;
}

/* Checks that look at RAM are made at every entry; the others only when a field
 * that they rest on has changed since. */
static const struct vmx_check *run_checks(struct vcpu *c, unsigned groups)
{
	struct vmx *v = c->vmx;
	struct vmx_check_ctx *x = context(c);
	const struct vmx_check *bad;

	if (v->recheck.lma != x->host_lma) {
		v->recheck.lma = x->host_lma;
		vmx_recheck_group(v, CHECK_HOST);
	}
	bad = vmx_recheck(v, x, groups);
	if (!bad && groups & CHECK_GUEST)
		bad = vmx_check_memory(x);
	return bad;
}

/* -- what happens right after ------------------------------------------------------------- */
static void load_blocking(struct vcpu *c)
{
	struct vmx *v = c->vmx;
	uint32_t info = (uint32_t)VGET(v, GUEST_INTERRUPTIBILITY_INFO);

	v->host_nmi_blocked = c->blocking & BLOCK_NMI;
	c->blocking = info & (BLOCK_STI | BLOCK_MOVSS | BLOCK_SMI | BLOCK_NMI);
}

static void arm(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	if (v->ctl.proc & (PROC_INTR_WINDOW | PROC_NMI_WINDOW))
		cpu_pend(c, PEND_WINDOW);
	if (v->ctl.pin & PIN_PTIMER && !vmx_ptimer_left(c))
		cpu_pend(c, PEND_PTIMER);
	if (v->ctl.proc & PROC_TPR_SHADOW)
		vapic_entry(c);
	if (c->dr6_pending && !(c->blocking & (BLOCK_MOVSS | BLOCK_STI)))
		cpu_pend(c, PEND_TRAP);
	if (c->pending_events)
		cpu_kick(c);
}

/* 27.6: delivers through the guest's IDT; a fault in it is L2's, or an exit with
 * IDT-vectoring information. */
bool vmx_inject(struct vcpu *c)
{
	struct vmx *v = c->vmx;
	uint32_t info = (uint32_t)VGET(v, VM_ENTRY_INTR_INFO_FIELD);
	unsigned type = info >> 8 & 7;
	bool has_error = info >> 11 & 1;

	if (!(info >> 31))
		return false;

	c->vm->stats.injected++;
	c->activity = ACT_ACTIVE;
	if (type == EV_OTHER) { /* vector 0: a pending MTF VM exit */
		v->mtf_pending = true;
		cpu_pend(c, PEND_MTF);
		return true;
	}
	c->blocking &= (uint8_t)~(BLOCK_STI | BLOCK_MOVSS);
	if (type == EV_NMI)
		c->blocking |= BLOCK_NMI;
	c->event.valid = true;
	c->event.vector = info & 0xff;
	c->event.type = (uint8_t)type;
	c->event.has_error = has_error;
	c->event.error = (uint32_t)VGET(v, VM_ENTRY_EXCEPTION_ERROR_CODE);
	c->event.insn_len = (uint8_t)VGET(v, VM_ENTRY_INSTRUCTION_LEN);
	cpu_pend(c, PEND_INJECT);
	return true;
}

void vmx_start_guest(struct vcpu *c, bool from_vmcs)
{
	struct vmx *v = c->vmx;

	if (from_vmcs) {
		c->activity = (uint8_t)VGET(v, GUEST_ACTIVITY_STATE);
		c->dr6_pending = VGET(v, GUEST_PENDING_DBG_EXCEPTIONS);
		load_blocking(c);
	}
	c->nonroot = true;
	v->mtf_armed = v->ctl.proc & PROC_MTF;
	v->ple_last = 0; /* the next PAUSE is the first after the entry */
	vmx_switched(c);
	vmx_shadow_load(c);
	if (v->ctl.pin & PIN_PTIMER)
		vmx_arm_ptimer(c, VGET(v, VMX_PREEMPTION_TIMER_VALUE));
	arm(c);
}

/* -- the whole ------------------------------------------------------------------------------ */
void vmx_enter(struct vcpu *c, bool first)
{
	struct vmx *v = c->vmx;
	const struct vmx_check *bad;
	uint32_t launched = 1, failed;

	bad = run_checks(c, CHECK_CONTROLS | CHECK_HOST);
	if (bad) {
		vmx_fail_valid(c, bad->error);
		return;
	}
	/* From here on a failure is a VM exit, and RIP is past VMLAUNCH. */
	cpu_sync(c, true);
	vmx_decode_controls(c);
	bad = run_checks(c, CHECK_GUEST);
	if (bad)
		vmx_entry_failed(c, XR_ENTRY_GUEST, bad->qualification);
	if (!(v->ctl.sec & SEC_VPID))
		mem_transition(c);
	vmx_load_guest(c);
	failed = vmx_load_msrs(c, VGET(v, VM_ENTRY_MSR_LOAD_ADDR),
			       (uint32_t)VGET(v, VM_ENTRY_MSR_LOAD_COUNT));
	if (failed)
		vmx_entry_failed(c, XR_ENTRY_MSR, failed);
	if (first && !c->vm->l0->launched_at_exit)
		memcpy(v->page + VMCS12_OFF_LAUNCH, &launched, 4);
	vmx_start_guest(c, true);
	run_vmentry(c);
	vmx_inject(c);
	cpu_resume(c);
}

uint32_t hv_entry_msrs(struct vcpu *c, const uint8_t *page)
{
	struct vmx *v = c->vmx;

	if (!layout_get(v->l, page, VMCS_IDX_VM_ENTRY_MSR_LOAD_COUNT))
		return 0;
	memcpy(v->page, page, VMCS12_SIZE);
	vmx_recheck_all(v);
	vmx_decode_controls(c);
	vmx_load_guest(c);
	return vmx_load_msrs(c, VGET(v, VM_ENTRY_MSR_LOAD_ADDR),
			     (uint32_t)VGET(v, VM_ENTRY_MSR_LOAD_COUNT));
}

bool hv_cpu_has_vmx(const struct vcpu *c)
{
	return cpu_has(c, 1, 0, 2, 5);
}
