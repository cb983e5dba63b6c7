/* damage FLIPS STEP FILE...: what damage does to a conversion.
 *
 * Each FILE, which converts well, is cut at every STEP-th byte, and FLIPS times one
 * bit of it is flipped.  Each time it is refused, saying why, or what is converted is
 * right: every page that the file (as it is now) holds is remapped from the layout
 * that it really has, nothing else changes, and of the pages that the whole file
 * holds no more are missing than one flipped bit can touch. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "convert/convert.h"
#include "convert/source.h"
#include "layouts/layouts.h"

#define FROM "v4.14"
#define TO "v6.18"

static unsigned long refused, good, wrong;
static double slowest;

struct file { const char *name; uint8_t *p; size_t n; int fd; char path[64]; };

static void fail(const struct file *f, const char *damage, size_t at,
		 const char *why)
{
	if (++wrong <= 20)
		printf("WRONG: %s, %s %zu: %s\n", f->name, damage, at, why);
}

static bool load(struct file *f, const char *name)
{
	struct stat st;
	FILE *in = fopen(name, "rb");

	f->name = name;
	if (!in || fstat(fileno(in), &st))
		return false;
	f->n = (size_t)st.st_size;
	f->p = malloc(f->n + 1);
	f->fd = memfd_create("damage", MFD_CLOEXEC);
	if (!f->p || f->fd < 0 || fread(f->p, 1, f->n, in) != f->n ||
	    pwrite(f->fd, f->p, f->n, 0) != (ssize_t)f->n)
		return false;
	fclose(in);
	snprintf(f->path, sizeof f->path, "/proc/self/fd/%d", f->fd);
	return true;
}

static bool same_place(const struct vmcs12_page *a, const struct vmcs12_page *b)
{
	return a->place == b->place && (a->place == PLACE_RAM ?
		a->gpa == b->gpa : a->state == b->state);
}

static const struct vmcs12_page *find(const struct scan *s,
				      const struct vmcs12_page *p)
{
	for (uint32_t i = 0; i < s->n; i++)
		if (same_place(&s->page[i], p))
			return &s->page[i];
	return NULL;
}

/* Of the pages of the whole file, how many are not as they were? */
static unsigned touched(const struct scan *whole, const struct scan *now)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < whole->n; i++) {
		const struct vmcs12_page *p = find(now, &whole->page[i]);
		n += !p || memcmp(p->data, whole->page[i].data, VMCS12_SIZE);
	}
	return n;
}

static int add_up(void *arg, const struct container_run *run)
{
	uint64_t *sum = arg;

	for (uint64_t o = 0; o < run->size; o += 8) {
		uint64_t w;
		memcpy(&w, run->data + o, 8);
		*sum += w * (2 * (run->gpa + o) + 1);
	}
	return 0;
}

static uint64_t ram_sum(struct container *c, const struct scan *without)
{
	struct nst_error e = { 0 };
	uint64_t sum = 0;

	container_walk(c, add_up, &sum, &e);
	for (uint32_t i = 0; i < without->n; i++) {
		const struct vmcs12_page *p = &without->page[i];
		struct container_run run = { p->gpa, p->data, VMCS12_SIZE, 0 };
		uint64_t own = 0;

		if (p->place != PLACE_RAM)
			continue;
		add_up(&own, &run);
		sum -= own;
	}
	return sum;
}

/* What was written, read again. */
static const char *check_output(struct conversion *v, int fd)
{
	struct container_options o = { .kind = v->c->ops->kind };
	const char *why = NULL;
	struct container *c;
	struct nst_error e;
	struct scan s;
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (container_open(path, &o, &c, &e))
		return "what was written does not open";
	if (scan_container(c, true, &s, &e)) {
		container_close(c);
		return "what was written cannot be scanned";
	}
	for (uint32_t i = 0; i < v->plan.n && !why; i++) {
		const struct plan_page *pp = &v->plan.page[i];
		const struct vmcs12_page *p = find(&s, pp->page);
		uint8_t want[VMCS12_SIZE];
		struct remap_report r;

		memcpy(want, pp->page->data, VMCS12_SIZE);
		if (pp->remapped && remap_page(layout_by_name(FROM),
				layout_by_name(TO), pp->page->data, want, false,
				&r, &e))
			why = "a page was remapped that cannot be";
		else if (!p || memcmp(p->data, want, VMCS12_SIZE))
			why = "a page is not what it should have become";
	}
	if (!why && s.n != v->scan.n)
		why = "another number of pages than before";
	if (!why && ram_sum(c, &s) != ram_sum(v->c, &v->scan))
		why = "other RAM changed";
	scan_free(&s);
	container_close(c);
	return why;
}

/* A page of the whole file that is as it was and yet is left as it is. */
static bool left_out(const struct conversion *whole, const struct conversion *v)
{
	for (uint32_t i = 0; i < v->plan.n; i++) {
		const struct plan_page *now = &v->plan.page[i];

		for (uint32_t k = 0; k < whole->plan.n; k++) {
			const struct plan_page *was = &whole->plan.page[k];

			if (was->remapped && !now->remapped &&
			    same_place(was->page, now->page) &&
			    !memcmp(was->page->data, now->page->data,
				    VMCS12_SIZE))
				return true;
		}
	}
	return false;
}

static const char *check(struct conversion *v, const struct conversion *whole,
			 unsigned most)
{
	struct nst_error e = { 0 };
	const char *why;
	int fd;

	if (touched(&whole->scan, &v->scan) > most)
		return "more is missing than was damaged";
	if (!v->plan.from) /* nothing that could be converted is left */
		return whole->scan.n > most ? "nothing was converted" : NULL;
	if (strcmp(v->plan.from->id, FROM))
		return "taken for another layout";
	if (left_out(whole, v))
		return "a page that is intact was left as it is";
	fd = memfd_create("out", MFD_CLOEXEC);
	why = fd < 0 || container_rewrite(v->c, fd, v->patch, v->npatches, &e) ?
		e.text[0] ? NULL : "no reason given" : check_output(v, fd);
	close(fd);
	return why;
}

static void one(struct file *f, const struct conversion *whole, const char *damage,
		size_t at, unsigned most)
{
	struct plan_options o = { .to = layout_by_name(TO) };
	struct nst_error e = { 0 };
	struct conversion v;
	struct timespec a, b;
	const char *why = NULL;
	enum nst_status st;

	clock_gettime(CLOCK_MONOTONIC, &a);
	st = conversion_open(f->path, &o, &v, &e);
	if (!st) {
		good++;
		why = check(&v, whole, most);
		conversion_close(&v);
	} else {
		refused++;
		if (st != NST_BAD_INPUT)
			why = "refused with another status than 3";
		else if (!e.text[0])
			why = "refused without a word";
	}
	clock_gettime(CLOCK_MONOTONIC, &b);
	double t = (double)(b.tv_sec - a.tv_sec) +
		(double)(b.tv_nsec - a.tv_nsec) / 1e9;
	slowest = t > slowest ? t : slowest;
	if (why)
		fail(f, damage, at, why);
}

static uint64_t random_state = 42;

static size_t below(size_t n)
{
	random_state = random_state * 6364136223846793005ull +
		1442695040888963407ull;
	return (size_t)((random_state >> 16) % n);
}

static void damage(struct file *f, unsigned flips, size_t step)
{
	struct plan_options o = { .to = layout_by_name(TO) };
	struct conversion whole;
	struct nst_error e;

	if (conversion_open(f->path, &o, &whole, &e) ||
	    strcmp(whole.plan.from ? whole.plan.from->id : "", FROM)) {
		fail(f, "whole", 0, "does not convert");
		return;
	}
	/* One flipped bit damages a page, or moves it to the place of another. */
	for (unsigned i = 0; i < flips; i++) {
		size_t at = below(f->n);
		uint8_t was = f->p[at], now = was ^ (uint8_t)(1u << below(8));

		if (pwrite(f->fd, &now, 1, (off_t)at) != 1)
			abort();
		one(f, &whole, "bit flipped at", at, 2);
		if (pwrite(f->fd, &was, 1, (off_t)at) != 1)
			abort();
	}
	/* The whole file stays mapped by `whole`: cut a copy of it. */
	struct file copy = *f;
	copy.fd = memfd_create("cut", MFD_CLOEXEC);
	snprintf(copy.path, sizeof copy.path, "/proc/self/fd/%d", copy.fd);
	if (copy.fd < 0 || pwrite(copy.fd, f->p, f->n, 0) != (ssize_t)f->n)
		abort();
	for (size_t n = f->n - 1; n > 0; n = n > step ? n - step : 0) {
		if (ftruncate(copy.fd, (off_t)n))
			abort();
		one(&copy, &whole, "cut at", n, 0);
	}
	close(copy.fd);
	conversion_close(&whole);
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	for (int i = 3; i < argc; i++) {
		unsigned long was[2] = { refused, good };
		struct file f;

		if (!load(&f, argv[i]))
			return 4;
		damage(&f, (unsigned)atoi(argv[1]), (size_t)atol(argv[2]));
		printf("%-40s %6lu refused, %6lu converted right\n",
		       strrchr(f.name, '/') ? strrchr(f.name, '/') + 1 : f.name,
		       refused - was[0], good - was[1]);
		close(f.fd);
		free(f.p);
	}
	printf("the slowest took %.3f s; %lu wrong\n", slowest, wrong);
	return wrong ? 1 : 0;
}
