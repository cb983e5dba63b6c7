/* caps.h: what a processor, or the KVM of a host, offers L1: the capability MSRs and
 * the CPUID leaves that the rules look at; as a file, and compared.
 *
 * The file (nstate-caps(1)) has a line an MSR, "0x48b 0x...", and a line a leaf,
 * "cpuid 0x7 0x0 EAX EBX ECX EDX"; '#' begins a comment. */
#ifndef NSTATE_CLI_CHECK_CAPS_H
#define NSTATE_CLI_CHECK_CAPS_H

#include <stdio.h>

#include "hvcore/hvcore.h"
#include "hvcore/vmx_checks.h"

#define CAPS_LEAVES 8
struct caps_file {
	struct vmx_caps caps;
	struct kvm_cpuid_entry2 leaf[CAPS_LEAVES]; /* none: keep the guest's */
	unsigned nleaves;
	char origin[200];
};

enum nst_status caps_read(const char *path, struct caps_file *out,
			  struct nst_error *e);
void caps_write(const struct caps_file *c, FILE *f);
/* What the KVM of this host offers: needs to open /dev/kvm, no root. */
enum nst_status caps_of_host(struct caps_file *out, struct nst_error *e);
/* What a vCPU of the core has. */
enum nst_status caps_of_vcpu(struct vcpu *c, struct caps_file *out,
			     struct nst_error *e);
/* CPUID and MSRs into a vCPU: what the file says of them. */
enum nst_status caps_to_vcpu(const struct caps_file *in, struct vcpu *c,
			     struct nst_error *e);

const char *caps_msr_name(uint32_t index);

/* A bit that is asked for and not offered. */
struct lacking {
	uint32_t index;        /* the MSR that does not offer it */
	unsigned bit;
	bool must;             /* it is clear and must be set here */
	const char *name;      /* the SDM's, or NULL */
	const char *qemu;      /* QEMU's property and libvirt's feature, or NULL */
};
#define MOST_LACKING 32

/* Which bits break this check, where it is about capabilities; how many. */
unsigned caps_lacking(const struct vmx_check *check, const struct vmx_check_ctx *x,
		      struct lacking *out, unsigned max);
/* What source promises and destination does not have: KVM_SET_MSRS of the source's
 * capability MSRs fails there. */
unsigned caps_compare(const struct vmx_caps *source, const struct vmx_caps *dest,
		      struct lacking *out, unsigned max);
/* "vmx-pml=off" and libvirt's line; false: nothing turns the bit off. */
bool caps_remedy(const struct lacking *l, char *text, size_t len);

#endif
