/* run.h: between the run loop and the exits of blocks. */
#ifndef NSTATE_HVCORE_EXEC_RUN_H
#define NSTATE_HVCORE_EXEC_RUN_H

#include "hvcore/exec/block.h"

/* Under MODE_CET, before b is entered other than by a direct branch. */
void exec_check_endbr(struct vcpu *c, const struct block *b);

#endif
