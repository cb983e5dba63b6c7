/* layouts.h: where the VMCS fields stand in a vmcs12 page.
 *
 * A layout gives each VMCS field, by encoding, its byte offset.  All reading
 * and writing of vmcs12 pages by field goes through layout_get/layout_set.
 */
#ifndef NSTATE_LAYOUTS_LAYOUTS_H
#define NSTATE_LAYOUTS_LAYOUTS_H

#include <string.h>

#include "layouts/vmcs.h"

#pragma GCC visibility push(default)

/* Bytes that stand at the same place in every layout. */
enum { VMCS12_OFF_REVISION = 0, VMCS12_OFF_ABORT = 4, VMCS12_OFF_LAUNCH = 8 };
#define VMCS12_SHADOW_BIT 0x80000000u

struct layout {
	char id[32];         /* "v4.14" */
	char kernels[64];    /* "4.14 to 4.17" */
	uint16_t size;       /* sizeof(struct vmcs12): 998, ... */
	bool preserves_v40;  /* every v4.0 field at its v4.0 offset */
	bool emits_blob;     /* its kernels have KVM_GET_NESTED_STATE */
	uint16_t offset[VMCS_FIELD_COUNT]; /* 0: the layout lacks the field */
};

unsigned layout_count(void);
/* Mainline oldest first, then vendors'; NULL from layout_count() on. */
const struct layout *layout_at(unsigned i);
const struct layout *layout_by_name(const char *id);  /* or NULL */
/* The layout of a kernel release: mainline ("5.10", "4.17.3", "6.1.0-47-amd64")
 * or RHEL ("3.10.0-514.el7.x86_64").  NULL where nobody has read that kernel. */
const struct layout *layout_of_kernel(const char *release);
/* The newest v4.0-preserving layout ("v6.18"). */
const struct layout *layout_newest(void);

/* Every field of every v4.0-preserving layout at its place ("v4.18+"): what
 * the core works on.  Not in layout_at(). */
const struct layout *layout_union(void);
/* Do both place the same fields at the same bytes? */
bool layout_same_offsets(const struct layout *a, const struct layout *b);
/* The built-in layout that places all as l does, or NULL. */
const struct layout *layout_equal_builtin(const struct layout *l);

static inline bool layout_has(const struct layout *l, int idx)
{
	return l->offset[idx] != 0;
}

/* Copies of constant size: a copy of unknown size goes through memory, and the
 * load of the whole word behind it stalls. */
static inline uint64_t layout_get(const struct layout *l, const void *page,
				  int idx)
{
	const uint8_t *p = (const uint8_t *)page + l->offset[idx];
	uint16_t half;
	uint32_t word;
	uint64_t both;

	switch (vmcs_bytes(vmcs_fields[idx].encoding)) {
	case 2:
		memcpy(&half, p, 2);
		return half;
	case 4:
		memcpy(&word, p, 4);
		return word;
	default:
		memcpy(&both, p, 8);
		return both;
	}
}

static inline void layout_set(const struct layout *l, void *page, int idx,
			      uint64_t value)
{
	uint8_t *p = (uint8_t *)page + l->offset[idx];

	switch (vmcs_bytes(vmcs_fields[idx].encoding)) {
	case 2: memcpy(p, &value, 2); break;
	case 4: memcpy(p, &value, 4); break;
	default: memcpy(p, &value, 8); break;
	}
}

#pragma GCC visibility pop

#endif
