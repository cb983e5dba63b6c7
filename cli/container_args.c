/* container_args.c: --kind, --base, --lowmem, --snapshot, --multifd. */
#include "cli/container_args.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

bool cli_size(const char *text, uint64_t *out)
{
	static const char units[] = "KMGT";
	const char *unit;
	char *end;

	errno = 0;
	*out = strtoull(text, &end, 0);
	if (errno || end == text || *text == '-')
		return false;
	unit = *end ? strchr(units, *end & ~0x20) : NULL;
	if (*end && (!unit || end[1]))
		return false;
	return !unit || !__builtin_mul_overflow(*out,
		1ull << 10 * (unit - units + 1), out);
}

enum { OPT_KIND = 0x400, OPT_BASE, OPT_LOWMEM, OPT_SNAPSHOT, OPT_MULTIFD };

static const struct argp_option options[] = {
	{ NULL, 0, NULL, 0, "How the file is read:", 10 },
	{ "kind", OPT_KIND, "KIND", 0, "Read it as this, whatever it looks like: "
	  "\"raw RAM\", \"raw nested state\", \"ELF core\", ...", 10 },
	{ "base", OPT_BASE, "ADDRESS", 0, "The file is RAM as it is, and its "
	  "first byte stands at this guest-physical address", 10 },
	{ "lowmem", OPT_LOWMEM, "SIZE", 0, "Of a stream's RAM, as much stands "
	  "below 4 GiB; else it follows from the machine type", 10 },
	{ "snapshot", OPT_SNAPSHOT, "NAME", 0, "Which snapshot of a qcow2 image "
	  "(its name or id)", 10 },
	{ "multifd", OPT_MULTIFD, "FILE", 0, "What was captured of another channel "
	  "of a stream's migration (repeatable, all of them)", 10 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct container_options *o = state->input;

	if (!o)
		return ARGP_ERR_UNKNOWN;
	switch (key) {
	case OPT_KIND: o->kind = arg; return 0;
	case OPT_SNAPSHOT: o->snapshot = arg; return 0;
	case OPT_MULTIFD:
		if (o->nmultifd == sizeof o->multifd / sizeof *o->multifd)
			argp_error(state, "too many channels");
		o->multifd[o->nmultifd++] = arg;
		return 0;
	case OPT_BASE:
		if (!cli_size(arg, &o->base))
			argp_error(state, "%s: not an address", arg);
		o->kind = "raw RAM";
		return 0;
	case OPT_LOWMEM:
		if (!cli_size(arg, &o->lowmem) || !o->lowmem ||
		    o->lowmem & 4095 || o->lowmem > 1ull << 32)
			argp_error(state, "%s: not a size of RAM below 4 GiB",
				   arg);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

const struct argp container_argp = { options, parse, NULL, NULL, NULL, NULL,
				     NULL };
