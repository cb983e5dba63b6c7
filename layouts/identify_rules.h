/* identify_rules.h: one page under one layout; for identify.c only. */
#ifndef NSTATE_LAYOUTS_IDENTIFY_RULES_H
#define NSTATE_LAYOUTS_IDENTIFY_RULES_H

#include "layouts/identify.h"

/* Fills c but for its group.  owned: for the first `size` bytes of the page (a
 * multiple of 8, no field beyond) 0xff where a field or the header is, else 0. */
void identify_judge(const struct layout *l, const uint8_t *owned, unsigned size,
		    const void *page, struct identify_candidate *c);

#endif
