/* around.h: the neighbourhood of a vmcs12 (convert/check/nearby.h), looked at and told:
 * guest RAM, other VMCSs, the destination's capability MSRs. */
#ifndef NSTATE_CLI_CHECK_AROUND_H
#define NSTATE_CLI_CHECK_AROUND_H

#include "cli/check/verdict.h"
#include "cli/out.h"
#include "convert/load.h"

/* The addresses of all pages of RAM that begin as a VMCS does. */
struct around {
	const struct loaded *in;
	uint64_t *vmcs, *current;  /* current: by vCPU, ~0 where there is none */
	unsigned nvmcs;
	bool no_deadline;          /* the container has no place for it */
	uint32_t source;           /* KERNEL() that saved it, or 0 */
};
bool around_open(struct around *a, const struct loaded *in);
void around_close(struct around *a);

/* Tells what is wrong round vCPU i's vmcs12; other_cpu: s is for another CPU than the
 * file's.  False: the VM would not run as it did. */
bool around_tell(const struct around *a, uint32_t i, const struct subject *s,
		 bool other_cpu, struct out *out);

#endif
