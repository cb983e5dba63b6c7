/* raw.c: readers of RAM as it is: flat images (on request only, for they have no
 * magic) and LiME captures. */
#include <stdlib.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/dump/runs.h"
#include "convert/readers.h"
#include "convert/source.h"

#define LIME_MAGIC 0x4c694d45u
enum { LIME_HEADER = 32 };

static int probe_raw(const uint8_t *head, size_t len, uint64_t size)
{
	(void)head, (void)len, (void)size;
	return 0;
}

static int probe_lime(const uint8_t *head, size_t len, uint64_t size)
{
	(void)size;
	return len >= LIME_HEADER && le_at(head, 4) == LIME_MAGIC &&
		le_at(head + 4, 4) == 1 ? 90 : 0;
}

static enum nst_status start(struct container *c, struct ram_runs **r,
			     struct nst_error *e)
{
	c->priv = *r = calloc(1, sizeof **r);
	return *r ? NST_OK : nst_fail(e, NST_SYSTEM, "out of memory");
}

static enum nst_status open_raw(struct container *c, struct nst_error *e)
{
	uint64_t size = source_size(c->src);
	struct ram_runs *r;
	enum nst_status st = start(c, &r, e);

	if (st)
		return st;
	if (c->options.base & 4095)
		return nst_fail(e, NST_USAGE, "--base is not page-aligned");
	if (source_passes(c->src))
		size = RUNS_MOST;
	if (!runs_add(r, c->options.base, size, (size + 4095) & ~4095ull, 0))
		return nst_fail(e, NST_SYSTEM, "out of memory");
	if (source_passes(c->src) && r->n && !runs_pass(r, c, r->v, true))
		return container_give_up(c, e);
	return runs_finish(r, c) ? NST_OK :
		nst_fail(e, NST_SYSTEM, "out of memory");
}

static enum nst_status damaged(uint64_t at, struct nst_error *e)
{
	return nst_fail(e, NST_BAD_INPUT, "LiME: the range at byte 0x%llx is cut "
			"or damaged", (unsigned long long)at);
}

/* Past the bytes of a range, which are in the last run, if they are a page. */
static bool skip_range(struct container *c, struct ram_runs *r,
		       struct cursor *cur, uint32_t had, uint64_t len)
{
	if (!source_passes(c->src))
		return cur_skip(cur, len);
	if (r->n > had && !runs_pass(r, c, &r->v[had], false))
		return false;
	cur->at += len;
	if (!source_need(c->src, cur->at))
		return false;
	cur->end = source_size(c->src);
	return true;
}

static enum nst_status read_ranges(struct container *c, struct ram_runs *r,
				   struct nst_error *e)
{
	bool passes = source_passes(c->src);
	struct cursor cur = { .p = source_at(c->src, 0, 0),
			      .end = source_size(c->src),
			      .more = passes ? c->src : NULL };

	while (cur_has(&cur, 1)) {
		uint64_t at = cur.at, magic = cur_le(&cur, 4), first, last;
		uint32_t had = r->n;

		cur_skip(&cur, 4);
		first = cur_le(&cur, 8);
		last = cur_le(&cur, 8);
		cur_skip(&cur, 8);
		if (cur.cut || magic != LIME_MAGIC || last < first ||
		    last - first >= 1ull << 52)
			return damaged(at, e);
		if (!runs_add(r, first, last - first + 1, last - first + 1,
			      cur.at))
			return nst_fail(e, NST_SYSTEM, "out of memory");
		if (!skip_range(c, r, &cur, had, last - first + 1))
			return damaged(at, e);
	}
	return source_need_all(c->src) ? NST_OK : damaged(cur.at, e);
}

static enum nst_status open_lime(struct container *c, struct nst_error *e)
{
	struct ram_runs *r;
	enum nst_status st = start(c, &r, e);

	if (!st)
		st = read_ranges(c, r, e);
	/* What is wrong with it is said when all of it is there. */
	if (st && source_passes(c->src))
		return container_give_up(c, e);
	if (!st && !runs_finish(r, c))
		st = nst_fail(e, NST_SYSTEM, "out of memory");
	return st;
}

static int walk_part(struct container *c, uint32_t part, uint32_t parts,
		     container_run_fn *fn, void *arg, struct nst_error *e)
{
	(void)e;
	return runs_walk(c->priv, c, part, parts, fn, arg);
}

static void close_runs(struct container *c)
{
	struct ram_runs *r = c->priv;

	if (r)
		runs_free(r);
	free(r);
}

const struct container_ops reader_raw = {
	.kind = "raw RAM", .probe = probe_raw, .open = open_raw,
	.walk_part = walk_part, .passes = true, .close = close_runs,
};

const struct container_ops reader_lime = {
	.kind = "LiME capture", .probe = probe_lime, .open = open_lime,
	.walk_part = walk_part, .passes = true, .close = close_runs,
};
