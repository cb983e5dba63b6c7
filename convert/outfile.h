/* outfile.h: an output file that is absent or whole, never half.
 *
 * Written without a name in the target's directory (under a temporary name where
 * the file system cannot do that), fsynced, then given its name: whatever ends
 * the program meanwhile leaves nothing behind.
 */
#ifndef NSTATE_CONVERT_OUTFILE_H
#define NSTATE_CONVERT_OUTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layouts/error.h"

struct outfile {
	int fd;
	bool force, to_stdout, no_sync;
	char *path;
	char *temporary;             /* NULL: it has no name yet */
};

/* "-" is standard output.  Refuses to replace a file without force, and to
 * replace `input` (may be NULL) at all; whom the input is closed to, the output
 * is closed to as well. */
enum nst_status outfile_open(struct outfile *o, const char *path, bool force,
			     const char *input, struct nst_error *e);
/* status NST_OK: fsync and rename; else removes the temporary.  Returns the
 * status, or what went wrong on closing. */
enum nst_status outfile_close(struct outfile *o, enum nst_status status,
			      struct nst_error *e);

/* Copies all of from to `to` (empty): reflink, else copy_file_range, else
 * read and write.  Holes stay holes. */
enum nst_status outfile_clone(int from, int to, struct nst_error *e);
/* The same of from[at, at + len), to `out` in to, which reaches to its end. */
enum nst_status outfile_copy(int from, uint64_t at, uint64_t len, int to,
			     uint64_t out, struct nst_error *e);
enum nst_status outfile_pwrite(int fd, const void *buf, size_t len,
			       uint64_t at, struct nst_error *e);
enum nst_status outfile_pread(int fd, void *buf, size_t len, uint64_t at,
			      struct nst_error *e);
/* An unlinked temporary file; -1 and e on failure. */
int outfile_spool(struct nst_error *e);

#endif
