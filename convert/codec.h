/* codec.h: the compressions that an input may be wrapped in. */
#ifndef NSTATE_CONVERT_CODEC_H
#define NSTATE_CONVERT_CODEC_H

#include <stddef.h>
#include <stdint.h>

#include "layouts/error.h"

struct coding; /* codec/coding.h */
struct source;
struct window; /* codec/window.h */

struct codec {
	const char *name;          /* "gzip" */
	uint8_t magic[9];
	uint8_t magic_len;
	/* All members or frames of the input. */
	enum nst_status (*decode)(struct coding *k, struct nst_error *e);
	/* The reverse, for rewriting a wrapped container; NULL: not offered. */
	enum nst_status (*encode)(struct coding *k, struct nst_error *e);
};

/* in[0, size) to fd. */
enum nst_status codec_decode(const struct codec *c, const uint8_t *in,
			     uint64_t size, int fd, struct nst_error *e);
/* The same of a source, from off to its end; its memory is let go of meanwhile. */
enum nst_status codec_decode_from(const struct codec *c, struct source *s,
				  uint64_t off, int fd, struct nst_error *e);
/* The same into a window. */
enum nst_status codec_decode_into(const struct codec *c, struct source *s,
				  uint64_t off, struct window *w,
				  struct nst_error *e);
/* The first size bytes of s, which may still be in the making. */
enum nst_status codec_encode_from(const struct codec *c, struct source *s,
				  uint64_t size, int fd, struct nst_error *e);

/* By content; NULL: none of them. */
const struct codec *codec_of(const uint8_t *head, uint64_t size);
const struct codec *codec_by_name(const char *name);

/* write() until all is out; 0 or -1 with errno. */
int codec_write_all(int fd, const void *buf, size_t len);
/* The same, but runs of zeros become holes. */
int codec_write_sparse(int fd, const void *buf, size_t len);

#endif
