/* source.h: an input file as bytes, whatever it is wrapped in.
 *
 * Peels gzip, xz, zstd, bzip2, lz4 and lzop by content (twice at most), spools
 * pipes, and gives random access.  Plain files are mapped; wrapped ones and
 * pipes are decoded to an unlinked temporary file first - but for a reader who goes
 * from front to back, whom they may pass by: see source_open_passing.
 */
#ifndef NSTATE_CONVERT_SOURCE_H
#define NSTATE_CONVERT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layouts/error.h"

struct codec;
struct container_progress;
struct source;
struct window_edits;

enum nst_status source_open(const char *path, struct source **out,
			    struct nst_error *e); /* "-": standard input */
/* The same, but peels nothing. */
enum nst_status source_open_raw(const char *path, struct source **out,
				struct nst_error *e);
/* The same as source_open, but what is wrapped passes: it is decoded while it is
 * read, and only what was not released is there.  Where that cannot be it is
 * decoded to a temporary file after all. */
enum nst_status source_open_passing(const char *path, struct source **out,
				    struct nst_error *e);
/* in from off on, decoded while it is read; in is borrowed.  edits: see
 * codec/window.h, or NULL.  *out stays NULL where it cannot be. */
enum nst_status source_pass(struct source *in, uint64_t off,
			    const struct codec *c,
			    const struct window_edits *edits,
			    struct source **out, struct nst_error *e);
bool source_passes(const struct source *s);
/* Decodes what passes to a temporary file, from its beginning. */
enum nst_status source_settle(struct source *s, struct nst_error *e);
/* Encodes all of s, which passes, once more by c, with these changes, to fd. */
enum nst_status source_recode(struct source *s, const struct codec *c,
			      const struct window_edits *edits,
			      const struct container_progress *progress, int fd,
			      struct nst_error *e);

/* Of an open file, as it is; takes the descriptor over. */
enum nst_status source_from_fd(int fd, struct source **out,
			       struct nst_error *e);
void source_close(struct source *s);

uint64_t source_size(const struct source *s);     /* unwrapped; of one that passes:
						   * as far as it is decoded */
bool source_is_plain(const struct source *s);     /* not wrapped, seekable */
const char *source_wrapping(const struct source *s); /* "gzip" or NULL */
int source_fd(const struct source *s);            /* the unwrapped bytes' file */

/* Pointer to [off, off+len), or NULL where that is beyond the end.  Valid
 * until source_close. */
const uint8_t *source_at(struct source *s, uint64_t off, size_t len);
/* Whether there are `end` bytes: waits for those of a source that passes, but not
 * where this would be to keep too much in memory. */
bool source_need(struct source *s, uint64_t end);
/* The same for all of it. */
bool source_need_all(struct source *s);
/* Whether it was too much once: who needs it settles the source (source_settle). */
bool source_too_much(const struct source *s);
/* What became of decoding what passes, as far as it is. */
enum nst_status source_status(struct source *s, struct nst_error *e);
/* The first byte from off on that is not in a hole of the file; the size where all
 * the rest is. */
uint64_t source_next_data(const struct source *s, uint64_t off);
/* These bytes are done with for now: what a pass over a big file calls behind
 * itself to keep its memory small.  Pointers stay valid, but not into a source
 * that passes. */
void source_release(struct source *s, uint64_t off, uint64_t len);

/* For a handler of SIGBUS, which is how a read error of a mapped file shows: the
 * name of the file that address belongs to and where in it, or NULL. */
const char *source_of_address(const void *address, uint64_t *offset);

#endif
