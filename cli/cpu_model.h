/* cpu_model.h: a CPU model as the command line names it. */
#ifndef NSTATE_CLI_CPU_MODEL_H
#define NSTATE_CLI_CPU_MODEL_H

#include "hvcore/hvcore.h"

/* "MODEL", or "MODEL,-feature,+feature...": the model with CPUID bits taken
 * away or added. */
enum nst_status cpu_model_set(struct vcpu *c, const char *text,
			      struct nst_error *e);
/* What the vCPUs of s are to be, where s has no CPUID table of theirs: a model, after
 * the name in s's origin where that is known.  why gets a line that tells people so.
 * NULL, and an empty line, where s has the table. */
const char *cpu_model_of(const struct snapshot *s, char *why, size_t len);
/* Names of models and features, for people. */
void cpu_model_list(void);

#endif
