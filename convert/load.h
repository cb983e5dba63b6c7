/* load.h: a container as a snapshot that can run: everything loaded, and every
 * vmcs12 (current, shadow, in RAM) in layout_union().  The
 * file itself is never changed.
 */
#ifndef NSTATE_CONVERT_LOAD_H
#define NSTATE_CONVERT_LOAD_H

#include "layouts/error.h"
#include "layouts/layouts.h"
#include "layouts/snapshot.h"

#pragma GCC visibility push(default)

struct loaded {
	struct snapshot *snapshot;
	const struct layout *layout; /* of every vmcs12 in it now */
	const struct layout *from;   /* what it had; NULL: nothing to decide */
	unsigned pages;              /* remapped, nested states included */
	char note[256];              /* for people: what was converted */
};

/* from: NULL to identify it. */
enum nst_status load_converted(const char *path, const struct layout *from,
			       struct loaded *out, struct nst_error *e);

#pragma GCC visibility pop

#endif
