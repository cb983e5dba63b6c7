/* runs.c: stretches of RAM in a file: sorted, without overlap, walked in pieces
 * so that a pass over a big file keeps little of it in memory. */
#include "convert/dump/runs.h"

#include <stdlib.h>
#include <string.h>

#include "convert/source.h"

#define PAGE 4096ull
#define NONE 0xffffffffffffffffull
#define PIECE (1ull << 20)
#define MOST_KEPT 4096u    /* 16 MiB; more have room in a file */

bool runs_add(struct ram_runs *r, uint64_t gpa, uint64_t filesz, uint64_t memsz,
	      uint64_t offset)
{
	uint64_t skip = -gpa & (PAGE - 1);
	struct ram_run *v;

	if (memsz < skip + PAGE || gpa > RUNS_MOST || memsz > RUNS_MOST)
		return true;
	memsz = (memsz - skip) & ~(PAGE - 1);
	filesz = filesz > skip ? filesz - skip : 0;
	if (filesz > memsz)
		filesz = memsz;
	if (r->n == r->room) {
		r->room = r->room ? r->room * 2 : 16;
		v = realloc(r->v, r->room * sizeof *v);
		if (!v)
			return false;
		r->v = v;
	}
	r->v[r->n++] = (struct ram_run){ gpa + skip, filesz, memsz,
					 offset + skip };
	return true;
}

static int by_gpa(const void *a, const void *b)
{
	const struct ram_run *x = a, *y = b;

	if (x->gpa != y->gpa)
		return x->gpa < y->gpa ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

bool runs_finish(struct ram_runs *r, struct container *c)
{
	uint64_t end = 0;
	uint32_t n = 0;

	if (r->n)
		qsort(r->v, r->n, sizeof *r->v, by_gpa);
	for (uint32_t i = 0; i < r->n; i++) {
		struct ram_run v = r->v[i];
		uint64_t cut = v.gpa < end ? end - v.gpa : 0;

		if (cut >= v.memsz)
			continue;
		v.gpa += cut;
		v.memsz -= cut;
		v.filesz = v.filesz > cut ? v.filesz - cut : 0;
		v.offset += cut;
		end = v.gpa + v.memsz;
		r->v[n++] = v;
		if (!container_add_ram(c, v.gpa, v.memsz))
			return false;
	}
	r->n = n;
	return true;
}

/* -- passing ------------------------------------------------------------------- */

static bool keep(struct ram_runs *r, uint64_t offset, const uint8_t *p,
		 uint64_t len)
{
	struct ram_kept *k;

	if (r->nkept == MOST_KEPT)
		return false;
	if (r->nkept == r->kept_room) {
		r->kept_room = r->kept_room ? r->kept_room * 2 : 16;
		k = realloc(r->kept, r->kept_room * sizeof *k);
		if (!k)
			return false;
		r->kept = k;
	}
	k = &r->kept[r->nkept++];
	*k = (struct ram_kept){ .offset = offset };
	memcpy(k->page, p, len);
	return true;
}

/* The pages of one stretch, the last of which may be cut. */
static bool sift(struct ram_runs *r, struct container *c, uint64_t offset,
		 uint64_t len)
{
	const uint8_t *p = source_at(c->src, offset, len);

	for (uint64_t at = 0; at < len; at += PAGE) {
		uint64_t n = len - at < PAGE ? len - at : PAGE;

		/* A cut page is kept: the sieve might look beyond its end. */
		if ((n < PAGE || c->options.sieve(p + at)) &&
		    !keep(r, offset + at, p + at, n))
			return false;
	}
	return true;
}

static int by_offset(const void *a, const void *b)
{
	const struct ram_run *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* A stretch that goes to the end of the file, wherever that is. */
static bool find_end(struct ram_run *v, struct container *c)
{
	uint64_t size = source_size(c->src);

	if (source_too_much(c->src) || source_status(c->src, NULL) ||
	    size <= v->offset)
		return false;
	v->filesz = size - v->offset;
	v->memsz = (v->filesz + PAGE - 1) & ~(PAGE - 1);
	return true;
}

bool runs_pass(struct ram_runs *r, struct container *c, struct ram_run *v,
	       bool open)
{
	const struct container_progress *p = &c->options.progress;
	uint64_t n;

	if (!r->passed)
		r->passed = v->offset;
	if (v->offset < r->passed)
		return false;
	for (uint64_t at = 0; at < v->filesz; at += n) {
		n = v->filesz - at < PIECE ? v->filesz - at : PIECE;
		if (!source_need(c->src, v->offset + at + n)) {
			if (!open || !find_end(v, c))
				return false;
			n = v->filesz - at;
		}
		if (!sift(r, c, v->offset + at, n))
			return false;
		source_release(c->src, r->passed, v->offset + at + n - r->passed);
		r->passed = v->offset + at + n;
		r->done += n;
		if (r->total && p->tell)
			p->tell(p->arg, r->done, r->total);
	}
	return true;
}

bool runs_pass_all(struct ram_runs *r, struct container *c)
{
	if (r->n)
		qsort(r->v, r->n, sizeof *r->v, by_offset);
	for (uint32_t i = 0; i < r->n; i++)
		r->total += r->v[i].filesz;
	for (uint32_t i = 0; i < r->n; i++)
		if (!runs_pass(r, c, &r->v[i], false))
			return false;
	return source_need_all(c->src);
}

void runs_free(struct ram_runs *r)
{
	free(r->v);
	free(r->kept);
	*r = (struct ram_runs){ 0 };
}

/* What is left of a stretch: the pages that were kept, and where the others were. */
static int kept_piece(const struct ram_runs *r, const struct ram_run *v,
		      uint64_t at, uint64_t len, container_run_fn *fn, void *arg)
{
	uint64_t end = at + len;
	uint32_t k = 0, top = r->nkept;

	while (k < top) { /* the first that is not before it */
		uint32_t middle = k + (top - k) / 2;

		if (r->kept[middle].offset < v->offset + at)
			k = middle + 1;
		else
			top = middle;
	}
	while (at < end) {
		const struct ram_kept *p = k < r->nkept ? &r->kept[k] : NULL;
		uint64_t next = p ? p->offset - v->offset : end;
		struct container_run run = { v->gpa + at, NULL, 0,
					     v->offset + at };
		int rc;

		next = next < end ? next : end;
		if (next == at) {
			run.data = p->page;
			next = at + PAGE;
			run.file_offset = next > end ? NONE : run.file_offset;
			k++;
		}
		run.size = next - at;
		rc = fn(arg, &run);
		if (rc)
			return rc;
		at = next;
	}
	return 0;
}

/* -- walking ------------------------------------------------------------------- */

static int piece(struct container *c, const struct ram_run *v, uint64_t at,
		 uint64_t len, container_run_fn *fn, void *arg)
{
	uint64_t whole = len & ~(PAGE - 1);
	struct container_run run = { v->gpa + at, NULL, whole, v->offset + at };
	const uint8_t *p = source_at(c->src, v->offset + at, len);
	uint8_t page[PAGE];
	int rc = 0;

	if (!p)
		return 0;
	run.data = p;
	if (whole)
		rc = fn(arg, &run);
	/* The file's bytes end inside a page: the rest of it is zero. */
	if (!rc && whole < len) {
		memset(page, 0, sizeof page);
		memcpy(page, p + whole, len - whole);
		run = (struct container_run){ v->gpa + at + whole, page,
					      sizeof page, NONE };
		rc = fn(arg, &run);
	}
	source_release(c->src, v->offset + at, len);
	return rc;
}

/* Each part is one stretch: threads that take turns would map each other's
 * pages again, for the kernel maps whole folios. */
int runs_walk(const struct ram_runs *r, struct container *c, uint32_t part,
	      uint32_t parts, container_run_fn *fn, void *arg)
{
	uint64_t total = 0, base = 0, from, to;
	int rc = 0;

	for (uint32_t i = 0; i < r->n; i++)
		total += (r->v[i].filesz + PIECE - 1) / PIECE;
	from = total / parts * part;
	to = part + 1 == parts ? total : total / parts * (part + 1);
	for (uint32_t i = 0; !rc && i < r->n; i++) {
		const struct ram_run *v = &r->v[i];
		uint64_t n = (v->filesz + PIECE - 1) / PIECE;
		uint64_t k = from > base ? from - base : 0;

		for (; !rc && k < n && base + k < to; k++) {
			uint64_t left = v->filesz - k * PIECE;
			uint64_t here = v->offset + k * PIECE;
			uint64_t skip = (source_next_data(c->src, here) - here) /
				PIECE;

			if (skip) { /* a hole: zeros */
				k += skip - 1;
				continue;
			}
			left = left < PIECE ? left : PIECE;
			rc = source_passes(c->src) ?
				kept_piece(r, v, k * PIECE, left, fn, arg) :
				piece(c, v, k * PIECE, left, fn, arg);
		}
		base += n;
	}
	return rc;
}
