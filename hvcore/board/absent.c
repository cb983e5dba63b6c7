/* absent.c: devices that the VM had and this board has not.  An access to one stops
 * the run before the instruction: reading all ones there would send the guest
 * another way than the real VM went.
 */
#include "hvcore/board/board.h"

static _Noreturn void stop(struct vcpu *c, const struct snapshot_region *r,
			   const char *what, uint64_t at)
{
	cpu_stop(c, HV_STOP_UNSUPPORTED, "%s %#llx is %s's, which this board has "
		 "not", what, (unsigned long long)at, r->device);
}

static uint64_t mmio_read(void *dev, struct vcpu *c, uint64_t off, unsigned size)
{
	const struct snapshot_region *r = dev;

	(void)size;
	stop(c, r, "memory", r->first + off);
}

static void mmio_write(void *dev, struct vcpu *c, uint64_t off, unsigned size,
		       uint64_t v)
{
	(void)v;
	mmio_read(dev, c, off, size);
}

void absent_io(struct vcpu *c, uint16_t port, unsigned size)
{
	const struct vm *vm = c->vm;
	bool data = port >= 0xcfc && port < 0xd00 && vm->board &&
		vm->board->pci_address >> 31;

	for (uint32_t i = 0; i < vm->nabsent; i++) {
		const struct snapshot_region *r = &vm->absent[i];

		if (r->kind == SR_PORTS && port < r->first + r->size &&
		    port + size > r->first)
			stop(c, r, "port", port);
		if (r->kind == SR_PCI && data &&
		    (vm->board->pci_address & 0xffff00) == r->first)
			stop(c, r, "PCI function", r->first);
	}
}

/* An id tells which address space; the name is the file's: for people only. */
void hv_stop_at_absent(struct vm *vm, const struct snapshot *s)
{
	unsigned room = sizeof vm->mmio / sizeof *vm->mmio;

	vm->absent = s->region;
	vm->nabsent = s->nregions;
	for (uint32_t i = 0; i < s->nregions && vm->nmmio < room; i++) {
		const struct snapshot_region *r = &s->region[i];

		if (r->kind == SR_MEMORY && r->size)
			vm->mmio[vm->nmmio++] = (struct mmio_region){
				.gpa = r->first, .size = r->size,
				.read = mmio_read, .write = mmio_write,
				.dev = (void *)(uintptr_t)r };
	}
}
