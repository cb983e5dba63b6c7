/* msr.c: RDMSR and WRMSR from a table (msrs.def), for the guest, for VMX's
 * lists, and for the host that loads and saves state.
 *
 * The local APIC's MSRs are board/'s and the VMX capability MSRs vmx/'s; MSRs
 * that only the snapshot knows (a hypervisor's own) are kept for it and can be
 * read; a write that would have to do something stops the run.
 */
#include "hvcore/sys/ops.h"

enum feat { FEAT_NONE, FEAT_LM, FEAT_TSC_AUX, FEAT_TSC_ADJUST, FEAT_VMX,
	FEAT_SPEC_CTRL, FEAT_FLUSH_L1D, FEAT_MPX, FEAT_XSAVES, FEAT_XFD,
	FEAT_WAITPKG, FEAT_PKS, FEAT_CET, FEAT_SHSTK, FEAT_ARCH_CAP, FEAT_PDCM,
	FEAT_MCA, FEAT_LMCE, FEAT_MTRR, FEAT_PMU, FEAT_DS };

enum check { CHK_ANY, CHK_CANON, CHK_TYPE, CHK_RO, CHK_DROP, CHK_CTL };
enum kind { KIND_FIELD, KIND_KEPT, KIND_SPECIAL, KIND_COMMAND };

struct row {
	uint32_t index, count;
	uint8_t kind, feat, check;
	size_t offset;
	uint64_t mask, reset;
	uint64_t (*read)(struct vcpu *c);
	/* host: no rules beyond what keeps the core itself sane */
	bool (*write)(struct vcpu *c, uint64_t v, bool host);
};

static bool feature(const struct vcpu *c, enum feat f)
{
	static const struct { uint32_t leaf, sub; uint8_t reg, bit; } at[] = {
		[FEAT_LM] = { 0x80000001, 0, 3, 29 },
		[FEAT_TSC_ADJUST] = { 7, 0, 1, 1 },
		[FEAT_VMX] = { 1, 0, 2, 5 },
		[FEAT_FLUSH_L1D] = { 7, 0, 3, 28 },
		[FEAT_MPX] = { 7, 0, 1, 14 },
		[FEAT_XSAVES] = { 0xd, 1, 0, 3 },
		[FEAT_XFD] = { 0xd, 1, 0, 4 },
		[FEAT_WAITPKG] = { 7, 0, 2, 5 },
		[FEAT_PKS] = { 7, 0, 2, 31 },
		[FEAT_SHSTK] = { 7, 0, 2, 7 },
		[FEAT_ARCH_CAP] = { 7, 0, 3, 29 },
		[FEAT_PDCM] = { 1, 0, 2, 15 },
		[FEAT_MCA] = { 1, 0, 3, 14 },
		[FEAT_MTRR] = { 1, 0, 3, 12 },
		[FEAT_DS] = { 1, 0, 3, 21 },
	};
	uint64_t v;

	switch (f) {
	case FEAT_NONE:
		return true;
	case FEAT_TSC_AUX: /* RDTSCP or RDPID */
		return cpu_has(c, 0x80000001, 0, 3, 27) ||
		       cpu_has(c, 7, 0, 2, 22);
	case FEAT_SPEC_CTRL: /* IBRS and IBPB, or AMD's bits as KVM shows them */
		return cpu_has(c, 7, 0, 3, 26) ||
		       cpu_has(c, 0x80000008, 0, 1, 12) ||
		       cpu_has(c, 0x80000008, 0, 1, 14);
	case FEAT_CET:
		return cpu_has(c, 7, 0, 2, 7) || cpu_has(c, 7, 0, 3, 20);
	case FEAT_LMCE:
		return model_msr(c, 0x179, &v) && v >> 27 & 1;
	case FEAT_PMU:
		for (unsigned bit = 0; bit < 8; bit++)
			if (cpu_has(c, 0xa, 0, 0, bit))
				return true;
		return false;
	default:
		return cpu_has(c, at[f].leaf, at[f].sub, at[f].reg, at[f].bit);
	}
}

/* -- MSRs with work to do ------------------------------------------------ */
static uint64_t read_EFER(struct vcpu *c) { return c->efer; }

static bool write_EFER(struct vcpu *c, uint64_t v, bool host)
{
	if (!host) {
		if (!efer_valid(c, v))
			return false;
		if ((v ^ c->efer) & EFER_LME && c->cr0 & CR0_PG)
			return false;
		v = (v & ~EFER_LMA) | (c->efer & EFER_LMA);
	}
	efer_load(c, v);
	return true;
}

static uint64_t read_FS_BASE(struct vcpu *c) { return c->segbase[SEG_FS]; }
static uint64_t read_GS_BASE(struct vcpu *c) { return c->segbase[SEG_GS]; }

static bool write_base(struct vcpu *c, int seg, uint64_t v, bool host)
{
	if (!canonical_max(c, v) && !host)
		return false;
	set_segment_base(c, seg, v);
	return true;
}

static bool write_FS_BASE(struct vcpu *c, uint64_t v, bool host)
{
	return write_base(c, SEG_FS, v, host);
}

static bool write_GS_BASE(struct vcpu *c, uint64_t v, bool host)
{
	return write_base(c, SEG_GS, v, host);
}

static uint64_t read_TSC(struct vcpu *c) { return cpu_tsc(c); }

static bool write_TSC(struct vcpu *c, uint64_t v, bool host)
{
	uint64_t delta = v - cpu_tsc(c);

	c->tsc_offset += delta;
	if (!host)
		c->msr.tsc_adjust += delta;
	board_tsc_changed(c);
	return true;
}

static uint64_t read_TSC_ADJUST(struct vcpu *c) { return c->msr.tsc_adjust; }

static bool write_TSC_ADJUST(struct vcpu *c, uint64_t v, bool host)
{
	if (!host) {
		c->tsc_offset += v - c->msr.tsc_adjust;
		board_tsc_changed(c);
	}
	c->msr.tsc_adjust = v;
	return true;
}

static uint64_t read_FEATURE_CONTROL(struct vcpu *c)
{
	return c->msr.feature_control;
}

/* Locked (bit 0), VMX outside SMX (bit 2); LMCE (20) where there is one. */
static bool write_FEATURE_CONTROL(struct vcpu *c, uint64_t v, bool host)
{
	uint64_t ok = 5 | (feature(c, FEAT_LMCE) ? 1u << 20 : 0);

	if (!host && (c->msr.feature_control & 1 || v & ~ok))
		return false;
	c->msr.feature_control = v;
	return true;
}

static uint64_t read_XSS(struct vcpu *c) { return c->fpu.xss; }

static bool write_XSS(struct vcpu *c, uint64_t v, bool host)
{
	uint64_t ok = 0;

	for (unsigned bit = 8; bit < 32; bit++)
		if (cpu_has(c, 0xd, 1, 2, bit))
			ok |= 1ull << bit;
	if (v & ~ok && !host)
		return false;
	c->fpu.xss = v;
	return true;
}

static uint64_t read_PKRS(struct vcpu *c) { return c->msr.pkrs; }

static bool write_PKRS(struct vcpu *c, uint64_t v, bool host)
{
	(void)host;
	if (v >> 32)
		return false;
	c->msr.pkrs = v;
	mem_switch_context(c);
	return true;
}

static bool cet_valid(struct vcpu *c, uint64_t v)
{
	bool ss = cpu_has(c, 7, 0, 2, 7), ibt = cpu_has(c, 7, 0, 3, 20);
	uint64_t ok = (ss ? 3 : 0) | (ibt ? 0xfffffffffffffc3cull : 0);

	/* TRACKER and SUPPRESS together are refused. */
	return !(v & ~ok) && canonical_max(c, v & ~0xfffull) &&
	       (v & (CET_SUPPRESS | CET_TRACKER)) !=
		       (CET_SUPPRESS | CET_TRACKER);
}

static uint64_t read_U_CET(struct vcpu *c) { return c->msr.u_cet; }
static uint64_t read_S_CET(struct vcpu *c) { return c->msr.s_cet; }

static bool write_U_CET(struct vcpu *c, uint64_t v, bool host)
{
	if (!host && !cet_valid(c, v))
		return false;
	c->msr.u_cet = v;
	cpu_update_mode(c);
	return true;
}

static bool write_S_CET(struct vcpu *c, uint64_t v, bool host)
{
	if (!host && !cet_valid(c, v))
		return false;
	c->msr.s_cet = v;
	cpu_update_mode(c);
	return true;
}

static bool write_ssp(struct vcpu *c, unsigned n, uint64_t v, bool host)
{
	if (!host && (v & 3 || !canonical_max(c, v)))
		return false;
	c->msr.pl_ssp[n] = v;
	return true;
}

#define SSP_ROW(n)							\
static uint64_t read_PL##n##_SSP(struct vcpu *c)			\
{									\
	return c->msr.pl_ssp[n];					\
}									\
static bool write_PL##n##_SSP(struct vcpu *c, uint64_t v, bool host)	\
{									\
	return write_ssp(c, n, v, host);				\
}
SSP_ROW(0)
SSP_ROW(1)
SSP_ROW(2)
SSP_ROW(3)

static bool memory_type(unsigned t, bool pat)
{
	return t == 0 || t == 1 || t == 4 || t == 5 || t == 6 ||
	       (pat && t == 7);
}

static uint64_t read_MTRR_DEF_TYPE(struct vcpu *c) { return c->msr.mtrr_def; }

static bool write_MTRR_DEF_TYPE(struct vcpu *c, uint64_t v, bool host)
{
	if (!host && (v & ~0xcffull || !memory_type(v & 0xff, false)))
		return false;
	c->msr.mtrr_def = v;
	return true;
}

/* -- the table ----------------------------------------------------------- */
#define F(i, n, m, k, ch, f, r) \
	{ i, 1, KIND_FIELD, FEAT_##f, CHK_##ch, offsetof(struct vcpu, m), \
	  k, r, NULL, NULL },
#define FN(i, cnt, n, m, k, ch, f, r) \
	{ i, cnt, KIND_FIELD, FEAT_##f, CHK_##ch, offsetof(struct vcpu, m), \
	  k, r, NULL, NULL },
#define K(i, n, k, ch, f, r) \
	{ i, 1, KIND_KEPT, FEAT_##f, CHK_##ch, 0, k, r, NULL, NULL },
#define KN(i, cnt, n, k, ch, f, r) \
	{ i, cnt, KIND_KEPT, FEAT_##f, CHK_##ch, 0, k, r, NULL, NULL },
#define S(i, n, f) \
	{ i, 1, KIND_SPECIAL, FEAT_##f, CHK_ANY, 0, ~0ull, 0, read_##n, \
	  write_##n },
#define W(i, n, k, f) \
	{ i, 1, KIND_COMMAND, FEAT_##f, CHK_ANY, 0, k, 0, NULL, NULL },
static const struct row rows[] = {
#include "hvcore/sys/msrs.def"
};
#define NROWS (sizeof rows / sizeof rows[0])

static const struct row *find_row(uint32_t index)
{
	for (size_t i = 0; i < NROWS; i++)
		if (index - rows[i].index < rows[i].count)
			return &rows[i];
	return NULL;
}

static uint64_t *field(struct vcpu *c, const struct row *r, uint32_t index)
{
	return (uint64_t *)((char *)c + r->offset) + (index - r->index);
}

static bool all_types(uint64_t v, bool pat)
{
	for (unsigned n = 0; n < 8; n++)
		if (!memory_type(v >> 8 * n & 0xff, pat))
			return false;
	return true;
}

static bool value_ok(const struct vcpu *c, const struct row *r, uint64_t v,
		     uint64_t old)
{
	switch (r->check) {
	case CHK_RO:
		return false;
	case CHK_CANON:
		if (!canonical_max(c, v))
			return false;
		break;
	case CHK_TYPE:
		return all_types(v, r->index == 0x277);
	case CHK_CTL:
		return !v || v == ~0ull;
	}
	/* Bits that are not writable keep their value. */
	return !((v ^ old) & ~r->mask);
}

static uint64_t row_get(struct vcpu *c, const struct row *r, uint32_t index)
{
	uint64_t v = r->reset;

	switch (r->kind) {
	case KIND_FIELD:
		return *field(c, r, index);
	case KIND_KEPT:
		model_msr(c, index, &v);
		return v;
	case KIND_SPECIAL:
		return r->read(c);
	}
	return 0;
}

static bool row_put(struct vcpu *c, const struct row *r, uint32_t index,
		    uint64_t v, bool host)
{
	if (r->kind == KIND_SPECIAL)
		return r->write(c, v, host);
	if (r->kind == KIND_COMMAND)
		return host || !(v & ~r->mask);
	if (!host && r->check == CHK_DROP)
		return true;
	/* What transitions save and load again has to be good from the beginning. */
	if ((!host || r->check == CHK_CANON || r->check == CHK_TYPE) &&
	    !value_ok(c, r, v, row_get(c, r, index)))
		return false;
	if (r->kind == KIND_KEPT)
		return model_msr_set(c, index, v);
	*field(c, r, index) = v;
	return true;
}

/* -- regular families ---------------------------------------------------- */
static bool is_lapic(uint32_t index)
{
	return index == 0x1b || index == 0x6e0 || (index >> 8 == 8);
}

static bool is_vmx(uint32_t index)
{
	return index >= 0x480 && index <= 0x493;
}

static uint64_t *mc_bank(struct vcpu *c, uint32_t index)
{
	uint64_t cap = 0x10a;
	unsigned banks;

	if (index < 0x400 || !feature(c, FEAT_MCA))
		return NULL;
	model_msr(c, 0x179, &cap);
	banks = cap & 0xff;
	if (banks > 32)
		banks = 32;
	return index - 0x400 < 4 * banks ? &c->msr.mc_bank[index - 0x400] : NULL;
}

static bool mc_valid(uint32_t index, uint64_t v)
{
	/* CTL: all ones or zero (older kernels clear bit 0 only); the others
	 * can be cleared. */
	if (index % 4 == 0)
		return !v || (v | 1 << 10 | 1) == ~0ull;
	return index % 4 != 1 || !v;
}

static uint64_t *mtrr_phys(struct vcpu *c, uint32_t index)
{
	uint64_t cap = 0x508;

	if (index < 0x200 || !feature(c, FEAT_MTRR))
		return NULL;
	model_msr(c, 0xfe, &cap);
	return index - 0x200 < 2 * (cap & 0x0f) ?
		       &c->msr.mtrr_phys[index - 0x200] : NULL;
}

static bool mtrr_phys_valid(const struct vcpu *c, uint32_t index, uint64_t v)
{
	if (v >> maxphyaddr(c))
		return false;
	if (index & 1)
		return !(v & 0x7ff);
	return !(v & 0xf00) && memory_type(v & 0xff, false);
}

/* -- the guest's view ---------------------------------------------------- */
uint64_t msr_read(struct vcpu *c, uint32_t index, bool *gp)
{
	const struct row *r = find_row(index);
	uint64_t v, *p;

	*gp = false;
	if (r && r->kind != KIND_COMMAND && feature(c, r->feat))
		return row_get(c, r, index);
	if (is_lapic(index) && lapic_msr_read(c, index, &v))
		return v;
	if (is_vmx(index) && feature(c, FEAT_VMX))
		return vmx_msr_read(c, index, gp);
	p = mc_bank(c, index);
	if (!p)
		p = mtrr_phys(c, index);
	if (p)
		return *p;
	if (!r && !is_lapic(index) && !is_vmx(index) && model_msr(c, index, &v))
		return v;
	*gp = true;
	return 0;
}

/* A hypervisor's own MSR from the snapshot: nothing here would do its work. */
static void write_foreign(struct vcpu *c, uint32_t index, uint64_t v,
			  bool *gp)
{
	uint64_t old;

	if (!model_msr(c, index, &old))
		*gp = true;
	else if (v != old)
		cpu_stop(c, HV_STOP_UNSUPPORTED, "WRMSR of %#llx to MSR %#x, "
			 "which belongs to the hypervisor of the snapshot",
			 (unsigned long long)v, index);
}

void msr_write(struct vcpu *c, uint32_t index, uint64_t v, bool *gp)
{
	const struct row *r = find_row(index);
	uint64_t *p;

	*gp = false;
	if (r) {
		*gp = !feature(c, r->feat) || !row_put(c, r, index, v, false);
	} else if (is_lapic(index)) {
		*gp = !lapic_msr_write(c, index, v, gp) || *gp;
	} else if (is_vmx(index)) {
		*gp = true;
	} else if ((p = mc_bank(c, index))) {
		*gp = !mc_valid(index, v);
		if (!*gp)
			*p = v;
	} else if ((p = mtrr_phys(c, index))) {
		*gp = !mtrr_phys_valid(c, index, v);
		if (!*gp)
			*p = v;
	} else {
		write_foreign(c, index, v, gp);
	}
}

/* -- the host's view ----------------------------------------------------- */
bool msr_host_read(struct vcpu *c, uint32_t index, uint64_t *v)
{
	const struct row *r = find_row(index);
	uint64_t *p;

	if (r) {
		*v = row_get(c, r, index);
		return true;
	}
	if (is_lapic(index) && lapic_msr_read(c, index, v))
		return true;
	p = mc_bank(c, index);
	if (!p)
		p = mtrr_phys(c, index);
	if (p)
		*v = *p;
	return p || model_msr(c, index, v);
}

bool msr_host_write(struct vcpu *c, uint32_t index, uint64_t v)
{
	const struct row *r = find_row(index);
	uint64_t *p;
	bool gp;

	if (r)
		return row_put(c, r, index, v, true);
	if (index == 0x1b) {
		lapic_set_base(c, v);
		return true;
	}
	if (is_lapic(index) && lapic_msr_write(c, index, v, &gp))
		return true;
	p = mc_bank(c, index);
	if (!p)
		p = mtrr_phys(c, index);
	if (p)
		*p = v;
	return p || model_msr_set(c, index, v);
}

uint32_t msr_listed(unsigned n)
{
	for (size_t i = 0; i < NROWS; i++) {
		if (rows[i].kind == KIND_COMMAND)
			continue;
		if (n < rows[i].count)
			return rows[i].index + n;
		n -= rows[i].count;
	}
	return ~0u;
}

bool msr_offered(const struct vcpu *c, uint32_t index)
{
	const struct row *r = find_row(index);

	return r && feature(c, r->feat);
}

void msr_reset(struct vcpu *c, bool init)
{
	if (init)
		return; /* INIT leaves MSRs alone (SDM table 9-1) but for CET */
	for (size_t i = 0; i < NROWS; i++)
		for (uint32_t n = 0; n < rows[i].count; n++)
			if (rows[i].kind == KIND_FIELD)
				*field(c, &rows[i], rows[i].index + n) =
					rows[i].reset;
	memset(c->msr.mtrr_phys, 0, sizeof c->msr.mtrr_phys);
	memset(c->msr.mc_bank, 0, sizeof c->msr.mc_bank);
	c->msr.mtrr_def = 0;
	c->msr.tsc_adjust = c->msr.feature_control = c->msr.pkrs = 0;
	c->msr.u_cet = c->msr.s_cet = 0;
	memset(c->msr.pl_ssp, 0, sizeof c->msr.pl_ssp);
	if (cpu_has(c, 1, 0, 2, 3))
		c->msr.misc_enable |= 1u << 18; /* MONITOR */
}

uint64_t cpu_tsc(const struct vcpu *c)
{
	return cpu_icount(c) + c->tsc_offset;
}

/* -- instructions -------------------------------------------------------- */
void op_rdmsr(struct vcpu *c, const struct insn *i)
{
	uint32_t index = (uint32_t)c->r[R_RCX];
	uint64_t v;
	bool gp;

	(void)i;
	require_cpl0(c);
	if (c->nonroot) {
		vmx_hook_msr(c, index, false);
		if (vmx_x2apic_read(c, index, &v)) {
			set_edx_eax(c, v);
			return;
		}
	}
	v = msr_read(c, index, &gp);
	if (gp)
		cpu_raise_error(c, EXC_GP, 0);
	if (index == 0x10)
		v = vmx_tsc(c, v);
	set_edx_eax(c, v);
}

void op_wrmsr(struct vcpu *c, const struct insn *i)
{
	uint32_t index = (uint32_t)c->r[R_RCX];
	bool gp;

	(void)i;
	require_cpl0(c);
	if (c->nonroot) {
		vmx_hook_msr(c, index, true);
		if (vmx_x2apic_write(c, index, edx_eax(c)))
			return;
	}
	msr_write(c, index, edx_eax(c), &gp);
	if (gp)
		cpu_raise_error(c, EXC_GP, 0);
}
