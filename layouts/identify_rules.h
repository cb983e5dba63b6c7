/* identify_rules.h: one page under one layout; for identify.c only. */
#ifndef NSTATE_LAYOUTS_IDENTIFY_RULES_H
#define NSTATE_LAYOUTS_IDENTIFY_RULES_H

#include "layouts/identify.h"

/* Fills c but for its group. */
void identify_judge(const struct layout *l, const void *page,
		    struct identify_candidate *c);

#endif
