/* devices.c: the local APICs, interrupt controllers, timers, clock and serial port
 * of a stream in KVM's structs, or snapshot.h's own.  A device whose section has another shape is left out. */
#include "convert/qemu/stream.h"

enum { APIC_SIZE = 181, PIC_SIZE = 16, IOAPIC_SIZE = 206, PIT_SIZE = 108 };

static void put32(uint8_t *regs, unsigned at, uint32_t v)
{
	memcpy(regs + at, &v, 4);
}

static const uint8_t *body(const struct qstream *q, const struct qsection *s,
			   uint64_t size)
{
	return s->end - s->body == size ? source_at(q->src, s->body, size) : NULL;
}

void qdev_apic(const struct qstream *q, const struct qsection *s,
	       struct snapshot_vcpu *v)
{
	uint8_t *r = (uint8_t *)v->lapic.regs;
	const uint8_t *p = s->version == 3 ? body(q, s, APIC_SIZE) : NULL;
	uint64_t base;

	if (!p)
		return;
	base = be_at(p, 4);
	v->sregs.apic_base = v->sregs2.apic_base = base;
	v->sregs.cr8 = v->sregs2.cr8 = p[6] >> 4;
	/* In x2APIC mode the id is the whole register. */
	put32(r, 0x20, base & 0x400 ? p[4] : (uint32_t)p[4] << 24);
	put32(r, 0x30, 0x50014);
	put32(r, 0x80, p[6]);
	put32(r, 0xd0, (uint32_t)p[11] << 24);
	put32(r, 0xe0, (uint32_t)p[12] << 28 | 0x0fffffff);
	put32(r, 0xf0, (uint32_t)be_at(p + 7, 4));
	for (unsigned i = 0; i < 8; i++) {
		put32(r, 0x100 + 16 * i, (uint32_t)be_at(p + 13 + 4 * i, 4));
		put32(r, 0x180 + 16 * i, (uint32_t)be_at(p + 45 + 4 * i, 4));
		put32(r, 0x200 + 16 * i, (uint32_t)be_at(p + 77 + 4 * i, 4));
	}
	for (unsigned i = 0; i < 6; i++)
		put32(r, 0x320 + 16 * i, (uint32_t)be_at(p + 109 + 4 * i, 4));
	put32(r, 0x280, (uint32_t)be_at(p + 133, 4));
	put32(r, 0x300, (uint32_t)be_at(p + 137, 4));
	put32(r, 0x310, (uint32_t)be_at(p + 141, 4));
	put32(r, 0x3e0, (uint32_t)be_at(p + 145, 4));
	put32(r, 0x380, (uint32_t)be_at(p + 153, 4));
	v->have |= 1u << SN_LAPIC;
}

static void pic(const struct qstream *q, const struct qsection *s,
		struct snapshot *out)
{
	const uint8_t *p = body(q, s, PIC_SIZE);
	struct kvm_irqchip *c = &out->irqchip[s->instance & 1];

	if (!p || s->instance > 1)
		return;
	/* QEMU's order is KVM's, but for single_mode, which KVM has not. */
	memcpy(&c->chip.pic, p, 14);
	c->chip.pic.elcr = p[15];
	c->chip.pic.elcr_mask = s->instance ? 0xde : 0xf8;
	c->chip_id = s->instance;
	out->have_irqchip[s->instance] = true;
	out->have |= 1u << SN_IRQCHIP;
}

static void ioapic(const struct qstream *q, const struct qsection *s,
		   struct snapshot *out)
{
	const uint8_t *p = s->version == 3 ? body(q, s, IOAPIC_SIZE) : NULL;
	struct kvm_irqchip *c = &out->irqchip[KVM_IRQCHIP_IOAPIC];

	if (!p || s->instance)
		return;
	c->chip_id = KVM_IRQCHIP_IOAPIC;
	c->chip.ioapic.id = p[0];
	c->chip.ioapic.ioregsel = p[1];
	c->chip.ioapic.base_address = be_at(p + 2, 8);
	c->chip.ioapic.irr = (uint32_t)be_at(p + 10, 4);
	for (unsigned i = 0; i < 24; i++)
		c->chip.ioapic.redirtbl[i].bits = be_at(p + 14 + 8 * i, 8);
	if (!c->chip.ioapic.base_address)
		c->chip.ioapic.base_address = 0xfec00000;
	out->have_irqchip[KVM_IRQCHIP_IOAPIC] = true;
	out->have |= 1u << SN_IRQCHIP;
}

static void pit(const struct qstream *q, const struct qsection *s,
		struct snapshot *out)
{
	const uint8_t *p = s->version == 3 ? body(q, s, PIT_SIZE) : NULL;

	for (unsigned i = 0; p && i < 3; i++) {
		const uint8_t *c = p + 4 + 32 * i;
		struct kvm_pit_channel_state *t = &out->pit.channels[i];

		t->count = (uint32_t)be_at(c, 4);
		t->latched_count = (uint16_t)be_at(c + 4, 2);
		memcpy(&t->count_latched, c + 6, 10);
		t->count_load_time = (int64_t)be_at(c + 16, 8);
		out->have |= 1u << SN_PIT;
	}
}

static void rtc(const struct qstream *q, const struct qsection *s,
		struct snapshot *out)
{
	const uint8_t *p = s->end - s->body >= 129 ?
		source_at(q->src, s->body, 129) : NULL;

	if (!p)
		return;
	memcpy(out->rtc.cmos, p, 128);
	out->rtc.index = p[128];
	out->have_rtc = true;
}

/* COM1; the fields of version 3. */
static void uart(const struct qstream *q, const struct qsection *s,
		 struct snapshot *out)
{
	const uint8_t *p = s->version == 3 && s->end - s->body >= 11 ?
		source_at(q->src, s->body, 11) : NULL;

	if (!p || s->instance)
		return;
	out->uart = (struct snapshot_uart){ (uint16_t)be_at(p, 2), p[2], p[3],
		p[4], p[5], p[6], p[7], p[8], p[9], p[10] };
	out->have_uart = true;
}

void qdev_vm(const struct qstream *q, struct snapshot *out)
{
	for (uint32_t i = 0; i < q->nsections; i++) {
		const struct qsection *s = &q->section[i];
		const uint8_t *p;

		if (!strcmp(s->name, "i8259"))
			pic(q, s, out);
		if (!strcmp(s->name, "ioapic"))
			ioapic(q, s, out);
		if (!strcmp(s->name, "i8254"))
			pit(q, s, out);
		if (!strcmp(s->name, "mc146818rtc"))
			rtc(q, s, out);
		if (!strcmp(s->name, "serial"))
			uart(q, s, out);
		if (!strcmp(s->name, "kvmclock") && s->end - s->body >= 8 &&
		    (p = source_at(q->src, s->body, 8))) {
			out->clock.clock = be_at(p, 8);
			out->have |= 1u << SN_CLOCK;
		}
	}
}
