/* until.c: parses and tests the stop conditions. */
#include "cli/resume/until.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "layouts/vmcs.h"

static bool number(const char *text, char end, uint64_t *v, const char **rest)
{
	char *stop;

	errno = 0;
	*v = strtoull(text, &stop, 0);
	if (stop == text || errno || (*stop && *stop != end))
		return false;
	*rest = stop;
	return true;
}

static bool parse_io(struct until *u, const char *arg)
{
	const char *rest;

	if (!number(arg, '=', &u->a, &rest) || u->a > 0xffff)
		return false;
	u->has_b = *rest == '=';
	return !u->has_b || number(rest + 1, 0, &u->b, &rest);
}

static bool parse_exit(struct until *u, const char *arg)
{
	const char *rest;
	int reason;

	if (number(arg, 0, &u->a, &rest))
		return true;
	reason = vmx_exit_reason_lookup(arg);
	u->a = (uint64_t)reason;
	return reason >= 0;
}

static bool parse_rip(struct until *u, const char *arg)
{
	const char *rest;

	if (!strncmp(arg, "L1:", 3))
		u->level = 1, arg += 3;
	else if (!strncmp(arg, "L2:", 3))
		u->level = 2, arg += 3;
	return number(arg, 0, &u->a, &rest);
}

enum nst_status until_parse(const char *text, struct until *u,
			    struct nst_error *e)
{
	const char *arg = strchr(text, ':'), *rest;
	size_t len = arg ? (size_t)(arg - text) : strlen(text);
	bool good = false;

	memset(u, 0, sizeof *u);
	u->text = text;
	arg = arg ? arg + 1 : "";
#define IS(word) (len == strlen(word) && !strncmp(text, word, len))
	if (IS("io"))
		u->kind = UNTIL_IO, good = parse_io(u, arg);
	else if (IS("exit"))
		u->kind = UNTIL_EXIT, good = parse_exit(u, arg);
	else if (IS("rip"))
		u->kind = UNTIL_RIP, good = parse_rip(u, arg);
	else if (IS("write"))
		u->kind = UNTIL_WRITE, good = number(arg, 0, &u->a, &rest);
	else if (IS("console"))
		u->kind = UNTIL_CONSOLE, u->needle = arg, good = *arg;
	else if (IS("idle"))
		u->kind = UNTIL_IDLE, good = !*arg;
#undef IS
	if (good)
		return NST_OK;
	return nst_fail(e, NST_USAGE, "%s: not a stop condition (io:PORT[=VALUE], "
			"exit:REASON, rip:[L1:|L2:]ADDR, write:GPA, "
			"console:TEXT, idle)", text);
}

bool until_io(const struct until *u, uint16_t port, uint64_t value)
{
	return u->kind == UNTIL_IO && u->a == port &&
	       (!u->has_b || u->b == value);
}

bool until_exit(const struct until *u, uint32_t reason)
{
	return u->kind == UNTIL_EXIT && (u->a & 0xffff) == (reason & 0xffff);
}

bool until_console(struct until *u, uint8_t byte)
{
	size_t len;

	if (u->kind != UNTIL_CONSOLE)
		return false;
	len = strlen(u->needle);
	/* Falls back to the longest border of what matched so far. */
	while (u->matched && (uint8_t)u->needle[u->matched] != byte) {
		unsigned n = u->matched - 1;
		while (n && memcmp(u->needle, u->needle + u->matched - n, n))
			n--;
		u->matched = n;
	}
	if ((uint8_t)u->needle[u->matched] == byte)
		u->matched++;
	if (u->matched < len)
		return false;
	u->matched = 0;
	return true;
}

bool until_rip(const struct until *u, int level, uint64_t rip)
{
	return u->kind == UNTIL_RIP && u->a == rip &&
	       (!u->level || u->level == level);
}

bool until_write(const struct until *u, uint64_t gpa)
{
	return u->kind == UNTIL_WRITE &&
	       (u->a & ~(uint64_t)0xfff) == (gpa & ~(uint64_t)0xfff);
}
