/* misc.c: system instructions that need no table: time, identity, random
 * numbers, waiting, caches and TLB, FS/GS bases, protection keys.
 *
 * In VMX non-root operation each asks its hook after the checks that have
 * priority over a VM exit (SDM vol. 3, 26.1.1): validity, then privilege.
 */
#include "hvcore/sys/ops.h"

static void hook(struct vcpu *c, const struct insn *i, enum vmx_insn_kind k)
{
	if (unlikely(c->nonroot))
		vmx_hook_insn(c, i, k);
}

static void need(struct vcpu *c, uint32_t leaf, uint32_t sub, unsigned reg,
		 unsigned bit)
{
	if (!cpu_has(c, leaf, sub, reg, bit))
		cpu_raise(c, EXC_UD);
}

static void gp0(struct vcpu *c)
{
	cpu_raise_error(c, EXC_GP, 0);
}

void op_cpuid(struct vcpu *c, const struct insn *i)
{
	uint32_t out[4];

	hook(c, i, VI_CPUID);
	cpuid_query(c, (uint32_t)c->r[R_RAX], (uint32_t)c->r[R_RCX], out);
	c->r[R_RAX] = out[0];
	c->r[R_RBX] = out[1];
	c->r[R_RCX] = out[2];
	c->r[R_RDX] = out[3];
}

/* -- time ---------------------------------------------------------------- */
static void check_tsd(struct vcpu *c)
{
	if (c->cr4 & CR4_TSD && c->cpl)
		gp0(c);
}

void op_rdtsc(struct vcpu *c, const struct insn *i)
{
	check_tsd(c);
	hook(c, i, VI_RDTSC);
	set_edx_eax(c, vmx_tsc(c, cpu_tsc(c)));
}

void op_rdtscp(struct vcpu *c, const struct insn *i)
{
	need(c, 0x80000001, 0, 3, 27);
	check_tsd(c);
	hook(c, i, VI_RDTSCP);
	set_edx_eax(c, vmx_tsc(c, cpu_tsc(c)));
	c->r[R_RCX] = (uint32_t)c->msr.tsc_aux;
}

void op_rdpid(struct vcpu *c, const struct insn *i)
{
	need(c, 7, 0, 2, 22);
	hook(c, i, VI_RDPID);
	c->r[i->rm] = (uint32_t)c->msr.tsc_aux;
}

/* Counters stand still: they are storage (see msrs.def). */
void op_rdpmc(struct vcpu *c, const struct insn *i)
{
	uint32_t n = (uint32_t)c->r[R_RCX];
	uint64_t v = 0;
	bool gp = true;

	if (c->cpl && !(c->cr4 & CR4_PCE))
		gp0(c);
	hook(c, i, VI_RDPMC);
	if (n < 8)
		v = msr_read(c, 0xc1 + n, &gp);
	else if (n >> 30 == 1 && (n & 0x3fffffff) < 4)
		v = msr_read(c, 0x309 + (n & 3), &gp);
	if (gp)
		gp0(c);
	set_edx_eax(c, v);
}

/* -- random numbers: seeded, so that runs repeat ------------------------- */
static uint64_t next_random(struct vm *vm)
{
	uint64_t z = vm->seed += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static void random_to(struct vcpu *c, const struct insn *i)
{
	set_gpr(c, i->rm, insn_opsize(i), next_random(c->vm));
	set_arith(c, FLAG_CF);
}

void op_rdrand(struct vcpu *c, const struct insn *i)
{
	need(c, 1, 0, 2, 30);
	hook(c, i, VI_RDRAND);
	random_to(c, i);
}

void op_rdseed(struct vcpu *c, const struct insn *i)
{
	need(c, 7, 0, 1, 18);
	hook(c, i, VI_RDSEED);
	random_to(c, i);
}

/* -- waiting ------------------------------------------------------------- */
void op_hlt(struct vcpu *c, const struct insn *i)
{
	require_cpl0(c);
	hook(c, i, VI_HLT);
	c->activity = ACT_HLT;
	cpu_kick(c);
}

/* An implementation may leave a monitored wait at any time (SDM vol. 2B,
 * MWAIT; UMWAIT): these end it at once. */
static void need_monitor(struct vcpu *c)
{
	need(c, 1, 0, 2, 3);
	if (c->cpl || !(c->msr.misc_enable & MISC_ENABLE_MONITOR))
		cpu_raise(c, EXC_UD);
}

void op_monitor(struct vcpu *c, const struct insn *i)
{
	uint64_t lin;

	need_monitor(c);
	hook(c, i, VI_MONITOR);
	if ((uint32_t)c->r[R_RCX])
		gp0(c);
	lin = insn_linear(c, i);
	mem_read8(c, i, lin);
}

void op_mwait(struct vcpu *c, const struct insn *i)
{
	need_monitor(c);
	hook(c, i, VI_MWAIT);
	if ((uint32_t)c->r[R_RCX] & ~1u)
		gp0(c);
}

void op_umonitor(struct vcpu *c, const struct insn *i)
{
	need(c, 7, 0, 2, 5);
	mem_read8(c, i, insn_linear(c, i));
}

static void umwait(struct vcpu *c, const struct insn *i, enum vmx_insn_kind k)
{
	need(c, 7, 0, 2, 5);
	if (c->cpl && c->cr4 & CR4_TSD)
		gp0(c);
	hook(c, i, k);
	if ((uint32_t)c->r[i->rm] & ~1u)
		gp0(c);
	set_arith(c, 0);
}

void op_umwait(struct vcpu *c, const struct insn *i)
{
	umwait(c, i, VI_UMWAIT);
}

void op_tpause(struct vcpu *c, const struct insn *i)
{
	umwait(c, i, VI_TPAUSE);
}

/* -- caches and TLB ------------------------------------------------------ */
void op_invd(struct vcpu *c, const struct insn *i)
{
	require_cpl0(c);
	hook(c, i, VI_INVD);
}

void op_wbinvd(struct vcpu *c, const struct insn *i)
{
	require_cpl0(c);
	hook(c, i, VI_WBINVD);
}

/* No segment or canonical checks: an address that maps nothing is fine. */
static uint64_t bare_linear(struct vcpu *c, const struct insn *i)
{
	uint64_t lin = insn_effective(c, i) + c->segbase[i->seg];

	return c->mode & MODE_CS64 ? lin : (uint32_t)lin;
}

void op_invlpg(struct vcpu *c, const struct insn *i)
{
	uint64_t lin;

	require_cpl0(c);
	hook(c, i, VI_INVLPG);
	lin = bare_linear(c, i);
	if (!(c->mode & MODE_CS64) || canonical(c, lin))
		mem_flush_page(c, lin);
}

/* SDM vol. 2A, INVPCID: 0 address, 1 one PCID, 2 all with globals, 3 all. */
void op_invpcid(struct vcpu *c, const struct insn *i)
{
	uint64_t type, d[2];

	need(c, 7, 0, 1, 10);
	if (c->rflags & FLAG_VM)
		gp0(c);
	require_cpl0(c);
	hook(c, i, VI_INVPCID);
	type = c->mode & MODE_CS64 ? c->r[i->reg] : (uint32_t)c->r[i->reg];
	mem_read_bytes(c, i, insn_linear(c, i), d, sizeof d);
	if (type > 3 || d[0] >> 12)
		gp0(c);
	if (type < 2 && d[0] && !(c->cr4 & CR4_PCIDE))
		gp0(c);
	if (type == 0 && !canonical_max(c, d[1]))
		gp0(c);
	if (type == 0)
		mem_flush_page(c, d[1]);
	else
		mem_flush_pcid(c, (uint16_t)d[0], type >= 2);
}

void op_serialize(struct vcpu *c, const struct insn *i)
{
	(void)i;
	need(c, 7, 0, 3, 14);
}

/* -- FS and GS ----------------------------------------------------------- */
void op_swapgs(struct vcpu *c, const struct insn *i)
{
	uint64_t base = c->segbase[SEG_GS];

	(void)i;
	if (!(c->mode & MODE_CS64))
		cpu_raise(c, EXC_UD);
	require_cpl0(c);
	set_segment_base(c, SEG_GS, c->msr.kernel_gs_base);
	c->msr.kernel_gs_base = base;
}

static void check_fsgsbase(struct vcpu *c)
{
	if (!(c->mode & MODE_CS64) || !(c->cr4 & CR4_FSGSBASE))
		cpu_raise(c, EXC_UD);
}

static void read_seg_base(struct vcpu *c, const struct insn *i, int seg)
{
	check_fsgsbase(c);
	set_gpr(c, i->rm, insn_opsize(i), c->segbase[seg]);
}

static void write_seg_base(struct vcpu *c, const struct insn *i, int seg)
{
	uint64_t v = c->r[i->rm];

	check_fsgsbase(c);
	if (insn_opsize(i) != 8)
		v = (uint32_t)v;
	if (!canonical_max(c, v))
		gp0(c);
	set_segment_base(c, seg, v);
}

void op_rdfsbase(struct vcpu *c, const struct insn *i)
{
	read_seg_base(c, i, SEG_FS);
}

void op_rdgsbase(struct vcpu *c, const struct insn *i)
{
	read_seg_base(c, i, SEG_GS);
}

void op_wrfsbase(struct vcpu *c, const struct insn *i)
{
	write_seg_base(c, i, SEG_FS);
}

void op_wrgsbase(struct vcpu *c, const struct insn *i)
{
	write_seg_base(c, i, SEG_GS);
}

/* -- SMAP, protection keys ----------------------------------------------- */
static void set_ac(struct vcpu *c, bool ac)
{
	need(c, 7, 0, 1, 20);
	if (c->cpl)
		cpu_raise(c, EXC_UD);
	c->rflags = ac ? c->rflags | FLAG_AC : c->rflags & ~(uint64_t)FLAG_AC;
	mem_switch_context(c);
}

void op_clac(struct vcpu *c, const struct insn *i)
{
	(void)i;
	set_ac(c, false);
}

void op_stac(struct vcpu *c, const struct insn *i)
{
	(void)i;
	set_ac(c, true);
}

void op_rdpkru(struct vcpu *c, const struct insn *i)
{
	(void)i;
	if (!(c->cr4 & CR4_PKE))
		cpu_raise(c, EXC_UD);
	if ((uint32_t)c->r[R_RCX])
		gp0(c);
	set_edx_eax(c, c->fpu.pkru);
}

void op_wrpkru(struct vcpu *c, const struct insn *i)
{
	(void)i;
	if (!(c->cr4 & CR4_PKE))
		cpu_raise(c, EXC_UD);
	if ((uint32_t)c->r[R_RCX] || (uint32_t)c->r[R_RDX])
		gp0(c);
	c->fpu.pkru = (uint32_t)c->r[R_RAX];
	mem_switch_context(c);
}

/* -- what this machine has not ------------------------------------------- */
void op_rsm(struct vcpu *c, const struct insn *i)
{
	if (!c->in_smm)
		cpu_raise(c, EXC_UD);
	hook(c, i, VI_RSM);
	cpu_stop(c, HV_STOP_UNSUPPORTED,
		 "RSM: system-management mode is not supported");
}

void op_getsec(struct vcpu *c, const struct insn *i)
{
	if (!(c->cr4 & CR4_SMXE))
		cpu_raise(c, EXC_UD);
	hook(c, i, VI_GETSEC);
	cpu_stop(c, HV_STOP_UNSUPPORTED, "GETSEC: SMX is not supported");
}

/* A feature that no model of the core has: #UD by the book; a snapshot whose
 * CPUID promises it must not be told so. */
static void absent(struct vcpu *c, const char *name, uint32_t leaf,
		   unsigned reg, unsigned bit)
{
	if (cpu_has(c, leaf, 0, reg, bit))
		cpu_stop(c, HV_STOP_UNSUPPORTED, "%s is not supported", name);
	cpu_raise(c, EXC_UD);
}

void op_encls(struct vcpu *c, const struct insn *i)
{
	(void)i;
	absent(c, "ENCLS", 7, 1, 2);
}

void op_enclu(struct vcpu *c, const struct insn *i)
{
	(void)i;
	absent(c, "ENCLU", 7, 1, 2);
}

void op_enclv(struct vcpu *c, const struct insn *i)
{
	(void)i;
	absent(c, "ENCLV", 7, 1, 2);
}

void op_pconfig(struct vcpu *c, const struct insn *i)
{
	(void)i;
	absent(c, "PCONFIG", 7, 3, 18);
}

void op_loadiwkey(struct vcpu *c, const struct insn *i)
{
	(void)i;
	absent(c, "LOADIWKEY", 7, 2, 23);
}
