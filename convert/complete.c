/* complete.c: a snapshot without registers gets L2's from the vmcs12's guest
 * state: RIP, RSP, RFLAGS, control registers, segments; the rest is zero. */
#include <stdio.h>
#include <string.h>

#include "convert/load.h"

static uint64_t get(const struct loaded *l, const uint8_t *page, int idx)
{
	return layout_has(l->layout, idx) ? layout_get(l->layout, page, idx) : 0;
}

/* Field `what`, given as ES's, of segment register n in the encoding's order. */
static uint64_t of_segment(const struct loaded *l, const uint8_t *page,
			   uint32_t what, unsigned n)
{
	return get(l, page, vmcs_field_index(what + 2 * n));
}

static struct kvm_segment segment(const struct loaded *l, const uint8_t *page,
				  unsigned n, uint32_t base)
{
	uint32_t ar = (uint32_t)of_segment(l, page, VMCS_GUEST_ES_AR_BYTES, n);

	return (struct kvm_segment){
		.base = get(l, page, vmcs_field_index(base)),
		.limit = (uint32_t)of_segment(l, page, VMCS_GUEST_ES_LIMIT, n),
		.selector = (uint16_t)of_segment(l, page,
						 VMCS_GUEST_ES_SELECTOR, n),
		.type = ar & 15, .s = ar >> 4 & 1, .dpl = ar >> 5 & 3,
		.present = ar >> 7 & 1, .avl = ar >> 12 & 1, .l = ar >> 13 & 1,
		.db = ar >> 14 & 1, .g = ar >> 15 & 1, .unusable = ar >> 16 & 1,
	};
}

static void fill_sregs(const struct loaded *l, const uint8_t *page,
		       struct kvm_sregs *q)
{
	q->es = segment(l, page, 0, VMCS_GUEST_ES_BASE);
	q->cs = segment(l, page, 1, VMCS_GUEST_CS_BASE);
	q->ss = segment(l, page, 2, VMCS_GUEST_SS_BASE);
	q->ds = segment(l, page, 3, VMCS_GUEST_DS_BASE);
	q->fs = segment(l, page, 4, VMCS_GUEST_FS_BASE);
	q->gs = segment(l, page, 5, VMCS_GUEST_GS_BASE);
	q->ldt = segment(l, page, 6, VMCS_GUEST_LDTR_BASE);
	q->tr = segment(l, page, 7, VMCS_GUEST_TR_BASE);
	q->gdt.base = get(l, page, VMCS_IDX_GUEST_GDTR_BASE);
	q->gdt.limit = (uint16_t)get(l, page, VMCS_IDX_GUEST_GDTR_LIMIT);
	q->idt.base = get(l, page, VMCS_IDX_GUEST_IDTR_BASE);
	q->idt.limit = (uint16_t)get(l, page, VMCS_IDX_GUEST_IDTR_LIMIT);
	q->cr0 = get(l, page, VMCS_IDX_GUEST_CR0);
	q->cr3 = get(l, page, VMCS_IDX_GUEST_CR3);
	q->cr4 = get(l, page, VMCS_IDX_GUEST_CR4);
	q->efer = get(l, page, VMCS_IDX_GUEST_IA32_EFER);
	/* Without "load IA32_EFER" the IA-32e mode guest control says it. */
	if (get(l, page, VMCS_IDX_VM_ENTRY_CONTROLS) & 0x200)
		q->efer |= 0x500;
	q->apic_base = 0xfee00900;
}

static void fill(const struct loaded *l, struct snapshot_vcpu *v)
{
	const uint8_t *page = v->nested + 128;

	if (!snapshot_has(v, SN_REGS)) {
		v->regs.rip = get(l, page, VMCS_IDX_GUEST_RIP);
		v->regs.rsp = get(l, page, VMCS_IDX_GUEST_RSP);
		v->regs.rflags = get(l, page, VMCS_IDX_GUEST_RFLAGS);
	}
	if (!snapshot_has(v, SN_SREGS) && !snapshot_has(v, SN_SREGS2))
		fill_sregs(l, page, &v->sregs);
	v->have |= 1u << SN_REGS | 1u << SN_SREGS;
}

enum nst_status load_complete(struct loaded *out, struct nst_error *e)
{
	struct snapshot *s = out->snapshot;
	bool filled = false;

	if (!s->nram)
		return nst_fail(e, NST_BAD_INPUT, "has no guest RAM to run in; "
				"--ram names a file that has it");
	for (uint32_t i = 0; i < s->nvcpus; i++) {
		struct snapshot_vcpu *v = &s->vcpu[i];
		uint16_t flags = 0;

		if (snapshot_has(v, SN_REGS) && (snapshot_has(v, SN_SREGS) ||
						 snapshot_has(v, SN_SREGS2)))
			continue;
		if (snapshot_has(v, SN_NESTED))
			memcpy(&flags, v->nested, 2);
		if (!(flags & KVM_STATE_NESTED_GUEST_MODE) ||
		    v->nested_size < 128 + VMCS12_SIZE)
			return nst_fail(e, NST_BAD_INPUT, "vCPU %u has no "
				"registers, and no active L2 whose vmcs12 "
				"could give them", i);
		fill(out, v);
		filled = true;
	}
	if (filled) {
		size_t used = strlen(out->note);
		snprintf(out->note + used, sizeof out->note - used, "%s"
			 "registers are missing: what the vmcs12 has of them "
			 "(RIP, RSP, RFLAGS, control registers, segments) "
			 "comes from there, the others are 0", used ? "; " : "");
	}
	return NST_OK;
}
