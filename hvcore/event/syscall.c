/* syscall.c: SYSCALL, SYSRET, SYSENTER, SYSEXIT (SDM vol. 2): transfers that
 * load fixed flat segments without looking at descriptors. */
#include "hvcore/event/event.h"

#define CODE64 0xa09bu
#define CODE32 0xc09bu
#define DATA 0xc093u

static void flat(struct vcpu *c, int seg, uint16_t selector, uint32_t attr,
		 unsigned dpl)
{
	c->seg[seg].selector = selector;
	c->seg[seg].limit = 0xffffffff;
	c->seg[seg].attr = attr | dpl << 5;
	set_segment_base(c, seg, 0);
}

static void enter(struct vcpu *c, uint16_t cs, bool wide)
{
	flat(c, SEG_CS, cs, wide ? CODE64 : CODE32, 0);
	flat(c, SEG_SS, (uint16_t)(cs + 8), DATA, 0);
	set_cpl(c, 0);
}

static void leave(struct vcpu *c, uint16_t cs, uint16_t ss, bool wide)
{
	flat(c, SEG_CS, cs | 3, wide ? CODE64 : CODE32, 3);
	flat(c, SEG_SS, ss | 3, DATA, 3);
	set_cpl(c, 3);
}

/* AMD's CPUs have SYSCALL in compatibility mode too (through CSTAR); a model
 * with that vendor's name does. */
static bool syscall_here(const struct vcpu *c)
{
	if (!(c->efer & EFER_SCE))
		return false;
	return c->mode & MODE_CS64 ||
	       (long_mode(c) && c->model->amd);
}

void op_syscall(struct vcpu *c, const struct insn *i)
{
	uint64_t flags = cpu_rflags(c);
	bool wide = c->mode & MODE_CS64;

	if (!syscall_here(c))
		cpu_raise(c, EXC_UD);
	c->r[R_RCX] = insn_rip(c, i) + i->len;
	if (!wide)
		c->r[R_RCX] = (uint32_t)c->r[R_RCX];
	c->r[R_R11] = flags & ~(uint64_t)FLAG_RF;
	cet_fast_enter(c);
	cpu_set_rflags(c, (flags & ~(c->msr.fmask | FLAG_RF)) | 2);
	enter(c, (uint16_t)(c->msr.star >> 32) & ~3, true);
	cet_track_far(c, 0);
	cpu_jump(c, wide ? c->msr.lstar : c->msr.cstar);
}

void op_sysret(struct vcpu *c, const struct insn *i)
{
	bool wide = insn_opsize(i) == 8;
	uint16_t base = (uint16_t)(c->msr.star >> 48);
	uint64_t rip = wide ? c->r[R_RCX] : (uint32_t)c->r[R_RCX];

	if (!(c->mode & MODE_CS64) || !(c->efer & EFER_SCE))
		cpu_raise(c, EXC_UD);
	require_cpl0(c);
	if (!canonical(c, rip))
		cpu_raise_error(c, EXC_GP, 0);
	cpu_set_rflags(c, (c->r[R_R11] & 0x3c7fd7) | 2);
	leave(c, wide ? base + 16 : base, base + 8, wide);
	cet_fast_leave(c);
	look_again(c);
	cpu_jump(c, rip);
	/* TF counts as it is at the end, not at the start: a trap at once. */
	if (c->rflags & FLAG_TF) {
		c->dr6_pending |= DR6_BS;
		cpu_pend(c, PEND_TRAP);
	}
}

void op_sysenter(struct vcpu *c, const struct insn *i)
{
	uint16_t cs = c->msr.sysenter_cs & 0xfffc;
	bool wide = long_mode(c);

	(void)i;
	if (!(c->cr0 & CR0_PE) || !cs)
		cpu_raise_error(c, EXC_GP, 0);
	cet_fast_enter(c);
	cpu_set_rflags(c, cpu_rflags(c) &
		       ~(uint64_t)(FLAG_VM | FLAG_IF | FLAG_RF));
	enter(c, cs, wide);
	c->r[R_RSP] = wide ? c->msr.sysenter_esp :
			     (uint32_t)c->msr.sysenter_esp;
	cet_track_far(c, 0);
	cpu_jump(c, wide ? c->msr.sysenter_eip : (uint32_t)c->msr.sysenter_eip);
}

void op_sysexit(struct vcpu *c, const struct insn *i)
{
	uint16_t cs = c->msr.sysenter_cs & 0xfffc;
	bool wide = insn_opsize(i) == 8;
	uint64_t rip = c->r[R_RDX], rsp = c->r[R_RCX];

	if (!(c->cr0 & CR0_PE) || c->cpl || !cs)
		cpu_raise_error(c, EXC_GP, 0);
	if (wide && (!canonical(c, rip) || !canonical(c, rsp)))
		cpu_raise_error(c, EXC_GP, 0);
	leave(c, (uint16_t)(cs + (wide ? 32 : 16)),
	      (uint16_t)(cs + (wide ? 40 : 24)), wide);
	cet_fast_leave(c);
	c->r[R_RSP] = wide ? rsp : (uint32_t)rsp;
	look_again(c);
	cpu_jump(c, wide ? rip : (uint32_t)rip);
}
