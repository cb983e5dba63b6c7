/* One input as a container: opened, scanned, loaded, planned; and written with
 * patches that change nothing, which must give a file that opens and holds the
 * same pages.  FORMAT (a kind, or
 * "" for whatever it looks like) is given by fuzz.mk: each format is a program.
 * A seed of each format is written by seeds.c. */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "convert/container.h"
#include "convert/plan.h"
#include "convert/source.h"

#ifndef FORMAT
#define FORMAT ""
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(void *arg, const struct container_run *run)
{
	*(uint64_t *)arg += run->size + run->data[run->size - 1];
	return 0;
}

static void same_pages(const struct scan *a, int fd, const char *kind)
{
	struct container_options o = { .kind = kind };
	struct container *c;
	struct nst_error e;
	struct scan b;
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (container_open(path, &o, &c, &e) || scan_container(c, true, &b, &e))
		abort();
	if (a->n != b.n)
		abort();
	for (uint32_t i = 0; i < a->n; i++)
		if (a->page[i].gpa != b.page[i].gpa ||
		    memcmp(a->page[i].data, b.page[i].data, VMCS12_SIZE))
			abort();
	scan_free(&b);
	container_close(c);
}

static void write_again(struct container *c, const struct scan *s)
{
	struct container_patch *p = calloc(s->n + c->nstates + 1, sizeof *p);
	struct nst_error e = { 0 };
	uint32_t n = 0;
	int fd = memfd_create("again", MFD_CLOEXEC);

	if (!p || fd < 0)
		abort();
	for (uint32_t i = 0; i < s->n; i++)
		if (s->page[i].place == PLACE_RAM)
			p[n++] = (struct container_patch){ .kind = PATCH_RAM,
				.gpa = s->page[i].gpa, .data = s->page[i].data };
	for (uint32_t i = 0; i < c->nstates; i++)
		p[n++] = (struct container_patch){ .kind = PATCH_STATE,
			.state = i, .data = c->states[i].data };
	if (!container_rewrite(c, fd, p, n, &e))
		same_pages(s, fd, c->ops->kind);
	else if (!e.text[0])
		abort();
	close(fd);
	free(p);
}

static void use(struct container *c)
{
	struct plan_options o = { .from = layout_by_name("v4.14") };
	struct snapshot *s;
	struct nst_error e;
	struct scan scan;
	struct plan plan;
	uint64_t sum = 0;

	container_walk(c, count, &sum, &e);
	if (!scan_container(c, true, &scan, &e)) {
		o.to = layout_by_name("v6.18");
		o.drop_unsupported = true;
		if (!plan_make(&scan, &o, &plan, &e))
			plan_free(&plan);
		if (lseek(source_fd(c->src), 0, SEEK_END) <= 16 << 20)
			write_again(c, &scan);
		scan_free(&scan);
	}
	/* RAM as a whole would be as large as the file says. */
	if (c->ram_bytes <= 64u << 20 && !container_load(c, &s, &e))
		snapshot_free(s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct container_options o = { .kind = *FORMAT ? FORMAT : NULL };
	struct container *c;
	struct nst_error e;
	char path[64];
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (!container_open(path, &o, &c, &e)) {
		use(c);
		container_close(c);
	} else if (!e.text[0]) {
		abort(); /* a refusal says why */
	}
	close(fd);
	return 0;
}
