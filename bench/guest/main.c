/* main.c: the benchmark's guest: command line, the run of a workload.
 *
 * The command line's words LEVEL.WORK=SCALE run in order; LEVEL is bare, l1 or
 * l2 and bare comes before the others.  Without any, everything runs at scale 1.
 * The guest does not measure time: it says how many instructions it ran. */
#include "guest.h"

static unsigned failures;
static uint8_t data[ARENA_DATA] __attribute__((aligned(4096)));
static uint8_t code[ARENA_CODE] __attribute__((aligned(4096)));

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

	init_machine();
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
