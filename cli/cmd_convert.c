/* cmd_convert.c: nstate convert: remaps every vmcs12 of a container. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/container_args.h"
#include "cli/layout_arg.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "convert/convert.h"

struct args {
	const char *in, *out;
	struct plan_options plan;
	bool dry_run, force, json, in_place, undo, no_sync;
};

enum { OPT_FROM = 256, OPT_TO, OPT_DRY, OPT_DROP, OPT_CURRENT, OPT_IN_PLACE,
       OPT_UNDO, OPT_JSON, OPT_NO_SYNC };

static const struct argp_option options[] = {
	{ "from", OPT_FROM, "LAYOUT", 0, "The layout the file has (a layout, a "
	  "kernel release); else it is identified", 0 },
	{ "to", OPT_TO, "LAYOUT", 0, "The layout to write; else the newest that "
	  "keeps v4.0's offsets and holds every field that is set", 0 },
	{ "output", 'o', "FILE", 0, "Write the converted container here "
	  "(\"-\": standard output)", 0 },
	{ "force", 'f', NULL, 0, "Overwrite FILE", 0 },
	{ "no-sync", OPT_NO_SYNC, NULL, 0, "Do not wait until the disk has FILE", 0 },
	{ "dry-run", OPT_DRY, NULL, 0, "Only say what would be done", 0 },
	{ "drop-unsupported", OPT_DROP, NULL, 0, "Give up fields that the target "
	  "layout has no place for", 0 },
	{ "only-current", OPT_CURRENT, NULL, 0, "Leave the vmcs12s in guest RAM "
	  "alone", 0 },
	{ "in-place", OPT_IN_PLACE, NULL, 0, "Change IN itself; IN.undo beside it "
	  "keeps what was there", 0 },
	{ "undo", OPT_UNDO, NULL, 0, "Put back what --in-place changed", 0 },
	{ "jobs", 'j', "N", 0, "Threads for the scan; else as many as there are "
	  "CPUs", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print the report as JSON, and progress as "
	  "JSON lines on standard error", 0 },
	{ "quiet", 'q', NULL, 0, "No report, no warnings", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	struct nst_error e;
	uint64_t n;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->plan.open;
		return 0;
	case OPT_FROM:
	case OPT_TO:
		if (layout_arg(arg, key == OPT_FROM ? &a->plan.from :
			       &a->plan.to, &e))
			argp_error(state, "%s", e.text);
		return 0;
	case 'o': a->out = arg; return 0;
	case 'f': a->force = true; return 0;
	case 'q': cli_quiet = true; return 0;
	case 'j':
		if (!cli_size(arg, &n) || !n || n > 64)
			argp_error(state, "%s: 1 to 64 threads", arg);
		a->plan.scan.jobs = (unsigned)n;
		return 0;
	case OPT_DRY: a->dry_run = true; return 0;
	case OPT_DROP: a->plan.drop_unsupported = true; return 0;
	case OPT_CURRENT: a->plan.only_current = true; return 0;
	case OPT_IN_PLACE: a->in_place = true; return 0;
	case OPT_UNDO: a->undo = true; return 0;
	case OPT_NO_SYNC: a->no_sync = true; return 0;
	case OPT_JSON: a->json = true; return 0;
	case ARGP_KEY_ARG:
		if (a->in)
			argp_error(state, "one IN only");
		a->in = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->in)
			argp_error(state, "no IN");
		if (!!a->out + a->dry_run + a->in_place + a->undo != 1)
			argp_error(state, "one of -o, --dry-run, --in-place "
				   "and --undo is needed");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_child children[] = {
	{ &container_argp, 0, NULL, 10 }, { 0 },
};

static const struct argp argp = {
	options, parse, "IN", "Remaps every vmcs12 in IN (current, shadow, and "
	"those in guest RAM), field by field, and writes the same container.",
	children, NULL, NULL
};

static void report_page(const struct plan *p, const struct plan_page *pp,
			struct out *out)
{
	const struct vmcs12_page *g = pp->page;
	const struct remap_report *r = &pp->report;

	out_begin(out, NULL);
	out_hex(out, "gpa", NULL, g->gpa);
	out_str(out, "place", NULL, "%s", g->place == PLACE_RAM ? "RAM" :
		"nested state");
	out_str(out, "kind", NULL, "%s", vmcs12_kind_name(g->kind));
	out_bool(out, "changed", NULL, pp->changed);
	if (g->gpa == ~0ull)
		out_text(out, "  %-18s ", "nested state");
	else
		out_text(out, "  0x%-16" PRIx64 " ", g->gpa);
	out_text(out, "%-32s ", vmcs12_kind_name(g->kind));
	if (pp->why_not) {
		out_str(out, "left_alone", NULL, "%s", pp->why_not);
		out_text(out, "left alone: %s\n", pp->why_not);
	} else {
		out_u64(out, "moved", NULL, r->moved);
		out_u64(out, "kept", NULL, r->kept);
		out_u64(out, "dropped", NULL, r->dropped);
		out_u64(out, "padding", NULL, r->padding);
		out_u64(out, "padding_lost", NULL, r->padding_lost);
		out_text(out, "%u moved, %u kept", r->moved, r->kept);
		if (r->padding)
			out_text(out, ", %u bytes outside fields carried",
				 r->padding - r->padding_lost);
		if (r->padding_lost)
			out_text(out, ", %u lost", r->padding_lost);
		out_text(out, "\n");
	}
	out_list(out, "dropped_fields");
	for (int i = 0; !pp->why_not && i < VMCS_FIELD_COUNT; i++) {
		if (r->what[i] != REMAP_DROPPED)
			continue;
		out_str(out, NULL, NULL, "%s", vmcs_fields[i].name);
		out_text(out, "    dropped: %s = 0x%" PRIx64 " has no place in "
			 "%s\n", vmcs_fields[i].name,
			 layout_get(p->from, g->data, i), p->to->id);
	}
	out_list_end(out);
	out_end(out);
}

static void report(const struct plan *p, struct out *out)
{
	if (!p->from) {
		out_text(out, "nothing to convert: no vmcs12 holds a field\n");
		out_str(out, "result", NULL, "nothing to convert");
		return;
	}
	out_str(out, "from", NULL, "%s", p->from->id);
	out_str(out, "to", NULL, "%s", p->to->id);
	out_bool(out, "given", NULL, p->given);
	out_u64(out, "changed", NULL, p->changed);
	out_text(out, "%s (%s, %s) to %s (%s): %u page%s change\n", p->from->id,
		 p->from->kernels, p->given ? "as told" : "identified",
		 p->to->id, p->to->kernels, p->changed,
		 p->changed == 1 ? "" : "s");
	out_list(out, "pages");
	for (uint32_t i = 0; i < p->n; i++)
		report_page(p, &p->page[i], out);
	out_list_end(out);
}

static enum nst_status convert_one(struct args *a, struct nst_error *e)
{
	struct conversion v;
	struct progress bar;
	enum nst_status st;

	progress_start(&bar, "scanned", a->json);
	a->plan.scan.progress = (struct container_progress){ progress_tell,
							     &bar };
	st = conversion_open(a->in, &a->plan, &v, e);
	progress_end(&bar);
	if (st)
		return st;
	progress_start(&bar, "written", a->json);
	if (a->out)
		st = conversion_write(&v, a->out,
				      (a->force ? CONTAINER_FORCE : 0) |
				      (a->no_sync ? CONTAINER_NO_SYNC : 0), e);
	else if (a->in_place)
		st = conversion_in_place(&v, e);
	progress_end(&bar);
	if (!st && (!cli_quiet || a->json)) {
		/* A converted file on standard output leaves no room there. */
		bool piped = a->out && !strcmp(a->out, "-");
		struct out *out = out_open(a->json, piped ? stderr : stdout);
		report(&v.plan, out);
		if (!out_close(out))
			st = nst_fail(e, NST_SYSTEM, "cannot write the report");
	}
	conversion_close(&v);
	return st;
}

int cmd_convert(int argc, char **argv)
{
	struct args a = { 0 };
	struct nst_error e;
	enum nst_status st;

	cli_parse(&argp, argc, argv, &a);
	st = a.undo ? conversion_undo(a.in, &e) : convert_one(&a, &e);
	return st ? cli_fail(a.in, &e) : NST_OK;
}
