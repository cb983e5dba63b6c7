/* insn.c: VMXON to VMPTRST, VMLAUNCH, VMRESUME, VMCALL, INVEPT, INVVPID: the
 * checks of each in the order of its pseudocode (SDM volume 3, chapter 31). */
#include "hvcore/exec/flags.h"
#include "hvcore/vmx/vmx.h"

enum { /* VM-instruction errors (SDM 31.4) */
	ERR_VMCALL_ROOT = 1, ERR_VMCLEAR_ADDR = 2, ERR_VMCLEAR_VMXON = 3,
	ERR_LAUNCH_NOT_CLEAR = 4, ERR_RESUME_NOT_LAUNCHED = 5,
	ERR_VMPTRLD_ADDR = 9, ERR_VMPTRLD_VMXON = 10, ERR_VMPTRLD_REVISION = 11,
	ERR_VMXON_IN_ROOT = 15, ERR_MOV_SS = 26, ERR_INV_OPERAND = 28,
};

/* -- outcomes ----------------------------------------------------------------------- */
static void set_flags(struct vcpu *c, uint64_t set)
{
	cc_set_flags(c, (uint32_t)set);
}

void vmx_succeed(struct vcpu *c)
{
	set_flags(c, 0);
}

void vmx_fail_invalid(struct vcpu *c)
{
	set_flags(c, FLAG_CF);
}

void vmx_fail_valid(struct vcpu *c, unsigned error)
{
	set_flags(c, FLAG_ZF);
	VSET(c->vmx, VM_INSTRUCTION_ERROR, error);
}

void vmx_fail(struct vcpu *c, unsigned error)
{
	if (c->vmx->current == VMX_NONE)
		vmx_fail_invalid(c);
	else
		vmx_fail_valid(c, error);
}

/* -- what comes first ----------------------------------------------------------------- */
static bool wrong_mode(const struct vcpu *c)
{
	return !(c->cr0 & CR0_PE) || c->rflags & FLAG_VM ||
	       (c->efer & EFER_LMA && !(c->seg[SEG_CS].attr & AR_L));
}

void vmx_insn_checks(struct vcpu *c, const struct insn *i, uint32_t reason)
{
	if (!vmx_on(c) || wrong_mode(c))
		cpu_raise(c, EXC_UD);
	if (c->nonroot) {
		VSET(c->vmx, VMX_INSTRUCTION_INFO, vmx_insn_info(c, i));
		vmx_exit_insn(c, reason, vmx_insn_disp(c, i));
	}
	if (c->cpl)
		cpu_raise_error(c, EXC_GP, 0);
}

static uint64_t pointer_operand(struct vcpu *c, const struct insn *i)
{
	uint64_t pa;

	mem_read_bytes(c, i, insn_linear(c, i), &pa, 8);
	return pa;
}

/* A 4 KiB-aligned address within the processor's width (and below 4 GiB where
 * IA32_VMX_BASIC says so). */
static bool good_address(const struct vcpu *c, uint64_t pa)
{
	unsigned bits = vmx_cap(&c->vmx->caps, 0x480) >> 48 & 1 ? 32 :
		maxphyaddr(c);

	return !(pa & PAGE_MASK) && !(pa >> bits);
}

static uint32_t revision(const struct vcpu *c)
{
	return vmx_cap(&c->vmx->caps, 0x480) & 0x7fffffff;
}

/* -- VMXON, VMXOFF ---------------------------------------------------------------------- */
static void enter_vmx(struct vcpu *c, const struct insn *i)
{
	struct vmx *v = c->vmx;
	uint64_t fixed0 = vmx_cap(&v->caps, 0x486), pa;

	if (c->cpl || (c->cr0 & fixed0) != fixed0 ||
	    c->cr0 & ~vmx_cap(&v->caps, 0x487) ||
	    (c->cr4 & vmx_cap(&v->caps, 0x488)) != vmx_cap(&v->caps, 0x488) ||
	    c->cr4 & ~vmx_cap(&v->caps, 0x489) ||
	    (c->msr.feature_control & 5) != 5)
		cpu_raise_error(c, EXC_GP, 0);
	pa = pointer_operand(c, i);
	if (!good_address(c, pa) || phys_read32(c, pa) != revision(c)) {
		vmx_fail_invalid(c);
		return;
	}
	v->vmxon_pa = pa;
	v->current = v->shadow_pa = VMX_NONE;
	vmx_succeed(c);
}

void op_vmxon(struct vcpu *c, const struct insn *i)
{
	if (wrong_mode(c) || !(c->cr4 & CR4_VMXE) || !insn_is_mem(i))
		cpu_raise(c, EXC_UD);
	if (!vmx_on(c)) {
		enter_vmx(c, i);
		return;
	}
	vmx_insn_checks(c, i, XR_VMXON);
	vmx_fail(c, ERR_VMXON_IN_ROOT);
}

void op_vmxoff(struct vcpu *c, const struct insn *i)
{
	vmx_insn_checks(c, i, XR_VMXOFF);
	/* As KVM since 4.13: the cached VMCS is dropped, not written. */
	c->vmx->vmxon_pa = c->vmx->current = VMX_NONE;
	mem_flush_all(c);
	vmx_succeed(c);
}

/* -- pointers ----------------------------------------------------------------------------- */
static void release_current(struct vcpu *c)
{
	vmx_write_back(c);
	c->vmx->current = VMX_NONE;
}

void op_vmclear(struct vcpu *c, const struct insn *i)
{
	uint64_t pa;

	vmx_insn_checks(c, i, XR_VMCLEAR);
	pa = pointer_operand(c, i);
	if (!good_address(c, pa)) {
		vmx_fail(c, ERR_VMCLEAR_ADDR);
		return;
	}
	if (pa == c->vmx->vmxon_pa) {
		vmx_fail(c, ERR_VMCLEAR_VMXON);
		return;
	}
	if (pa == c->vmx->current)
		release_current(c);
	phys_write32(c, pa + VMCS12_OFF_LAUNCH, 0);
	vmx_succeed(c);
}

void op_vmptrld(struct vcpu *c, const struct insn *i)
{
	struct vmx *v = c->vmx;
	bool shadowing = vmx_cap(&v->caps, 0x48b) >> 32 & SEC_SHADOW;
	uint32_t id;
	uint64_t pa;

	vmx_insn_checks(c, i, XR_VMPTRLD);
	pa = pointer_operand(c, i);
	if (!good_address(c, pa)) {
		vmx_fail(c, ERR_VMPTRLD_ADDR);
		return;
	}
	if (pa == v->vmxon_pa) {
		vmx_fail(c, ERR_VMPTRLD_VMXON);
		return;
	}
	id = phys_read32(c, pa);
	if ((id & ~VMCS12_SHADOW_BIT) != revision(c) ||
	    (id & VMCS12_SHADOW_BIT && !shadowing)) {
		vmx_fail(c, ERR_VMPTRLD_REVISION);
		return;
	}
	if (pa != v->current) {
		release_current(c);
		vmx_load_page(c, pa);
	}
	vmx_succeed(c);
}

void op_vmptrst(struct vcpu *c, const struct insn *i)
{
	vmx_insn_checks(c, i, XR_VMPTRST);
	mem_write_bytes(c, i, insn_linear(c, i), &c->vmx->current, 8);
	vmx_succeed(c);
}

/* -- entries -------------------------------------------------------------------------------- */
static void launch(struct vcpu *c, const struct insn *i, bool resume)
{
	struct vmx *v = c->vmx;
	uint32_t launched, id;

	vmx_insn_checks(c, i, resume ? XR_VMRESUME : XR_VMLAUNCH);
	memcpy(&id, v->page, 4);
	if (v->current == VMX_NONE || id & VMCS12_SHADOW_BIT) {
		vmx_fail_invalid(c);
		return;
	}
	if (c->blocking & BLOCK_MOVSS) {
		vmx_fail_valid(c, ERR_MOV_SS);
		return;
	}
	memcpy(&launched, v->page + VMCS12_OFF_LAUNCH, 4);
	if (resume != (launched != 0)) {
		vmx_fail_valid(c, resume ? ERR_RESUME_NOT_LAUNCHED :
			       ERR_LAUNCH_NOT_CLEAR);
		return;
	}
	vmx_enter(c, !resume);
}

void op_vmlaunch(struct vcpu *c, const struct insn *i)
{
	launch(c, i, false);
}

void op_vmresume(struct vcpu *c, const struct insn *i)
{
	launch(c, i, true);
}

/* In root operation VMCALL would call the dual-monitor treatment, which is not
 * offered: VMfail. */
void op_vmcall(struct vcpu *c, const struct insn *i)
{
	if (!vmx_on(c) || wrong_mode(c)) {
		/* Non-root VMCALL exits in any mode; elsewhere it is #UD. */
		if (!c->nonroot)
			cpu_raise(c, EXC_UD);
	}
	(void)i;
	if (c->nonroot)
		vmx_exit_insn(c, XR_VMCALL, 0);
	if (c->cpl)
		cpu_raise_error(c, EXC_GP, 0);
	vmx_fail(c, ERR_VMCALL_ROOT);
}

/* -- INVEPT, INVVPID --------------------------------------------------------------------------- */
static uint64_t type_operand(const struct vcpu *c, const struct insn *i)
{
	uint64_t type = c->r[i->reg];

	return c->efer & EFER_LMA && c->seg[SEG_CS].attr & AR_L ? type :
		(uint32_t)type;
}

void op_invept(struct vcpu *c, const struct insn *i)
{
	uint64_t caps = vmx_cap(&c->vmx->caps, 0x48c), type, d[2];

	if (!(vmx_cap(&c->vmx->caps, 0x48b) >> 32 & SEC_EPT) ||
	    !(caps >> 20 & 1) || !insn_is_mem(i))
		cpu_raise(c, EXC_UD);
	vmx_insn_checks(c, i, XR_INVEPT);
	type = type_operand(c, i);
	mem_read_bytes(c, i, insn_linear(c, i), d, sizeof d);
	if ((type != 1 && type != 2) || !(caps >> (24 + type) & 1) ||
	    (type == 1 && !vmx_eptp_valid(c, d[0]))) {
		vmx_fail(c, ERR_INV_OPERAND);
		return;
	}
	if (type == 1)
		mem_flush_eptp(c, d[0]);
	else
		mem_flush_all(c);
	vmx_succeed(c);
}

static bool invvpid_valid(const struct vcpu *c, uint64_t type,
			  const uint64_t d[2])
{
	uint64_t caps = vmx_cap(&c->vmx->caps, 0x48c);

	if (type > 3 || !(caps >> (40 + type) & 1) || d[0] >> 16)
		return false;
	if (type != 2 && !(d[0] & 0xffff))
		return false;
	return type != 0 || canonical(c, d[1]);
}

void op_invvpid(struct vcpu *c, const struct insn *i)
{
	uint64_t caps = vmx_cap(&c->vmx->caps, 0x48c), type, d[2];

	if (!(vmx_cap(&c->vmx->caps, 0x48b) >> 32 & SEC_VPID) ||
	    !(caps >> 32 & 1) || !insn_is_mem(i))
		cpu_raise(c, EXC_UD);
	vmx_insn_checks(c, i, XR_INVVPID);
	type = type_operand(c, i);
	mem_read_bytes(c, i, insn_linear(c, i), d, sizeof d);
	if (!invvpid_valid(c, type, d)) {
		vmx_fail(c, ERR_INV_OPERAND);
		return;
	}
	if (type == 0)
		mem_flush_addr(c, (uint16_t)d[0], d[1]);
	else if (type == 2)
		mem_flush_all(c);
	else
		mem_flush_vpid(c, (uint16_t)d[0], type == 3);
	vmx_succeed(c);
}
