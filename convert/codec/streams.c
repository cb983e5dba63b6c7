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

static enum nst_status bad(struct nst_error *e, const char *codec,
			   const char *what, uint64_t at)
{
	return nst_fail(e, NST_BAD_INPUT, "%s: %s at byte %llu", codec, what,
			(unsigned long long)at);
}

/* -- xz ------------------------------------------------------------------------ */

static enum nst_status xz_run(lzma_stream *z, uint8_t *out, bool decode, int fd,
			      struct nst_error *e)
{
	lzma_ret rc = LZMA_OK;

	while (rc != LZMA_STREAM_END) {
		z->next_out = out;
		z->avail_out = CHUNK;
		rc = lzma_code(z, LZMA_FINISH);
		if (rc == LZMA_MEMLIMIT_ERROR)
			return nst_fail(e, NST_BAD_INPUT, "xz: needs more than "
					"%llu MiB to decode", XZ_MEMORY >> 20);
		if (rc == LZMA_MEM_ERROR)
			return no_memory(e);
		if (rc != LZMA_OK && rc != LZMA_STREAM_END)
			return bad(e, "xz", rc == LZMA_BUF_ERROR ?
				   "the file is cut" : "bad data", z->total_in);
		size_t n = CHUNK - z->avail_out;
		if (decode ? codec_write_sparse(fd, out, n) :
		    codec_write_all(fd, out, n))
			return no_write(e);
	}
	return NST_OK;
}

static enum nst_status xz(const uint8_t *in, uint64_t size, bool decode, int fd,
			  struct nst_error *e)
{
	lzma_stream z = LZMA_STREAM_INIT;
	uint8_t *out = malloc(CHUNK);
	enum nst_status st;
	lzma_ret rc = decode ?
		lzma_stream_decoder(&z, XZ_MEMORY, LZMA_CONCATENATED) :
		lzma_easy_encoder(&z, 6, LZMA_CHECK_CRC64);

	z.next_in = in;
	z.avail_in = size;
	st = !out || rc != LZMA_OK ? no_memory(e) :
		xz_run(&z, out, decode, fd, e);
	lzma_end(&z);
	free(out);
	return st;
}

enum nst_status xz_decode(const uint8_t *in, uint64_t size, int fd,
			  struct nst_error *e)
{
	return xz(in, size, true, fd, e);
}

enum nst_status xz_encode(const uint8_t *in, uint64_t size, int fd,
			  struct nst_error *e)
{
	return xz(in, size, false, fd, e);
}

/* -- zstd ---------------------------------------------------------------------- */

static enum nst_status zstd_frames(ZSTD_DStream *z, ZSTD_inBuffer *in,
				   uint8_t *buf, int fd, struct nst_error *e)
{
	size_t rc = 1;

	for (;;) {
		ZSTD_outBuffer out = { buf, CHUNK, 0 };
		size_t before = in->pos;

		rc = ZSTD_decompressStream(z, &out, in);
		if (ZSTD_isError(rc))
			return bad(e, "zstd", ZSTD_getErrorName(rc), in->pos);
		if (codec_write_sparse(fd, buf, out.pos))
			return no_write(e);
		if (in->pos == in->size && out.pos < out.size)
			return rc ? bad(e, "zstd", "the file is cut", in->pos) :
				NST_OK;
		if (in->pos == before && !out.pos)
			return bad(e, "zstd", "no progress", in->pos);
	}
}

enum nst_status zstd_decode(const uint8_t *in, uint64_t size, int fd,
			    struct nst_error *e)
{
	ZSTD_DStream *z = ZSTD_createDStream();
	ZSTD_inBuffer src = { in, size, 0 };
	uint8_t *buf = malloc(CHUNK);
	enum nst_status st;

	if (z)
		ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, ZSTD_WINDOW_LOG);
	st = z && buf ? zstd_frames(z, &src, buf, fd, e) : no_memory(e);
	ZSTD_freeDStream(z);
	free(buf);
	return st;
}

enum nst_status zstd_encode(const uint8_t *in, uint64_t size, int fd,
			    struct nst_error *e)
{
	ZSTD_CStream *z = ZSTD_createCStream();
	ZSTD_inBuffer src = { in, size, 0 };
	uint8_t *buf = malloc(CHUNK);
	enum nst_status st = z && buf ? NST_OK : no_memory(e);
	size_t rc = 1;

	if (!st)
		ZSTD_CCtx_setPledgedSrcSize(z, size);
	while (!st && rc) {
		ZSTD_outBuffer out = { buf, CHUNK, 0 };

		rc = ZSTD_compressStream2(z, &out, &src, ZSTD_e_end);
		if (ZSTD_isError(rc))
			st = bad(e, "zstd", ZSTD_getErrorName(rc), src.pos);
		else if (codec_write_all(fd, buf, out.pos))
			st = no_write(e);
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

static enum nst_status bz_members(bz_stream *z, const uint8_t *in, uint64_t size,
				  char *out, int fd, struct nst_error *e)
{
	uint64_t at = 0;

	for (;;) {
		bz_feed(z, in, size, &at);
		z->next_out = out;
		z->avail_out = CHUNK;
		int rc = BZ2_bzDecompress(z);
		if (rc == BZ_MEM_ERROR)
			return no_memory(e);
		if (rc != BZ_OK && rc != BZ_STREAM_END)
			return bad(e, "bzip2", "bad data", at - z->avail_in);
		if (codec_write_sparse(fd, out, CHUNK - z->avail_out))
			return no_write(e);
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

enum nst_status bzip2_decode(const uint8_t *in, uint64_t size, int fd,
			     struct nst_error *e)
{
	bz_stream z = { 0 };
	char *out = malloc(CHUNK);
	enum nst_status st;

	if (!out || BZ2_bzDecompressInit(&z, 0, 0) != BZ_OK) {
		free(out);
		return no_memory(e);
	}
	st = bz_members(&z, in, size, out, fd, e);
	BZ2_bzDecompressEnd(&z);
	free(out);
	return st;
}

enum nst_status bzip2_encode(const uint8_t *in, uint64_t size, int fd,
			     struct nst_error *e)
{
	bz_stream z = { 0 };
	char *out = malloc(CHUNK);
	enum nst_status st = NST_OK;
	uint64_t at = 0;
	int rc = BZ_RUN_OK;

	if (!out || BZ2_bzCompressInit(&z, 9, 0, 0) != BZ_OK) {
		free(out);
		return no_memory(e);
	}
	while (!st && rc != BZ_STREAM_END) {
		bz_feed(&z, in, size, &at);
		z.next_out = out;
		z.avail_out = CHUNK;
		rc = BZ2_bzCompress(&z, at == size ? BZ_FINISH : BZ_RUN);
		if (codec_write_all(fd, out, CHUNK - z.avail_out))
			st = no_write(e);
	}
	BZ2_bzCompressEnd(&z);
	free(out);
	return st;
}

/* -- lz4 ----------------------------------------------------------------------- */

enum nst_status lz4_decode(const uint8_t *in, uint64_t size, int fd,
			   struct nst_error *e)
{
	LZ4F_dctx *z = NULL;
	uint8_t *buf = malloc(CHUNK);
	enum nst_status st = NST_OK;
	uint64_t at = 0;
	size_t rc = 1;

	if (!buf || LZ4F_isError(LZ4F_createDecompressionContext(&z,
							LZ4F_VERSION)))
		st = no_memory(e);
	while (!st) {
		size_t out = CHUNK, n = size - at;

		rc = LZ4F_decompress(z, buf, &out, in + at, &n, NULL);
		if (LZ4F_isError(rc)) {
			st = bad(e, "lz4", LZ4F_getErrorName(rc), at);
			break;
		}
		at += n;
		if (codec_write_sparse(fd, buf, out))
			st = no_write(e);
		else if (at == size && out < CHUNK)
			break;
		else if (!n && !out)
			st = bad(e, "lz4", "no progress", at);
	}
	if (!st && rc)
		st = bad(e, "lz4", "the file is cut", at);
	LZ4F_freeDecompressionContext(z);
	free(buf);
	return st;
}

enum nst_status lz4_encode(const uint8_t *in, uint64_t size, int fd,
			   struct nst_error *e)
{
	LZ4F_cctx *z = NULL;
	size_t room = LZ4F_compressBound(CHUNK, NULL) + LZ4F_HEADER_SIZE_MAX;
	uint8_t *buf = malloc(room);
	enum nst_status st = NST_OK;
	size_t n;

	if (!buf || LZ4F_isError(LZ4F_createCompressionContext(&z,
							LZ4F_VERSION)))
		st = no_memory(e);
	n = st ? 0 : LZ4F_compressBegin(z, buf, room, NULL);
	for (uint64_t at = 0; !st; ) {
		if (LZ4F_isError(n))
			st = bad(e, "lz4", LZ4F_getErrorName(n), at);
		else if (codec_write_all(fd, buf, n))
			st = no_write(e);
		if (st || at > size)
			break;
		size_t len = size - at < CHUNK ? size - at : CHUNK;
		n = len ? LZ4F_compressUpdate(z, buf, room, in + at, len, NULL) :
			LZ4F_compressEnd(z, buf, room, NULL);
		at += len ? len : 1;
	}
	LZ4F_freeCompressionContext(z);
	free(buf);
	return st;
}
