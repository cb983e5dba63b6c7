/* sys.h: between the files of hvcore/sys/, and what they need of mem/ and
 * exec/ to make and free a vCPU. */
#ifndef NSTATE_HVCORE_SYS_SYS_H
#define NSTATE_HVCORE_SYS_SYS_H

#include "hvcore/insn.h"
#include "hvcore/mem.h"
#include "hvcore/parts.h"

/* -- model.c ---------------------------------------------------------------- */
struct cpu_model *model_new(void);
void model_free(struct cpu_model *m);

/* -- state.c ---------------------------------------------------------------- */
void regs_load(struct vcpu *c, const struct kvm_regs *r);

#endif
