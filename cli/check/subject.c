/* subject.c: from a snapshot's vCPU to what the rules look at. */
#include "cli/check/subject.h"

#include <string.h>

#include "cli/cpu_model.h"

#define EFER_LMA_BIT 0x400u
#define HOST64_BIT 9

enum nst_status subject_cpu(const struct snapshot_vcpu *v, const char *model,
			    const char *fallback,
			    const struct caps_file *dest, struct vm *vm,
			    struct vcpu **out, struct nst_error *e)
{
	struct snapshot_vcpu bare = *v;
	struct vcpu *c = hv_vcpu_new(vm);
	enum nst_status st = NST_OK;

	*out = c;
	if (!c)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	if (model)
		return cpu_model_set(c, model, e);
	if (!snapshot_has(v, SN_CPUID))
		st = hv_vcpu_set_model(c, fallback, e);
	bare.have &= 1u << SN_CPUID | 1u << SN_MSRS;
	if (!st)
		st = hv_vcpu_load(c, &bare, e);
	return st || !dest ? st : caps_to_vcpu(dest, c, e);
}

/* Was L1 in IA-32e mode when it entered?  Its EFER says so while L1 runs; with L2
 * active, the exit control does, which had to agree. */
static bool host_lma(const struct snapshot_vcpu *v, const struct subject *s)
{
	bool l2 = s->blob[0] & KVM_STATE_NESTED_GUEST_MODE;

	if (!l2 && snapshot_has(v, SN_SREGS2))
		return v->sregs2.efer & EFER_LMA_BIT;
	if (!l2 && snapshot_has(v, SN_SREGS))
		return v->sregs.efer & EFER_LMA_BIT;
	return layout_get(s->vmcs.l, s->vmcs.page, VMCS_IDX_VM_EXIT_CONTROLS) >>
		HOST64_BIT & 1;
}

/* KVM adds this leaf to the CPUID of a guest whose KVM_CAP_HYPERV_ENLIGHTENED_VMCS is
 * on. */
static bool has_evmcs(const struct snapshot_vcpu *v)
{
	for (uint32_t i = 0; snapshot_has(v, SN_CPUID) && i < v->ncpuid; i++)
		if (v->cpuid[i].function == 0x4000000a && v->cpuid[i].eax & 0xffff)
			return true;
	return false;
}

void subject_fill(const struct snapshot_vcpu *v, const struct layout *from,
		  bool ram, struct vcpu *c, const struct caps_file *dest,
		  struct subject *s)
{
	bool vmx = v->nested_size >= 128 + VMCS12_SIZE &&
		v->nested[2] == KVM_STATE_NESTED_FORMAT_VMX;
	const uint8_t *page = vmx ? v->nested + 128 : NULL;
	uint64_t pa = ~0ull;

	memset(s, 0, sizeof *s);
	if (v->nested_size >= 24)
		memcpy(&pa, v->nested + 16, 8);
	hv_check_context(c, page, pa, &s->vmcs);
	if (!ram)
		s->vmcs.read = NULL;
	/* The destination's own MSRs, where CPUID would take bits away. */
	if (dest)
		s->vmcs.caps = &dest->caps;
	s->blob = v->nested;
	s->size = v->nested_size;
	s->from = from;
	s->scratch = ram ? c : NULL;
	if (page)
		s->vmcs.host_lma = host_lma(v, s);
	s->set = (struct set_context){ .blob = s->blob, .size = s->size,
		.has_vmx = hv_cpu_has_vmx(c), .maxphyaddr = s->vmcs.maxphyaddr,
		.in_smm = snapshot_has(v, SN_EVENTS) && v->events.smi.smm,
		.evmcs_enabled = has_evmcs(v) };
}
