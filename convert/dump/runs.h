/* runs.h: RAM that stands plainly in the file, as stretches. */
#ifndef NSTATE_CONVERT_DUMP_RUNS_H
#define NSTATE_CONVERT_DUMP_RUNS_H

#include "convert/container.h"

struct ram_run { uint64_t gpa, filesz, memsz, offset; };
struct ram_runs {
	struct ram_run *v;
	uint32_t n, room;
};

/* gpa and memsz are cut to whole pages; what has none is left out. */
bool runs_add(struct ram_runs *r, uint64_t gpa, uint64_t filesz, uint64_t memsz,
	      uint64_t offset);
/* Sorts, takes what overlaps once only, and names it all to c. */
bool runs_finish(struct ram_runs *r, struct container *c);
int runs_walk(const struct ram_runs *r, struct container *c, uint32_t part,
	      uint32_t parts, container_run_fn *fn, void *arg);

#endif
