/* inspect.c: opens a container for inspection, prints it, warns. */
#include "cli/inspect/inspect.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "convert/source.h"

#define PLAIN_VCPUS 8 /* that are shown where nothing is nested */

enum nst_status inspect_open(const struct inspect_options *o,
			     struct inspection *in, struct nst_error *e)
{
	struct container_options open = o->open;
	unsigned votes;
	bool conflict;
	enum nst_status st;

	open.sieve = scan_wants;
	memset(in, 0, sizeof *in);
	st = container_open(o->file, &open, &in->c, e);
	if (st)
		return st;
	st = scan_container(in->c, !o->no_ram, &in->scan, e);
	in->pool = malloc(sizeof *in->pool);
	if (!st && (!in->pool ||
		    !plan_judge(&in->scan, in->pool, &votes, &conflict)))
		st = nst_fail(e, NST_SYSTEM, "out of memory");
	if (st) {
		inspect_close(in);
		return st;
	}
	in->sure = o->from || (!conflict &&
		in->pool->verdict == IDENTIFY_CERTAIN);
	in->layout = o->from ? o->from : in->pool->layout ? in->pool->layout :
		layout_newest();
	return NST_OK;
}

void inspect_close(struct inspection *in)
{
	scan_free(&in->scan);
	free(in->pool);
	container_close(in->c);
	memset(in, 0, sizeof *in);
}

static void print_file(const struct inspection *in, struct out *out)
{
	const struct container *c = in->c;
	const char *wrap = source_wrapping(c->src);

	out_text(out, "%s: %s%s%s%s", c->path, c->ops->kind, wrap ? " (" : "",
		 wrap ? wrap : "", wrap ? ")" : "");
	if (c->nvcpus)
		out_text(out, ", %u vCPU%s", c->nvcpus, c->nvcpus > 1 ? "s" : "");
	if (c->has_ram)
		out_text(out, ", %" PRIu64 " MiB of RAM", c->ram_bytes >> 20);
	out_text(out, "%s%s\n", *c->note ? "; " : "", c->note);
	for (const char *p = c->details; *p; p = strchr(p, '\n') + 1)
		out_text(out, "  %.*s\n", (int)strcspn(p, "\n"), p);
	out_str(out, "file", NULL, "%s", c->path);
	out_str(out, "kind", NULL, "%s", c->ops->kind);
	if (wrap)
		out_str(out, "wrapping", NULL, "%s", wrap);
	if (*c->note)
		out_str(out, "note", NULL, "%s", c->note);
	out_u64(out, "vcpus", NULL, c->nvcpus);
	out_u64(out, "ram_bytes", NULL, c->ram_bytes);
}

/* "certain: decided by GUEST_CS_SELECTOR, ..." */
static void print_layout(const struct inspect_options *o,
			 const struct inspection *in, struct out *out)
{
	const struct identify_result *r = in->pool;
	const char *verdict = o->from ? "given" :
		identify_verdict_name(r->verdict);
	char names[200];

	out_begin(out, "layout");
	if (o->from) {
		out_str(out, "name", NULL, "%s", o->from->id);
		out_text(out, "  %-22s %s (as told)\n", "layout", o->from->id);
	} else if (!r->count || r->verdict == IDENTIFY_NONE || r->empty) {
		bool unfit = plan_unfit(&in->scan, false) ||
			!(r->empty || !r->count);

		if (unfit)
			verdict = identify_verdict_name(IDENTIFY_NONE);
		out_str(out, "name", NULL, "%s", "");
		out_text(out, "  %-22s %s\n", "layout", unfit ?
			 "none that is known fits; shown as the newest" :
			 "any: nothing is set");
	} else {
		identify_group_name(r, r->candidate[0].group, names,
				    sizeof names);
		out_str(out, "name", NULL, "%s", in->layout->id);
		out_text(out, "  %-22s %s (%s): %s", "layout", in->layout->id,
			 in->layout->kernels, identify_verdict_name(r->verdict));
		if (strcmp(names, in->layout->id))
			out_text(out, "; alike here: %s", names);
		out_text(out, "\n");
		out_str(out, "alike", NULL, "%s", names);
	}
	out_str(out, "verdict", NULL, "%s", verdict);
	out_u64(out, "margin", NULL, r->margin);
	/* What speaks against the next best answer. */
	for (unsigned i = 1; i < r->count && !o->from; i++) {
		const struct identify_candidate *c = &r->candidate[i];
		if (c->group == r->candidate[0].group || !c->nreasons)
			continue;
		const struct identify_reason *w = &c->reason[0];
		out_str(out, "against_next", "  not the next best",
			"%s: %s = 0x%" PRIx64 " (%s)", c->layout->id,
			w->field < 0 ? "bytes of no field" :
			vmcs_fields[w->field].name, w->value, w->rule);
		break;
	}
	out_end(out);
}

static void print_flags(const struct kvm_nested_state *h, struct out *out)
{
	static const struct { uint16_t bit; const char *name; } names[] = {
		{ KVM_STATE_NESTED_GUEST_MODE, "GUEST_MODE" },
		{ KVM_STATE_NESTED_RUN_PENDING, "RUN_PENDING" },
		{ KVM_STATE_NESTED_EVMCS, "EVMCS" },
		{ KVM_STATE_NESTED_MTF_PENDING, "MTF_PENDING" },
		{ KVM_STATE_NESTED_GIF_SET, "GIF_SET" },
	};
	char text[128] = "";

	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		if (h->flags & names[i].bit) {
			strcat(text, *text ? " " : "");
			strcat(text, names[i].name);
		}
	out_str(out, "flags", "flags", "0x%x%s%s", h->flags, *text ? "  " : "",
		text);
}

static void print_pa(struct out *out, const char *name, const char *label,
		     uint64_t pa, const char *none)
{
	if (pa == ~0ull)
		out_str(out, name, label, "none (%s)", none);
	else
		out_hex(out, name, label, pa);
}

static void print_vmx_header(const struct kvm_nested_state *h, struct out *out)
{
	bool on = h->hdr.vmx.vmxon_pa != ~0ull;

	out_str(out, "runs", "what runs", "%s", !on ? "nothing nested: no VMXON" :
		h->flags & KVM_STATE_NESTED_GUEST_MODE ?
		h->flags & KVM_STATE_NESTED_RUN_PENDING ?
		"L2 (its VM entry is pending)" : "L2" :
		h->hdr.vmx.vmcs12_pa == ~0ull ? "L1, no current VMCS" :
		"L1, with a current VMCS");
	print_flags(h, out);
	print_pa(out, "vmxon_pa", "vmxon_pa", h->hdr.vmx.vmxon_pa,
		 "not in VMX operation");
	print_pa(out, "vmcs12_pa", "vmcs12_pa", h->hdr.vmx.vmcs12_pa,
		 "no current VMCS");
	if (h->hdr.vmx.smm.flags)
		out_hex(out, "smm_flags", "smm.flags", h->hdr.vmx.smm.flags);
	if (h->hdr.vmx.flags & 1)
		out_u64(out, "preemption_timer_deadline",
			"preemption deadline",
			h->hdr.vmx.preemption_timer_deadline);
}

static void print_header(const struct container_state *st, struct out *out)
{
	union { struct kvm_nested_state h; uint8_t b[128]; } u;

	memset(&u, 0, sizeof u);
	memcpy(&u, st->data, st->size < 128 ? st->size : 128);
	out_str(out, "format", NULL, "%s", u.h.format ? "SVM" : "VMX");
	out_u64(out, "size", NULL, u.h.size);
	out_str(out, NULL, "nested state", "%s, %u bytes%s",
		u.h.format ? "SVM" : "VMX", u.h.size,
		st->size > u.h.size ? " (the buffer is longer)" :
		st->size < u.h.size ? " (CUT)" : "");
	if (u.h.format) {
		print_flags(&u.h, out);
		inspect_svm(st, out);
		out_text(out, "  %-22s %s\n", "conversion", "nothing to remap: "
			 "SVM's state has one layout");
	} else {
		print_vmx_header(&u.h, out);
	}
}

static void print_page(const struct inspect_options *o,
		       const struct inspection *in,
		       const struct vmcs12_page *p, struct out *out)
{
	out_begin(out, p->place == PLACE_SHADOW_STATE ? "shadow_vmcs12" :
		  "vmcs12");
	if (p->place == PLACE_SHADOW_STATE)
		out_text(out, " shadow vmcs12\n");
	if (o->all || o->nfields)
		inspect_fields(o, in->layout, p->data, out);
	else if (p->place == PLACE_STATE)
		inspect_summary(in->layout, p->data, out);
	else
		out_text(out, "  (--all shows its fields)\n");
	out_end(out);
}

static void print_state(const struct inspect_options *o,
			const struct inspection *in, uint32_t index,
			struct out *out)
{
	const struct container_state *st = &in->c->states[index];

	out_begin(out, NULL);
	if (st->vcpu >= 0)
		out_text(out, "vCPU %d\n", st->vcpu);
	if (st->vcpu >= 0)
		out_u64(out, "vcpu", NULL, (uint64_t)st->vcpu);
	if (st->bare_page)
		out_str(out, "format", "a bare page", "%s", "vmcs12 without a "
			"header");
	else
		print_header(st, out);
	for (uint32_t i = 0; i < in->scan.n; i++)
		if (in->scan.page[i].place != PLACE_RAM &&
		    in->scan.page[i].state == index)
			print_page(o, in, &in->scan.page[i], out);
	out_end(out);
}

static void print_ram(const struct inspect_options *o,
		      const struct inspection *in, struct out *out)
{
	bool head = false;

	out_list(out, "ram");
	for (uint32_t i = 0; i < in->scan.n; i++) {
		const struct vmcs12_page *p = &in->scan.page[i];

		if (p->place != PLACE_RAM)
			continue;
		if (!head)
			out_text(out, "in guest RAM\n");
		head = true;
		out_begin(out, NULL);
		out_hex(out, "gpa", NULL, p->gpa);
		out_str(out, "kind", NULL, "%s", vmcs12_kind_name(p->kind));
		out_str(out, "verdict", NULL, "%s",
			identify_verdict_name(p->verdict));
		if (p->layout)
			out_str(out, "layout", NULL, "%s", p->layout->id);
		out_text(out, "  0x%-20" PRIx64 " %s%s%s\n", p->gpa,
			 vmcs12_kind_name(p->kind), p->layout ? ", layout " : "",
			 p->layout ? p->layout->id : "");
		if (o->all && p->kind != VMCS12_VMXON && p->kind != VMCS12_EMPTY)
			inspect_fields(o, in->layout, p->data, out);
		out_end(out);
	}
	out_list_end(out);
}

/* The vCPU that was a hypervisor's, where a kernel without the nested-state ioctls
 * (4.12 to 4.17) could save RAM only; or -1. */
static int lost_state(const struct inspection *in)
{
	const struct container *c = in->c;
	bool pages = false;

	for (uint32_t i = 0; i < in->scan.n; i++)
		pages |= in->scan.page[i].place == PLACE_RAM;
	for (uint32_t i = 0; pages && !c->nstates && i < c->nvcpus; i++)
		if (c->vcpus[i].has_regs && c->vcpus[i].cr4 >> 13 & 1)
			return (int)i;
	return -1;
}

/* Where nothing is nested: how the vCPUs stand, for people. */
static void print_vcpus(const struct inspect_options *o, const struct container *c,
			struct out *out)
{
	uint32_t most = o->all || c->nvcpus <= PLAIN_VCPUS ? c->nvcpus : PLAIN_VCPUS;

	if (c->nstates || !c->nvcpus)
		return;
	out_text(out, "  nested state           none\n");
	for (uint32_t i = 0; i < most; i++) {
		const struct container_vcpu *v = &c->vcpus[i];

		if (v->has_regs)
			out_text(out, "vCPU %u\n  goes on at             RIP 0x%"
				 PRIx64 "  RSP 0x%" PRIx64 "  CR3 0x%" PRIx64
				 "  CR4.VMXE %s\n", i, v->rip, v->rsp, v->cr3,
				 v->cr4 >> 13 & 1 ? "set" : "clear");
	}
	if (most < c->nvcpus)
		out_text(out, "and %u vCPUs more (--all)\n", c->nvcpus - most);
}

void inspect_print(const struct inspect_options *o, const struct inspection *in,
		   struct out *out)
{
	bool vmcs12 = false;

	print_file(in, out);
	for (uint32_t i = 0; i < in->scan.n; i++)
		vmcs12 |= in->scan.page[i].kind != VMCS12_VMXON;
	if (vmcs12)
		print_layout(o, in, out);
	if (lost_state(in) >= 0)
		out_bool(out, "nested_state_lost", NULL, true);
	out_list(out, "states");
	for (uint32_t i = 0; i < in->c->nstates; i++)
		print_state(o, in, i, out);
	out_list_end(out);
	print_vcpus(o, in->c, out);
	print_ram(o, in, out);
}

/* -- warnings -------------------------------------------------------------------- */

static bool is_telling(int idx)
{
	return idx == VMCS_IDX_GUEST_RIP || idx == VMCS_IDX_HOST_RIP ||
	       idx == VMCS_IDX_EPT_POINTER || idx == VMCS_IDX_GUEST_CR3 ||
	       idx == VMCS_IDX_VMCS_LINK_POINTER;
}

/* Which fields a kernel with today's layout would read wrong. */
static void warn_misread(const struct inspection *in,
			 const struct vmcs12_page *p)
{
	const struct layout *today = layout_newest();
	char text[300] = "";
	unsigned wrong = 0;

	/* Two rounds: first the fields that a person would look at. */
	for (int k = 0; k < 2 * VMCS_FIELD_COUNT; k++) {
		int i = k % VMCS_FIELD_COUNT;
		if (!layout_has(in->layout, i) || !layout_has(today, i) ||
		    is_telling(i) != (k < VMCS_FIELD_COUNT))
			continue;
		uint64_t is = layout_get(in->layout, p->data, i);
		uint64_t read = layout_get(today, p->data, i);
		if (is == read || wrong++ >= 4)
			continue;
		size_t used = strlen(text);
		snprintf(text + used, sizeof text - used, "%s%s 0x%" PRIx64
			 " as 0x%" PRIx64, used ? ", " : "",
			 vmcs_fields[i].name, is, read);
	}
	if (wrong)
		cli_warn(in->c->path, "a kernel since 4.18 would misread %u "
			 "fields of the %s: %s%s", wrong,
			 vmcs12_kind_name(p->kind), text,
			 wrong > 4 ? ", ..." : "");
}

static void warn_lost(const struct inspection *in)
{
	int cpu = lost_state(in);

	if (cpu >= 0)
		cli_warn(in->c->path, "vCPU %d has CR4.VMXE set and RAM holds "
			 "VMCSs, but there is no nested state: the source kernel "
			 "could not save it; an L2 that was active is lost", cpu);
}

void inspect_warn(const struct inspect_options *o, const struct inspection *in)
{
	if (!o->from && in->pool->verdict == IDENTIFY_AMBIGUOUS &&
	    !in->pool->empty)
		cli_warn(in->c->path, "the layout is ambiguous; shown as %s, "
			 "--from names another", in->layout->id);
	for (uint32_t i = 0; in->sure && i < in->scan.n; i++)
		if (in->scan.page[i].kind == VMCS12_CURRENT)
			warn_misread(in, &in->scan.page[i]);
	for (uint32_t i = 0; i < in->c->nstates; i++) {
		const struct container_state *st = &in->c->states[i];
		uint32_t said;
		if (st->bare_page || st->size < 8)
			continue;
		memcpy(&said, st->data + 4, 4);
		if (st->size > said)
			cli_warn(in->c->path, "the buffer has %u bytes beyond "
				 "the state's size (%u); they are kept",
				 st->size - said, said);
	}
	warn_lost(in);
}
