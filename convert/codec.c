/* codec.c: the table of codecs (they are in codec/), and how they are run. */
#include "convert/codec.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/codec/codecs.h"
#include "convert/source.h"

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

static enum nst_status run(enum nst_status (*fn)(struct coding *,
						 struct nst_error *),
			   struct coding *k, int fd, bool sparse,
			   struct nst_error *e)
{
	enum nst_status st = coding_open(k, fd, sparse, e);

	return st ? st : coding_close(k, fn(k, e), e);
}

enum nst_status codec_decode(const struct codec *c, const uint8_t *in,
			     uint64_t size, int fd, struct nst_error *e)
{
	struct coding k = { .in = in, .size = size };

	return run(c->decode, &k, fd, true, e);
}

enum nst_status codec_decode_from(const struct codec *c, struct source *s,
				  uint64_t off, int fd, struct nst_error *e)
{
	struct coding k = { .in = source_at(s, off, 0), .src = s, .off = off,
			    .size = source_size(s) - off };

	return run(c->decode, &k, fd, true, e);
}

enum nst_status codec_decode_into(const struct codec *c, struct source *s,
				  uint64_t off, struct window *w,
				  struct nst_error *e)
{
	struct coding k = { .in = source_at(s, off, 0), .src = s, .off = off,
			    .size = source_size(s) - off, .window = w,
			    .released = off };

	return c->decode(&k, e);
}

enum nst_status codec_encode_from(const struct codec *c, struct source *s,
				  uint64_t size, int fd, struct nst_error *e)
{
	struct coding k = { .in = source_at(s, 0, 0), .src = s,
			    .size = size };

	return run(c->encode, &k, fd, false, e);
}
