/* early.c: what fp/ offers, on a machine without x87 and SIMD: their
 * instructions stop the run.
 */
#include "hvcore/parts.h"

bool fp_decode(struct vcpu *c, const struct decode_ctx *x, struct insn *i)
{
	(void)c;
	(void)x;
	(void)i;
	return 0;
}

void fp_free_vcpu(struct vcpu *c)
{
	(void)c;
}

void fp_from_xsave(struct vcpu *c, const uint8_t *area, uint32_t size)
{
	(void)c;
	(void)area;
	(void)size;
}

void fp_init_vcpu(struct vcpu *c)
{
	(void)c;
}

void fp_reset(struct vcpu *c, bool init)
{
	(void)c;
	(void)init;
}

void fp_to_xsave(const struct vcpu *c, uint8_t *area, uint32_t size)
{
	(void)c;
	(void)area;
	(void)size;
}

#define STOPS(name) \
void name(struct vcpu *c, const struct insn *i) \
{ \
	(void)i; \
	cpu_stop(c, HV_STOP_UNSUPPORTED, "%s is not supported", #name); \
}
STOPS(op_fwait)
STOPS(op_fxrstor)
STOPS(op_fxsave)
STOPS(op_ldmxcsr)
STOPS(op_stmxcsr)
STOPS(op_xgetbv)
STOPS(op_xrstor)
STOPS(op_xrstors)
STOPS(op_xsave)
STOPS(op_xsavec)
STOPS(op_xsaveopt)
STOPS(op_xsaves)
STOPS(op_xsetbv)
