/* around.c: joins a loaded file to the rules of the neighbourhood. */
#include "cli/check/around.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/check/print.h"
#include "cli/check/rules.h"

#define NONE 0xffffffffffffffffull
#define MOST_VMCS 4096u

static uint64_t header(const struct snapshot_vcpu *v, uint32_t off)
{
	uint64_t pa = NONE;

	if (snapshot_has(v, SN_NESTED) && v->nested_size >= off + 8)
		memcpy(&pa, v->nested + off, 8);
	return pa;
}

static void find_vmcs(struct around *a, const struct snapshot_ram *r)
{
	for (uint64_t off = 0; off + 4096 <= r->size; off += 4096) {
		uint32_t id;

		memcpy(&id, r->host + off, 4);
		if ((id & ~VMCS12_SHADOW_BIT) == VMCS12_REVISION &&
		    a->nvmcs < MOST_VMCS)
			a->vmcs[a->nvmcs++] = r->gpa + off;
	}
}

bool around_open(struct around *a, const struct loaded *in)
{
	const struct snapshot *s = in->snapshot;
	char container[64], release[64];

	*a = (struct around){ .in = in };
	a->vmcs = calloc(MOST_VMCS, sizeof *a->vmcs);
	a->current = calloc(s->nvcpus + 1, sizeof *a->current);
	if (!a->vmcs || !a->current)
		return false;
	for (uint32_t i = 0; i < s->nram; i++)
		find_vmcs(a, &s->ram[i]);
	for (uint32_t i = 0; i < s->nvcpus; i++)
		a->current[i] = header(&s->vcpu[i], 16);
	/* QEMU's sections have no member for it (vmstate_vmx_nested_state). */
	if (snapshot_origin(s, "kvm-release", release, sizeof release))
		a->source = kernel_parse(release);
	a->no_deadline = snapshot_origin(s, "container", container,
					 sizeof container) &&
		strstr(container, "QEMU");
	return true;
}

void around_close(struct around *a)
{
	free(a->vmcs);
	free(a->current);
}

static bool read_ram(void *arg, uint64_t gpa, void *buf, unsigned len)
{
	const uint8_t *p = snapshot_ram_at(arg, gpa, len);

	if (!p)
		return false;
	memcpy(buf, p, len);
	return true;
}

/* -- what is told ------------------------------------------------------------------------- */
static const char *const severities[] = { "note", "warning", "wrong" };

static void tell(const struct nearby_found *f, struct out *out)
{
	const struct nearby_rule *r = f->rule;

	out_begin(out, NULL);
	out_str(out, "rule", NULL, "%s", r->id);
	out_str(out, "severity", NULL, "%s", severities[r->severity]);
	out_str(out, "must", NULL, "%s", r->sentence);
	out_str(out, "detail", NULL, "%s", f->detail);
	if (f->field >= 0)
		out_str(out, "field", NULL, "%s", vmcs_fields[f->field].name);
	out_hex(out, "value", NULL, f->value);
	out_str(out, "remedy", NULL, "%s", r->remedy);
	out_end(out);
	out_text(out, "    %s: ", severities[r->severity]);
	if (f->field >= 0)
		out_text(out, "%s = 0x%" PRIx64 ": ", vmcs_fields[f->field].name,
			 f->value);
	out_text(out, "%s (%s, rule %s)\n", r->sentence, f->detail, r->id);
	out_text(out, "    what to do: %s\n", r->remedy);
}

/* L1 has read the source's capability MSRs, and they are restored like any other:
 * KVM refuses those that promise more than it has. */
static bool tell_msrs(const struct snapshot_vcpu *v, const struct subject *s,
		      struct out *out)
{
	struct lacking lacking[MOST_LACKING];
	struct vmx_caps source = { { 0 } };
	struct rule r;
	unsigned n = 0;

	for (uint32_t i = 0; i < VMX_CAPS_COUNT && snapshot_has(v, SN_MSRS); i++) {
		const struct kvm_msr_entry *m = snapshot_msr(v, VMX_CAPS_FIRST + i);
		source.msr[i] = m ? m->data : 0;
	}
	if (vmx_cap(&source, 0x480))
		n = caps_compare(&source, s->vmcs.caps, lacking, MOST_LACKING);
	if (!n || !rule_find("near-capability-msrs", &r))
		return true;
	out_begin(out, "capabilities");
	out_str(out, "rule", NULL, "%s", r.id);
	out_str(out, "must", NULL, "%s", r.sentence);
	out_text(out, "  the guest's capability MSRs: KVM_SET_MSRS fails on the "
		 "destination (rule %s)\n", r.id);
	lacking_print(out, lacking, n);
	out_str(out, "remedy", NULL, "%s", r.remedy);
	out_text(out, "    what to do: %s\n", r.remedy);
	out_end(out);
	return false;
}

static struct nearby_ctx context(const struct around *a, uint32_t i,
				 const struct subject *s, uint64_t *others)
{
	const struct snapshot *snap = a->in->snapshot;
	const struct snapshot_vcpu *v = &snap->vcpu[i];
	unsigned n = 0;

	for (uint32_t k = 0; k < snap->nvcpus; k++)
		if (k != i && a->current[k] != NONE)
			others[n++] = a->current[k];
	return (struct nearby_ctx){
		.l = s->vmcs.l, .page = s->vmcs.page,
		.vmxon_pa = header(v, 8), .vmcs12_pa = header(v, 16),
		.l2_active = v->nested[0] & KVM_STATE_NESTED_GUEST_MODE,
		.no_deadline = a->no_deadline, .source = a->source,
		.maxphyaddr = s->vmcs.maxphyaddr,
		.ept_caps = vmx_cap(s->vmcs.caps, 0x48c),
		.misc = vmx_cap(s->vmcs.caps, 0x485),
		.read = snap->nram ? read_ram : NULL, .arg = (void *)snap,
		.current = others, .ncurrent = n,
		.vmcs = a->vmcs, .nvmcs = a->nvmcs,
	};
}

bool around_tell(const struct around *a, uint32_t i, const struct subject *s,
		 bool other_cpu, struct out *out)
{
	const struct snapshot *snap = a->in->snapshot;
	struct nearby_found f[NEARBY_MOST];
	uint64_t *others = calloc(snap->nvcpus + 1, sizeof *others);
	bool good = true;
	unsigned n = 0;

	if (s->vmcs.page && others) {
		struct nearby_ctx x = context(a, i, s, others);
		n = nearby_check(&x, f);
		out_text(out, "  around it: %s\n", n ? "" : snap->nram ?
			 "every check passes" : "there is no RAM to look at");
	}
	out_list(out, "nearby");
	for (unsigned k = 0; k < n; k++) {
		tell(&f[k], out);
		good &= f[k].rule->severity != NEAR_WRONG;
	}
	out_list_end(out);
	free(others);
	return (!other_cpu || tell_msrs(&snap->vcpu[i], s, out)) && good;
}
