/* run.c: the run loop: events between blocks, single steps, faults. */
#include "hvcore/exec/dispatch.h"
#include "hvcore/exec/families.h"
#include "hvcore/exec/run.h"

#define DR6_BS (1u << 14)

/* -- into the handlers ------------------------------------------------------------ */
#ifdef HV_TRAMPOLINE
static void run_block(struct vcpu *c, const struct block *b)
{
	const struct insn *i = b->insns;

	while (i)
		i = i->fn(c, i);
}
#else
static void run_block(struct vcpu *c, const struct block *b)
{
	b->insns->fn(c, b->insns);
}
#endif

/* Indirect-branch tracking: only ENDBR may follow what was tracked. */
void exec_check_endbr(struct vcpu *c, const struct block *b)
{
	const struct insn *i = b->insns;
	const struct insn_row *r = insn_row(i);
	unsigned want = c->mode & MODE_CS64 ? 0xfa : 0xfb;

	if (!cet_waiting(c))
		return;
	if (r && r->family == &fam_endbr && (r->ext & 0xff) == want)
		return;
	c->cur = i;
	cet_missing_endbr(c);
	c->cur = NULL;
}

/* left instructions may retire before the loop looks again. */
static void arm(struct vcpu *c, uint64_t left)
{
	c->deadline = cpu_icount(c) + left - BUDGET_SLACK;
	c->budget = (int64_t)left - BUDGET_SLACK;
}

/* -- one instruction at a time -------------------------------------------------------- */
static void code_breakpoints(struct vcpu *c)
{
	uint64_t dr7 = c->dr[7], lin = hv_linear_rip(c), hit = 0;

	/* After MOV SS it is as if RF were set (SDM vol. 3, 18.3.1.1). */
	if (!(dr7 & 0xff) || c->rflags & FLAG_RF || c->blocking & BLOCK_MOVSS)
		return;
	for (unsigned n = 0; n < 4; n++)
		if (dr7 >> 2 * n & 3 && !(dr7 >> (16 + 4 * n) & 3) &&
		    c->dr[n] == lin)
			hit |= 1u << n;
	if (hit)
		cpu_raise_db(c, hit);
}

static void tell_tracer(struct vcpu *c, const struct insn *i)
{
	uint64_t lin = hv_linear_rip(c), phys;
	uint8_t bytes[16] = { 0 };

	for (unsigned n = 0; n < i->len && n < 15; n++) {
		const uint8_t *p = mem_fetch(c, lin + n, &phys);

		bytes[n] = p ? *p : 0xff;
	}
	c->vm->ops.insn(c->vm->ops.arg, c, lin, bytes, i->len);
}

/* SYSCALL traps by TF as it is at its end, which its mask decides. */
static bool takes_tf_along(const struct block *b)
{
	const struct insn_row *r = insn_row(b->insns);

	return r && r->slow == op_syscall;
}

/* IA32_DEBUGCTL.BTF: TF traps branches that are taken only (SDM 17.4.4). */
static bool steps_over(const struct vcpu *c, const struct block *b,
		       uint64_t rip)
{
	return c->msr.debugctl & 2 && (c->r[R_RIP] == rip ||
				       c->r[R_RIP] == rip + b->insns->len);
}

/* After an instruction that retired: what is to happen after every one. */
static void after_step(struct vcpu *c, bool tf, bool nonroot, unsigned shadow)
{
	unsigned fresh = c->blocking & ~shadow;

	if (nonroot == c->nonroot)
		c->blocking &= (uint8_t)~shadow;
	/* MOV SS holds back the trap of its own single step for good */
	if (tf && !(fresh & BLOCK_MOVSS)) {
		c->dr6_pending |= DR6_BS;
		cpu_pend(c, PEND_TRAP);
	}
	if (nonroot && c->nonroot && vmx_mtf(c))
		vmx_retired(c);
}

static void step(struct vcpu *c)
{
	bool tf = c->rflags & FLAG_TF, nonroot = c->nonroot;
	unsigned shadow = c->blocking & (BLOCK_STI | BLOCK_MOVSS);
	uint64_t rip = c->r[R_RIP];
	struct block *b;

	code_breakpoints(c);
	b = block_get(c, c->mode | MODE_STEP);
	if (!b)
		return;
	if (c->trace && c->vm->ops.insn) {
		tell_tracer(c, b->insns);
		if (c->vm->stop_before) {
			c->vm->stop_before = false;
			return;
		}
	}
	if (c->mode & MODE_CET)
		exec_check_endbr(c, b);
	c->rflags &= ~(uint64_t)FLAG_RF;
	arm(c, 1);
	run_block(c, b);
	if (takes_tf_along(b))
		tf = tf && c->rflags & FLAG_TF;
	if (tf && steps_over(c, b, rip))
		tf = false;
	after_step(c, tf, nonroot, shadow);
}

/* -- the loop ------------------------------------------------------------------------------ */
/* Instructions that may run before something else has to be looked at. */
static uint64_t allowance(struct vcpu *c, uint64_t left)
{
	uint64_t timer = board_next_event(c);

	if (timer < left)
		left = timer;
	if (!c->nonroot)
		return left;
	timer = vmx_ptimer_left(c);
	return timer < left ? timer : left;
}

/* True: go on. */
static bool events(struct vcpu *c)
{
	if (!c->pending_events && c->activity == ACT_ACTIVE)
		return true;
	/* One event can be followed by another before any instruction: an
	 * injected event by a window's exit. */
	while (event_poll(c) && c->pending_events && !c->vm->stopping)
		;
	return c->activity == ACT_ACTIVE && !c->vm->stopping;
}

/* Blocks, chained while the budget has slack and then one by one, until only
 * less than the next block is left or somebody kicked (which moves deadline). */
static void run_budget(struct vcpu *c)
{
	uint64_t deadline = c->deadline;
	struct block *b;

	do {
		c->rflags &= ~(uint64_t)FLAG_RF;
		b = block_get(c, c->mode);
		if (!b)
			return;
		if (c->mode & MODE_CET)
			exec_check_endbr(c, b);
		if (b->n > c->budget + BUDGET_SLACK) {
			step(c);
			return;
		}
		run_block(c, b);
	} while (c->budget + BUDGET_SLACK > 0 && c->deadline == deadline &&
		 !(c->mode & MODE_STEP) && !c->blocking && !c->pending_events &&
		 c->activity == ACT_ACTIVE && !c->vm->stopping);
}

static void loop(struct vcpu *c, uint64_t end)
{
	while (!c->vm->stopping) {
		uint64_t now = cpu_icount(c), left;

		if (now >= end)
			break;
		arm(c, end - now);
		board_time(c);
		if (c->nonroot && !vmx_ptimer_left(c))
			c->pending_events |= PEND_PTIMER;
		if (!events(c))
			break;
		left = allowance(c, end - now);
		arm(c, left ? left : 1);
		if (c->blocks->flush_wanted)
			block_flush(c->blocks);
		if (c->mode & MODE_STEP ||
		    c->blocking & (BLOCK_STI | BLOCK_MOVSS)) {
			step(c);
			continue;
		}
		run_budget(c);
	}
}

/* The instruction that raised it has not retired, unless it was INT n and its
 * like. */
static void fault(struct vcpu *c)
{
	if (c->cur)
		cpu_sync(c, false);
	if (c->fault.type == EV_SOFT_INT || c->fault.type == EV_SOFT_EXC ||
	    c->fault.type == EV_PRIV_SOFT)
		c->budget--;
	event_deliver_fault(c);
	/* The delivery stands for the instruction (SDM 26.5.2). */
	if (c->nonroot && vmx_mtf(c))
		vmx_retired(c);
}

uint64_t cpu_run(struct vcpu *c, uint64_t n)
{
	jmp_buf env;
	uint64_t start = cpu_icount(c);
	uint64_t end = n > 1ull << 60 ? start + (1ull << 60) : start + n;

	c->unwind = &env;
	switch (setjmp(env)) {
	case UNWIND_FAULT:
		fault(c);
		break;
	case UNWIND_RESUME:
		if (c->cur)
			cpu_sync(c, false);
		break;
	default:
		break;
	}
	loop(c, end);
	c->unwind = NULL;
	return cpu_icount(c) - start;
}
