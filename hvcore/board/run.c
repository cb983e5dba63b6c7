/* run.c: hv_run: vCPUs in turns, virtual time, limits, stop reasons, counts.
 *
 * One vCPU runs at a time, for TURN instructions at most; all time is the sum
 * of all turns, so every vCPU's TSC stands still in the others' turns and is
 * set forward by their length when its own begins.  A turn is cut at the next
 * timer event and at the limits; where a run is stopped and gone on with, the
 * turn at hand goes on too, so that the cut changes nothing.
 */
#include <stdio.h>

#include "hvcore/board/board.h"

#define TURN 1000
#define ALONE 1000000

/* c's clocks catch up with what passed since they last moved. */
static void catch_up(struct board *b, struct vcpu *c)
{
	uint64_t skew = b->now - cpu_icount(c);

	c->tsc_offset += skew - c->lapic->skew;
	c->lapic->skew = skew;
}

/* -- levels and exits ------------------------------------------------------------ */
static void count_level(struct vcpu *c, unsigned level)
{
	uint64_t n = cpu_icount(c);

	c->vm->stats.insns[level] += n - c->lapic->level_mark;
	c->lapic->level_mark = n;
}

void run_vmentry(struct vcpu *c)
{
	struct vm *vm = c->vm;

	vm->stats.entries++;
	count_level(c, 1);
	if (vm->ops.vmentry)
		vm->ops.vmentry(vm->ops.arg, c->id);
}

void run_vmexit(struct vcpu *c, uint32_t reason, uint64_t qualification)
{
	struct vm *vm = c->vm;

	if ((reason & 0xffff) < 128)
		vm->stats.exits[reason & 0x7f]++;
	count_level(c, 2);
	if (vm->ops.vmexit)
		vm->ops.vmexit(vm->ops.arg, c->id, reason, qualification);
	if (++vm->exits >= vm->exit_limit && !vm->stopping) {
		vm->stop.reason = HV_STOP_EXITS;
		vm->stop.vcpu = c->id;
		vm->stopping = true;
		cpu_pend(c, PEND_STOP);
	}
}

const struct hv_stats *hv_stats(const struct vm *vm)
{
	return &vm->stats;
}

/* -- stopping ----------------------------------------------------------------------- */
void hv_request_stop(struct vm *vm, uint64_t code)
{
	struct board *b = vm->board;

	if (vm->stopping)
		return;
	vm->stop.reason = HV_STOP_REQUEST;
	vm->stop.code = code;
	vm->stopping = true;
	if (b && b->running) {
		vm->stop.vcpu = b->running->id;
		cpu_pend(b->running, PEND_STOP);
	}
}

static void stop_idle(struct vm *vm)
{
	vm->stop.reason = HV_STOP_IDLE;
	vm->stop.vcpu = vm->board->turn;
	snprintf(vm->stop.text, sizeof vm->stop.text,
		 "every vCPU is halted and no event is due");
	vm->stopping = true;
}

/* -- one turn ------------------------------------------------------------------------ */
static uint64_t min64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* The preemption timer counts while its vCPU is halted or waits its turn. */
static void poll_ptimer(struct vcpu *c)
{
	if (c->nonroot && vmx_ptimer_left(c) == 0)
		cpu_pend(c, PEND_PTIMER);
}

static bool runnable(const struct vcpu *c)
{
	return c->activity == ACT_ACTIVE || c->pending_events;
}

/* Runs c to the end of its turn, an event, or limit.  True: it did something. */
static bool run_some(struct board *b, struct vcpu *c, uint64_t limit)
{
	struct vm *vm = b->vm;
	uint8_t activity = c->activity;
	uint32_t pending;
	uint64_t n, ran;

	catch_up(b, c);
	poll_ptimer(c);
	if (!runnable(c))
		return false;
	pending = c->pending_events;
	b->running = c;
	n = min64(min64(b->turn_left, limit), board_next_event(c));
	ran = cpu_run(c, n);
	b->running = NULL;
	b->now += ran;
	b->turn_left -= min64(ran, b->turn_left);
	vm->icount += ran;
	/* An event may be turned into another without an instruction run: a
	 * posted interrupt that a halted guest is still to take. */
	return ran || c->activity != activity || c->pending_events != pending;
}

/* Every vCPU is halted: time passes until something is due. */
static void skip_idle(struct board *b)
{
	struct vm *vm = b->vm;
	uint64_t due = b->due;

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct vcpu *c = vm->vcpus[i];
		uint64_t left = c->nonroot ? vmx_ptimer_left(c) : BOARD_NEVER;

		catch_up(b, c);
		if (left != BOARD_NEVER)
			due = min64(due, b->now + left);
	}
	if (due == BOARD_NEVER)
		stop_idle(vm);
	else if (due > b->now)
		b->now = due;
}

/* Alone, a vCPU waits for nobody: only events and limits cut its turns. */
static uint64_t turn_length(const struct vm *vm)
{
	return vm->nvcpus > 1 ? TURN : ALONE;
}

static void next_turn(struct board *b)
{
	b->turn = (b->turn + 1) % b->vm->nvcpus;
	b->turn_left = turn_length(b->vm);
}

static void run_loop(struct vm *vm, uint64_t insn_limit)
{
	struct board *b = vm->board;
	unsigned idle = 0;

	while (!vm->stopping) {
		struct vcpu *c = vm->vcpus[b->turn];

		if (b->now >= b->due)
			board_time(c);
		if (vm->icount >= insn_limit) {
			vm->stop.reason = HV_STOP_INSNS;
			vm->stop.vcpu = c->id;
			return;
		}
		if (run_some(b, c, insn_limit - vm->icount)) {
			idle = 0;
			if (b->turn_left)
				continue;
		} else if (++idle >= vm->nvcpus) {
			idle = 0;
			skip_idle(b);
		}
		next_turn(b);
	}
}

void hv_run(struct vm *vm, const struct hv_limits *limits,
	    struct hv_stop *stop)
{
	struct board *b = vm->board;
	struct vcpu *c;

	memset(&vm->stop, 0, sizeof vm->stop);
	vm->stopping = false;
	vm->exit_limit = limits->exits;
	if (!b->turn_left)
		b->turn_left = turn_length(vm);
	board_rearm(b);
	run_loop(vm, limits->insns);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		c = vm->vcpus[i];
		catch_up(b, c);
		count_level(c, c->nonroot ? 2 : 1);
	}
	c = vm->vcpus[vm->stop.vcpu];
	vm->stop.level = c->nonroot ? 2 : 1;
	vm->stop.rip = c->segbase[SEG_CS] + c->r[R_RIP];
	c->pending_events &= ~PEND_STOP;
	*stop = vm->stop;
}
