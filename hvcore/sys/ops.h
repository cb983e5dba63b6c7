/* ops.h: what the handlers of system instructions share. */
#ifndef NSTATE_HVCORE_SYS_OPS_H
#define NSTATE_HVCORE_SYS_OPS_H

#include "hvcore/sys/sys.h"

static inline void require_cpl0(struct vcpu *c)
{
	if (unlikely(c->cpl))
		cpu_raise_error(c, EXC_GP, 0);
}

/* SGDT, SIDT, SLDT, STR, SMSW under user-mode instruction prevention. */
static inline void require_umip(struct vcpu *c)
{
	if (c->cr4 & CR4_UMIP && c->cpl)
		cpu_raise_error(c, EXC_GP, 0);
}

/* Protected mode, not virtual-8086, or #UD. */
static inline void require_prot(struct vcpu *c)
{
	if (!(c->cr0 & CR0_PE) || c->rflags & FLAG_VM)
		cpu_raise(c, EXC_UD);
}

static inline void set_gpr(struct vcpu *c, unsigned n, unsigned size, uint64_t v)
{
	if (size == 8)
		c->r[n] = v;
	else if (size == 4)
		c->r[n] = (uint32_t)v;
	else
		c->r[n] = (c->r[n] & ~0xffffull) | (v & 0xffff);
}

static inline uint64_t edx_eax(const struct vcpu *c)
{
	return c->r[R_RDX] << 32 | (uint32_t)c->r[R_RAX];
}

static inline void set_edx_eax(struct vcpu *c, uint64_t v)
{
	c->r[R_RAX] = (uint32_t)v;
	c->r[R_RDX] = v >> 32;
}

/* Replaces the arithmetic flags by `flags`. */
static inline void set_arith(struct vcpu *c, uint64_t flags)
{
	cpu_set_rflags(c, (cpu_rflags(c) & ~(uint64_t)FLAGS_ARITH) | flags);
}

static inline void set_zf(struct vcpu *c, bool zf)
{
	uint64_t f = cpu_rflags(c) & ~(uint64_t)FLAG_ZF;

	cpu_set_rflags(c, zf ? f | FLAG_ZF : f);
}

/* cr.c */
void dr7_load(struct vcpu *c, uint64_t v);

#endif
