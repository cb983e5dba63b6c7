/* union.c: the layout that holds every field of every v4.0-preserving layout.
 *
 * Those layouts only ever filled padding, so that their fields never collide:
 * a page of any of them is a page of the union.  The core works on it.
 */
#include <stdio.h>

#include "layouts/layouts.h"

const struct layout *layout_union(void)
{
	static struct layout all;
	static int made; /* 0 no, 1 yes: every thread would write the same */

	if (__atomic_load_n(&made, __ATOMIC_ACQUIRE))
		return &all;
	struct layout l = *layout_newest();
	snprintf(l.id, sizeof l.id, "v4.18+");
	snprintf(l.kernels, sizeof l.kernels, "4.18 and later, together");
	for (unsigned k = 0; k < layout_count(); k++) {
		const struct layout *one = layout_at(k);
		if (!one->preserves_v40)
			continue;
		for (int i = 0; i < VMCS_FIELD_COUNT; i++)
			if (layout_has(one, i) && !layout_has(&l, i))
				l.offset[i] = one->offset[i];
	}
	all = l;
	__atomic_store_n(&made, 1, __ATOMIC_RELEASE);
	return &all;
}
