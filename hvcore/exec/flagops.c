/* flagops.c: single flags, LAHF/SAHF, PUSHF/POPF, CLI/STI. */
#include "hvcore/exec/alu.h"
#include "hvcore/exec/dispatch.h"
#include "hvcore/exec/families.h"

INSN(clc) { cc_put_cf(c, false); NEXT(c, i); }
INSN(stc) { cc_put_cf(c, true); NEXT(c, i); }
INSN(cmc) { cc_put_cf(c, !cc_cf(c)); NEXT(c, i); }
INSN(cld) { c->rflags &= ~(uint64_t)FLAG_DF; NEXT(c, i); }
INSN(std) { c->rflags |= FLAG_DF; NEXT(c, i); }
const struct family fam_clc = { .fn = { [F_N] = ALL_SIZES(clc) } };
const struct family fam_stc = { .fn = { [F_N] = ALL_SIZES(stc) } };
const struct family fam_cmc = { .fn = { [F_N] = ALL_SIZES(cmc) } };
const struct family fam_cld = { .fn = { [F_N] = ALL_SIZES(cld) } };
const struct family fam_std = { .fn = { [F_N] = ALL_SIZES(std) } };

INSN(lahf)
{
	WR8(c, 1, (cc_flags(c) & 0xff) | 2);
	NEXT(c, i);
}
INSN(sahf)
{
	cc_set_flags(c, (cc_flags(c) & FLAG_OF) | RD8(c, 1));
	NEXT(c, i);
}
/* Set AL from CF: in no manual's index, in every processor. */
INSN(salc)
{
	WR8(c, R_RAX, cc_flags(c) & FLAG_CF ? 0xff : 0);
	NEXT(c, i);
}
const struct family fam_salc = { .fn = { [F_N] = ALL_SIZES(salc) } };
const struct family fam_lahf = { .fn = { [F_N] = ALL_SIZES(lahf) } };
const struct family fam_sahf = { .fn = { [F_N] = ALL_SIZES(sahf) } };

/* -- the system flags (SDM vol. 2 CLI, STI, PUSHF, POPF; vol. 3 chapter 21) --------- */
#define CR4_VME 1u
#define CR4_PVI 2u

static unsigned iopl(const struct vcpu *c)
{
	return c->rflags >> 12 & 3;
}

static _Noreturn void gp0(struct vcpu *c, const struct insn *i)
{
	c->cur = i;
	cpu_raise_error(c, EXC_GP, 0);
}

/* IF may be changed outright; false: VIF stands in for it; else #GP. */
static bool real_if(struct vcpu *c, const struct insn *i)
{
	if (!(c->cr0 & 1) || iopl(c) >= c->cpl)
		if (!(c->mode & MODE_V86) || iopl(c) == 3)
			return true;
	if (c->mode & MODE_V86 ? c->cr4 & CR4_VME :
	    c->cpl == 3 && c->cr4 & CR4_PVI)
		return false;
	gp0(c, i);
}

INSN(cli)
{
	if (real_if(c, i))
		c->rflags &= ~(uint64_t)FLAG_IF;
	else
		c->rflags &= ~(uint64_t)FLAG_VIF;
	NEXT(c, i);
}
const struct family fam_cli = { .fn = { [F_N] = ALL_SIZES(cli) } };

/* STI opens a shadow of one instruction if IF was clear; cpu_run honours it. */
INSN(sti)
{
	if (real_if(c, i)) {
		if (!(c->rflags & FLAG_IF))
			c->blocking |= BLOCK_STI;
		c->rflags |= FLAG_IF;
	} else {
		if (c->rflags & FLAG_VIP)
			gp0(c, i);
		c->rflags |= FLAG_VIF;
	}
	c->r[R_RIP] += i->off + i->len;
	retire(c, i);
	LEAVE(c);
}
const struct family fam_sti = { .fn = { [F_N] = ALL_SIZES(sti) } };

/* In virtual-8086 mode below IOPL 3 only VME's 16-bit form is allowed. */
static bool v86_extended(struct vcpu *c, const struct insn *i)
{
	if (!(c->mode & MODE_V86) || iopl(c) == 3)
		return false;
	if (op_opsize(i) != 2 || !(c->cr4 & CR4_VME))
		gp0(c, i);
	return true;
}

INSN(pushf)
{
	uint64_t v = cpu_rflags(c) & ~(uint64_t)(FLAG_VM | FLAG_RF);

	if (v86_extended(c, i)) {
		v = (v & ~(uint64_t)FLAG_IF) | FLAG_IOPL;
		v |= c->rflags & FLAG_VIF ? FLAG_IF : 0;
	}
	stack_push(c, i, op_opsize(i), v);
	NEXT(c, i);
}
const struct family fam_pushf = { .fn = { [F_N] = ALL_SIZES(pushf) } };

static uint64_t popf_mask(const struct vcpu *c, unsigned size)
{
	uint64_t m = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;

	if (size > 2)
		m |= FLAG_AC | FLAG_ID | FLAG_RF;
	if (!c->cpl && !(c->mode & MODE_V86))
		m |= FLAG_IOPL;
	if (!(c->cr0 & 1) || c->cpl <= iopl(c))
		m |= FLAG_IF;
	return m;
}

/* RF comes out clear, whatever was popped. */
static void popf_common(struct vcpu *c, const struct insn *i)
{
	unsigned size = op_opsize(i);
	bool vme = v86_extended(c, i);
	uint64_t v = stack_top(c, i, size), m = popf_mask(c, size);
	uint64_t old = cpu_rflags(c);

	if (vme) {
		if (v & FLAG_TF || (v & FLAG_IF && old & FLAG_VIP))
			gp0(c, i);
		m = (m & ~(uint64_t)(FLAG_IF | FLAG_IOPL)) | FLAG_VIF;
		v = (v & ~(uint64_t)FLAG_VIF) | (v & FLAG_IF ? FLAG_VIF : 0);
	}
	v &= ~(uint64_t)FLAG_RF;
	stack_drop(c, size);
	cpu_set_rflags(c, (old & ~m) | (v & m));
}

INSN(popf)
{
	popf_common(c, i);
	c->r[R_RIP] += i->off + i->len;
	retire(c, i);
	LEAVE(c);
}
const struct family fam_popf = { .fn = { [F_N] = ALL_SIZES(popf) } };
