/* scan.h: the vmcs12 pages of a VM: in its nested states and in guest RAM.
 *
 * A page of RAM is a candidate when its first word is KVM's revision id (bit
 * 31 for shadow VMCSs aside); what it is follows from the nested states
 * (vmxon_pa, vmcs12_pa, link pointers) and from what it holds.  Facts:
 * arch/x86/kvm/vmx/nested.c; docs/formats.md.
 */
#ifndef NSTATE_CONVERT_SCAN_H
#define NSTATE_CONVERT_SCAN_H

#include <stdbool.h>
#include <stdint.h>

#include "convert/container.h"
#include "layouts/identify.h"

enum vmcs12_place { PLACE_STATE, PLACE_SHADOW_STATE, PLACE_RAM };

enum vmcs12_kind {
	VMCS12_CURRENT,  /* vmcs12 of a nested state */
	VMCS12_SHADOW,   /* shadow VMCS: bit 31 of the first word */
	VMCS12_ORDINARY, /* in RAM, not current anywhere */
	VMCS12_STALE,    /* in RAM, current on a vCPU: the nested state wins */
	VMCS12_STALE_SHADOW, /* in RAM, a running L2's shadow VMCS */
	VMCS12_EMPTY,    /* id and zeros: prepared, never loaded */
	VMCS12_VMXON,    /* a VMXON region */
	VMCS12_OTHER,    /* the id, but no vmcs12: a copy of something */
	VMCS12_EVMCS,    /* Hyper-V's enlightened VMCS; layout is evmcs_layout() */
	VMCS12_EVMCS_STATE, /* vmcs12 of a nested state with the EVMCS flag */
};

struct vmcs12_page {
	enum vmcs12_place place;
	enum vmcs12_kind kind;
	uint32_t state;        /* PLACE_*STATE: index of the container's state */
	int vcpu;              /* whose, or -1 */
	uint64_t gpa;          /* PLACE_RAM; of a state: vmcs12_pa or ~0 */
	uint64_t file_offset;  /* ~0: not stored plainly */
	enum identify_verdict verdict; /* of this page alone */
	const struct layout *layout;   /* CERTAIN: which */
	uint8_t data[VMCS12_SIZE];
};

/* More are no VM's; and each takes memory. */
#define SCAN_MAX_PAGES 16384u

struct scan {
	struct vmcs12_page *page;
	uint32_t n, room;
	uint64_t pages_seen;   /* of RAM */
	bool out_of_memory;
	bool too_many;         /* over SCAN_MAX_PAGES */
};

struct scan_options {
	bool ram;
	unsigned jobs;         /* threads; 0: as many as there are CPUs */
	struct container_progress progress; /* of RAM */
};

void scan_free(struct scan *s);

/* Whether a scan looks at this page any closer: what it names as the sieve of a
 * container that it is to have. */
bool scan_wants(const uint8_t *page);

/* Adds the pages of one nested state (its header's size or what there is,
 * whichever is less; SVM states have none). */
void scan_state(struct scan *s, const struct container_state *st,
		uint32_t index);
/* Adds the candidates of a run of RAM. */
void scan_run(struct scan *s, const struct container_run *run);
/* After all: judges every page and says what each is.  states: the same that
 * scan_state was given. */
void scan_classify(struct scan *s, const struct container_state *states,
		   uint32_t nstates);

/* All of a container: states, RAM, classification. */
enum nst_status scan_container(struct container *c, bool ram, struct scan *out,
			       struct nst_error *e);

enum nst_status scan_container_with(struct container *c,
				    const struct scan_options *o,
				    struct scan *out, struct nst_error *e);

const char *vmcs12_kind_name(enum vmcs12_kind k);

#endif
