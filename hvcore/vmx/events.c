/* events.c: exceptions, interrupts, windows and timers as VM exits (SDM volume
 * 3, 26.2 and 26.4). */
#include "hvcore/vmx/vmx.h"

/* -- exceptions ------------------------------------------------------------------- */
/* A page fault's error code decides whether bit 14 of the bitmap means exit or
 * its opposite (26.2). */
static bool exception_exits(const struct vmx_ctl *k, const struct fault *f)
{
	bool bit = k->exceptions >> f->vector & 1;

	if (f->vector != EXC_PF)
		return bit;
	return (f->error & k->pfec_mask) == k->pfec_match ? bit : !bit;
}

void vmx_hook_fault(struct vcpu *c, const struct fault *f)
{
	struct vmx *v = c->vmx;
	uint64_t qual = 0;
	uint32_t info;
	bool soft = f->type == EV_SOFT_EXC || f->type == EV_PRIV_SOFT;

	/* INT n is no exception. */
	if (!c->nonroot || f->type == EV_SOFT_INT || f->vector >= 32 ||
	    !exception_exits(&v->ctl, f))
		return;
	info = 0x80000000u | f->vector | (uint32_t)f->type << 8 |
		(f->has_error ? 0x800u : 0) |
		vmx_nmi_unblocked(c);
	if (f->vector == EXC_PF)
		qual = f->cr2;
	else if (f->vector == EXC_DB)
		qual = f->dr6;
	VSET(v, VM_EXIT_INTR_INFO, info);
	if (f->has_error)
		VSET(v, VM_EXIT_INTR_ERROR_CODE, f->error);
	if (soft && !c->event.valid)
		VSET(v, VM_EXIT_INSTRUCTION_LEN, f->insn_len);
	if (f->vector == EXC_DB)
		c->dr6_pending = 0;
	vmx_exit(c, XR_EXCEPTION, qual);
}

void vmx_hook_triple_fault(struct vcpu *c)
{
	if (c->nonroot)
		vmx_exit(c, XR_TRIPLE, 0);
}

void vmx_hook_task_switch(struct vcpu *c, uint16_t selector, int why,
			  unsigned insn_len)
{
	if (!c->nonroot)
		return;
	if (!c->event.valid)
		VSET(c->vmx, VM_EXIT_INSTRUCTION_LEN, insn_len);
	vmx_exit(c, XR_TASK, selector | (uint64_t)why << 30);
}

/* An exit while an event is delivered is told so by c->event.valid, which
 * record() in exit.c looks at: nothing is left to do here. */
void vmx_idt_vectoring(struct vcpu *c)
{
	(void)c;
}

/* -- interrupts ----------------------------------------------------------------------- */
static bool external_interrupt(struct vcpu *c)
{
	struct vmx *v = c->vmx;
	int vector;

	if (!(v->ctl.pin & PIN_EXTINT))
		return false;
	if (v->ctl.exit & EXIT_ACK_INTR) {
		vector = board_intr_ack(c);
		if (vector < 0)
			return false;
		if (v->ctl.pin & PIN_POSTED &&
		    (uint64_t)vector == VGET(v, POSTED_INTR_NV)) {
			if (c->lapic)
				lapic_eoi(c->lapic);
			vapic_process_posted(c);
			return true;
		}
		VSET(v, VM_EXIT_INTR_INFO, 0x80000000u | (uint32_t)vector);
	} else {
		VSET(v, VM_EXIT_INTR_INFO, 0);
	}
	vmx_exit_now(c, XR_EXTINT, 0);
	return true;
}

static bool nmi(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	if (!(v->ctl.pin & PIN_NMI))
		return false;
	c->pending_events &= ~(uint32_t)PEND_NMI;
	VSET(v, VM_EXIT_INTR_INFO, 0x80000202u);
	vmx_exit_now(c, XR_EXCEPTION, 0);
	c->blocking |= BLOCK_NMI;
	return true;
}

bool vmx_hook_event(struct vcpu *c, uint32_t pend, uint8_t vector)
{
	if (!c->nonroot)
		return false;
	if (pend & (PEND_INTR | PEND_VAPIC))
		return (pend & PEND_INTR && external_interrupt(c)) ||
		       vapic_deliver(c);
	switch (pend) {
	case PEND_MTF:
		c->vmx->mtf_pending = false;
		c->pending_events &= ~(uint32_t)PEND_MTF;
		vmx_exit_now(c, XR_MTF, 0);
		return true;
	case PEND_NMI:
		return nmi(c);
	case PEND_INIT:
		c->pending_events &= ~(uint32_t)PEND_INIT;
		vmx_exit_now(c, XR_INIT, 0);
		return true;
	case PEND_SIPI:
		c->pending_events &= ~(uint32_t)PEND_SIPI;
		if (c->activity != ACT_WAIT_SIPI)
			return true; /* ignored elsewhere */
		vmx_exit_now(c, XR_SIPI, vector);
		return true;
	}
	return false;
}

/* -- windows, MTF, preemption timer ---------------------------------------------------- */
static bool nmi_window(const struct vcpu *c)
{
	const struct vmx *v = c->vmx;

	return v->ctl.proc & PROC_NMI_WINDOW &&
	       !(c->blocking & (BLOCK_MOVSS | BLOCK_STI | BLOCK_NMI)) &&
	       c->activity != ACT_WAIT_SIPI;
}

static bool intr_window(const struct vcpu *c)
{
	return c->vmx->ctl.proc & PROC_INTR_WINDOW && c->rflags & FLAG_IF &&
	       !(c->blocking & (BLOCK_MOVSS | BLOCK_STI)) &&
	       c->activity != ACT_SHUTDOWN && c->activity != ACT_WAIT_SIPI;
}

bool vmx_wants_window(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	if (!c->nonroot)
		return false;
	v->run_pending = false; /* a restored state has gone on */
	if (vapic_after_write(c))
		return true;
	if (v->ctl.pin & PIN_PTIMER && !vmx_ptimer_left(c)) {
		vmx_exit_now(c, XR_PTIMER, 0);
		return true;
	}
	c->pending_events &= ~(uint32_t)PEND_PTIMER;
	if (nmi_window(c)) {
		vmx_exit_now(c, XR_NMI_WINDOW, 0);
		return true;
	}
	if (intr_window(c)) {
		vmx_exit_now(c, XR_INTR_WINDOW, 0);
		return true;
	}
	return false;
}

/* After an instruction of L2 has retired under the monitor trap flag. */
void vmx_retired(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	if (!c->nonroot || !v->mtf_armed)
		return;
	if (v->quiet) {
		vmx_builtin_retired(c);
		if (!v->mtf_armed)
			return;
	}
	v->mtf_pending = true;
	cpu_pend(c, PEND_MTF);
}
