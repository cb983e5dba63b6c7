/* progress.c: progress on standard error. */
#include "cli/progress.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"

static uint64_t now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void progress_start(struct progress *p, const char *what, bool events)
{
	*p = (struct progress){ .what = what, .json = events,
				.start_ns = now() };
	p->off = cli_quiet || (!events && !isatty(2));
}

void progress_tell(void *arg, uint64_t done, uint64_t total)
{
	struct progress *p = arg;
	uint64_t t = p->off ? 0 : now();

	if (p->off || t - p->start_ns < 1000000000ull ||
	    t - p->last_ns < 200000000ull)
		return;
	p->last_ns = t;
	p->shown = true;
	if (p->json)
		fprintf(stderr, "{\"event\": \"progress\", \"what\": \"%s\", "
			"\"done\": %" PRIu64 ", \"total\": %" PRIu64 "}\n",
			p->what, done, total);
	else
		fprintf(stderr, "\r%s: %" PRIu64 " of %" PRIu64 " MiB", p->what,
			done >> 20, total >> 20);
}

void progress_end(struct progress *p)
{
	if (p->shown && !p->json)
		fputs("\r\033[K", stderr);
}
