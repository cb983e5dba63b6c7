/* board.c: the devices put together: interrupt lines, virtual time and its
 * next event, power-up.  Ports are in ports.c; each device has its own file.
 */
#include <stdlib.h>

#include "hvcore/board/board.h"

/* -- time ------------------------------------------------------------------- */
uint64_t board_now(const struct board *b)
{
	if (!b->running)
		return b->now;
	return cpu_icount(b->running) + b->running->lapic->skew;
}

uint64_t board_khz(const struct board *b)
{
	const struct vm *vm = b->vm;

	return vm->nvcpus && vm->vcpus[0]->tsc_khz ? vm->vcpus[0]->tsc_khz :
		1000000;
}

uint64_t board_to_hz(const struct board *b, uint64_t ticks, uint64_t hz)
{
	return (uint64_t)((unsigned __int128)ticks * hz /
			  (board_khz(b) * 1000));
}

uint64_t board_from_hz(const struct board *b, uint64_t n, uint64_t hz)
{
	return (uint64_t)(((unsigned __int128)n * board_khz(b) * 1000 + hz - 1) /
			  hz);
}

static uint64_t earliest(struct board *b)
{
	uint64_t due = b->pit.due, t = rtc_due(b);

	if (t < due)
		due = t;
	for (unsigned i = 0; i < b->vm->nvcpus; i++) {
		struct lapic *l = b->vm->vcpus[i]->lapic;

		t = l ? lapic_timer_due(l) : BOARD_NEVER;
		if (t < due)
			due = t;
	}
	return due;
}

/* The running vCPU was given a budget up to the old due time. */
void board_rearm(struct board *b)
{
	uint64_t old = b->due;

	b->due = earliest(b);
	if (b->due < old && b->running)
		cpu_kick(b->running);
}

void board_tsc_changed(struct vcpu *c)
{
	if (c->vm->board)
		board_rearm(c->vm->board);
}

uint64_t board_next_event(struct vcpu *c)
{
	const struct board *b = c->vm->board;
	uint64_t now;

	if (!b || b->due == BOARD_NEVER)
		return BOARD_NEVER;
	now = board_now(b);
	return b->due > now ? b->due - now : 0;
}

/* Takes all that is due. */
void board_time(struct vcpu *c)
{
	struct board *b = c->vm->board;

	if (!b || board_now(b) < b->due)
		return;
	pit_take(b);
	rtc_take(b);
	for (unsigned i = 0; i < b->vm->nvcpus; i++)
		if (b->vm->vcpus[i]->lapic)
			lapic_timer_take(b->vm->vcpus[i]->lapic);
	board_rearm(b);
}

/* -- interrupt lines ---------------------------------------------------------- */
static void drive(struct board *b, unsigned line)
{
	bool level = (b->dev_lines | b->test_lines) >> line & 1;

	if (line < 16)
		pic_line(b, line, level);
	/* IRQ 0 is wired to IOAPIC pin 2, as on PCs; pin 0 is free. */
	ioapic_line(b, line == 0 ? 2 : line, level);
}

void board_irq(struct board *b, unsigned line, bool level)
{
	uint32_t bit = 1u << line;

	b->dev_lines = level ? b->dev_lines | bit : b->dev_lines & ~bit;
	drive(b, line);
}

void board_test_irq(struct board *b, unsigned line, bool level)
{
	uint32_t bit = 1u << line;

	b->test_lines = level ? b->test_lines | bit : b->test_lines & ~bit;
	drive(b, line);
}

/* -- life ------------------------------------------------------------------- */
/* The stop happens after the current instruction. */
void board_stop(struct board *b, struct vcpu *c, enum hv_stop_reason why,
		uint64_t code, const char *text)
{
	struct hv_stop *s = &b->vm->stop;

	if (b->vm->stopping)
		return;
	s->reason = why;
	s->code = code;
	s->vcpu = c->id;
	strncpy(s->text, text, sizeof s->text - 1);
	b->vm->stopping = true;
	cpu_pend(c, PEND_STOP);
}

static void add_mmio(struct board *b, uint64_t gpa, uint64_t size,
		     uint64_t (*rd)(void *, struct vcpu *, uint64_t, unsigned),
		     void (*wr)(void *, struct vcpu *, uint64_t, unsigned,
				uint64_t), void *dev)
{
	b->vm->mmio[b->vm->nmmio++] = (struct mmio_region){
		.gpa = gpa, .size = size, .read = rd, .write = wr, .dev = dev };
}

struct board *board_new(struct vm *vm)
{
	struct board *b = calloc(1, sizeof *b);

	if (!b)
		return NULL;
	b->vm = vm;
	vm->board = b;
	b->due = BOARD_NEVER;
	pic_reset(b);
	pit_reset(b);
	rtc_reset(b);
	serial_reset(b);
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		b->ioapic.rte[i] = LVT_MASKED;
	add_mmio(b, LAPIC_BASE, 0x1000, lapic_mmio_read, lapic_mmio_write,
		 (void *)(uintptr_t)(LAPIC_BASE >> 12));
	add_mmio(b, IOAPIC_BASE, 0x1000, ioapic_mmio_read, ioapic_mmio_write, b);
	add_mmio(b, TESTDEV_RAM, 0x10000, testdev_read, testdev_write, b);
	return b;
}

void board_free(struct board *b)
{
	if (b)
		free(b->testdev_ram);
	free(b);
}
