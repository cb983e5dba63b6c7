/* from_dir.h: a directory of KVM's raw structs, one file each, as a snapshot.
 *
 * Files are named as the structs are: regs, sregs, sregs2, msrs, xsave, xcrs,
 * vcpu_events, debugregs, mp_state, lapic_state, cpuid2, nested_state, tsc_khz
 * (each perhaps with ".bin"), in DIR or DIR/vcpuN; irqchip0 to irqchip2,
 * pit_state2, clock_data, origin in DIR; RAM as ram (from address 0) or
 * ram-0xADDRESS.
 */
#ifndef NSTATE_CONVERT_FROM_DIR_H
#define NSTATE_CONVERT_FROM_DIR_H

#include "layouts/error.h"
#include "layouts/snapshot.h"

enum nst_status snapshot_from_dir(const char *dir, struct snapshot **out,
				  struct nst_error *e);

#endif
