/* tlb.h: the TLB pool, walks and physical memory; private to hvcore/mem/. */
#ifndef NSTATE_HVCORE_MEM_TLB_H
#define NSTATE_HVCORE_MEM_TLB_H

#include "hvcore/mem.h"
#include "hvcore/parts.h"

/* The flags byte of the page at gpa, or NULL where there is no RAM. */
uint8_t *phys_flags(struct vm *vm, uint64_t gpa);
const struct mmio_region *phys_mmio(const struct vm *vm, uint64_t gpa);
/* After a write to RAM at [gpa, gpa+len), within one page. */
void phys_written(struct vcpu *c, uint64_t gpa, unsigned len);

#endif
