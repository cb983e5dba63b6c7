/* l0.c: how a given L0 shows itself to L1 beside what the SDM says: one profile
 * for each kernel release, by its vmcs12 layout, and the bare SDM. */
#include <stdio.h>
#include <stdlib.h>

#include "hvcore/vmx/vmx.h"

/* Since 5.3, KVM's VMWRITE keeps bits 16, 15:12 and 7:0 of access rights, as
 * processors do; before, all of them. */
#define KVM_AR_MASK 0x1f0ffu

static const struct l0_profile sdm = {
	.name = "sdm", .ar_mask = 0xffffffff, .caps = "full",
	.beyond_kvm = true,
};

const struct l0_profile *l0_default(void)
{
	static const struct l0_profile newest = {
		.name = "7.2", .ar_mask = KVM_AR_MASK, .pml_dirty_only = true,
		.launched_at_exit = true, .by_capability = true,
		.msr_counts = true, .caps = "full",
	};
	return &newest;
}

/* 7.x drops the fields that its own processor has no use for. */
static bool capable(const struct vcpu *c, int idx)
{
	const struct vmx_caps *caps = &c->vmx->caps;

	switch (vmcs_fields[idx].encoding) {
	case VMCS_TSC_MULTIPLIER:
		return vmx_cap(caps, 0x48b) >> 32 & SEC_TSC_SCALING;
	case VMCS_GUEST_S_CET: case VMCS_GUEST_SSP:
	case VMCS_GUEST_INTR_SSP_TABLE: case VMCS_HOST_S_CET:
	case VMCS_HOST_SSP: case VMCS_HOST_INTR_SSP_TABLE:
		return vmx_cap(caps, 0x484) >> 32 & ENTRY_LOAD_CET;
	}
	return true;
}

bool vmx_knows_field(const struct vcpu *c, int idx)
{
	const struct l0_profile *p = c->vm->l0;

	return layout_has(p->fields ? p->fields : p->beyond_kvm ? c->vmx->l :
			  layout_union(), idx) &&
	       (!p->by_capability || capable(c, idx));
}

#define K(major, minor) ((major) << 16 | (minor))

/* 0: a vendor's kernel that is named otherwise; those known are old. */
static unsigned number(const char *release)
{
	unsigned major = 0, minor = 0;

	return sscanf(release, "%u.%u", &major, &minor) == 2 ?
		K(major, minor) : 0;
}

/* What a release offers its L1, as far as caps.def tells releases apart. */
static const char *caps_of(unsigned k)
{
	return k < K(4, 18) ? "kvm-4.14" : k < K(5, 11) ? "kvm-5.10" :
	       k < K(6, 18) ? "kvm-6.1" : "kvm-6.18";
}

/* The release of the newest kernel whose layout is known. */
#define NEWEST "7.2"

/* What VMREAD finds depends on the profile. */
static void forget_slots(struct vm *vm)
{
	for (unsigned n = 0; n < vm->nvcpus; n++) {
		struct vmx *v = vm->vcpus[n]->vmx;

		v->slots_known = false;
		memset(v->slots, 0, sizeof v->slots);
	}
}

enum nst_status hv_set_l0(struct vm *vm, const char *name, struct nst_error *e)
{
	struct l0_profile *own = &vm->l0_own;
	const struct layout *l;

	forget_slots(vm);

	if (name && !strcmp(name, "sdm")) {
		*own = sdm;
		vm->l0 = own;
		return NST_OK;
	}
	name = name ? name : NEWEST;
	l = layout_of_kernel(name);
	l = l ? l : layout_by_name(name);
	if (!l)
		return nst_fail(e, NST_USAGE, "%s: no L0 profile (sdm, or a "
				"kernel release: 5.10, 6.1, 7.2)", name);
	*own = (struct l0_profile){
		.fields = l, .pml_dirty_only = true, .launched_at_exit = true,
		.ar_mask = number(name) < K(5, 3) ? 0xffffffff : KVM_AR_MASK,
		.by_capability = number(name) >= K(7, 0),
		.msr_counts = number(name) >= K(6, 16),
		.caps = caps_of(number(name)),
	};
	snprintf(own->name, sizeof own->name, "%s", name);
	vm->l0 = own;
	return NST_OK;
}

enum nst_status hv_set_vmx_caps(struct vm *vm, const char *name,
				struct nst_error *e)
{
	char names[128] = "";
	size_t at = 0;

	for (unsigned n = 0; vmx_caps_name(n); n++) {
		const char *known = vmx_caps_name(n);

		at += (size_t)snprintf(names + at, sizeof names - at, "%s%s",
				       n ? ", " : "", known);
		if (strcmp(name, known))
			continue;
		if (vm->l0 != &vm->l0_own)
			vm->l0_own = *(vm->l0 ? vm->l0 : l0_default());
		vm->l0_own.caps = known;
		vm->l0 = &vm->l0_own;
		return NST_OK;
	}
	return nst_fail(e, NST_USAGE, "%s: no set of VMX capabilities (%s)",
			name, names);
}
