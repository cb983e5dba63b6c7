/* window.h: what a decoder makes, in memory, for as long as its reader wants it.
 *
 * A thread decodes ahead of the reader, who says how far it needs to see and what
 * it is done with; so a file of any size passes through a few MiB, and the disk has
 * no part in it.  Addresses are of the decoded bytes: position p is at base + p, and
 * what was released is not there any more.  Owns no format.
 */
#ifndef NSTATE_CONVERT_CODEC_WINDOW_H
#define NSTATE_CONVERT_CODEC_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layouts/error.h"

struct codec;
struct source;
struct window;

/* What is changed on the way: pieces, by rising positions, which replace as many
 * bytes, and one insertion, not before the first byte.  Positions are those of the
 * decoded bytes, without the insertion. */
struct window_piece { uint64_t at; const uint8_t *data; size_t len; };
struct window_edits {
	const struct window_piece *piece;
	size_t n;
	const uint8_t *insert;
	size_t insert_len;
	uint64_t insert_at;
};

/* Decodes in from off on.  edits (NULL: none) stay the caller's and in use.  NULL:
 * there is no address space or no thread for it. */
struct window *window_open(const struct codec *c, struct source *in,
			   uint64_t off, const struct window_edits *edits);
/* Stops the decoder where it is. */
void window_close(struct window *w);

const uint8_t *window_base(const struct window *w);
/* How much is made so far. */
uint64_t window_made(const struct window *w);

/* -- the reader ----------------------------------------------------------------- */

enum window_answer {
	WINDOW_THERE,
	WINDOW_END,            /* there are not so many, or decoding failed */
	WINDOW_TOO_MUCH,       /* over `most` bytes would be held */
};
/* Waits until `end` bytes are made.  most: of bytes that were not released; ~0: as
 * many as it takes. */
enum window_answer window_need(struct window *w, uint64_t end, uint64_t most);
/* Lets go of [from, to). */
void window_release(struct window *w, uint64_t from, uint64_t to);
/* What became of the decoding, as far as it is. */
enum nst_status window_status(struct window *w, struct nst_error *e);

/* -- the decoder ---------------------------------------------------------------- */

/* Where to put bytes, and how many; NULL and errno: nobody wants them. */
uint8_t *window_room(struct window *w, size_t *room);
int window_took(struct window *w, size_t len);

#endif
