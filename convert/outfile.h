/* outfile.h: an output file that is absent or whole, never half.
 *
 * Written under a temporary name beside the target, fsynced, renamed.
 */
#ifndef NSTATE_CONVERT_OUTFILE_H
#define NSTATE_CONVERT_OUTFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layouts/error.h"

struct outfile {
	int fd;
	bool force, to_stdout;
	char *path, *temporary;
};

/* "-" is standard output.  Refuses to replace a file without force, and to
 * replace `input` (may be NULL) at all. */
enum nst_status outfile_open(struct outfile *o, const char *path, bool force,
			     const char *input, struct nst_error *e);
/* status NST_OK: fsync and rename; else removes the temporary.  Returns the
 * status, or what went wrong on closing. */
enum nst_status outfile_close(struct outfile *o, enum nst_status status,
			      struct nst_error *e);

/* Copies all of from to `to` (empty): reflink, else copy_file_range, else
 * read and write. */
enum nst_status outfile_clone(int from, int to, struct nst_error *e);
enum nst_status outfile_pwrite(int fd, const void *buf, size_t len,
			       uint64_t at, struct nst_error *e);
/* An unlinked temporary file; -1 and e on failure. */
int outfile_spool(struct nst_error *e);

#endif
