/* runs.h: RAM that stands plainly in the file, as stretches. */
#ifndef NSTATE_CONVERT_DUMP_RUNS_H
#define NSTATE_CONVERT_DUMP_RUNS_H

#include "convert/container.h"

struct ram_run { uint64_t gpa, filesz, memsz, offset; };
/* A page that the sieve wants, of a source that passes. */
struct ram_kept { uint64_t offset; uint8_t page[4096]; };
struct ram_runs {
	struct ram_run *v;
	uint32_t n, room;
	struct ram_kept *kept; /* by rising offsets */
	uint32_t nkept, kept_room;
	uint64_t passed;       /* how far the source was read; */
	uint64_t done, total;  /* bytes of runs in that, and in all, or 0 */
};

/* gpa and memsz are cut to whole pages; what has none is left out. */
bool runs_add(struct ram_runs *r, uint64_t gpa, uint64_t filesz, uint64_t memsz,
	      uint64_t offset);
/* Sorts, takes what overlaps once only, and names it all to c. */
bool runs_finish(struct ram_runs *r, struct container *c);
/* Of a source that passes: reads one run, which lies behind those that were read
 * before, and keeps what is wanted.  open: its size is RUNS_MOST, and becomes what the
 * file has.  False: it cannot be read so, for whatever reason. */
#define RUNS_MOST (1ull << 52)
bool runs_pass(struct ram_runs *r, struct container *c, struct ram_run *v,
	       bool open);
/* All that were added, by their places in the file, and the file to its end; before
 * runs_finish. */
bool runs_pass_all(struct ram_runs *r, struct container *c);
void runs_free(struct ram_runs *r);
int runs_walk(const struct ram_runs *r, struct container *c, uint32_t part,
	      uint32_t parts, container_run_fn *fn, void *arg);

#endif
