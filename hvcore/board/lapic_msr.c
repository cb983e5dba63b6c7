/* lapic_msr.c: the local APIC as MSRs: IA32_APIC_BASE, IA32_TSC_DEADLINE and
 * x2APIC mode (SDM vol. 3, 11.12), and as KVM's struct kvm_lapic_state.
 */
#include "hvcore/board/board.h"

#define MSR_APIC_BASE 0x1b
#define MSR_TSC_DEADLINE 0x6e0
#define MSR_X2APIC 0x800

static bool has_x2apic(struct vcpu *c)
{
	return cpu_has(c, 1, 0, 2, 21);
}

static bool has_deadline(struct vcpu *c)
{
	return cpu_has(c, 1, 0, 2, 24);
}

/* -- IA32_APIC_BASE ----------------------------------------------------------- */
static void map_page(struct vm *vm, uint64_t page)
{
	void *dev = (void *)(uintptr_t)(page >> 12);

	for (unsigned i = 0; i < vm->nmmio; i++)
		if (vm->mmio[i].gpa == page && vm->mmio[i].dev == dev)
			return;
	if (vm->nmmio == sizeof vm->mmio / sizeof vm->mmio[0])
		return; /* the base is unreachable then, as behind a bridge */
	vm->mmio[vm->nmmio++] = (struct mmio_region){
		.gpa = page, .size = 0x1000, .read = lapic_mmio_read,
		.write = lapic_mmio_write, .dev = dev };
}

static uint32_t x2_ldr(uint32_t id)
{
	return (id & 0xffff0u) << 12 | 1u << (id & 0xf);
}

static void enter_x2(struct lapic *l)
{
	l->reg[LR_ID] = l->c->id;
	l->reg[LR_LDR] = x2_ldr(l->c->id);
	l->reg[LR_ICR2] = 0;
}

static bool write_base(struct lapic *l, uint64_t v)
{
	uint64_t mode = v & (APICBASE_EN | APICBASE_EXTD);
	uint64_t old = l->base & (APICBASE_EN | APICBASE_EXTD);
	uint64_t reserved = 0x2ff | ~0ull << maxphyaddr(l->c) |
		(has_x2apic(l->c) ? 0 : APICBASE_EXTD);

	if (v & reserved || mode == APICBASE_EXTD)
		return false;
	/* SDM 11.12.5: x2APIC is entered from xAPIC only and left by
	 * disabling the APIC altogether. */
	if (old == (APICBASE_EN | APICBASE_EXTD) && mode == APICBASE_EN)
		return false;
	if (!old && mode == (APICBASE_EN | APICBASE_EXTD))
		return false;
	l->base = v;
	if (!old && mode) {
		uint64_t bsp = l->base;

		lapic_reset(l, false);
		l->base = bsp;
	}
	if (!(old & APICBASE_EXTD) && mode & APICBASE_EXTD)
		enter_x2(l);
	map_page(l->c->vm, v & ~0xfffull);
	lapic_update(l);
	return true;
}

/* -- the x2APIC register space -------------------------------------------------- */
static uint32_t x2_reserved(unsigned r)
{
	switch (r) {
	case LR_TPR:
	case LR_SELF_IPI:
		return ~0xffu;
	case LR_EOI:
	case LR_ESR:
		return ~0u;
	case LR_SVR:
		return ~0x11ffu;
	case LR_LVTT:
		return ~0x710ffu;
	case LR_LVT_THERMAL:
	case LR_LVT_PERF:
		return ~0x117ffu;
	case LR_LVT0:
	case LR_LVT1:
		return ~0x1f7ffu;
	case LR_LVT_ERROR:
		return ~0x110ffu;
	case LR_TDCR:
		return ~0xbu;
	}
	return 0;
}

static bool x2_write(struct lapic *l, unsigned r, uint64_t v)
{
	if (r == LR_ICR) {
		/* Reserved: 31:20, 17:16, 13; 12 is the xAPIC's status. */
		if (v & 0xfff33000u)
			return false;
		l->reg[LR_ICR2] = (uint32_t)(v >> 32);
		lapic_icr(l, (uint32_t)v, (uint32_t)(v >> 32));
		return true;
	}
	if (v >> 32 || (uint32_t)v & x2_reserved(r))
		return false;
	if (r == LR_SELF_IPI) {
		uint32_t icr = l->reg[LR_ICR];

		lapic_icr(l, (uint32_t)v | 0x40000, 0);
		l->reg[LR_ICR] = icr;
		return true;
	}
	if (r == LR_ID || r == LR_LDR || r == LR_DFR || r == LR_ICR2)
		return false;
	return lapic_reg_write(l, r, (uint32_t)v);
}

static bool x2_read(struct lapic *l, unsigned r, uint64_t *v)
{
	uint32_t low;

	if (r == LR_ICR) {
		*v = (uint64_t)l->reg[LR_ICR2] << 32 | l->reg[LR_ICR];
		return true;
	}
	if (r == LR_EOI || r == LR_SELF_IPI || !lapic_reg_read(l, r, &low))
		return false;
	*v = low;
	return true;
}

static bool is_x2_index(uint32_t index)
{
	return index >= MSR_X2APIC && index < MSR_X2APIC + LR_COUNT;
}

/* False: no such MSR (now): the caller raises #GP. */
bool lapic_msr_read(struct vcpu *c, uint32_t index, uint64_t *v)
{
	struct lapic *l = c->lapic;

	*v = 0;
	if (!l)
		return false;
	if (index == MSR_APIC_BASE) {
		*v = l->base;
		return true;
	}
	if (index == MSR_TSC_DEADLINE) {
		*v = l->deadline;
		return has_deadline(c);
	}
	return is_x2_index(index) && lapic_x2(l) &&
		x2_read(l, index - MSR_X2APIC, v);
}

/* False: not one of the APIC's MSRs (now); *gp: one of its, but bad. */
bool lapic_msr_write(struct vcpu *c, uint32_t index, uint64_t v, bool *gp)
{
	struct lapic *l = c->lapic;

	if (!l)
		return false;
	if (index == MSR_APIC_BASE) {
		*gp = !write_base(l, v);
		return true;
	}
	if (index == MSR_TSC_DEADLINE) {
		if (!has_deadline(c))
			return false;
		/* Ignored outside deadline mode. */
		if (LVT_MODE(l->reg[LR_LVTT]) == TIMER_DEADLINE) {
			l->deadline = v;
			board_tsc_changed(c);
		}
		return true;
	}
	if (!is_x2_index(index) || !lapic_x2(l))
		return false;
	*gp = !x2_write(l, index - MSR_X2APIC, v);
	return true;
}

/* -- KVM's form: the register page -------------------------------------------- */
void lapic_get(struct vcpu *c, struct kvm_lapic_state *s)
{
	const struct lapic *l = c->lapic;

	memset(s, 0, sizeof *s);
	for (unsigned r = 0; r < LR_COUNT; r++)
		memcpy(s->regs + r * 16, &l->reg[r], 4);
	uint32_t v = lapic_priority(l);
	memcpy(s->regs + LR_PPR * 16, &v, 4);
	v = lapic_timer_count(c->lapic);
	memcpy(s->regs + LR_TMCCT * 16, &v, 4);
	/* Without KVM_CAP_X2APIC_API the ID has the xAPIC's place always. */
	if (lapic_x2(l)) {
		v = l->reg[LR_ID] << 24;
		memcpy(s->regs + LR_ID * 16, &v, 4);
	}
}

/* IA32_APIC_BASE must have been set; IA32_TSC_DEADLINE comes after. */
void lapic_set(struct vcpu *c, const struct kvm_lapic_state *s)
{
	struct lapic *l = c->lapic;
	uint32_t count;

	for (unsigned r = 0; r < LR_COUNT; r++)
		memcpy(&l->reg[r], s->regs + r * 16, 4);
	count = l->reg[LR_TMCCT];
	l->reg[LR_VERSION] |= 0x10;
	if (lapic_x2(l)) {
		l->reg[LR_ID] = c->id;
		l->reg[LR_LDR] = x2_ldr(c->id);
	}
	lapic_timer_resume(l, count);
	lapic_update(l);
}

/* The vCPU's base as KVM_SET_SREGS gives it: no transition rules. */
void lapic_set_base(struct vcpu *c, uint64_t base)
{
	c->lapic->base = base;
	map_page(c->vm, base & ~0xfffull);
	lapic_update(c->lapic);
}
