/* codec.c: the table of codecs, and gzip; the others are in codec/. */
#include "convert/codec.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>

#include "convert/codec/codecs.h"

#define CHUNK (1u << 18)

int codec_write_all(int fd, const void *buf, size_t len)
{
	const char *p = buf;

	while (len) {
		ssize_t n = write(fd, p, len);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* How much of p is zero (or not) from its beginning, in whole blocks. */
static size_t alike(const char *p, size_t len, bool *zero)
{
	static const char none[4096];
	size_t n = 0;

	while (n < len) {
		size_t k = len - n < sizeof none ? len - n : sizeof none;
		bool z = k == sizeof none && !memcmp(p + n, none, k);

		if (n && z != *zero)
			break;
		*zero = z;
		n += k;
	}
	return n;
}

int codec_write_sparse(int fd, const void *buf, size_t len)
{
	const char *p = buf;
	bool zero = false;
	off_t end;

	while (len) {
		size_t n = alike(p, len, &zero);

		if (zero ? lseek(fd, (off_t)n, SEEK_CUR) < 0 :
		    codec_write_all(fd, p, n))
			return -1;
		p += n;
		len -= n;
	}
	/* A hole at the end is there only once the size says so. */
	if (!zero)
		return 0;
	end = lseek(fd, 0, SEEK_CUR);
	return end < 0 || ftruncate(fd, end) ? -1 : 0;
}

static enum nst_status gzip_members(z_stream *z, uint64_t size, uint8_t *out,
				    int fd, struct nst_error *e)
{
	uint64_t left = size;
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
					(unsigned long long)z->total_in);
		if (codec_write_sparse(fd, out, CHUNK - z->avail_out))
			return nst_fail(e, NST_SYSTEM,
					"cannot write a temporary file: %s",
					strerror(errno));
		if (rc == Z_STREAM_END) {
			/* Another member, or padding of zeros (tapes). */
			if ((!z->avail_in && !left) || *z->next_in != 0x1f)
				return NST_OK;
			inflateReset(z);
		} else if (rc == Z_BUF_ERROR || (!z->avail_in && !left &&
						 z->avail_out)) {
			return nst_fail(e, NST_BAD_INPUT,
					"gzip: the file is cut after %llu bytes",
					(unsigned long long)size);
		}
	}
}

static enum nst_status gzip_decode(const uint8_t *in, uint64_t size, int fd,
				   struct nst_error *e)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)in };
	uint8_t *out = malloc(CHUNK);
	enum nst_status st;

	if (!out || inflateInit2(&z, 15 + 16) != Z_OK) {
		free(out);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	st = gzip_members(&z, size, out, fd, e);
	inflateEnd(&z);
	free(out);
	return st;
}

static enum nst_status gzip_encode(const uint8_t *in, uint64_t size, int fd,
				   struct nst_error *e)
{
	z_stream z = { .next_in = (Bytef *)(uintptr_t)in };
	uint8_t *out = malloc(CHUNK);
	int rc = Z_OK;

	/* Level 6; no time stamp, so that the same input gives the same file. */
	if (!out || deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8,
				 Z_DEFAULT_STRATEGY) != Z_OK) {
		free(out);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	while (rc != Z_STREAM_END) {
		if (!z.avail_in && size) {
			z.avail_in = size > CHUNK ? CHUNK : (uInt)size;
			size -= z.avail_in;
		}
		z.next_out = out;
		z.avail_out = CHUNK;
		rc = deflate(&z, size ? Z_NO_FLUSH : Z_FINISH);
		if (codec_write_all(fd, out, CHUNK - z.avail_out)) {
			deflateEnd(&z);
			free(out);
			return nst_fail(e, NST_SYSTEM, "cannot write: %s",
					strerror(errno));
		}
	}
	deflateEnd(&z);
	free(out);
	return NST_OK;
}

static const struct codec codecs[] = {
	{ "gzip", { 0x1f, 0x8b }, 2, gzip_decode, gzip_encode },
	{ "zstd", { 0x28, 0xb5, 0x2f, 0xfd }, 4, zstd_decode, zstd_encode },
	{ "xz", { 0xfd, '7', 'z', 'X', 'Z', 0 }, 6, xz_decode, xz_encode },
	{ "bzip2", { 'B', 'Z', 'h' }, 3, bzip2_decode, bzip2_encode },
	{ "lzop", { 0x89, 'L', 'Z', 'O', 0, 13, 10, 26, 10 }, 9, lzop_decode,
	  lzop_encode },
	{ "lz4", { 0x04, 0x22, 0x4d, 0x18 }, 4, lz4_decode, lz4_encode },
	{ "lz4 (legacy)", { 0x02, 0x21, 0x4c, 0x18 }, 4, lz4_legacy_decode, NULL },
};

const struct codec *codec_of(const uint8_t *head, uint64_t size)
{
	for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
		if (size >= codecs[i].magic_len &&
		    !memcmp(head, codecs[i].magic, codecs[i].magic_len))
			return &codecs[i];
	return NULL;
}

const struct codec *codec_by_name(const char *name)
{
	for (size_t i = 0; i < sizeof codecs / sizeof *codecs; i++)
		if (!strcmp(codecs[i].name, name))
			return &codecs[i];
	return NULL;
}
