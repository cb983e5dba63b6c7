/* vm.c: the VM as an object: RAM slots, vCPUs, stops, the debugger's view.
 *
 * Owns struct vm's slots and vCPUs.  Running is board/run.c's; a vCPU's state
 * as KVM structs is sys/state_*.c's.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "hvcore/mem/tlb.h"
#include "hvcore/sys/sys.h"

#define MAX_SLOTS 4096

struct vm *hv_vm_new(const struct hv_ops *ops)
{
	struct vm *vm = calloc(1, sizeof *vm);

	if (!vm)
		return NULL;
	if (ops)
		vm->ops = *ops;
	vm->seed = 0x9e3779b97f4a7c15ull;
	vm->exit_limit = ~0ull;
	vm->board = board_new(vm);
	if (!vm->board) {
		hv_vm_free(vm);
		return NULL;
	}
	return vm;
}

static void free_vcpu(struct vcpu *c)
{
	if (c->vmx)
		vmx_free_vcpu(c);
	if (c->fp)
		fp_free_vcpu(c);
	if (c->lapic)
		lapic_free(c->lapic);
	mem_free_vcpu(c);
	model_free(c->model);
	free(c);
}

void hv_vm_free(struct vm *vm)
{
	if (!vm)
		return;
	for (unsigned i = 0; i < vm->nvcpus; i++)
		free_vcpu(vm->vcpus[i]);
	if (vm->blocks)
		block_cache_free(vm->blocks);
	if (vm->board)
		board_free(vm->board);
	for (unsigned i = 0; i < vm->nslots; i++)
		free(vm->slots[i].flags);
	free(vm->slots);
	free(vm);
}

static bool bad_range(uint64_t gpa, uint64_t size)
{
	return (gpa | size) & PAGE_MASK || !size || gpa + size < gpa ||
	       (gpa + size - 1) >> 52;
}

enum nst_status hv_map_ram(struct vm *vm, uint64_t gpa, uint64_t size,
			   void *host, struct nst_error *e)
{
	struct ram_slot *slots;
	uint8_t *flags;
	unsigned at = 0;

	if (bad_range(gpa, size))
		return nst_fail(e, NST_BAD_INPUT, "RAM at %#llx, %#llx bytes: "
				"not whole pages below 2^52",
				(unsigned long long)gpa,
				(unsigned long long)size);
	if (vm->nslots == MAX_SLOTS)
		return nst_fail(e, NST_BAD_INPUT, "more than %d runs of RAM",
				MAX_SLOTS);
	while (at < vm->nslots && vm->slots[at].gpa < gpa)
		at++;
	if ((at && vm->slots[at - 1].gpa + vm->slots[at - 1].size > gpa) ||
	    (at < vm->nslots && vm->slots[at].gpa < gpa + size))
		return nst_fail(e, NST_BAD_INPUT, "RAM at %#llx overlaps",
				(unsigned long long)gpa);
	flags = calloc(size >> PAGE_BITS, 1);
	slots = realloc(vm->slots, (vm->nslots + 1) * sizeof *slots);
	if (slots)
		vm->slots = slots;
	if (!flags || !slots) {
		free(flags);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	memmove(slots + at + 1, slots + at, (vm->nslots - at) * sizeof *slots);
	slots[at] = (struct ram_slot){ gpa, size, host, flags };
	vm->nslots++;
	for (unsigned i = 0; i < vm->nvcpus; i++)
		mem_flush_all(vm->vcpus[i]);
	return NST_OK;
}

struct vcpu *hv_vcpu_new(struct vm *vm)
{
	struct vcpu *c;

	if (vm->nvcpus == VM_MAX_VCPUS)
		return NULL;
	c = aligned_alloc(64, (sizeof *c + 63) & ~(size_t)63);
	if (!c)
		return NULL;
	memset(c, 0, sizeof *c);
	c->vm = vm;
	c->id = vm->nvcpus;
	c->model = model_new();
	if (!c->model || !mem_init_vcpu(c)) {
		free_vcpu(c);
		return NULL;
	}
	if (!vm->blocks)
		vm->blocks = block_cache_new(vm);
	c->blocks = vm->blocks;
	c->lapic = lapic_new(c);
	vm->vcpus[vm->nvcpus++] = c;
	fp_init_vcpu(c);
	vmx_init_vcpu(c);
	hv_vcpu_set_model(c, hv_cpu_models[0], NULL);
	cpu_reset(c, false);
	return c;
}

struct vcpu *hv_vcpu(struct vm *vm, unsigned i)
{
	return i < vm->nvcpus ? vm->vcpus[i] : NULL;
}

unsigned hv_nvcpus(const struct vm *vm)
{
	return vm->nvcpus;
}

/* -- stopping ------------------------------------------------------------ */
void cpu_resume(struct vcpu *c)
{
	if (!c->unwind) {
		/* Only a call from outside the run loop gets here, and those
		 * use functions without effects: a defect of the core. */
		fprintf(stderr, "hvcore: left an instruction outside a run\n");
		abort();
	}
	longjmp(*c->unwind, UNWIND_RESUME);
}

void cpu_stop(struct vcpu *c, enum hv_stop_reason why, const char *format, ...)
{
	struct hv_stop *s = &c->vm->stop;
	va_list ap;

	if (c->cur)
		cpu_sync(c, false);
	s->reason = why;
	s->vcpu = c->id;
	s->level = hv_level(c);
	s->rip = hv_linear_rip(c);
	va_start(ap, format);
	vsnprintf(s->text, sizeof s->text, format, ap);
	va_end(ap);
	c->vm->stopping = true;
	cpu_resume(c);
}

void hv_request_stop_before(struct vm *vm)
{
	vm->stop_before = true;
	hv_request_stop(vm, 0);
}

/* -- for debuggers ------------------------------------------------------- */
int hv_level(const struct vcpu *c)
{
	return c->nonroot ? 2 : 1;
}

uint64_t hv_linear_rip(const struct vcpu *c)
{
	uint64_t rip = c->r[R_RIP] + (c->cur ? c->cur->off : 0);

	if (c->mode & MODE_CS64)
		return rip;
	return (uint32_t)(c->segbase[SEG_CS] + rip);
}

void hv_set_trace(struct vm *vm, bool on)
{
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		vm->vcpus[i]->trace = on;
		cpu_update_mode(vm->vcpus[i]);
		cpu_kick(vm->vcpus[i]);
	}
}

void hv_watch_page(struct vm *vm, uint64_t gpa)
{
	uint8_t *flags = phys_flags(vm, gpa);

	if (!flags)
		return;
	*flags |= PAGE_NOTIFY;
	mem_flush_phys_code(vm, gpa & ~PAGE_MASK);
}

bool hv_translate(struct vcpu *c, uint64_t lin, uint64_t *gpa)
{
	return mem_peek_linear(c, lin, gpa);
}

bool hv_translate_physical(struct vcpu *c, uint64_t address, uint64_t *gpa)
{
	if (ept_enabled(c))
		return ept_peek(c, address, gpa);
	*gpa = address;
	return true;
}

unsigned hv_peek(struct vcpu *c, uint64_t lin, void *buf, unsigned len)
{
	uint8_t *out = buf;
	unsigned done = 0;

	while (done < len) {
		uint64_t left = PAGE_MASK + 1 - (lin & PAGE_MASK), gpa;
		unsigned n = len - done < left ? len - done : (unsigned)left;
		const uint8_t *p;

		if (!mem_peek_linear(c, lin, &gpa))
			break;
		p = phys_ptr(c->vm, gpa, n);
		if (!p)
			break;
		memcpy(out + done, p, n);
		done += n;
		lin += n;
	}
	return done;
}

unsigned hv_code_bits(const struct vcpu *c)
{
	return c->mode & MODE_CS64 ? 64 : c->mode & MODE_CS32 ? 32 : 16;
}

enum nst_status hv_vcpu_set_regs(struct vcpu *c, const struct kvm_regs *r,
				 struct nst_error *e)
{
	uint64_t rip = r->rip;

	if (c->mode & MODE_CS64 && !canonical(c, rip))
		return nst_fail(e, NST_BAD_INPUT, "RIP %#llx is not canonical",
				(unsigned long long)rip);
	regs_load(c, r);
	return NST_OK;
}

void hv_ram_changed(struct vm *vm, uint64_t gpa, unsigned len)
{
	if (vm->blocks)
		block_invalidate(vm, gpa, len);
}
