/* load.h: a container as a snapshot that can run: everything loaded, and every
 * vmcs12 (current, shadow, in RAM) in layout_union().  The
 * file itself is never changed.
 */
#ifndef NSTATE_CONVERT_LOAD_H
#define NSTATE_CONVERT_LOAD_H

#include "layouts/error.h"
#include "layouts/layouts.h"
#include "layouts/snapshot.h"

#pragma GCC visibility push(default)

struct loaded {
	struct snapshot *snapshot;
	const struct layout *layout; /* of every vmcs12 in it now */
	const struct layout *from;   /* what it had; NULL: nothing to decide */
	unsigned pages;              /* remapped, nested states included */
	char note[256];              /* for people: what was converted */
};

/* Guest RAM in a file of its own, for containers that have none. */
struct load_ram { const char *path; uint64_t gpa; };

#define LOAD_MAX_RAM 32
struct load_options {
	const struct layout *from;   /* NULL: to be identified */
	const struct load_ram *ram;  /* in rising order of gpa */
	unsigned nram;
	/* Files with a raw struct kvm_regs and kvm_sregs of vCPU 0, or NULL. */
	const char *regs, *sregs;
	bool share_ram;              /* see snapshot.h */
	bool for_check;              /* RAM and registers may be missing, and
	                              * nested states contradict themselves */
};

/* Registers that the container lacks, from the vmcs12's guest state where L2 is
 * active; says so in out->note. */
enum nst_status load_complete(struct loaded *out, struct nst_error *e);

enum nst_status load_converted(const char *path, const struct load_options *o,
			       struct loaded *out, struct nst_error *e);

#pragma GCC visibility pop

#endif
