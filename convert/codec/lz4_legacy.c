/* lz4_legacy.c: lz4's first frame format, which `lz4 -l` and the kernel's own
 * build write: a magic number, then blocks of at most 8 MiB, each after its
 * length; no checksums, no end mark.
 */
#include <errno.h>
#include <lz4.h>
#include <stdlib.h>
#include <string.h>

#include "convert/codec/codecs.h"

#define MAGIC      0x184c2102u
#define BLOCK_SIZE (8u << 20)

static uint32_t le32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
		(uint32_t)p[3] << 24;
}

static enum nst_status decode_block(const uint8_t *in, uint32_t len, char *out,
				    struct coding *k, struct nst_error *e)
{
	int n = LZ4_decompress_safe((const char *)in, out, (int)len,
				    (int)BLOCK_SIZE);

	if (n < 0)
		return nst_fail(e, NST_BAD_INPUT, "lz4: a damaged block");
	if (coding_put(k, out, (size_t)n))
		return nst_fail(e, NST_SYSTEM, "cannot write: %s",
				strerror(errno));
	return NST_OK;
}

enum nst_status lz4_legacy_decode(struct coding *k, struct nst_error *e)
{
	const uint8_t *in = k->in;
	uint64_t size = k->size;
	uint32_t most = (uint32_t)LZ4_compressBound((int)BLOCK_SIZE);
	char *out = malloc(BLOCK_SIZE);
	enum nst_status status = NST_OK;
	uint64_t at = 4;

	if (!out)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	while (!status && size - at >= 4) {
		uint32_t len = le32(in + at);

		at += 4;
		if (len == MAGIC) /* another frame */
			continue;
		if (len > size - at || len > most)
			status = nst_fail(e, NST_BAD_INPUT, "lz4: the file is "
					  "cut or damaged at byte %llu",
					  (unsigned long long)at);
		else
			status = decode_block(in + at, len, out, k, e);
		at += len;
		if (!status)
			coding_done(k, at);
	}
	if (!status && at != size)
		status = nst_fail(e, NST_BAD_INPUT, "lz4: the file is cut");
	free(out);
	return status;
}
