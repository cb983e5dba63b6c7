/* rtc.c: the MC146818 clock and its CMOS bytes, IRQ 8.  It starts at a fixed
 * date, so that runs can be repeated, and goes on in virtual time.
 */
#include "hvcore/board/board.h"

#define START_SECONDS 1704067200 /* 2024-01-01 00:00:00 UTC */

enum { RTC_A = 10, RTC_B, RTC_C, RTC_D };
enum { B_SET = 0x80, B_PIE = 0x40, B_AIE = 0x20, B_UIE = 0x10, B_BINARY = 4,
       B_24H = 2 };
enum { C_IRQF = 0x80, C_PF = 0x40, C_AF = 0x20, C_UF = 0x10 };

static uint64_t second(const struct board *b)
{
	return board_khz(b) * 1000;
}

/* Days since 1970-01-01 to civil date and back (proleptic Gregorian). */
static void civil(int64_t days, int *y, int *m, int *d)
{
	int64_t z = days + 719468, era = z / 146097;
	int64_t doe = z - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;

	*d = (int)(doy - (153 * mp + 2) / 5 + 1);
	*m = (int)(mp < 10 ? mp + 3 : mp - 9);
	*y = (int)(yoe + era * 400 + (*m <= 2));
}

static int64_t days_of(int y, int m, int d)
{
	int64_t yy = y - (m <= 2), era = yy / 400, yoe = yy - era * 400;
	int64_t doy = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;

	return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

static int64_t clock_now(const struct board *b)
{
	const struct rtc *r = &b->rtc;

	if (r->cmos[RTC_B] & B_SET)
		return r->base_seconds;
	return r->base_seconds +
		(int64_t)((board_now(b) - r->base_time) / second(b));
}

static uint8_t encode(const struct rtc *r, int v)
{
	return (uint8_t)(r->cmos[RTC_B] & B_BINARY ? v : v / 10 << 4 | v % 10);
}

static int decode(const struct rtc *r, uint8_t v)
{
	return r->cmos[RTC_B] & B_BINARY ? v : (v >> 4) * 10 + (v & 15);
}

static uint8_t encode_hour(const struct rtc *r, int h)
{
	if (r->cmos[RTC_B] & B_24H)
		return encode(r, h);
	return encode(r, h % 12 ? h % 12 : 12) | (h >= 12 ? 0x80 : 0);
}

/* The calendar registers as they stand at this moment. */
static void refresh(struct board *b)
{
	struct rtc *r = &b->rtc;
	int64_t t = clock_now(b), days = t / 86400, s = t % 86400;
	int y, m, d;

	civil(days, &y, &m, &d);
	r->cmos[0] = encode(r, (int)(s % 60));
	r->cmos[2] = encode(r, (int)(s / 60 % 60));
	r->cmos[4] = encode_hour(r, (int)(s / 3600));
	r->cmos[6] = encode(r, (int)((days + 4) % 7 + 1));
	r->cmos[7] = encode(r, d);
	r->cmos[8] = encode(r, m);
	r->cmos[9] = encode(r, y % 100);
	r->cmos[0x32] = encode(r, y / 100);
}

/* The guest has set a calendar register: count on from what stands there. */
static void adopt(struct board *b)
{
	struct rtc *r = &b->rtc;
	int h = decode(r, r->cmos[4] & 0x7f), y;

	if (!(r->cmos[RTC_B] & B_24H))
		h = h % 12 + (r->cmos[4] & 0x80 ? 12 : 0);
	y = decode(r, r->cmos[0x32]) * 100 + decode(r, r->cmos[9]);
	r->base_seconds = days_of(y, decode(r, r->cmos[8]),
				  decode(r, r->cmos[7])) * 86400 +
		h * 3600 + decode(r, r->cmos[2]) * 60 + decode(r, r->cmos[0]);
	/* Nonsense before 1970 counts from there. */
	if (r->base_seconds < 0)
		r->base_seconds = 0;
	r->base_time = board_now(b);
}

/* -- interrupts --------------------------------------------------------------- */
static uint64_t periodic_ticks(const struct board *b)
{
	unsigned rate = b->rtc.cmos[RTC_A] & 15;

	if (!rate || !(b->rtc.cmos[RTC_B] & B_PIE))
		return 0;
	if (rate < 3)
		rate += 7;
	return board_from_hz(b, 1ull << (rate - 1), 32768);
}

static void raise_irq(struct board *b, uint8_t flag)
{
	struct rtc *r = &b->rtc;

	r->cmos[RTC_C] |= flag;
	if (r->cmos[RTC_B] & flag & (C_PF | C_AF | C_UF)) {
		r->cmos[RTC_C] |= C_IRQF;
		board_irq(b, 8, true);
	}
}

static void reschedule(struct board *b)
{
	struct rtc *r = &b->rtc;
	uint64_t p = periodic_ticks(b), now = board_now(b);

	r->periodic_next = p ? now - now % p + p : BOARD_NEVER;
	r->second_next = r->cmos[RTC_B] & (B_UIE | B_AIE) &&
		!(r->cmos[RTC_B] & B_SET) ?
		now - (now - r->base_time) % second(b) + second(b) :
		BOARD_NEVER;
	board_rearm(b);
}

static bool alarm_matches(struct rtc *r)
{
	static const uint8_t pair[][2] = { { 0, 1 }, { 2, 3 }, { 4, 5 } };

	for (unsigned i = 0; i < 3; i++) {
		uint8_t want = r->cmos[pair[i][1]];

		if (want < 0xc0 && want != r->cmos[pair[i][0]])
			return false;
	}
	return true;
}

uint64_t rtc_due(struct board *b)
{
	const struct rtc *r = &b->rtc;

	return r->periodic_next < r->second_next ? r->periodic_next :
		r->second_next;
}

void rtc_take(struct board *b)
{
	struct rtc *r = &b->rtc;
	uint64_t now = board_now(b);

	if (now >= r->periodic_next) {
		r->periodic_next = now - now % periodic_ticks(b) +
			periodic_ticks(b);
		raise_irq(b, C_PF);
	}
	if (now >= r->second_next) {
		r->second_next += second(b);
		refresh(b);
		raise_irq(b, C_UF);
		if (alarm_matches(r))
			raise_irq(b, C_AF);
	}
}

/* -- ports ---------------------------------------------------------------------- */
static bool calendar(unsigned i)
{
	return i == 0 || i == 2 || i == 4 || (i >= 6 && i <= 9) || i == 0x32;
}

uint8_t rtc_read(struct board *b, uint16_t port)
{
	struct rtc *r = &b->rtc;
	uint8_t v;

	if (port == 0x70)
		return 0xff;
	if (calendar(r->index) && !(r->cmos[RTC_B] & B_SET))
		refresh(b);
	v = r->cmos[r->index];
	if (r->index == RTC_A && !(r->cmos[RTC_B] & B_SET)) {
		/* Update in progress: the last 244 us of each second. */
		uint64_t in = (board_now(b) - r->base_time) % second(b);

		v &= 0x7f;
		if (in >= second(b) - board_khz(b) * 244 / 1000)
			v |= 0x80;
	}
	if (r->index == RTC_C) {
		r->cmos[RTC_C] = 0;
		board_irq(b, 8, false);
	}
	return v;
}

void rtc_write(struct board *b, uint16_t port, uint8_t v)
{
	struct rtc *r = &b->rtc;
	uint8_t old;

	if (port == 0x70) {
		r->index = v & 0x7f;
		return;
	}
	if (calendar(r->index)) {
		if (!(r->cmos[RTC_B] & B_SET))
			refresh(b);
		r->cmos[r->index] = v;
		adopt(b);
		return;
	}
	if (r->index == RTC_C || r->index == RTC_D)
		return;
	old = r->cmos[r->index];
	if (r->index == RTC_B && v & B_SET && !(old & B_SET)) {
		refresh(b);
		r->base_seconds = clock_now(b);
	}
	r->cmos[r->index] = r->index == RTC_A ? v & 0x7f : v;
	if (r->index == RTC_B && old & B_SET && !(v & B_SET))
		adopt(b);
	if (r->index == RTC_A || r->index == RTC_B)
		reschedule(b);
}

/* After the state was set from outside. */
void rtc_rearm(struct board *b)
{
	reschedule(b);
}

void rtc_set(struct board *b, const struct snapshot_rtc *s)
{
	struct rtc *r = &b->rtc;

	memcpy(r->cmos, s->cmos, sizeof r->cmos);
	r->index = s->index & 0x7f;
	adopt(b);
	reschedule(b);
}

void rtc_reset(struct board *b)
{
	struct rtc *r = &b->rtc;

	memset(r, 0, sizeof *r);
	r->base_seconds = START_SECONDS;
	r->cmos[RTC_A] = 0x26;
	r->cmos[RTC_B] = B_24H;
	r->cmos[RTC_D] = 0x80;
	r->periodic_next = r->second_next = BOARD_NEVER;
}
