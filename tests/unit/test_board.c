/* The board without a CPU: the functions of the other parts that it calls are
 * replaced here by ones that only count time, so that every device is seen at
 * exact moments of virtual time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hvcore/board/board.h"

/* -- a CPU that only counts --------------------------------------------------- */
static uint64_t taken_at[64];
static int taken[64], ntaken;
static bool halted; /* the guest: HLT loop, or NOPs */

uint64_t cpu_icount(const struct vcpu *c)
{
	return c->deadline - (uint64_t)c->budget;
}

uint64_t cpu_tsc(const struct vcpu *c)
{
	return cpu_icount(c) + c->tsc_offset;
}

bool cpu_has(const struct vcpu *c, uint32_t leaf, uint32_t sub, unsigned reg,
	     unsigned bit)
{
	(void)c; (void)leaf; (void)sub; (void)reg; (void)bit;
	return true;
}

_Noreturn void cpu_stop(struct vcpu *c, enum hv_stop_reason why, const char *format, ...)
{
	(void)c;
	fprintf(stderr, "stop %d: %s\n", (int)why, format);
	abort();
}

unsigned maxphyaddr(const struct vcpu *c)
{
	(void)c;
	return 46;
}

uint64_t vmx_ptimer_left(const struct vcpu *c)
{
	(void)c;
	return ~0ull;
}

uint64_t cpu_run(struct vcpu *c, uint64_t n)
{
	if (c->pending_events & PEND_INTR && ntaken < 64) {
		taken_at[ntaken] = board_now(c->vm->board);
		taken[ntaken++] = board_intr_ack(c);
		lapic_eoi(c->lapic);
		c->activity = ACT_ACTIVE;
	}
	if (c->activity != ACT_ACTIVE)
		return 0;
	if (halted) {
		c->activity = ACT_HLT;
		n = 1;
	}
	c->deadline = cpu_icount(c) + n;
	c->budget = 0;
	return n;
}

/* -- fixture -------------------------------------------------------------------- */
static char console[64];
static unsigned nconsole;

static void on_console(void *arg, uint8_t byte)
{
	(void)arg;
	console[nconsole++ % sizeof console] = (char)byte;
}

struct rig { struct vm vm; struct vcpu cpu[4]; };

static int make(void **state, unsigned cpus)
{
	struct rig *r = aligned_alloc(64, (sizeof *r + 63) & ~63ull);

	if (!r)
		return -1;
	memset(r, 0, sizeof *r);
	r->vm.ops.console = on_console;
	board_new(&r->vm);
	for (unsigned i = 0; i < cpus; i++) {
		r->cpu[i].vm = &r->vm;
		r->cpu[i].id = i;
		r->vm.vcpus[r->vm.nvcpus++] = &r->cpu[i];
		lapic_new(&r->cpu[i]);
		lapic_reg_write(r->cpu[i].lapic, LR_SVR, 0x1ff);
	}
	ntaken = 0;
	nconsole = 0;
	halted = false;
	*state = r;
	return 0;
}

static int one_cpu(void **state)
{
	return make(state, 1);
}

static int four_cpus(void **state)
{
	return make(state, 4);
}

static int drop(void **state)
{
	struct rig *r = *state;

	for (unsigned i = 0; i < r->vm.nvcpus; i++)
		lapic_free(r->cpu[i].lapic);
	board_free(r->vm.board);
	free(r);
	return 0;
}

static uint32_t reg(struct vcpu *c, unsigned r)
{
	uint32_t v = 0xdead;

	assert_true(lapic_reg_read(c->lapic, r, &v));
	return v;
}

static void set(struct vcpu *c, unsigned r, uint32_t v)
{
	assert_true(lapic_reg_write(c->lapic, r, v));
}

static void run(struct rig *r, uint64_t insns)
{
	struct hv_limits limits = { r->vm.icount + insns, ~0ull };
	struct hv_stop stop;

	hv_run(&r->vm, &limits, &stop);
	assert_int_equal(stop.reason, HV_STOP_INSNS);
}

static void out(struct rig *r, uint16_t port, uint32_t v)
{
	io_write(&r->cpu[0], port, 1, v);
}

static uint8_t in(struct rig *r, uint16_t port)
{
	return (uint8_t)io_read(&r->cpu[0], port, 1);
}

/* -- local APIC ---------------------------------------------------------------- */
static void self(struct vcpu *c, unsigned vector)
{
	set(c, LR_ICR, 0x40000 | vector);
}

static void priorities(void **state)
{
	struct vcpu *c = &((struct rig *)*state)->cpu[0];

	assert_int_equal(board_intr_pending(c), -1);
	self(c, 0x41);
	self(c, 0x52);
	self(c, 0x4f);
	assert_int_equal(board_intr_pending(c), 0x52);
	assert_true(c->pending_events & PEND_INTR);
	set(c, LR_TPR, 0x50);
	assert_int_equal(board_intr_pending(c), -1);
	assert_false(c->pending_events & PEND_INTR);
	set(c, LR_TPR, 0x4f);
	assert_int_equal(board_intr_ack(c), 0x52);
	assert_int_equal(reg(c, LR_PPR), 0x50);
	assert_int_equal(board_intr_pending(c), -1); /* 4x is below 5x */
	lapic_set_tpr(c->lapic, 0);
	assert_int_equal(board_intr_pending(c), -1);
	lapic_eoi(c->lapic);
	assert_int_equal(board_intr_ack(c), 0x4f);
	assert_int_equal(board_intr_pending(c), -1); /* same class */
	lapic_eoi(c->lapic);
	assert_int_equal(board_intr_ack(c), 0x41);
	lapic_eoi(c->lapic);
	assert_int_equal(reg(c, LR_PPR), 0);
}

static void software_disabled(void **state)
{
	struct vcpu *c = &((struct rig *)*state)->cpu[0];

	set(c, LR_LVTT, 0x30);
	set(c, LR_SVR, 0xff);
	assert_int_equal(reg(c, LR_LVTT), 0x10030);
	set(c, LR_LVTT, 0x31);
	assert_int_equal(reg(c, LR_LVTT), 0x10031);
	self(c, 0x60);
	assert_int_equal(board_intr_pending(c), -1);
	set(c, LR_ICR, 0x40400); /* NMI by self shorthand */
	assert_true(c->pending_events & PEND_NMI);
}

static void errors(void **state)
{
	struct vcpu *c = &((struct rig *)*state)->cpu[0];

	set(c, LR_LVT_ERROR, 0xf0);
	set(c, LR_ESR, 0);
	assert_int_equal(reg(c, LR_ESR), 0);
	self(c, 5);
	assert_int_equal(board_intr_ack(c), 0xf0);
	lapic_eoi(c->lapic);
	assert_int_equal(reg(c, LR_ESR), 0);
	set(c, LR_ESR, 0);
	assert_int_equal(reg(c, LR_ESR), ESR_SEND_ILLEGAL);
	lapic_mmio_write((void *)(LAPIC_BASE >> 12), c, 0x3f0, 4, 1);
	set(c, LR_ESR, 0);
	assert_int_equal(reg(c, LR_ESR), ESR_REGISTER);
}

static void msr(struct vcpu *c, uint32_t index, uint64_t v, bool good)
{
	bool gp = false, known = lapic_msr_write(c, index, v, &gp);

	assert_int_equal(known && !gp, good);
}

static void modes(void **state)
{
	struct vcpu *c = &((struct rig *)*state)->cpu[0];
	uint64_t v;

	msr(c, 0x80b, 0, false);                /* no x2APIC yet */
	msr(c, 0x1b, LAPIC_BASE | 0x500, false); /* EXTD without EN */
	msr(c, 0x1b, LAPIC_BASE | 0x901, false);
	msr(c, 0x1b, 1ull << 46 | 0x900, false);
	msr(c, 0x1b, LAPIC_BASE | 0xd00, true);
	assert_int_equal(reg(c, LR_ID), 0);
	assert_int_equal(lapic_mmio_read((void *)(LAPIC_BASE >> 12), c, 0x30,
					 4), 0xffffffff);
	msr(c, 0x80b, 1, false);
	msr(c, 0x80b, 0, true);
	msr(c, 0x802, 0, false);
	msr(c, 0x83f, 0x142, false);
	msr(c, 0x83f, 0x42, true);
	assert_int_equal(board_intr_ack(c), 0x42);
	assert_true(lapic_msr_read(c, 0x80d, &v));
	assert_int_equal(v, 1);
	assert_false(lapic_msr_read(c, 0x80b, &v));
	assert_false(lapic_msr_read(c, 0x80e, &v));
	msr(c, 0x1b, LAPIC_BASE | 0x900, false);
	msr(c, 0x1b, LAPIC_BASE | 0x100, true);
	msr(c, 0x1b, LAPIC_BASE | 0xd00, false);
	msr(c, 0x1b, LAPIC_BASE | 0x900, true);
	assert_int_equal(reg(c, LR_SVR), 0xff);
	/* Moved: the old page is silent, the new one answers. */
	msr(c, 0x1b, 0xfed40900, true);
	assert_int_equal(lapic_mmio_read((void *)(LAPIC_BASE >> 12), c, 0x30,
					 4), 0xffffffff);
	assert_int_equal(lapic_mmio_read((void *)0xfed40ul, c, 0x30, 4),
			 reg(c, LR_VERSION));
}

static void timer_one_shot(void **state)
{
	struct rig *r = *state;
	struct vcpu *c = &r->cpu[0];

	set(c, LR_LVTT, 0xe0);
	set(c, LR_TDCR, 0xb);
	run(r, 7);
	set(c, LR_TMICT, 5000);
	run(r, 1000);
	assert_int_equal(reg(c, LR_TMCCT), 4000);
	run(r, 3999);
	assert_int_equal(ntaken, 0);
	assert_int_equal(reg(c, LR_TMCCT), 1);
	run(r, 10000);
	assert_int_equal(ntaken, 1);
	assert_int_equal(taken[0], 0xe0);
	assert_int_equal(taken_at[0], 5007);
	assert_int_equal(reg(c, LR_TMCCT), 0);
}

static void timer_periodic_divided(void **state)
{
	struct rig *r = *state;
	struct vcpu *c = &r->cpu[0];

	set(c, LR_LVTT, 0x200e1);
	set(c, LR_TDCR, 1); /* by 4 */
	set(c, LR_TMICT, 100);
	run(r, 1700);
	assert_int_equal(ntaken, 4);
	for (int i = 0; i < 4; i++)
		assert_int_equal(taken_at[i], 400 * (i + 1));
	assert_int_equal(reg(c, LR_TMCCT), 75);
	set(c, LR_TDCR, 0); /* by 2: the count stays */
	assert_int_equal(reg(c, LR_TMCCT), 75);
	run(r, 150);
	assert_int_equal(ntaken, 4);
	run(r, 1);
	assert_int_equal(ntaken, 5);
	assert_int_equal(taken_at[4], 1850);
}

static void timer_deadline(void **state)
{
	struct rig *r = *state;
	struct vcpu *c = &r->cpu[0];
	uint64_t v;

	c->tsc_offset = 1000000;
	set(c, LR_LVTT, 0x400e2);
	msr(c, 0x6e0, 1002500, true);
	run(r, 2000);
	assert_true(lapic_msr_read(c, 0x6e0, &v));
	assert_int_equal(v, 1002500);
	run(r, 2000);
	assert_int_equal(ntaken, 1);
	assert_int_equal(taken_at[0], 2500);
	assert_true(lapic_msr_read(c, 0x6e0, &v));
	assert_int_equal(v, 0);
	/* A deadline that has passed fires at once. */
	msr(c, 0x6e0, 5, true);
	run(r, 10);
	assert_int_equal(ntaken, 2);
	assert_int_equal(taken_at[1], 4000);
}

static void halted_time_is_skipped(void **state)
{
	struct rig *r = *state;
	struct vcpu *c = &r->cpu[0];
	struct hv_limits none = { ~0ull, ~0ull };
	struct hv_stop stop;

	halted = true;
	set(c, LR_LVTT, 0xe0);
	set(c, LR_TDCR, 0xb);
	set(c, LR_TMICT, 1000000);
	hv_run(&r->vm, &none, &stop);
	assert_int_equal(stop.reason, HV_STOP_IDLE);
	assert_int_equal(ntaken, 1);
	assert_int_equal(taken_at[0], 1000000);
	assert_int_equal(cpu_icount(c), 2);
	assert_int_equal(cpu_tsc(c), 1000001);
}

/* -- several processors ---------------------------------------------------------- */
static unsigned pending(struct rig *r, uint32_t event)
{
	unsigned set_ = 0;

	for (unsigned i = 0; i < r->vm.nvcpus; i++) {
		set_ |= (unsigned)!!(r->cpu[i].pending_events & event) << i;
		r->cpu[i].pending_events &= ~event;
		if (event == PEND_INTR && set_ >> i & 1) {
			board_intr_ack(&r->cpu[i]);
			lapic_eoi(r->cpu[i].lapic);
		}
	}
	return set_;
}

static unsigned send(struct rig *r, unsigned from, uint32_t low, uint32_t dest)
{
	set(&r->cpu[from], LR_ICR2, dest << 24);
	set(&r->cpu[from], LR_ICR, low);
	return pending(r, PEND_INTR);
}

static void destinations(void **state)
{
	struct rig *r = *state;

	assert_int_equal(send(r, 0, 0x50, 2), 4);
	assert_int_equal(send(r, 1, 0x50, 0xff), 0xf);
	assert_int_equal(send(r, 1, 0x80050, 0), 0xf);
	assert_int_equal(send(r, 1, 0xc0050, 0), 0xd);
	assert_int_equal(send(r, 3, 0x40050, 0), 8);
	for (unsigned i = 0; i < 4; i++)
		set(&r->cpu[i], LR_LDR, 1u << (24 + i));
	assert_int_equal(send(r, 0, 0x850, 6), 6);
	assert_int_equal(send(r, 0, 0x850, 0x10), 0);
	for (unsigned i = 0; i < 4; i++) {
		set(&r->cpu[i], LR_DFR, 0x0fffffff);
		set(&r->cpu[i], LR_LDR, (i / 2 << 4 | 1u << i % 2) << 24);
	}
	assert_int_equal(send(r, 0, 0x850, 0x13), 0xc);
	assert_int_equal(send(r, 0, 0x850, 0x02), 2);
	/* Lowest priority goes to one only, the least busy. */
	set(&r->cpu[2], LR_TPR, 0x10);
	assert_int_equal(send(r, 0, 0x950, 0x13), 8);
}

static void startup(void **state)
{
	struct rig *r = *state;

	set(&r->cpu[0], LR_ICR, 0xc4500);
	assert_int_equal(pending(r, PEND_INIT), 0xe);
	set(&r->cpu[0], LR_ICR, 0xc8500); /* de-assert: nothing */
	assert_int_equal(pending(r, PEND_INIT), 0);
	set(&r->cpu[0], LR_ICR, 0xc4609); /* nobody waits for it */
	assert_int_equal(pending(r, PEND_SIPI), 0);
	for (unsigned i = 1; i < 4; i++)
		r->cpu[i].activity = ACT_WAIT_SIPI;
	set(&r->cpu[0], LR_ICR, 0xc4609);
	assert_int_equal(pending(r, PEND_SIPI), 0xe);
	assert_int_equal(lapic_sipi_vector(r->cpu[3].lapic), 9);
}

static void turns_share_time(void **state)
{
	struct rig *r = *state;

	run(r, 12345);
	assert_int_equal(r->vm.board->now, 12345);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(cpu_tsc(&r->cpu[i]), 12345);
	assert_int_equal(cpu_icount(&r->cpu[0]), 3345);
	assert_int_equal(cpu_icount(&r->cpu[1]), 3000);
	/* Another's timer cuts the turn. */
	set(&r->cpu[2], LR_LVTT, 0xe0);
	set(&r->cpu[2], LR_TDCR, 0xb);
	set(&r->cpu[2], LR_TMICT, 100);
	run(r, 99);
	assert_true(r->cpu[2].lapic->timer_running);
	run(r, 1);
	assert_false(r->cpu[2].lapic->timer_running);
	run(r, 4000);
	assert_int_equal(ntaken, 1);
}

/* -- PIC, PIT, IOAPIC ---------------------------------------------------------------- */
static void init_pics(struct rig *r)
{
	static const uint8_t port[] = { 0x20, 0xa0 };

	for (unsigned i = 0; i < 2; i++) {
		out(r, port[i], 0x11);
		out(r, port[i] + 1, i ? 0x28 : 0x20);
		out(r, port[i] + 1, i ? 2 : 4);
		out(r, port[i] + 1, 1);
		out(r, port[i] + 1, 0);
	}
}

static void pic(void **state)
{
	struct rig *r = *state;
	struct vcpu *c = &r->cpu[0];

	init_pics(r);
	set(c, LR_LVT0, 0x700);
	board_irq(r->vm.board, 10, true);
	assert_int_equal(board_intr_pending(c), 0);
	board_irq(r->vm.board, 1, true);
	assert_int_equal(board_intr_ack(c), 0x21);
	assert_int_equal(board_intr_pending(c), -1);
	out(r, 0x20, 0x20);
	assert_int_equal(board_intr_ack(c), 0x2a);
	out(r, 0xa0, 0x0b);
	assert_int_equal(in(r, 0xa0), 4);
	board_irq(r->vm.board, 9, true);
	board_irq(r->vm.board, 3, true);
	assert_int_equal(board_intr_pending(c), -1);
	out(r, 0xa0, 0x20);
	out(r, 0x20, 0x62); /* specific EOI of IRQ 2 */
	assert_int_equal(board_intr_ack(c), 0x29);
	out(r, 0xa0, 0x20);
	out(r, 0x20, 0x20);
	assert_int_equal(board_intr_ack(c), 0x23);
	out(r, 0x20, 0x20);
	out(r, 0x21, 0x10);
	board_irq(r->vm.board, 4, true);
	assert_int_equal(board_intr_pending(c), -1);
	out(r, 0x21, 0);
	assert_int_equal(board_intr_ack(c), 0x24);
}

static void pit_interrupts(void **state)
{
	struct rig *r = *state;
	struct vcpu *c = &r->cpu[0];

	init_pics(r);
	set(c, LR_LVT0, 0x700);
	c->tsc_khz = 1193182; /* 1000 ticks of ours to one of the PIT's */
	out(r, 0x43, 0x34);   /* channel 0, rate generator */
	out(r, 0x40, 100);
	out(r, 0x40, 0);
	run(r, 30500);
	out(r, 0x43, 0);
	assert_int_equal(in(r, 0x40), 70);
	assert_int_equal(in(r, 0x40), 0);
	out(r, 0x43, 0xe2);   /* read-back: status of channel 0 */
	assert_int_equal(in(r, 0x40), 0xb4);
	run(r, 70000);
	/* The fake CPU's EOI is the APIC's; give the PIC's. */
	assert_int_equal(ntaken, 1);
	assert_int_equal(taken[0], 0x20);
	assert_int_equal(taken_at[0], 100000);
	out(r, 0x20, 0x20);
	run(r, 100000);
	assert_int_equal(ntaken, 2);
	assert_int_equal(taken_at[1], 200000);
}

static void pit_channel2(void **state)
{
	struct rig *r = *state;

	r->cpu[0].tsc_khz = 1193182;
	out(r, 0x61, 0);
	out(r, 0x43, 0xb0); /* mode 0 */
	out(r, 0x42, 0xe8);
	out(r, 0x42, 3);
	assert_int_equal(in(r, 0x61) & 0x20, 0);
	out(r, 0x61, 1);
	run(r, 999000);
	assert_int_equal(in(r, 0x61) & 0x20, 0);
	run(r, 1000);
	assert_int_equal(in(r, 0x61) & 0x20, 0x20);
}

static void ioapic_set(struct rig *r, unsigned pin, uint64_t e)
{
	struct board *b = r->vm.board;

	for (unsigned half = 0; half < 2; half++) {
		ioapic_mmio_write(b, &r->cpu[0], 0, 4, 0x10 + 2 * pin + half);
		ioapic_mmio_write(b, &r->cpu[0], 0x10, 4,
				  (uint32_t)(e >> 32 * half));
	}
}

static void ioapic(void **state)
{
	struct rig *r = *state;
	struct board *b = r->vm.board;
	struct vcpu *c = &r->cpu[0];

	set(c, LR_LVT0, LVT_MASKED); /* not through the 8259s as well */
	ioapic_set(r, 14, 0x76);
	out(r, 0x200e, 1);
	assert_int_equal(board_intr_ack(c), 0x76);
	lapic_eoi(c->lapic);
	out(r, 0x200e, 1);
	assert_int_equal(board_intr_pending(c), -1); /* no new edge */
	out(r, 0x200e, 0);
	/* Level: again and again until the line falls. */
	ioapic_set(r, 15, 0x8077);
	out(r, 0x200f, 1);
	assert_int_equal(board_intr_ack(c), 0x77);
	assert_true(b->ioapic.rte[15] & 0x4000);
	assert_int_equal(board_intr_pending(c), -1);
	lapic_eoi(c->lapic);
	assert_int_equal(board_intr_ack(c), 0x77);
	out(r, 0x200f, 0);
	lapic_eoi(c->lapic);
	assert_int_equal(board_intr_pending(c), -1);
	assert_false(b->ioapic.rte[15] & 0x4000);
	/* Masked: a level waits, an edge is lost. */
	ioapic_set(r, 14, 0x10076);
	ioapic_set(r, 15, 0x18077);
	out(r, 0x200e, 1);
	out(r, 0x200f, 1);
	assert_int_equal(board_intr_pending(c), -1);
	ioapic_set(r, 14, 0x76);
	ioapic_set(r, 15, 0x8077);
	assert_int_equal(board_intr_ack(c), 0x77);
}

/* -- ports ------------------------------------------------------------------------------ */
static void serial(void **state)
{
	struct rig *r = *state;

	init_pics(r);
	set(&r->cpu[0], LR_LVT0, 0x700);
	out(r, 0x3fb, 0x83);
	out(r, 0x3f8, 1);
	out(r, 0x3fb, 3);
	assert_int_equal(nconsole, 0);
	out(r, 0x3f8, 'h');
	out(r, 0x3f8, 'i');
	assert_memory_equal(console, "hi", 2);
	assert_int_equal(in(r, 0x3fd), 0x60);
	out(r, 0x3fc, 8);
	out(r, 0x3f9, 3);
	assert_int_equal(board_intr_ack(&r->cpu[0]), 0x24);
	assert_int_equal(in(r, 0x3fa), 2);
	assert_int_equal(in(r, 0x3fa), 1);
	assert_true(hv_console_input(&r->vm, 'x'));
	assert_int_equal(in(r, 0x3fa), 4);
	assert_int_equal(in(r, 0x3fd), 0x61);
	assert_int_equal(in(r, 0x3f8), 'x');
	assert_int_equal(in(r, 0x3fa), 1);
	/* Loopback, as drivers probe it. */
	out(r, 0x3fc, 0x1a);
	assert_int_equal(in(r, 0x3fe) & 0xf0, 0x90);
}

static void keys_and_config(void **state)
{
	struct rig *r = *state;
	struct vcpu *c = &r->cpu[0];
	uint16_t n;

	io_write(c, 0x510, 2, 5);
	n = in(r, 0x511);
	n |= (uint16_t)(in(r, 0x511) << 8);
	assert_int_equal(n, 4);
	assert_int_equal(in(r, 0x511), 0);
	io_write(c, 0xcf8, 4, 0x80000000);
	assert_int_equal(io_read(c, 0xcf8, 4), 0x80000000);
	assert_int_equal(io_read(c, 0xcfc, 4), 0xffffffff);
	io_write(c, 0xe0, 4, 0x12345678);
	assert_int_equal(io_read(c, 0xe1, 2), 0x3456);
	testdev_write(r->vm.board, c, 0x100, 8, 0x1122334455667788);
	assert_int_equal(testdev_read(r->vm.board, c, 0x104, 2), 0x3344);
}

static void calendar(void **state)
{
	struct rig *r = *state;
	static const uint8_t want[][2] = { { 0, 0 }, { 2, 1 }, { 4, 0 },
		{ 7, 1 }, { 8, 1 }, { 9, 0x24 }, { 0x32, 0x20 } };

	r->cpu[0].tsc_khz = 1000;
	run(r, 60 * 1000000);
	for (unsigned i = 0; i < sizeof want / sizeof want[0]; i++) {
		out(r, 0x70, want[i][0]);
		assert_int_equal(in(r, 0x71), want[i][1]);
	}
	/* Set to a leap day's last second. */
	static const uint8_t day[][2] = { { 11, 0x82 }, { 8, 2 }, { 7, 0x29 },
		{ 4, 0x23 }, { 2, 0x59 }, { 0, 0x59 }, { 11, 2 } };
	for (unsigned i = 0; i < sizeof day / sizeof day[0]; i++) {
		out(r, 0x70, day[i][0]);
		out(r, 0x71, day[i][1]);
	}
	run(r, 1000000);
	out(r, 0x70, 7);
	assert_int_equal(in(r, 0x71), 1);
	out(r, 0x70, 8);
	assert_int_equal(in(r, 0x71), 3);
}

static void stops(void **state)
{
	struct rig *r = *state;
	const char *p = "SShutdown";

	io_write(&r->cpu[0], 0xf4, 4, 0x21);
	assert_int_equal(r->vm.stop.reason, HV_STOP_DEBUG_EXIT);
	assert_int_equal(r->vm.stop.code, 0x21);
	r->vm.stopping = false;
	for (; *p; p++) {
		assert_false(r->vm.stopping);
		out(r, 0x8900, (uint8_t)*p);
	}
	assert_true(r->vm.stopping);
	assert_int_equal(r->vm.stop.reason, HV_STOP_SHUTDOWN);
}

static void state_goes_round(void **state)
{
	struct rig *r = *state;
	struct snapshot *s = snapshot_new(4), *t = snapshot_new(4);
	struct kvm_lapic_state page[4];
	struct nst_error e = { 0 };

	init_pics(r);
	out(r, 0x43, 0x34);
	out(r, 0x40, 0x99);
	out(r, 0x40, 0x99);
	set(&r->cpu[1], LR_LVTT, 0x200e0);
	set(&r->cpu[1], LR_TMICT, 77777);
	ioapic_set(r, 3, 0x8031);
	run(r, 12345);
	assert_int_equal(hv_vm_save(&r->vm, s, &e), NST_OK);
	for (unsigned i = 0; i < 4; i++)
		lapic_get(&r->cpu[i], &page[i]);
	/* Into another machine, and out of it again: the same. */
	void *other;
	assert_int_equal(make(&other, 4), 0);
	struct rig *q = other;
	for (unsigned i = 0; i < 4; i++)
		lapic_set(&q->cpu[i], &page[i]);
	assert_int_equal(hv_vm_load(&q->vm, s, &e), NST_OK);
	assert_int_equal(hv_vm_save(&q->vm, t, &e), NST_OK);
	assert_memory_equal(s->irqchip, t->irqchip, sizeof s->irqchip);
	assert_memory_equal(&s->pit, &t->pit, sizeof s->pit);
	assert_int_equal(s->extra[0].size, t->extra[0].size);
	assert_memory_equal(s->extra[0].data, t->extra[0].data,
			    s->extra[0].size);
	assert_int_equal(r->vm.board->due, q->vm.board->due);
	/* A damaged note is refused, not believed. */
	s->extra[0].size--;
	assert_int_equal(hv_vm_load(&q->vm, s, &e), NST_BAD_INPUT);
	drop(&other);
	snapshot_free(s);
	snapshot_free(t);
}

/* Whatever a guest does to the ports and pages, in whatever order, the board
 * goes on (the sanitizers look on). */
static void random_accesses(void **state)
{
	static const uint16_t bases[12] = { 0x20, 0xa0, 0x40, 0x60, 0x70, 0x3f8,
		0x510, 0xcf8, 0x2000, 0x4d0, 0xe0, 0xfff8 };
	struct rig *r = *state;
	struct board *b = r->vm.board;
	uint64_t x = 88172645463325252ull;

	for (unsigned i = 0; i < 200000; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		struct vcpu *c = &r->cpu[x >> 3 & 3];
		uint16_t port = bases[(x >> 8 & 15) % 12] + (x >> 12 & 7);
		unsigned size = 1u << (x >> 16) % 3;
		uint32_t v = (uint32_t)(x >> 32);
		bool gp = false;
		uint64_t w;

		switch (x % 7) {
		case 0:
			io_write(c, port, size, v);
			break;
		case 1:
			io_read(c, port, size);
			break;
		case 2:
			lapic_mmio_write((void *)(LAPIC_BASE >> 12), c,
					 (x >> 20 & 0x3f) << 4, 4, v);
			break;
		case 3:
			lapic_msr_write(c, 0x800 + (x >> 20 & 0x3f), v & 0x7ff,
					&gp);
			lapic_msr_read(c, 0x800 + (x >> 21 & 0x3f), &w);
			break;
		case 4:
			ioapic_mmio_write(b, c, x & 0x10, 4,
					  x & 0x10 ? v : v & 0x3f);
			break;
		case 5:
			lapic_msr_write(c, 0x1b, LAPIC_BASE | (v & 0xd00), &gp);
			break;
		case 6:
			if (i % 16 == 0)
				run(r, 1 + v % 5000);
			break;
		}
		r->vm.stopping = false;
		r->vm.nmmio = 3;
	}
}

#define ONE(f) cmocka_unit_test_setup_teardown(f, one_cpu, drop)
#define FOUR(f) cmocka_unit_test_setup_teardown(f, four_cpus, drop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		ONE(priorities), ONE(software_disabled), ONE(errors),
		ONE(modes), ONE(timer_one_shot), ONE(timer_periodic_divided),
		ONE(timer_deadline), ONE(halted_time_is_skipped),
		FOUR(destinations), FOUR(startup), FOUR(turns_share_time),
		ONE(pic), ONE(pit_interrupts), ONE(pit_channel2), ONE(ioapic),
		ONE(serial), FOUR(keys_and_config), ONE(calendar), ONE(stops),
		FOUR(state_goes_round), FOUR(random_accesses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
