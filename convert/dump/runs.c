/* runs.c: stretches of RAM in a file: sorted, without overlap, walked in pieces
 * so that a pass over a big file keeps little of it in memory. */
#include "convert/dump/runs.h"

#include <stdlib.h>
#include <string.h>

#include "convert/source.h"

#define PAGE 4096ull
#define NONE 0xffffffffffffffffull
#define PIECE (1ull << 20)

bool runs_add(struct ram_runs *r, uint64_t gpa, uint64_t filesz, uint64_t memsz,
	      uint64_t offset)
{
	uint64_t skip = -gpa & (PAGE - 1);
	struct ram_run *v;

	if (memsz < skip + PAGE || gpa > 1ull << 52 || memsz > 1ull << 52)
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
			rc = piece(c, v, k * PIECE, left < PIECE ? left : PIECE,
				   fn, arg);
		}
		base += n;
	}
	return rc;
}
