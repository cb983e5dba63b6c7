/* set_rules.h: would KVM_SET_NESTED_STATE take this state?
 *
 * The rules on the ioctl's own arguments, per kernel release, as one table
 * (set_rules.def).  The rules on the vmcs12's fields are the VM entry's, in
 * hvcore/vmx_checks.h.  Sources: the kernel trees named in set_rules.def.
 */
#ifndef NSTATE_CONVERT_SET_RULES_H
#define NSTATE_CONVERT_SET_RULES_H

#include <stdbool.h>
#include <stdint.h>

#define KERNEL(major, minor) ((uint32_t)((major) << 16 | (minor)))

struct set_context {
	const uint8_t *blob;
	uint32_t size;         /* bytes of blob that there are */
	uint32_t kernel;       /* KERNEL(6, 1) */
	bool has_vmx;          /* guest CPUID offers VMX */
	unsigned maxphyaddr;   /* guest's */
	bool in_smm;
	bool evmcs_enabled;    /* KVM_CAP_HYPERV_ENLIGHTENED_VMCS */
};

struct set_rule {
	const char *id;
	uint32_t since, until;
	int error;
	uint32_t offset, size; /* bytes of the blob that it is about */
	const char *sentence, *remedy;
	/* 1: holds; 0: broken; -1: holds and ends the list with success */
	int (*holds)(const struct set_context *x);
};

extern const struct set_rule set_rules[];
extern const unsigned set_rule_count;

/* The first rule that this kernel finds broken, or NULL: the arguments pass.
 * *checks_vmcs12: whether KVM goes on to the vmcs12's fields (guest mode). */
const struct set_rule *set_rules_first_broken(const struct set_context *x,
					      bool *checks_vmcs12);

/* What is accepted but wrong: fills text and returns true for the n-th such
 * remark (n from 0), false when there are no more. */
bool set_remark(const struct set_context *x, unsigned n, char *text,
		unsigned len);

/* "5.10", "6.1.0-47-amd64" to KERNEL(); 0 where it is no release. */
uint32_t kernel_parse(const char *release);

#endif
