/* coding.h: one decoding or encoding under way: where its bytes come from and go to.
 *
 * What is put goes into a window (window.h), or is written by a thread of its own, so
 * that coding and writing overlap; what of a mapped input is done with is let go of,
 * so that memory stays small.  Owns no format.
 */
#ifndef NSTATE_CONVERT_CODEC_CODING_H
#define NSTATE_CONVERT_CODEC_CODING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layouts/error.h"

struct source;
struct writer;

struct coding {
	const uint8_t *in;
	uint64_t size;
	struct source *src;    /* that in is a part of, or NULL */
	uint64_t off;          /* in it */
	uint64_t released;
	struct writer *writer; /* one of these two */
	struct window *window;
};

/* sparse: blocks of zeros become holes. */
enum nst_status coding_open(struct coding *k, int fd, bool sparse,
			    struct nst_error *e);
/* All of data is taken; 0, or -1 and errno where an earlier one failed. */
int coding_put(struct coding *k, const void *data, size_t len);
/* The same without a copy: where to put bytes, and how many are put there. */
uint8_t *coding_room(struct coding *k, size_t *room);
int coding_took(struct coding *k, size_t len);
/* Waits until in[0, end) is there, if it is still being made; false: it will not be. */
bool coding_need(const struct coding *k, uint64_t end);
/* in[0, at) is not needed again. */
void coding_done(struct coding *k, uint64_t at);
/* Waits until all is written. */
enum nst_status coding_close(struct coding *k, enum nst_status st,
			     struct nst_error *e);

/* A stretch of the input, coded on its own, and what became of it. */
struct chunk {
	uint64_t at;
	size_t len;
	bool last;
	uint8_t *out;          /* room bytes */
	size_t out_len, room;
	uint32_t sum;          /* for whoever puts the chunks together */
};
/* False: out of memory, or not possible. */
typedef bool chunk_fn(const struct coding *k, struct chunk *c);
/* Called in the order of the input, before the chunk's output is put. */
typedef void chunk_order_fn(void *arg, const struct chunk *c);

/* Codes the input in chunks of len bytes by several threads, each chunk's output at
 * most room bytes.  What comes out does not depend on how many threads there are.
 * -1 where a chunk failed, or with errno where writing did. */
int coding_in_chunks(struct coding *k, size_t len, size_t room, chunk_fn *fn,
		     chunk_order_fn *order, void *arg);

/* fn(arg, 0) to fn(arg, n - 1), by several threads. */
void coding_share(unsigned n, void (*fn)(void *arg, unsigned i), void *arg);

/* How many threads are worth having. */
unsigned coding_threads(void);

#endif
