/* early.c: what mem/, event/ and sys/ offer and stops loudly so far. */
#include "hvcore/sys/sys.h"

#define STOP(c) cpu_stop((c), HV_STOP_UNSUPPORTED, "%s", __func__)
_Noreturn void cpu_raise(struct vcpu *c, unsigned vector)
{
	c->fault = (struct fault){ .vector = (uint8_t)vector,
				   .type = EV_HARD_EXC };
	longjmp(*c->unwind, UNWIND_FAULT);
}
void cpu_raise_error(struct vcpu *c, unsigned vector, uint32_t error)
{
	(void)vector; (void)error; STOP(c);
}
void cpu_raise_pf(struct vcpu *c, uint64_t lin, uint32_t error)
{
	(void)lin; (void)error; STOP(c);
}
void cpu_raise_db(struct vcpu *c, uint64_t dr6) { (void)dr6; STOP(c); }
void cpu_raise_soft(struct vcpu *c, unsigned vector, enum event_type type,
		    unsigned insn_len)
{
	(void)vector; (void)type; (void)insn_len; STOP(c);
}
void event_deliver_fault(struct vcpu *c) { STOP(c); }
void event_inject(struct vcpu *c, unsigned vector, enum event_type type,
		  bool has_error, uint32_t error, unsigned insn_len)
{
	(void)vector; (void)type; (void)has_error; (void)error; (void)insn_len;
	STOP(c);
}
bool event_poll(struct vcpu *c) { STOP(c); }
void load_segment(struct vcpu *c, int seg, uint16_t selector)
{
	(void)seg; (void)selector; STOP(c);
}
void task_switch(struct vcpu *c, uint16_t selector, int why, bool has_error,
		 uint32_t error)
{
	(void)selector; (void)why; (void)has_error; (void)error; STOP(c);
}
uint64_t msr_read(struct vcpu *c, uint32_t index, bool *gp)
{
	(void)index; (void)gp; STOP(c);
}
void msr_write(struct vcpu *c, uint32_t index, uint64_t v, bool *gp)
{
	(void)index; (void)gp; (void)v; STOP(c);
}
void cr_load(struct vcpu *c, int cr, uint64_t v) { (void)cr; (void)v; STOP(c); }
bool pdptrs_load(struct vcpu *c, uint64_t cr3) { (void)cr3; STOP(c); }
bool cr0_valid(const struct vcpu *c, uint64_t v) { (void)c; (void)v; return true; }
bool cr4_valid(const struct vcpu *c, uint64_t v) { (void)c; (void)v; return true; }
uint64_t cr4_reserved(const struct vcpu *c) { (void)c; return 0; }
bool canonical(const struct vcpu *c, uint64_t va)
{
	(void)c;
	return (uint64_t)((int64_t)(va << 16) >> 16) == va;
}
unsigned maxphyaddr(const struct vcpu *c) { (void)c; return 46; }
void cpuid_query(struct vcpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	(void)leaf; (void)sub; (void)out; STOP(c);
}
bool cpu_has(const struct vcpu *c, uint32_t leaf, uint32_t sub, unsigned reg,
	     unsigned bit)
{
	(void)c; (void)leaf; (void)sub; (void)reg; (void)bit;
	return true;
}
uint64_t cpu_tsc(const struct vcpu *c) { return cpu_icount(c) + c->tsc_offset; }
void cpu_reset(struct vcpu *c, bool init) { (void)c; (void)init; }
void cpu_sipi(struct vcpu *c, uint8_t vector) { (void)vector; STOP(c); }
struct cpu_model *model_new(void) { static int m; return (void *)&m; }
void model_free(struct cpu_model *m) { (void)m; }
void regs_load(struct vcpu *c, const struct kvm_regs *r) { (void)c; (void)r; }
const char *const hv_cpu_models[] = { "minimal", NULL };
enum nst_status hv_vcpu_set_model(struct vcpu *c, const char *name,
				  struct nst_error *e)
{
	(void)c;
	return nst_fail(e, NST_BAD_INPUT, "no model %s", name);
}
enum nst_status hv_vcpu_load(struct vcpu *c, const struct snapshot_vcpu *v,
			     struct nst_error *e)
{
	(void)c; (void)v;
	return nst_fail(e, NST_BAD_INPUT, "vCPU state is not supported");
}
enum nst_status hv_vcpu_save(struct vcpu *c, struct snapshot_vcpu *v,
			     struct nst_error *e)
{
	(void)c; (void)v;
	return nst_fail(e, NST_BAD_INPUT, "vCPU state is not supported");
}
