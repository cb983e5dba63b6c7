/* subject.h: what is judged, out of a snapshot's vCPU: its nested state, and the CPU
 * that it is to run on, as a vCPU of the core. */
#ifndef NSTATE_CLI_CHECK_SUBJECT_H
#define NSTATE_CLI_CHECK_SUBJECT_H

#include "cli/check/caps.h"
#include "cli/check/verdict.h"

/* A vCPU with the CPUID and the capability MSRs of v's guest, of a named model, or of
 * v's guest on a destination (model and dest may be NULL).  fallback: the model where
 * v has no CPUID table. */
enum nst_status subject_cpu(const struct snapshot_vcpu *v, const char *model,
			    const char *fallback,
			    const struct caps_file *dest, struct vm *vm,
			    struct vcpu **out, struct nst_error *e);

/* v, c and dest must outlive s.  from: the layout that v's vmcs12 had, or NULL;
 * ram: the VM of c has the guest's RAM. */
void subject_fill(const struct snapshot_vcpu *v, const struct layout *from,
		  bool ram, struct vcpu *c, const struct caps_file *dest,
		  struct subject *s);

#endif
