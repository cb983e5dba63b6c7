/* lzop.c: the file format of lzop(1): a header, then blocks of LZO1X with
 * checksums.  All integers are big-endian. */
#include "convert/codec/codecs.h"

#include <errno.h>
#include <lzo/lzo1x.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#define MAX_BLOCK (64u << 20)
#define BLOCK (256u << 10)

enum {
	F_ADLER32_D = 1, F_ADLER32_C = 2, F_EXTRA = 0x40, F_CRC32_D = 0x100,
	F_CRC32_C = 0x200, F_FILTER = 0x800, F_H_CRC32 = 0x1000,
};

static const uint8_t magic[9] = { 0x89, 'L', 'Z', 'O', 0, 13, 10, 26, 10 };

struct cursor { const uint8_t *p; uint64_t size, at; bool cut; };

static uint32_t take(struct cursor *c, unsigned n)
{
	uint32_t v = 0;

	if (c->size - c->at < n) {
		c->cut = true;
		c->at = c->size;
		return 0;
	}
	while (n--)
		v = v << 8 | c->p[c->at++];
	return v;
}

static enum nst_status bad(struct nst_error *e, const char *what, uint64_t at)
{
	return nst_fail(e, NST_BAD_INPUT, "lzop: %s at byte %llu", what,
			(unsigned long long)at);
}

static enum nst_status header(struct cursor *c, uint32_t *flags,
			      struct nst_error *e)
{
	uint64_t start;
	uint32_t version, sum, name;

	if (c->size - c->at < sizeof magic ||
	    memcmp(c->p + c->at, magic, sizeof magic))
		return bad(e, "no header", c->at);
	c->at += sizeof magic;
	start = c->at;
	version = take(c, 2);
	take(c, 2);                      /* of the library */
	if (version >= 0x940)
		take(c, 2);              /* needed to extract */
	if (take(c, 1) - 1 > 2)
		return bad(e, "unknown method", c->at);
	if (version >= 0x940)
		take(c, 1);              /* level */
	*flags = take(c, 4);
	if (*flags & F_FILTER)
		return bad(e, "a filter, which is not supported,", c->at);
	take(c, 4);                      /* mode */
	take(c, 4);                      /* mtime, low half */
	if (version >= 0x940)
		take(c, 4);
	name = take(c, 1);
	if (c->size - c->at < name)
		return bad(e, "the file is cut", c->size);
	c->at += name;
	uint64_t end = c->at;
	sum = take(c, 4);
	if (c->cut)
		return bad(e, "the file is cut", c->size);
	if (sum != (*flags & F_H_CRC32 ?
		    crc32(0, c->p + start, (uInt)(end - start)) :
		    adler32(1, c->p + start, (uInt)(end - start))))
		return bad(e, "wrong checksum of the header", end);
	if (*flags & F_EXTRA) {
		uint32_t len = take(c, 4);
		if (c->cut || c->size - c->at < len + 4ull)
			return bad(e, "the file is cut", c->size);
		c->at += len + 4ull;
	}
	return NST_OK;
}

static bool sums_match(const uint8_t *p, uint32_t len, bool have_adler,
		       uint32_t adler, bool have_crc, uint32_t crc)
{
	return (!have_adler || adler32(1, p, len) == adler) &&
	       (!have_crc || crc32(0, p, len) == crc);
}

/* One block; *done at the mark that ends a member. */
static enum nst_status block(struct cursor *c, uint32_t flags, uint8_t **buf,
			     struct coding *k, bool *done,
			     struct nst_error *e)
{
	uint64_t at = c->at;
	uint32_t dst = take(c, 4), src, sum[4] = { 0 };
	const uint8_t *data;
	lzo_uint len = dst;

	*done = !dst && !c->cut;
	if (*done)
		return NST_OK;
	src = take(c, 4);
	if (flags & F_ADLER32_D)
		sum[0] = take(c, 4);
	if (flags & F_CRC32_D)
		sum[1] = take(c, 4);
	if (flags & F_ADLER32_C && src < dst)
		sum[2] = take(c, 4);
	if (flags & F_CRC32_C && src < dst)
		sum[3] = take(c, 4);
	if (c->cut || c->size - c->at < src)
		return bad(e, "the file is cut", c->size);
	if (dst > MAX_BLOCK || src > dst)
		return bad(e, "a block of impossible size", at);
	data = c->p + c->at;
	c->at += src;
	if (src < dst) {
		if (!sums_match(data, src, flags & F_ADLER32_C, sum[2],
				flags & F_CRC32_C, sum[3]))
			return bad(e, "wrong checksum of a block", at);
		uint8_t *big = realloc(*buf, dst);
		if (!big)
			return nst_fail(e, NST_SYSTEM, "out of memory");
		*buf = big;
		if (lzo1x_decompress_safe(data, src, big, &len, NULL) !=
		    LZO_E_OK || len != dst)
			return bad(e, "bad data in the block", at);
		data = big;
	}
	if (!sums_match(data, dst, flags & F_ADLER32_D, sum[0],
			flags & F_CRC32_D, sum[1]))
		return bad(e, "wrong checksum of decoded data", at);
	coding_done(k, c->at);
	return coding_put(k, data, dst) ?
		nst_fail(e, NST_SYSTEM, "cannot write a temporary file: %s",
			 strerror(errno)) : NST_OK;
}

enum nst_status lzop_decode(struct coding *k, struct nst_error *e)
{
	struct cursor c = { k->in, k->size, 0, false };
	uint8_t *buf = NULL;
	enum nst_status st = lzo_init() == LZO_E_OK ? NST_OK :
		nst_fail(e, NST_SYSTEM, "liblzo2 does not work here");

	while (!st && c.at < k->size) {
		bool done = false;
		uint32_t flags = 0;

		st = header(&c, &flags, e);
		while (!st && !done)
			st = block(&c, flags, &buf, k, &done, e);
	}
	free(buf);
	return st;
}

static uint8_t *put(uint8_t *p, uint32_t v, unsigned n)
{
	while (n--)
		*p++ = (uint8_t)(v >> 8 * n);
	return p;
}

static int write_header(struct coding *k)
{
	uint8_t h[64], *p = h + sizeof magic, *start = p;

	memcpy(h, magic, sizeof magic);
	p = put(p, 0x1030, 2);           /* written as by 1.03 */
	p = put(p, lzo_version() & 0xffff, 2);
	p = put(p, 0x940, 2);
	p = put(p, 1, 1);                /* LZO1X-1 */
	p = put(p, 5, 1);
	p = put(p, 0x03000000 | F_ADLER32_D, 4); /* Unix */
	p = put(p, 0, 4);
	p = put(p, 0, 4);
	p = put(p, 0, 4);
	p = put(p, 0, 1);
	p = put(p, (uint32_t)adler32(1, start, (uInt)(p - start)), 4);
	return coding_put(k, h, (size_t)(p - h));
}

/* A block: its lengths, a checksum of what it holds, and that, as it is where it
 * does not compress. */
static bool lzo_chunk(const struct coding *k, struct chunk *c)
{
	const uint8_t *in = k->in + c->at;
	uint8_t *work = malloc(LZO1X_1_MEM_COMPRESS);
	lzo_uint len = 0;

	if (!work)
		return false;
	lzo1x_1_compress(in, c->len, c->out + 12, &len, work);
	free(work);
	if (len >= c->len) {
		len = c->len;
		memcpy(c->out + 12, in, len);
	}
	put(c->out, (uint32_t)c->len, 4);
	put(c->out + 4, (uint32_t)len, 4);
	put(c->out + 8, (uint32_t)adler32(1, in, (uInt)c->len), 4);
	c->out_len = 12 + len;
	return true;
}

enum nst_status lzop_encode(struct coding *k, struct nst_error *e)
{
	static const uint8_t end[4];
	int rc = lzo_init() == LZO_E_OK ? write_header(k) : -1;

	errno = 0;
	if (!rc && k->size)
		rc = coding_in_chunks(k, BLOCK, 12 + BLOCK + BLOCK / 16 + 67,
				      lzo_chunk, NULL, NULL);
	if (!rc)
		rc = coding_put(k, end, sizeof end);
	return rc ? nst_fail(e, NST_SYSTEM, "cannot write lzop: %s", errno ?
			     strerror(errno) : "out of memory") : NST_OK;
}
