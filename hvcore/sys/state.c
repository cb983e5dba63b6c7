/* state.c: a vCPU's state to and from KVM's own structs.
 *
 * What was loaded and what the guest did not change since comes back the same
 * bit for bit: fields that the machine has no use for (flags, paddings, MSRs of
 * the hypervisor) are kept in struct cpu_model and returned.
 */
#include <stdlib.h>

#include "hvcore/sys/ops.h"

/* -- segments ------------------------------------------------------------ */
static void segment_load(struct vcpu *c, int n, const struct kvm_segment *k)
{
	struct segment *s = &c->seg[n];

	s->selector = k->selector;
	s->limit = k->limit;
	s->attr = (k->type & 15u) | (k->s & 1u) << 4 | (k->dpl & 3u) << 5 |
		  (k->present & 1u) << 7 | (k->avl & 1u) << 12 |
		  (k->l & 1u) << 13 | (k->db & 1u) << 14 | (k->g & 1u) << 15 |
		  (k->unusable & 1u) << 16;
	set_segment_base(c, n, k->base);
}

static void segment_save(const struct vcpu *c, int n, struct kvm_segment *k)
{
	const struct segment *s = &c->seg[n];

	k->base = s->base;
	k->limit = s->limit;
	k->selector = s->selector;
	k->type = s->attr & 15;
	k->s = s->attr >> 4 & 1;
	k->dpl = AR_DPL(s->attr);
	k->present = (s->attr & AR_P) && !(s->attr & AR_UNUSABLE);
	k->avl = s->attr >> 12 & 1;
	k->l = s->attr >> 13 & 1;
	k->db = s->attr >> 14 & 1;
	k->g = s->attr >> 15 & 1;
	k->unusable = s->attr >> 16 & 1;
}

/* -- registers ----------------------------------------------------------- */
static const struct { size_t at; uint8_t reg; } regs_map[] = {
	{ offsetof(struct kvm_regs, rax), R_RAX },
	{ offsetof(struct kvm_regs, rbx), R_RBX },
	{ offsetof(struct kvm_regs, rcx), R_RCX },
	{ offsetof(struct kvm_regs, rdx), R_RDX },
	{ offsetof(struct kvm_regs, rsi), R_RSI },
	{ offsetof(struct kvm_regs, rdi), R_RDI },
	{ offsetof(struct kvm_regs, rsp), R_RSP },
	{ offsetof(struct kvm_regs, rbp), R_RBP },
	{ offsetof(struct kvm_regs, r8), R_R8 },
	{ offsetof(struct kvm_regs, r9), R_R9 },
	{ offsetof(struct kvm_regs, r10), R_R10 },
	{ offsetof(struct kvm_regs, r11), R_R11 },
	{ offsetof(struct kvm_regs, r12), R_R12 },
	{ offsetof(struct kvm_regs, r13), R_R13 },
	{ offsetof(struct kvm_regs, r14), R_R14 },
	{ offsetof(struct kvm_regs, r15), R_R15 },
	{ offsetof(struct kvm_regs, rip), R_RIP },
};

void regs_load(struct vcpu *c, const struct kvm_regs *r)
{
	for (size_t i = 0; i < sizeof regs_map / sizeof regs_map[0]; i++)
		memcpy(&c->r[regs_map[i].reg], (const char *)r + regs_map[i].at,
		       8);
	c->cur = NULL;
	/* Bit 1 reads as one whatever is written; bits above 21 as zero. */
	cpu_set_rflags(c, (r->rflags & 0x3f7fd7) | 2);
	cpu_update_mode(c);
	mem_switch_context(c);
}

static void regs_save(const struct vcpu *c, struct kvm_regs *r)
{
	for (size_t i = 0; i < sizeof regs_map / sizeof regs_map[0]; i++)
		memcpy((char *)r + regs_map[i].at, &c->r[regs_map[i].reg], 8);
	r->rflags = cpu_rflags(c);
}

/* The members that both structs have, by the same names. */
#define SREGS_LOAD(c, s) do {						\
	segment_load(c, SEG_CS, &(s)->cs);				\
	segment_load(c, SEG_DS, &(s)->ds);				\
	segment_load(c, SEG_ES, &(s)->es);				\
	segment_load(c, SEG_FS, &(s)->fs);				\
	segment_load(c, SEG_GS, &(s)->gs);				\
	segment_load(c, SEG_SS, &(s)->ss);				\
	segment_load(c, SEG_TR, &(s)->tr);				\
	segment_load(c, SEG_LDTR, &(s)->ldt);				\
	(c)->gdtr.base = (s)->gdt.base;					\
	(c)->gdtr.limit = (s)->gdt.limit;				\
	(c)->idtr.base = (s)->idt.base;					\
	(c)->idtr.limit = (s)->idt.limit;				\
	(c)->cr0 = (s)->cr0 | CR0_ET;					\
	(c)->cr2 = (s)->cr2;						\
	(c)->cr3 = (s)->cr3;						\
	(c)->cr4 = (s)->cr4;						\
	(c)->efer = (s)->efer;						\
	(c)->cpl = (c)->seg[SEG_SS].attr >> 5 & 3;			\
	lapic_set_base(c, (s)->apic_base);				\
	lapic_set_tpr((c)->lapic, (uint8_t)((s)->cr8 << 4));		\
} while (0)

#define SREGS_SAVE(c, s) do {						\
	uint64_t base_;							\
									\
	segment_save(c, SEG_CS, &(s)->cs);				\
	segment_save(c, SEG_DS, &(s)->ds);				\
	segment_save(c, SEG_ES, &(s)->es);				\
	segment_save(c, SEG_FS, &(s)->fs);				\
	segment_save(c, SEG_GS, &(s)->gs);				\
	segment_save(c, SEG_SS, &(s)->ss);				\
	segment_save(c, SEG_TR, &(s)->tr);				\
	segment_save(c, SEG_LDTR, &(s)->ldt);				\
	(s)->gdt.base = (c)->gdtr.base;					\
	(s)->gdt.limit = (c)->gdtr.limit;				\
	(s)->idt.base = (c)->idtr.base;					\
	(s)->idt.limit = (c)->idtr.limit;				\
	(s)->cr0 = (c)->cr0;						\
	(s)->cr2 = (c)->cr2;						\
	(s)->cr3 = (c)->cr3;						\
	(s)->cr4 = (c)->cr4;						\
	(s)->efer = (c)->efer;						\
	(s)->cr8 = lapic_tpr((c)->lapic) >> 4;				\
	if (lapic_msr_read(c, 0x1b, &base_))				\
		(s)->apic_base = base_;					\
} while (0)

static bool wants_pdptrs(const struct vcpu *c)
{
	return c->cr0 & CR0_PG && c->cr4 & CR4_PAE && !(c->efer & EFER_LMA);
}

/* What KVM_SET_SREGS refuses: registers that no CPU could hold together. */
static enum nst_status sregs_check(const struct vcpu *c, uint64_t cr0,
				   uint64_t cr4, uint64_t efer,
				   const struct kvm_segment *cs,
				   struct nst_error *e)
{
	bool long_paging = cr0 & CR0_PG && efer & EFER_LME;

	if (!cr0_valid(c, cr0))
		return nst_fail(e, NST_BAD_INPUT, "CR0 %#llx is not valid",
				(unsigned long long)cr0);
	if (!cr4_valid(c, cr4))
		return nst_fail(e, NST_BAD_INPUT, "CR4 %#llx has bits that the "
				"CPUID table lacks (%#llx)",
				(unsigned long long)cr4, (unsigned long long)
				(cr4 & cr4_reserved(c)));
	if (long_paging != !!(efer & EFER_LMA) ||
	    (long_paging && (!(cr4 & CR4_PAE) || (cs->db && cs->l))))
		return nst_fail(e, NST_BAD_INPUT, "CR0, CR4, EFER %#llx and CS "
				"do not agree on long mode",
				(unsigned long long)efer);
	return NST_OK;
}

static void sregs_load(struct vcpu *c, const struct snapshot_vcpu *v)
{
	bool have2 = snapshot_has(v, SN_SREGS2);

	if (have2)
		SREGS_LOAD(c, &v->sregs2);
	else
		SREGS_LOAD(c, &v->sregs);
	cpu_update_mode(c);
	mem_switch_context(c);
	if (have2 && v->sregs2.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID)
		memcpy(c->pdptr, v->sregs2.pdptrs, sizeof c->pdptr);
	else if (wants_pdptrs(c))
		pdptrs_load(c, c->cr3);
}

/* -- MSRs ---------------------------------------------------------------- */
static enum nst_status msrs_load(struct vcpu *c, const struct snapshot_vcpu *v,
				 struct nst_error *e)
{
	struct cpu_model *m = c->model;
	struct kvm_msr_entry *order;

	order = malloc((v->nmsrs ? v->nmsrs : 1) * sizeof *order);
	if (!order)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	memcpy(order, v->msrs, v->nmsrs * sizeof *order);
	free(m->order);
	m->order = order;
	m->norder = v->nmsrs;
	for (uint32_t i = 0; i < v->nmsrs; i++) {
		uint32_t index = v->msrs[i].index;

		/* The capability MSRs are values of the model for vmx/. */
		if (index >= 0x480 && index <= 0x493) {
			if (!model_msr_set(c, index, v->msrs[i].data))
				return nst_fail(e, NST_SYSTEM, "out of memory");
		} else if (!msr_host_write(c, index, v->msrs[i].data)) {
			return nst_fail(e, NST_BAD_INPUT, "MSR %#x: value %#llx"
					" cannot be", index, (unsigned long long)
					v->msrs[i].data);
		}
	}
	vmx_model_changed(c);
	return NST_OK;
}

static uint32_t save_list(const struct vcpu *c, struct kvm_msr_entry *out)
{
	uint32_t n = 0, index;

	for (unsigned i = 0; (index = msr_listed(i)) != ~0u; i++) {
		if (!msr_offered(c, index))
			continue;
		if (out)
			out[n] = (struct kvm_msr_entry){ .index = index };
		n++;
	}
	for (index = 0x480; index <= 0x491; index++) {
		bool gp = false;

		if (!cpu_has(c, 1, 0, 2, 5))
			break;
		vmx_msr_read((struct vcpu *)(uintptr_t)c, index, &gp);
		if (gp)
			continue;
		if (out)
			out[n] = (struct kvm_msr_entry){ .index = index };
		n++;
	}
	return n;
}

static enum nst_status msrs_save(struct vcpu *c, struct snapshot_vcpu *v,
				 struct nst_error *e)
{
	const struct cpu_model *m = c->model;
	uint32_t n = m->order ? m->norder : save_list(c, NULL);
	struct kvm_msr_entry *list = malloc((n ? n : 1) * sizeof *list);
	uint64_t value;

	if (!list)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	if (m->order)
		memcpy(list, m->order, n * sizeof *list);
	else
		save_list(c, list);
	for (uint32_t i = 0; i < n; i++) {
		bool gp = false;

		if (list[i].index >= 0x480 && list[i].index <= 0x493) {
			if (!model_msr(c, list[i].index, &value))
				value = vmx_msr_read(c, list[i].index, &gp);
			list[i].data = value;
		} else if (msr_host_read(c, list[i].index, &value)) {
			list[i].data = value;
		}
	}
	free(v->msrs);
	v->msrs = list;
	v->nmsrs = n;
	return NST_OK;
}

/* -- events -------------------------------------------------------------- */
static void events_load(struct vcpu *c, const struct kvm_vcpu_events *k)
{
	if (k->exception.injected || k->exception.pending) {
		c->event.valid = true;
		c->event.vector = k->exception.nr;
		c->event.has_error = k->exception.has_error_code;
		c->event.error = k->exception.error_code;
		c->event.type = k->exception.nr == EXC_BP ||
				k->exception.nr == EXC_OF ?
					EV_SOFT_EXC : EV_HARD_EXC;
	} else if (k->interrupt.injected) {
		c->event.valid = true;
		c->event.vector = k->interrupt.nr;
		c->event.type = k->interrupt.soft ? EV_SOFT_INT : EV_EXTINT;
	} else if (k->nmi.injected) {
		c->event.valid = true;
		c->event.vector = EXC_NMI;
		c->event.type = EV_NMI;
	}
	if (c->event.valid)
		cpu_pend(c, PEND_INJECT);
	if (k->flags & KVM_VCPUEVENT_VALID_SHADOW) {
		if (k->interrupt.shadow & KVM_X86_SHADOW_INT_MOV_SS)
			c->blocking |= BLOCK_MOVSS;
		if (k->interrupt.shadow & KVM_X86_SHADOW_INT_STI)
			c->blocking |= BLOCK_STI;
	}
	if (k->nmi.masked)
		c->blocking |= BLOCK_NMI;
	if (k->flags & KVM_VCPUEVENT_VALID_NMI_PENDING && k->nmi.pending)
		cpu_pend(c, PEND_NMI);
	if (k->exception_has_payload && k->exception.nr == EXC_PF)
		c->cr2 = k->exception_payload;
}

static void events_save(const struct vcpu *c, struct kvm_vcpu_events *k)
{
	bool exception = c->event.valid && (c->event.type == EV_HARD_EXC ||
			c->event.type == EV_SOFT_EXC ||
			c->event.type == EV_PRIV_SOFT);
	bool intr = c->event.valid && (c->event.type == EV_EXTINT ||
				       c->event.type == EV_SOFT_INT);

	if (exception) {
		/* Loaded as pending, it is still so. */
		if (!k->exception.pending)
			k->exception.injected = 1;
		k->exception.nr = c->event.vector;
		k->exception.has_error_code = c->event.has_error;
		k->exception.error_code = c->event.error;
	} else {
		k->exception.injected = k->exception.pending = 0;
	}
	k->interrupt.injected = intr;
	if (intr) {
		k->interrupt.nr = c->event.vector;
		k->interrupt.soft = c->event.type == EV_SOFT_INT;
	}
	k->nmi.injected = c->event.valid && c->event.type == EV_NMI;
	k->interrupt.shadow = 0;
	if (c->blocking & BLOCK_MOVSS)
		k->interrupt.shadow |= KVM_X86_SHADOW_INT_MOV_SS;
	if (c->blocking & BLOCK_STI)
		k->interrupt.shadow |= KVM_X86_SHADOW_INT_STI;
	k->nmi.masked = !!(c->blocking & BLOCK_NMI);
	k->nmi.pending = !!(c->pending_events & PEND_NMI);
	if (k->interrupt.shadow)
		k->flags |= KVM_VCPUEVENT_VALID_SHADOW;
	if (k->nmi.pending)
		k->flags |= KVM_VCPUEVENT_VALID_NMI_PENDING;
}

/* -- the small ones ------------------------------------------------------ */
static void mp_state_load(struct vcpu *c, uint32_t s)
{
	switch (s) {
	case KVM_MP_STATE_HALTED:
		c->activity = ACT_HLT;
		break;
	case KVM_MP_STATE_UNINITIALIZED:
	case KVM_MP_STATE_INIT_RECEIVED:
		c->activity = ACT_WAIT_SIPI;
		break;
	default:
		c->activity = ACT_ACTIVE;
	}
}

static uint32_t mp_state_save(const struct vcpu *c)
{
	switch (c->activity) {
	case ACT_HLT:
		return KVM_MP_STATE_HALTED;
	case ACT_WAIT_SIPI:
		return KVM_MP_STATE_INIT_RECEIVED;
	}
	return KVM_MP_STATE_RUNNABLE;
}

static void debugregs_load(struct vcpu *c, const struct kvm_debugregs *k)
{
	for (unsigned n = 0; n < 4; n++)
		c->dr[n] = k->db[n];
	c->dr[6] = k->dr6;
	dr7_load(c, k->dr7);
}

static void debugregs_save(const struct vcpu *c, struct kvm_debugregs *k)
{
	for (unsigned n = 0; n < 4; n++)
		k->db[n] = c->dr[n];
	k->dr6 = c->dr[6];
	k->dr7 = c->dr[7];
}

static uint64_t xcr0_of(const struct kvm_xcrs *x)
{
	for (unsigned n = 0; n < x->nr_xcrs && n < KVM_MAX_XCRS; n++)
		if (x->xcrs[n].xcr == 0)
			return x->xcrs[n].value;
	return 1;
}

static bool keep_nested(struct cpu_model *m, const struct snapshot_vcpu *v)
{
	free(m->nested);
	m->nested = malloc(v->nested_size ? v->nested_size : 1);
	if (!m->nested)
		return false;
	memcpy(m->nested, v->nested, v->nested_size);
	m->nested_size = v->nested_size;
	return true;
}

/* -- whole --------------------------------------------------------------- */
static void keep(struct cpu_model *m, const struct snapshot_vcpu *v)
{
	/* Registers alone (a boot loader's) are no snapshot to give back as it
	 * came: all is saved then. */
	m->loaded = snapshot_has(v, SN_CPUID);
	m->name = NULL;
	m->have = v->have;
	m->sregs = v->sregs;
	m->sregs2 = v->sregs2;
	m->xcrs = v->xcrs;
	m->events = v->events;
	m->debugregs = v->debugregs;
	m->xsave_size = snapshot_has(v, SN_XSAVE) ? v->xsave_size : 0;
}

enum nst_status hv_vcpu_load(struct vcpu *c, const struct snapshot_vcpu *v,
			     struct nst_error *e)
{
	enum nst_status s;

	keep(c->model, v);
	if (snapshot_has(v, SN_CPUID)) {
		c->model->nkept = 0;
		if (!model_set_cpuid(c, v->cpuid, v->ncpuid))
			return nst_fail(e, NST_SYSTEM, "out of memory");
		vmx_model_changed(c);
	}
	cpu_reset(c, false);
	c->activity = ACT_ACTIVE;
	if (snapshot_has(v, SN_TSC_KHZ) && v->tsc_khz)
		c->tsc_khz = v->tsc_khz;
	if (snapshot_has(v, SN_SREGS2) || snapshot_has(v, SN_SREGS)) {
		s = snapshot_has(v, SN_SREGS2) ?
			sregs_check(c, v->sregs2.cr0, v->sregs2.cr4,
				    v->sregs2.efer, &v->sregs2.cs, e) :
			sregs_check(c, v->sregs.cr0, v->sregs.cr4,
				    v->sregs.efer, &v->sregs.cs, e);
		if (s)
			return s;
		sregs_load(c, v);
	}
	if (snapshot_has(v, SN_LAPIC))
		lapic_set(c, &v->lapic);
	if (snapshot_has(v, SN_MSRS)) {
		s = msrs_load(c, v, e);
		if (s)
			return s;
	}
	if (snapshot_has(v, SN_XCRS))
		c->fpu.xcr0 = xcr0_of(&v->xcrs);
	if (snapshot_has(v, SN_XSAVE))
		fp_from_xsave(c, v->xsave, v->xsave_size);
	if (snapshot_has(v, SN_EVENTS))
		events_load(c, &v->events);
	if (snapshot_has(v, SN_MP_STATE))
		mp_state_load(c, v->mp_state.mp_state);
	if (snapshot_has(v, SN_DEBUGREGS))
		debugregs_load(c, &v->debugregs);
	if (snapshot_has(v, SN_REGS))
		regs_load(c, &v->regs);
	cpu_update_mode(c);
	mem_switch_context(c);
	if (snapshot_has(v, SN_NESTED) && v->nested_size) {
		if (!keep_nested(c->model, v))
			return nst_fail(e, NST_SYSTEM, "out of memory");
		s = vmx_set_nested(c, v->nested, v->nested_size, e);
		if (s)
			return s;
	}
	cpu_update_mode(c);
	mem_switch_context(c);
	cpu_kick(c);
	return NST_OK;
}

static enum nst_status save_arrays(struct vcpu *c, struct snapshot_vcpu *v,
				   struct nst_error *e)
{
	const struct cpu_model *m = c->model;
	uint32_t size = m->xsave_size >= 4096 ? m->xsave_size : 4096;

	free(v->xsave);
	v->xsave = calloc(1, size);
	free(v->cpuid);
	v->cpuid = malloc((m->ncpuid ? m->ncpuid : 1) * sizeof *v->cpuid);
	if (!v->xsave || !v->cpuid)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	fp_to_xsave(c, v->xsave, size);
	v->xsave_size = size;
	memcpy(v->cpuid, m->cpuid, m->ncpuid * sizeof *v->cpuid);
	v->ncpuid = m->ncpuid;
	return msrs_save(c, v, e);
}

static enum nst_status save_nested(struct vcpu *c, struct snapshot_vcpu *v,
				   struct nst_error *e)
{
	uint32_t size = vmx_get_nested(c, NULL, 0), room = size, old = 0;
	const struct cpu_model *m = c->model;
	uint8_t *blob;

	if (!size)
		return NST_OK;
	if (m->nested_size >= sizeof(struct kvm_nested_state))
		memcpy(&old, m->nested + offsetof(struct kvm_nested_state, size),
		       sizeof old);
	/* The buffer it came in was longer: so it goes out, as KVM_GET into
	 * the same buffer would leave it. */
	if (m->nested_size > size)
		room = m->nested_size;
	blob = calloc(1, room);
	if (!blob)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	if (room > size && old == size)
		memcpy(blob + size, m->nested + size, room - size);
	vmx_get_nested(c, blob, size);
	free(v->nested);
	v->nested = blob;
	v->nested_size = room;
	v->have |= 1u << SN_NESTED;
	return NST_OK;
}

enum nst_status hv_vcpu_save(struct vcpu *c, struct snapshot_vcpu *v,
			     struct nst_error *e)
{
	const struct cpu_model *m = c->model;
	enum nst_status s;

	v->sregs = m->sregs;
	v->sregs2 = m->sregs2;
	v->xcrs = m->xcrs;
	v->events = m->events;
	v->debugregs = m->debugregs;
	regs_save(c, &v->regs);
	SREGS_SAVE(c, &v->sregs);
	SREGS_SAVE(c, &v->sregs2);
	if (wants_pdptrs(c)) {
		v->sregs2.flags |= KVM_SREGS2_FLAGS_PDPTRS_VALID;
		memcpy(v->sregs2.pdptrs, c->pdptr, sizeof c->pdptr);
	} else if (v->sregs2.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID) {
		v->sregs2.flags &= ~(uint64_t)KVM_SREGS2_FLAGS_PDPTRS_VALID;
		memset(v->sregs2.pdptrs, 0, sizeof v->sregs2.pdptrs);
	}
	if (!v->xcrs.nr_xcrs)
		v->xcrs.nr_xcrs = 1;
	for (unsigned n = 0; n < v->xcrs.nr_xcrs && n < KVM_MAX_XCRS; n++)
		if (v->xcrs.xcrs[n].xcr == 0)
			v->xcrs.xcrs[n].value = c->fpu.xcr0;
	events_save(c, &v->events);
	debugregs_save(c, &v->debugregs);
	v->mp_state.mp_state = mp_state_save(c);
	lapic_get(c, &v->lapic);
	v->tsc_khz = c->tsc_khz;
	s = save_arrays(c, v, e);
	if (s)
		return s;
	v->have = m->loaded ? m->have & ~(1u << SN_NESTED) :
		  1u << SN_REGS | 1u << SN_SREGS | 1u << SN_SREGS2 |
		  1u << SN_MSRS | 1u << SN_XSAVE | 1u << SN_XCRS |
		  1u << SN_EVENTS | 1u << SN_DEBUGREGS | 1u << SN_MP_STATE |
		  1u << SN_LAPIC | 1u << SN_CPUID | 1u << SN_TSC_KHZ;
	return save_nested(c, v, e);
}
