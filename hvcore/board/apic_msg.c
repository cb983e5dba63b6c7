/* apic_msg.c: interrupt messages: who they are for and how they are sent (SDM
 * vol. 3, 11.6).  Owns no state.
 */
#include "hvcore/board/board.h"

static bool logical_match(const struct lapic *l, uint32_t dest)
{
	uint32_t ldr = l->reg[LR_LDR];

	if (lapic_x2(l))
		return ldr >> 16 == dest >> 16 && (ldr & dest & 0xffff);
	dest &= 0xff;
	ldr >>= 24;
	if (l->reg[LR_DFR] >> 28 == 0xf)
		return ldr & dest;
	/* Cluster model; cluster 15 is a broadcast to every cluster. */
	return (dest >> 4 == 0xf || dest >> 4 == ldr >> 4) && (ldr & dest & 0xf);
}

static uint32_t physical_id(const struct lapic *l)
{
	return lapic_x2(l) ? l->reg[LR_ID] : l->reg[LR_ID] >> 24;
}

static bool matches(const struct lapic *l, const struct apic_msg *m)
{
	/* A broadcast is all ones in the width of the sender's mode. */
	if (m->dest == (m->x2 ? 0xffffffffu : 0xffu))
		return true;
	if (m->logical)
		return logical_match(l, m->dest);
	return physical_id(l) == m->dest;
}

/* Lowest priority: the least busy enabled APIC, the first of equals. */
static struct lapic *arbitrate(struct vm *vm, const struct apic_msg *m)
{
	struct lapic *best = NULL;

	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct lapic *l = vm->vcpus[i]->lapic;

		if (!l || !lapic_hw_enabled(l) || !(l->reg[LR_SVR] & 0x100) ||
		    !matches(l, m))
			continue;
		if (!best || lapic_priority(l) < lapic_priority(best))
			best = l;
	}
	return best;
}

void apic_send(struct vm *vm, const struct apic_msg *m)
{
	if (m->mode == DM_LOWEST) {
		struct lapic *l = arbitrate(vm, m);

		if (l)
			lapic_accept(l, m);
		return;
	}
	/* A globally disabled APIC hears nothing. */
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct lapic *l = vm->vcpus[i]->lapic;

		if (l && lapic_hw_enabled(l) && matches(l, m))
			lapic_accept(l, m);
	}
}

static void send_all(struct vm *vm, struct vcpu *but, const struct apic_msg *m)
{
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct lapic *l = vm->vcpus[i]->lapic;

		if (l && l->c != but && lapic_hw_enabled(l))
			lapic_accept(l, m);
	}
}

void lapic_icr(struct lapic *l, uint32_t low, uint32_t dest)
{
	struct apic_msg m = {
		.dest = dest, .vector = (uint8_t)low,
		.mode = (uint8_t)(low >> 8 & 7), .logical = low >> 11 & 1,
		.level = low >> 15 & 1, .x2 = lapic_x2(l),
	};
	struct vm *vm = l->c->vm;

	l->reg[LR_ICR] = low & ~0x1000u; /* delivery status: always idle */
	/* INIT level de-assert: not supported since the Pentium 4, no effect. */
	if (m.mode == DM_INIT && m.level && !(low & 0x4000))
		return;
	if (m.mode == DM_RESERVED || m.mode == DM_EXTINT)
		return;
	if (m.mode <= DM_LOWEST && m.vector < 16) {
		lapic_error(l, ESR_SEND_ILLEGAL);
		return;
	}
	if (m.mode <= DM_LOWEST)
		m.level = false; /* IPIs are edge-triggered */
	switch (low >> 18 & 3) {
	case 0:
		apic_send(vm, &m);
		break;
	case 1:
		if (m.mode <= DM_LOWEST || m.mode == DM_NMI)
			lapic_accept(l, &m);
		break;
	case 2:
		send_all(vm, NULL, &m);
		break;
	case 3:
		send_all(vm, l->c, &m);
		break;
	}
}

void lapic_ipi(struct vcpu *c, uint32_t icr_low, uint32_t dest)
{
	if (c->lapic)
		lapic_icr(c->lapic, icr_low, dest);
}
