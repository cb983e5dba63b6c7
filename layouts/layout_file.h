/* layout_file.h: layouts as text, nstate-layout(5), and by any of their names. */
#ifndef NSTATE_LAYOUTS_LAYOUT_FILE_H
#define NSTATE_LAYOUTS_LAYOUT_FILE_H

#include <stdio.h>

#include "layouts/error.h"
#include "layouts/layouts.h"

#pragma GCC visibility push(default)

/* Writes l in the format that layout_parse reads.  comment (may be NULL) goes
 * into the head, one "# " line for each of its lines. */
void layout_print(const struct layout *l, const char *comment, FILE *f);

/* text: len bytes.  Errors name the line. */
enum nst_status layout_parse(const char *text, size_t len, struct layout *out,
			     struct nst_error *e);
enum nst_status layout_parse_file(const char *path, struct layout *out,
				  struct nst_error *e);

/* What --from and --to take: a built-in layout ("v4.14"), a kernel release
 * ("4.17.3", "3.10.0-1160.el7.x86_64") or the path of a layout file. */
enum nst_status layout_resolve(const char *text, struct layout *out,
			       struct nst_error *e);

/* Bad where a field stands outside [12, size), two share a byte, or size is
 * over a page; the text says which. */
enum nst_status layout_validate(const struct layout *l, struct nst_error *e);

/* Fills what follows from the offsets: preserves_v40. */
void layout_derive(struct layout *l);

#pragma GCC visibility pop

#endif
