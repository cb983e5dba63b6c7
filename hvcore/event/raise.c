/* raise.c: from a fault to its delivery: who gets it (a VM exit, #DF, shutdown,
 * the IDT), and which pending event comes first.
 *
 * Owns c->fault and the state machine of c->event: valid while an event is
 * being delivered (or, with PEND_INJECT, waits to be).
 */
#include "hvcore/event/event.h"

#define MOST_FAULTS 100000u

static _Noreturn void raise_fault(struct vcpu *c, const struct fault *f)
{
	c->fault = *f;
	if (!c->unwind)
		cpu_resume(c); /* says what is wrong */
	longjmp(*c->unwind, UNWIND_FAULT);
}

void cpu_raise(struct vcpu *c, unsigned vector)
{
	raise_fault(c, &(struct fault){ .vector = (uint8_t)vector,
					.type = EV_HARD_EXC });
}

void cpu_raise_error(struct vcpu *c, unsigned vector, uint32_t error)
{
	raise_fault(c, &(struct fault){ .vector = (uint8_t)vector,
					.type = EV_HARD_EXC, .has_error = true,
					.error = error });
}

void cpu_raise_pf(struct vcpu *c, uint64_t lin, uint32_t error)
{
	raise_fault(c, &(struct fault){ .vector = EXC_PF, .type = EV_HARD_EXC,
					.has_error = true, .error = error,
					.cr2 = lin });
}

void cpu_raise_db(struct vcpu *c, uint64_t dr6)
{
	raise_fault(c, &(struct fault){ .vector = EXC_DB, .type = EV_HARD_EXC,
					.dr6 = dr6 });
}

void cpu_raise_soft(struct vcpu *c, unsigned vector, enum event_type type,
		    unsigned insn_len)
{
	raise_fault(c, &(struct fault){ .vector = (uint8_t)vector,
					.type = (uint8_t)type,
					.insn_len = (uint8_t)insn_len });
}

uint32_t event_ext(const struct vcpu *c)
{
	if (!c->event.valid)
		return 0;
	return c->event.type != EV_SOFT_INT && c->event.type != EV_SOFT_EXC;
}

/* -- double faults ------------------------------------------------------- */
enum fault_class { BENIGN, CONTRIBUTORY, PAGE_FAULT, DOUBLE };

static enum fault_class class_of(unsigned vector, unsigned type)
{
	if (type != EV_HARD_EXC)
		return BENIGN;
	switch (vector) {
	case EXC_DE: case EXC_TS: case EXC_NP: case EXC_SS: case EXC_GP:
	case EXC_CP:
		return CONTRIBUTORY;
	case EXC_PF: case EXC_VE:
		return PAGE_FAULT;
	case EXC_DF:
		return DOUBLE;
	}
	return BENIGN;
}

static _Noreturn void triple_fault(struct vcpu *c)
{
	c->event.valid = false;
	if (c->nonroot)
		vmx_hook_triple_fault(c);
	c->activity = ACT_SHUTDOWN;
	cpu_stop(c, HV_STOP_SHUTDOWN, "triple fault at %#llx",
		 (unsigned long long)hv_linear_rip(c));
}

/* SDM table 6-5: f came while c->event was being delivered. */
static void combine(struct vcpu *c, struct fault *f)
{
	enum fault_class first = class_of(c->event.vector, c->event.type);
	enum fault_class second = class_of(f->vector, f->type);

	if (second == BENIGN || first == BENIGN)
		return;
	if (first == DOUBLE)
		triple_fault(c);
	if (first == CONTRIBUTORY && second == PAGE_FAULT)
		return;
	*f = (struct fault){ .vector = EXC_DF, .type = EV_HARD_EXC,
			     .has_error = true };
	/* An exit that #DF causes is not one during delivery (SDM 28.2.4). */
	c->event.valid = false;
	if (c->nonroot)
		vmx_hook_fault(c, f);
}

/* What an exception writes before it goes through the IDT. */
static void exception_state(struct vcpu *c, const struct fault *f)
{
	if (f->vector == EXC_PF && f->type == EV_HARD_EXC)
		c->cr2 = f->cr2;
	if (f->vector != EXC_DB || f->type == EV_SOFT_INT)
		return;
	/* B0..B3 are replaced, the others accumulate (17.2.3).  INT1 sets no
	 * bit. */
	if (f->type == EV_HARD_EXC)
		c->dr[6] = (c->dr[6] & ~15ull) | (f->dr6 & 0xe00f);
	/* A trap that MOV SS held back is reported with it. */
	if (c->dr6_pending) {
		c->dr[6] |= c->dr6_pending & 0xe00f;
		c->dr6_pending = 0;
		c->pending_events &= ~PEND_TRAP;
	}
	c->msr.debugctl &= ~3ull;
	if (c->dr[7] & DR7_GD) {
		c->dr[7] &= ~DR7_GD;
		cpu_update_mode(c);
	}
}

/* A handler whose first instruction faults, into a handler that does: a processor
 * would do nothing else for ever.  Time here is counted in instructions, so that
 * neither a limit nor a timer would end it. */
static void check_progress(struct vcpu *c, const struct fault *f)
{
	if (c->faulted_at != cpu_icount(c)) {
		c->faulted_at = cpu_icount(c);
		c->faults = 0;
	} else if (++c->faults > MOST_FAULTS) {
		c->faults = 0;
		cpu_stop(c, HV_STOP_UNSUPPORTED, "exception %u at %#llx, and nothing "
			 "but exceptions before it: no handler gets further than its "
			 "first instruction", f->vector,
			 (unsigned long long)c->r[R_RIP]);
	}
}

void event_drop_data_traps(struct vcpu *c)
{
	if (c->blocking & BLOCK_MOVSS || !c->dr6_pending)
		return;
	c->dr6_pending = 0;
	c->pending_events &= ~PEND_TRAP;
}

void event_deliver_fault(struct vcpu *c)
{
	struct fault f = c->fault;

	check_progress(c, &f);
	if (f.type == EV_HARD_EXC && f.vector != EXC_DB)
		event_drop_data_traps(c);
	if (c->nonroot)
		vmx_hook_fault(c, &f);
	if (c->event.valid)
		combine(c, &f);
	exception_state(c, &f);
	event_inject(c, f.vector, (enum event_type)f.type, f.has_error,
		     f.error, f.insn_len);
}

/* -- what is pending ----------------------------------------------------- */
static bool shadowed(const struct vcpu *c)
{
	return c->blocking & (BLOCK_STI | BLOCK_MOVSS);
}

static bool poll_init(struct vcpu *c)
{
	if (!(c->pending_events & PEND_INIT))
		return false;
	if (c->nonroot)
		return vmx_hook_event(c, PEND_INIT, 0);
	if (vmx_in_operation(c))
		return false; /* blocked in VMX root operation */
	c->pending_events &= ~PEND_INIT;
	cpu_reset(c, true);
	if (c->id == 0)
		c->activity = ACT_ACTIVE;
	return true;
}

static bool poll_sipi(struct vcpu *c)
{
	if (!(c->pending_events & PEND_SIPI))
		return false;
	if (c->activity != ACT_WAIT_SIPI) {
		c->pending_events &= ~PEND_SIPI; /* ignored elsewhere */
		return false;
	}
	if (c->nonroot)
		return vmx_hook_event(c, PEND_SIPI, lapic_sipi_vector(c->lapic));
	c->pending_events &= ~PEND_SIPI;
	cpu_sipi(c, lapic_sipi_vector(c->lapic));
	return true;
}

static bool poll_trap(struct vcpu *c)
{
	uint64_t dr6 = c->dr6_pending;

	if (!(c->pending_events & PEND_TRAP) || c->blocking & BLOCK_MOVSS)
		return false;
	c->pending_events &= ~PEND_TRAP;
	c->dr6_pending = 0;
	if (!(dr6 & 0xd000))
		return false;
	/* Breakpoints that DR7 does not enable show only beside others. */
	c->fault = (struct fault){ .vector = EXC_DB, .type = EV_HARD_EXC,
				   .dr6 = dr6 & 0xc00f };
	c->activity = ACT_ACTIVE;
	event_deliver_fault(c);
	return true;
}

static bool poll_nmi(struct vcpu *c)
{
	bool blocked;

	if (!(c->pending_events & PEND_NMI))
		return false;
	blocked = c->nonroot ? vmx_blocks_nmi(c) : c->blocking & BLOCK_NMI;
	if (blocked || shadowed(c))
		return false;
	if (c->nonroot && vmx_hook_event(c, PEND_NMI, EXC_NMI))
		return true;
	c->pending_events &= ~PEND_NMI;
	c->blocking |= BLOCK_NMI;
	c->activity = ACT_ACTIVE;
	event_inject(c, EXC_NMI, EV_NMI, false, 0, 0);
	return true;
}

static bool poll_intr(struct vcpu *c)
{
	int vector;

	if (c->nonroot && c->pending_events & (PEND_INTR | PEND_VAPIC) &&
	    vmx_hook_event(c, c->pending_events & (PEND_INTR | PEND_VAPIC),
			   0xff))
		return true;
	if (!(c->pending_events & PEND_INTR) || !(c->rflags & FLAG_IF) ||
	    shadowed(c))
		return false;
	vector = board_intr_ack(c);
	if (vector < 0)
		return false;
	c->activity = ACT_ACTIVE;
	event_inject(c, (unsigned)vector, EV_EXTINT, false, 0, 0);
	return true;
}

static bool poll_injected(struct vcpu *c)
{
	if (!(c->pending_events & PEND_INJECT))
		return false;
	c->pending_events &= ~PEND_INJECT;
	if (!c->event.valid)
		return false;
	event_inject(c, c->event.vector, (enum event_type)c->event.type,
		     c->event.has_error, c->event.error, c->event.insn_len);
	if (c->nonroot && vmx_mtf(c))
		vmx_retired(c);
	return true;
}

/* SDM table 7-1's order (26.5.2 and 26.2 for what VMX adds). */
bool event_poll(struct vcpu *c)
{
	if (poll_injected(c))
		return true;
	if (c->pending_events & PEND_SMI)
		cpu_stop(c, HV_STOP_UNSUPPORTED,
			 "SMI: system-management mode is not supported");
	if (poll_init(c) || poll_sipi(c))
		return true;
	if (c->activity == ACT_WAIT_SIPI || c->activity == ACT_SHUTDOWN) {
		/* An NMI ends shutdown. */
		return c->activity == ACT_SHUTDOWN && poll_nmi(c);
	}
	if (c->nonroot && c->pending_events & PEND_MTF &&
	    vmx_hook_event(c, PEND_MTF, 0))
		return true;
	if (poll_trap(c))
		return true;
	if (c->nonroot && vmx_wants_window(c))
		return true;
	return poll_nmi(c) || poll_intr(c);
}
