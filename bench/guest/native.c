/* native.c: runs the plain workloads on the host: `native WORK=SCALE`.  Prints
 * what the guest prints. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "bench.h"

static uint64_t here(routine *f, uint64_t a, uint64_t b, uint64_t c)
{
	return f(a, b, c);
}

static int run(const struct workload *w, uint64_t scale)
{
	struct run r = { .call = here, .scale = scale };

	r.data = mmap(NULL, ARENA_DATA, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	r.code = mmap(NULL, ARENA_CODE, PROT_READ | PROT_WRITE | PROT_EXEC,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r.data == MAP_FAILED || r.code == MAP_FAILED) {
		perror("native: mmap");
		return 4;
	}
	w->run(&r);
	printf("RESULT bare.%s scale=%llu insns=%llu events=%llu of=%s "
	       "tsc=%llu sum=0x%llx %s\nDONE %s\n", w->name,
	       (unsigned long long)scale, (unsigned long long)r.insns,
	       (unsigned long long)r.events, w->event,
	       (unsigned long long)(r.stop - r.start),
	       (unsigned long long)r.sum, r.bad ? "BAD" : "ok",
	       r.bad ? "fail" : "ok");
	return r.bad;
}

int main(int argc, char **argv)
{
	const char *arg = argc == 2 ? argv[1] : "", *eq = strchr(arg, '=');

	if (!strncmp(arg, "bare.", 5))
		arg += 5;
	for (const struct workload *w = plain_work; eq && w->name; w++)
		if (strlen(w->name) == (size_t)(eq - arg) &&
		    !strncmp(w->name, arg, (size_t)(eq - arg)))
			return run(w, strtoull(eq + 1, NULL, 10));
	fputs("usage: native [bare.]WORK=SCALE\n", stderr);
	return 2;
}
