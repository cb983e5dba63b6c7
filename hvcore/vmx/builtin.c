/* builtin.c: the built-in L1: answers L2's exits where L1's own code is not there
 * (or not wanted), so that a nested state and L2's memory are enough to go on.
 *
 * Most exits are instructions that L1 would emulate: L2 executes them itself,
 * quietly, that is with every hook silent for one instruction.  Control
 * registers keep the bits that VMX fixes and show L2 what it wrote.  What cannot
 * be answered stops the run with a report; nothing is skipped in silence.
 */
#include "hvcore/vmx/vmx.h"

#define EPT_ADDR 0x000ffffffffff000ull
#define EPT_D 0x200ull
#define MOST_ANSWERS 64u  /* for one instruction */
#define EPT_LEAF 0x37ull /* read, write, execute, write-back */

/* -- quietly ------------------------------------------------------------------------ */
static void replay(struct vcpu *c)
{
	c->vmx->quiet = true;
	c->vmx->mtf_armed = true;
	cpu_update_mode(c);
}

void vmx_builtin_retired(struct vcpu *c)
{
	c->vmx->quiet = false;
	c->vmx->mtf_armed = c->vmx->ctl.proc & PROC_MTF;
	cpu_update_mode(c);
}

/* MOV to CR0 or CR4 while quiet: L2 reads back what it wrote. */
uint64_t vmx_builtin_cr(struct vcpu *c, int cr, uint64_t value)
{
	struct vmx *v = c->vmx;

	if (cr == 0) {
		v->ctl.cr0_shadow = value;
		VSET(v, CR0_READ_SHADOW, value);
		return value | (vmx_cap(&v->caps, 0x486) &
				~(v->ctl.sec & SEC_UNRESTRICTED ?
				  CR0_PE | CR0_PG : 0));
	}
	if (cr == 4) {
		v->ctl.cr4_shadow = value;
		VSET(v, CR4_READ_SHADOW, value);
		return value | vmx_cap(&v->caps, 0x488);
	}
	return value;
}

static void skip(struct vcpu *c)
{
	c->r[R_RIP] += VGET(c->vmx, VM_EXIT_INSTRUCTION_LEN);
	c->blocking &= (uint8_t)~(BLOCK_STI | BLOCK_MOVSS);
}

/* -- VMREAD and VMWRITE: from the shadow vmcs12 ---------------------------------------- */
static void access_shadow(struct vcpu *c, bool write)
{
	struct vmx *v = c->vmx;
	uint32_t info = (uint32_t)VGET(v, VMX_INSTRUCTION_INFO);
	bool reg = info >> 10 & 1;
	uint64_t encoding = c->r[info >> 28 & 15];
	int idx = encoding >> 16 ? -1 : vmcs_field_index((uint32_t)encoding);

	if (!reg) /* a memory operand: let the instruction do it itself */
		cpu_stop(c, HV_STOP_UNSUPPORTED, "the built-in L1 does not serve "
			 "VM%s with a memory operand, at 0x%llx", write ?
			 "WRITE" : "READ", (unsigned long long)c->r[R_RIP]);
	skip(c);
	if (v->shadow_pa == VMX_NONE) {
		vmx_fail_invalid(c);
	} else if (idx < 0 || !vmx_knows_field(c, idx)) {
		vmx_fail_valid(c, 12);
	} else if (write) {
		layout_set(v->l, v->shadow, idx, c->r[info >> 3 & 15]);
		vmx_succeed(c);
	} else {
		c->r[info >> 3 & 15] = layout_get(v->l, v->shadow, idx);
		vmx_succeed(c);
	}
}

/* -- EPT ---------------------------------------------------------------------------------- */
struct path { uint64_t at[5], entry[5]; unsigned n, level; };

/* Reads the entries for gpa down to a leaf or a hole. */
static bool find_leaf(struct vcpu *c, uint64_t gpa, struct path *p)
{
	uint64_t eptp = c->vmx->ctl.eptp, table = eptp & EPT_ADDR;

	p->n = 0;
	for (p->level = (eptp >> 3 & 7) + 1; p->level; p->level--) {
		uint64_t at = table + (gpa >> (12 + 9 * (p->level - 1)) & 511) * 8;
		uint64_t e;

		if (!phys_ptr(c->vm, at, 8))
			return false;
		e = phys_read64(c, at);
		p->at[p->n] = at;
		p->entry[p->n++] = e;
		if (!(e & 7))
			return false;
		if (p->level == 1 || e & 0x80)
			return true;
		table = e & EPT_ADDR;
	}
	return false;
}

/* Gives L2 what it asked for where memory stands behind it: rights that L1 took
 * away, or an identity mapping in a last-level hole. */
static void ept_violation(struct vcpu *c)
{
	uint64_t gpa = VGET(c->vmx, GUEST_PHYSICAL_ADDRESS);
	struct path p;
	bool leaf = find_leaf(c, gpa, &p);

	if (leaf) {
		for (unsigned n = 0; n < p.n; n++)
			phys_write64(c, p.at[n], p.entry[n] | 7);
	} else if (p.n && p.level == 1 && phys_ptr(c->vm, gpa & EPT_ADDR, 4096)) {
		phys_write64(c, p.at[p.n - 1], (gpa & EPT_ADDR) | EPT_LEAF);
	} else {
		cpu_stop(c, HV_STOP_UNSUPPORTED, "EPT violation at L2-physical "
			 "0x%llx: L1's tables do not map it (--ept identity "
			 "goes without them)", (unsigned long long)gpa);
	}
	mem_flush_eptp(c, c->vmx->ctl.eptp);
}

/* Logged pages get their dirty flags back to 0, so that they are logged again. */
static void drain_pml(struct vcpu *c)
{
	struct vmx *v = c->vmx;
	uint64_t page = VGET(v, PML_ADDRESS);
	uint16_t index = (uint16_t)VGET(v, GUEST_PML_INDEX);

	for (unsigned n = (uint16_t)(index + 1); n < 512; n++) {
		struct path p;
		uint64_t gpa = phys_read64(c, page + 8ull * n);
		if (find_leaf(c, gpa, &p))
			phys_write64(c, p.at[p.n - 1],
				     p.entry[p.n - 1] & ~EPT_D);
	}
	VSET(v, GUEST_PML_INDEX, 511);
	mem_flush_eptp(c, v->ctl.eptp);
}

/* -- everything else ------------------------------------------------------------------------ */
static void reinject(struct vcpu *c)
{
	struct vmx *v = c->vmx;
	uint32_t info = (uint32_t)VGET(v, VM_EXIT_INTR_INFO);

	if ((info & 0xff) == EXC_PF)
		c->cr2 = VGET(v, EXIT_QUALIFICATION);
	c->event.valid = true;
	c->event.vector = info & 0xff;
	c->event.type = info >> 8 & 7;
	c->event.has_error = info >> 11 & 1;
	c->event.error = (uint32_t)VGET(v, VM_EXIT_INTR_ERROR_CODE);
	c->event.insn_len = (uint8_t)VGET(v, VM_EXIT_INSTRUCTION_LEN);
	cpu_pend(c, PEND_INJECT);
}

/* There is no L1 for it to reach: it is acknowledged, and is over. */
static void take_interrupt(struct vcpu *c)
{
	if (!(c->vmx->ctl.exit & EXIT_ACK_INTR))
		board_intr_ack(c);
	if (c->lapic)
		lapic_eoi(c->lapic);
}

static void close_window(struct vcpu *c, uint32_t control)
{
	struct vmx *v = c->vmx;

	v->ctl.proc &= ~control;
	VSET(v, CPU_BASED_VM_EXEC_CONTROL, v->ctl.proc);
}

static bool answer(struct vcpu *c, uint32_t reason)
{
	switch (reason) {
	case XR_CPUID: case XR_HLT: case XR_INVD: case XR_INVLPG:
	case XR_RDPMC: case XR_RDTSC: case XR_CR: case XR_DR: case XR_IO:
	case XR_RDMSR: case XR_WRMSR: case XR_MWAIT: case XR_MONITOR:
	case XR_PAUSE: case XR_GDTR_IDTR: case XR_LDTR_TR: case XR_RDTSCP:
	case XR_WBINVD: case XR_XSETBV: case XR_RDRAND: case XR_INVPCID:
	case XR_RDSEED: case XR_XSAVES: case XR_XRSTORS: case XR_UMWAIT:
	case XR_TPAUSE:
		replay(c);
		return true;
	case XR_VMREAD: access_shadow(c, false); return true;
	case XR_VMWRITE: access_shadow(c, true); return true;
	case XR_VMCALL: case XR_VMFUNC: skip(c); return true;
	case XR_EPT_VIOLATION: ept_violation(c); return true;
	case XR_PML_FULL: drain_pml(c); return true;
	case XR_EXCEPTION: reinject(c); return true;
	case XR_EXTINT: take_interrupt(c); return true;
	case XR_INTR_WINDOW: close_window(c, PROC_INTR_WINDOW); return true;
	case XR_NMI_WINDOW: close_window(c, PROC_NMI_WINDOW); return true;
	case XR_PTIMER:
		vmx_arm_ptimer(c, 0xffffffff);
		return true;
	}
	return false;
}

/* L2 that comes back again and again without having run an instruction would do so for
 * ever: some structure of L1's is such that no answer here mends it. */
static void check_progress(struct vcpu *c, uint32_t reason)
{
	struct vmx *v = c->vmx;

	if (v->answered_at != cpu_icount(c)) {
		v->answered_at = cpu_icount(c);
		v->answers = 0;
	} else if (++v->answers > MOST_ANSWERS) {
		cpu_stop(c, HV_STOP_UNSUPPORTED, "the built-in L1 answers exit %u at "
			 "0x%llx again and again, and L2 does not go on", reason,
			 (unsigned long long)c->r[R_RIP]);
	}
}

bool vmx_builtin_l1(struct vcpu *c, uint32_t reason, uint64_t qual)
{
	struct vm *vm = c->vm;

	if (!vm->builtin_l1)
		return false;
	check_progress(c, reason);
	if (reason < 128)
		vm->stats.builtin[reason]++;
	if (vm->ops.vmexit)
		vm->ops.vmexit(vm->ops.arg, c->id, reason, qual);
	VSET(c->vmx, EXIT_QUALIFICATION, qual);
	/* The event that was on its way is tried again after the answer. */
	if (c->event.valid && reason != XR_EXCEPTION)
		cpu_pend(c, PEND_INJECT);
	if (!answer(c, reason))
		cpu_stop(c, HV_STOP_UNSUPPORTED, "the built-in L1 has no answer "
			 "to exit %u at 0x%llx, qualification 0x%llx", reason,
			 (unsigned long long)c->r[R_RIP],
			 (unsigned long long)qual);
	return true;
}

void hv_use_builtin_l1(struct vm *vm, bool ept_identity)
{
	vm->builtin_l1 = true;
	for (unsigned n = 0; ept_identity && n < vm->nvcpus; n++) {
		struct vcpu *c = vm->vcpus[n];
		struct vmx_ctl *k = &c->vmx->ctl;

		/* L2-physical is L1-physical: no second level, no log. */
		k->ept = false;
		k->sec &= ~(SEC_EPT | SEC_PML | SEC_UNRESTRICTED);
		k->eptp = 0;
		mem_switch_context(c);
		mem_flush_all(c);
	}
}
