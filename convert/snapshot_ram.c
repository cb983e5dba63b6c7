/* snapshot_ram.c: memory for a snapshot's RAM: private, zeroed, reserved but
 * not committed; runs that touch become one. */
#include <stdlib.h>
#include <sys/mman.h>

#include "convert/snapshot.h"

static void release(struct snapshot *s)
{
	for (uint32_t i = 0; i < s->nram; i++)
		munmap(s->ram[i].host, s->ram[i].size);
}

bool snapshot_make_ram(struct snapshot *s, const struct ram_plan *runs,
		       uint32_t n)
{
	s->ram = calloc(n ? n : 1, sizeof *s->ram);
	if (!s->ram)
		return false;
	s->release = release;
	for (uint32_t i = 0; i < n; ) {
		uint64_t gpa = runs[i].gpa, size = 0;

		while (i < n && runs[i].gpa == gpa + size)
			size += runs[i++].size;
		void *host = mmap(NULL, size, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
				  -1, 0);
		if (host == MAP_FAILED)
			return false;
		s->ram[s->nram++] = (struct snapshot_ram){ gpa, size, host };
	}
	return true;
}
