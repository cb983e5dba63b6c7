/* gzip.c: RFC 1952 through zlib.  Encoded in chunks by several threads: each goes on
 * with the 32 KiB before it as its dictionary, so that together they are one member,
 * as one thread would have written it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "convert/codec/codecs.h"

#define CHUNK (1u << 18)
#define ENCODE_CHUNK (1u << 20)
#define WINDOW (1u << 15)

static enum nst_status gzip_members(struct coding *k, z_stream *z, uint8_t *out,
				    struct nst_error *e)
{
	uint64_t left = k->size;
	int rc = Z_OK;

	for (;;) {
		if (!z->avail_in && left) {
			z->avail_in = left > CHUNK ? CHUNK : (uInt)left;
			left -= z->avail_in;
		}
		z->next_out = out;
		z->avail_out = CHUNK;
		rc = inflate(z, Z_NO_FLUSH);
		if (rc != Z_OK && rc != Z_STREAM_END && rc != Z_BUF_ERROR)
			return nst_fail(e, NST_BAD_INPUT, "gzip: %s at byte %llu",
					z->msg ? z->msg : "bad data",
					(unsigned long long)(z->next_in - k->in));
		if (coding_put(k, out, CHUNK - z->avail_out))
			return nst_fail(e, NST_SYSTEM,
					"cannot write a temporary file: %s",
					strerror(errno));
		coding_done(k, (uint64_t)(z->next_in - k->in));
		if (rc == Z_STREAM_END) {
			/* Another member, or padding of zeros (tapes). */
			if ((!z->avail_in && !left) || *z->next_in != 0x1f)
				return NST_OK;
			inflateReset(z);
		} else if (rc == Z_BUF_ERROR || (!z->avail_in && !left &&
						 z->avail_out)) {
			return nst_fail(e, NST_BAD_INPUT,
					"gzip: the file is cut after %llu bytes",
					(unsigned long long)k->size);
		}
	}
}

enum nst_status gzip_decode(struct coding *k, struct nst_error *e)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)k->in };
	uint8_t *out = malloc(CHUNK);
	enum nst_status st;

	if (!out || inflateInit2(&z, 15 + 16) != Z_OK) {
		free(out);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	st = gzip_members(k, &z, out, e);
	inflateEnd(&z);
	free(out);
	return st;
}

static bool deflate_chunk(const struct coding *k, struct chunk *c)
{
	uint64_t before = c->at < WINDOW ? c->at : WINDOW;
	const uint8_t *in = k->in + c->at;
	z_stream z = { 0 };
	int rc;

	if (deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return false;
	if (before)
		deflateSetDictionary(&z, in - before, (uInt)before);
	z.next_in = (Bytef *)(uintptr_t)in;
	z.avail_in = (uInt)c->len;
	z.next_out = c->out;
	z.avail_out = (uInt)c->room;
	rc = deflate(&z, c->last ? Z_FINISH : Z_SYNC_FLUSH);
	c->out_len = c->room - z.avail_out;
	c->sum = (uint32_t)crc32(crc32(0, NULL, 0), in, (uInt)c->len);
	deflateEnd(&z);
	return rc == (c->last ? Z_STREAM_END : Z_OK) && (c->last || z.avail_out);
}

static void add_sum(void *arg, const struct chunk *c)
{
	uLong *sum = arg;

	*sum = crc32_combine(*sum, c->sum, (z_off_t)c->len);
}

enum nst_status gzip_encode(struct coding *k, struct nst_error *e)
{
	/* Deflate, no name, no time stamp (the same input gives the same file),
	 * level unsaid, Unix. */
	static const uint8_t head[10] = { 0x1f, 0x8b, 8, [9] = 3 };
	uLong sum = crc32(0, NULL, 0);
	uint32_t tail[2];
	int rc = coding_put(k, head, sizeof head);

	errno = 0;
	if (!rc)
		rc = coding_in_chunks(k, ENCODE_CHUNK, compressBound(ENCODE_CHUNK)
				      + 64, deflate_chunk, add_sum, &sum);
	tail[0] = (uint32_t)sum;
	tail[1] = (uint32_t)k->size;
	if (!rc)
		rc = coding_put(k, tail, sizeof tail);
	return rc ? nst_fail(e, NST_SYSTEM, "cannot write gzip: %s", errno ?
			     strerror(errno) : "out of memory") : NST_OK;
}
