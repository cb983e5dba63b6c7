/* snapshot_ram.c: memory for a snapshot's RAM: zeroed, reserved but
 * not committed; runs that touch become one. */
#include <stdlib.h>
#include <sys/mman.h>

#include "convert/snapshot.h"

/* One mapping for all, for a process may have some 65,000 only: the runs stand in
 * it one behind the other. */
static void release(struct snapshot *s)
{
	uint64_t total = 0;

	for (uint32_t i = 0; i < s->nram; i++)
		total += s->ram[i].size;
	if (total)
		munmap(s->ram[0].host, total);
}

bool snapshot_make_ram(struct snapshot *s, const struct ram_plan *runs,
		       uint32_t n)
{
	uint64_t total = 0;
	uint8_t *host;

	for (uint32_t i = 0; i < n; i++)
		if (__builtin_add_overflow(total, runs[i].size, &total))
			return false;
	free(s->ram); /* of an attempt that found no RAM */
	s->ram = calloc(n ? n : 1, sizeof *s->ram);
	if (!s->ram)
		return false;
	if (!total)
		return true;
	host = mmap(NULL, total, PROT_READ | PROT_WRITE,
		    (s->share_ram ? MAP_SHARED : MAP_PRIVATE) | MAP_ANONYMOUS |
		    MAP_NORESERVE, -1, 0);
	if (host == MAP_FAILED)
		return false;
	s->release = release;
	for (uint32_t i = 0; i < n; ) {
		struct snapshot_ram *r = &s->ram[s->nram++];

		*r = (struct snapshot_ram){ runs[i].gpa, 0, host };
		while (i < n && runs[i].gpa == r->gpa + r->size)
			r->size += runs[i++].size;
		host += r->size;
	}
	return true;
}
