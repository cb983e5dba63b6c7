/* verdict.c: applies both rule tables to one nested state. */
#include "cli/check/verdict.h"

#include "cli/check/rules.h"
#include "layouts/decode.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>

#define HEADER 128u

static uint32_t kvm_version(const struct vmx_check *c)
{
	return KERNEL(c->kvm >> 8, c->kvm & 0xff);
}

static void fill(const struct subject *s, const struct vmx_check *c,
		 struct broken *b)
{
	*b = (struct broken){ .id = c->id, .sentence = c->sentence,
			      .where = c->section, .field = c->field,
			      .remedy = rule_remedy(c->id) };
	b->value = layout_has(s->vmcs.l, c->field) ?
		layout_get(s->vmcs.l, s->vmcs.page, c->field) : 0;
	b->offset = HEADER + s->vmcs.l->offset[c->field];
	b->size = vmcs_bytes(vmcs_fields[c->field].encoding);
	b->qualification = c->qualification;
	b->nlacking = caps_lacking(c, &s->vmcs, b->lacking,
				   sizeof b->lacking / sizeof *b->lacking);
}

static uint64_t get(const struct subject *s, int field)
{
	return layout_has(s->vmcs.l, field) ?
		layout_get(s->vmcs.l, s->vmcs.page, field) : 0;
}

/* KVM looks at L2's EFER only where a VM entry is pending: else EFER comes with the
 * registers. */
static bool kvm_checks(const struct subject *s, const struct vmx_check *c,
		       uint32_t kernel)
{
	if (c->field == VMCS_IDX_GUEST_IA32_EFER)
		return s->blob[0] & KVM_STATE_NESTED_RUN_PENDING;
	return c->kvm && kernel >= kvm_version(c);
}

/* L2's CR3 is looked at last, when L2 is entered. */
static bool late(const struct vmx_check *c)
{
	return c->field == VMCS_IDX_GUEST_CR3;
}

/* KVM makes some of the SDM's checks, in its own order: controls, host, guest. */
static const struct vmx_check *first_of_kvm(const struct subject *s,
					    uint32_t kernel)
{
	const struct vmx_check *memory;

	for (unsigned g = CHECK_CONTROLS; g <= CHECK_GUEST; g <<= 1)
		for (unsigned i = 0; i < vmx_check_count; i++) {
			const struct vmx_check *c = &vmx_checks[i];
			if (c->group == g && kvm_checks(s, c, kernel) &&
			    !late(c) && !vmx_check_holds(c, &s->vmcs))
				return c;
		}
	memory = vmx_check_memory(&s->vmcs);
	if (memory && memory->kvm)
		return memory;
	for (unsigned i = 0; i < vmx_check_count; i++)
		if (late(&vmx_checks[i]) &&
		    !vmx_check_holds(&vmx_checks[i], &s->vmcs))
			return &vmx_checks[i];
	return NULL;
}

/* Where entering L2 fails, the ioctl's value is not a negative errno: a caller that
 * tests for less than 0 takes it for success. */
static void late_result(uint32_t kernel, struct broken *b)
{
	if (kernel < KERNEL(5, 2))
		return;
	b->result = kernel < KERNEL(5, 4) ? 1 : 2;
	snprintf(b->detail, sizeof b->detail, "the ioctl returns %d, which a caller "
		 "that tests for less than 0 takes for success", b->result);
}

/* -- accepted, but wrong ------------------------------------------------------------------- */
/* Fields in use that the kernel does not know: it ignores them. */
static bool unknown_fields(const struct subject *s, uint32_t kernel, char *text,
			   size_t len)
{
	char release[16];
	const struct layout *l;

	snprintf(release, sizeof release, "%u.%u", kernel >> 16, kernel & 0xffff);
	l = layout_of_kernel(release);
	for (int i = 0; l && i < VMCS_FIELD_COUNT; i++) {
		if (layout_has(l, i) || !get(s, i) ||
		    !vmcs_field_in_use(s->vmcs.l, s->vmcs.page, i))
			continue;
		snprintf(text, len, "%s = 0x%" PRIx64 " is in use, and this kernel "
			 "has no such field: it is ignored, and L1's VMREAD of it "
			 "fails", vmcs_fields[i].name, get(s, i));
		return true;
	}
	return false;
}

/* These compare "host address-space size" with the EFER that the vCPU has at the
 * moment, which is L2's where registers are loaded first. */
static bool efer_order(const struct subject *s, uint32_t kernel, char *text,
		       size_t len)
{
	static const struct { uint32_t first, last; } trap[] = {
		{ KERNEL(5, 4), KERNEL(5, 4) }, { KERNEL(5, 6), KERNEL(5, 9) },
		{ KERNEL(5, 11), KERNEL(5, 14) },
	};
	bool ia32e = get(s, VMCS_IDX_VM_ENTRY_CONTROLS) >> 9 & 1;
	bool host64 = get(s, VMCS_IDX_VM_EXIT_CONTROLS) >> 9 & 1;

	if (ia32e == host64)
		return false;
	for (size_t i = 0; i < sizeof trap / sizeof *trap; i++) {
		if (kernel < trap[i].first || kernel > trap[i].last)
			continue;
		snprintf(text, len, "refused with EINVAL where L2's registers, whose "
			 "EFER.LMA is 0, are loaded before the nested state (as QEMU "
			 "does): this kernel compares the 64-bit host with them");
		return true;
	}
	return false;
}

static bool silently_wrong(const struct subject *s, const struct set_context *x,
			   bool fields, char *text, size_t len)
{
	const struct vmx_check *c;

	if (s->from && !s->from->preserves_v40) {
		snprintf(text, len, "the vmcs12 has layout %s: every kernel with "
			 "this ioctl reads other fields than were saved; convert "
			 "it first", s->from->id);
		return true;
	}
	if (set_remark(x, 0, text, (unsigned)len))
		return true;
	if (!fields || !s->vmcs.page)
		return false;
	if (efer_order(s, x->kernel, text, len) ||
	    unknown_fields(s, x->kernel, text, len))
		return true;
	c = vmx_check_first(&s->vmcs, CHECK_ALL);
	c = c ? c : vmx_check_memory(&s->vmcs);
	if (c)
		snprintf(text, len, "the first KVM_RUN fails the VM entry (%s), rule "
			 "%s", c->error == 7 ? "VM-instruction error 7" : c->error ?
			 "VM-instruction error 8" : "0x80000021", c->id);
	return c;
}

enum verdict verdict_kernel(const struct subject *s, uint32_t kernel,
			    struct broken *b, char *text, size_t len)
{
	struct set_context x = s->set;
	const struct set_rule *r;
	const struct vmx_check *c;
	bool fields;

	x.kernel = kernel;
	*text = 0;
	r = set_rules_first_broken(&x, &fields);
	if (r) {
		*b = (struct broken){ .id = r->id, .sentence = r->sentence,
			.where = "KVM_SET_NESTED_STATE", .remedy = r->remedy,
			.field = -1, .offset = r->offset, .size = r->size,
			.result = -r->error };
		return V_REFUSED;
	}
	c = fields && s->vmcs.page ? first_of_kvm(s, kernel) : NULL;
	if (c) {
		fill(s, c, b);
		b->result = -EINVAL;
		if (late(c))
			late_result(kernel, b);
		return V_REFUSED;
	}
	return silently_wrong(s, &x, fields, text, len) ? V_WRONG : V_ACCEPTED;
}

unsigned verdict_sdm(const struct subject *s, struct broken *b, unsigned max)
{
	const struct vmx_check *memory;
	uint32_t entry;
	unsigned n = 0;

	if (!s->vmcs.page)
		return 0;
	for (unsigned i = 0; i < vmx_check_count && n < max; i++)
		if (!vmx_check_holds(&vmx_checks[i], &s->vmcs))
			fill(s, &vmx_checks[i], &b[n++]);
	memory = vmx_check_memory(&s->vmcs);
	if (memory && n < max)
		fill(s, memory, &b[n++]);
	if (!n && s->scratch &&
	    (entry = hv_entry_msrs(s->scratch, s->vmcs.page))) {
		fill(s, &vmx_msr_check, &b[n]);
		snprintf(b[n].detail, sizeof b[n].detail, "entry %u cannot be "
			 "loaded", entry);
		b[n++].qualification = entry;
	}
	return n;
}
