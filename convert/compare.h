/* compare.h: are two snapshots the same state of the same VM?
 *
 * Compares registers, MSRs, XSAVE components, nested state by VMCS field and
 * all of RAM.  What differs from run to run on real hardware is left out
 * unless `strict`: the TSC and Hyper-V's clocks, and the three exit-information
 * fields that the SDM leaves undefined (compare.c lists them with reasons).
 * Both sides must already have one layout; see convert/load.h.
 */
#ifndef NSTATE_CONVERT_COMPARE_H
#define NSTATE_CONVERT_COMPARE_H

#include "layouts/layouts.h"
#include "layouts/snapshot.h"

#pragma GCC visibility push(default)

/* Told once for each difference: where ("vcpu 0 msr 0x174", "RAM page
 * 0x401000"), what each side has. */
typedef void compare_fn(void *arg, const char *where, const char *left,
			const char *right);

/* Calls fn for each difference; returns how many there were. */
unsigned snapshot_compare(const struct snapshot *a, const struct snapshot *b,
			  const struct layout *layout, bool strict,
			  compare_fn *fn, void *arg);

#pragma GCC visibility pop

#endif
