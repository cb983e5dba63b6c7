/* rules.c: the rules of all tables as one list, and how one is printed. */
#include "cli/check/rules.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <string.h>

static const struct remedy { const char *pattern, *text; } remedies[] = {
#define REMEDY(pattern, text) { pattern, text },
#include "cli/check/remedies.def"
#undef REMEDY
};

const char *rule_remedy(const char *id)
{
	for (size_t i = 0; i < sizeof remedies / sizeof *remedies; i++)
		if (!fnmatch(remedies[i].pattern, id, 0))
			return remedies[i].text;
	return NULL;
}

static void from_check(const struct vmx_check *c, struct rule *out)
{
	*out = (struct rule){ .id = c->id, .sentence = c->sentence,
			      .remedy = rule_remedy(c->id), .field = c->field,
			      .check = c, .error = c->error,
			      .reason = c->error ? 0 :
				c->group == CHECK_LOAD ? 34 : 33 };
	snprintf(out->where, sizeof out->where, "SDM %s", c->section);
}

bool rule_at(unsigned n, struct rule *out)
{
	if (n < set_rule_count) {
		const struct set_rule *s = &set_rules[n];
		*out = (struct rule){ .id = s->id, .sentence = s->sentence,
				      .remedy = s->remedy, .field = -1,
				      .set = s };
		snprintf(out->where, sizeof out->where, "KVM_SET_NESTED_STATE");
		return true;
	}
	n -= set_rule_count;
	if (n < vmx_check_count) {
		from_check(&vmx_checks[n], out);
		return true;
	}
	n -= vmx_check_count;
	if (n < VMX_MEMORY_CHECKS) {
		from_check(&vmx_memory_checks[n], out);
		return true;
	}
	n -= VMX_MEMORY_CHECKS;
	if (!n) {
		from_check(&vmx_msr_check, out);
		return true;
	}
	n--;
	if (n < nearby_rule_count) {
		const struct nearby_rule *r = &nearby_rules[n];
		*out = (struct rule){ .id = r->id, .sentence = r->sentence,
				      .remedy = r->remedy, .field = -1,
				      .near = r };
		snprintf(out->where, sizeof out->where, "nstate check");
		return true;
	}
	return false;
}

bool rule_find(const char *id, struct rule *out)
{
	for (unsigned n = 0; rule_at(n, out); n++)
		if (!strcmp(out->id, id))
			return true;
	return false;
}

void rule_outcome(const struct rule *r, char *text, size_t len)
{
	if (r->check && r->check->group == CHECK_LOAD)
		snprintf(text, len, "the VM entry ends as a VM exit with reason "
			 "0x80000022 (MSR loading), the entry's number as "
			 "qualification");
	else if (r->check && r->check->group == CHECK_GUEST)
		snprintf(text, len, "the VM entry ends as a VM exit with reason "
			 "0x80000021 (invalid guest state), qualification %u",
			 r->check->qualification);
	else if (r->check)
		snprintf(text, len, "VMLAUNCH or VMRESUME fails with "
			 "VM-instruction error %u (invalid %s)", r->check->error,
			 r->check->group == CHECK_HOST ? "host state" :
			 "control fields");
	else if (r->near)
		snprintf(text, len, "%s", r->near->severity == NEAR_WRONG ?
			 "the VM will not run on as it did" :
			 r->near->severity == NEAR_WARNING ?
			 "a warning: the VM may not run on as it did" :
			 "a note: sound states have it too");
	else if (r->set)
		snprintf(text, len, "the ioctl fails with %s",
			 r->set->error == EINVAL ? "EINVAL" : strerror(r->set->error));
}

static void release(uint32_t kernel, char *text, size_t len)
{
	snprintf(text, len, "%u.%u", kernel >> 16, kernel & 0xffff);
}

void rule_kernels(const struct rule *r, char *text, size_t len)
{
	char since[16], until[16];

	if (r->set) {
		release(r->set->since, since, sizeof since);
		release(r->set->until, until, sizeof until);
		if (r->set->until == 0xffffffff)
			snprintf(text, len, "%s and later", since);
		else
			snprintf(text, len, "%s to %s", since, until);
	} else if (r->check && r->check->kvm) {
		snprintf(text, len, "%d.%d and later, in KVM_SET_NESTED_STATE too "
			 "(EINVAL)", r->check->kvm >> 8, r->check->kvm & 0xff);
	} else if (r->check) {
		snprintf(text, len, "none in KVM_SET_NESTED_STATE: the restore "
			 "succeeds and the first KVM_RUN fails");
	} else {
		snprintf(text, len, "none");
	}
}

void rule_print(const struct rule *r, struct out *out)
{
	char text[200] = "";

	out_str(out, "rule", "rule", "%s", r->id);
	out_str(out, "must", "what must hold", "%s", r->sentence);
	out_str(out, "where", "source", "%s", r->where);
	if (r->field >= 0) {
		out_str(out, "field", "field", "%s (0x%04x, %s)",
			vmcs_fields[r->field].name, vmcs_fields[r->field].encoding,
			vmcs_fields[r->field].sdm_name);
	} else if (r->set) {
		out_str(out, "bytes", "bytes of the state", "%u to %u",
			r->set->offset, r->set->offset + r->set->size - 1);
	}
	rule_outcome(r, text, sizeof text);
	if (*text)
		out_str(out, "outcome", "when broken", "%s", text);
	rule_kernels(r, text, sizeof text);
	out_str(out, "kernels", "kernels that check it", "%s", text);
	if (r->remedy)
		out_str(out, "remedy", "what to do", "%s", r->remedy);
}
