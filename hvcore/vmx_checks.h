/* vmx_checks.h: the checks of a VM entry, as one table (vmx/checks.def), for the
 * core, which fails an entry by it, and for `nstate check`, which explains one.
 *
 * SDM volume 3, chapter 27 (checks on VMX controls, host state, guest state).
 * A check looks at a vmcs12 page and the capability MSRs, never at a vCPU.
 */
#ifndef NSTATE_HVCORE_VMX_CHECKS_H
#define NSTATE_HVCORE_VMX_CHECKS_H

#include "layouts/layouts.h"

/* IA32_VMX_BASIC (0x480) to IA32_VMX_EXIT_CTLS2 (0x493). */
#define VMX_CAPS_FIRST 0x480u
#define VMX_CAPS_COUNT 20u
struct vmx_caps {
	uint64_t msr[VMX_CAPS_COUNT];
};
static inline uint64_t vmx_cap(const struct vmx_caps *caps, uint32_t index)
{
	return caps->msr[index - VMX_CAPS_FIRST];
}
/* The recommended maximum of entries in an MSR area (A.6). */
static inline uint32_t vmx_most_msrs(const struct vmx_caps *caps)
{
	return 512 * ((vmx_cap(caps, 0x485) >> 25 & 7) + 1);
}
/* 0x481 to 0x484 from the TRUE MSRs and the default1 bits; 0x487 all ones. */
void vmx_caps_complete(struct vmx_caps *caps);
/* Allowed-0 and allowed-1 settings of the control field with this index
 * (VMCS_IDX_PIN_BASED_VM_EXEC_CONTROL...): TRUE MSRs where there are. */
void vmx_caps_allowed(const struct vmx_caps *caps, int control,
		      uint32_t *must, uint32_t *may);

struct vcpu;
struct vmx_check_ctx;
/* Everything but the page from a core vCPU: its CPU model, its VM's RAM. */
void hv_check_context(struct vcpu *c, const uint8_t *page, uint64_t vmcs_pa,
		      struct vmx_check_ctx *out);
bool hv_cpu_has_vmx(const struct vcpu *c);

/* A named model ("full", "kvm-6.1"): caps.def.  False: none of that name. */
bool vmx_caps_model(const char *name, struct vmx_caps *out);
/* The n-th name, or NULL. */
const char *vmx_caps_name(unsigned n);

/* Groups: what has to be checked again when a field changes. */
enum vmx_check_group { CHECK_CONTROLS = 1, CHECK_HOST = 2, CHECK_GUEST = 4,
		       CHECK_ALL = 7,
		       CHECK_LOAD = 8 /* vmx_msr_check alone */ };

struct vmx_check_ctx {
	const struct layout *l;
	const uint8_t *page;           /* the vmcs12 */
	const struct vmx_caps *caps;
	unsigned maxphyaddr;
	bool long_mode;                /* the processor has Intel 64 */
	unsigned linear_bits;          /* 48 or 57: CR4.LA57 supported */
	uint64_t cr4_reserved;         /* bits the CPU does not know */
	uint64_t efer_reserved;
	uint64_t perf_reserved;        /* of IA32_PERF_GLOBAL_CTRL */
	bool host_lma;                 /* of the processor at the entry */
	bool has_rtm;                  /* pending debug exceptions bit 16 */
	bool msr_counts;               /* the L0 refuses MSR areas that are longer
	                                * than recommended: KVM since 6.16 */
	/* Reads guest RAM; false: not there.  NULL: no RAM to look at. */
	bool (*read)(void *arg, uint64_t gpa, void *buf, unsigned len);
	void *arg;
	uint64_t current;              /* address of this VMCS, ~0: unknown */
	/* NULL, or VMCS_FIELD_COUNT flags: set for each field that a check reads,
	 * so that a caller who knows some fields only can tell what a verdict
	 * rests on. */
	bool *seen;
};

/* The three ways in which a broken check ends an entry. */
struct vmx_check {
	const char *id;        /* "ctl-pin-reserved" */
	const char *section;   /* "27.2.1.1" */
	const char *sentence;  /* what must hold */
	int field;             /* index of the field it is about */
	uint8_t group;         /* enum vmx_check_group */
	/* Controls: 7, host: 8 (VM-instruction error); guest: 0, and the exit
	 * qualification is below (exit reason 33). */
	uint8_t error;
	uint8_t qualification;
	uint16_t kvm;          /* first kernel whose KVM_SET_NESTED_STATE makes
	                        * this check (major << 8 | minor); 0: none */
};

bool vmx_check_holds(const struct vmx_check *check,
		     const struct vmx_check_ctx *x);

extern const struct vmx_check vmx_checks[];
extern const unsigned vmx_check_count;

/* The checks that look at guest RAM: the VMCS that the link pointer names, the
 * PDPTEs.  They are no part of vmx_checks' groups. */
#define VMX_MEMORY_CHECKS 2u
extern const struct vmx_check vmx_memory_checks[VMX_MEMORY_CHECKS];
bool vmx_memory_check_holds(const struct vmx_check *check,
			    const struct vmx_check_ctx *x);
/* The first of them that fails, or NULL. */
const struct vmx_check *vmx_check_memory(const struct vmx_check_ctx *x);

/* The last step of an entry that can fail: loading the MSR area, with exit reason 34
 * and the entry's number, from 1, as qualification. */
extern const struct vmx_check vmx_msr_check;
/* Loads the guest state and the MSR area of a vmcs12 that passes all checks, as an
 * entry does.  c is one kept for this: its state is lost.  Returns the number of the
 * entry that cannot be loaded, or 0. */
uint32_t hv_entry_msrs(struct vcpu *c, const uint8_t *page);

/* The first check of these groups that fails, in the SDM's order, or NULL. */
const struct vmx_check *vmx_check_first(const struct vmx_check_ctx *x,
					unsigned groups);

#endif
