/* layout_arg.c: finds the layout that an option names. */
#include "cli/layout_arg.h"

#include <stdlib.h>
#include <unistd.h>

#include "layouts/layout_file.h"

/* Layouts from files live as long as the program, like the built-in ones. */
struct loaded {
	struct layout l;
	struct loaded *next;
};
static struct loaded *loaded;

static enum nst_status from_file(const char *path, const struct layout **out,
				 struct nst_error *e)
{
	struct loaded *new = malloc(sizeof *new);
	enum nst_status st;

	if (!new)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	st = layout_parse_file(path, &new->l, e);
	if (st) {
		free(new);
		return st;
	}
	new->next = loaded;
	loaded = new;
	*out = &new->l;
	return NST_OK;
}

enum nst_status layout_arg(const char *text, const struct layout **out,
			   struct nst_error *e)
{
	*out = layout_by_name(text);
	if (!*out)
		*out = layout_of_kernel(text);
	if (*out)
		return NST_OK;
	if (!access(text, R_OK))
		return from_file(text, out, e);
	return nst_fail(e, NST_USAGE, "%s: neither a layout (see `nstate "
			"layouts`) nor a kernel release nor a layout file", text);
}
