/* load.c: opens, loads, and converts in memory. */
#include "convert/load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/container.h"
#include "convert/plan.h"
#include "convert/snapshot.h"
#include "convert/source.h"

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

static enum nst_status convert(struct loaded *out, const struct load_options *lo,
			       struct nst_error *e)
{
	/* The union has every field of every layout: all that can be dropped is
	 * padding, which the state's own kernel does not look at. */
	struct plan_options o = { .from = lo->from, .to = layout_union(),
				  .drop_unsupported = true,
				  .judged_later = lo->for_check };
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

/* RAM from files: a private copy each, so that the core may write it. */
static enum nst_status add_ram(struct snapshot *s, const struct load_options *o,
			       struct nst_error *e)
{
	struct ram_plan plan[LOAD_MAX_RAM];
	struct source *src[LOAD_MAX_RAM] = { NULL };
	enum nst_status st = NST_OK;

	if (!o->nram)
		return NST_OK;
	if (s->nram)
		return nst_fail(e, NST_USAGE, "has RAM of its own; --ram is for "
				"files that have none");
	for (unsigned i = 0; !st && i < o->nram; i++) {
		st = source_open(o->ram[i].path, &src[i], e);
		if (!st)
			plan[i] = (struct ram_plan){ o->ram[i].gpa,
				(source_size(src[i]) + 0xfff) & ~0xfffull };
	}
	if (!st && !snapshot_make_ram(s, plan, o->nram))
		st = nst_fail(e, NST_SYSTEM, "cannot reserve memory for RAM");
	for (unsigned i = 0; i < o->nram; i++) {
		if (!st)
			memcpy(snapshot_ram_at(s, plan[i].gpa, plan[i].size),
			       source_at(src[i], 0, source_size(src[i])),
			       source_size(src[i]));
		source_close(src[i]);
	}
	return st;
}

static enum nst_status take_file(struct snapshot *s, const char *path,
				 enum snapshot_note note, struct nst_error *e)
{
	struct source *src;
	enum nst_status st;

	if (!path)
		return NST_OK;
	st = source_open(path, &src, e);
	if (st)
		return st;
	if (snapshot_take_note(s, note, 0, source_at(src, 0, source_size(src)),
			       (uint32_t)source_size(src)) != 1)
		st = nst_fail(e, NST_BAD_INPUT, "%s is no struct %s (%llu bytes)",
			      path, note == SN_REGS ? "kvm_regs" : "kvm_sregs",
			      (unsigned long long)source_size(src));
	source_close(src);
	return st;
}

enum nst_status load_converted(const char *path, const struct load_options *o,
			       struct loaded *out, struct nst_error *e)
{
	struct container_options open = { .share_ram = o->share_ram };
	struct container *c;
	enum nst_status st;

	memset(out, 0, sizeof *out);
	st = container_open(path, &open, &c, e);
	if (st)
		return st;
	st = container_load(c, &out->snapshot, e);
	container_close(c);
	if (st)
		return st;
	st = add_ram(out->snapshot, o, e);
	if (!st)
		st = take_file(out->snapshot, o->regs, SN_REGS, e);
	if (!st)
		st = take_file(out->snapshot, o->sregs, SN_SREGS, e);
	if (!st)
		st = convert(out, o, e);
	if (!st && !o->for_check)
		st = load_complete(out, e);
	if (st) {
		snapshot_free(out->snapshot);
		out->snapshot = NULL;
	}
	return st;
}
