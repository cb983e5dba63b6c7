/* evmcs.h: Hyper-V's enlightened VMCS: shown, never remapped. */
#ifndef NSTATE_CONVERT_EVMCS_H
#define NSTATE_CONVERT_EVMCS_H

#include <stdbool.h>
#include <stdint.h>

#include "layouts/layouts.h"

/* Its fields, as a layout ("evmcs"). */
const struct layout *evmcs_layout(void);
/* Whether a page of RAM is one that a hypervisor has filled in.  Its first word
 * is version 1, or KVM's revision id where Hyper-V put that there. */
bool evmcs_is(const uint8_t *page);

#endif
