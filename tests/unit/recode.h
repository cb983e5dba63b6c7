/* recode.h: what tests of the codecs share; after cmocka.h. */
#ifndef NSTATE_TESTS_RECODE_H
#define NSTATE_TESTS_RECODE_H

#include "container_gen.h"
#include "convert/codec.h"
#include "convert/source.h"

/* All that is in a file. */
static inline struct gen slurp(int fd)
{
	struct gen g = { 0 };
	off_t n = lseek(fd, 0, SEEK_END);

	g.n = g.room = (size_t)n;
	g.p = malloc(g.n + 1);
	assert_int_equal(pread(fd, g.p, g.n, 0), n);
	return g;
}

static inline struct gen recode(const struct gen *g, const struct codec *c,
				bool encode, enum nst_status want)
{
	int fd = memfd_create("codec", MFD_CLOEXEC), in;
	struct source *s;
	struct nst_error e;
	struct gen out;

	gen_file(g, &in);
	assert_int_equal(source_from_fd(in, &s, &e), NST_OK);
	assert_int_equal(encode ? codec_encode_from(c, s, g->n, fd, &e) :
			 codec_decode(c, g->p, g->n, fd, &e), want);
	source_close(s);
	out = slurp(fd);
	close(fd);
	return out;
}

#endif
