/* intercept.c: the one question at each place where an exit can come from (SDM
 * volume 3, 26.1 and 28.2): instructions, I/O, MSRs, control registers. */
#include "hvcore/vmx/vmx.h"

/* L2 runs and its instructions are looked at. */
static bool watched(const struct vcpu *c)
{
	return c->nonroot && !c->vmx->quiet;
}

/* -- instructions --------------------------------------------------------------------- */
enum word { W_ALWAYS, W_PROC, W_SEC };

/* Which control makes an instruction exit, and with which reason. */
static const struct { uint8_t word; uint32_t bit; uint16_t reason; } rows[] = {
	[VI_CPUID] = { W_ALWAYS, 0, XR_CPUID },
	[VI_HLT] = { W_PROC, PROC_HLT, XR_HLT },
	[VI_INVD] = { W_ALWAYS, 0, XR_INVD },
	[VI_INVLPG] = { W_PROC, PROC_INVLPG, XR_INVLPG },
	[VI_RDPMC] = { W_PROC, PROC_RDPMC, XR_RDPMC },
	[VI_RDTSC] = { W_PROC, PROC_RDTSC, XR_RDTSC },
	[VI_RDTSCP] = { W_PROC, PROC_RDTSC, XR_RDTSCP },
	[VI_MWAIT] = { W_PROC, PROC_MWAIT, XR_MWAIT },
	[VI_MONITOR] = { W_PROC, PROC_MONITOR, XR_MONITOR },
	[VI_PAUSE] = { W_PROC, PROC_PAUSE, XR_PAUSE },
	[VI_WBINVD] = { W_SEC, SEC_WBINVD, XR_WBINVD },
	[VI_XSETBV] = { W_ALWAYS, 0, XR_XSETBV },
	[VI_RDRAND] = { W_SEC, SEC_RDRAND, XR_RDRAND },
	[VI_RDSEED] = { W_SEC, SEC_RDSEED, XR_RDSEED },
	[VI_INVPCID] = { W_PROC, PROC_INVLPG, XR_INVPCID },
	[VI_XSAVES] = { W_ALWAYS, 0, XR_XSAVES },
	[VI_XRSTORS] = { W_ALWAYS, 0, XR_XRSTORS },
	[VI_GETSEC] = { W_ALWAYS, 0, XR_GETSEC },
	[VI_RSM] = { W_ALWAYS, 0, XR_RSM },
	[VI_SGDT] = { W_SEC, SEC_DESC, XR_GDTR_IDTR },
	[VI_SIDT] = { W_SEC, SEC_DESC, XR_GDTR_IDTR },
	[VI_LGDT] = { W_SEC, SEC_DESC, XR_GDTR_IDTR },
	[VI_LIDT] = { W_SEC, SEC_DESC, XR_GDTR_IDTR },
	[VI_SLDT] = { W_SEC, SEC_DESC, XR_LDTR_TR },
	[VI_STR] = { W_SEC, SEC_DESC, XR_LDTR_TR },
	[VI_LLDT] = { W_SEC, SEC_DESC, XR_LDTR_TR },
	[VI_LTR] = { W_SEC, SEC_DESC, XR_LDTR_TR },
	[VI_ENCLS] = { W_SEC, SEC_ENCLS, XR_ENCLS },
	[VI_UMWAIT] = { W_PROC, PROC_RDTSC, XR_UMWAIT },
	[VI_TPAUSE] = { W_PROC, PROC_RDTSC, XR_TPAUSE },
	[VI_LOADIWKEY] = { W_ALWAYS, 0, XR_LOADIWKEY },
	[VI_RDPID] = { W_ALWAYS, 0, 0 },
};

/* Instructions that a secondary control has to enable: #UD without it. */
static uint32_t enabled_by(enum vmx_insn_kind k)
{
	switch (k) {
	case VI_RDTSCP: case VI_RDPID: return SEC_RDTSCP;
	case VI_INVPCID: return SEC_INVPCID;
	case VI_XSAVES: case VI_XRSTORS: return SEC_XSAVES;
	case VI_UMWAIT: case VI_TPAUSE: return SEC_USER_WAIT;
	default: return 0;
	}
}

/* PAUSE-loop exiting (26.1.3): too many PAUSEs, too close, at CPL 0. */
static bool pause_loop(struct vcpu *c)
{
	struct vmx *v = c->vmx;
	uint64_t now = cpu_tsc(c);
	bool looping;

	if (!(v->ctl.sec & SEC_PLE) || c->cpl)
		return false;
	if (!v->ple_last || now - v->ple_last > VGET(v, PLE_GAP)) {
		v->ple_first = v->ple_last = now;
		return false;
	}
	v->ple_last = now;
	looping = now - v->ple_first > VGET(v, PLE_WINDOW);
	if (looping)
		v->ple_first = v->ple_last = 0;
	return looping;
}

/* Instruction identity in the information field (tables 28-10, 28-11). */
static uint32_t identity(enum vmx_insn_kind k)
{
	switch (k) {
	case VI_SIDT: case VI_STR: return 1u << 28;
	case VI_LGDT: case VI_LLDT: return 2u << 28;
	case VI_LIDT: case VI_LTR: return 3u << 28;
	default: return 0;
	}
}

static uint32_t operand_size(const struct insn *i)
{
	return insn_opsize(i) == 8 ? 2 : insn_opsize(i) == 4 ? 1 : 0;
}

/* Qualification and information of those that have any. */
static uint64_t describe(struct vcpu *c, const struct insn *i,
			 enum vmx_insn_kind k)
{
	struct vmx *v = c->vmx;
	uint32_t info;

	switch (k) {
	case VI_INVLPG:
		return insn_linear(c, i);
	case VI_SGDT: case VI_SIDT: case VI_LGDT: case VI_LIDT:
	case VI_SLDT: case VI_STR: case VI_LLDT: case VI_LTR:
		info = vmx_insn_info(c, i) & 0x0fffffff;
		if (k <= VI_LIDT)
			info |= (operand_size(i) ? 1u : 0) << 11;
		VSET(v, VMX_INSTRUCTION_INFO, info | identity(k));
		return vmx_insn_disp(c, i);
	case VI_INVPCID: case VI_XSAVES: case VI_XRSTORS:
		VSET(v, VMX_INSTRUCTION_INFO, vmx_insn_info(c, i));
		return vmx_insn_disp(c, i);
	case VI_RDRAND: case VI_RDSEED:
		VSET(v, VMX_INSTRUCTION_INFO, (uint32_t)i->rm << 3 |
		     operand_size(i) << 11);
		return 0;
	case VI_UMWAIT: case VI_TPAUSE: /* of 32 bits always */
		VSET(v, VMX_INSTRUCTION_INFO, (uint32_t)i->rm << 3 | 1u << 11);
		return 0;
	default:
		return 0;
	}
}

/* XSAVES and XRSTORS exit for the components that the XSS-exiting bitmap and
 * the instruction mask both name. */
static bool xss_exits(struct vcpu *c)
{
	uint64_t mask = (c->r[R_RAX] & 0xffffffff) | c->r[R_RDX] << 32;

	return mask & c->fpu.xss & VGET(c->vmx, XSS_EXIT_BITMAP);
}

static bool encls_exits(struct vcpu *c)
{
	uint64_t leaf = c->r[R_RAX] & 0xffffffff;

	return VGET(c->vmx, ENCLS_EXITING_BITMAP) >> (leaf < 63 ? leaf : 63) & 1;
}

void vmx_hook_insn(struct vcpu *c, const struct insn *i, enum vmx_insn_kind k)
{
	const struct vmx_ctl *ctl = &c->vmx->ctl;
	uint32_t need = enabled_by(k);

	if (!watched(c))
		return;
	if (need && !(ctl->sec & need))
		cpu_raise(c, EXC_UD);
	if (k == VI_RDPID)
		return;
	if (k == VI_PAUSE && !(ctl->proc & PROC_PAUSE)) {
		if (pause_loop(c))
			vmx_exit_insn(c, XR_PAUSE, 0);
		return;
	}
	if ((rows[k].word == W_PROC && !(ctl->proc & rows[k].bit)) ||
	    (rows[k].word == W_SEC && !(ctl->sec & rows[k].bit)))
		return;
	if ((k == VI_XSAVES || k == VI_XRSTORS) && !xss_exits(c))
		return;
	if (k == VI_ENCLS && !encls_exits(c))
		return;
	vmx_exit_insn(c, rows[k].reason, describe(c, i, k));
}

/* -- I/O ----------------------------------------------------------------------------------- */
static bool io_bit(const struct vmx_ctl *k, uint16_t port)
{
	const uint8_t *map = port & 0x8000 ? k->io_b : k->io_a;

	/* A bitmap outside RAM reads as ones. */
	return !map || map[(port & 0x7fff) >> 3] >> (port & 7) & 1;
}

static bool io_exits(const struct vmx_ctl *k, uint16_t port, unsigned size)
{
	if (!(k->proc & PROC_IO_BITMAP))
		return k->proc & PROC_UNCOND_IO;
	for (unsigned n = 0; n < size; n++) {
		if (port + n > 0xffff || io_bit(k, (uint16_t)(port + n)))
			return true; /* wraps round: exits */
	}
	return false;
}

void vmx_hook_io(struct vcpu *c, const struct insn *i, uint16_t port,
		 unsigned size, bool in, bool string, bool rep, bool immediate)
{
	struct vmx *v = c->vmx;
	uint64_t qual;

	if (!watched(c) || !io_exits(&v->ctl, port, size))
		return;
	qual = (size - 1) | (uint64_t)in << 3 | (uint64_t)string << 4 |
		(uint64_t)rep << 5 | (uint64_t)immediate << 6 |
		(uint64_t)port << 16;
	if (string) {
		unsigned seg = in ? SEG_ES : i->seg == SEG_NONE ? SEG_DS : i->seg;
		unsigned ad = insn_adsize(i);
		uint64_t off = c->r[in ? R_RDI : R_RSI], lin;

		if (ad < 8)
			off &= ad == 2 ? 0xffff : 0xffffffff;
		lin = off + (seg == SEG_FS || seg == SEG_GS ||
			     !(c->mode & MODE_CS64) ? c->seg[seg].base : 0);
		VSET(v, GUEST_LINEAR_ADDRESS, c->mode & MODE_CS64 ? lin :
		     (uint32_t)lin);
		VSET(v, VMX_INSTRUCTION_INFO, (ad == 8 ? 2u : ad == 4 ? 1u : 0)
		     << 7 | (in ? 0 : (uint32_t)seg << 15));
	}
	vmx_exit_insn(c, XR_IO, qual);
}

/* -- MSRs ------------------------------------------------------------------------------------ */
static bool msr_exits(const struct vmx_ctl *k, uint32_t index, bool write)
{
	unsigned base = write ? 2048 : 0, bit;

	if (!(k->proc & PROC_MSR_BITMAP))
		return true;
	if (index < 0x2000)
		bit = index;
	else if (index >= 0xc0000000 && index < 0xc0002000)
		bit = index - 0xc0000000, base += 1024;
	else
		return true;
	return !k->msr_bitmap ||
	       k->msr_bitmap[base + (bit >> 3)] >> (bit & 7) & 1;
}

void vmx_hook_msr(struct vcpu *c, uint32_t index, bool write)
{
	if (watched(c) && msr_exits(&c->vmx->ctl, index, write))
		vmx_exit_insn(c, write ? XR_WRMSR : XR_RDMSR, 0);
}

/* -- control registers ---------------------------------------------------------------------------- */
_Noreturn static void cr_exit(struct vcpu *c, int cr, unsigned type,
			      unsigned gpr)
{
	vmx_exit_insn(c, XR_CR, (uint64_t)cr | (uint64_t)type << 4 |
		      (uint64_t)gpr << 8);
}

static bool is_cr3_target(struct vcpu *c, uint64_t value)
{
	struct vmx *v = c->vmx;
	uint64_t n = VGET(v, CR3_TARGET_COUNT);
	const uint64_t targets[4] = {
		VGET(v, CR3_TARGET_VALUE0), VGET(v, CR3_TARGET_VALUE1),
		VGET(v, CR3_TARGET_VALUE2), VGET(v, CR3_TARGET_VALUE3) };

	for (uint64_t k = 0; k < n && k < 4; k++)
		if (targets[k] == value)
			return true;
	return false;
}

uint64_t vmx_hook_cr_write(struct vcpu *c, int cr, uint64_t v, unsigned gpr)
{
	const struct vmx_ctl *k = &c->vmx->ctl;

	if (!c->nonroot)
		return v;
	if (c->vmx->quiet)
		return vmx_builtin_cr(c, cr, v);
	switch (cr) {
	case 0:
		if ((v ^ k->cr0_shadow) & k->cr0_mask)
			cr_exit(c, 0, 0, gpr);
		return (c->cr0 & k->cr0_mask) | (v & ~k->cr0_mask);
	case 3:
		if (k->proc & PROC_CR3_LOAD && !is_cr3_target(c, v))
			cr_exit(c, 3, 0, gpr);
		return v;
	case 4:
		if ((v ^ k->cr4_shadow) & k->cr4_mask)
			cr_exit(c, 4, 0, gpr);
		return (c->cr4 & k->cr4_mask) | (v & ~k->cr4_mask);
	case 8:
		if (k->proc & PROC_CR8_LOAD)
			cr_exit(c, 8, 0, gpr);
		return v;
	}
	return v;
}

uint64_t vmx_hook_cr_read(struct vcpu *c, int cr, unsigned gpr)
{
	const struct vmx_ctl *k = &c->vmx->ctl;

	switch (cr) {
	case 0:
		return vmx_hook_smsw(c);
	case 3:
		if (watched(c) && k->proc & PROC_CR3_STORE)
			cr_exit(c, 3, 1, gpr);
		return c->cr3;
	case 4:
		return c->nonroot ? (c->cr4 & ~k->cr4_mask) |
			(k->cr4_shadow & k->cr4_mask) : c->cr4;
	case 8:
		if (watched(c) && k->proc & PROC_CR8_STORE)
			cr_exit(c, 8, 1, gpr);
		return 0;
	}
	return c->cr2;
}

uint64_t vmx_hook_smsw(struct vcpu *c)
{
	const struct vmx_ctl *k = &c->vmx->ctl;

	return c->nonroot ? (c->cr0 & ~k->cr0_mask) |
		(k->cr0_shadow & k->cr0_mask) : c->cr0;
}

void vmx_hook_clts(struct vcpu *c, bool *skip)
{
	const struct vmx_ctl *k = &c->vmx->ctl;

	*skip = false;
	if (!watched(c) || !(k->cr0_mask & CR0_TS))
		return;
	if (k->cr0_shadow & CR0_TS)
		cr_exit(c, 0, 2, 0);
	*skip = true;
}

/* Returns the low four bits of CR0 as LMSW is to leave them. */
uint64_t vmx_hook_lmsw(struct vcpu *c, uint16_t source, bool mem, uint64_t lin)
{
	const struct vmx_ctl *k = &c->vmx->ctl;
	uint64_t s = source & 15, mask;
	bool exits;

	if (!watched(c))
		return s;
	/* PE can only be set; MP, EM, TS can be either way. */
	exits = (s ^ k->cr0_shadow) & k->cr0_mask & 14 ||
		(k->cr0_mask & 1 && s & 1 && !(k->cr0_shadow & 1));
	if (exits) {
		if (mem)
			VSET(c->vmx, GUEST_LINEAR_ADDRESS, lin);
		vmx_exit_insn(c, XR_CR, 3u << 4 | (uint64_t)mem << 6 |
			      (uint64_t)source << 16);
	}
	mask = k->cr0_mask & 15;
	return (c->cr0 & mask) | (s & ~mask);
}

void vmx_hook_dr(struct vcpu *c, int dr, bool write, unsigned gpr)
{
	if (watched(c) && c->vmx->ctl.proc & PROC_MOV_DR)
		vmx_exit_insn(c, XR_DR, (uint64_t)dr | (uint64_t)!write << 4 |
			      (uint64_t)gpr << 8);
}
