/* identify.c: the verdict on a page, or on several, over all layouts.
 *
 * Owns grouping, ranking and the rule that decides; what a single layout makes
 * of a page is identify_rules.c's.
 */
#include "layouts/identify.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "layouts/builtin.h"
#include "layouts/decode.h"
#include "layouts/identify_rules.h"

_Static_assert((int)LI_COUNT <= (int)IDENTIFY_MAX, "room for every layout");

/* A page with this many violations under its best layout is something else: a
 * test pattern, a layout unknown to us, chance. */
#define TOLERATED 2u
/* How far the next answer must be behind where the best one has a blemish. */
#define CLEAR_LEAD 6u

/* No built-in layout has a field beyond; all read such bytes alike. */
#define MAP_SIZE 1024u

/* For each byte, which field's which byte it is; 0 where it is no field's. */
static void map_bytes(const struct layout *l, uint16_t map[MAP_SIZE])
{
	memset(map, 0, MAP_SIZE * sizeof map[0]);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		for (unsigned b = 0; layout_has(l, i) &&
		     b < vmcs_bytes(vmcs_fields[i].encoding); b++)
			map[l->offset[i] + b] = (uint16_t)(8 * i + (int)b + 1);
}

static uint16_t maps[LI_COUNT][MAP_SIZE];
/* The same as masks: 0xff where a field or the header is. */
static uint8_t owned[LI_COUNT][MAP_SIZE];
static pthread_once_t maps_once = PTHREAD_ONCE_INIT;

static void make_maps(void)
{
	for (unsigned i = 0; i < LI_COUNT; i++) {
		map_bytes(layout_at(i), maps[i]);
		for (unsigned at = 0; at < MAP_SIZE; at++)
			owned[i][at] = at < VMCS12_OFF_LAUNCH + 4 || maps[i][at] ?
				0xff : 0;
	}
}

/* Offsets of the bytes that are set, the header's aside; returns how many. */
static unsigned find_set_bytes(const void *page, uint16_t at[MAP_SIZE])
{
	const uint8_t *bytes = page;
	unsigned n = 0;

	for (unsigned i = VMCS12_OFF_LAUNCH + 4; i < MAP_SIZE; i++)
		if (bytes[i])
			at[n++] = (uint16_t)i;
	return n;
}

static bool same_reading(unsigned a, unsigned b, const uint16_t *at, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		if (maps[a][at[i]] != maps[b][at[i]])
			return false;
	return true;
}

bool identify_same_reading(const struct layout *a, const struct layout *b,
			   const void *page)
{
	uint16_t at[MAP_SIZE];
	unsigned n = find_set_bytes(page, at);

	pthread_once(&maps_once, make_maps);
	return same_reading((unsigned)(a - builtin_layouts),
			    (unsigned)(b - builtin_layouts), at, n);
}

static int by_rank(const void *a, const void *b)
{
	const struct identify_candidate *x = a, *y = b;

	if (x->hard != y->hard)
		return x->hard < y->hard ? -1 : 1;
	if (x->weak != y->weak)
		return x->weak < y->weak ? -1 : 1;
	/* Same place in the list for the same input. */
	return x->layout < y->layout ? 1 : -1;
}

/* Numbers the groups in order of rank; alike(i, j) by layout_at() indices. */
static void make_groups(struct identify_result *r,
			bool differ[IDENTIFY_MAX][IDENTIFY_MAX])
{
	r->groups = 0;
	for (unsigned i = 0; i < r->count; i++) {
		struct identify_candidate *c = &r->candidate[i];
		unsigned k = 0;

		while (k < i && differ[c->layout - builtin_layouts]
				      [r->candidate[k].layout - builtin_layouts])
			k++;
		c->group = k < i ? r->candidate[k].group : r->groups++;
	}
}

/* Of the best group, the newest that keeps v4.0's offsets, or the newest. */
static const struct layout *representative(const struct identify_result *r)
{
	const struct layout *best = NULL;

	for (unsigned i = 0; i < r->count; i++) {
		const struct layout *l = r->candidate[i].layout;

		if (r->candidate[i].group || r->candidate[i].hard >
					     r->candidate[0].hard)
			continue;
		if (!best || l->preserves_v40 > best->preserves_v40 ||
		    (l->preserves_v40 == best->preserves_v40 && l > best))
			best = l;
	}
	return best;
}

/* The one place that decides.  Exclusion needs a hard violation, and a page
 * that its own best layout does not explain is not explained at all, unless all
 * others explain it far worse.  pages: how many the violations are of. */
static void decide(struct identify_result *r, unsigned pages)
{
	const struct identify_candidate *best = &r->candidate[0], *next = NULL;

	r->plausible = 0;
	for (unsigned i = 0, seen = 0; i < r->count; i++) {
		const struct identify_candidate *c = &r->candidate[i];

		if (c->group && !next)
			next = c;
		if (c->group == seen) { /* the best of its group comes first */
			seen++;
			r->plausible += !c->hard;
		}
	}
	r->margin = next ? next->hard - best->hard : 0;
	r->layout = representative(r);
	if (best->hard > TOLERATED * pages) {
		r->verdict = IDENTIFY_NONE;
		r->layout = NULL;
	} else if (!next) {
		r->verdict = IDENTIFY_CERTAIN;
	} else if (best->hard ? r->margin >= CLEAR_LEAD : r->margin > 0) {
		r->verdict = IDENTIFY_CERTAIN;
	} else {
		r->verdict = IDENTIFY_AMBIGUOUS;
	}
}

static bool is_empty(const void *page)
{
	static const uint8_t zero[VMCS12_SIZE];
	const uint8_t *bytes = page;

	return !memcmp(bytes + VMCS12_OFF_LAUNCH + 4, zero,
		       VMCS12_SIZE - VMCS12_OFF_LAUNCH - 4);
}

static void find_differences(const void *page,
			     bool differ[IDENTIFY_MAX][IDENTIFY_MAX])
{
	uint16_t at[MAP_SIZE];
	unsigned n = find_set_bytes(page, at);

	memset(differ, 0, sizeof(bool[IDENTIFY_MAX][IDENTIFY_MAX]));
	for (unsigned i = 0; i < LI_COUNT; i++)
		for (unsigned k = i + 1; k < LI_COUNT; k++)
			differ[i][k] = differ[k][i] =
				!same_reading(i, k, at, n);
}

static void judge_page(const void *page, struct identify_result *r,
		       bool differ[IDENTIFY_MAX][IDENTIFY_MAX])
{
	pthread_once(&maps_once, make_maps);
	r->count = LI_COUNT;
	r->empty = is_empty(page);
	for (unsigned i = 0; i < LI_COUNT; i++)
		identify_judge(layout_at(i), owned[i], MAP_SIZE, page,
			       &r->candidate[i]);
	find_differences(page, differ);
	qsort(r->candidate, r->count, sizeof r->candidate[0], by_rank);
	make_groups(r, differ);
	decide(r, 1);
}

void identify_page(const void *page, struct identify_result *r)
{
	bool differ[IDENTIFY_MAX][IDENTIFY_MAX];

	judge_page(page, r, differ);
}

void identify_pool_init(struct identify_pool *p)
{
	memset(p, 0, sizeof *p);
}

static void pool_add_candidate(struct identify_pool *p,
			       const struct identify_candidate *c)
{
	unsigned i = (unsigned)(c->layout - builtin_layouts);

	p->sum[i].hard += c->hard;
	p->sum[i].weak += c->weak;
	for (unsigned k = 0; k < c->nreasons &&
	     p->sum[i].nreasons < IDENTIFY_REASONS; k++)
		p->sum[i].reason[p->sum[i].nreasons++] = c->reason[k];
}

void identify_pool_add(struct identify_pool *p, const void *page,
		       struct identify_result *r)
{
	bool differ[IDENTIFY_MAX][IDENTIFY_MAX];
	struct identify_result local;

	if (!r)
		r = &local;
	judge_page(page, r, differ);
	p->pages++;
	/* What fits nothing says nothing of the others. */
	if (r->verdict == IDENTIFY_NONE) {
		p->skipped++;
		return;
	}
	if (r->empty)
		return;
	p->nonempty = true;
	for (unsigned i = 0; i < r->count; i++)
		pool_add_candidate(p, &r->candidate[i]);
	for (unsigned i = 0; i < LI_COUNT; i++)
		for (unsigned k = 0; k < LI_COUNT; k++)
			p->differ[i][k] |= differ[i][k];
	/* A certain page must leave one layout that all certain pages allow. */
	if (r->verdict == IDENTIFY_CERTAIN) {
		bool any = false;

		for (unsigned i = 0; i < r->count; i++) {
			unsigned at = (unsigned)(r->candidate[i].layout -
						 builtin_layouts);

			if (r->candidate[i].group)
				p->excluded[at] = true;
		}
		for (unsigned i = 0; i < LI_COUNT; i++)
			any |= !p->excluded[i];
		p->conflict |= !any;
	}
}

void identify_pool_result(const struct identify_pool *p,
			  struct identify_result *r)
{
	bool differ[IDENTIFY_MAX][IDENTIFY_MAX];

	memset(r, 0, sizeof *r);
	r->count = LI_COUNT;
	r->empty = !p->nonempty;
	for (unsigned i = 0; i < LI_COUNT; i++) {
		struct identify_candidate *c = &r->candidate[i];

		c->layout = layout_at(i);
		c->hard = p->sum[i].hard;
		c->weak = p->sum[i].weak;
		c->nreasons = p->sum[i].nreasons;
		memcpy(c->reason, p->sum[i].reason, sizeof c->reason);
	}
	memcpy(differ, p->differ, sizeof differ);
	qsort(r->candidate, r->count, sizeof r->candidate[0], by_rank);
	make_groups(r, differ);
	decide(r, p->pages - p->skipped);
	if (p->pages && p->pages == p->skipped) {
		r->verdict = IDENTIFY_NONE;
		r->layout = NULL;
	} else if (p->conflict) {
		r->verdict = IDENTIFY_AMBIGUOUS;
	}
}

const char *identify_group_name(const struct identify_result *r, unsigned group,
				char *buf, size_t len)
{
	struct text t = { buf, len, 0 };

	if (len)
		*buf = '\0';
	/* In the list's own order, not by rank. */
	for (unsigned i = 0; i < LI_COUNT; i++)
		for (unsigned k = 0; k < r->count; k++)
			if (r->candidate[k].layout == layout_at(i) &&
			    r->candidate[k].group == group)
				text_add(&t, ", ", "%s", layout_at(i)->id);
	return buf;
}

const char *identify_verdict_name(enum identify_verdict v)
{
	static const char *const names[] = { "certain", "ambiguous", "none" };

	return names[v];
}
