/* cmd_explain.c: nstate explain: what a failed nested VM entry or restore was
 * about, from the text that people have of it. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/check/caps.h"
#include "cli/cli.h"
#include "cli/explain/dump.h"
#include "cli/explain/explain.h"
#include "hvcore/hvcore.h"

#define MOST_DUMPS 64
#define LONGEST_TEXT (64u << 20)

struct args {
	const char *what, *caps;
	struct caps_file cpu;          /* of caps */
	bool json, list;
};

enum { OPT_LIST = 256, OPT_JSON, OPT_CAPS };

static const struct argp_option options[] = {
	{ "caps", OPT_CAPS, "FILE", 0, "The capabilities of the CPU it failed on, as "
	  "`nstate caps` wrote them (else: what no CPU allows)", 0 },
	{ "list", OPT_LIST, NULL, 0, "List the ids of all rules", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print JSON", 0 },
	{ "quiet", 'q', NULL, 0, "Only the exit status", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case OPT_LIST: a->list = true; return 0;
	case OPT_CAPS: a->caps = arg; return 0;
	case OPT_JSON: a->json = true; return 0;
	case 'q': cli_quiet = true; return 0;
	case ARGP_KEY_ARG:
		if (a->what)
			argp_error(state, "one FILE, RULE or NUMBER only");
		a->what = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->what && !a->list && isatty(STDIN_FILENO))
			argp_error(state, "no FILE, RULE or NUMBER, and standard "
				   "input is a terminal (- reads it)");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	options, parse, "[FILE|-|RULE|NUMBER]", "Explains why a VM entry or the "
	"restore of a nested state failed: from dmesg's dump_vmcs(), the tracepoint "
	"kvm_nested_vmenter_failed or QEMU's messages in FILE, by a RULE's id, or "
	"by a VM-instruction error or exit reason (7, 0x80000021).  Exit status 1 "
	"where nothing in the text breaks a rule.", NULL, NULL, NULL
};

/* -- the text ------------------------------------------------------------------------- */
/* The whole of a file or of standard input, as a string. */
static char *read_text(const char *path, struct nst_error *e)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "r") : stdin;
	char *text = NULL;
	size_t size = 0, used = 0, n = 0;

	if (!f) {
		nst_fail(e, NST_SYSTEM, "%s", strerror(errno));
		return NULL;
	}
	do {
		if (used + 1 >= size) {
			char *more = size < LONGEST_TEXT ?
				realloc(text, size = size ? size * 2 : 65536) :
				NULL;
			if (!more) {
				nst_fail(e, NST_BAD_INPUT, "more than 64 MiB: no "
					 "text that a person pastes");
				break;
			}
			text = more;
		}
		n = fread(text + used, 1, size - used - 1, f);
		used += n;
	} while (n);
	if (!e->status && ferror(f))
		nst_fail(e, NST_SYSTEM, "cannot be read: %s", strerror(errno));
	if (!e->status && memchr(text, 0, used))
		nst_fail(e, NST_BAD_INPUT, "not text; nstate check judges a saved "
			 "state");
	if (f != stdin)
		fclose(f);
	if (e->status) {
		free(text);
		return NULL;
	}
	text[used] = 0;
	return text;
}

struct reading {
	struct dump *dump;     /* MOST_DUMPS */
	unsigned ndumps;
	bool open;             /* the last one goes on */
	unsigned said;         /* findings besides dumps */
	uint32_t error;        /* the last "hardware error" that was read */
	const struct layout *layout;
	struct out *out;
};

static void begin_dump(struct reading *r, unsigned number, bool registers)
{
	struct dump *d = &r->dump[r->ndumps];

	r->open = r->ndumps < MOST_DUMPS;
	if (!r->open)
		return;
	dump_start(d, r->layout, number, registers);
	d->hardware_error = r->error;
	r->ndumps++;
}

static void take_line(struct reading *r, char *raw, unsigned number)
{
	char *end = raw + strlen(raw);
	const char *line;
	uint32_t error;

	while (end > raw && isspace((unsigned char)end[-1]))
		*--end = 0;
	line = dump_skip_prefix(raw);
	error = explain_find_error(line);
	if (error)
		r->error = error;
	if (dump_begins(line) || registers_begin(line))
		begin_dump(r, number, registers_begin(line));
	if (r->open && dump_line(&r->dump[r->ndumps - 1], line))
		return;
	r->said += explain_trace(line, number, r->out) ||
		explain_message(line, number, r->out);
}

static unsigned judge_dump(const struct args *a, struct reading *r,
			   struct dump *d)
{
	struct vmx_check_ctx x;
	struct vmx_caps caps;
	unsigned found;

	dump_finish(d);
	if (!d->hardware_error)
		d->hardware_error = r->error;
	dump_any_cpu(d, &caps, &x);
	if (a->caps)
		x.caps = &a->cpu.caps;
	out_begin(r->out, NULL);
	out_str(r->out, "kind", NULL, d->registers ? "registers" : "dump_vmcs");
	out_u64(r->out, "line", NULL, d->first_line);
	out_u64(r->out, "fields", NULL, d->fields);
	out_text(r->out, "line %u: %s, %u fields of the VMCS%s\n", d->first_line,
		 d->registers ? "QEMU's registers" : "dump_vmcs() of a failed VM "
		 "entry", d->fields, d->registers ? " (controls are not shown: an "
		 "unrestricted guest with EPT is assumed)" : "");
	found = dump_judge(d, &x, r->out);
	out_end(r->out);
	return found;
}

static int explain_text(const struct args *a, struct out *out,
			struct nst_error *e)
{
	const char *path = a->what ? a->what : "-";
	char *text, *line, *rest;
	struct reading r = { .layout = layout_union(), .out = out };
	unsigned number = 1, found = 0;

	text = read_text(path, e);
	if (!text)
		return e->status;
	r.dump = calloc(MOST_DUMPS, sizeof *r.dump);
	if (!r.dump) {
		free(text);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	out_list(out, "findings");
	for (rest = text; (line = strsep(&rest, "\n")); number++)
		take_line(&r, line, number);
	for (unsigned i = 0; i < r.ndumps; i++)
		found += judge_dump(a, &r, &r.dump[i]);
	out_list_end(out);
	free(r.dump);
	free(text);
	if (!r.ndumps && !r.said)
		return nst_fail(e, NST_BAD_INPUT, "nothing here that nstate knows: no "
				"dump_vmcs(), no kvm_nested_vmenter_failed, no "
				"message about nested state");
	return found || r.said ? NST_OK : NST_NO;
}

/* -- ids and numbers -------------------------------------------------------------------- */
static int list_rules(struct out *out)
{
	struct rule r;

	out_list(out, "rules");
	for (unsigned n = 0; rule_at(n, &r); n++) {
		out_begin(out, NULL);
		out_str(out, "rule", NULL, "%s", r.id);
		out_str(out, "where", NULL, "%s", r.where);
		out_str(out, "must", NULL, "%s", r.sentence);
		out_end(out);
		out_text(out, "%-24s %s (%s)\n", r.id, r.sentence, r.where);
	}
	out_list_end(out);
	return NST_OK;
}

static bool is_number(const char *text, uint64_t *v)
{
	char *end;

	if (!isdigit((unsigned char)*text))
		return false;
	errno = 0;
	*v = strtoull(text, &end, 0);
	return !*end && !errno && access(text, F_OK);
}

static int run(struct args *a, struct out *out, struct nst_error *e)
{
	struct rule rule;
	uint64_t number;

	if (a->list)
		return list_rules(out);
	if (a->what && rule_find(a->what, &rule)) {
		rule_print(&rule, out);
		return NST_OK;
	}
	if (a->what && is_number(a->what, &number)) {
		if (number > 0xffffffff ||
		    (!vmx_insn_error_name((unsigned)number) &&
		     !vmx_exit_reason_name(number & 0xffff)))
			return nst_fail(e, NST_BAD_INPUT, "no VM-instruction error "
					"and no exit reason");
		explain_number(number, out);
		return NST_OK;
	}
	if (a->caps && caps_read(a->caps, &a->cpu, e))
		return e->status;
	return explain_text(a, out, e);
}

int cmd_explain(int argc, char **argv)
{
	struct args a = { 0 };
	struct nst_error e = { 0 };
	struct out *out;
	int status;

	cli_parse(&argp, argc, argv, &a);
	out = out_open(a.json, cli_quiet ? fopen("/dev/null", "w") : stdout);
	status = run(&a, out, &e);
	/* A failure is told on standard error; there is no half a report. */
	if (status > NST_NO) {
		out_drop(out);
		return cli_fail(a.what, &e);
	}
	if (!out_close(out)) {
		nst_fail(&e, NST_SYSTEM, "cannot write the report");
		return cli_fail(a.what, &e);
	}
	return status;
}
