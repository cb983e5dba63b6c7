/* cmd_inspect.c: nstate inspect: what nested state a file holds. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/container_args.h"
#include "cli/inspect/inspect.h"
#include "cli/layout_arg.h"

static const struct argp_option options[] = {
	{ "all", 'a', NULL, 0, "Every field of every vmcs12, decoded", 0 },
	{ "field", 'F', "NAME|ENCODING", 0, "Only this field (repeatable)", 0 },
	{ "raw", 'r', NULL, 0, "Offsets in the page and raw bytes too", 0 },
	{ "from", 'L', "LAYOUT", 0, "Read with this layout instead of the one "
	  "that is identified", 0 },
	{ "no-ram", 'n', NULL, 0, "Do not look for vmcs12s in guest RAM", 0 },
	{ "json", 'j', NULL, 0, "Print JSON", 0 },
	{ "quiet", 'q', NULL, 0, "No warnings", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct inspect_options *o = state->input;
	struct nst_error e;
	int field;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &o->open;
		return 0;
	case 'a': o->all = true; return 0;
	case 'r': o->raw = true; return 0;
	case 'n': o->no_ram = true; return 0;
	case 'j': o->json = true; return 0;
	case 'q': cli_quiet = true; return 0;
	case 'L':
		if (layout_arg(arg, &o->from, &e))
			argp_error(state, "%s", e.text);
		return 0;
	case 'F':
		field = vmcs_field_lookup(arg);
		if (field < 0)
			argp_error(state, "%s: no such VMCS field", arg);
		else if (o->nfields == INSPECT_MAX_FIELDS)
			argp_error(state, "too many fields");
		else
			o->field[o->nfields++] = field;
		return 0;
	case ARGP_KEY_ARG:
		if (o->file)
			argp_error(state, "one FILE only");
		o->file = arg;
		return 0;
	case ARGP_KEY_END:
		if (!o->file)
			argp_error(state, "no FILE");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_child children[] = {
	{ &container_argp, 0, NULL, 10 }, { 0 },
};

static const struct argp argp = {
	options, parse, "FILE", "Shows the nested VMX state in FILE: a raw nested "
	"state, a snapshot, a stream, a dump.", children, NULL, NULL
};

int cmd_inspect(int argc, char **argv)
{
	struct inspect_options o = { 0 };
	struct inspection in;
	struct nst_error e;
	enum nst_status st;

	cli_parse(&argp, argc, argv, &o);
	st = inspect_open(&o, &in, &e);
	if (st)
		return cli_fail(o.file, &e);
	struct out *out = out_open(o.json, stdout);
	inspect_print(&o, &in, out);
	if (!out_close(out))
		st = NST_SYSTEM;
	inspect_warn(&o, &in);
	inspect_close(&in);
	return st;
}
