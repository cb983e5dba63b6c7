/* lapic_timer.c: the local APIC's timer: one-shot, periodic, TSC-deadline
 * (SDM vol. 3, 11.5.4).  It counts board time: one tick a TSC tick, divided as
 * the divide configuration says.
 *
 * The count is not kept: it follows from the time at which it was TMICT.
 */
#include "hvcore/board/board.h"

static uint64_t now(const struct lapic *l)
{
	struct vm *vm = l->c->vm;

	return vm->board ? board_now(vm->board) : cpu_icount(l->c);
}

static void rearm(struct lapic *l)
{
	if (l->c->vm->board)
		board_rearm(l->c->vm->board);
}

static uint64_t period(const struct lapic *l)
{
	return (uint64_t)l->reg[LR_TMICT] * l->timer_div;
}

void lapic_timer_reset(struct lapic *l)
{
	l->timer_running = false;
	l->timer_div = 2;
	l->deadline = 0;
	rearm(l);
}

/* TSC-deadline mode and the counting modes disarm one another; one-shot and
 * periodic may change into each other in mid-count. */
void lapic_timer_lvt(struct lapic *l, uint32_t old_lvt)
{
	unsigned mode = LVT_MODE(l->reg[LR_LVTT]);

	if ((mode == TIMER_DEADLINE) != (LVT_MODE(old_lvt) == TIMER_DEADLINE)) {
		l->timer_running = false;
		l->reg[LR_TMICT] = 0;
		l->deadline = 0;
	}
	rearm(l);
}

void lapic_timer_start(struct lapic *l)
{
	if (LVT_MODE(l->reg[LR_LVTT]) == TIMER_DEADLINE) {
		l->reg[LR_TMICT] = 0; /* writes are ignored in that mode */
		return;
	}
	l->timer_start = now(l);
	l->timer_running = l->reg[LR_TMICT] != 0;
	rearm(l);
}

/* The count goes on from where it is at the new rate. */
void lapic_timer_divide(struct lapic *l)
{
	uint32_t d = l->reg[LR_TDCR];
	uint32_t shift = ((d & 3) | (d >> 1 & 4)) + 1;
	uint32_t div = 1u << (shift & 7), count = lapic_timer_count(l);

	l->timer_div = div;
	if (l->timer_running)
		l->timer_start = now(l) -
			(uint64_t)(l->reg[LR_TMICT] - count) * div;
	rearm(l);
}

uint32_t lapic_timer_count(struct lapic *l)
{
	uint64_t passed;

	if (!l->timer_running)
		return 0;
	passed = (now(l) - l->timer_start) / l->timer_div;
	if (passed < l->reg[LR_TMICT])
		return l->reg[LR_TMICT] - (uint32_t)passed;
	if (LVT_MODE(l->reg[LR_LVTT]) != TIMER_PERIODIC)
		return 0;
	return l->reg[LR_TMICT] - (uint32_t)(passed % l->reg[LR_TMICT]);
}

/* Board time of the next expiry, or BOARD_NEVER. */
uint64_t lapic_timer_due(const struct lapic *l)
{
	if (LVT_MODE(l->reg[LR_LVTT]) == TIMER_DEADLINE) {
		/* Both as of when this vCPU ran last: its TSC stands still in
		 * the others' turns and catches up at its own. */
		uint64_t tsc = cpu_tsc(l->c), t = cpu_icount(l->c) + l->skew;

		if (!l->deadline)
			return BOARD_NEVER;
		return l->deadline <= tsc ? t : t + (l->deadline - tsc);
	}
	return l->timer_running ? l->timer_start + period(l) : BOARD_NEVER;
}

/* Takes the expiry if it is due. */
void lapic_timer_take(struct lapic *l)
{
	if (lapic_timer_due(l) > now(l))
		return;
	switch (LVT_MODE(l->reg[LR_LVTT])) {
	case TIMER_DEADLINE:
		l->deadline = 0;
		break;
	case TIMER_PERIODIC:
		/* Whole periods: several expiries between two looks are one
		 * interrupt, as the IRR has one bit. */
		l->timer_start += (now(l) - l->timer_start) / period(l) *
			period(l);
		break;
	default:
		l->timer_running = false;
	}
	lapic_lvt_fire(l, LR_LVTT);
}

/* Goes on from a saved count; TMICT, TDCR and the LVT are set. */
void lapic_timer_resume(struct lapic *l, uint32_t count)
{
	l->timer_running = false;
	lapic_timer_divide(l);
	if (LVT_MODE(l->reg[LR_LVTT]) != TIMER_DEADLINE && count &&
	    count <= l->reg[LR_TMICT]) {
		l->timer_running = true;
		l->timer_start = now(l) -
			(uint64_t)(l->reg[LR_TMICT] - count) * l->timer_div;
	}
	rearm(l);
}
