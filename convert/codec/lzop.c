/* lzop.c: the file format of lzop(1): a header, then blocks of LZO1X with
 * checksums.  All integers are big-endian. */
#include "convert/codec/codecs.h"

#include <errno.h>
#include <lzo/lzo1x.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "convert/bytes.h"

#define MAX_BLOCK (64u << 20)
#define BLOCK (256u << 10)
#define BATCH 16u

enum {
	F_ADLER32_D = 1, F_ADLER32_C = 2, F_EXTRA = 0x40, F_CRC32_D = 0x100,
	F_CRC32_C = 0x200, F_FILTER = 0x800, F_H_CRC32 = 0x1000,
};

static const uint8_t magic[9] = { 0x89, 'L', 'Z', 'O', 0, 13, 10, 26, 10 };

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

	if (c->end - c->at < sizeof magic ||
	    memcmp(c->p + c->at, magic, sizeof magic))
		return bad(e, "no header", c->at);
	c->at += sizeof magic;
	start = c->at;
	version = (uint32_t)cur_be(c, 2);
	cur_be(c, 2);                    /* of the library */
	if (version >= 0x940)
		cur_be(c, 2);            /* needed to extract */
	if (cur_be(c, 1) - 1 > 2)
		return bad(e, "unknown method", c->at);
	if (version >= 0x940)
		cur_be(c, 1);            /* level */
	*flags = (uint32_t)cur_be(c, 4);
	if (*flags & F_FILTER)
		return bad(e, "a filter, which is not supported,", c->at);
	cur_be(c, 4);                    /* mode */
	cur_be(c, 4);                    /* mtime, low half */
	if (version >= 0x940)
		cur_be(c, 4);
	name = (uint32_t)cur_be(c, 1);
	if (c->end - c->at < name)
		return bad(e, "the file is cut", c->end);
	c->at += name;
	uint64_t end = c->at;
	sum = (uint32_t)cur_be(c, 4);
	if (c->cut)
		return bad(e, "the file is cut", c->end);
	if (sum != (*flags & F_H_CRC32 ?
		    crc32(0, c->p + start, (uInt)(end - start)) :
		    adler32(1, c->p + start, (uInt)(end - start))))
		return bad(e, "wrong checksum of the header", end);
	if (*flags & F_EXTRA) {
		uint32_t len = (uint32_t)cur_be(c, 4);
		if (c->cut || c->end - c->at < len + 4ull)
			return bad(e, "the file is cut", c->end);
		c->at += len + 4ull;
	}
	return NST_OK;
}

struct block {
	uint64_t at;           /* in the input */
	const uint8_t *data;
	uint32_t src, dst;     /* length, and decoded */
	uint32_t flags, sum[4];
	uint8_t *out;
	const char *wrong;     /* what is, or NULL */
};

/* The lengths and checksums of a block; *done at the mark that ends a member. */
static enum nst_status read_block(struct cursor *c, uint32_t flags,
				  struct block *b, bool *done,
				  struct nst_error *e)
{
	*b = (struct block){ .at = c->at, .flags = flags };
	b->dst = (uint32_t)cur_be(c, 4);
	*done = !b->dst && !c->cut;
	if (*done)
		return NST_OK;
	b->src = (uint32_t)cur_be(c, 4);
	if (flags & F_ADLER32_D)
		b->sum[0] = (uint32_t)cur_be(c, 4);
	if (flags & F_CRC32_D)
		b->sum[1] = (uint32_t)cur_be(c, 4);
	if (flags & F_ADLER32_C && b->src < b->dst)
		b->sum[2] = (uint32_t)cur_be(c, 4);
	if (flags & F_CRC32_C && b->src < b->dst)
		b->sum[3] = (uint32_t)cur_be(c, 4);
	b->data = cur_take(c, b->src);
	if (!b->data)
		return bad(e, "the file is cut", c->end);
	return b->dst > MAX_BLOCK || b->src > b->dst ?
		bad(e, "a block of impossible size", b->at) : NST_OK;
}

static bool sums_match(const uint8_t *p, uint32_t len, bool have_adler,
		       uint32_t adler, bool have_crc, uint32_t crc)
{
	return (!have_adler || adler32(1, p, len) == adler) &&
	       (!have_crc || crc32(0, p, len) == crc);
}

static const char *unpack(const struct block *b)
{
	lzo_uint len = b->dst;

	if (b->src == b->dst) {
		memcpy(b->out, b->data, b->dst);
	} else {
		if (!sums_match(b->data, b->src, b->flags & F_ADLER32_C,
				b->sum[2], b->flags & F_CRC32_C, b->sum[3]))
			return "wrong checksum of a block";
		if (lzo1x_decompress_safe(b->data, b->src, b->out, &len, NULL) !=
		    LZO_E_OK || len != b->dst)
			return "bad data in the block";
	}
	return sums_match(b->out, b->dst, b->flags & F_ADLER32_D, b->sum[0],
			  b->flags & F_CRC32_D, b->sum[1]) ? NULL :
		"wrong checksum of decoded data";
}

static void unpack_one(void *arg, unsigned i)
{
	struct block *b = (struct block *)arg + i;

	b->wrong = unpack(b);
}

static enum nst_status no_room(struct nst_error *e)
{
	return nst_fail(e, NST_SYSTEM, "cannot write a temporary file: %s",
			strerror(errno));
}

/* One for which there is not room enough at once. */
static enum nst_status big_block(struct coding *k, struct block *b,
				 struct nst_error *e)
{
	enum nst_status st = NST_OK;

	b->out = malloc(b->dst);
	if (!b->out)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	b->wrong = unpack(b);
	if (b->wrong)
		st = bad(e, b->wrong, b->at);
	else if (coding_put(k, b->out, b->dst))
		st = no_room(e);
	free(b->out);
	return st;
}

/* As many blocks as there is room for, by several threads: none needs another. */
static enum nst_status blocks(struct cursor *c, uint32_t flags,
			      struct coding *k, bool *done, struct nst_error *e)
{
	struct block b[BATCH];
	enum nst_status st = NST_OK;
	size_t room, used = 0;
	uint8_t *to = coding_room(k, &room);
	unsigned n = 0;

	if (!to)
		return no_room(e);
	while (n < BATCH && !st && !*done) {
		st = read_block(c, flags, &b[n], done, e);
		if (st || *done)
			break;
		if (b[n].dst > room - used) {
			if (!n)
				return big_block(k, &b[n], e);
			c->at = b[n].at;
			break;
		}
		b[n].out = to + used;
		used += b[n++].dst;
	}
	coding_share(n, unpack_one, b);
	for (unsigned i = 0; i < n; i++)
		if (b[i].wrong)
			return bad(e, b[i].wrong, b[i].at);
	coding_done(k, c->at);
	return st ? st : coding_took(k, used) ? no_room(e) : NST_OK;
}

enum nst_status lzop_decode(struct coding *k, struct nst_error *e)
{
	struct cursor c = { .p = k->in, .end = k->size };
	enum nst_status st = lzo_init() == LZO_E_OK ? NST_OK :
		nst_fail(e, NST_SYSTEM, "liblzo2 does not work here");

	while (!st && c.at < k->size) {
		bool done = false;
		uint32_t flags = 0;

		st = header(&c, &flags, e);
		while (!st && !done)
			st = blocks(&c, flags, k, &done, e);
	}
	return st;
}

static uint8_t *put(uint8_t *p, uint32_t v, unsigned n)
{
	be_put(p, v, n);
	return p + n;
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
