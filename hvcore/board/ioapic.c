/* ioapic.c: the I/O APIC: 24 pins, redirection table, level and edge triggers
 * with remote IRR (82093AA).
 */
#include "hvcore/board/board.h"

enum { RTE_POLARITY = 1 << 13, RTE_REMOTE_IRR = 1 << 14, RTE_LEVEL = 1 << 15,
       RTE_MASK = 1 << 16 };
/* Delivery status and remote IRR are read-only; 55:17 are reserved. */
#define RTE_WRITABLE 0xff0000000001afffull

static void service(struct board *b, unsigned pin)
{
	struct ioapic *io = &b->ioapic;
	uint64_t e = io->rte[pin];
	struct apic_msg m = {
		.dest = (uint32_t)(e >> 56), .vector = (uint8_t)e,
		.mode = (uint8_t)(e >> 8 & 7), .logical = e >> 11 & 1,
		.level = e >> 15 & 1,
	};

	if (!(io->irr >> pin & 1) || e & RTE_MASK ||
	    (e & RTE_LEVEL && e & RTE_REMOTE_IRR))
		return;
	/* NMI, SMI, INIT are edges whatever the entry says. */
	if (e & RTE_LEVEL && m.mode <= DM_LOWEST)
		io->rte[pin] |= RTE_REMOTE_IRR;
	else
		io->irr &= ~(1u << pin);
	if (m.mode != DM_EXTINT && m.mode != DM_STARTUP)
		apic_send(b->vm, &m);
}

/* The polarity bit is ignored: lines here are "asserted" or not. */
void ioapic_line(struct board *b, unsigned pin, bool level)
{
	struct ioapic *io = &b->ioapic;
	uint32_t bit = 1u << pin;
	bool was = io->lines & bit;

	io->lines = level ? io->lines | bit : io->lines & ~bit;
	if (io->rte[pin] & RTE_LEVEL) {
		io->irr = level ? io->irr | bit : io->irr & ~bit;
	} else if (level && !was) {
		/* An edge while masked is lost. */
		if (io->rte[pin] & RTE_MASK)
			return;
		io->irr |= bit;
	}
	service(b, pin);
}

void ioapic_eoi(struct board *b, uint8_t vector)
{
	struct ioapic *io = &b->ioapic;

	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		if ((uint8_t)io->rte[i] != vector ||
		    !(io->rte[i] & RTE_REMOTE_IRR))
			continue;
		io->rte[i] &= ~(uint64_t)RTE_REMOTE_IRR;
		service(b, i);
	}
}

static uint32_t reg_read(const struct ioapic *io)
{
	unsigned n = io->select;

	switch (n) {
	case 0:
	case 2:
		return (uint32_t)io->id << 24;
	case 1:
		return 0x11 | (IOAPIC_PINS - 1) << 16;
	}
	if (n < 0x10 || n >= 0x10 + 2 * IOAPIC_PINS)
		return 0;
	return (uint32_t)(io->rte[(n - 0x10) / 2] >> (n & 1 ? 32 : 0));
}

static void rte_write(struct board *b, unsigned pin, bool high, uint32_t v)
{
	struct ioapic *io = &b->ioapic;
	uint64_t e = io->rte[pin], keep = e & ~RTE_WRITABLE;

	e = high ? (uint32_t)e | (uint64_t)v << 32 :
		(e & ~0xffffffffull) | v;
	e = (e & RTE_WRITABLE) | (keep & RTE_REMOTE_IRR);
	/* An edge entry has no remote IRR: switching over clears it. */
	if (!(e & RTE_LEVEL)) {
		e &= ~(uint64_t)RTE_REMOTE_IRR;
		if (io->rte[pin] & RTE_LEVEL)
			io->irr &= ~(1u << pin);
	} else if (io->lines >> pin & 1) {
		io->irr |= 1u << pin;
	} else {
		io->irr &= ~(1u << pin);
	}
	io->rte[pin] = e;
	service(b, pin);
}

uint64_t ioapic_mmio_read(void *dev, struct vcpu *c, uint64_t off, unsigned size)
{
	struct board *b = dev;
	uint32_t v = 0;

	(void)c;
	(void)size;
	if ((off & 0xf0) == 0)
		v = b->ioapic.select;
	else if ((off & 0xf0) == 0x10)
		v = reg_read(&b->ioapic);
	return off & 0xc ? 0 : v >> 8 * (off & 3);
}

void ioapic_mmio_write(void *dev, struct vcpu *c, uint64_t off, unsigned size,
		       uint64_t v)
{
	struct board *b = dev;
	unsigned n = b->ioapic.select;

	(void)c;
	(void)size;
	if (off == 0)
		b->ioapic.select = (uint8_t)v;
	else if (off == 0x10 && n == 0)
		b->ioapic.id = v >> 24 & 0xf;
	else if (off == 0x10 && n >= 0x10 && n < 0x10 + 2 * IOAPIC_PINS)
		rte_write(b, (n - 0x10) / 2, n & 1, (uint32_t)v);
}
