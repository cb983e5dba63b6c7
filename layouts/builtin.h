/* builtin.h: the table of built-in layouts, for layouts/ itself; others use
 * layouts.h. */
#ifndef NSTATE_LAYOUTS_BUILTIN_H
#define NSTATE_LAYOUTS_BUILTIN_H

#include "layouts/layouts.h"

enum {
#define LAYOUT(tag, ...) LI_##tag,
#include "layouts/layouts.def"
#undef LAYOUT
	LI_COUNT
};

extern const struct layout builtin_layouts[LI_COUNT];

#endif
