/* verdict.c: applies both rule tables to one nested state. */
#include "cli/check/verdict.h"

#include "cli/check/rules.h"

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

/* KVM makes some of the SDM's checks, in its own order: controls, host, guest. */
static const struct vmx_check *first_of_kvm(const struct subject *s,
					    uint32_t kernel)
{
	const struct vmx_check *memory;

	for (unsigned g = CHECK_CONTROLS; g <= CHECK_GUEST; g <<= 1)
		for (unsigned i = 0; i < vmx_check_count; i++) {
			const struct vmx_check *c = &vmx_checks[i];
			if (c->group == g && c->kvm && kernel >= kvm_version(c) &&
			    !vmx_check_holds(c, &s->vmcs))
				return c;
		}
	memory = vmx_check_memory(&s->vmcs);
	return memory && memory->kvm ? memory : NULL;
}

static bool silently_wrong(const struct subject *s, const struct set_context *x,
			   char *text, size_t len)
{
	if (s->from && !s->from->preserves_v40) {
		snprintf(text, len, "the vmcs12 has layout %s: every kernel with "
			 "this ioctl reads other fields than were saved; convert "
			 "it first", s->from->id);
		return true;
	}
	return set_remark(x, 0, text, (unsigned)len);
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
			.field = -1, .offset = r->offset, .size = r->size };
		return V_REFUSED;
	}
	if (fields && s->vmcs.page) {
		c = first_of_kvm(s, kernel);
		if (c) {
			fill(s, c, b);
			return V_REFUSED;
		}
	}
	if (silently_wrong(s, &x, text, len))
		return V_WRONG;
	if (fields && s->vmcs.page && (c = vmx_check_first(&s->vmcs, CHECK_ALL))) {
		snprintf(text, len, "the first KVM_RUN fails the VM entry "
			 "(0x80000021 or error %u), rule %s", c->error, c->id);
		return V_WRONG;
	}
	return V_ACCEPTED;
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
