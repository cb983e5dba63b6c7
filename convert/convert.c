/* convert.c: turns a plan into patches of a container and has them written. */
#include "convert/convert.h"

#include <stdlib.h>
#include <string.h>

#include "convert/journal.h"
#include "convert/source.h"

/* The nested state that a page belongs to, as a copy that patches go into. */
static uint8_t *patched_state(struct conversion *v, uint32_t index)
{
	const struct container_state *st = &v->c->states[index];

	if (!v->state[index]) {
		v->state[index] = malloc(st->size ? st->size : 1);
		if (v->state[index])
			memcpy(v->state[index], st->data, st->size);
	}
	return v->state[index];
}

static bool put_state(struct conversion *v, const struct plan_page *pp)
{
	const struct vmcs12_page *p = pp->page;
	const struct container_state *st = &v->c->states[p->state];
	uint8_t *copy = patched_state(v, p->state);
	uint32_t off = st->bare_page ? 0 :
		p->place == PLACE_SHADOW_STATE ? 128 + VMCS12_SIZE : 128;

	if (!copy)
		return false;
	memcpy(copy + off, pp->after, VMCS12_SIZE);
	return true;
}

static enum nst_status make_patches(struct conversion *v, struct nst_error *e)
{
	uint32_t n = v->plan.n + v->c->nstates;

	v->patch = calloc(n ? n : 1, sizeof *v->patch);
	v->state = calloc(v->c->nstates ? v->c->nstates : 1, sizeof *v->state);
	if (!v->patch || !v->state)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	for (uint32_t i = 0; i < v->plan.n; i++) {
		const struct plan_page *pp = &v->plan.page[i];

		if (!pp->changed)
			continue;
		if (pp->page->place == PLACE_RAM)
			v->patch[v->npatches++] = (struct container_patch){
				.kind = PATCH_RAM, .gpa = pp->page->gpa,
				.data = pp->after };
		else if (!put_state(v, pp))
			return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	for (uint32_t i = 0; i < v->c->nstates; i++)
		if (v->state[i])
			v->patch[v->npatches++] = (struct container_patch){
				.kind = PATCH_STATE, .state = i,
				.data = v->state[i] };
	return NST_OK;
}

enum nst_status conversion_open(const char *path, const struct plan_options *o,
				struct conversion *v, struct nst_error *e)
{
	struct scan_options scan = o->scan;
	struct container_options open = o->open;
	enum nst_status st;

	scan.ram = !o->only_current;
	open.sieve = scan_wants;
	open.progress = o->scan.progress;
	memset(v, 0, sizeof *v);
	st = container_open(path, &open, &v->c, e);
	if (!st)
		st = scan_container_with(v->c, &scan, &v->scan, e);
	if (!st)
		st = plan_make(&v->scan, o, &v->plan, e);
	if (!st)
		st = make_patches(v, e);
	if (st)
		conversion_close(v);
	return st;
}

enum nst_status conversion_write(struct conversion *v, const char *path,
				 unsigned flags, struct nst_error *e)
{
	return container_write(v->c, path, flags, v->patch, v->npatches, e);
}

struct journal_writer { struct journal j; struct source *src; };

static enum nst_status put_into_journal(void *arg, uint64_t at,
					const uint8_t *data, size_t len,
					struct nst_error *e)
{
	struct journal_writer *w = arg;
	const uint8_t *before = source_at(w->src, at, len);

	if (!before)
		return nst_fail(e, NST_BAD_INPUT, "would write beyond the end");
	return journal_add(&w->j, at, before, data, len, e);
}

enum nst_status conversion_in_place(struct conversion *v, struct nst_error *e)
{
	struct journal_writer w = { .src = v->c->src };
	enum nst_status st;

	if (!source_is_plain(v->c->src))
		return nst_fail(e, NST_BAD_INPUT, "%s cannot be changed in place: "
				"it is %s; write a new file with -o", v->c->path,
				source_wrapping(v->c->src) ? "compressed" :
				"not a regular file");
	st = journal_begin(&w.j, v->c->path, e);
	if (!st)
		st = container_place(v->c, v->patch, v->npatches, put_into_journal,
				     &w, e);
	return journal_commit(&w.j, st, e);
}

enum nst_status conversion_undo(const char *path, struct nst_error *e)
{
	return journal_undo(path, e);
}

void conversion_close(struct conversion *v)
{
	for (uint32_t i = 0; v->state && i < v->c->nstates; i++)
		free(v->state[i]);
	free(v->state);
	free(v->patch);
	plan_free(&v->plan);
	scan_free(&v->scan);
	container_close(v->c);
	memset(v, 0, sizeof *v);
}
