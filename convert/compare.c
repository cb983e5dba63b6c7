/* compare.c: compares two snapshots, struct by struct and page by page.
 * Reads VMCS fields only through layout_get. */
#include "convert/compare.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* MSRs that count real time, which no two runs share. */
static const uint32_t volatile_msrs[] = {
	0x10,       /* IA32_TIME_STAMP_COUNTER */
	0x6e0,      /* IA32_TSC_DEADLINE */
	0x12,       /* MSR_KVM_SYSTEM_TIME (old) */
	0x40000010, /* HV_X64_MSR_VP_RUNTIME */
	0x40000020, /* HV_X64_MSR_TIME_REF_COUNT */
	0x40000022, /* HV_X64_MSR_TSC_FREQUENCY: the host's */
};

/* Fields that the SDM leaves undefined after most exits (27.2.1: written only
 * by the exits that they describe), so that two processors may differ. */
static const uint16_t volatile_fields[] = {
	VMCS_GUEST_PHYSICAL_ADDRESS, VMCS_GUEST_LINEAR_ADDRESS,
	VMCS_VMX_INSTRUCTION_INFO,
};

struct cmp {
	compare_fn *fn;
	void *arg;
	unsigned count;
	bool strict;
	const struct layout *layout;
	unsigned vcpu;
};

static void differ(struct cmp *x, const char *left, const char *right,
		   const char *format, ...)
	__attribute__((format(printf, 4, 5)));
static void differ(struct cmp *x, const char *left, const char *right,
		   const char *format, ...)
{
	char where[128];
	va_list ap;

	va_start(ap, format);
	vsnprintf(where, sizeof where, format, ap);
	va_end(ap);
	x->count++;
	if (x->fn)
		x->fn(x->arg, where, left, right);
}

static void differ_hex(struct cmp *x, uint64_t a, uint64_t b, const char *what)
{
	char l[24], r[24];

	snprintf(l, sizeof l, "0x%llx", (unsigned long long)a);
	snprintf(r, sizeof r, "0x%llx", (unsigned long long)b);
	differ(x, l, r, "vcpu %u %s", x->vcpu, what);
}

static void cmp_u64s(struct cmp *x, const void *a, const void *b,
		     const char *const *names, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		uint64_t va, vb;
		memcpy(&va, (const char *)a + 8 * i, 8);
		memcpy(&vb, (const char *)b + 8 * i, 8);
		if (va != vb)
			differ_hex(x, va, vb, names[i]);
	}
}

static void cmp_bytes(struct cmp *x, const void *a, const void *b, size_t len,
		      const char *what)
{
	const uint8_t *pa = a, *pb = b;
	char l[8], r[8];

	for (size_t i = 0; i < len; i++) {
		if (pa[i] == pb[i])
			continue;
		snprintf(l, sizeof l, "0x%02x", pa[i]);
		snprintf(r, sizeof r, "0x%02x", pb[i]);
		differ(x, l, r, "vcpu %u %s byte 0x%zx", x->vcpu, what, i);
		return; /* the first one says where to look */
	}
}

static void cmp_segment(struct cmp *x, const struct kvm_segment *a,
			const struct kvm_segment *b, const char *name)
{
	char what[48];
	struct { const char *name; uint64_t a, b; } f[] = {
		{ "selector", a->selector, b->selector },
		{ "base", a->base, b->base },
		{ "limit", a->limit, b->limit },
		{ "type", a->type, b->type },
		{ "present", a->present, b->present },
		{ "dpl", a->dpl, b->dpl }, { "db", a->db, b->db },
		{ "s", a->s, b->s }, { "l", a->l, b->l }, { "g", a->g, b->g },
		{ "avl", a->avl, b->avl },
		{ "unusable", a->unusable, b->unusable },
	};

	for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
		if (f[i].a == f[i].b)
			continue;
		snprintf(what, sizeof what, "%s.%s", name, f[i].name);
		differ_hex(x, f[i].a, f[i].b, what);
	}
}

static void cmp_sregs(struct cmp *x, const struct kvm_sregs *a,
		      const struct kvm_sregs *b)
{
#define SEG(m) cmp_segment(x, &a->m, &b->m, #m)
#define NUM(m) if (a->m != b->m) differ_hex(x, a->m, b->m, #m)
	SEG(cs); SEG(ds); SEG(es); SEG(fs); SEG(gs); SEG(ss); SEG(tr); SEG(ldt);
	NUM(gdt.base); NUM(gdt.limit); NUM(idt.base); NUM(idt.limit);
	NUM(cr0); NUM(cr2); NUM(cr3); NUM(cr4); NUM(cr8); NUM(efer);
	NUM(apic_base);
#undef SEG
#undef NUM
	cmp_bytes(x, a->interrupt_bitmap, b->interrupt_bitmap,
		  sizeof a->interrupt_bitmap, "interrupt_bitmap");
}

static bool is_volatile_msr(uint32_t index)
{
	for (size_t i = 0; i < sizeof volatile_msrs / 4; i++)
		if (volatile_msrs[i] == index)
			return true;
	return false;
}

static void cmp_msrs(struct cmp *x, const struct snapshot_vcpu *a,
		     const struct snapshot_vcpu *b)
{
	char what[32];

	for (uint32_t i = 0; i < a->nmsrs; i++) {
		uint32_t index = a->msrs[i].index;
		const struct kvm_msr_entry *m = snapshot_msr(b, index);

		if (!x->strict && is_volatile_msr(index))
			continue;
		snprintf(what, sizeof what, "msr 0x%x", index);
		if (!m && !x->strict)
			continue; /* which ones are listed is the kernel's matter */
		if (!m)
			differ(x, "there", "absent", "vcpu %u %s", x->vcpu,
			       what);
		else if (m->data != a->msrs[i].data)
			differ_hex(x, a->msrs[i].data, m->data, what);
	}
}

/* The standard XSAVE format: legacy area, header, then components at the
 * offsets that CPUID leaf 13 gives. */
static uint64_t xstate_bv(const uint8_t *area)
{
	uint64_t v;

	memcpy(&v, area + 512, sizeof v);
	return v;
}

/* A component whose XSTATE_BV bit is clear is in its initial state, whatever stands
 * in its place; and whether the bit is set for a component that is initial anyway
 * is the processor's choice (SDM vol. 1, 13.6). */
static const uint8_t *component(const struct snapshot_vcpu *v, unsigned bit,
				uint32_t at, const uint8_t *initial)
{
	return xstate_bv(v->xsave) >> bit & 1 ? v->xsave + at : initial;
}

static void cmp_xsave(struct cmp *x, const struct snapshot_vcpu *a,
		      const struct snapshot_vcpu *b)
{
	static const uint8_t x87[24] = { 0x7f, 0x03 }, zero[8192];
	uint64_t any;

	if (a->xsave_size < 576 || b->xsave_size < 576)
		return;
	any = xstate_bv(a->xsave) | xstate_bv(b->xsave);
	if (x->strict && xstate_bv(a->xsave) != xstate_bv(b->xsave))
		differ_hex(x, xstate_bv(a->xsave), xstate_bv(b->xsave),
			   "XSTATE_BV");
	cmp_bytes(x, component(a, 0, 0, x87), component(b, 0, 0, x87), 24,
		  "x87 control");
	cmp_bytes(x, component(a, 0, 32, zero), component(b, 0, 32, zero), 128,
		  "x87 stack");
	cmp_bytes(x, a->xsave + 24, b->xsave + 24, 4, "MXCSR");
	cmp_bytes(x, component(a, 1, 160, zero), component(b, 1, 160, zero), 256,
		  "XMM");
	for (uint32_t i = 0; i < a->ncpuid; i++) {
		const struct kvm_cpuid_entry2 *c = &a->cpuid[i];
		char what[24];

		if (c->function != 13 || c->index < 2 || c->index > 62 ||
		    !(any >> c->index & 1) || c->eax > sizeof zero)
			continue;
		if ((uint64_t)c->ebx + c->eax > a->xsave_size ||
		    (uint64_t)c->ebx + c->eax > b->xsave_size)
			continue;
		snprintf(what, sizeof what, "XSAVE component %u", c->index);
		cmp_bytes(x, component(a, c->index, c->ebx, zero),
			  component(b, c->index, c->ebx, zero), c->eax, what);
	}
}

static bool is_volatile_field(unsigned idx)
{
	for (size_t i = 0; i < sizeof volatile_fields / 2; i++)
		if (volatile_fields[i] == vmcs_fields[idx].encoding)
			return true;
	return false;
}

static void cmp_vmcs12(struct cmp *x, const uint8_t *a, const uint8_t *b,
		       const char *which)
{
	char what[80];

	if (memcmp(a, b, 12))
		cmp_bytes(x, a, b, 12, which);
	for (unsigned i = 0; i < VMCS_FIELD_COUNT; i++) {
		if (!layout_has(x->layout, (int)i) ||
		    (!x->strict && is_volatile_field(i)))
			continue;
		uint64_t va = layout_get(x->layout, a, (int)i);
		uint64_t vb = layout_get(x->layout, b, (int)i);
		if (va == vb)
			continue;
		snprintf(what, sizeof what, "%s %s (0x%04x)", which,
			 vmcs_fields[i].name, vmcs_fields[i].encoding);
		differ_hex(x, va, vb, what);
	}
}

static void cmp_nested(struct cmp *x, const struct snapshot_vcpu *a,
		       const struct snapshot_vcpu *b)
{
	struct kvm_nested_state ha = { 0 }, hb = { 0 };
	const size_t header = 128, page = VMCS12_SIZE;

	memcpy(&ha, a->nested, a->nested_size < header ? a->nested_size : header);
	memcpy(&hb, b->nested, b->nested_size < header ? b->nested_size : header);
#define NUM(m) if (ha.m != hb.m) differ_hex(x, ha.m, hb.m, "nested " #m)
	NUM(flags); NUM(format); NUM(size);
	NUM(hdr.vmx.vmxon_pa); NUM(hdr.vmx.vmcs12_pa); NUM(hdr.vmx.smm.flags);
#undef NUM
	if (ha.format != KVM_STATE_NESTED_FORMAT_VMX || ha.size != hb.size)
		return;
	if (ha.size >= header + page && a->nested_size >= header + page &&
	    b->nested_size >= header + page)
		cmp_vmcs12(x, a->nested + header, b->nested + header, "vmcs12");
	if (ha.size >= header + 2 * page && a->nested_size >= header + 2 * page &&
	    b->nested_size >= header + 2 * page)
		cmp_vmcs12(x, a->nested + header + page,
			   b->nested + header + page, "shadow vmcs12");
}

static void cmp_vcpu(struct cmp *x, const struct snapshot_vcpu *a,
		     const struct snapshot_vcpu *b)
{
	static const char *const regs[] = {
		"rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rsp", "rbp", "r8",
		"r9", "r10", "r11", "r12", "r13", "r14", "r15", "rip", "rflags",
	};
	static const char *const dregs[] = {
		"dr0", "dr1", "dr2", "dr3", "dr6", "dr7",
	};
	uint32_t both = a->have & b->have;

#define BOTH(n) (both >> (n) & 1)
	if (BOTH(SN_REGS))
		cmp_u64s(x, &a->regs, &b->regs, regs, 18);
	if (BOTH(SN_SREGS))
		cmp_sregs(x, &a->sregs, &b->sregs);
	if (BOTH(SN_MSRS))
		cmp_msrs(x, a, b);
	if (BOTH(SN_XCRS) && a->xcrs.xcrs[0].value != b->xcrs.xcrs[0].value)
		differ_hex(x, a->xcrs.xcrs[0].value, b->xcrs.xcrs[0].value,
			   "xcr0");
	if (BOTH(SN_XSAVE))
		cmp_xsave(x, a, b);
	if (BOTH(SN_DEBUGREGS))
		cmp_u64s(x, &a->debugregs, &b->debugregs, dregs, 6);
	if (BOTH(SN_EVENTS))
		cmp_bytes(x, &a->events, &b->events, sizeof a->events,
			  "vcpu_events");
	if (BOTH(SN_MP_STATE) && a->mp_state.mp_state != b->mp_state.mp_state)
		differ_hex(x, a->mp_state.mp_state, b->mp_state.mp_state,
			   "mp_state");
	if (BOTH(SN_LAPIC) && x->strict)
		cmp_bytes(x, &a->lapic, &b->lapic, sizeof a->lapic, "LAPIC");
	if (BOTH(SN_NESTED))
		cmp_nested(x, a, b);
#undef BOTH
}

static void cmp_page(struct cmp *x, uint64_t gpa, const uint8_t *a,
		     const uint8_t *b)
{
	static const uint8_t zero[VMCS12_SIZE];
	char l[40], r[40];
	unsigned n = 0, first = 0;

	a = a ? a : zero;
	b = b ? b : zero;
	if (!memcmp(a, b, VMCS12_SIZE))
		return;
	for (unsigned i = VMCS12_SIZE; i--; )
		if (a[i] != b[i])
			n++, first = i;
	snprintf(l, sizeof l, "0x%02x at +0x%x", a[first], first);
	snprintf(r, sizeof r, "0x%02x (%u bytes differ)", b[first], n);
	differ(x, l, r, "RAM page 0x%llx", (unsigned long long)gpa);
}

static void cmp_ram(struct cmp *x, const struct snapshot *a,
		    const struct snapshot *b)
{
	for (uint32_t i = 0; i < a->nram; i++)
		for (uint64_t o = 0; o < a->ram[i].size; o += VMCS12_SIZE)
			cmp_page(x, a->ram[i].gpa + o, a->ram[i].host + o,
				 snapshot_ram_at(b, a->ram[i].gpa + o,
						 VMCS12_SIZE));
	/* What only b has. */
	for (uint32_t i = 0; i < b->nram; i++)
		for (uint64_t o = 0; o < b->ram[i].size; o += VMCS12_SIZE)
			if (!snapshot_ram_at(a, b->ram[i].gpa + o, VMCS12_SIZE))
				cmp_page(x, b->ram[i].gpa + o, NULL,
					 b->ram[i].host + o);
}

unsigned snapshot_compare(const struct snapshot *a, const struct snapshot *b,
			  const struct layout *layout, bool strict,
			  compare_fn *fn, void *arg)
{
	struct cmp x = { .fn = fn, .arg = arg, .strict = strict,
			 .layout = layout };

	if (a->nvcpus != b->nvcpus) {
		char l[16], r[16];
		snprintf(l, sizeof l, "%u", a->nvcpus);
		snprintf(r, sizeof r, "%u", b->nvcpus);
		differ(&x, l, r, "number of vCPUs");
	}
	for (uint32_t i = 0; i < a->nvcpus && i < b->nvcpus; i++) {
		x.vcpu = i;
		cmp_vcpu(&x, &a->vcpu[i], &b->vcpu[i]);
	}
	cmp_ram(&x, a, b);
	return x.count;
}
