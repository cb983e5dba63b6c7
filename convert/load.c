/* load.c: opens, loads, and converts in memory. */
#include "convert/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/container.h"
#include "convert/plan.h"

/* The nested states of a snapshot, as the scan wants them. */
static struct container_state *states_of(const struct snapshot *s)
{
	struct container_state *st = calloc(s->nvcpus ? s->nvcpus : 1, sizeof *st);

	for (uint32_t i = 0; st && i < s->nvcpus; i++)
		st[i] = (struct container_state){ .vcpu = (int)i,
			.data = s->vcpu[i].nested,
			.size = s->vcpu[i].nested_size, .file_offset = ~0ull };
	return st;
}

static void scan_snapshot(struct snapshot *s,
			  const struct container_state *states, struct scan *out)
{
	memset(out, 0, sizeof *out);
	for (uint32_t i = 0; i < s->nvcpus; i++)
		if (states[i].size)
			scan_state(out, &states[i], i);
	for (uint32_t i = 0; i < s->nram; i++) {
		struct container_run run = { s->ram[i].gpa, s->ram[i].host,
					     s->ram[i].size, ~0ull };
		scan_run(out, &run);
	}
	scan_classify(out, states, s->nvcpus);
}

static void apply(struct snapshot *s, const struct plan *p)
{
	for (uint32_t i = 0; i < p->n; i++) {
		const struct plan_page *pp = &p->page[i];
		uint8_t *to;

		if (!pp->remapped)
			continue;
		if (pp->page->place == PLACE_RAM)
			to = snapshot_ram_at(s, pp->page->gpa, VMCS12_SIZE);
		else
			to = s->vcpu[pp->page->state].nested + 128 +
				(pp->page->place == PLACE_SHADOW_STATE ?
				 VMCS12_SIZE : 0);
		memcpy(to, pp->after, VMCS12_SIZE);
	}
}

static enum nst_status convert(struct loaded *out,
			       const struct layout *from, struct nst_error *e)
{
	struct plan_options o = { .from = from, .to = layout_union() };
	struct container_state *states = states_of(out->snapshot);
	struct scan scan = { 0 };
	struct plan plan;
	enum nst_status st;

	if (!states)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	scan_snapshot(out->snapshot, states, &scan);
	st = scan.out_of_memory ? nst_fail(e, NST_SYSTEM, "out of memory") :
		plan_make(&scan, &o, &plan, e);
	if (!st) {
		apply(out->snapshot, &plan);
		out->from = plan.from;
		out->layout = layout_union();
		out->pages = plan.changed;
		if (plan.changed)
			snprintf(out->note, sizeof out->note, "%u vmcs12 page%s "
				 "converted from layout %s in memory",
				 plan.changed, plan.changed > 1 ? "s" : "",
				 plan.from->id);
		plan_free(&plan);
	}
	scan_free(&scan);
	free(states);
	return st;
}

enum nst_status load_converted(const char *path, const struct layout *from,
			       struct loaded *out, struct nst_error *e)
{
	struct container *c;
	enum nst_status st;

	memset(out, 0, sizeof *out);
	st = container_open(path, NULL, &c, e);
	if (st)
		return st;
	st = container_load(c, &out->snapshot, e);
	container_close(c);
	if (st)
		return st;
	st = convert(out, from, e);
	if (st) {
		snapshot_free(out->snapshot);
		out->snapshot = NULL;
	}
	return st;
}
