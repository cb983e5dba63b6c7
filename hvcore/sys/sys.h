/* sys.h: between the files of hvcore/sys/ and hvcore/event/. */
#ifndef NSTATE_HVCORE_SYS_SYS_H
#define NSTATE_HVCORE_SYS_SYS_H

#include "hvcore/insn.h"
#include "hvcore/mem.h"
#include "hvcore/parts.h"
#include "hvcore/sys/bits.h"

/* -- model.c ---------------------------------------------------------------- */
/* One instruction is one tick; a guest sees a CPU of this many kHz. */
#define MODEL_TSC_KHZ 1000000u
#define MODEL_HOT 8

struct model_value { uint32_t index; uint64_t value; };

struct cpu_model {
	const char *name;                /* NULL: from a snapshot */
	struct kvm_cpuid_entry2 *cpuid;  /* as given */
	unsigned ncpuid, maxphyaddr;
	uint64_t cr4_reserved;
	bool amd;                        /* by CPUID's vendor string */
	uint32_t hot[MODEL_HOT][4];
	struct model_value *kept;        /* MSRs without a place in the vCPU */
	unsigned nkept;
	/* The snapshot that it came from, to give back the same shape. */
	struct kvm_msr_entry *order;     /* its MSR list */
	unsigned norder;
	bool loaded;
	uint32_t have;
	struct kvm_sregs sregs;
	struct kvm_sregs2 sregs2;
	struct kvm_xcrs xcrs;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debugregs;
	uint8_t *nested;
	uint32_t nested_size;
	uint32_t xsave_size;
};

struct cpu_model *model_new(void);
void model_free(struct cpu_model *m);
bool model_set_cpuid(struct vcpu *c, const struct kvm_cpuid_entry2 *e,
		     unsigned n);
bool model_msr_set(struct vcpu *c, uint32_t index, uint64_t v);

/* -- msr.c ------------------------------------------------------------------ */
/* As the host sees them: no reserved-bit faults, read-only ones writable.
 * False: there is no such MSR. */
bool msr_host_read(struct vcpu *c, uint32_t index, uint64_t *v);
bool msr_host_write(struct vcpu *c, uint32_t index, uint64_t v);
/* The n-th MSR of the list that a vCPU without a snapshot saves; ~0: end. */
uint32_t msr_listed(unsigned n);
bool msr_offered(const struct vcpu *c, uint32_t index);
void msr_reset(struct vcpu *c, bool init);

/* -- state.c ---------------------------------------------------------------- */
void regs_load(struct vcpu *c, const struct kvm_regs *r);

/* -- cr.c ------------------------------------------------------------------- */
void cr4_refresh(struct vcpu *c);            /* after CPUID has changed */
bool efer_valid(const struct vcpu *c, uint64_t v);
void efer_load(struct vcpu *c, uint64_t v);  /* no checks but LMA's rule */

/* -- event/segment.c -------------------------------------------------------- */
struct descriptor { uint32_t lo, hi; uint64_t base_hi; };
void set_segment_base(struct vcpu *c, int seg, uint64_t base);

#endif
