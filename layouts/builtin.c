/* builtin.c: the layouts that the program knows by itself, as a table.
 *
 * Owns the making of struct layout from vmcs12.def and layouts.def; no search,
 * no parsing.  The compiler computes all of it.
 */
#include "layouts/builtin.h"

/* One bit a layout, for the conditions in vmcs12.def. */
#define V3_1    0x0001
#define V3_10   0x0002
#define V3_15   0x0004
#define V3_19   0x0008
#define V4_0    0x0010
#define V4_12   0x0020
#define V4_14   0x0040
#define V4_18   0x0080
#define V5_8    0x0100
#define V5_13   0x0200
#define V5_14   0x0400
#define V6_18   0x0800
#define RHEL7_3 0x1000
#define RHEL7_7 0x2000
#define RHEL    (RHEL7_3 | RHEL7_7)
/* The mainline layouts from one on: all bits from its own to V6_18's. */
#define FROM(layout) (2 * V6_18 - (layout))
#define SINCE_V3_10 FROM(V3_10)
#define SINCE_V3_15 FROM(V3_15)
#define SINCE_V3_19 FROM(V3_19)
#define SINCE_V4_0  FROM(V4_0)
#define SINCE_V4_18 FROM(V4_18)
#define SINCE_V5_8  FROM(V5_8)
#define SINCE_V5_13 FROM(V5_13)
#define SINCE_V5_14 FROM(V5_14)
#define SINCE_V6_18 FROM(V6_18)
#define IN(layouts) ((THIS) & (layouts))

#define PASTE_(a, b) a##b
#define PASTE(a, b) PASTE_(a, b)
#define STRUCT PASTE(vmcs12_, TAG)
#define INDEX  PASTE(LI_, TAG)

#define THIS V3_1
#define TAG v3_1
#include "layouts/builtin.inc"
#define THIS V3_10
#define TAG v3_10
#include "layouts/builtin.inc"
#define THIS V3_15
#define TAG v3_15
#include "layouts/builtin.inc"
#define THIS V3_19
#define TAG v3_19
#include "layouts/builtin.inc"
#define THIS V4_0
#define TAG v4_0
#include "layouts/builtin.inc"
#define THIS V4_12
#define TAG v4_12
#include "layouts/builtin.inc"
#define THIS V4_14
#define TAG v4_14
#include "layouts/builtin.inc"
#define THIS V4_18
#define TAG v4_18
#include "layouts/builtin.inc"
#define THIS V5_8
#define TAG v5_8
#include "layouts/builtin.inc"
#define THIS V5_13
#define TAG v5_13
#include "layouts/builtin.inc"
#define THIS V5_14
#define TAG v5_14
#include "layouts/builtin.inc"
#define THIS V6_18
#define TAG v6_18
#include "layouts/builtin.inc"
#define THIS RHEL7_3
#define TAG rhel7_3
#include "layouts/builtin.inc"
#define THIS RHEL7_7
#define TAG rhel7_7
#include "layouts/builtin.inc"

#define LAYOUT(tag, id_, kernels_, size_, preserves, emits)                    \
	_Static_assert(sizeof(struct vmcs12_##tag) == (size_), id_);
#include "layouts/layouts.def"
#undef LAYOUT

const struct layout builtin_layouts[LI_COUNT] = {
#define LAYOUT(tag, id_, kernels_, size_, preserves, emits)                    \
	[LI_##tag].id = id_, [LI_##tag].kernels = kernels_,                   \
	[LI_##tag].size = size_, [LI_##tag].preserves_v40 = preserves,        \
	[LI_##tag].emits_blob = emits,
#include "layouts/layouts.def"
#undef LAYOUT

#define THIS V3_1
#define TAG v3_1
#include "layouts/builtin_offsets.inc"
#define THIS V3_10
#define TAG v3_10
#include "layouts/builtin_offsets.inc"
#define THIS V3_15
#define TAG v3_15
#include "layouts/builtin_offsets.inc"
#define THIS V3_19
#define TAG v3_19
#include "layouts/builtin_offsets.inc"
#define THIS V4_0
#define TAG v4_0
#include "layouts/builtin_offsets.inc"
#define THIS V4_12
#define TAG v4_12
#include "layouts/builtin_offsets.inc"
#define THIS V4_14
#define TAG v4_14
#include "layouts/builtin_offsets.inc"
#define THIS V4_18
#define TAG v4_18
#include "layouts/builtin_offsets.inc"
#define THIS V5_8
#define TAG v5_8
#include "layouts/builtin_offsets.inc"
#define THIS V5_13
#define TAG v5_13
#include "layouts/builtin_offsets.inc"
#define THIS V5_14
#define TAG v5_14
#include "layouts/builtin_offsets.inc"
#define THIS V6_18
#define TAG v6_18
#include "layouts/builtin_offsets.inc"
#define THIS RHEL7_3
#define TAG rhel7_3
#include "layouts/builtin_offsets.inc"
#define THIS RHEL7_7
#define TAG rhel7_7
#include "layouts/builtin_offsets.inc"
};
