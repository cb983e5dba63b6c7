/* cmd_scan.c: nstate scan: every vmcs12 in guest RAM, and what each is. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/container_args.h"
#include "cli/out.h"
#include "cli/progress.h"
#include "convert/plan.h"
#include "convert/source.h"

struct args {
	const char *file;
	struct container_options open;
	unsigned jobs;
	bool json, evidence;
};

enum { OPT_JSON = 256 };

static const struct argp_option options[] = {
	{ "evidence", 'e', NULL, 0, "Say what speaks against each layout that a "
	  "page does not have", 0 },
	{ "jobs", 'j', "N", 0, "Threads; else as many as there are CPUs", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print JSON", 0 },
	{ "quiet", 'q', NULL, 0, "No progress, no warnings", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	uint64_t n;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->open;
		return 0;
	case 'e': a->evidence = true; return 0;
	case OPT_JSON: a->json = true; return 0;
	case 'q': cli_quiet = true; return 0;
	case 'j':
		if (!cli_size(arg, &n) || !n || n > 64)
			argp_error(state, "%s: 1 to 64 threads", arg);
		a->jobs = (unsigned)n;
		return 0;
	case ARGP_KEY_ARG:
		if (a->file)
			argp_error(state, "one FILE only");
		a->file = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->file)
			argp_error(state, "no FILE");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_child children[] = {
	{ &container_argp, 0, NULL, 10 }, { 0 },
};

static const struct argp argp = {
	options, parse, "FILE", "Finds every VMCS that KVM keeps in the guest RAM "
	"of FILE (current, shadow, others, VMXON regions, Hyper-V's), says what "
	"each is and which layout it has.", children, NULL, NULL
};

/* Another page of the scan at that address in RAM. */
static const struct vmcs12_page *at_gpa(const struct scan *s, uint64_t gpa)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (s->page[i].place == PLACE_RAM && s->page[i].gpa == gpa)
			return &s->page[i];
	return NULL;
}

static bool has_fields(const struct vmcs12_page *p)
{
	return p->kind != VMCS12_VMXON && p->kind != VMCS12_EMPTY &&
	       p->kind != VMCS12_OTHER;
}

/* Where its link pointer and its EPT pointer lead: what they hit confirms the
 * layout, what they miss is worth knowing. */
static void print_links(const struct container *c, const struct scan *s,
			const struct vmcs12_page *p, const struct layout *l,
			struct out *out)
{
	uint64_t link, eptp;
	bool in_ram = false;

	if (!l || !has_fields(p) || p->verdict == IDENTIFY_NONE)
		return;
	link = layout_has(l, VMCS_IDX_VMCS_LINK_POINTER) ?
		layout_get(l, p->data, VMCS_IDX_VMCS_LINK_POINTER) : ~0ull;
	eptp = layout_has(l, VMCS_IDX_EPT_POINTER) ?
		layout_get(l, p->data, VMCS_IDX_EPT_POINTER) & ~0xfffull : 0;
	for (uint32_t i = 0; i < c->nram; i++)
		in_ram |= eptp >= c->ram[i].gpa &&
			  eptp - c->ram[i].gpa < c->ram[i].size;
	if (link && link != ~0ull) {
		const struct vmcs12_page *to = at_gpa(s, link);
		out_hex(out, "link_pointer", NULL, link);
		out_bool(out, "link_found", NULL, to != NULL);
		out_text(out, "    links to 0x%" PRIx64 ": %s\n", link, to ?
			 vmcs12_kind_name(to->kind) : "no VMCS there");
	}
	if (eptp) {
		out_hex(out, "ept_root", NULL, eptp);
		out_bool(out, "ept_root_in_ram", NULL, in_ram);
		if (!in_ram && c->nram)
			out_text(out, "    its EPT root 0x%" PRIx64 " is not in "
				 "RAM\n", eptp);
	}
}

static void print_evidence(const struct vmcs12_page *p, struct out *out)
{
	struct identify_result *r = malloc(sizeof *r);

	if (!r)
		return;
	identify_page(p->data, r);
	out_list(out, "candidates");
	for (unsigned i = 0; i < r->count; i++) {
		const struct identify_candidate *k = &r->candidate[i];
		const struct identify_reason *w = &k->reason[0];

		out_begin(out, NULL);
		out_str(out, "layout", NULL, "%s", k->layout->id);
		out_u64(out, "hard", NULL, k->hard);
		out_u64(out, "weak", NULL, k->weak);
		out_text(out, "    %-10s %3u hard, %3u weak", k->layout->id,
			 k->hard, k->weak);
		if (k->nreasons) {
			const char *name = w->field < 0 ? "bytes of no field" :
				vmcs_fields[w->field].name;
			out_str(out, "first", NULL, "%s: %s", name, w->rule);
			out_text(out, ": %s = 0x%" PRIx64 " (%s)", name, w->value,
				 w->rule);
		}
		out_text(out, "\n");
		out_end(out);
	}
	out_list_end(out);
	free(r);
}

static void print_page(const struct args *a, const struct container *c,
		       const struct scan *s, const struct vmcs12_page *p,
		       const struct layout *pool, struct out *out)
{
	const char *verdict = identify_verdict_name(p->verdict);

	out_begin(out, NULL);
	out_str(out, "place", NULL, "%s", p->place == PLACE_RAM ? "RAM" :
		p->place == PLACE_STATE ? "nested state" :
		"nested state, shadow");
	if (p->gpa != ~0ull)
		out_hex(out, "gpa", NULL, p->gpa);
	if (p->vcpu >= 0)
		out_u64(out, "vcpu", NULL, (uint64_t)p->vcpu);
	if (p->file_offset != ~0ull)
		out_hex(out, "file_offset", NULL, p->file_offset);
	out_str(out, "kind", NULL, "%s", vmcs12_kind_name(p->kind));
	if (has_fields(p)) {
		out_str(out, "verdict", NULL, "%s", verdict);
		if (p->layout)
			out_str(out, "layout", NULL, "%s", p->layout->id);
	}
	if (p->place == PLACE_RAM)
		out_text(out, "  0x%-14" PRIx64 " ", p->gpa);
	else
		out_text(out, "  vCPU %-11d ", p->vcpu);
	out_text(out, "%s", vmcs12_kind_name(p->kind));
	if (has_fields(p))
		out_text(out, ", layout %s%s", p->layout ? p->layout->id : "",
			 p->kind == VMCS12_EVMCS ? "" : p->layout ? " (certain)" :
			 p->verdict == IDENTIFY_CERTAIN ? "any: no field is set" :
			 verdict);
	out_text(out, "\n");
	print_links(c, s, p, p->layout ? p->layout : pool, out);
	if (a->evidence && has_fields(p) && p->kind != VMCS12_EVMCS)
		print_evidence(p, out);
	out_end(out);
}

static void print_totals(const struct scan *s, const struct identify_result *r,
			 unsigned votes, bool conflict, struct out *out)
{
	unsigned certain = 0, ambiguous = 0, none = 0;

	for (uint32_t i = 0; i < s->n; i++) {
		const struct vmcs12_page *p = &s->page[i];
		if (!has_fields(p) || p->kind == VMCS12_EVMCS)
			continue;
		certain += p->verdict == IDENTIFY_CERTAIN;
		ambiguous += p->verdict == IDENTIFY_AMBIGUOUS;
		none += p->verdict == IDENTIFY_NONE;
	}
	out_begin(out, "totals");
	out_u64(out, "found", NULL, s->n);
	out_u64(out, "pages_scanned", NULL, s->pages_seen);
	out_u64(out, "certain", NULL, certain);
	out_u64(out, "ambiguous", NULL, ambiguous);
	out_u64(out, "no_layout", NULL, none);
	out_text(out, "%u found in %" PRIu64 " pages with content: %u certain of "
		 "their layout, %u ambiguous, %u that fit none\n", s->n,
		 s->pages_seen, certain, ambiguous, none);
	if (conflict) {
		out_str(out, "together", NULL, "conflict");
		out_text(out, "they contradict each other: convert needs --from\n");
	} else if (votes && r->verdict == IDENTIFY_CERTAIN && !r->empty) {
		out_str(out, "together", NULL, "%s", r->layout->id);
		out_text(out, "all together: %s (%s)\n", r->layout->id,
			 r->layout->kernels);
	} else if (votes && r->verdict == IDENTIFY_AMBIGUOUS) {
		out_str(out, "together", NULL, "ambiguous");
		out_text(out, "all together: ambiguous; convert needs --from\n");
	}
	out_end(out);
}

static void print(const struct args *a, const struct container *c,
		  const struct scan *s, const struct identify_result *r,
		  unsigned votes, bool conflict, struct out *out)
{
	const struct layout *pool = votes && !conflict &&
		r->verdict == IDENTIFY_CERTAIN ? r->layout : NULL;

	out_str(out, "file", NULL, "%s", c->path);
	out_str(out, "kind", NULL, "%s", c->ops->kind);
	out_text(out, "%s: %s, %" PRIu64 " MiB of RAM%s%s\n", c->path,
		 c->ops->kind, c->ram_bytes >> 20, *c->note ? "; " : "", c->note);
	out_list(out, "pages");
	for (uint32_t i = 0; i < s->n; i++)
		print_page(a, c, s, &s->page[i], pool, out);
	out_list_end(out);
	print_totals(s, r, votes, conflict, out);
}

static enum nst_status scan_file(const struct args *a, struct container *c,
				 struct progress *bar, struct nst_error *e)
{
	struct identify_result *r = malloc(sizeof *r);
	struct scan_options o = { .ram = true, .jobs = a->jobs,
				  .progress = { progress_tell, bar } };
	struct scan s;
	struct out *out;
	unsigned votes = 0;
	bool conflict = false;
	enum nst_status st;

	st = scan_container_with(c, &o, &s, e);
	progress_end(bar);
	if (st) {
		free(r);
		return st;
	}
	if (!r || !plan_judge(&s, r, &votes, &conflict)) {
		st = nst_fail(e, NST_SYSTEM, "out of memory");
	} else {
		out = out_open(a->json, stdout);
		print(a, c, &s, r, votes, conflict, out);
		if (!out_close(out))
			st = nst_fail(e, NST_SYSTEM, "cannot write the report");
	}
	scan_free(&s);
	free(r);
	return st;
}

int cmd_scan(int argc, char **argv)
{
	struct args a = { 0 };
	struct progress bar;
	struct container *c;
	struct nst_error e;
	enum nst_status st;

	cli_parse(&argp, argc, argv, &a);
	progress_start(&bar, "scanned", a.json);
	a.open.sieve = scan_wants;
	a.open.progress = (struct container_progress){ progress_tell, &bar };
	st = container_open(a.file, &a.open, &c, &e);
	if (st) {
		progress_end(&bar);
		return cli_fail(a.file, &e);
	}
	if (!c->has_ram && !c->nstates)
		cli_warn(a.file, "holds neither RAM nor nested state");
	st = scan_file(&a, c, &bar, &e);
	container_close(c);
	return st ? cli_fail(a.file, &e) : NST_OK;
}
