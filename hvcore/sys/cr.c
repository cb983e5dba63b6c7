/* cr.c: control registers and EFER: what may be written, what follows, and the
 * instructions that do it (SDM vol. 3, 2.5; vol. 2, MOV CR, LMSW, CLTS).
 *
 * Contexts of the TLB are named by everything that these registers say of
 * paging, so that a change needs a flush only where the SDM demands one; the
 * instructions flush, cr_load (also used by VM transitions) does not.
 */
#include "hvcore/sys/sys.h"
#include "hvcore/sys/ops.h"

bool canonical(const struct vcpu *c, uint64_t va)
{
	unsigned spare = c->cr4 & CR4_LA57 ? 7 : 16;

	return (uint64_t)((int64_t)(va << spare) >> spare) == va;
}

bool canonical_max(const struct vcpu *c, uint64_t va)
{
	unsigned spare = cpu_has(c, 7, 0, 2, 16) ? 7 : 16;

	return (uint64_t)((int64_t)(va << spare) >> spare) == va;
}

/* -- which values are valid ---------------------------------------------- */
static const struct { uint64_t bit; uint32_t leaf, sub; uint8_t reg, at; }
cr4_features[] = {
	{ CR4_VME, 1, 0, 3, 1 }, { CR4_PVI, 1, 0, 3, 1 },
	{ CR4_TSD, 1, 0, 3, 4 }, { CR4_DE, 1, 0, 3, 2 },
	{ CR4_PSE, 1, 0, 3, 3 }, { CR4_PAE, 1, 0, 3, 6 },
	{ CR4_MCE, 1, 0, 3, 7 }, { CR4_PGE, 1, 0, 3, 13 },
	{ CR4_OSFXSR, 1, 0, 3, 24 }, { CR4_OSXMMEXCPT, 1, 0, 3, 25 },
	{ CR4_UMIP, 7, 0, 2, 2 }, { CR4_LA57, 7, 0, 2, 16 },
	{ CR4_VMXE, 1, 0, 2, 5 }, { CR4_SMXE, 1, 0, 2, 6 },
	{ CR4_FSGSBASE, 7, 0, 1, 0 }, { CR4_PCIDE, 1, 0, 2, 17 },
	{ CR4_OSXSAVE, 1, 0, 2, 26 }, { CR4_SMEP, 7, 0, 1, 7 },
	{ CR4_SMAP, 7, 0, 1, 20 }, { CR4_PKE, 7, 0, 2, 3 },
	{ CR4_PKS, 7, 0, 2, 31 },
};

uint64_t cr4_reserved(const struct vcpu *c)
{
	return c->model->cr4_reserved;
}

void cr4_refresh(struct vcpu *c)
{
	uint64_t ok = CR4_PCE;

	for (size_t i = 0; i < sizeof cr4_features / sizeof cr4_features[0]; i++)
		if (cpu_has(c, cr4_features[i].leaf, cr4_features[i].sub,
			    cr4_features[i].reg, cr4_features[i].at))
			ok |= cr4_features[i].bit;
	/* CET: shadow stacks or indirect-branch tracking. */
	if (cpu_has(c, 7, 0, 2, 7) || cpu_has(c, 7, 0, 3, 20))
		ok |= CR4_CET;
	c->model->cr4_reserved = ~ok;
}

bool cr0_valid(const struct vcpu *c, uint64_t v)
{
	(void)c;
	if (v >> 32)
		return false;
	if (v & CR0_PG && !(v & CR0_PE))
		return false;
	return !(v & CR0_NW && !(v & CR0_CD));
}

bool cr4_valid(const struct vcpu *c, uint64_t v)
{
	return !(v & cr4_reserved(c));
}

bool efer_valid(const struct vcpu *c, uint64_t v)
{
	uint64_t ok = 0;

	if (cpu_has(c, 0x80000001, 0, 3, 11))
		ok |= EFER_SCE;
	if (cpu_has(c, 0x80000001, 0, 3, 20) &&
	    !(c->msr.misc_enable & MISC_ENABLE_XD_OFF))
		ok |= EFER_NXE;
	if (cpu_has(c, 0x80000001, 0, 3, 29))
		ok |= EFER_LME | EFER_LMA;
	return !(v & ~ok);
}

/* -- loading ------------------------------------------------------------- */
void cr_load(struct vcpu *c, int cr, uint64_t v)
{
	switch (cr) {
	case 0:
		c->cr0 = v | CR0_ET;
		if (c->cr0 & CR0_PG && c->efer & EFER_LME)
			c->efer |= EFER_LMA;
		else
			c->efer &= ~EFER_LMA;
		break;
	case 2:
		c->cr2 = v;
		return;
	case 3:
		c->cr3 = v;
		break;
	case 4:
		c->cr4 = v;
		break;
	}
	cpu_update_mode(c);
	mem_switch_context(c);
}

void efer_load(struct vcpu *c, uint64_t v)
{
	c->efer = v;
	cpu_update_mode(c);
	mem_switch_context(c);
}

static bool pae_paging(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return cr0 & CR0_PG && cr4 & CR4_PAE && !(efer & EFER_LMA);
}

bool pdptrs_load(struct vcpu *c, uint64_t cr3)
{
	uint64_t v[4], gpa = cr3 & 0xffffffe0ull;
	uint64_t reserved = 0x1e6 | (~0ull << maxphyaddr(c));

	if (ept_enabled(c)) {
		struct ept_access a = { .gpa = gpa, .access = ACC_READ };
		struct ept_result r = { 0 };

		ept_translate(c, &a, &r);
		gpa = r.hpa;
	}
	phys_read(c, gpa, v, sizeof v);
	for (unsigned i = 0; i < 4; i++)
		if (v[i] & 1 && v[i] & reserved)
			return false;
	memcpy(c->pdptr, v, sizeof v);
	return true;
}

/* -- MOV to CR ----------------------------------------------------------- */
static void gp0(struct vcpu *c)
{
	cpu_raise_error(c, EXC_GP, 0);
}

/* PAE paging's registers, where this write reloads them. */
static void reload_pdptrs(struct vcpu *c, uint64_t cr0, uint64_t cr4,
			  uint64_t cr3)
{
	uint64_t efer = c->efer;

	if (!(cr0 & CR0_PG) || !(efer & EFER_LME))
		efer &= ~EFER_LMA;
	else
		efer |= EFER_LMA;
	if (pae_paging(cr0, cr4, efer) && !pdptrs_load(c, cr3))
		gp0(c);
}

/* Everything in the current VPID. */
static void flush_context(struct vcpu *c)
{
	mem_flush_pcid(c, 0, true);
}

static void set_cr0(struct vcpu *c, uint64_t v)
{
	uint64_t old = c->cr0, flips;
	const uint64_t known = CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET |
		CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG;

	if (!cr0_valid(c, v))
		gp0(c);
	v = (v & known) | CR0_ET;
	flips = old ^ v;
	if (!(v & CR0_WP) && c->cr4 & CR4_CET)
		gp0(c);
	if (flips & v & CR0_PG && c->efer & EFER_LME &&
	    (!(c->cr4 & CR4_PAE) || c->seg[SEG_CS].attr & AR_L))
		gp0(c);
	if (flips & old & CR0_PG &&
	    (c->mode & MODE_CS64 || c->cr4 & CR4_PCIDE))
		gp0(c);
	if (!vmx_cr_allowed(c, 0, v))
		gp0(c);
	if (flips & (CR0_CD | CR0_NW | CR0_PG))
		reload_pdptrs(c, v, c->cr4, c->cr3);
	if (flips & CR0_PG)
		flush_context(c);
	cr_load(c, 0, v);
}

static void set_cr3(struct vcpu *c, uint64_t v)
{
	bool pcide = c->cr4 & CR4_PCIDE, keep = pcide && v >> 63;

	if (pcide)
		v &= ~(1ull << 63);
	if (c->efer & EFER_LMA && v >> maxphyaddr(c))
		gp0(c);
	if (pae_paging(c->cr0, c->cr4, c->efer) && !pdptrs_load(c, v))
		gp0(c);
	if (!keep)
		mem_flush_pcid(c, pcide ? v & 0xfff : 0, false);
	cr_load(c, 3, v);
}

static void set_cr4(struct vcpu *c, uint64_t v)
{
	uint64_t flips = c->cr4 ^ v;
	bool lma = c->efer & EFER_LMA;

	if (!cr4_valid(c, v))
		gp0(c);
	if (lma && (!(v & CR4_PAE) || flips & CR4_LA57))
		gp0(c);
	if (flips & v & CR4_PCIDE && (!lma || c->cr3 & 0xfff))
		gp0(c);
	if (v & CR4_CET && !(c->cr0 & CR0_WP))
		gp0(c);
	if (!vmx_cr_allowed(c, 4, v))
		gp0(c);
	if (flips & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP))
		reload_pdptrs(c, c->cr0, v, c->cr3);
	if (flips & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_LA57) ||
	    flips & ~v & CR4_PCIDE || flips & v & CR4_SMEP)
		flush_context(c);
	cr_load(c, 4, v);
}

static uint64_t gpr_for_cr(const struct vcpu *c, const struct insn *i)
{
	return c->mode & MODE_CS64 ? c->r[i->rm] : (uint32_t)c->r[i->rm];
}

static void set_cr8(struct vcpu *c, uint64_t v)
{
	if (v >> 4)
		gp0(c);
	vmx_apic_tpr(c, true, v);
}

static bool cr_exists(const struct vcpu *c, unsigned n)
{
	return n == 0 || n == 2 || n == 3 || n == 4 ||
	       (n == 8 && c->mode & MODE_CS64);
}

void op_mov_to_cr(struct vcpu *c, const struct insn *i)
{
	uint64_t v = gpr_for_cr(c, i);

	if (!cr_exists(c, i->reg))
		cpu_raise(c, EXC_UD);
	require_cpl0(c);
	if (c->nonroot && i->reg != 2)
		v = vmx_hook_cr_write(c, i->reg, v, i->rm);
	switch (i->reg) {
	case 0: set_cr0(c, v); break;
	case 2: c->cr2 = v; break;
	case 3: set_cr3(c, v); break;
	case 4: set_cr4(c, v); break;
	case 8: set_cr8(c, v); break;
	}
}

void op_mov_from_cr(struct vcpu *c, const struct insn *i)
{
	uint64_t v = 0;

	if (!cr_exists(c, i->reg))
		cpu_raise(c, EXC_UD);
	require_cpl0(c);
	if (c->nonroot && i->reg != 2) {
		v = vmx_hook_cr_read(c, i->reg, i->rm);
	} else {
		switch (i->reg) {
		case 0: v = c->cr0; break;
		case 2: v = c->cr2; break;
		case 3: v = c->cr3; break;
		case 4: v = c->cr4; break;
		case 8: v = vmx_apic_tpr(c, false, 0); break;
		}
	}
	c->r[i->rm] = c->mode & MODE_CS64 ? v : (uint32_t)v;
}

void op_clts(struct vcpu *c, const struct insn *i)
{
	bool skip = false;

	(void)i;
	require_cpl0(c);
	if (c->nonroot)
		vmx_hook_clts(c, &skip);
	if (!skip)
		cr_load(c, 0, c->cr0 & ~CR0_TS);
}

void op_lmsw(struct vcpu *c, const struct insn *i)
{
	bool mem = insn_is_mem(i);
	uint64_t lin, v;
	uint16_t source;

	require_cpl0(c);
	lin = mem ? insn_linear(c, i) : ~0ull;
	source = mem ? mem_read16(c, i, lin) : (uint16_t)c->r[i->rm];
	if (c->nonroot) {
		set_cr0(c, vmx_hook_lmsw(c, source, mem, lin));
		return;
	}
	/* PE can be set, not cleared. */
	v = (c->cr0 & ~0xeull) | (source & 0xf);
	set_cr0(c, v);
}

void op_smsw(struct vcpu *c, const struct insn *i)
{
	uint64_t v;

	require_umip(c);
	v = c->nonroot ? vmx_hook_smsw(c) : c->cr0;
	if (insn_is_mem(i))
		mem_write16(c, i, insn_linear(c, i), (uint16_t)v);
	else
		set_gpr(c, i->rm, insn_opsize(i), v);
}

/* -- debug registers ----------------------------------------------------- */
static unsigned dr_number(struct vcpu *c, const struct insn *i, bool write)
{
	unsigned n = i->reg;

	/* This exit comes even before the privilege check (SDM 26.1.3). */
	if (n > 7)
		cpu_raise(c, EXC_UD);
	if (c->nonroot)
		vmx_hook_dr(c, (int)n, write, i->rm);
	if (n == 4 || n == 5) {
		if (c->cr4 & CR4_DE)
			cpu_raise(c, EXC_UD);
		n += 2;
	}
	require_cpl0(c);
	if (c->dr[7] & DR7_GD)
		cpu_raise_db(c, DR6_BD);
	return n;
}

void op_mov_from_dr(struct vcpu *c, const struct insn *i)
{
	unsigned n = dr_number(c, i, false);

	c->r[i->rm] = c->mode & MODE_CS64 ? c->dr[n] : (uint32_t)c->dr[n];
}

void dr7_load(struct vcpu *c, uint64_t v)
{
	c->dr[7] = v;
	/* Pages with breakpoints stay out of the TLB. */
	mem_flush_all(c);
	cpu_update_mode(c);
}

void op_mov_to_dr(struct vcpu *c, const struct insn *i)
{
	unsigned n = dr_number(c, i, true);
	uint64_t v = gpr_for_cr(c, i);

	if (n >= 6 && v >> 32)
		gp0(c);
	if (n == 6) {
		uint64_t fixed = DR6_INIT;

		c->dr[6] = (v & 0xe00f) | fixed;
	} else if (n == 7) {
		dr7_load(c, (v & 0xffff2bff & ~0x800ull) | DR7_INIT);
	} else {
		c->dr[n] = v;
		if (c->dr[7] & 0xff)
			dr7_load(c, c->dr[7]);
	}
}
