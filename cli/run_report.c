/* run_report.c: what a run tells people at its end: why it stopped, counts.  All of
 * it goes to standard error; standard output is the guest's.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/run.h"
#include "layouts/vmcs.h"

/* The mode of c's code: 16, 32 or 64. */
static unsigned code_bits(const struct snapshot_vcpu *v)
{
	if (v->sregs.efer & 0x400 && v->sregs.cs.l)
		return 64;
	return v->sregs.cs.db ? 32 : 16;
}

static void print_bytes(const uint8_t *bytes, unsigned len)
{
	for (unsigned i = 0; i < len; i++)
		fprintf(stderr, " %02x", bytes[i]);
}

/* -- why it stopped ------------------------------------------------------------------ */
static void print_registers(const struct snapshot_vcpu *v)
{
	static const char *const names[] = {
		"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp",
		"r8", "r9", "r10", "r11", "r12", "r13", "r14", "r15",
	};
	const struct kvm_regs *r = &v->regs;
	/* In the order of struct kvm_regs. */
	const uint64_t values[] = {
		r->rax, r->rbx, r->rcx, r->rdx, r->rsi, r->rdi, r->rsp, r->rbp,
		r->r8, r->r9, r->r10, r->r11, r->r12, r->r13, r->r14, r->r15,
	};

	for (unsigned i = 0; i < 16; i++)
		fprintf(stderr, "%s%-3s %016" PRIx64 "%s", i % 4 ? " " : "  ",
			names[i], values[i], i % 4 == 3 ? "\n" : "");
	fprintf(stderr, "  rip %016llx flags %llx cs %x ss %x cr0 %llx cr2 "
		"%llx\n  cr3 %llx cr4 %llx efer %llx\n",
		(unsigned long long)r->rip, (unsigned long long)r->rflags,
		v->sregs.cs.selector, v->sregs.ss.selector,
		(unsigned long long)v->sregs.cr0,
		(unsigned long long)v->sregs.cr2,
		(unsigned long long)v->sregs.cr3,
		(unsigned long long)v->sregs.cr4,
		(unsigned long long)v->sregs.efer);
}

void run_report_stop(struct vm *vm, const struct hv_stop *stop)
{
	struct vcpu *c = hv_vcpu(vm, stop->vcpu);
	struct snapshot_vcpu v = { 0 };
	uint8_t bytes[15];
	unsigned len = hv_peek(c, stop->rip, bytes, sizeof bytes);
	char text[256];

	fprintf(stderr, "nstate: vCPU %u stopped at level %d, 0x%" PRIx64 ": %s\n",
		stop->vcpu, stop->level, stop->rip, stop->text);
	if (hv_vcpu_save(c, &v, NULL))
		return;
	trace_disassemble(code_bits(&v), stop->rip, bytes, len, text, sizeof text);
	fprintf(stderr, "  bytes");
	print_bytes(bytes, len);
	fprintf(stderr, "\n  %s\n", text);
	print_registers(&v);
	snapshot_vcpu_clear(&v);
}

/* -- counts ------------------------------------------------------------------------------- */
void run_print_stats(struct vm *vm)
{
	const struct hv_stats *s = hv_stats(vm);
	const struct { const char *name; uint64_t n; } rows[] = {
		{ "VM entries", s->entries },
		{ "VM-entry failures", s->entry_failures },
		{ "VMREADs shadowed", s->vmread_shadowed },
		{ "VMWRITEs shadowed", s->vmwrite_shadowed },
		{ "PML entries", s->pml_entries },
		{ "EPTP switches", s->eptp_switches },
		{ "injected events", s->injected },
	};

	fprintf(stderr, "%20" PRIu64 " instructions\n",
		s->insns[1] + s->insns[2]);
	if (!s->entries && !s->entry_failures)
		return;
	fprintf(stderr, "%20" PRIu64 " at level 1\n%20" PRIu64 " at level 2\n",
		s->insns[1], s->insns[2]);
	for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++)
		if (rows[i].n)
			fprintf(stderr, "%20" PRIu64 " %s\n", rows[i].n,
				rows[i].name);
	for (unsigned i = 0; i < 128; i++) {
		const char *name = vmx_exit_reason_name(i);

		if (s->exits[i])
			fprintf(stderr, "%20" PRIu64 " exits: %s\n",
				s->exits[i], name ? name : "?");
	}
}
