/* exit.c: VM exits: what they record, the guest state they save, the host state
 * they load (SDM volume 3, chapter 28). */
#include "hvcore/vmx/vmx.h"

/* -- saving the guest -------------------------------------------------------------- */
/* No entry check looks at these bits of a field. */
static uint64_t unchecked_bits(unsigned idx)
{
	return idx == VMCS_IDX_GUEST_RFLAGS ? FLAGS_ARITH : 0;
}

/* The entry checks that rest on the field follow if it changes. */
static inline __attribute__((always_inline))
void put(struct vmx *v, uint8_t *page, unsigned idx, unsigned bytes,
	 uint64_t value)
{
	uint8_t *p = page + v->l->offset[idx];
	uint64_t old = 0;

	memcpy(&old, p, bytes);
	if (bytes < 8)
		value &= (1ull << 8 * (bytes & 7)) - 1;
	if (old == value)
		return;
	memcpy(p, &value, bytes);
	if ((old ^ value) & ~unchecked_bits(idx))
		vmx_field_changed(v, idx);
}
#define PUT(NAME, value) \
	put(v, page, VMCS_IDX_##NAME, VFIELD_BYTES(NAME), value)

static void save_segments(struct vcpu *c, uint8_t *page)
{
	struct vmx *v = c->vmx;

	for (unsigned s = SEG_ES; s <= SEG_TR; s++) {
		const struct segment *g = &c->seg[s];

		put(v, page, VMCS_IDX_GUEST_ES_SELECTOR + s, 2, g->selector);
		put(v, page, VMCS_IDX_GUEST_ES_LIMIT + s, 4, g->limit);
		put(v, page, VMCS_IDX_GUEST_ES_AR_BYTES + s, 4, g->attr);
		put(v, page, VMCS_IDX_GUEST_ES_BASE + s, 8, g->base);
	}
}

static void save_controlled(struct vcpu *c, uint8_t *page)
{
	struct vmx *v = c->vmx;
	uint32_t exit = v->ctl.exit;

	if (exit & EXIT_SAVE_DEBUG) {
		PUT(GUEST_DR7, c->dr[7]);
		PUT(GUEST_IA32_DEBUGCTL, c->msr.debugctl);
	}
	if (exit & EXIT_SAVE_PAT)
		PUT(GUEST_IA32_PAT, c->msr.pat);
	if (exit & EXIT_SAVE_EFER)
		PUT(GUEST_IA32_EFER, c->efer);
	/* Saved where the processor has the controls, on or off (28.3.1). */
	if (vmx_cap(&v->caps, 0x484) >> 32 & ENTRY_LOAD_BNDCFGS)
		PUT(GUEST_BNDCFGS, c->msr.bndcfgs);
	if (vmx_cap(&v->caps, 0x484) >> 32 & ENTRY_LOAD_CET) {
		PUT(GUEST_S_CET, c->msr.s_cet);
		PUT(GUEST_SSP, c->msr.ssp);
		PUT(GUEST_INTR_SSP_TABLE, c->msr.ssp_tbl);
	}
	if (exit & EXIT_SAVE_PTIMER && v->ctl.pin & PIN_PTIMER)
		PUT(VMX_PREEMPTION_TIMER_VALUE, vmx_ptimer_value(c));
	if (v->ctl.sec & SEC_UNRESTRICTED) {
		uint32_t entry = v->ctl.entry & ~ENTRY_IA32E;
		PUT(VM_ENTRY_CONTROLS, entry |
		    (c->efer & EFER_LMA ? ENTRY_IA32E : 0));
	}
	if (v->ctl.ept && c->cr0 & CR0_PG && c->cr4 & CR4_PAE &&
	    !(c->efer & EFER_LMA)) {
		PUT(GUEST_PDPTR0, c->pdptr[0]);
		PUT(GUEST_PDPTR1, c->pdptr[1]);
		PUT(GUEST_PDPTR2, c->pdptr[2]);
		PUT(GUEST_PDPTR3, c->pdptr[3]);
	}
}

static uint32_t interruptibility(const struct vcpu *c)
{
	return c->blocking & (BLOCK_STI | BLOCK_MOVSS | BLOCK_SMI | BLOCK_NMI);
}

void vmx_save_guest(struct vcpu *c, uint8_t *page)
{
	struct vmx *v = c->vmx;

	PUT(GUEST_CR0, c->cr0);
	PUT(GUEST_CR3, c->cr3);
	PUT(GUEST_CR4, c->cr4);
	PUT(GUEST_RSP, c->r[R_RSP]);
	PUT(GUEST_RIP, c->r[R_RIP]);
	PUT(GUEST_RFLAGS, cpu_rflags(c));
	PUT(GUEST_SYSENTER_CS, c->msr.sysenter_cs);
	PUT(GUEST_SYSENTER_ESP, c->msr.sysenter_esp);
	PUT(GUEST_SYSENTER_EIP, c->msr.sysenter_eip);
	PUT(GUEST_GDTR_BASE, c->gdtr.base);
	PUT(GUEST_GDTR_LIMIT, c->gdtr.limit);
	PUT(GUEST_IDTR_BASE, c->idtr.base);
	PUT(GUEST_IDTR_LIMIT, c->idtr.limit);
	PUT(GUEST_ACTIVITY_STATE, c->activity);
	PUT(GUEST_INTERRUPTIBILITY_INFO, interruptibility(c));
	PUT(GUEST_PENDING_DBG_EXCEPTIONS, c->dr6_pending);
	save_segments(c, page);
	save_controlled(c, page);
}
#undef PUT

/* -- loading the host ----------------------------------------------------------------- */
static void host_segment(struct vcpu *c, int s, uint16_t selector,
			 uint64_t base, uint32_t limit, uint32_t attr)
{
	c->seg[s] = (struct segment){ .selector = selector, .base = base,
				      .limit = limit, .attr = attr };
	if (s < SEG_LDTR)
		c->segbase[s] = base;
}

static void host_segments(struct vcpu *c)
{
	struct vmx *v = c->vmx;
	bool host64 = v->ctl.exit & EXIT_HOST64;
	const uint16_t sel[6] = {
		(uint16_t)VGET(v, HOST_ES_SELECTOR),
		(uint16_t)VGET(v, HOST_CS_SELECTOR),
		(uint16_t)VGET(v, HOST_SS_SELECTOR),
		(uint16_t)VGET(v, HOST_DS_SELECTOR),
		(uint16_t)VGET(v, HOST_FS_SELECTOR),
		(uint16_t)VGET(v, HOST_GS_SELECTOR) };

	for (int s = SEG_ES; s <= SEG_GS; s++) {
		uint64_t base = s == SEG_FS ? VGET(v, HOST_FS_BASE) :
			s == SEG_GS ? VGET(v, HOST_GS_BASE) : 0;
		uint32_t attr = s == SEG_CS ?
			(host64 ? 0xa09b : 0xc09b) : 0xc093;

		if (s != SEG_CS && !(sel[s] & ~3))
			attr |= AR_UNUSABLE;
		host_segment(c, s, sel[s], base, 0xffffffff, attr);
	}
	host_segment(c, SEG_LDTR, 0, 0, 0, AR_UNUSABLE);
	host_segment(c, SEG_TR, (uint16_t)VGET(v, HOST_TR_SELECTOR),
		     VGET(v, HOST_TR_BASE), 0x67, 0x8b);
	c->gdtr = (struct dtable){ VGET(v, HOST_GDTR_BASE), 0xffff };
	c->idtr = (struct dtable){ VGET(v, HOST_IDTR_BASE), 0xffff };
}

static void host_msrs(struct vcpu *c)
{
	struct vmx *v = c->vmx;
	uint32_t exit = v->ctl.exit;

	c->msr.sysenter_cs = VGET(v, HOST_IA32_SYSENTER_CS);
	c->msr.sysenter_esp = VGET(v, HOST_IA32_SYSENTER_ESP);
	c->msr.sysenter_eip = VGET(v, HOST_IA32_SYSENTER_EIP);
	c->msr.debugctl = 0;
	c->dr[7] = DR7_INIT;
	if (exit & EXIT_LOAD_EFER)
		c->efer = VGET(v, HOST_IA32_EFER);
	else if (exit & EXIT_HOST64)
		c->efer |= EFER_LMA | EFER_LME;
	else
		c->efer &= ~(EFER_LMA | EFER_LME);
	if (exit & EXIT_LOAD_PAT)
		c->msr.pat = VGET(v, HOST_IA32_PAT);
	if (exit & EXIT_LOAD_PERF)
		c->msr.perf_global_ctrl = VGET(v, HOST_IA32_PERF_GLOBAL_CTRL);
	if (exit & EXIT_CLEAR_BNDCFGS)
		c->msr.bndcfgs = 0;
	if (exit & EXIT_LOAD_CET) {
		c->msr.s_cet = VGET(v, HOST_S_CET);
		c->msr.ssp = VGET(v, HOST_SSP);
		c->msr.ssp_tbl = VGET(v, HOST_INTR_SSP_TABLE);
	}
}

static void load_host(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	/* From IA-32e mode a 32-bit host is out of reach (28.5). */
	if (c->efer & EFER_LMA && !(v->ctl.exit & EXIT_HOST64))
		vmx_abort(c, 6);
	c->cr0 = (VGET(v, HOST_CR0) & ~CR0_KEPT) | (c->cr0 & CR0_KEPT) | CR0_ET;
	c->cr3 = VGET(v, HOST_CR3);
	c->cr4 = VGET(v, HOST_CR4);
	if (!(v->ctl.exit & EXIT_HOST64))
		c->cr4 &= ~CR4_PCIDE;
	else
		c->cr4 |= CR4_PAE;
	host_msrs(c);
	host_segments(c);
	c->cpl = 0;
	c->r[R_RIP] = VGET(v, HOST_RIP);
	c->r[R_RSP] = VGET(v, HOST_RSP);
	c->cur = NULL;
	cpu_set_rflags(c, 2);
	c->activity = ACT_ACTIVE;
	c->blocking &= BLOCK_NMI | BLOCK_SMI;
	if (v->ctl.pin & PIN_VNMI)
		c->blocking = (uint8_t)((c->blocking & ~BLOCK_NMI) |
			(v->host_nmi_blocked ? BLOCK_NMI : 0));
	c->dr6_pending = 0;
	c->event.valid = false;
	c->nonroot = false;
	v->mtf_armed = v->mtf_pending = v->run_pending = false;
	c->pending_events &= ~(uint32_t)(PEND_MTF | PEND_WINDOW | PEND_PTIMER |
					 PEND_TRAP | PEND_VAPIC |
					 PEND_INJECT);
	vmx_switched(c);
	/* PAE paging: the PDPTEs come from memory again (28.5.4). */
	if (c->cr0 & CR0_PG && c->cr4 & CR4_PAE && !(c->efer & EFER_LMA) &&
	    !pdptrs_load(c, c->cr3))
		vmx_abort(c, 2);
}

void vmx_abort(struct vcpu *c, uint32_t indicator)
{
	struct vmx *v = c->vmx;

	if (v->current != VMX_NONE)
		phys_write32(c, v->current + VMCS12_OFF_ABORT, indicator);
	cpu_stop(c, HV_STOP_SHUTDOWN, "VMX abort, indicator %u", indicator);
}

/* -- recording ------------------------------------------------------------------------- */
/* The event that was being delivered, as IDT-vectoring information (28.2.4). */
static void record_vectoring(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	if (!c->event.valid) {
		VSET(v, IDT_VECTORING_INFO_FIELD, 0);
		return;
	}
	VSET(v, IDT_VECTORING_INFO_FIELD, 0x80000000u | c->event.vector |
	     (uint32_t)c->event.type << 8 |
	     (c->event.has_error ? 0x800u : 0));
	if (c->event.has_error)
		VSET(v, IDT_VECTORING_ERROR_CODE, c->event.error);
	if (c->event.type == EV_SOFT_INT || c->event.type == EV_PRIV_SOFT ||
	    c->event.type == EV_SOFT_EXC)
		VSET(v, VM_EXIT_INSTRUCTION_LEN, c->event.insn_len);
	/* An NMI whose delivery failed has not begun to block. */
	if (c->event.type == EV_NMI)
		c->blocking &= (uint8_t)~BLOCK_NMI;
	c->event.valid = false;
}

static void record(struct vcpu *c, uint32_t reason, uint64_t qual)
{
	struct vmx *v = c->vmx;
	uint32_t launched = 1, info;

	VSET(v, VM_EXIT_REASON, reason);
	VSET(v, EXIT_QUALIFICATION, qual);
	if (reason != XR_EXCEPTION && reason != XR_EXTINT)
		VSET(v, VM_EXIT_INTR_INFO, 0);
	record_vectoring(c);
	info = (uint32_t)VGET(v, VM_ENTRY_INTR_INFO_FIELD);
	if (info >> 31)
		VSET(v, VM_ENTRY_INTR_INFO_FIELD, info & 0x7fffffff);
	memcpy(v->page + VMCS12_OFF_LAUNCH, &launched, 4);
}

static bool msr_areas(struct vcpu *c, bool store)
{
	struct vmx *v = c->vmx;

	if (store && !vmx_store_msrs(c, VGET(v, VM_EXIT_MSR_STORE_ADDR),
				     (uint32_t)VGET(v, VM_EXIT_MSR_STORE_COUNT)))
		vmx_abort(c, 1);
	return true;
}

static void load_exit_msrs(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	if (vmx_load_msrs(c, VGET(v, VM_EXIT_MSR_LOAD_ADDR),
			  (uint32_t)VGET(v, VM_EXIT_MSR_LOAD_COUNT)))
		vmx_abort(c, 4);
}

void vmx_exit_now(struct vcpu *c, uint32_t reason, uint64_t qual)
{
	struct vmx *v = c->vmx;

	cpu_sync(c, false);
	if (vmx_builtin_l1(c, reason, qual))
		cpu_resume(c);
	record(c, reason, qual);
	vmx_save_guest(c, v->page);
	msr_areas(c, true);
	vmx_shadow_flush(c);
	if (!(v->ctl.sec & SEC_VPID))
		mem_transition(c);
	load_host(c);
	load_exit_msrs(c);
	run_vmexit(c, reason, qual);
}

void vmx_exit(struct vcpu *c, uint32_t reason, uint64_t qual)
{
	vmx_exit_now(c, reason, qual);
	cpu_resume(c);
}

void vmx_exit_insn(struct vcpu *c, uint32_t reason, uint64_t qual)
{
	/* During the delivery of an event there is no instruction. */
	if (c->cur && !c->event.valid)
		VSET(c->vmx, VM_EXIT_INSTRUCTION_LEN, c->cur->len);
	vmx_exit(c, reason, qual);
}

void vmx_exit_memory(struct vcpu *c, uint32_t reason, uint64_t qual)
{
	if (c->cur && !c->event.valid)
		VSET(c->vmx, VM_EXIT_INSTRUCTION_LEN, c->cur->len);
	cpu_sync(c, false);
	c->rflags |= FLAG_RF;
	event_drop_data_traps(c);
	vmx_exit(c, reason, qual);
}

/* 27.8: the guest state that was half loaded is forgotten, nothing is saved. */
void vmx_entry_failed(struct vcpu *c, uint32_t reason, uint64_t qual)
{
	struct vmx *v = c->vmx;

	VSET(v, VM_EXIT_REASON, reason | XR_FAILED_ENTRY);
	VSET(v, EXIT_QUALIFICATION, qual);
	c->vm->stats.entry_failures++;
	v->host_nmi_blocked = c->blocking & BLOCK_NMI; /* nothing was loaded */
	load_host(c);
	load_exit_msrs(c);
	run_vmexit(c, reason | XR_FAILED_ENTRY, qual);
	cpu_resume(c);
}

/* -- instruction information ----------------------------------------------------------------- */
/* Tables 28-13 and 28-14 share their lower half: scaling, address size, memory
 * or register, segment, index, base; VMREAD, VMWRITE, INVEPT, INVVPID and
 * INVPCID have the register operand in 31:28. */
uint32_t vmx_insn_info(struct vcpu *c, const struct insn *i)
{
	uint32_t info = (uint32_t)i->reg << 28;
	unsigned seg = i->seg;

	(void)c;
	if (!insn_is_mem(i))
		return info | (uint32_t)i->rm << 3 | 1u << 10;
	if (seg == SEG_NONE)
		seg = i->base == R_RSP || i->base == R_RBP ? SEG_SS : SEG_DS;
	info |= i->scale | (insn_adsize(i) == 8 ? 2u : insn_adsize(i) == 4 ?
			    1u : 0) << 7 | seg << 15;
	info |= i->index == R_ZERO ? 1u << 22 : (uint32_t)i->index << 18;
	info |= i->base >= R_RIP ? 1u << 27 : (uint32_t)i->base << 23;
	return info;
}

/* The displacement; of a RIP-relative operand, with RIP added (28.2.1). */
uint64_t vmx_insn_disp(struct vcpu *c, const struct insn *i)
{
	if (!insn_is_mem(i))
		return 0;
	return (uint64_t)(int64_t)i->disp +
		(i->base == R_RIP ? c->r[R_RIP] : 0);
}
