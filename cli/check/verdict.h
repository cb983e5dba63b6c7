/* verdict.h: would a kernel take this nested state, and would the VM entry
 * succeed?  Joins the rules of the ioctl (convert/check/) with those of the VM
 * entry (hvcore/vmx_checks.h). */
#ifndef NSTATE_CLI_CHECK_VERDICT_H
#define NSTATE_CLI_CHECK_VERDICT_H

#include "cli/check/caps.h"
#include "convert/check/set_rules.h"
#include "hvcore/vmx_checks.h"

#define MAX_BROKEN 64

/* One rule that does not hold. */
struct broken {
	const char *id, *sentence, *where, *remedy; /* where: SDM section, or the
	                                             * ioctl */
	int field;                /* index, or -1 */
	uint64_t value;
	uint32_t offset, size;    /* bytes of the blob that it is about */
	struct lacking lacking[8]; /* capability bits that it comes down to */
	unsigned nlacking;
	char detail[160];         /* more to say, or empty */
	int result;               /* what the ioctl returns: -EINVAL, or 1 or 2 */
	uint64_t qualification;   /* of the exit, where a VM entry fails by one */
};

struct subject {
	const uint8_t *blob;
	uint32_t size;
	struct set_context set;      /* kernel is filled by verdict_kernel */
	struct vmx_check_ctx vmcs;   /* page NULL: there is no vmcs12 */
	const struct layout *from;   /* what it was found in, or NULL */
	struct vcpu *scratch;        /* to try the MSR area on, or NULL: no RAM */
};

enum verdict { V_ACCEPTED, V_WRONG, V_REFUSED };

/* What KVM_SET_NESTED_STATE of that kernel says; b: why it refuses, text: why it
 * is accepted but wrong. */
enum verdict verdict_kernel(const struct subject *s, uint32_t kernel,
			    struct broken *b, char *text, size_t len);

/* All of the SDM's rules that do not hold; returns how many. */
unsigned verdict_sdm(const struct subject *s, struct broken *b, unsigned max);

#endif
