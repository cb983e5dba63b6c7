/* identify_plausible.h: can this page be a vmcs12 of that layout?
 *
 * A second opinion for the measurement, written from the SDM without regard to
 * identify's rules: where identify leaves two layouts standing, this must find
 * nothing wrong with either.
 */
#ifndef TESTS_IDENTIFY_PLAUSIBLE_H
#define TESTS_IDENTIFY_PLAUSIBLE_H

#include "tests/unit/identify_gen.h"

struct view {
	const struct gen_layout *l;
	const uint8_t *page;
};

static inline uint64_t pl_get(const struct view *w, int idx)
{
	uint64_t v = 0;

	if (w->l->at[idx])
		memcpy(&v, w->page + w->l->at[idx],
		       vmcs_bytes(vmcs_fields[idx].encoding));
	return v;
}

#define V(NAME) pl_get(&w, VMCS_IDX_##NAME)
#define DEMAND(condition)                      \
	do {                                   \
		if (!(condition))              \
			return #condition;     \
	} while (0)

static inline bool pl_canonical(uint64_t v)
{
	return v >> 56 == 0 || v >> 56 == 0xff;
}

static inline const char *pl_padding(const struct gen_layout *l,
				     const uint8_t *page)
{
	for (unsigned k = 0; k < l->npadding; k++)
		for (unsigned b = 0; b < l->padding[k][1]; b++)
			DEMAND(page[l->padding[k][0] + b] == 0);
	for (unsigned b = l->size; b < 1024; b++)
		DEMAND(page[b] == 0);
	return NULL;
}

static inline const char *pl_host(struct view w)
{
	uint64_t cr0 = V(HOST_CR0), cr4 = V(HOST_CR4);

	for (int i = VMCS_IDX_HOST_ES_SELECTOR; i <= VMCS_IDX_HOST_TR_SELECTOR;
	     i++)
		DEMAND(pl_get(&w, i) % 8 == 0);
	DEMAND(cr0 == 0 || (cr0 >> 32 == 0 && (cr0 & 0x80000021) == 0x80000021));
	DEMAND(cr4 == 0 || cr4 & 0x2000);
	DEMAND(pl_canonical(V(HOST_FS_BASE)));
	DEMAND(pl_canonical(V(HOST_GS_BASE)));
	DEMAND(pl_canonical(V(HOST_TR_BASE)));
	DEMAND(pl_canonical(V(HOST_GDTR_BASE)));
	DEMAND(pl_canonical(V(HOST_IDTR_BASE)));
	DEMAND(pl_canonical(V(HOST_RIP)));
	DEMAND(V(HOST_CR3) >> 63 == 0);
	return NULL;
}

static inline const char *pl_guest(struct view w)
{
	uint64_t cr0 = V(GUEST_CR0), cr4 = V(GUEST_CR4), fl = V(GUEST_RFLAGS);

	for (int i = VMCS_IDX_GUEST_ES_AR_BYTES;
	     i <= VMCS_IDX_GUEST_TR_AR_BYTES; i++)
		DEMAND((pl_get(&w, i) & 0xfffe0f00) == 0);
	DEMAND(V(GUEST_GDTR_LIMIT) <= 0xffff);
	DEMAND(V(GUEST_IDTR_LIMIT) <= 0xffff);
	DEMAND(V(GUEST_ACTIVITY_STATE) < 4);
	DEMAND(V(GUEST_INTERRUPTIBILITY_INFO) < 32);
	DEMAND(cr0 == 0 || (cr0 >> 32 == 0 && cr0 & 0x20));
	DEMAND(cr4 == 0 || cr4 & 0x2000);
	DEMAND(cr4 >> 33 == 0);
	DEMAND(fl == 0 || (fl & 2 && fl >> 22 == 0));
	DEMAND(pl_canonical(V(GUEST_RIP)));
	DEMAND(pl_canonical(V(GUEST_FS_BASE)));
	DEMAND(pl_canonical(V(GUEST_GS_BASE)));
	DEMAND(pl_canonical(V(GUEST_TR_BASE)));
	DEMAND(pl_canonical(V(GUEST_GDTR_BASE)));
	DEMAND(pl_canonical(V(GUEST_IDTR_BASE)));
	DEMAND(V(GUEST_PENDING_DBG_EXCEPTIONS) <= 0x1ffff);
	DEMAND(V(GUEST_CS_BASE) >> 32 == 0);
	return NULL;
}

static inline const char *pl_controls(struct view w)
{
	uint64_t link = V(VMCS_LINK_POINTER), reason = V(VM_EXIT_REASON);

	DEMAND(V(PIN_BASED_VM_EXEC_CONTROL) <= 0xff);
	DEMAND(!(V(VM_ENTRY_CONTROLS) >> 24));
	DEMAND(V(CR3_TARGET_COUNT) <= 4);
	DEMAND(V(VM_EXIT_MSR_STORE_COUNT) <= 4096);
	DEMAND(V(VM_EXIT_MSR_LOAD_COUNT) <= 4096);
	DEMAND(V(VM_ENTRY_MSR_LOAD_COUNT) <= 4096);
	DEMAND(V(VM_INSTRUCTION_ERROR) <= 28);
	DEMAND((reason & 0xffff) <= 85);
	DEMAND(link == ~0ull || (link % 4096 == 0 && link >> 52 == 0));
	DEMAND(V(GUEST_PHYSICAL_ADDRESS) >> 52 == 0);
	DEMAND(V(EPT_POINTER) != ~0ull);
	DEMAND(V(PML_ADDRESS) != ~0ull);
	DEMAND(V(EPTP_LIST_ADDRESS) != ~0ull);
	DEMAND(V(POSTED_INTR_DESC_ADDR) != ~0ull);
	return NULL;
}

static inline const char *pl_launched(struct view w)
{
	DEMAND((V(PIN_BASED_VM_EXEC_CONTROL) & 0x16) == 0x16);
	DEMAND(V(HOST_CS_SELECTOR) != 0);
	DEMAND(V(HOST_TR_SELECTOR) != 0);
	DEMAND(V(HOST_CR0) != 0);
	DEMAND(V(HOST_CR4) != 0);
	DEMAND(V(GUEST_CR0) != 0);
	DEMAND(V(GUEST_CR4) != 0);
	DEMAND(V(GUEST_RFLAGS) != 0);
	DEMAND(V(VMCS_LINK_POINTER) != 0);
	DEMAND(V(GUEST_TR_AR_BYTES) % 16 == 3 || V(GUEST_TR_AR_BYTES) % 16 == 11);
	DEMAND(V(GUEST_CS_AR_BYTES) & 0x80);
	return NULL;
}

/* NULL, or what is wrong. */
static inline const char *pl_wrong(const struct gen_layout *l,
				   const uint8_t *page)
{
	struct view w = { l, page };
	const char *why = pl_padding(l, page);

	if (!why)
		why = pl_host(w);
	if (!why)
		why = pl_guest(w);
	if (!why)
		why = pl_controls(w);
	if (!why && page[8] == 1)
		why = pl_launched(w);
	return why;
}

#undef V
#undef DEMAND
#endif
