/* identify_gen.h: makes plausible vmcs12 pages for the measurement of identify.
 *
 * Independent of the code under test: it places values by the offsets of
 * tests/fixtures/vmcs12_layouts.tsv, and knows what hypervisors write from their
 * sources and the SDM, not from identify's rules.  One page is one moment in the
 * life of one VMCS: of KVM, Hyper-V, VMware, Xen, a partitioning hypervisor or
 * a small home-made one; L2 in real, 32-bit, PAE or 64-bit mode.
 */
#ifndef TESTS_IDENTIFY_GEN_H
#define TESTS_IDENTIFY_GEN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layouts/vmcs.h"

struct gen_layout {
	char id[16];
	uint16_t at[VMCS_FIELD_COUNT]; /* 0: lacks it */
	uint16_t padding[16][2];       /* offset, size */
	unsigned npadding;
	unsigned size;
};

enum gen_kind { GEN_KVM, GEN_HYPERV, GEN_VMWARE, GEN_XEN, GEN_PARTITION,
		GEN_SMALL, GEN_KINDS };
enum gen_stage { GEN_LAUNCHED, GEN_CLEARED, GEN_NEVER_LAUNCHED, GEN_HALF,
		 GEN_ZEROISH, GEN_SHADOW, GEN_EMPTY, GEN_STAGES };

struct gen {
	uint64_t seed;
	const struct gen_layout *l;
	enum gen_kind kind;
	enum gen_stage stage;
	uint64_t v[VMCS_FIELD_COUNT];
	bool host64, guest64, guest_paging, ept, unrestricted;
	uint64_t secondary;
};

static inline uint64_t gen_rand(struct gen *g)
{
	uint64_t z = g->seed += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static inline uint64_t gen_below(struct gen *g, uint64_t n)
{
	return gen_rand(g) % n;
}

static inline bool gen_chance(struct gen *g, unsigned percent)
{
	return gen_below(g, 100) < percent;
}

#define SET(NAME, value) (g->v[VMCS_IDX_##NAME] = (value))
#define GET(NAME) (g->v[VMCS_IDX_##NAME])
#define HAS(NAME) (g->l->at[VMCS_IDX_##NAME] != 0)

/* A page frame in a machine of up to a few hundred GiB. */
static inline uint64_t gen_page(struct gen *g)
{
	static const unsigned bits[] = { 24, 30, 32, 36, 38 };

	return (gen_rand(g) >> (64 - bits[gen_below(g, 5)]) & ~0xfffull) + 0x1000;
}

/* A kernel address as this hypervisor's (or guest's) kernel has them. */
static inline uint64_t gen_kernel(struct gen *g, bool wide, uint64_t base,
				  unsigned bits)
{
	uint64_t r = gen_rand(g) >> (64 - bits);

	return wide ? base + r : 0xc0000000u + (r & 0x1fffffff);
}

static inline uint64_t gen_host_base(const struct gen *g)
{
	switch (g->kind) {
	case GEN_HYPERV: return 0xfffff80000000000ull;
	case GEN_VMWARE: return 0xfffffffffc000000ull;
	case GEN_XEN: return 0xffff82d040000000ull;
	case GEN_PARTITION: return 0xfffffc0000000000ull;
	case GEN_SMALL: return 0x200000;
	default: return 0xffffffff81000000ull;
	}
}

static inline uint64_t gen_host(struct gen *g)
{
	return gen_kernel(g, g->host64, gen_host_base(g), 24);
}

/* -- controls ---------------------------------------------------------------- */
static inline void gen_secondary(struct gen *g)
{
	uint64_t s = 0;

	g->ept = g->kind != GEN_KVM || gen_chance(g, 80);
	g->unrestricted = g->ept && gen_chance(g, 70);
	if (g->ept)
		s |= 1u << 1 | (gen_chance(g, 80) ? 1u << 5 : 0);
	if (g->unrestricted)
		s |= 1u << 7;
	s |= gen_rand(g) & (1u << 3 | 1u << 12 | 1u << 6 | 1u << 2 | 1u << 0);
	if (!(s & 1) && gen_chance(g, 30))
		s |= 1u << 4 | 1u << 8;
	if (HAS(EOI_EXIT_BITMAP0) && gen_chance(g, 40))
		s |= 1u << 9;
	if (HAS(VM_FUNCTION_CONTROL) && g->ept && gen_chance(g, 20))
		s |= 1u << 13;
	if (HAS(VMREAD_BITMAP) && gen_chance(g, 25))
		s |= 1u << 14;
	if (HAS(ENCLS_EXITING_BITMAP) && gen_chance(g, 20))
		s |= 1u << 15;
	if (HAS(PML_ADDRESS) && g->ept && gen_chance(g, 50))
		s |= 1u << 17;
	if (HAS(XSS_EXIT_BITMAP) && gen_chance(g, 40))
		s |= 1u << 20;
	if (HAS(TSC_MULTIPLIER) && gen_chance(g, 30))
		s |= 1u << 25;
	g->secondary = s;
}

static inline void gen_controls(struct gen *g)
{
	bool old = !HAS(GUEST_BNDCFGS); /* such kernels demanded no default1 */
	bool plain = old && gen_chance(g, 50);
	uint32_t pin = 0x16 | 1 | 8, proc = plain ? 0 : 0x04006172;
	uint32_t exit = plain ? 0 : 0x00036dfb, entry = plain ? 0 : 0x000011fb;

	gen_secondary(g);
	pin |= gen_chance(g, 80) ? 0x20 : 0;
	if (HAS(VMX_PREEMPTION_TIMER_VALUE) && gen_chance(g, 30))
		pin |= 0x40;
	if (HAS(POSTED_INTR_NV) && g->secondary >> 9 & 1 && gen_chance(g, 60))
		pin |= 0x80;
	proc |= gen_rand(g) & 0x68d01e8c;
	if (gen_chance(g, 60))
		proc |= 0x18000;
	if (g->secondary)
		proc |= 1u << 31;
	if (gen_chance(g, 70) || g->secondary & (1u << 9 | 1u << 4))
		proc |= 1u << 21;
	proc |= gen_chance(g, 20) ? 1u << 25 : 1u << 24;
	exit |= gen_rand(g) & (1u << 2 | 1u << 15 | 0xf << 18);
	entry |= gen_rand(g) & (1u << 2 | 1u << 14 | 1u << 15);
	exit |= g->host64 ? 1u << 9 : 0;
	entry |= g->guest64 ? 1u << 9 : 0;
	if (pin & 0x40)
		exit |= gen_chance(g, 50) ? 1u << 22 : 0;
	if (HAS(GUEST_BNDCFGS) && gen_chance(g, 15)) {
		exit |= 1u << 23;
		entry |= 1u << 16;
	}
	if (HAS(GUEST_S_CET) && gen_chance(g, 40)) {
		exit |= 1u << 28;
		entry |= 1u << 20;
	}
	if (gen_chance(g, 15)) {
		exit |= 1u << 12;
		entry |= 1u << 13;
	}
	SET(PIN_BASED_VM_EXEC_CONTROL, pin);
	SET(CPU_BASED_VM_EXEC_CONTROL, proc);
	SET(SECONDARY_VM_EXEC_CONTROL, g->secondary);
	SET(VM_EXIT_CONTROLS, exit);
	SET(VM_ENTRY_CONTROLS, entry);
	SET(EXCEPTION_BITMAP, gen_chance(g, 10) ? 0xffffffff :
	    0x60042 | (gen_rand(g) & 0x7fffb));
	if (!g->ept) {
		SET(PAGE_FAULT_ERROR_CODE_MASK, gen_below(g, 2) ? 0 : 0x1f);
		SET(PAGE_FAULT_ERROR_CODE_MATCH, gen_below(g, 2) ? 0 : 0x1f);
	}
}

/* What goes with the controls, and sometimes stays when they go. */
static inline void gen_control_fields(struct gen *g)
{
	uint64_t s = g->secondary, proc = GET(CPU_BASED_VM_EXEC_CONTROL);
	bool stale = gen_chance(g, 10);

	if (proc >> 25 & 1 || stale) {
		SET(IO_BITMAP_A, gen_page(g));
		SET(IO_BITMAP_B, gen_page(g));
	}
	if (proc >> 28 & 1 || stale)
		SET(MSR_BITMAP, gen_page(g));
	if (gen_chance(g, 40)) {
		SET(VM_EXIT_MSR_STORE_ADDR, gen_page(g) + 16 * gen_below(g, 99));
		SET(VM_EXIT_MSR_LOAD_ADDR, gen_page(g) + 16 * gen_below(g, 99));
		SET(VM_ENTRY_MSR_LOAD_ADDR, gen_page(g) + 16 * gen_below(g, 99));
		SET(VM_EXIT_MSR_STORE_COUNT, gen_below(g, 9));
		SET(VM_EXIT_MSR_LOAD_COUNT, gen_below(g, 9));
		SET(VM_ENTRY_MSR_LOAD_COUNT, gen_below(g, 9));
	}
	if (proc >> 3 & 1)
		SET(TSC_OFFSET, gen_chance(g, 80) ? -(gen_rand(g) >> 12) :
		    gen_rand(g));
	if (proc >> 21 & 1) {
		SET(VIRTUAL_APIC_PAGE_ADDR, gen_page(g));
		SET(TPR_THRESHOLD, gen_below(g, 16));
	} else if (g->kind == GEN_KVM && gen_chance(g, 30)) {
		SET(VIRTUAL_APIC_PAGE_ADDR, ~0ull);
	}
	if (s & 1)
		SET(APIC_ACCESS_ADDR, gen_chance(g, 50) ? 0xfee00000 :
		    gen_page(g));
	if (s >> 1 & 1)
		SET(EPT_POINTER, gen_page(g) | (gen_chance(g, 90) ? 6 : 0) |
		    (gen_chance(g, 10) ? 0x20 : 0x18) |
		    (gen_chance(g, 60) ? 0x40 : 0));
	if (s >> 5 & 1)
		SET(VIRTUAL_PROCESSOR_ID, 1 + gen_below(g, gen_chance(g, 80) ?
							64 : 65535));
	if (s >> 9 & 1) {
		for (int i = 0; i < 4; i++)
			g->v[VMCS_IDX_EOI_EXIT_BITMAP0 + i] =
				gen_chance(g, 30) ? gen_rand(g) : 0;
		SET(GUEST_INTR_STATUS, gen_below(g, 256) << 8 |
		    gen_below(g, 256));
	}
	if (GET(PIN_BASED_VM_EXEC_CONTROL) & 0x80) {
		SET(POSTED_INTR_NV, 0xf2);
		SET(POSTED_INTR_DESC_ADDR, gen_page(g) + 64 * gen_below(g, 64));
	}
	if (s >> 13 & 1) {
		SET(VM_FUNCTION_CONTROL, 1);
		SET(EPTP_LIST_ADDRESS, gen_page(g));
	}
	if (s >> 14 & 1) {
		SET(VMREAD_BITMAP, gen_page(g));
		SET(VMWRITE_BITMAP, gen_page(g));
	}
	if (s >> 15 & 1)
		SET(ENCLS_EXITING_BITMAP, gen_chance(g, 50) ? ~0ull : 0);
	if (s >> 17 & 1 || (HAS(PML_ADDRESS) && stale)) {
		SET(PML_ADDRESS, gen_page(g));
		SET(GUEST_PML_INDEX, gen_chance(g, 3) ? 0xffff :
		    gen_chance(g, 30) ? 511 : gen_below(g, 512));
	}
	if (s >> 20 & 1)
		SET(XSS_EXIT_BITMAP, gen_chance(g, 20) ? ~0ull :
		    gen_below(g, 2) << 8);
	if (s >> 25 & 1)
		SET(TSC_MULTIPLIER, (1ull << 48) + (gen_rand(g) >> 18));
	if (gen_chance(g, 5) && HAS(CR3_TARGET_VALUE0)) {
		SET(CR3_TARGET_COUNT, 1 + gen_below(g, 4));
		for (int i = 0; i < 4; i++)
			g->v[VMCS_IDX_CR3_TARGET_VALUE0 + i] = gen_page(g);
	}
	SET(VMCS_LINK_POINTER, s >> 14 & 1 && gen_chance(g, 80) ? gen_page(g) :
	    ~0ull);
	if (GET(PIN_BASED_VM_EXEC_CONTROL) & 0x40)
		SET(VMX_PREEMPTION_TIMER_VALUE, gen_rand(g) & 0xffffffff);
}

/* -- host state --------------------------------------------------------------- */
static inline void gen_host_selectors(struct gen *g)
{
	static const uint16_t sel[GEN_KINDS][7] = { /* ES CS SS DS FS GS TR */
		[GEN_KVM] = { 0, 0x10, 0x18, 0, 0, 0, 0x40 },
		[GEN_HYPERV] = { 0x18, 0x10, 0x18, 0x18, 0x18, 0x18, 0x40 },
		[GEN_VMWARE] = { 0x4020, 0x4010, 0x4018, 0x4020, 0, 0, 0x4038 },
		[GEN_XEN] = { 0, 0xe008, 0, 0, 0, 0, 0xe040 },
		[GEN_PARTITION] = { 0, 0x8, 0, 0, 0, 0, 0x10 },
		[GEN_SMALL] = { 0x10, 0x8, 0x10, 0x10, 0x10, 0x10, 0x18 },
	};
	static const uint16_t sel32[7] = { 0x78, 0x60, 0x68, 0x78, 0xd8, 0xe0,
					   0x80 };
	const uint16_t *p = g->host64 ? sel[g->kind] : sel32;

	for (int i = 0; i < 7; i++)
		g->v[VMCS_IDX_HOST_ES_SELECTOR + i] = p[i];
}

static inline void gen_host_state(struct gen *g)
{
	uint64_t exit = GET(VM_EXIT_CONTROLS);
	bool wide = g->host64;

	gen_host_selectors(g);
	SET(HOST_CR0, 0x80050033 & ~(gen_chance(g, 20) ? 0x50002ull : 0));
	SET(HOST_CR3, gen_page(g) | (wide && gen_chance(g, 20) ?
				     gen_below(g, 8) : 0));
	SET(HOST_CR4, 0x2020 | (gen_rand(g) & (wide ? 0x3707d0 : 0x6d0)));
	SET(HOST_FS_BASE, gen_chance(g, 40) ? gen_rand(g) >> 17 & ~0xfull : 0);
	SET(HOST_GS_BASE, wide ? 0xffff888000000000ull +
	    (gen_rand(g) >> 28 & ~0xfffull) : 0);
	if (g->kind == GEN_SMALL)
		SET(HOST_GS_BASE, gen_page(g));
	SET(HOST_TR_BASE, gen_kernel(g, wide, wide && g->kind == GEN_KVM ?
		0xfffffe0000003000ull : gen_host_base(g), 20));
	SET(HOST_GDTR_BASE, gen_kernel(g, wide, wide && g->kind == GEN_KVM ?
		0xfffffe0000001000ull : gen_host_base(g), 20));
	SET(HOST_IDTR_BASE, wide && g->kind == GEN_KVM ? 0xfffffe0000000000ull :
	    gen_host(g));
	if (gen_chance(g, 70)) {
		SET(HOST_IA32_SYSENTER_CS, wide ? 0x10 : 0x60);
		SET(HOST_IA32_SYSENTER_ESP, gen_host(g));
		SET(HOST_IA32_SYSENTER_EIP, gen_host(g));
	}
	SET(HOST_RSP, wide && g->kind == GEN_KVM ?
	    0xffffc90000000000ull + (gen_rand(g) >> 34 & ~7ull) : gen_host(g));
	SET(HOST_RIP, gen_host(g));
	if (exit >> 19 & 1 || gen_chance(g, 10))
		SET(HOST_IA32_PAT, gen_chance(g, 50) ? 0x0407050600070106ull :
		    0x0007040600070406ull);
	if (exit >> 21 & 1)
		SET(HOST_IA32_EFER, wide ? 0xd01 : 0x800);
	if (exit >> 12 & 1)
		SET(HOST_IA32_PERF_GLOBAL_CTRL, gen_below(g, 2) ? 0x70000000full
								: 0);
	if (exit >> 28 & 1) {
		SET(HOST_S_CET, gen_below(g, 2) ? 4 : 0);
		SET(HOST_SSP, gen_host(g) & ~7ull);
		SET(HOST_INTR_SSP_TABLE, gen_host(g));
	}
}

/* -- guest state -------------------------------------------------------------- */
enum gen_mode { MODE_REAL, MODE_FLAT32, MODE_PAGED32, MODE_PAE, MODE_64 };

static inline void gen_segments(struct gen *g, enum gen_mode mode)
{
	bool user = mode >= MODE_PAGED32 && gen_chance(g, 40);
	unsigned rpl = user ? 3 : 0;
	static const uint16_t kernel_sel[5] = { 0, 0x08, 0x10, 0x10, 0x10 };

	for (int i = 0; i < 6; i++) { /* ES CS SS DS FS GS */
		uint64_t sel, base = 0, limit = 0xffffffff, ar = 0xc093;

		sel = i == 1 ? kernel_sel[mode] : i == 2 ? 0x18 : 0x10;
		sel = user ? (i == 1 ? 0x33 : 0x2b) : sel;
		if (i == 1)
			ar = mode == MODE_64 ? 0xa09b : 0xc09b;
		if (user)
			ar |= 0x60;
		if (mode == MODE_64 && i != 1 && i != 2 && gen_chance(g, 70)) {
			sel = 0;
			ar = gen_chance(g, 50) ? 0x10000 : 0x1c000;
			limit = gen_chance(g, 50) ? 0xffffffff : 0;
		}
		if (mode == MODE_REAL) {
			sel = gen_below(g, 0x10000);
			base = sel << 4;
			limit = 0xffff;
			ar = g->unrestricted ? (i == 1 ? 0x9b : 0x93) : 0xf3;
		}
		g->v[VMCS_IDX_GUEST_ES_SELECTOR + i] = sel;
		g->v[VMCS_IDX_GUEST_ES_BASE + i] = base;
		g->v[VMCS_IDX_GUEST_ES_LIMIT + i] = limit;
		g->v[VMCS_IDX_GUEST_ES_AR_BYTES + i] = ar;
	}
	if (mode == MODE_64) {
		SET(GUEST_FS_BASE, user ? gen_rand(g) >> 17 : 0);
		SET(GUEST_GS_BASE, user ? 0 : 0xffff888000000000ull +
		    (gen_rand(g) >> 28));
	}
	(void)rpl;
	SET(GUEST_LDTR_SELECTOR, 0);
	SET(GUEST_LDTR_AR_BYTES, gen_chance(g, 80) ? 0x10082 : 0x82);
	SET(GUEST_LDTR_LIMIT, gen_chance(g, 50) ? 0xffff : 0);
	SET(GUEST_TR_SELECTOR, mode == MODE_REAL ? 0 : 0x40);
	SET(GUEST_TR_LIMIT, mode == MODE_64 ? 0x206f : 0x67);
	SET(GUEST_TR_AR_BYTES, 0x8b);
	if (mode == MODE_64)
		SET(GUEST_TR_BASE, 0xfffffe0000003000ull +
		    (gen_below(g, 64) << 12));
	else if (mode != MODE_REAL)
		SET(GUEST_TR_BASE, 0xc0000000u + gen_below(g, 1u << 28));
}

static inline void gen_guest_registers(struct gen *g, enum gen_mode mode)
{
	static const uint64_t cr0[5] = { 0x30, 0x31, 0x80050033, 0x80050033,
					 0x80050033 };
	static const uint64_t cr4[5] = { 0x2000, 0x2000, 0x26d0, 0x26f0,
					 0x3726f0 };
	uint64_t c0 = cr0[mode];

	if (!g->unrestricted && mode < MODE_PAGED32)
		c0 |= 0x80000021; /* paged through an identity map */
	if (gen_chance(g, 20))
		c0 |= 8;
	if (mode < MODE_PAGED32 && gen_chance(g, 50))
		c0 |= 0x60000000;
	SET(GUEST_CR0, c0);
	SET(GUEST_CR4, cr4[mode] & ~(gen_rand(g) & 0x3006c0));
	SET(GUEST_CR3, mode >= MODE_PAGED32 || !g->unrestricted ? gen_page(g) :
	    0);
	SET(GUEST_RIP, mode == MODE_64 ?
	    (gen_chance(g, 60) ? 0xffffffff81000000ull + gen_below(g, 1 << 24) :
	     gen_rand(g) >> 17) : mode == MODE_REAL ? gen_below(g, 65536) :
	    gen_below(g, 1ull << 32));
	SET(GUEST_RSP, mode == MODE_64 ?
	    (gen_chance(g, 60) ? 0xffffc90000000000ull + (gen_rand(g) >> 34) :
	     gen_rand(g) >> 17) : gen_below(g, 1ull << 32));
	SET(GUEST_RFLAGS, 2 | (gen_rand(g) & 0x40ad5) |
	    (mode == MODE_REAL && !g->unrestricted ? 0x23000 : 0));
	SET(GUEST_DR7, gen_chance(g, 95) ? 0x400 : 0x400 | gen_below(g, 256) |
	    gen_rand(g) >> 48 << 16);
	if (mode != MODE_REAL) {
		SET(GUEST_GDTR_BASE, mode == MODE_64 ? 0xfffffe0000001000ull :
		    gen_below(g, 1ull << 32));
		SET(GUEST_IDTR_BASE, mode == MODE_64 ? 0xfffffe0000000000ull :
		    gen_below(g, 1ull << 32));
	}
	SET(GUEST_GDTR_LIMIT, mode == MODE_REAL ? 0xffff : 0x7f);
	SET(GUEST_IDTR_LIMIT, mode == MODE_REAL ? 0x3ff : 0xfff);
	if (mode == MODE_64 && gen_chance(g, 70)) {
		SET(GUEST_SYSENTER_CS, 0x10);
		SET(GUEST_SYSENTER_ESP, 0xfffffe0000002200ull);
		SET(GUEST_SYSENTER_EIP, 0xffffffff81a00000ull +
		    gen_below(g, 1 << 20));
	}
}

static inline void gen_guest_state(struct gen *g)
{
	uint64_t entry = GET(VM_ENTRY_CONTROLS), exit = GET(VM_EXIT_CONTROLS);
	enum gen_mode mode = g->guest64 ? MODE_64 :
		(enum gen_mode)gen_below(g, 4);

	gen_segments(g, mode);
	gen_guest_registers(g, mode);
	if (entry >> 2 & 1 && gen_chance(g, 20))
		SET(GUEST_IA32_DEBUGCTL, gen_below(g, 4));
	if ((entry >> 14 | exit >> 18) & 1)
		SET(GUEST_IA32_PAT, gen_chance(g, 50) ? 0x0407050600070106ull :
		    0x0007040600070406ull);
	if ((entry >> 15 | exit >> 20) & 1)
		SET(GUEST_IA32_EFER, mode == MODE_64 ? 0xd01 :
		    gen_below(g, 2) << 11);
	if (entry >> 13 & 1)
		SET(GUEST_IA32_PERF_GLOBAL_CTRL, gen_below(g, 16));
	if (entry >> 16 & 1)
		SET(GUEST_BNDCFGS, gen_below(g, 2) ? gen_page(g) | 3 : 0);
	if (entry >> 20 & 1 && gen_chance(g, 70)) {
		SET(GUEST_S_CET, gen_below(g, 2) ? 5 : 0);
		SET(GUEST_SSP, GET(GUEST_RSP) & ~7ull);
	}
	if (mode == MODE_PAE && g->ept)
		for (int i = 0; i < 4; i++)
			g->v[VMCS_IDX_GUEST_PDPTR0 + i] = gen_page(g) | 1;
	SET(GUEST_INTERRUPTIBILITY_INFO, gen_chance(g, 85) ? 0 :
	    gen_chance(g, 50) ? 8 : 1 + gen_below(g, 2));
	SET(GUEST_ACTIVITY_STATE, gen_chance(g, 85) ? 0 : gen_chance(g, 80) ?
	    1 : 3);
	if (gen_chance(g, 5))
		SET(GUEST_PENDING_DBG_EXCEPTIONS, 0x4000);
	SET(CR0_GUEST_HOST_MASK, g->kind == GEN_KVM ? 0xfffffffffffffff7ull :
	    gen_chance(g, 50) ? 0xffffffff : 0xe005003f);
	SET(CR4_GUEST_HOST_MASK, g->kind == GEN_KVM ? 0xfffffffffffee871ull :
	    gen_chance(g, 50) ? 0xffffffff : 0x2000);
	SET(CR0_READ_SHADOW, GET(GUEST_CR0) & ~0x20ull);
	SET(CR4_READ_SHADOW, GET(GUEST_CR4) & ~0x2000ull);
}

/* -- exit information ---------------------------------------------------------- */
static inline void gen_exit_info(struct gen *g)
{
	static const uint8_t reasons[] = { 0, 1, 7, 10, 12, 14, 16, 18, 20, 23,
		24, 25, 28, 30, 31, 32, 40, 44, 45, 48, 48, 48, 49, 52, 54, 55,
		62, 2 };
	uint64_t reason = reasons[gen_below(g, sizeof reasons)];

	SET(VM_EXIT_REASON, gen_chance(g, 2) ? 0x80000021 : reason);
	/* Undefined for many reasons: what the processor left there. */
	SET(EXIT_QUALIFICATION, gen_chance(g, 30) ? gen_rand(g) :
	    gen_below(g, 0x1000));
	SET(GUEST_LINEAR_ADDRESS, gen_chance(g, 50) ? gen_rand(g) :
	    0xffff888000000000ull + (gen_rand(g) >> 30));
	if (g->ept && gen_chance(g, 70))
		SET(GUEST_PHYSICAL_ADDRESS, gen_page(g) + gen_below(g, 4096));
	SET(VM_EXIT_INSTRUCTION_LEN, gen_below(g, 16));
	SET(VMX_INSTRUCTION_INFO, gen_chance(g, 40) ? gen_rand(g) & 0xffffffff :
	    0);
	if (reason == 0)
		SET(VM_EXIT_INTR_INFO, gen_chance(g, 50) ? 0x80000b0e :
		    0x80000306);
	else if (reason == 1 && gen_chance(g, 60))
		SET(VM_EXIT_INTR_INFO, 0x80000000 | (0x20 + gen_below(g, 223)));
	SET(VM_EXIT_INTR_ERROR_CODE, gen_chance(g, 20) ? gen_below(g, 32) : 0);
	if (gen_chance(g, 8)) {
		SET(IDT_VECTORING_INFO_FIELD, 0x80000b0e);
		SET(IDT_VECTORING_ERROR_CODE, gen_below(g, 16));
	}
	if (gen_chance(g, 10)) {
		SET(VM_ENTRY_INTR_INFO_FIELD, gen_chance(g, 50) ?
		    0x80000b0d : 0x20 + gen_below(g, 223));
		SET(VM_ENTRY_INSTRUCTION_LEN, gen_below(g, 4));
	}
	if (gen_chance(g, 5))
		SET(VM_INSTRUCTION_ERROR, gen_below(g, 2) ? 12 : 7);
}

/* -- the page ------------------------------------------------------------------- */
/* Keeps some of the fields: what a snapshot sees while L1 writes the VMCS. */
static inline void gen_half(struct gen *g)
{
	switch (gen_below(g, 3)) {
	case 0: /* written in order of encoding up to some point */
		for (int i = (int)gen_below(g, VMCS_FIELD_COUNT);
		     i < VMCS_FIELD_COUNT; i++)
			g->v[i] = 0;
		break;
	case 1: /* whole areas are missing */
		for (unsigned t = 0; t < 4; t++)
			for (int i = 0; gen_chance(g, 50) &&
			     i < VMCS_FIELD_COUNT; i++)
				if (vmcs_type(vmcs_fields[i].encoding) == t)
					g->v[i] = 0;
		break;
	default: {
		unsigned keep = (unsigned)gen_below(g, 100);

		for (int i = 0; i < VMCS_FIELD_COUNT; i++)
			if (!gen_chance(g, keep))
				g->v[i] = 0;
	}
	}
}

static inline void gen_few(struct gen *g)
{
	uint64_t all[VMCS_FIELD_COUNT];
	unsigned n = 1 + (unsigned)gen_below(g, 6);

	memcpy(all, g->v, sizeof all);
	memset(g->v, 0, sizeof g->v);
	while (n--) {
		int i = (int)gen_below(g, VMCS_FIELD_COUNT);

		g->v[i] = all[i];
	}
}

/* A shadow VMCS holds what its user wrote by VMWRITE, and no host's launch. */
static inline void gen_shadow(struct gen *g)
{
	if (gen_chance(g, 50))
		gen_half(g);
}

static inline void gen_make(struct gen *g, uint8_t page[VMCS12_SIZE])
{
	uint32_t header = VMCS12_REVISION, launched;
	unsigned dice = (unsigned)gen_below(g, 100);

	memset(g->v, 0, sizeof g->v);
	memset(page, 0, VMCS12_SIZE);
	g->kind = (enum gen_kind)gen_below(g, GEN_KINDS);
	g->stage = dice < 50 ? GEN_LAUNCHED : dice < 60 ? GEN_CLEARED :
		dice < 75 ? GEN_NEVER_LAUNCHED : dice < 85 ? GEN_HALF :
		dice < 93 ? GEN_ZEROISH : dice < 99 ? GEN_SHADOW : GEN_EMPTY;
	g->host64 = g->kind != GEN_KVM || gen_chance(g, 85);
	g->guest64 = g->host64 && gen_chance(g, 60);
	gen_controls(g);
	gen_control_fields(g);
	gen_host_state(g);
	gen_guest_state(g);
	if (g->stage != GEN_NEVER_LAUNCHED)
		gen_exit_info(g);
	if (g->stage == GEN_HALF)
		gen_half(g);
	else if (g->stage == GEN_ZEROISH)
		gen_few(g);
	else if (g->stage == GEN_SHADOW)
		gen_shadow(g);
	else if (g->stage == GEN_EMPTY)
		memset(g->v, 0, sizeof g->v);
	if (g->stage == GEN_SHADOW && HAS(VMREAD_BITMAP))
		header |= VMCS12_SHADOW_BIT;
	launched = g->stage == GEN_LAUNCHED;
	memcpy(page, &header, 4);
	memcpy(page + 8, &launched, 4);
	/* An L1 that did not clear its page. */
	if (gen_chance(g, 1))
		for (unsigned b = 1024; b < VMCS12_SIZE; b++)
			page[b] = (uint8_t)gen_rand(g);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (g->l->at[i])
			memcpy(page + g->l->at[i], &g->v[i],
			       vmcs_bytes(vmcs_fields[i].encoding));
}

static inline unsigned gen_read_layouts(const char *path,
					struct gen_layout *l, unsigned max)
{
	char line[256], id[16], enc[16];
	unsigned n = 0, offset, size;
	FILE *f = fopen(path, "r");

	if (!f)
		return 0;
	while (fgets(line, sizeof line, f)) {
		if (sscanf(line, "%15s %*s %*s %u %u %15s", id, &offset, &size,
			   enc) != 4)
			continue;
		if (!n || strcmp(l[n - 1].id, id)) {
			if (n == max)
				break;
			memset(&l[n], 0, sizeof l[n]);
			strcpy(l[n++].id, id);
		}
		l[n - 1].size = offset + size;
		if (*enc != '-') {
			int i = vmcs_field_index((uint32_t)strtoul(enc, NULL, 16));

			l[n - 1].at[i] = (uint16_t)offset;
		} else if (offset >= 12) {
			unsigned k = l[n - 1].npadding++;

			l[n - 1].padding[k][0] = (uint16_t)offset;
			l[n - 1].padding[k][1] = (uint16_t)size;
		}
	}
	fclose(f);
	return n;
}

#undef SET
#undef GET
#undef HAS
#endif
