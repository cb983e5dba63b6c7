/* One input as a container: opened, scanned, loaded, planned.  FORMAT (a kind, or
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

#ifndef FORMAT
#define FORMAT ""
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int count(void *arg, const struct container_run *run)
{
	*(uint64_t *)arg += run->size + run->data[run->size - 1];
	return 0;
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
