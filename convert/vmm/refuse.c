/* refuse.c: files that are known and hold no nested state that could be found:
 * each is refused with the reason rather than called unknown. */
#include <string.h>

#include "convert/bytes.h"
#include "convert/readers.h"
#include "convert/source.h"

static const struct refusal {
	const char *magic;
	unsigned len;
	const char *why;
} refusals[] = {
	{ "PAGEDU64", 8, "a Windows crash dump: Windows' own page list decides "
	  "what it holds; take an ELF dump (dump-guest-memory) instead" },
	{ "PAGEDUMP", 8, "a 32-bit Windows crash dump; take an ELF dump "
	  "(dump-guest-memory) instead" },
	{ "\x11\x22\x33\x44", 4, "one channel of a multifd migration, captured "
	  "from a socket: give the main channel, and this one with --multifd" },
	{ "QEVM\0\0\0\2", 8, "a stream of version 2 (QEMU before 0.12)" },
};

/* u64 0x0710198486640000 on x86, with the low 16 bits for the architecture. */
static bool is_firecracker(const uint8_t *p, size_t len)
{
	return len >= 8 && le_at(p, 8) >> 16 == 0x071019848664ull;
}

static bool is_avml(const uint8_t *p, size_t len)
{
	return len >= 8 && (le_at(p, 4) == 0x4c4d5641u ||
			    (le_at(p, 4) == 0x4c694d45u && le_at(p + 4, 4) == 2));
}

static const char *reason(const uint8_t *p, size_t len)
{
	if (is_firecracker(p, len))
		return "a Firecracker snapshot: Firecracker does not save nested "
			"state, so that there is nothing to convert";
	if (is_avml(p, len))
		return "an AVML capture: convert it to LiME first (avml-convert)";
	for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++)
		if (len >= refusals[i].len &&
		    !memcmp(p, refusals[i].magic, refusals[i].len))
			return refusals[i].why;
	return NULL;
}

static int probe(const uint8_t *head, size_t len, uint64_t size)
{
	(void)size;
	return reason(head, len) ? 96 : 0;
}

static enum nst_status open_refused(struct container *c, struct nst_error *e)
{
	uint64_t size = source_size(c->src);
	size_t len = size < 64 ? size : 64;
	const char *why = reason(source_at(c->src, 0, len), len);

	return nst_fail(e, NST_BAD_INPUT, "%s", why ? why : "not supported");
}

const struct container_ops reader_refused = {
	.kind = "not supported", .probe = probe, .open = open_refused,
};
