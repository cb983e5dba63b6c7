/* layouts_identify.c: nstate layouts identify: which layout, and why. */
#include <stdlib.h>
#include <string.h>

#include "cli/layouts.h"
#include "convert/scan.h"
#include "layouts/identify.h"

struct judgement {
	struct container *c;
	struct scan scan;
	struct identify_pool pool;
	struct identify_result all; /* of the pages together */
};

static bool counts(const struct vmcs12_page *p)
{
	return p->kind != VMCS12_VMXON && p->kind != VMCS12_OTHER;
}

static void judge(struct judgement *j)
{
	identify_pool_init(&j->pool);
	for (uint32_t i = 0; i < j->scan.n; i++)
		if (counts(&j->scan.page[i]))
			identify_pool_add(&j->pool, j->scan.page[i].data, NULL);
	identify_pool_result(&j->pool, &j->all);
}

/* -- JSON ------------------------------------------------------------------------ */
static json_t *json_reasons(const struct identify_candidate *c)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < c->nreasons; i++) {
		const struct identify_reason *r = &c->reason[i];
		char value[24];

		snprintf(value, sizeof value, "0x%llx",
			 (unsigned long long)r->value);
		json_array_append_new(array, json_pack(
			"{s:o, s:i, s:s, s:s, s:b}", "field", r->field < 0 ?
			json_null() : json_string(vmcs_fields[r->field].name),
			"offset", (int)r->offset, "value", value, "rule",
			r->rule, "excludes", (int)r->hard));
	}
	return array;
}

static json_t *json_result(const struct identify_result *r)
{
	json_t *array = json_array();

	for (unsigned i = 0; i < r->count; i++) {
		const struct identify_candidate *c = &r->candidate[i];

		json_array_append_new(array, json_pack(
			"{s:s, s:i, s:i, s:i, s:i, s:o}", "layout",
			c->layout->id, "answer", (int)c->group, "hard",
			(int)c->hard, "weak", (int)c->weak, "unowned",
			(int)c->unowned, "reasons", json_reasons(c)));
	}
	return json_pack("{s:s, s:o, s:i, s:i, s:b, s:o}", "verdict",
			 identify_verdict_name(r->verdict), "layout", r->layout ?
			 json_string(r->layout->id) : json_null(), "margin",
			 (int)r->margin, "answers_left", (int)r->plausible,
			 "empty", (int)r->empty, "candidates", array);
}

static void where(const struct vmcs12_page *p, char *buf, size_t len)
{
	if (p->place == PLACE_RAM)
		snprintf(buf, len, "RAM 0x%llx", (unsigned long long)p->gpa);
	else
		snprintf(buf, len, "%s of state %u", p->place == PLACE_STATE ?
			 "vmcs12" : "shadow vmcs12", p->state);
}

static json_t *json_all(const struct judgement *j)
{
	json_t *pages = json_array();

	for (uint32_t i = 0; i < j->scan.n; i++) {
		const struct vmcs12_page *p = &j->scan.page[i];
		struct identify_result r;
		char at[64];

		where(p, at, sizeof at);
		identify_page(p->data, &r);
		json_array_append_new(pages, json_pack(
			"{s:s, s:s, s:b, s:o}", "where", at, "kind",
			vmcs12_kind_name(p->kind), "used", (int)counts(p),
			"judgement", json_result(&r)));
	}
	return json_pack("{s:s, s:s, s:b, s:o, s:o}", "file", j->c->path,
			 "container", j->c->ops->kind, "conflict",
			 (int)j->pool.conflict, "together",
			 json_result(&j->all), "pages", pages);
}

/* -- text ------------------------------------------------------------------------ */
static void print_reason(const struct identify_reason *r, FILE *f)
{
	fprintf(f, "%*s%s %s at %u = 0x%llx: %s\n", 24, "",
		r->hard ? "no: " : "odd:", r->field < 0 ? "(no field)" :
		vmcs_fields[r->field].name, r->offset,
		(unsigned long long)r->value, r->rule);
}

static void print_candidates(const struct identify_result *r, bool all, FILE *f)
{
	char names[200];

	fprintf(f, "  %-20s %s\n", "LAYOUT", "EXCLUDED BY");
	for (unsigned g = 0; g < r->groups; g++) {
		const struct identify_candidate *c = r->candidate;
		unsigned shown = all ? IDENTIFY_REASONS : 2;

		while (c->group != g)
			c++;
		identify_group_name(r, g, names, sizeof names);
		fprintf(f, "  %-20s %u value%s (and %u unusual)\n", names,
			c->hard, c->hard == 1 ? "" : "s", c->weak);
		for (unsigned k = 0; k < c->nreasons && shown; k++) {
			if (!all && !c->reason[k].hard)
				continue;
			print_reason(&c->reason[k], f);
			shown--;
		}
	}
}

static void print_verdict(const struct judgement *j, FILE *f)
{
	const struct identify_result *r = &j->all;
	char names[200];

	identify_group_name(r, 0, names, sizeof names);
	if (!j->pool.pages)
		fputs("no vmcs12 page to judge\n", f);
	else if (j->pool.pages == j->pool.skipped)
		fputs("layout: none fits any page\n", f);
	else if (r->verdict == IDENTIFY_NONE)
		fprintf(f, "layout: none fits; nearest is %s\n", names);
	else if (r->empty)
		fputs("layout: any (no field is set)\n", f);
	else if (j->pool.conflict)
		fputs("layout: the pages contradict each other\n", f);
	else if (r->verdict == IDENTIFY_AMBIGUOUS)
		fprintf(f, "layout: ambiguous: %u answers are left\n",
			r->plausible);
	else if (r->groups > 1)
		fprintf(f, "layout: %s: certain (the next answer has %u "
			"values that exclude it)\n", names,
			r->margin + r->candidate[0].hard);
	else
		fprintf(f, "layout: %s: certain\n", names);
}

static void print_pages(const struct judgement *j, bool all, FILE *f)
{
	for (uint32_t i = 0; i < j->scan.n; i++) {
		const struct vmcs12_page *p = &j->scan.page[i];
		struct identify_result r;
		char at[64], names[200];

		where(p, at, sizeof at);
		identify_page(p->data, &r);
		identify_group_name(&r, 0, names, sizeof names);
		fprintf(f, "  %-24s %s: ", at, vmcs12_kind_name(p->kind));
		if (r.empty)
			fputs("no field is set\n", f);
		else if (r.verdict == IDENTIFY_NONE)
			fprintf(f, "none fits; nearest is %s with %u values "
				"that exclude it\n", names,
				r.candidate[0].hard);
		else if (r.verdict == IDENTIFY_AMBIGUOUS)
			fprintf(f, "ambiguous, %u answers are left\n",
				r.plausible);
		else
			fprintf(f, "%s\n", names);
		if (all && !r.empty)
			print_candidates(&r, true, f);
	}
}

static int print_text(const struct judgement *j,
		      const struct layouts_options *o, int status)
{
	struct sink s;
	int opened = sink_open(&s);

	if (opened)
		return opened;
	fprintf(s.f, "%s: %s\n", j->c->path, j->c->ops->kind);
	print_verdict(j, s.f);
	if (j->pool.nonempty) {
		fprintf(s.f, "\n%u page%s judged together%s:\n",
			j->pool.pages - j->pool.skipped,
			j->pool.pages - j->pool.skipped == 1 ? "" : "s",
			j->pool.skipped ? " (those that fit no layout aside)" :
			"");
		print_candidates(&j->all, o->all, s.f);
	}
	if (j->scan.n) {
		fputs("\nPages:\n", s.f);
		print_pages(j, o->all, s.f);
	}
	return sink_close(&s, o, status);
}

int layouts_identify(const struct layouts_options *o)
{
	const struct container_options open = { .sieve = scan_wants };
	struct judgement *j = calloc(1, sizeof *j);
	struct nst_error e;
	enum nst_status status;
	int exit_status;

	if (!j)
		return NST_SYSTEM;
	status = container_open(o->arg[0], &open, &j->c, &e);
	if (!status)
		status = scan_container(j->c, !o->no_ram, &j->scan, &e);
	if (status) {
		exit_status = cli_fail(o->arg[0], &e);
	} else {
		judge(j);
		exit_status = j->pool.pages &&
			j->all.verdict == IDENTIFY_CERTAIN ? NST_OK : NST_NO;
		exit_status = o->json ?
			json_finish(json_all(j), o, exit_status) :
			print_text(j, o, exit_status);
	}
	scan_free(&j->scan);
	if (j->c)
		container_close(j->c);
	free(j);
	return exit_status;
}
