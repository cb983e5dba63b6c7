/* snapshot.h: all that is needed to go on running a VM, in KVM's own structs.
 *
 * This is what passes between the readers of files (convert/), the core
 * (hvcore/) and real KVM.  Plain data; snapshot.c only allocates and frees.
 */
#ifndef NSTATE_LAYOUTS_SNAPSHOT_H
#define NSTATE_LAYOUTS_SNAPSHOT_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)

/* ELF note types under the name "KVM"; see nstate-snapshot(5). */
enum snapshot_note {
	SN_REGS = 1, SN_SREGS, SN_SREGS2, SN_MSRS, SN_XSAVE, SN_XCRS, SN_EVENTS,
	SN_DEBUGREGS, SN_MP_STATE, SN_LAPIC, SN_CPUID, SN_NESTED, SN_ORIGIN,
	SN_IRQCHIP, SN_PIT, SN_CLOCK, SN_TSC_KHZ,
};

/* A note that this program does not know, or the core's own ("NSTATE"),
 * kept as it is. */
struct snapshot_extra {
	char name[16];
	uint32_t type, vcpu, size;
	uint8_t *data;
};

struct snapshot_vcpu {
	uint32_t have;             /* bit (1 << SN_x): that struct is there */
	struct kvm_regs regs;      /* L2's while L2 is active */
	struct kvm_sregs sregs;
	struct kvm_sregs2 sregs2;  /* preferred over sregs */
	struct kvm_msr_entry *msrs;
	uint32_t nmsrs;
	uint8_t *xsave;            /* KVM_GET_XSAVE(2): standard format */
	uint32_t xsave_size;
	struct kvm_xcrs xcrs;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debugregs;
	struct kvm_mp_state mp_state;
	struct kvm_lapic_state lapic;
	struct kvm_cpuid_entry2 *cpuid;
	uint32_t ncpuid;
	uint8_t *nested;           /* struct kvm_nested_state, whole buffer */
	uint32_t nested_size;      /* bytes there are */
	uint32_t tsc_khz;
};

/* One run of guest RAM.  host points to size bytes (mapped or allocated by
 * whoever made the snapshot), page-aligned. */
struct snapshot_ram {
	uint64_t gpa, size;
	uint8_t *host;
};

/* Devices that KVM has no struct for, as QEMU's sections hold them. */
struct snapshot_rtc { uint8_t cmos[128], index; };
struct snapshot_uart {
	uint16_t divider;
	uint8_t rbr, ier, iir, lcr, mcr, lsr, msr, scr, fcr;
};

/* Where a device of the VM answers that the core's board has not: ports, memory,
 * or PCI configuration space (first: bits 23:8 of the address register). */
enum snapshot_region_kind { SR_PORTS = 1, SR_MEMORY, SR_PCI, SR_NOWHERE };
#define SNAPSHOT_MAX_REGIONS 1024
struct snapshot_region {
	char device[44];
	uint32_t kind;
	uint64_t first, size;
};

struct snapshot {
	struct snapshot_vcpu *vcpu;
	uint32_t nvcpus;
	struct snapshot_ram *ram;  /* sorted by gpa, not overlapping */
	uint32_t nram;
	char *origin;              /* key=value lines, or NULL */
	uint32_t have;             /* VM-level: SN_IRQCHIP, SN_PIT, SN_CLOCK */
	struct kvm_irqchip irqchip[3];
	bool have_irqchip[3];
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock;
	bool have_rtc, have_uart;
	struct snapshot_rtc rtc;
	struct snapshot_uart uart;
	struct snapshot_region *region; /* of absent devices */
	uint32_t nregions;
	struct snapshot_extra *extra;
	uint32_t nextra;
	bool share_ram;            /* RAM is made such that a child's writes show */
	/* Called by snapshot_free for whatever backs ram[] and the rest. */
	void (*release)(struct snapshot *);
	void *backing;
};

static inline bool snapshot_has(const struct snapshot_vcpu *v,
				enum snapshot_note n)
{
	return v->have >> n & 1;
}

struct snapshot *snapshot_new(uint32_t nvcpus);
void snapshot_free(struct snapshot *s);

/* Finds an MSR's entry in the list, or NULL. */
struct kvm_msr_entry *snapshot_msr(const struct snapshot_vcpu *v,
				   uint32_t index);
/* Frees what v points to: MSRs, XSAVE, CPUID, nested state.  Its registers stay. */
void snapshot_vcpu_clear(struct snapshot_vcpu *v);
/* Copies the value of "key=" in origin into buf; false if there is none. */
bool snapshot_origin(const struct snapshot *s, const char *key, char *buf,
		     size_t len);
/* Adds a region; false: out of memory, or more than any real VM has. */
bool snapshot_add_region(struct snapshot *s, const char *device,
			 enum snapshot_region_kind kind, uint64_t first,
			 uint64_t size);
/* Host pointer to guest-physical [gpa, gpa+len), or NULL where not all is in
 * one run. */
uint8_t *snapshot_ram_at(const struct snapshot *s, uint64_t gpa, uint64_t len);

#pragma GCC visibility pop

#endif
