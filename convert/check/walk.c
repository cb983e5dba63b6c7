/* walk.c: page-table walks over a snapshot's RAM, for nearby.c: without effects, and
 * with a reason where they end (SDM volume 3, chapters 4 and 29.3). */
#include "convert/check/nearby.h"

#define ADDR 0x000ffffffffff000ull
#define R 1u
#define W 2u
#define X 4u
#define LARGE 0x80u
#define SECONDARY_ON 0x80000000u
#define EPT_ON 2u
#define MBEC_ON (1u << 22)
#define IA32E (1u << 9)
#define CR0_PG (1ull << 31)
#define CR4_PSE (1ull << 4)
#define CR4_PAE (1ull << 5)
#define CR4_LA57 (1ull << 12)

static uint64_t get(const struct nearby_ctx *x, int field)
{
	return layout_has(x->l, field) ? layout_get(x->l, x->page, field) : 0;
}
#define V(NAME) get(x, VMCS_IDX_##NAME)

static uint32_t secondary(const struct nearby_ctx *x)
{
	return V(CPU_BASED_VM_EXEC_CONTROL) & SECONDARY_ON ?
		(uint32_t)V(SECONDARY_VM_EXEC_CONTROL) : 0;
}

/* -- EPT --------------------------------------------------------------------------------- */
/* 29.3.3.1; NULL: nothing wrong. */
static const char *misconfigured(const struct nearby_ctx *x, uint64_t e,
				 unsigned level, bool leaf)
{
	uint64_t beyond = ADDR & ~((1ull << x->maxphyaddr) - 1);
	unsigned type = e >> 3 & 7;

	if (e & W && !(e & R))
		return "writable and not readable";
	if (!(e & R) && !(x->ept_caps & 1))
		return "execute-only, which the processor does not offer";
	if (e & beyond)
		return "an address beyond the physical-address width";
	if (leaf && (type == 2 || type == 3 || type == 7))
		return "no memory type";
	if (leaf)
		return e & ((1ull << (12 + 9 * (level - 1))) - 0x1000) ?
			"reserved bits of a large page's address are set" : NULL;
	if (e & LARGE)
		return level == 3 ? "a 1 GiB page, which the processor does not "
			"offer" : level == 2 ? "a 2 MiB page, which the processor "
			"does not offer" : "a page size that there is not";
	return e & 0x78 ? "reserved bits 6:3 are set" : NULL;
}

static bool may_be_large(const struct nearby_ctx *x, unsigned level)
{
	return level == 2 ? x->ept_caps >> 16 & 1 :
	       level == 3 ? x->ept_caps >> 17 & 1 : false;
}

enum walk_end nearby_ept(const struct nearby_ctx *x, uint64_t gpa, struct walk *w)
{
	uint64_t eptp = V(EPT_POINTER), table = eptp & ADDR;
	uint64_t present = R | W | X | (secondary(x) & MBEC_ON ? 1u << 10 : 0);
	unsigned level = (eptp >> 3 & 7) + 1;

	*w = (struct walk){ .to = gpa };
	if (!(secondary(x) & EPT_ON))
		return WALK_OK;
	if (level > 5 || gpa >> (12 + 9 * level))
		return WALK_ABSENT;
	for (;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		bool leaf;

		w->level = level;
		w->at = table + (gpa >> shift & 511) * 8;
		if (!x->read(x->arg, w->at, &w->entry, 8))
			return WALK_NO_RAM;
		if (!(w->entry & present))
			return WALK_ABSENT;
		leaf = level == 1 || (w->entry & LARGE && may_be_large(x, level));
		w->why = misconfigured(x, w->entry, level, leaf);
		if (w->why)
			return WALK_MISCONFIG;
		table = w->entry & ADDR;
		if (!leaf)
			continue;
		w->to = (table & ~((1ull << shift) - 1)) |
			(gpa & ((1ull << shift) - 1));
		return WALK_OK;
	}
}

/* -- L2's page tables --------------------------------------------------------------------- */
static enum walk_end entry(const struct nearby_ctx *x, uint64_t gpa, unsigned bytes,
			   uint64_t *e, struct walk *w)
{
	enum walk_end end = nearby_ept(x, gpa, w);

	*e = 0;
	if (end == WALK_OK && !x->read(x->arg, w->to, e, bytes))
		end = WALK_NO_RAM;
	return end;
}

static enum walk_end walk32(const struct nearby_ctx *x, uint64_t lin, uint64_t *gpa,
			    bool *mapped, struct walk *w)
{
	uint64_t e;
	enum walk_end end = entry(x, (V(GUEST_CR3) & 0xfffff000) +
				  (lin >> 22 & 1023) * 4, 4, &e, w);

	if (end || !(e & 1))
		return end;
	if (e & LARGE && V(GUEST_CR4) & CR4_PSE) {
		*mapped = true;
		*gpa = (e & 0xffc00000) | (e >> 13 & 0xff) << 32 |
			(lin & 0x3fffff);
		return end;
	}
	end = entry(x, (e & 0xfffff000) + (lin >> 12 & 1023) * 4, 4, &e, w);
	*mapped = !end && e & 1;
	*gpa = (e & 0xfffff000) | (lin & 0xfff);
	return end;
}

/* The PDPTE of PAE paging: from the vmcs12 with EPT, from memory without. */
static enum walk_end pdpte(const struct nearby_ctx *x, uint64_t lin, uint64_t *e,
			   struct walk *w)
{
	unsigned n = lin >> 30 & 3;

	if (!(secondary(x) & EPT_ON))
		return entry(x, (V(GUEST_CR3) & 0xffffffe0) + n * 8, 8, e, w);
	*e = n == 0 ? V(GUEST_PDPTR0) : n == 1 ? V(GUEST_PDPTR1) :
		n == 2 ? V(GUEST_PDPTR2) : V(GUEST_PDPTR3);
	return WALK_OK;
}

static enum walk_end walk64(const struct nearby_ctx *x, uint64_t lin, uint64_t *gpa,
			    bool *mapped, struct walk *w)
{
	bool ia32e = V(VM_ENTRY_CONTROLS) & IA32E;
	unsigned level = !ia32e ? 2 : V(GUEST_CR4) & CR4_LA57 ? 5 : 4;
	uint64_t table = V(GUEST_CR3) & ADDR, e;

	if (!ia32e) {
		enum walk_end end = pdpte(x, lin, &e, w);

		if (end || !(e & 1))
			return end;
		table = e & ADDR;
	}
	for (;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		enum walk_end end = entry(x, table + (lin >> shift & 511) * 8, 8,
					  &e, w);

		if (end || !(e & 1))
			return end;
		table = e & ADDR;
		if (level > 1 && !(e & LARGE && level <= 3))
			continue;
		*mapped = true;
		*gpa = (table & ~((1ull << shift) - 1)) |
			(lin & ((1ull << shift) - 1));
		return WALK_OK;
	}
}

enum walk_end nearby_paging(const struct nearby_ctx *x, uint64_t lin,
			    uint64_t *gpa, bool *mapped, struct walk *w)
{
	*mapped = false;
	*gpa = lin;
	*w = (struct walk){ 0 };
	if (!(V(GUEST_CR0) & CR0_PG)) {
		*mapped = true;
		return WALK_OK;
	}
	return V(GUEST_CR4) & CR4_PAE ? walk64(x, lin, gpa, mapped, w) :
		walk32(x, lin, gpa, mapped, w);
}
