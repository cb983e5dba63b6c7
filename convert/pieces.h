/* pieces.h: what a conversion replaces in a file, gathered before it is written. */
#ifndef NSTATE_CONVERT_PIECES_H
#define NSTATE_CONVERT_PIECES_H

#include "convert/codec/window.h"
#include "convert/container.h"

struct pieces {
	struct window_piece *v;
	size_t n, room;
};

/* A container_put_fn; arg is a struct pieces.  data stays the caller's. */
enum nst_status pieces_add(void *arg, uint64_t at, const uint8_t *data,
			   size_t len, struct nst_error *e);
void pieces_free(struct pieces *p);
/* Decodes src, which passes, once more, with these pieces and the insertion (of
 * insert_len bytes, 0: none), and encodes it again as it was, to fd. */
enum nst_status pieces_recode(struct pieces *p, struct source *src,
			      const uint8_t *insert, size_t insert_len,
			      uint64_t insert_at,
			      const struct container_progress *progress, int fd,
			      struct nst_error *e);

#endif
