/* main.c: the guest: console, command line, exceptions, the run of a workload.
 *
 * The command line's words LEVEL.WORK=SCALE run in order; LEVEL is bare, l1 or
 * l2 and bare comes before the others.  Without any, everything runs at scale 1.
 * The guest does not measure time: it says how many instructions it ran. */
#include "guest.h"

#define COM1 0x3f8
#define COM1_LSR (COM1 + 5)

static unsigned failures;
static uint8_t data[ARENA_DATA] __attribute__((aligned(4096)));
static uint8_t code[ARENA_CODE] __attribute__((aligned(4096)));
static struct { uint16_t limit; uint64_t base; } __attribute__((packed)) idt_pointer;
static struct { uint16_t low, selector, flags, mid; uint32_t high, zero; } idt[32];

/* -- console ------------------------------------------------------------------------ */
static void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile ("outb %0, %1" : : "a" (v), "Nd" (port));
}

static uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile ("inb %1, %0" : "=a" (v) : "Nd" (port));
	return v;
}

/* 115200 baud, 8 data bits, no parity. */
static void init_console(void)
{
	out8(COM1 + 1, 0);
	out8(COM1 + 3, 0x80);
	out8(COM1, 1);
	out8(COM1 + 1, 0);
	out8(COM1 + 3, 3);
}

void say(const char *s)
{
	for (; *s; s++) {
		for (unsigned n = 0; n < 100000 && !(in8(COM1_LSR) & 0x20); n++)
			;
		out8(COM1, (uint8_t)*s);
	}
}

/* What was said is sent: the machine may go away. */
static void drain(void)
{
	for (unsigned n = 0; n < 100000 && !(in8(COM1_LSR) & 0x40); n++)
		;
}

void say_number(const char *name, uint64_t v, unsigned base)
{
	char text[24], *p = text + sizeof text - 1;

	*p = 0;
	do {
		*--p = "0123456789abcdef"[v % base];
		v /= base;
	} while (v);
	say(name);
	say(base == 16 ? "0x" : "");
	say(p);
}

void give_up(const char *why)
{
	say("\nFATAL ");
	say(why);
	say("\nDONE fail\n");
	drain();
	power_off(1);
}

/* -- exceptions ---------------------------------------------------------------------- */
static void init_idt(void)
{
	for (unsigned n = 0; n < 32; n++) {
		uint64_t at = (uint64_t)exception_stubs + 16ul * n;

		idt[n].low = (uint16_t)at;
		idt[n].selector = 8;
		idt[n].flags = 0x8e00;
		idt[n].mid = (uint16_t)(at >> 16);
		idt[n].high = (uint32_t)(at >> 32);
	}
	idt_pointer.limit = sizeof idt - 1;
	idt_pointer.base = (uint64_t)idt;
	__asm__ volatile ("lidt %0" : : "m" (idt_pointer));
}

uint64_t idt_base(void)
{
	return (uint64_t)idt;
}

int guest_exception(uint64_t vector, uint64_t first, uint64_t second, uint64_t cr2)
{
	say_number("\nEXCEPTION ", vector, 10);
	say_number(" stack ", first, 16);
	say_number(" ", second, 16);
	say_number(" cr2 ", cr2, 16);
	say("\nDONE fail\n");
	drain();
	return 1;
}

/* -- running -------------------------------------------------------------------------- */
static const struct level {
	const char *name;
	unsigned where;
} levels[] = { { "bare", AT_BARE }, { "l1", AT_L1 }, { "l2", AT_L2 } };

static uint64_t call_here(routine *f, uint64_t a, uint64_t b, uint64_t c)
{
	return f(a, b, c);
}

static const char *unable(const struct level *l, const struct workload *w)
{
	if (!(w->where & l->where))
		return "not at this level";
	if (l->where == AT_BARE)
		return vmx_is_on() ? "bare comes first" : 0;
	return vmx_unable(l->where == AT_L2, w->where & NEEDS_SHADOW);
}

static void run(const struct level *l, const struct workload *w, uint64_t scale)
{
	struct run r = { .call = call_here, .data = data, .code = code,
			 .scale = scale };
	const char *why = unable(l, w);

	say("RESULT ");
	say(l->name);
	say(".");
	say(w->name);
	if (why) {
		say(" SKIP ");
		say(why);
		say("\n");
		return;
	}
	if (l->where != AT_BARE)
		vmx_prepare(w->where & NEEDS_SHADOW);
	if (l->where == AT_L2)
		r.call = vmx_call;
	w->run(&r);
	say_number(" scale=", scale, 10);
	say_number(" insns=", r.insns, 10);
	say_number(" events=", r.events, 10);
	say(" of=");
	say(w->event);
	say_number(" tsc=", r.stop - r.start, 10);
	say_number(" sum=", r.sum, 16);
	say(r.bad ? " BAD\n" : " ok\n");
	failures += r.bad;
}

/* Is a, of n characters, the word b? */
static bool is(const char *a, uint64_t n, const char *b)
{
	for (; n; n--, a++, b++)
		if (*a != *b)
			return false;
	return !*b;
}

static const struct workload *const lists[] = { plain_work, vmx_work };

static bool run_named(const char *s, uint64_t level, uint64_t name, uint64_t scale)
{
	for (unsigned l = 0; l < sizeof levels / sizeof *levels; l++)
		for (unsigned k = 0; k < 2; k++)
			for (const struct workload *w = lists[k]; w->name; w++)
				if (is(s, level, levels[l].name) &&
				    is(s + level + 1, name, w->name)) {
					run(&levels[l], w, scale);
					return true;
				}
	return false;
}

/* A word of n characters; true: it asks for something. */
static bool word(const char *s, uint64_t n)
{
	uint64_t dot = 0, eq = 0, scale = 0;

	while (dot < n && s[dot] != '.')
		dot++;
	while (eq < n && s[eq] != '=')
		eq++;
	if (eq == n)
		return false;
	for (uint64_t i = eq + 1; i < n; i++)
		scale = scale * 10 + (uint64_t)(s[i] - '0');
	if (dot > eq || !scale || !run_named(s, dot, eq - dot - 1, scale)) {
		say("unknown word on the command line\n");
		failures++;
	}
	return true;
}

int guest_main(const uint32_t *info)
{
	const char *s = info[0] & 4 ? (const char *)(uint64_t)info[4] : "";
	bool any = false;

	init_console();
	init_idt();
	say("bench 1\n");
	while (*s) {
		uint64_t n = 0;

		while (s[n] && s[n] != ' ')
			n++;
		any |= word(s, n);
		s += n + (s[n] == ' ');
	}
	for (unsigned l = 0; !any && l < sizeof levels / sizeof *levels; l++)
		for (unsigned k = 0; k < 2; k++)
			for (const struct workload *w = lists[k]; w->name; w++)
				run(&levels[l], w, 1);
	say(failures ? "DONE fail\n" : "DONE ok\n");
	drain();
	return failures != 0;
}
