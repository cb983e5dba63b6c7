/* streams.c: xz, zstd, bzip2 and lz4 through their libraries, from memory to a
 * file and back.  All members or frames of a file are taken; what is cut or
 * followed by anything but padding is an error. */
#include "convert/codec/codecs.h"

#include <bzlib.h>
#include <errno.h>
#include <lz4frame.h>
#include <lzma.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <zstd.h>

#define CHUNK (1u << 18)
#define BZ_BLOCK 900000u
#define LZ4_CHUNK (1u << 20)
#define LZ4_HEAD 4u          /* bytes of a block's header */
#define LZ4_MOST (4u << 20)  /* in a block */
#define LZ4_PART (64u << 10)
/* How much of its input an encoder is given at a time. */
#define FEED (1u << 20)
/* What a worker of zstd takes at a time, which bounds its memory. */
#define ZSTD_JOB (2 << 20)
/* What a decoder may take for its window: xz -9 needs 65 MiB, zstd --long=27
 * needs 128 MiB; more is refused rather than allocated. */
#define XZ_MEMORY (160ull << 20)
#define ZSTD_WINDOW_LOG 27

static enum nst_status no_memory(struct nst_error *e)
{
	return nst_fail(e, NST_SYSTEM, "out of memory");
}

static enum nst_status no_write(struct nst_error *e)
{
	return nst_fail(e, NST_SYSTEM, "cannot write a temporary file: %s",
			strerror(errno));
}

/* Whoever was to make the input knows better why, and says so. */
static enum nst_status no_input(struct nst_error *e)
{
	return nst_fail(e, NST_BAD_INPUT, "the input ends too early");
}

/* How far an encoder that has read up to `at` may read now. */
static uint64_t feed_to(const struct coding *k, uint64_t at)
{
	return k->size - at > FEED ? at + FEED : k->size;
}

static enum nst_status bad(struct nst_error *e, const char *codec,
			   const char *what, uint64_t at)
{
	return nst_fail(e, NST_BAD_INPUT, "%s: %s at byte %llu", codec, what,
			(unsigned long long)at);
}

/* -- xz ------------------------------------------------------------------------ */

static enum nst_status xz_run(struct coding *k, lzma_stream *z, uint8_t *out,
			      struct nst_error *e)
{
	lzma_ret rc = LZMA_OK;

	while (rc != LZMA_STREAM_END) {
		uint64_t at = (uint64_t)(z->next_in - k->in);
		uint64_t to = feed_to(k, at);

		if (!coding_need(k, to))
			return no_input(e);
		z->avail_in = to - at;
		z->next_out = out;
		z->avail_out = CHUNK;
		rc = lzma_code(z, to == k->size ? LZMA_FINISH : LZMA_RUN);
		if (rc == LZMA_MEMLIMIT_ERROR)
			return nst_fail(e, NST_BAD_INPUT, "xz: needs more than "
					"%llu MiB to decode", XZ_MEMORY >> 20);
		if (rc == LZMA_MEM_ERROR)
			return no_memory(e);
		if (rc != LZMA_OK && rc != LZMA_STREAM_END)
			return bad(e, "xz", rc == LZMA_BUF_ERROR ?
				   "the file is cut" : "bad data", z->total_in);
		if (coding_put(k, out, CHUNK - z->avail_out))
			return no_write(e);
		coding_done(k, (uint64_t)(z->next_in - k->in));
	}
	return NST_OK;
}

static enum nst_status xz(struct coding *k, bool decode, struct nst_error *e)
{
	lzma_stream z = LZMA_STREAM_INIT;
	uint8_t *out = malloc(CHUNK);
	enum nst_status st;
	lzma_ret rc = decode ?
		lzma_stream_decoder(&z, XZ_MEMORY, LZMA_CONCATENATED) :
		lzma_easy_encoder(&z, 6, LZMA_CHECK_CRC64);

	z.next_in = k->in;
	st = !out || rc != LZMA_OK ? no_memory(e) : xz_run(k, &z, out, e);
	lzma_end(&z);
	free(out);
	return st;
}

enum nst_status xz_decode(struct coding *k, struct nst_error *e)
{
	return xz(k, true, e);
}

enum nst_status xz_encode(struct coding *k, struct nst_error *e)
{
	return xz(k, false, e);
}

/* -- zstd ---------------------------------------------------------------------- */

static enum nst_status zstd_frames(struct coding *k, ZSTD_DStream *z,
				   ZSTD_inBuffer *in, struct nst_error *e)
{
	size_t rc = 1;

	for (;;) {
		ZSTD_outBuffer out = { 0 };
		size_t before = in->pos;

		out.dst = coding_room(k, &out.size);
		if (!out.dst)
			return no_memory(e);
		rc = ZSTD_decompressStream(z, &out, in);
		if (ZSTD_isError(rc))
			return bad(e, "zstd", ZSTD_getErrorName(rc), in->pos);
		if (coding_took(k, out.pos))
			return no_write(e);
		coding_done(k, in->pos);
		if (in->pos == in->size && (!rc || out.pos < out.size))
			return rc ? bad(e, "zstd", "the file is cut", in->pos) :
				NST_OK;
		if (in->pos == before && !out.pos)
			return bad(e, "zstd", "no progress", in->pos);
	}
}

enum nst_status zstd_decode(struct coding *k, struct nst_error *e)
{
	ZSTD_DStream *z = ZSTD_createDStream();
	ZSTD_inBuffer src = { k->in, k->size, 0 };
	enum nst_status st;

	if (z)
		ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
	st = z ? zstd_frames(k, z, &src, e) : no_memory(e);
	ZSTD_freeDStream(z);
	return st;
}

enum nst_status zstd_encode(struct coding *k, struct nst_error *e)
{
	ZSTD_CStream *z = ZSTD_createCStream();
	ZSTD_inBuffer src = { k->in, 0, 0 };
	uint8_t *buf = malloc(CHUNK);
	enum nst_status st = z && buf ? NST_OK : no_memory(e);
	size_t rc = 1;

	if (!st)
		ZSTD_CCtx_setPledgedSrcSize(z, k->size);
	/* What workers write does not depend on their number, if there is one.  A
	 * library without threads refuses this and does without. */
	if (!st) {
		ZSTD_CCtx_setParameter(z, ZSTD_c_nbWorkers,
				       (int)coding_threads());
		ZSTD_CCtx_setParameter(z, ZSTD_c_jobSize, ZSTD_JOB);
	}
	while (!st && (rc || src.pos < k->size)) {
		ZSTD_outBuffer out = { buf, CHUNK, 0 };

		src.size = feed_to(k, src.pos);
		if (!coding_need(k, src.size)) {
			st = no_input(e);
			break;
		}
		rc = ZSTD_compressStream2(z, &out, &src, src.size == k->size ?
					  ZSTD_e_end : ZSTD_e_continue);
		if (ZSTD_isError(rc))
			st = bad(e, "zstd", ZSTD_getErrorName(rc), src.pos);
		else if (coding_put(k, buf, out.pos))
			st = no_write(e);
		coding_done(k, src.pos);
	}
	ZSTD_freeCStream(z);
	free(buf);
	return st;
}

/* -- bzip2 --------------------------------------------------------------------- */

static void bz_feed(bz_stream *z, const uint8_t *in, uint64_t size,
		    uint64_t *at)
{
	uint64_t n = size - *at;

	if (z->avail_in || !n)
		return;
	z->next_in = (char *)(uintptr_t)(in + *at);
	z->avail_in = n > CHUNK ? CHUNK : (unsigned)n;
	*at += z->avail_in;
}

static enum nst_status bz_members(struct coding *k, bz_stream *z, char *out,
				  struct nst_error *e)
{
	uint64_t at = 0, size = k->size;

	for (;;) {
		bz_feed(z, k->in, size, &at);
		z->next_out = out;
		z->avail_out = CHUNK;
		int rc = BZ2_bzDecompress(z);
		if (rc == BZ_MEM_ERROR)
			return no_memory(e);
		if (rc != BZ_OK && rc != BZ_STREAM_END)
			return bad(e, "bzip2", "bad data", at - z->avail_in);
		if (coding_put(k, out, CHUNK - z->avail_out))
			return no_write(e);
		coding_done(k, at - z->avail_in);
		if (rc == BZ_STREAM_END) {
			char *next = z->next_in;
			unsigned left = z->avail_in;

			if (at - left == size)
				return NST_OK;
			BZ2_bzDecompressEnd(z);
			memset(z, 0, sizeof *z);
			if (BZ2_bzDecompressInit(z, 0, 0) != BZ_OK)
				return no_memory(e);
			z->next_in = next;
			z->avail_in = left;
		} else if (!z->avail_in && at == size && z->avail_out) {
			return bad(e, "bzip2", "the file is cut", size);
		}
	}
}

enum nst_status bzip2_decode(struct coding *k, struct nst_error *e)
{
	bz_stream z = { 0 };
	char *out = malloc(CHUNK);
	enum nst_status st;

	if (!out || BZ2_bzDecompressInit(&z, 0, 0) != BZ_OK) {
		free(out);
		return no_memory(e);
	}
	st = bz_members(k, &z, out, e);
	BZ2_bzDecompressEnd(&z);
	free(out);
	return st;
}

static bool bz_chunk(const struct coding *k, struct chunk *c)
{
	unsigned n = (unsigned)c->room;
	int rc = BZ2_bzBuffToBuffCompress((char *)c->out, &n,
		(char *)(uintptr_t)(k->in + c->at), (unsigned)c->len, 9, 0, 0);

	c->out_len = n;
	return rc == BZ_OK;
}

/* Each chunk, which is a block of bzip2's, is a stream of its own, as several
 * compressed files put together are. */
enum nst_status bzip2_encode(struct coding *k, struct nst_error *e)
{
	int rc;

	errno = 0;
	rc = coding_in_chunks(k, BZ_BLOCK, BZ_BLOCK + BZ_BLOCK / 100 + 600,
			      bz_chunk, NULL, NULL);
	return !rc ? NST_OK : errno ? no_write(e) : no_memory(e);
}

/* -- lz4 ----------------------------------------------------------------------- */

/* How much the decoder is given at `at`: what it asked for, which is a block and the
 * header of the next.  But a block that is stored is summed up after it was copied: in
 * parts that are still in the cache then.  *stored: where such a block ends. */
static size_t lz4_feed(const struct coding *k, uint64_t at, size_t wish,
		       uint64_t *stored)
{
	uint64_t left = k->size - at;
	uint32_t head;

	wish = wish ? wish : LZ4F_HEADER_SIZE_MIN;
	wish = wish < left ? wish : left;
	if (at >= *stored && at >= LZ4_HEAD && wish > LZ4_HEAD) {
		memcpy(&head, k->in + at - LZ4_HEAD, LZ4_HEAD);
		if (head >> 31 && (head & 0x7fffffff) <= LZ4_MOST)
			*stored = at + (head & 0x7fffffff);
	}
	return at < *stored && wish > LZ4_PART ? LZ4_PART : wish;
}

static enum nst_status lz4_frames(struct coding *k, LZ4F_dctx *z,
				  struct nst_error *e)
{
	uint64_t at = 0, stored = 0;
	size_t wish = 0;

	for (;;) {
		size_t room, put, n = lz4_feed(k, at, wish, &stored), rc;
		uint8_t *to = coding_room(k, &room);

		if (!to)
			return no_memory(e);
		put = room;
		rc = LZ4F_decompress(z, to, &put, k->in + at, &n, NULL);
		if (LZ4F_isError(rc))
			return bad(e, "lz4", LZ4F_getErrorName(rc), at);
		at += n;
		wish = rc;
		coding_done(k, at);
		if (coding_took(k, put))
			return no_write(e);
		if (at == k->size && (!rc || put < room))
			return rc ? bad(e, "lz4", "the file is cut", at) : NST_OK;
		if (!n && !put)
			return bad(e, "lz4", "no progress", at);
	}
}

enum nst_status lz4_decode(struct coding *k, struct nst_error *e)
{
	LZ4F_dctx *z = NULL;
	enum nst_status st;

	if (LZ4F_isError(LZ4F_createDecompressionContext(&z, LZ4F_VERSION)))
		return no_memory(e);
	st = lz4_frames(k, z, e);
	LZ4F_freeDecompressionContext(z);
	return st;
}

static const LZ4F_preferences_t lz4_preferences = {
	.frameInfo = { .blockSizeID = LZ4F_max1MB },
};

static bool lz4_chunk(const struct coding *k, struct chunk *c)
{
	c->out_len = LZ4F_compressFrame(c->out, c->room, k->in + c->at, c->len,
					&lz4_preferences);
	return !LZ4F_isError(c->out_len);
}

/* Each chunk is a frame of its own, as lz4(1) takes them one after the other. */
enum nst_status lz4_encode(struct coding *k, struct nst_error *e)
{
	int rc;

	errno = 0;
	rc = coding_in_chunks(k, LZ4_CHUNK,
			      LZ4F_compressFrameBound(LZ4_CHUNK, &lz4_preferences),
			      lz4_chunk, NULL, NULL);
	return !rc ? NST_OK : errno ? no_write(e) : no_memory(e);
}
