/* early.c: what vmx/ offers, on a machine that is never in VMX operation;
 * its instructions stop the run.
 */
#include "hvcore/parts.h"

bool ept_enabled(const struct vcpu *c)
{
	(void)c;
	return 0;
}

bool ept_peek(struct vcpu *c, uint64_t gpa, uint64_t *hpa)
{
	(void)c;
	(void)gpa;
	(void)hpa;
	return 0;
}

void ept_translate(struct vcpu *c, const struct ept_access *a, struct ept_result *out)
{
	(void)c;
	(void)a;
	(void)out;
}

bool vapic_read(struct vcpu *c, uint64_t offset, unsigned size, uint64_t *v)
{
	(void)c;
	(void)offset;
	(void)size;
	(void)v;
	return 0;
}

bool vapic_write(struct vcpu *c, uint64_t offset, unsigned size, uint64_t v)
{
	(void)c;
	(void)offset;
	(void)size;
	(void)v;
	return 0;
}

uint64_t vmx_apic_tpr(struct vcpu *c, bool write, uint64_t v)
{
	if (write)
		lapic_set_tpr(c->lapic, (uint8_t)(v << 4));
	return lapic_tpr(c->lapic) >> 4;
}

bool vmx_blocks_nmi(const struct vcpu *c)
{
	(void)c;
	return 0;
}

bool vmx_cr_allowed(const struct vcpu *c, int cr, uint64_t v)
{
	(void)c;
	(void)cr;
	(void)v;
	return true;
}

void vmx_free_vcpu(struct vcpu *c)
{
	(void)c;
}

uint32_t vmx_get_nested(struct vcpu *c, void *blob, uint32_t size)
{
	(void)c;
	(void)blob;
	(void)size;
	return 0;
}

void vmx_hook_clts(struct vcpu *c, bool *skip)
{
	(void)c;
	(void)skip;
}

uint64_t vmx_hook_cr_read(struct vcpu *c, int cr, unsigned gpr)
{
	(void)gpr;
	return cr == 0 ? c->cr0 : cr == 3 ? c->cr3 : c->cr4;
}

uint64_t vmx_hook_cr_write(struct vcpu *c, int cr, uint64_t v, unsigned gpr)
{
	(void)c;
	(void)cr;
	(void)gpr;
	return v;
}

void vmx_hook_dr(struct vcpu *c, int dr, bool write, unsigned gpr)
{
	(void)c;
	(void)dr;
	(void)write;
	(void)gpr;
}

bool vmx_hook_event(struct vcpu *c, uint32_t pend, uint8_t vector_if_known)
{
	(void)c;
	(void)pend;
	(void)vector_if_known;
	return 0;
}

void vmx_hook_fault(struct vcpu *c, const struct fault *f)
{
	(void)c;
	(void)f;
}

void vmx_hook_insn(struct vcpu *c, const struct insn *i, enum vmx_insn_kind k)
{
	(void)c;
	(void)i;
	(void)k;
}

void vmx_hook_io(struct vcpu *c, const struct insn *i, uint16_t port, unsigned size, bool in, bool string, bool rep, bool immediate)
{
	(void)c;
	(void)i;
	(void)port;
	(void)size;
	(void)in;
	(void)string;
	(void)rep;
	(void)immediate;
}

uint64_t vmx_hook_lmsw(struct vcpu *c, uint16_t source, bool mem, uint64_t lin)
{
	(void)c;
	(void)source;
	(void)mem;
	(void)lin;
	return 0;
}

void vmx_hook_msr(struct vcpu *c, uint32_t index, bool write)
{
	(void)c;
	(void)index;
	(void)write;
}

uint64_t vmx_hook_smsw(struct vcpu *c)
{
	return c->cr0;
}

void vmx_hook_task_switch(struct vcpu *c, uint16_t selector, int why, unsigned insn_len)
{
	(void)c;
	(void)selector;
	(void)why;
	(void)insn_len;
}

void vmx_hook_triple_fault(struct vcpu *c)
{
	(void)c;
}

bool vmx_in_operation(const struct vcpu *c)
{
	(void)c;
	return 0;
}

void vmx_init_vcpu(struct vcpu *c)
{
	(void)c;
}

bool vmx_iret_unblocks(const struct vcpu *c)
{
	(void)c;
	return 0;
}

bool vmx_is_apic_access(const struct vcpu *c, uint64_t hpa)
{
	(void)c;
	(void)hpa;
	return 0;
}

void vmx_model_changed(struct vcpu *c)
{
	(void)c;
}

uint64_t vmx_msr_read(struct vcpu *c, uint32_t index, bool *gp)
{
	(void)c;
	(void)index;
	(void)gp;
	*gp = true;
	return 0;
}

bool vmx_mtf(const struct vcpu *c)
{
	(void)c;
	return 0;
}

uint64_t vmx_ptimer_left(const struct vcpu *c)
{
	(void)c;
	return ~0ull;
}

void vmx_reset(struct vcpu *c)
{
	(void)c;
}

void vmx_retired(struct vcpu *c)
{
	(void)c;
}

enum nst_status vmx_set_nested(struct vcpu *c, const void *blob, uint32_t size, struct nst_error *e)
{
	(void)c;
	(void)blob;
	(void)size;
	return nst_fail(e, NST_BAD_INPUT, "VMX is not supported");
}

uint64_t vmx_tlb_eptp(const struct vcpu *c)
{
	(void)c;
	return 0;
}

uint16_t vmx_tlb_vpid(const struct vcpu *c)
{
	(void)c;
	return 0;
}

uint64_t vmx_tsc(struct vcpu *c, uint64_t tsc)
{
	(void)c;
	return tsc;
}

bool vmx_wants_window(struct vcpu *c)
{
	(void)c;
	return 0;
}

void vmx_watch_write(struct vcpu *c, uint64_t gpa, unsigned len)
{
	(void)c;
	(void)gpa;
	(void)len;
}

bool vmx_x2apic_read(struct vcpu *c, uint32_t index, uint64_t *v)
{
	(void)c;
	(void)index;
	(void)v;
	return 0;
}

bool vmx_x2apic_write(struct vcpu *c, uint32_t index, uint64_t v)
{
	(void)c;
	(void)index;
	(void)v;
	return 0;
}

#define STOPS(name) \
void name(struct vcpu *c, const struct insn *i) \
{ \
	(void)i; \
	cpu_stop(c, HV_STOP_UNSUPPORTED, "%s is not supported", #name); \
}
STOPS(op_invept)
STOPS(op_invvpid)
STOPS(op_vmcall)
STOPS(op_vmclear)
STOPS(op_vmfunc)
STOPS(op_vmlaunch)
STOPS(op_vmptrld)
STOPS(op_vmptrst)
STOPS(op_vmread)
STOPS(op_vmresume)
STOPS(op_vmwrite)
STOPS(op_vmxoff)
STOPS(op_vmxon)
