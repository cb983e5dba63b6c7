/* vmfunc.c: VM functions: EPTP switching (SDM 26.5.6). */
#include "hvcore/vmx/vmx.h"

#define EPTP_LIST_ENTRIES 512

void op_vmfunc(struct vcpu *c, const struct insn *i)
{
	struct vmx *v = c->vmx;
	uint32_t leaf = (uint32_t)c->r[R_RAX], index = (uint32_t)c->r[R_RCX];
	uint64_t eptp;

	(void)i;
	if (!c->nonroot || !(v->ctl.sec & SEC_VMFUNC) || leaf > 63)
		cpu_raise(c, EXC_UD);
	if (!(VGET(v, VM_FUNCTION_CONTROL) >> leaf & 1) || leaf)
		vmx_exit_insn(c, XR_VMFUNC, 0);
	if (index >= EPTP_LIST_ENTRIES)
		vmx_exit_insn(c, XR_VMFUNC, 0);
	eptp = phys_read64(c, VGET(v, EPTP_LIST_ADDRESS) + 8ull * index);
	if (!vmx_eptp_valid(c, eptp))
		vmx_exit_insn(c, XR_VMFUNC, 0);
	VSET(v, EPT_POINTER, eptp);
	if (v->ctl.sec & SEC_VE)
		VSET(v, EPTP_INDEX, index);
	v->ctl.eptp = eptp;
	v->ctl.ept_ad = eptp >> 6 & 1;
	c->vm->stats.eptp_switches++;
	mem_switch_context(c);
}
