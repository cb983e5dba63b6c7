/* nearby.h: does what a vmcs12 points at fit?  EPT tables, bitmaps, MSR areas, the
 * other VMCSs of the VM, as far as RAM is there.  The rules: nearby.def. */
#ifndef NSTATE_CONVERT_NEARBY_H
#define NSTATE_CONVERT_NEARBY_H

#include <stdbool.h>
#include <stdint.h>

#include "layouts/layouts.h"

struct nearby_ctx {
	const struct layout *l;
	const uint8_t *page;     /* the vmcs12 */
	uint64_t vmxon_pa, vmcs12_pa; /* ~0: none */
	bool l2_active;          /* the guest state is L2's own, not L1's draft */
	bool no_deadline;        /* from a container that drops it */
	uint32_t source;         /* KERNEL() that saved it; 0: not known */
	unsigned maxphyaddr;
	uint64_t ept_caps, misc; /* IA32_VMX_EPT_VPID_CAP, IA32_VMX_MISC */
	/* Reads guest RAM; false: not all of it is there. */
	bool (*read)(void *arg, uint64_t gpa, void *buf, unsigned len);
	void *arg;
	/* VMCSs current on other vCPUs; then all VMCS pages found in RAM. */
	const uint64_t *current, *vmcs;
	unsigned ncurrent, nvmcs;
};

enum nearby_severity { NEAR_NOTE, NEAR_WARNING, NEAR_WRONG };

struct nearby_rule {
	const char *id;
	enum nearby_severity severity;
	const char *sentence, *remedy;
};
extern const struct nearby_rule nearby_rules[];
extern const unsigned nearby_rule_count;

struct nearby_found {
	const struct nearby_rule *rule;
	int field;             /* index, or -1 */
	uint64_t value;
	char detail[200];
};
#define NEARBY_MOST 64

/* Fills out (room for NEARBY_MOST) and returns how many rules are broken. */
unsigned nearby_check(const struct nearby_ctx *x, struct nearby_found *out);

/* -- walks --------------------------------------------------------------------------- */
enum walk_end { WALK_OK, WALK_ABSENT, WALK_MISCONFIG, WALK_NO_RAM };
struct walk {
	uint64_t to;           /* L1-physical address reached (WALK_OK) */
	uint64_t at, entry;    /* the EPT entry where it ended */
	unsigned level;
	const char *why;       /* of a misconfiguration */
};
/* L2-physical to L1-physical by the vmcs12's EPT (or as it is, without EPT). */
enum walk_end nearby_ept(const struct nearby_ctx *x, uint64_t gpa, struct walk *w);
/* L2-linear to L2-physical by L2's page tables; *mapped: they map it.  The result is
 * of the EPT walks on the way. */
enum walk_end nearby_paging(const struct nearby_ctx *x, uint64_t lin,
			    uint64_t *gpa, bool *mapped, struct walk *w);

#endif
