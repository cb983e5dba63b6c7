/* remap.h: one vmcs12 page from one layout into another, by encoding.
 *
 * The header (revision id, abort, launch_state and what follows up to the
 * first field) is carried.  Each field's value goes to the same encoding's
 * place.  Bytes that are no field in the source must be zero: others are
 * carried where the target has no field either, and reported in any case.
 */
#ifndef NSTATE_CONVERT_REMAP_H
#define NSTATE_CONVERT_REMAP_H

#include "layouts/error.h"
#include "layouts/layouts.h"

#pragma GCC visibility push(default)

/* Bits of remap_page's and remap_plan's what[]: one byte a field. */
enum {
	REMAP_MOVED = 1,    /* in both, at another offset */
	REMAP_KEPT = 2,     /* in both, at the same offset */
	REMAP_DROPPED = 4,  /* only in the source, and not zero */
	REMAP_GONE = 8,     /* only in the source, zero */
	REMAP_NEW = 16,     /* only in the target: zero */
};

struct remap_report {
	uint8_t what[VMCS_FIELD_COUNT];
	unsigned moved, kept, dropped;
	unsigned padding;       /* bytes outside every source field, not zero */
	unsigned padding_lost;  /* of them: where the target has a field */
};

/* in and out are VMCS12_SIZE bytes and must not overlap.  Without `drop`, a
 * field that is not zero and has no place in `to` is an error, and so is
 * padding that would be lost. report may be NULL. */
enum nst_status remap_page(const struct layout *from, const struct layout *to,
			   const uint8_t *in, uint8_t *out, bool drop,
			   struct remap_report *report, struct nst_error *e);

/* The newest v4.0-preserving layout in which no non-zero field of the page has
 * to be dropped; the newest of all where there is none. */
const struct layout *remap_target(const struct layout *from,
				  const uint8_t *const *pages, unsigned n);

#pragma GCC visibility pop

#endif
