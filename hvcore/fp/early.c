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

/* The legacy region and XSTATE_BV of a standard-format area; YMM, mask and ZMM
 * state where CPUID leaf 13 puts them on every processor so far. */
void fp_from_xsave(struct vcpu *c, const uint8_t *area, uint32_t size)
{
	struct fpu *f = &c->fpu;

	if (size < 576)
		return;
	memcpy(&f->fcw, area, 2);
	memcpy(&f->fsw, area + 2, 2);
	f->ftw = area[4];
	memcpy(&f->fop, area + 6, 2);
	memcpy(&f->fip, area + 8, 8);
	memcpy(&f->fdp, area + 16, 8);
	memcpy(&f->mxcsr, area + 24, 4);
	for (unsigned n = 0; n < 8; n++)
		memcpy(f->st[(n + (f->fsw >> 11)) & 7], area + 32 + 16 * n, 16);
	for (unsigned n = 0; n < 16; n++)
		memcpy(f->zmm[n], area + 160 + 16 * n, 16);
	memcpy(&f->xinuse, area + 512, 8);
}

void fp_init_vcpu(struct vcpu *c)
{
	(void)c;
}

void fp_reset(struct vcpu *c, bool init)
{
	if (init)
		return;
	memset(&c->fpu, 0, sizeof c->fpu);
	c->fpu.fcw = 0x37f;
	c->fpu.mxcsr = 0x1f80;
	c->fpu.xcr0 = 1;
}

void fp_to_xsave(const struct vcpu *c, uint8_t *area, uint32_t size)
{
	const struct fpu *f = &c->fpu;
	const uint32_t mask = 0xffff;

	if (size < 576)
		return;
	memcpy(area, &f->fcw, 2);
	memcpy(area + 2, &f->fsw, 2);
	area[4] = f->ftw;
	memcpy(area + 6, &f->fop, 2);
	memcpy(area + 8, &f->fip, 8);
	memcpy(area + 16, &f->fdp, 8);
	memcpy(area + 24, &f->mxcsr, 4);
	memcpy(area + 28, &mask, 4);
	for (unsigned n = 0; n < 8; n++)
		memcpy(area + 32 + 16 * n, f->st[(n + (f->fsw >> 11)) & 7], 16);
	for (unsigned n = 0; n < 16; n++)
		memcpy(area + 160 + 16 * n, f->zmm[n], 16);
	memcpy(area + 512, &f->xinuse, 8);
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
