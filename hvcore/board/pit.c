/* pit.c: the 8254 timer: three channels, all six modes, at 1.193182 MHz of
 * virtual time.  Channel 0 drives IRQ 0, channel 2 the speaker gate (port
 * 0x61).  A channel's output and count follow from when it was loaded.
 */
#include "hvcore/board/board.h"

#define PIT_HZ 1193182u

static uint64_t elapsed(const struct board *b, const struct pit_channel *c)
{
	return board_to_hz(b, board_now(b) - c->start, PIT_HZ);
}

static bool counting(const struct pit_channel *c)
{
	/* Modes 1 and 5 count from the gate's edge whatever its level. */
	return c->loaded && (c->gate || c->mode == 1 || c->mode == 5);
}

static bool out_at(const struct pit_channel *c, uint64_t d)
{
	switch (c->mode) {
	case 0:
	case 1:
		return d >= c->count;
	case 2:
		return d % c->count != c->count - 1;
	case 3:
		return d % c->count < (c->count + 1) / 2;
	default: /* 4, 5: low for one tick at the end */
		return d != c->count;
	}
}

static bool channel_out(const struct board *b, const struct pit_channel *c)
{
	if (!c->loaded)
		return c->mode != 0;
	if (!counting(c))
		return c->mode != 0;
	return out_at(c, elapsed(b, c));
}

bool pit_out(struct board *b, unsigned n)
{
	return channel_out(b, &b->pit.ch[n]);
}

static uint16_t to_bcd(uint32_t v)
{
	return (uint16_t)(v % 10 | v / 10 % 10 << 4 | v / 100 % 10 << 8 |
			  v / 1000 % 10 << 12);
}

static uint16_t count_now(const struct board *b, const struct pit_channel *c)
{
	uint64_t d = counting(c) ? elapsed(b, c) : 0;
	uint32_t wrap = c->bcd ? 10000 : 65536, v;

	if (!c->loaded)
		return 0;
	switch (c->mode) {
	case 2:
		v = c->count - (uint32_t)(d % c->count);
		break;
	case 3: /* counts by two, twice a period */
		v = c->count - (uint32_t)(d * 2 % c->count);
		v &= ~1u;
		break;
	default:
		v = (uint32_t)((c->count + wrap - d % wrap) % wrap);
	}
	return c->bcd ? to_bcd(v % wrap) : (uint16_t)v;
}

/* Board time of channel 0's next output change after the one at hand. */
static uint64_t next_change(const struct board *b, const struct pit_channel *c)
{
	uint64_t d, at;

	if (!counting(c))
		return BOARD_NEVER;
	d = elapsed(b, c);
	switch (c->mode) {
	case 0:
	case 1:
		if (d >= c->count)
			return BOARD_NEVER;
		at = c->count;
		break;
	case 2:
		at = d - d % c->count + (d % c->count < c->count - 1 ?
			c->count - 1 : c->count);
		break;
	case 3:
		at = d - d % c->count + (d % c->count < (c->count + 1) / 2 ?
			(c->count + 1) / 2 : c->count);
		break;
	default:
		if (d > c->count)
			return BOARD_NEVER;
		at = d < c->count ? c->count : c->count + 1;
	}
	return c->start + board_from_hz(b, at, PIT_HZ);
}

static void update0(struct board *b)
{
	bool out = pit_out(b, 0);

	b->pit.due = next_change(b, &b->pit.ch[0]);
	if (out != b->pit.out0) {
		b->pit.out0 = out;
		board_irq(b, 0, out);
	}
}

/* A period of mode 2 or 3 that passed unseen still had its rising edge. */
void pit_take(struct board *b)
{
	struct pit_channel *c = &b->pit.ch[0];

	if (board_now(b) < b->pit.due)
		return;
	if (b->pit.out0 && pit_out(b, 0) && (c->mode == 2 || c->mode == 3)) {
		board_irq(b, 0, false);
		board_irq(b, 0, true);
	}
	update0(b);
}

static void load(struct board *b, unsigned n, uint16_t v)
{
	struct pit_channel *c = &b->pit.ch[n];
	uint32_t count = v;

	if (c->bcd)
		count = (v & 15) + (v >> 4 & 15) * 10 + (v >> 8 & 15) * 100 +
			(v >> 12 & 15) * 1000u;
	c->count = count ? count : c->bcd ? 10000 : 65536;
	/* Mode 2 with a count of 1 is not allowed; it would never be high. */
	if (c->mode == 2 && c->count == 1)
		c->count = 2;
	c->start = board_now(b);
	c->loaded = true;
	if (n == 0)
		update0(b);
	board_rearm(b);
}

static void latch(struct board *b, struct pit_channel *c)
{
	if (c->latch_left)
		return;
	c->latched = count_now(b, c);
	c->latch_left = c->access == 3 ? 2 : 1;
	if (c->access == 2)
		c->latched >>= 8;
}

static void latch_status(struct board *b, struct pit_channel *c)
{
	if (c->status_latched)
		return;
	c->status_latched = true;
	c->status = (uint8_t)(channel_out(b, c) << 7 | !c->loaded << 6 |
			      c->access << 4 | c->mode << 1 | c->bcd);
}

static void control(struct board *b, uint8_t v)
{
	unsigned n = v >> 6;
	struct pit_channel *c;

	if (n == 3) { /* read-back */
		for (n = 0; n < 3; n++) {
			if (!(v >> (n + 1) & 1))
				continue;
			if (!(v & 0x20))
				latch(b, &b->pit.ch[n]);
			if (!(v & 0x10))
				latch_status(b, &b->pit.ch[n]);
		}
		return;
	}
	c = &b->pit.ch[n];
	if (!(v & 0x30)) {
		latch(b, c);
		return;
	}
	c->access = v >> 4 & 3;
	c->mode = v >> 1 & 7;
	if (c->mode > 5)
		c->mode -= 4;
	c->bcd = v & 1;
	c->loaded = c->write_low_done = c->read_low_done = false;
	c->latch_left = 0;
	c->status_latched = false;
	if (n == 0)
		update0(b);
	board_rearm(b);
}

static void write_count(struct board *b, unsigned n, uint8_t v)
{
	struct pit_channel *c = &b->pit.ch[n];

	switch (c->access) {
	case 1:
		load(b, n, v);
		break;
	case 2:
		load(b, n, (uint16_t)(v << 8));
		break;
	case 3:
		if (!c->write_low_done) {
			c->low = v;
			/* Mode 0 stops counting between the two bytes. */
			if (c->mode == 0)
				c->loaded = false;
		} else {
			load(b, n, (uint16_t)(c->low | v << 8));
		}
		c->write_low_done = !c->write_low_done;
	}
}

static uint8_t read_count(struct board *b, struct pit_channel *c)
{
	uint16_t v;

	if (c->status_latched) {
		c->status_latched = false;
		return c->status;
	}
	if (c->latch_left) {
		v = c->latched;
		c->latched >>= 8;
		c->latch_left--;
		return (uint8_t)v;
	}
	v = count_now(b, c);
	if (c->access == 3) {
		c->read_low_done = !c->read_low_done;
		return (uint8_t)(c->read_low_done ? v : v >> 8);
	}
	return (uint8_t)(c->access == 2 ? v >> 8 : v);
}

static void set_gate2(struct board *b, bool gate)
{
	struct pit_channel *c = &b->pit.ch[2];

	/* The rising edge (re)starts all modes but 0 and 4, which go on. */
	if (gate && !c->gate && c->mode != 0 && c->mode != 4)
		c->start = board_now(b);
	else if (gate && !c->gate && c->loaded)
		c->start = board_now(b);
	c->gate = gate;
}

uint8_t pit_read(struct board *b, uint16_t port)
{
	if (port == 0x61)
		/* Bit 4 toggles with memory refresh, every 15 us. */
		return (uint8_t)((b->port61 & 0xf) | pit_out(b, 2) << 5 |
			(board_to_hz(b, board_now(b), 66666) & 1) << 4);
	return port == 0x43 ? 0xff : read_count(b, &b->pit.ch[port & 3]);
}

void pit_write(struct board *b, uint16_t port, uint8_t v)
{
	if (port == 0x61) {
		b->port61 = v & 0xf;
		set_gate2(b, v & 1);
	} else if (port == 0x43) {
		control(b, v);
	} else {
		write_count(b, port & 3, v);
	}
}

/* After the state was set from outside. */
void pit_rearm(struct board *b)
{
	b->pit.due = next_change(b, &b->pit.ch[0]);
}

void pit_reset(struct board *b)
{
	memset(&b->pit, 0, sizeof b->pit);
	b->pit.ch[0].gate = b->pit.ch[1].gate = true;
	for (unsigned n = 0; n < 3; n++) {
		b->pit.ch[n].access = 3;
		b->pit.ch[n].mode = 3;
		b->pit.ch[n].count = 65536;
	}
	/* Outputs are high, as firmware leaves them, and that is no edge. */
	b->pit.out0 = true;
	b->dev_lines |= 1;
	b->pic[0].lines |= 1;
	b->ioapic.lines |= 4;
	b->pit.due = BOARD_NEVER;
}
