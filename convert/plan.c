/* plan.c: decides the layouts and remaps every page in memory. */
#include "convert/plan.h"

#include <stdlib.h>
#include <string.h>

/* Whether what the page holds says something about the layout. */
static bool has_vote(const struct vmcs12_page *p)
{
	switch (p->kind) {
	case VMCS12_VMXON:
	case VMCS12_EMPTY:
	case VMCS12_OTHER:
	case VMCS12_EVMCS:
	case VMCS12_EVMCS_STATE:
		return false;
	default:
		return p->verdict != IDENTIFY_NONE;
	}
}

/* Why a page is left as it is, or NULL. */
static const char *left_alone(const struct vmcs12_page *p,
			      const struct plan_options *o)
{
	if (p->place == PLACE_RAM && o->only_current)
		return "--only-current";
	if (p->kind == VMCS12_VMXON)
		return "VMXON region: no fields";
	if (p->kind == VMCS12_EVMCS)
		return "enlightened VMCS: it has Hyper-V's own layout";
	if (p->kind == VMCS12_EVMCS_STATE)
		return "the EVMCS flag is set";
	if (p->kind == VMCS12_OTHER)
		return "holds bytes that no layout has fields for";
	return NULL;
}

static enum nst_status contradiction(const struct scan *s, struct nst_error *e)
{
	const struct vmcs12_page *first = NULL;

	for (uint32_t i = 0; i < s->n; i++) {
		const struct vmcs12_page *p = &s->page[i];
		if (!has_vote(p) || !p->layout)
			continue;
		if (!first)
			first = p;
		else if (first->layout != p->layout)
			return nst_fail(e, NST_BAD_INPUT, "the vmcs12 pages "
				"disagree about their layout: %s at 0x%llx, %s "
				"at 0x%llx; name it with --from",
				first->layout->id,
				(unsigned long long)first->gpa, p->layout->id,
				(unsigned long long)p->gpa);
	}
	return nst_fail(e, NST_BAD_INPUT, "the vmcs12 pages disagree about "
			"their layout; name it with --from");
}

static enum nst_status doubt(const struct identify_result *r,
			     struct nst_error *e)
{
	char a[80], b[80];

	identify_group_name(r, r->candidate[0].group, a, sizeof a);
	for (unsigned i = 1; i < r->count; i++) {
		if (r->candidate[i].group == r->candidate[0].group ||
		    r->candidate[i].hard)
			continue;
		identify_group_name(r, r->candidate[i].group, b, sizeof b);
		return nst_fail(e, NST_BAD_INPUT, "the layout is ambiguous: %s "
				"and %s both fit; name it with --from", a, b);
	}
	return nst_fail(e, NST_BAD_INPUT, "the layout is ambiguous; name it "
			"with --from");
}

bool plan_judge(const struct scan *s, struct identify_result *r,
		unsigned *votes, bool *conflict)
{
	struct identify_pool *pool = malloc(sizeof *pool);

	if (!pool)
		return false;
	identify_pool_init(pool);
	*votes = 0;
	for (uint32_t i = 0; i < s->n; i++) {
		if (!has_vote(&s->page[i]))
			continue;
		identify_pool_add(pool, s->page[i].data, NULL);
		++*votes;
	}
	identify_pool_result(pool, r);
	*conflict = pool->conflict;
	free(pool);
	return true;
}

const struct vmcs12_page *plan_unfit(const struct scan *s, bool only_current)
{
	const struct plan_options o = { .only_current = only_current };

	/* An empty page fits every layout, so that NONE means: holds values. */
	for (uint32_t i = 0; i < s->n; i++)
		if (s->page[i].verdict == IDENTIFY_NONE &&
		    s->page[i].kind != VMCS12_EMPTY &&
		    !left_alone(&s->page[i], &o))
			return &s->page[i];
	return NULL;
}

/* No page had a vote.  That is fine where there is nothing to move, but a page
 * full of values must not be passed on as if it had been converted. */
static enum nst_status undecided(const struct scan *s, bool only_current,
				 struct nst_error *e)
{
	const struct vmcs12_page *p = plan_unfit(s, only_current);

	if (!p)
		return NST_OK;
	if (p->gpa == ~0ull)
		return nst_fail(e, NST_BAD_INPUT, "the vmcs12 fits no layout "
				"that is known; name it with --from");
	return nst_fail(e, NST_BAD_INPUT, "the %s at 0x%llx fits no layout that "
			"is known; name it with --from",
			vmcs12_kind_name(p->kind), (unsigned long long)p->gpa);
}

/* The layout that all pages together are certain of. */
static enum nst_status decide_source(const struct scan *s,
				     const struct plan_options *o,
				     struct plan *out, struct nst_error *e)
{
	unsigned votes;
	bool conflict;

	if (o->from) {
		out->from = o->from;
		out->given = true;
		return NST_OK;
	}
	out->evidence = malloc(sizeof *out->evidence);
	if (!out->evidence || !plan_judge(s, out->evidence, &votes, &conflict))
		return nst_fail(e, NST_SYSTEM, "out of memory");
	if (conflict)
		return contradiction(s, e);
	if (votes && out->evidence->verdict == IDENTIFY_AMBIGUOUS &&
	    !out->evidence->empty)
		return doubt(out->evidence, e);
	if (votes)
		out->from = out->evidence->layout;
	return out->from ? NST_OK : undecided(s, o->only_current, e);
}

static const struct layout *decide_target(const struct plan *out,
					  const struct scan *s,
					  const struct plan_options *o,
					  struct nst_error *e)
{
	const uint8_t **data;
	const struct layout *to;
	unsigned n = 0;

	if (o->to)
		return o->to;
	data = malloc((s->n ? s->n : 1) * sizeof *data);
	if (!data) {
		nst_fail(e, NST_SYSTEM, "out of memory");
		return NULL;
	}
	for (uint32_t i = 0; i < s->n; i++)
		if (!left_alone(&s->page[i], o))
			data[n++] = s->page[i].data;
	to = remap_target(out->from, data, n);
	free(data);
	return to;
}

static void locate(const struct vmcs12_page *p, struct nst_error *e)
{
	struct nst_error inner = *e;

	if (p->place == PLACE_RAM)
		nst_fail(e, inner.status, "page 0x%llx: %s",
			 (unsigned long long)p->gpa, inner.text);
	else if (p->vcpu >= 0)
		nst_fail(e, inner.status, "vCPU %d: %s", p->vcpu, inner.text);
}

/* KVM names no current VMCS beside an enlightened one; taking such a page for
 * either could be wrong. */
static enum nst_status contradicts_itself(const struct vmcs12_page *p,
					  struct nst_error *e)
{
	if (p->kind != VMCS12_EVMCS_STATE || p->gpa == ~0ull)
		return NST_OK;
	nst_fail(e, NST_BAD_INPUT, "a nested state with the EVMCS flag and a "
		 "current VMCS, 0x%llx: one of them is wrong",
		 (unsigned long long)p->gpa);
	locate(p, e);
	return NST_BAD_INPUT;
}

static enum nst_status remap_all(const struct scan *s,
				 const struct plan_options *o, struct plan *out,
				 struct nst_error *e)
{
	for (uint32_t i = 0; i < s->n; i++) {
		struct plan_page *pp = &out->page[i];
		enum nst_status st;

		pp->page = &s->page[i];
		pp->why_not = left_alone(pp->page, o);
		st = o->judged_later ? NST_OK : contradicts_itself(pp->page, e);
		if (st)
			return st;
		if (pp->why_not)
			continue;
		st = remap_page(out->from, out->to, pp->page->data, pp->after,
				o->drop_unsupported, &pp->report, e);
		if (st) {
			locate(pp->page, e);
			return st;
		}
		pp->remapped = true;
		pp->changed = memcmp(pp->after, pp->page->data, VMCS12_SIZE);
		out->changed += pp->changed;
	}
	return NST_OK;
}

enum nst_status plan_make(const struct scan *s, const struct plan_options *o,
			  struct plan *out, struct nst_error *e)
{
	struct nst_error own = { 0 };
	enum nst_status st;

	e = e ? e : &own;
	memset(out, 0, sizeof *out);
	st = decide_source(s, o, out, e);
	if (st || !out->from)
		goto end;
	out->page = calloc(s->n ? s->n : 1, sizeof *out->page);
	if (!out->page) {
		st = nst_fail(e, NST_SYSTEM, "out of memory");
		goto end;
	}
	out->n = s->n;
	out->to = decide_target(out, s, o, e);
	st = out->to ? remap_all(s, o, out, e) : e->status;
end:
	if (st)
		plan_free(out);
	return st;
}

void plan_free(struct plan *p)
{
	free(p->page);
	free(p->evidence);
	memset(p, 0, sizeof *p);
}
