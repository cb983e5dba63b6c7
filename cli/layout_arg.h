/* layout_arg.h: a layout as a command line names it. */
#ifndef NSTATE_CLI_LAYOUT_ARG_H
#define NSTATE_CLI_LAYOUT_ARG_H

#include "layouts/error.h"
#include "layouts/layouts.h"

/* A layout's name ("v4.14"), a kernel release ("4.17.3"), or a file in
 * nstate-layout(5) form. */
enum nst_status layout_arg(const char *text, const struct layout **out,
			   struct nst_error *e);

#endif
