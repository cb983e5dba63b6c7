/* map.c: which blocks of a stream are guest RAM, and at which guest-physical
 * addresses.  The stream does not say; it follows from the machine type. */
#include <string.h>

#include "convert/qemu/stream.h"

#define GIB4 0x100000000ull

static bool ends_with(const char *s, const char *end)
{
	size_t a = strlen(s), b = strlen(end);

	return a >= b && !strcmp(s + a - b, end);
}

static bool is_other(const char *name)
{
	return !strncmp(name, "/rom@", 5) || ends_with(name, ".bios") ||
	       ends_with(name, ".rom") || ends_with(name, ".vram") ||
	       ends_with(name, ".flash0") || ends_with(name, ".flash1") ||
	       strstr(name, "vga.") || strstr(name, "/vga") ||
	       strstr(name, "virtio-vga");
}

static bool is_main(const struct qstream *q, const struct qblock *b)
{
	bool named = false;

	for (uint32_t i = 0; i < q->nblocks; i++)
		named |= !strcmp(q->block[i].name, "pc.ram") ||
			 !strcmp(q->block[i].name, "microvm.ram");
	if (named)
		return !strcmp(b->name, "pc.ram") ||
		       !strcmp(b->name, "microvm.ram");
	return !is_other(b->name);
}

/* RAM below 4 GiB where there is `total` of it. */
static uint64_t below_4g(const char *machine, uint64_t total)
{
	if (strstr(machine, "q35"))
		return total < 0xb0000000 ? total : 0x80000000;
	if (strstr(machine, "microvm"))
		return total < 0xc0000000 ? total : 0xc0000000;
	return total < 0xe0000000 ? total : 0xc0000000;
}

static void add_range(struct qstream *q, uint32_t block, uint64_t offset,
		      uint64_t size, uint64_t gpa)
{
	if (size && q->nranges < sizeof q->range / sizeof *q->range)
		q->range[q->nranges++] = (struct qrange){ block, offset, size,
							  gpa };
}

void qmap_make(struct qstream *q, uint64_t lowmem)
{
	uint64_t total = 0, linear = 0, low;

	for (uint32_t i = 0; i < q->nblocks; i++)
		if (is_main(q, &q->block[i]))
			total += q->block[i].length;
	low = lowmem ? lowmem : below_4g(q->machine, total);
	for (uint32_t i = 0; i < q->nblocks; i++) {
		const struct qblock *b = &q->block[i];
		uint64_t split;

		if (!is_main(q, b))
			continue;
		split = linear >= low ? 0 : low - linear;
		if (split > b->length)
			split = b->length;
		/* A block that was left out of the stream has no content. */
		if (!q->ignore_shared || b->seen) {
			add_range(q, i, 0, split, linear);
			add_range(q, i, split, b->length - split,
				  GIB4 + (linear + split - low));
			/* QEMU sends every page once at least, zeros too. */
			if (!q->mapped_ram && b->records < b->length / 4096)
				q->unseen += b->length / 4096 - b->records;
		}
		linear += b->length;
	}
}
