/* cpu_model.h: a CPU model as the command line names it. */
#ifndef NSTATE_CLI_CPU_MODEL_H
#define NSTATE_CLI_CPU_MODEL_H

#include "hvcore/hvcore.h"

/* "MODEL", or "MODEL,-feature,+feature...": the model with CPUID bits taken
 * away or added. */
enum nst_status cpu_model_set(struct vcpu *c, const char *text,
			      struct nst_error *e);
/* Names of models and features, for people. */
void cpu_model_list(void);

#endif
