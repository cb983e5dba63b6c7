/* pic.c: the two 8259A interrupt controllers, cascaded on IRQ 2. */
#include "hvcore/board/board.h"

/* Position of line in the priority order: 0 is the highest. */
static unsigned rank(const struct pic *p, unsigned line)
{
	return (line - p->priority) & 7;
}

static int best(const struct pic *p, uint8_t set)
{
	int found = -1;

	for (unsigned i = 0; i < 8; i++)
		if (set >> i & 1 &&
		    (found < 0 || rank(p, i) < rank(p, (unsigned)found)))
			found = (int)i;
	return found;
}

static uint8_t requests(const struct board *b, unsigned n);

/* The line that this PIC would deliver, or -1. */
static int request(const struct board *b, unsigned n)
{
	const struct pic *p = &b->pic[n];
	int irq = best(p, requests(b, n) & (uint8_t)~p->imr), busy;
	uint8_t service = p->isr;

	if (p->special_mask)
		service &= (uint8_t)~p->imr;
	/* Special fully nested: the slave may interrupt its own level. */
	if (p->nested && n == 0)
		service &= (uint8_t)~4;
	busy = best(p, service);
	if (irq < 0 || (busy >= 0 &&
			rank(p, (unsigned)busy) <= rank(p, (unsigned)irq)))
		return -1;
	return irq;
}

static uint8_t requests(const struct board *b, unsigned n)
{
	uint8_t r = b->pic[n].irr;

	if (n == 0 && request(b, 1) >= 0)
		r |= 4;
	return r;
}

bool pic_output(const struct board *b)
{
	return request(b, 0) >= 0;
}

static void update(struct board *b)
{
	for (unsigned i = 0; i < b->vm->nvcpus; i++) {
		struct lapic *l = b->vm->vcpus[i]->lapic;

		if (l && l->base & APICBASE_BSP)
			lapic_update(l);
	}
}

void pic_line(struct board *b, unsigned line, bool level)
{
	struct pic *p = &b->pic[line >> 3];
	uint8_t bit = (uint8_t)(1u << (line & 7));

	if (p->elcr & bit)
		p->irr = level ? p->irr | bit : p->irr & (uint8_t)~bit;
	else if (level && !(p->lines & bit))
		p->irr |= bit; /* latched: a falling line does not withdraw it */
	p->lines = level ? p->lines | bit : p->lines & (uint8_t)~bit;
	update(b);
}

static void take(struct pic *p, unsigned line)
{
	uint8_t bit = (uint8_t)(1u << line);

	if (!p->auto_eoi)
		p->isr |= bit;
	else if (p->rotate_auto)
		p->priority = (line + 1) & 7;
	if (!(p->elcr & bit))
		p->irr &= (uint8_t)~bit;
}

/* The acknowledge cycle: the vector, IRQ 7 of the PIC where the request has
 * gone (spurious). */
int pic_ack(struct board *b)
{
	int irq = request(b, 0), second, v;

	if (irq < 0)
		return b->pic[0].base + 7;
	take(&b->pic[0], (unsigned)irq);
	if (irq != 2) {
		v = b->pic[0].base + irq;
	} else {
		second = request(b, 1);
		if (second >= 0)
			take(&b->pic[1], (unsigned)second);
		v = b->pic[1].base + (second >= 0 ? second : 7);
	}
	update(b);
	return v;
}

void pic_reset(struct board *b)
{
	for (unsigned n = 0; n < 2; n++)
		b->pic[n] = (struct pic){ .base = n ? 0x70 : 8 };
}

/* OCW2: end of interrupt and rotation. */
static void ocw2(struct pic *p, uint8_t v)
{
	unsigned line = v & 7;
	int busy = best(p, p->isr);

	switch (v >> 5) {
	case 0: /* rotate in auto-EOI mode: off, on */
	case 4:
		p->rotate_auto = v >> 7;
		break;
	case 1: /* non-specific EOI, with rotation */
	case 5:
		if (busy < 0)
			break;
		p->isr &= (uint8_t)~(1u << busy);
		if (v >> 7)
			p->priority = (uint8_t)((busy + 1) & 7);
		break;
	case 3: /* specific EOI, with rotation */
	case 7:
		p->isr &= (uint8_t)~(1u << line);
		if (v >> 7)
			p->priority = (line + 1) & 7;
		break;
	case 6: /* set priority */
		p->priority = (line + 1) & 7;
		break;
	}
}

static void icw1(struct pic *p, uint8_t v)
{
	uint8_t lines = p->lines, elcr = p->elcr, base = p->base;

	*p = (struct pic){ .lines = lines, .elcr = elcr, .base = base,
			   .icw_step = 2, .icw4_needed = v & 1,
			   .irr = lines & elcr };
}

static void write_data(struct pic *p, uint8_t v)
{
	switch (p->icw_step) {
	case 2:
		p->base = v & 0xf8;
		p->icw_step = 3; /* this board has two: never single */
		break;
	case 3:
		p->icw_step = p->icw4_needed ? 4 : 0;
		break;
	case 4:
		p->auto_eoi = v & 2;
		p->nested = v & 0x10;
		p->icw_step = 0;
		break;
	default:
		p->imr = v;
	}
}

void pic_write(struct board *b, uint16_t port, uint8_t v)
{
	struct pic *p = &b->pic[port >> 7 & 1];

	if (port == 0x4d0 || port == 0x4d1) {
		/* IRQ 0, 1, 2, 8 and 13 cannot be level-triggered. */
		b->pic[port & 1].elcr = v & (port & 1 ? 0xde : 0xf8);
	} else if (port & 1) {
		write_data(p, v);
	} else if (v & 0x10) {
		icw1(p, v);
	} else if (v & 8) {
		p->poll = v & 4;
		if (v & 2)
			p->read_isr = v & 1;
		if (v & 0x40)
			p->special_mask = v >> 5 & 1;
	} else {
		ocw2(p, v);
	}
	update(b);
}

uint8_t pic_read(struct board *b, uint16_t port)
{
	unsigned n = port >> 7 & 1;
	struct pic *p = &b->pic[n];
	int irq;

	if (port == 0x4d0 || port == 0x4d1)
		return b->pic[port & 1].elcr;
	if (p->poll) {
		p->poll = false;
		irq = request(b, n);
		if (irq < 0)
			return 0;
		take(p, (unsigned)irq);
		update(b);
		return (uint8_t)(0x80 | irq);
	}
	if (port & 1)
		return p->imr;
	return p->read_isr ? p->isr : requests(b, n);
}
