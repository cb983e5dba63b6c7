/* lapic.c: the local APIC's registers, priorities and acceptance (SDM vol. 3,
 * chapter 11).  Owns struct lapic; the timer is in lapic_timer.c, messages
 * between APICs in apic_msg.c, the MSR face in lapic_msr.c.
 *
 * PEND_INTR in c->pending_events always says whether board_intr_pending has a
 * vector: every change of a register that matters ends in lapic_update.
 */
#include <stdlib.h>

#include "hvcore/board/board.h"

static int highest(const uint32_t *set)
{
	for (int w = 7; w >= 0; w--)
		if (set[w])
			return w * 32 + 31 - __builtin_clz(set[w]);
	return -1;
}

static bool test_bit(const uint32_t *set, unsigned v)
{
	return set[v >> 5] >> (v & 31) & 1;
}

static void put_bit(uint32_t *set, unsigned v, bool on)
{
	uint32_t bit = 1u << (v & 31);

	set[v >> 5] = on ? set[v >> 5] | bit : set[v >> 5] & ~bit;
}

/* SDM 11.8.3.1: PPR is the higher class of TPR and the highest ISR vector. */
static uint32_t ppr(const struct lapic *l)
{
	uint32_t tpr = l->reg[LR_TPR] & 0xff;
	int isr = highest(l->reg + LR_ISR);

	if (isr < 0 || (tpr >> 4) >= (uint32_t)isr >> 4)
		return tpr;
	return (uint32_t)isr & 0xf0;
}

/* The PIC's output reaches the bootstrap processor's LINT0: as ExtINT by its
 * LVT, or straight while the APIC is globally disabled (virtual wire). */
static bool extint(const struct lapic *l)
{
	const struct board *b = l->c->vm->board;

	if (!b || !(l->base & APICBASE_BSP) || !pic_output(b))
		return false;
	if (!lapic_hw_enabled(l))
		return true;
	return !(l->reg[LR_LVT0] & LVT_MASKED) &&
	       (l->reg[LR_LVT0] >> 8 & 7) == DM_EXTINT;
}

static int deliverable(const struct lapic *l)
{
	int v;

	if (!lapic_hw_enabled(l))
		return -1;
	v = highest(l->reg + LR_IRR);
	return v >= 0 && (uint32_t)v >> 4 > ppr(l) >> 4 ? v : -1;
}

void lapic_update(struct lapic *l)
{
	struct vcpu *c = l->c;

	if (extint(l) || deliverable(l) >= 0) {
		if (!(c->pending_events & PEND_INTR))
			cpu_pend(c, PEND_INTR);
	} else {
		c->pending_events &= ~PEND_INTR;
	}
}

/* What would be delivered, without taking it.  For an ExtINT the vector is
 * known only at the acknowledge cycle: 0 stands for it (the caller asks only
 * whether there is one). */
int board_intr_pending(struct vcpu *c)
{
	if (!c->lapic)
		return -1;
	if (extint(c->lapic))
		return 0;
	return deliverable(c->lapic);
}

int board_intr_ack(struct vcpu *c)
{
	struct lapic *l = c->lapic;
	int v;

	if (!l)
		return -1;
	if (extint(l)) {
		v = pic_ack(c->vm->board);
	} else {
		v = deliverable(l);
		if (v >= 0) {
			put_bit(l->reg + LR_IRR, (unsigned)v, false);
			put_bit(l->reg + LR_ISR, (unsigned)v, true);
		}
	}
	lapic_update(l);
	return v;
}

/* A fixed or lowest-priority message has arrived. */
static void accept_fixed(struct lapic *l, unsigned vector, bool level)
{
	if (!(l->reg[LR_SVR] & 0x100))
		return;
	if (vector < 16) {
		lapic_error(l, ESR_RECV_ILLEGAL);
		return;
	}
	put_bit(l->reg + LR_IRR, vector, true);
	put_bit(l->reg + LR_TMR, vector, level);
	lapic_update(l);
}

void lapic_accept(struct lapic *l, const struct apic_msg *m)
{
	switch (m->mode) {
	case DM_FIXED:
	case DM_LOWEST:
		accept_fixed(l, m->vector, m->level);
		break;
	case DM_SMI:
		cpu_pend(l->c, PEND_SMI);
		break;
	case DM_NMI:
		cpu_pend(l->c, PEND_NMI);
		break;
	case DM_INIT:
		cpu_pend(l->c, PEND_INIT);
		break;
	case DM_STARTUP:
		/* Lost unless the processor waits for it, or is about to. */
		if (l->c->activity != ACT_WAIT_SIPI &&
		    !(l->c->pending_events & PEND_INIT))
			break;
		l->sipi_vector = m->vector;
		cpu_pend(l->c, PEND_SIPI);
		break;
	}
}

/* Errors collect until a write to ESR shows them; the error LVT fires once for
 * each new one. */
void lapic_error(struct lapic *l, uint32_t bit)
{
	uint32_t old = l->esr_pending;

	l->esr_pending |= bit;
	/* An illegal vector in the error LVT itself must not recurse. */
	if (!(old & bit) && (l->reg[LR_LVT_ERROR] & 0xff) >= 16)
		lapic_lvt_fire(l, LR_LVT_ERROR);
}

/* A local source: timer, error, performance, thermal (LVT register r). */
void lapic_lvt_fire(struct lapic *l, unsigned r)
{
	uint32_t lvt = l->reg[r];
	unsigned mode = r == LR_LVTT || r == LR_LVT_ERROR ? DM_FIXED :
		lvt >> 8 & 7;
	struct apic_msg m = { .vector = (uint8_t)lvt, .mode = (uint8_t)mode };

	if (lapic_hw_enabled(l) && !(lvt & LVT_MASKED))
		lapic_accept(l, &m);
}

void lapic_eoi(struct lapic *l)
{
	int v = highest(l->reg + LR_ISR);

	if (v < 0)
		return;
	put_bit(l->reg + LR_ISR, (unsigned)v, false);
	/* Level-triggered: the IOAPICs hear of it unless suppressed. */
	if (test_bit(l->reg + LR_TMR, (unsigned)v) &&
	    !(l->reg[LR_SVR] & 0x1000) && l->c->vm->board)
		ioapic_eoi(l->c->vm->board, (uint8_t)v);
	lapic_update(l);
}

uint8_t lapic_tpr(struct lapic *l)
{
	return (uint8_t)l->reg[LR_TPR];
}

void lapic_set_tpr(struct lapic *l, uint8_t tpr)
{
	l->reg[LR_TPR] = tpr;
	lapic_update(l);
}

uint8_t lapic_sipi_vector(struct lapic *l)
{
	return l->sipi_vector;
}

uint32_t lapic_priority(const struct lapic *l)
{
	return ppr(l);
}

/* -- registers -------------------------------------------------------------- */
static uint32_t lvt_mask(const struct lapic *l, unsigned r)
{
	switch (r) {
	case LR_LVTT:
		return 0x300ffu | (cpu_has(l->c, 1, 0, 2, 24) ? 0x40000 : 0);
	case LR_LVT_THERMAL:
	case LR_LVT_PERF:
		return 0x107ff;
	case LR_LVT0:
	case LR_LVT1:
		return 0x1a7ff;
	case LR_LVT_ERROR:
		return 0x100ff;
	}
	return 0;
}

bool lapic_reg_read(struct lapic *l, unsigned r, uint32_t *v)
{
	bool x2 = lapic_x2(l);

	switch (r) {
	case LR_PPR:
		*v = ppr(l);
		return true;
	case LR_TMCCT:
		*v = lapic_timer_count(l);
		return true;
	case LR_DFR: /* xAPIC only */
	case LR_ICR2:
		*v = l->reg[r];
		return !x2;
	case 0x09:   /* APR, remote read: fixed at 0 on this model */
	case 0x0c:
		*v = 0;
		return !x2;
	case LR_EOI:
	case LR_SELF_IPI:
		*v = 0;      /* write-only: an MSR read faults */
		return !x2 && r == LR_EOI;
	case LR_ID: case LR_VERSION: case LR_TPR: case LR_LDR: case LR_SVR:
	case LR_ESR: case LR_ICR: case LR_TMICT: case LR_TDCR:
	case LR_ISR ... LR_ISR + 7:
	case LR_TMR ... LR_TMR + 7:
	case LR_IRR ... LR_IRR + 7:
	case LR_LVTT ... LR_LVT_ERROR:
		*v = l->reg[r];
		return true;
	}
	*v = 0;
	return false;
}

static void write_svr(struct lapic *l, uint32_t v)
{
	l->reg[LR_SVR] = v & 0x11ff;
	if (v & 0x100)
		return;
	/* Software-disabled: every LVT is masked. */
	for (unsigned r = LR_LVTT; r <= LR_LVT_ERROR; r++)
		l->reg[r] |= LVT_MASKED;
}

static void write_lvt(struct lapic *l, unsigned r, uint32_t v)
{
	uint32_t old = l->reg[r];

	v &= lvt_mask(l, r);
	if (!(l->reg[LR_SVR] & 0x100))
		v |= LVT_MASKED;
	l->reg[r] = v;
	if (r == LR_LVTT)
		lapic_timer_lvt(l, old);
}

/* xAPIC by MMIO offset; x2APIC has checked reserved bits already. */
bool lapic_reg_write(struct lapic *l, unsigned r, uint32_t v)
{
	bool x2 = lapic_x2(l);

	switch (r) {
	case LR_ID:
		l->reg[LR_ID] = v & 0xff000000;
		return !x2;
	case LR_TPR:
		l->reg[LR_TPR] = v & 0xff;
		break;
	case LR_EOI:
		lapic_eoi(l);
		return true;
	case LR_LDR:
		l->reg[LR_LDR] = v & 0xff000000;
		return !x2;
	case LR_DFR:
		l->reg[LR_DFR] = v | 0x0fffffff;
		return !x2;
	case LR_SVR:
		write_svr(l, v);
		break;
	case LR_ESR:
		l->reg[LR_ESR] = l->esr_pending;
		l->esr_pending = 0;
		return true;
	case LR_ICR:
		lapic_icr(l, v, l->reg[LR_ICR2] >> 24);
		return true;
	case LR_ICR2:
		l->reg[LR_ICR2] = v & 0xff000000;
		return !x2;
	case LR_LVTT ... LR_LVT_ERROR:
		write_lvt(l, r, v);
		break;
	case LR_TMICT:
		l->reg[LR_TMICT] = v;
		lapic_timer_start(l);
		return true;
	case LR_TDCR:
		l->reg[LR_TDCR] = v & 0xb;
		lapic_timer_divide(l);
		return true;
	case LR_VERSION: case 0x09: case LR_PPR: case 0x0c: case LR_TMCCT:
	case LR_ISR ... LR_IRR + 7:
		return !x2;  /* read-only: ignored on the bus, #GP as MSR */
	default:
		return false;
	}
	lapic_update(l);
	return true;
}

/* -- the MMIO page ------------------------------------------------------------ */
static struct lapic *mmio_target(struct vcpu *c, uint64_t page)
{
	struct lapic *l = c->lapic;

	if (!l || !lapic_hw_enabled(l) || lapic_x2(l) ||
	    (l->base & ~0xfffull) != page)
		return NULL;
	return l;
}

/* One region stands for each base that a vCPU has chosen (dev is the page
 * number); another vCPU's accesses there meet nothing. */
uint64_t lapic_mmio_read(void *dev, struct vcpu *c, uint64_t off, unsigned size)
{
	struct lapic *l = mmio_target(c, (uint64_t)(uintptr_t)dev << 12);
	uint32_t v = 0;

	if (!l)
		return ~0ull >> (64 - 8 * size);
	if (off >= 0x400 || !lapic_reg_read(l, (unsigned)(off >> 4), &v))
		lapic_error(l, ESR_REGISTER);
	/* Only aligned dwords are architectural; bytes of one work as well. */
	return off % 16 < 4 ? (uint64_t)v >> 8 * (off & 3) : 0;
}

void lapic_mmio_write(void *dev, struct vcpu *c, uint64_t off, unsigned size,
		      uint64_t v)
{
	struct lapic *l = mmio_target(c, (uint64_t)(uintptr_t)dev << 12);

	if (!l || off % 16 || size < 4)
		return;
	if (off >= 0x400 || off >> 4 == LR_SELF_IPI ||
	    !lapic_reg_write(l, (unsigned)(off >> 4), (uint32_t)v))
		lapic_error(l, ESR_REGISTER);
}

/* -- life ------------------------------------------------------------------- */
struct lapic *lapic_new(struct vcpu *c)
{
	struct lapic *l = calloc(1, sizeof *l);

	if (!l)
		return NULL;
	l->c = c;
	c->lapic = l;
	l->skew = c->vm->board ? board_now(c->vm->board) : 0;
	lapic_reset(l, false);
	return l;
}

void lapic_free(struct lapic *l)
{
	free(l);
}

/* Power-up, or INIT, which leaves the ID and IA32_APIC_BASE alone. */
void lapic_reset(struct lapic *l, bool init)
{
	uint32_t id = l->reg[LR_ID];
	bool x2 = init && lapic_x2(l);
	uint32_t ldr = x2 ? l->reg[LR_LDR] : 0;

	memset(l->reg, 0, sizeof l->reg);
	if (!init) {
		l->base = LAPIC_BASE | APICBASE_EN |
			(l->c->id ? 0 : APICBASE_BSP);
		id = l->c->id << 24;
	}
	l->reg[LR_ID] = id;
	l->reg[LR_VERSION] = 0x01050014; /* 6 LVTs, EOI-broadcast suppression */
	l->reg[LR_LDR] = ldr;
	l->reg[LR_DFR] = 0xffffffff;
	l->reg[LR_SVR] = 0xff;
	for (unsigned r = LR_LVTT; r <= LR_LVT_ERROR; r++)
		l->reg[r] = LVT_MASKED;
	/* As firmware leaves it on the bootstrap processor: the PIC's output
	 * comes through LINT0. */
	if (l->base & APICBASE_BSP)
		l->reg[LR_LVT0] = DM_EXTINT << 8;
	l->esr_pending = 0;
	lapic_timer_reset(l);
	lapic_update(l);
}
