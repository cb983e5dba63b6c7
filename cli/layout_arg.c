/* layout_arg.c: finds the layout that an option names. */
#include "cli/layout_arg.h"

enum nst_status layout_arg(const char *text, const struct layout **out,
			   struct nst_error *e)
{
	*out = layout_by_name(text);
	if (!*out)
		*out = layout_of_kernel(text);
	if (*out)
		return NST_OK;
	return nst_fail(e, NST_USAGE, "%s: neither a layout (see `nstate "
			"layouts`) nor a kernel release nor a layout file", text);
}
