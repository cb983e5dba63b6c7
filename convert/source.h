/* source.h: an input file as bytes, whatever it is wrapped in.
 *
 * Peels gzip, xz, zstd, bzip2, lz4 and lzop by content (twice at most), spools
 * pipes, and gives random access.  Plain files are mapped; wrapped ones and
 * pipes are decoded to an unlinked temporary file first.
 */
#ifndef NSTATE_CONVERT_SOURCE_H
#define NSTATE_CONVERT_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layouts/error.h"

struct source;

enum nst_status source_open(const char *path, struct source **out,
			    struct nst_error *e); /* "-": standard input */
/* The same, but peels nothing. */
enum nst_status source_open_raw(const char *path, struct source **out,
				struct nst_error *e);
/* Of an open file, as it is; takes the descriptor over. */
enum nst_status source_from_fd(int fd, struct source **out,
			       struct nst_error *e);
void source_close(struct source *s);

uint64_t source_size(const struct source *s);     /* unwrapped */
bool source_is_plain(const struct source *s);     /* not wrapped, seekable */
const char *source_wrapping(const struct source *s); /* "gzip" or NULL */
int source_fd(const struct source *s);            /* the unwrapped bytes' file */

/* Pointer to [off, off+len), or NULL where that is beyond the end.  Valid
 * until source_close. */
const uint8_t *source_at(struct source *s, uint64_t off, size_t len);
/* The first byte from off on that is not in a hole of the file; the size where all
 * the rest is. */
uint64_t source_next_data(const struct source *s, uint64_t off);
/* These bytes are done with for now: what a pass over a big file calls behind
 * itself to keep its memory small.  Pointers stay valid. */
void source_release(struct source *s, uint64_t off, uint64_t len);

/* For a handler of SIGBUS, which is how a read error of a mapped file shows: the
 * name of the file that address belongs to and where in it, or NULL. */
const char *source_of_address(const void *address, uint64_t *offset);

#endif
