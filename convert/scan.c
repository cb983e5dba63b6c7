/* scan.c: finds vmcs12 pages and says what each is. */
#include "convert/scan.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/evmcs.h"

#define HEADER 128u
#define NONE 0xffffffffffffffffull

static const char *const kind_names[] = {
	[VMCS12_CURRENT] = "current vmcs12",
	[VMCS12_SHADOW] = "shadow vmcs12",
	[VMCS12_ORDINARY] = "vmcs12, not current",
	[VMCS12_STALE] = "stale copy of a current vmcs12",
	[VMCS12_STALE_SHADOW] = "stale copy of a loaded shadow vmcs12",
	[VMCS12_EMPTY] = "prepared, never loaded",
	[VMCS12_VMXON] = "VMXON region",
	[VMCS12_OTHER] = "has the revision id but is no vmcs12",
	[VMCS12_EVMCS] = "enlightened VMCS (Hyper-V)",
	[VMCS12_EVMCS_STATE] = "current vmcs12, copied from an eVMCS",
};

const char *vmcs12_kind_name(enum vmcs12_kind k)
{
	return kind_names[k];
}

void scan_free(struct scan *s)
{
	free(s->page);
	memset(s, 0, sizeof *s);
}

static struct vmcs12_page *add(struct scan *s, const uint8_t *data)
{
	if (s->n == SCAN_MAX_PAGES) {
		s->too_many = true;
		return NULL;
	}
	if (s->n == s->room) {
		uint32_t room = s->room ? s->room * 2 : 8;
		struct vmcs12_page *p = realloc(s->page, room * sizeof *p);
		if (!p) {
			s->out_of_memory = true;
			return NULL;
		}
		s->page = p;
		s->room = room;
	}
	struct vmcs12_page *p = &s->page[s->n++];
	memset(p, 0, offsetof(struct vmcs12_page, data));
	memcpy(p->data, data, VMCS12_SIZE);
	p->vcpu = -1;
	p->gpa = p->file_offset = NONE;
	return p;
}

static uint32_t word(const uint8_t *page, unsigned off)
{
	uint32_t v;

	memcpy(&v, page + off, 4);
	return v;
}

static uint64_t header64(const struct container_state *st, unsigned off)
{
	uint64_t v = NONE;

	if (!st->bare_page && st->size >= off + 8)
		memcpy(&v, st->data + off, 8);
	return v;
}

static uint16_t header16(const struct container_state *st, unsigned off)
{
	uint16_t v = 0;

	if (!st->bare_page && st->size >= off + 2)
		memcpy(&v, st->data + off, 2);
	return v;
}

static uint64_t vmxon_pa(const struct container_state *st)
{
	return header16(st, 2) ? NONE : header64(st, 8);
}

static uint64_t vmcs12_pa(const struct container_state *st)
{
	return header16(st, 2) ? NONE : header64(st, 16);
}

static void add_state_page(struct scan *s, const struct container_state *st,
			   uint32_t index, unsigned off, bool shadow)
{
	struct vmcs12_page *p = add(s, st->data + off);

	if (!p)
		return;
	p->place = shadow ? PLACE_SHADOW_STATE : PLACE_STATE;
	p->state = index;
	p->vcpu = st->vcpu;
	p->gpa = shadow ? NONE : vmcs12_pa(st);
	p->file_offset = st->file_offset == NONE ? NONE : st->file_offset + off;
}

void scan_state(struct scan *s, const struct container_state *st, uint32_t index)
{
	uint32_t said;

	if (st->bare_page) {
		add_state_page(s, st, index, 0,
			       word(st->data, 0) & VMCS12_SHADOW_BIT);
		return;
	}
	if (header16(st, 2) || st->size < HEADER)
		return;
	memcpy(&said, st->data + 4, 4);
	if (said > st->size)
		said = st->size;
	if (said >= HEADER + VMCS12_SIZE)
		add_state_page(s, st, index, HEADER, false);
	/* The shadow page: inside the size, or beyond it where the kernel wrote
	 * it all the same (L1 running with a linked shadow VMCS). */
	if (st->size >= HEADER + 2 * VMCS12_SIZE && said > HEADER &&
	    word(st->data, HEADER + VMCS12_SIZE) ==
	    (VMCS12_REVISION | VMCS12_SHADOW_BIT))
		add_state_page(s, st, index, HEADER + VMCS12_SIZE, true);
}

static bool has_id(const uint8_t *p)
{
	return (word(p, 0) & ~VMCS12_SHADOW_BIT) == VMCS12_REVISION;
}

bool scan_wants(const uint8_t *p)
{
	return has_id(p) || (word(p, 0) == 1 && evmcs_is(p));
}

void scan_run(struct scan *s, const struct container_run *run)
{
	for (uint64_t o = 0; run->data && o + VMCS12_SIZE <= run->size;
	     o += VMCS12_SIZE) {
		struct vmcs12_page *p;

		if (!scan_wants(run->data + o))
			continue;
		p = add(s, run->data + o);
		if (!p)
			return;
		p->place = PLACE_RAM;
		p->gpa = run->gpa + o;
		if (run->file_offset != NONE)
			p->file_offset = run->file_offset + o;
	}
	s->pages_seen += run->size / VMCS12_SIZE;
}

/* Beyond the id, the abort indicator and launch_state. */
static bool is_zero_beyond(const uint8_t *p, unsigned from)
{
	for (unsigned i = from; i < VMCS12_SIZE; i++)
		if (p[i])
			return false;
	return true;
}

/* The link pointer of a state's vmcs12 by the layout that it is certain of, or
 * by every layout that fits: one hit is enough to call the page its shadow. */
static bool is_linked(const struct scan *s, uint64_t gpa)
{
	for (uint32_t i = 0; i < s->n; i++) {
		const struct vmcs12_page *p = &s->page[i];
		if (p->place != PLACE_STATE || !p->layout)
			continue;
		if (layout_get(p->layout, p->data,
			       VMCS_IDX_VMCS_LINK_POINTER) == gpa)
			return true;
	}
	return false;
}

static bool has_shadow_state(const struct scan *s)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (s->page[i].place == PLACE_SHADOW_STATE)
			return true;
	return false;
}

static enum vmcs12_kind kind_in_ram(const struct scan *s,
				    const struct vmcs12_page *p,
				    const struct identify_result *r,
				    const struct container_state *states,
				    uint32_t nstates)
{
	if (evmcs_is(p->data))
		return VMCS12_EVMCS;
	for (uint32_t i = 0; i < nstates; i++)
		if (vmcs12_pa(&states[i]) == p->gpa)
			return VMCS12_STALE;
	for (uint32_t i = 0; i < nstates; i++)
		if (vmxon_pa(&states[i]) == p->gpa)
			return VMCS12_VMXON;
	if (is_zero_beyond(p->data, 12))
		return VMCS12_EMPTY;
	/* launch_state is 0 or 1 in everything that KVM wrote; and bytes that no
	 * layout has fields for are not a vmcs12's. */
	if (word(p->data, VMCS12_OFF_LAUNCH) > 1)
		return VMCS12_OTHER;
	if (r->verdict == IDENTIFY_NONE && r->candidate[0].unowned)
		return VMCS12_OTHER;
	if (word(p->data, 0) & VMCS12_SHADOW_BIT)
		return is_linked(s, p->gpa) && has_shadow_state(s) ?
			VMCS12_STALE_SHADOW : VMCS12_SHADOW;
	return VMCS12_ORDINARY;
}

void scan_classify(struct scan *s, const struct container_state *states,
		   uint32_t nstates)
{
	struct identify_result *r = malloc(sizeof *r);

	if (!r) {
		s->out_of_memory = true;
		return;
	}
	for (uint32_t i = 0; i < s->n; i++) {
		struct vmcs12_page *p = &s->page[i];

		identify_page(p->data, r);
		p->verdict = r->verdict;
		p->layout = r->verdict == IDENTIFY_CERTAIN && !r->empty ?
			r->layout : NULL;
		if (p->place == PLACE_RAM)
			p->kind = kind_in_ram(s, p, r, states, nstates);
		else if (header16(&states[p->state], 0) &
			 KVM_STATE_NESTED_EVMCS)
			p->kind = VMCS12_EVMCS_STATE;
		else
			p->kind = p->place == PLACE_SHADOW_STATE ?
				VMCS12_SHADOW : VMCS12_CURRENT;
	}
	for (uint32_t i = 0; i < s->n; i++)
		if (s->page[i].kind == VMCS12_EVMCS)
			s->page[i].layout = evmcs_layout();
	free(r);
}

/* -- a whole container ---------------------------------------------------------- */

#define MAX_JOBS 64u
#define PROGRESS_EVERY (16ull << 20)

struct job {
	pthread_t thread;
	bool started;
	struct container *c;
	const struct scan_options *o;
	uint32_t part, parts;
	uint64_t *done;        /* of all jobs together */
	uint64_t told;
	struct scan scan;
	int rc;
	struct nst_error e;
};

static int scan_one_run(void *arg, const struct container_run *run)
{
	struct job *j = arg;
	uint64_t done = __atomic_add_fetch(j->done, run->size, __ATOMIC_RELAXED);

	scan_run(&j->scan, run);
	if (!j->part && j->o->progress.tell &&
	    done - j->told >= PROGRESS_EVERY) {
		j->told = done;
		j->o->progress.tell(j->o->progress.arg, done, j->c->ram_bytes);
	}
	return j->scan.out_of_memory || j->scan.too_many ? 1 : 0;
}

static void *run_job(void *arg)
{
	struct job *j = arg;

	j->rc = container_walk_part(j->c, j->part, j->parts, scan_one_run, j,
				    &j->e);
	return NULL;
}

static int by_gpa(const void *a, const void *b)
{
	const struct vmcs12_page *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

/* Moves what a job found into out. */
static enum nst_status collect(struct job *j, struct scan *out,
			       struct nst_error *e)
{
	out->out_of_memory |= j->scan.out_of_memory;
	out->too_many |= j->scan.too_many;
	out->pages_seen += j->scan.pages_seen;
	for (uint32_t i = 0; i < j->scan.n; i++) {
		struct vmcs12_page *p = add(out, j->scan.page[i].data);
		if (p)
			*p = j->scan.page[i];
	}
	scan_free(&j->scan);
	if (j->rc >= 0)
		return NST_OK;
	if (e)
		*e = j->e;
	return j->e.status ? j->e.status : NST_BAD_INPUT;
}

static enum nst_status scan_ram(struct container *c,
				const struct scan_options *o, struct scan *out,
				struct nst_error *e)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t n = o->jobs ? o->jobs : cpus > 0 ? (uint32_t)cpus : 1;
	uint32_t first = out->n;
	enum nst_status st = NST_OK;
	uint64_t done = 0;
	struct job *job;

	/* A thread for less than this costs more than it saves. */
	if (!container_walks_parts(c) || c->ram_bytes < 64ull << 20)
		n = 1;
	n = n > MAX_JOBS ? MAX_JOBS : n;
	job = calloc(n, sizeof *job);
	if (!job)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	for (uint32_t i = 0; i < n; i++)
		job[i] = (struct job){ .c = c, .o = o, .part = i, .parts = n,
				       .done = &done };
	for (uint32_t i = 1; i < n; i++)
		job[i].started = !pthread_create(&job[i].thread, NULL, run_job,
						 &job[i]);
	for (uint32_t i = 0; i < n; i++) {
		/* Where no thread could be made, this one does its work. */
		if (!job[i].started)
			run_job(&job[i]);
		else
			pthread_join(job[i].thread, NULL);
		enum nst_status one = collect(&job[i], out, st ? NULL : e);
		st = st ? st : one;
	}
	free(job);
	if (out->n > first)
		qsort(out->page + first, out->n - first, sizeof *out->page,
		      by_gpa);
	return st;
}

enum nst_status scan_container_with(struct container *c,
				    const struct scan_options *o,
				    struct scan *out, struct nst_error *e)
{
	enum nst_status st = NST_OK;

	memset(out, 0, sizeof *out);
	for (uint32_t i = 0; i < c->nstates; i++)
		scan_state(out, &c->states[i], i);
	if (o->ram && c->has_ram)
		st = scan_ram(c, o, out, e);
	if (!st)
		scan_classify(out, c->states, c->nstates);
	if (!st && out->too_many)
		st = nst_fail(e, NST_BAD_INPUT, "more than %u pages begin with "
			      "the revision id of a vmcs12", SCAN_MAX_PAGES);
	if (!st && out->out_of_memory)
		st = nst_fail(e, NST_SYSTEM, "out of memory");
	if (st)
		scan_free(out);
	return st;
}

enum nst_status scan_container(struct container *c, bool ram, struct scan *out,
			       struct nst_error *e)
{
	const struct scan_options o = { .ram = ram };

	return scan_container_with(c, &o, out, e);
}
