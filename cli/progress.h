/* progress.h: a line on standard error while work goes on, on a terminal, and
 * only for work of more than a second. */
#ifndef NSTATE_CLI_PROGRESS_H
#define NSTATE_CLI_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	const char *what;
	bool json;             /* one JSON object a line, for machines */
	bool shown, off;
	uint64_t start_ns, last_ns;
};

/* events: the caller prints JSON: then progress is JSON too. */
void progress_start(struct progress *p, const char *what, bool events);
/* The shape that scan_options.progress wants; arg is a struct progress. */
void progress_tell(void *arg, uint64_t done, uint64_t total);
void progress_end(struct progress *p);

#endif
