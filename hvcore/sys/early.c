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
uint64_t mem_read_slow(struct vcpu *c, const struct insn *i, uint64_t lin,
		       unsigned size)
{
	(void)i; (void)lin; (void)size; STOP(c);
}
void mem_write_slow(struct vcpu *c, const struct insn *i, uint64_t lin,
		    unsigned size, uint64_t value)
{
	(void)i; (void)lin; (void)size; (void)value; STOP(c);
}
void mem_probe_write(struct vcpu *c, const struct insn *i, uint64_t lin,
		     unsigned size)
{
	(void)i; (void)lin; (void)size; STOP(c);
}
void mem_read_bytes(struct vcpu *c, const struct insn *i, uint64_t lin,
		    void *buf, unsigned len)
{
	(void)i; (void)lin; (void)buf; (void)len; STOP(c);
}
void mem_write_bytes(struct vcpu *c, const struct insn *i, uint64_t lin,
		     const void *buf, unsigned len)
{
	(void)i; (void)lin; (void)buf; (void)len; STOP(c);
}
void mem_sys_read(struct vcpu *c, uint64_t lin, void *buf, unsigned len)
{
	(void)lin; (void)buf; (void)len; STOP(c);
}
void mem_sys_write(struct vcpu *c, uint64_t lin, const void *buf, unsigned len)
{
	(void)lin; (void)buf; (void)len; STOP(c);
}
void mem_sys_probe_write(struct vcpu *c, uint64_t lin, unsigned len)
{
	(void)lin; (void)len; STOP(c);
}
const uint8_t *mem_fetch(struct vcpu *c, uint64_t lin, uint64_t *phys)
{
	(void)lin; (void)phys; STOP(c);
}
void *mem_bulk(struct vcpu *c, const struct insn *i, uint64_t lin,
	       enum mem_access access)
{
	(void)i; (void)lin; (void)access; STOP(c);
}
bool mem_peek_linear(struct vcpu *c, uint64_t lin, uint64_t *gpa)
{
	(void)c; *gpa = lin; return false;
}
bool mem_init_vcpu(struct vcpu *c) { (void)c; return true; }
void mem_free_vcpu(struct vcpu *c) { (void)c; }
void mem_switch_context(struct vcpu *c) { (void)c; }
void mem_flush_all(struct vcpu *c) { (void)c; }
void mem_flush_pcid(struct vcpu *c, uint16_t pcid, bool globals)
{
	(void)c; (void)pcid; (void)globals;
}
void mem_flush_vpid(struct vcpu *c, uint16_t vpid, bool keep_globals)
{
	(void)c; (void)vpid; (void)keep_globals;
}
void mem_flush_eptp(struct vcpu *c, uint64_t eptp) { (void)c; (void)eptp; }
void mem_flush_page(struct vcpu *c, uint64_t lin) { (void)c; (void)lin; }
void mem_flush_addr(struct vcpu *c, uint16_t vpid, uint64_t lin)
{
	(void)c; (void)vpid; (void)lin;
}
void mem_flush_phys_code(struct vm *vm, uint64_t gpa) { (void)vm; (void)gpa; }
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
