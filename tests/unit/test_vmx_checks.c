/* test_vmx_checks.c: the table of VM-entry checks, row by row: for each there is
 * a VMCS that only this row refuses, and a good VMCS that none does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hvcore/sys/bits.h"
#include "hvcore/vmx/vmx.h"

#define NONCANONICAL 0x0000800000000000ull
#define PIN_BASE 0x16u
#define PROC_BASE (0x04006172u | PROC_SECONDARY)
#define EXIT_BASE (0x36dfbu | EXIT_HOST64)
#define ENTRY_BASE (0x11fbu | ENTRY_IA32E)
#define CR0_GOOD 0x80050033u
#define CR4_GOOD 0x2020u
#define EPTP_GOOD 0x405eull
#define EXTINT 0x80000020u
#define NMI 0x80000202u

/* What else a case changes. */
enum { V86 = 1,       /* a virtual-8086 guest's segments and flags */
       HOST32 = 2,    /* the processor is not in IA-32e mode */
       CAP_CET = 4,   /* CR4.CET may be set */
       CAP_SMM = 8,   /* the SMM entry controls may be set */
       GUEST32 = 16,  /* not an IA-32e mode guest */
       USER = 32 };   /* CS and SS at CPL 3 */

struct value { int field; uint64_t v; };
struct check_case {
	const char *id;
	unsigned how;
	struct value set[6];
};

#define S(NAME, value) { VMCS_IDX_##NAME, (value) }
#define PINS(v) S(PIN_BASED_VM_EXEC_CONTROL, PIN_BASE | (v))
#define PROCS(v) S(CPU_BASED_VM_EXEC_CONTROL, PROC_BASE | (v))
#define SECS(v) S(SECONDARY_VM_EXEC_CONTROL, v)
#define EXITS(v) S(VM_EXIT_CONTROLS, EXIT_BASE | (v))
#define ENTRIES(v) S(VM_ENTRY_CONTROLS, ENTRY_BASE | (v))
#define INJECTS(v) S(VM_ENTRY_INTR_INFO_FIELD, v)
#define EPTP S(EPT_POINTER, EPTP_GOOD)

static const struct check_case cases[] = {
	/* VM-execution controls */
	{ "ctl-pin", 0, { PINS(0x100) } },
	{ "ctl-primary", 0, { S(CPU_BASED_VM_EXEC_CONTROL, PROC_BASE & ~2u) } },
	{ "ctl-secondary", 0, { SECS(1u << 27) } },
	{ "ctl-cr3-targets", 0, { S(CR3_TARGET_COUNT, 5) } },
	{ "ctl-io-bitmap-a", 0, { PROCS(PROC_IO_BITMAP), S(IO_BITMAP_A, 0x800) } },
	{ "ctl-io-bitmap-b", 0, { PROCS(PROC_IO_BITMAP), S(IO_BITMAP_B, 0x800) } },
	{ "ctl-msr-bitmap", 0, { PROCS(PROC_MSR_BITMAP),
				 S(MSR_BITMAP, 1ull << 46) } },
	{ "ctl-virtual-apic", 0, { PROCS(PROC_TPR_SHADOW),
				   S(VIRTUAL_APIC_PAGE_ADDR, 0x800) } },
	{ "ctl-tpr-threshold", 0, { PROCS(PROC_TPR_SHADOW),
				    S(TPR_THRESHOLD, 0x10) } },
	{ "ctl-tpr-vtpr", 0, { PROCS(PROC_TPR_SHADOW), S(TPR_THRESHOLD, 5) } },
	{ "ctl-vnmi", 0, { PINS(PIN_VNMI) } },
	{ "ctl-nmi-window", 0, { PROCS(PROC_NMI_WINDOW) } },
	{ "ctl-apic-access", 0, { SECS(SEC_APIC_ACCESS),
				  S(APIC_ACCESS_ADDR, 0x800) } },
	{ "ctl-apicv-tpr", 0, { SECS(SEC_APIC_REGS) } },
	{ "ctl-x2apic", 0, { PROCS(PROC_TPR_SHADOW),
			     SECS(SEC_X2APIC | SEC_APIC_ACCESS) } },
	{ "ctl-vid-extint", 0, { PROCS(PROC_TPR_SHADOW), SECS(SEC_VID) } },
	{ "ctl-posted", 0, { PINS(PIN_POSTED | PIN_EXTINT),
			     PROCS(PROC_TPR_SHADOW), SECS(SEC_VID) } },
	{ "ctl-posted-vector", 0, { PINS(PIN_POSTED | PIN_EXTINT),
		PROCS(PROC_TPR_SHADOW), SECS(SEC_VID), EXITS(EXIT_ACK_INTR),
		S(POSTED_INTR_NV, 0x100) } },
	{ "ctl-posted-desc", 0, { PINS(PIN_POSTED | PIN_EXTINT),
		PROCS(PROC_TPR_SHADOW), SECS(SEC_VID), EXITS(EXIT_ACK_INTR),
		S(POSTED_INTR_DESC_ADDR, 0x20) } },
	{ "ctl-vpid", 0, { SECS(SEC_VPID), S(VIRTUAL_PROCESSOR_ID, 0) } },
	{ "ctl-eptp", 0, { SECS(SEC_EPT), S(EPT_POINTER, 0x4001) } },
	{ "ctl-unrestricted", 0, { SECS(SEC_UNRESTRICTED) } },
	{ "ctl-mbec", 0, { SECS(SEC_MBEC) } },
	{ "ctl-spp", 0, { SECS(SEC_SPP) } },
	{ "ctl-spp-table", 0, { SECS(SEC_EPT | SEC_SPP), EPTP,
				S(SPP_TABLE_POINTER, 0x800) } },
	{ "ctl-pml", 0, { SECS(SEC_PML) } },
	{ "ctl-pml-address", 0, { SECS(SEC_EPT | SEC_PML), EPTP,
				  S(PML_ADDRESS, 0x800) } },
	{ "ctl-vmfunc", 0, { SECS(SEC_VMFUNC), S(VM_FUNCTION_CONTROL, 2) } },
	{ "ctl-eptp-switching", 0, { SECS(SEC_VMFUNC),
				     S(VM_FUNCTION_CONTROL, 1) } },
	{ "ctl-eptp-list", 0, { SECS(SEC_EPT | SEC_VMFUNC), EPTP,
		S(VM_FUNCTION_CONTROL, 1), S(EPTP_LIST_ADDRESS, 0x800) } },
	{ "ctl-vmread-bitmap", 0, { SECS(SEC_SHADOW), S(VMREAD_BITMAP, 0x800) } },
	{ "ctl-vmwrite-bitmap", 0, { SECS(SEC_SHADOW),
				     S(VMWRITE_BITMAP, 0x800) } },
	{ "ctl-ve-area", 0, { SECS(SEC_VE), S(VE_INFORMATION_ADDRESS, 0x800) } },
	{ "ctl-tsc-multiplier", 0, { SECS(SEC_TSC_SCALING),
				     S(TSC_MULTIPLIER, 0) } },
	/* VM-exit and VM-entry controls */
	{ "ctl-exit", 0, { S(VM_EXIT_CONTROLS, EXIT_BASE & ~1u) } },
	{ "ctl-save-ptimer", 0, { EXITS(EXIT_SAVE_PTIMER) } },
	{ "ctl-exit-msr-store", 0, { S(VM_EXIT_MSR_STORE_COUNT, 1),
				     S(VM_EXIT_MSR_STORE_ADDR, 8) } },
	{ "ctl-exit-msr-store-count", 0, { S(VM_EXIT_MSR_STORE_COUNT, 513) } },
	{ "ctl-exit-msr-load-count", 0, { S(VM_EXIT_MSR_LOAD_COUNT, 513) } },
	{ "ctl-entry-msr-load-count", 0, { S(VM_ENTRY_MSR_LOAD_COUNT, 513) } },
	{ "ctl-exit-msr-load", 0, { S(VM_EXIT_MSR_LOAD_COUNT, 1),
				    S(VM_EXIT_MSR_LOAD_ADDR, (1ull << 46) - 8) } },
	{ "ctl-entry", 0, { S(VM_ENTRY_CONTROLS, ENTRY_BASE & ~1u) } },
	{ "ctl-inject-type", 0, { INJECTS(0x80000100) } },
	{ "ctl-inject-vector", 0, { INJECTS(0x80000203) } },
	{ "ctl-inject-error-flag", 0, { INJECTS(EXTINT | 0x800),
					S(GUEST_RFLAGS, 0x202) } },
	{ "ctl-inject-reserved", 0, { INJECTS(EXTINT | 0x1000),
				      S(GUEST_RFLAGS, 0x202) } },
	{ "ctl-inject-error", 0, { INJECTS(0x80000b0d),
				   S(VM_ENTRY_EXCEPTION_ERROR_CODE, 0x10000) } },
	{ "ctl-inject-length", 0, { INJECTS(0x80000480),
				    S(VM_ENTRY_INSTRUCTION_LEN, 16) } },
	{ "ctl-entry-msr-load", 0, { S(VM_ENTRY_MSR_LOAD_COUNT, 1),
				     S(VM_ENTRY_MSR_LOAD_ADDR, 8) } },
	{ "ctl-entry-smm", CAP_SMM, { ENTRIES(ENTRY_SMM) } },
	/* host state */
	{ "host-cr0", 0, { S(HOST_CR0, CR0_GOOD & ~0x20u) } },
	{ "host-cr4", 0, { S(HOST_CR4, 0x20) } },
	{ "host-cr4-cet", CAP_CET, { S(HOST_CR4, CR4_GOOD | CR4_CET),
				     S(HOST_CR0, CR0_GOOD & ~CR0_WP) } },
	{ "host-cr3", 0, { S(HOST_CR3, 1ull << 46) } },
	{ "host-sysenter-esp", 0, { S(HOST_IA32_SYSENTER_ESP, NONCANONICAL) } },
	{ "host-sysenter-eip", 0, { S(HOST_IA32_SYSENTER_EIP, NONCANONICAL) } },
	{ "host-perf", 0, { EXITS(EXIT_LOAD_PERF),
			    S(HOST_IA32_PERF_GLOBAL_CTRL, 1ull << 40) } },
	{ "host-pat", 0, { EXITS(EXIT_LOAD_PAT), S(HOST_IA32_PAT, 2) } },
	{ "host-efer", 0, { EXITS(EXIT_LOAD_EFER), S(HOST_IA32_EFER, 0) } },
	{ "host-s-cet", 0, { EXITS(EXIT_LOAD_CET), S(HOST_S_CET, 0x40) } },
	{ "host-ssp", 0, { EXITS(EXIT_LOAD_CET), S(HOST_SSP, 2) } },
	{ "host-ssp-table", 0, { EXITS(EXIT_LOAD_CET),
				 S(HOST_INTR_SSP_TABLE, NONCANONICAL) } },
	{ "host-es", 0, { S(HOST_ES_SELECTOR, 0x13) } },
	{ "host-cs", 0, { S(HOST_CS_SELECTOR, 0) } },
	{ "host-ss", 0, { S(HOST_SS_SELECTOR, 0x14) } },
	{ "host-ds", 0, { S(HOST_DS_SELECTOR, 1) } },
	{ "host-fs", 0, { S(HOST_FS_SELECTOR, 2) } },
	{ "host-gs", 0, { S(HOST_GS_SELECTOR, 4) } },
	{ "host-tr", 0, { S(HOST_TR_SELECTOR, 0) } },
	{ "host-fs-base", 0, { S(HOST_FS_BASE, NONCANONICAL) } },
	{ "host-gs-base", 0, { S(HOST_GS_BASE, NONCANONICAL) } },
	{ "host-gdtr-base", 0, { S(HOST_GDTR_BASE, NONCANONICAL) } },
	{ "host-idtr-base", 0, { S(HOST_IDTR_BASE, NONCANONICAL) } },
	{ "host-tr-base", 0, { S(HOST_TR_BASE, NONCANONICAL) } },
	{ "host-size", HOST32, { EXITS(0) } },
	{ "host-size-entry", HOST32,
	  { S(VM_EXIT_CONTROLS, EXIT_BASE & ~EXIT_HOST64) } },
	{ "host-size-cr4", 0, { S(HOST_CR4, 0x2000) } },
	{ "host-rip", 0, { S(HOST_RIP, NONCANONICAL) } },
	/* guest control registers and MSRs */
	{ "guest-cr0", 0, { S(GUEST_CR0, CR0_GOOD & ~0x20u) } },
	{ "guest-cr0-pg", 0, { SECS(SEC_EPT | SEC_UNRESTRICTED), EPTP,
			       S(GUEST_CR0, CR0_GOOD & ~1u) } },
	{ "guest-cr4", 0, { S(GUEST_CR4, 0x20) } },
	{ "guest-cr4-cet", CAP_CET, { S(GUEST_CR4, CR4_GOOD | CR4_CET),
				      S(GUEST_CR0, CR0_GOOD & ~CR0_WP) } },
	{ "guest-debugctl", 0, { ENTRIES(ENTRY_LOAD_DEBUG),
				 S(GUEST_IA32_DEBUGCTL, 4) } },
	{ "guest-ia32e-pg", 0, { S(GUEST_CR4, 0x2000) } },
	{ "guest-pcide", GUEST32, { S(GUEST_CR4, CR4_GOOD | CR4_PCIDE) } },
	{ "guest-cr3", 0, { S(GUEST_CR3, 1ull << 46) } },
	{ "guest-dr7", 0, { ENTRIES(ENTRY_LOAD_DEBUG),
			    S(GUEST_DR7, 1ull << 32 | 0x400) } },
	{ "guest-sysenter-esp", 0, { S(GUEST_SYSENTER_ESP, NONCANONICAL) } },
	{ "guest-sysenter-eip", 0, { S(GUEST_SYSENTER_EIP, NONCANONICAL) } },
	{ "guest-perf", 0, { ENTRIES(ENTRY_LOAD_PERF),
			     S(GUEST_IA32_PERF_GLOBAL_CTRL, 1ull << 40) } },
	{ "guest-pat", 0, { ENTRIES(ENTRY_LOAD_PAT), S(GUEST_IA32_PAT, 3) } },
	{ "guest-efer", 0, { ENTRIES(ENTRY_LOAD_EFER), S(GUEST_IA32_EFER, 0) } },
	{ "guest-bndcfgs", 0, { ENTRIES(ENTRY_LOAD_BNDCFGS),
				S(GUEST_BNDCFGS, 4) } },
	{ "guest-s-cet", 0, { ENTRIES(ENTRY_LOAD_CET), S(GUEST_S_CET, 0xc00) } },
	{ "guest-ssp", 0, { ENTRIES(ENTRY_LOAD_CET), S(GUEST_SSP, 1) } },
	{ "guest-ssp-table", 0, { ENTRIES(ENTRY_LOAD_CET),
				  S(GUEST_INTR_SSP_TABLE, NONCANONICAL) } },
	/* guest segment registers */
	{ "guest-tr-ti", 0, { S(GUEST_TR_SELECTOR, 0x1c) } },
	{ "guest-ldtr-ti", 0, { S(GUEST_LDTR_AR_BYTES, 0x82),
				S(GUEST_LDTR_SELECTOR, 0x24) } },
	{ "guest-ss-rpl", USER, { S(GUEST_CS_SELECTOR, 8) } },
	{ "guest-v86-bases", V86, { S(GUEST_ES_BASE, 0x123) } },
	{ "guest-tr-base", 0, { S(GUEST_TR_BASE, NONCANONICAL) } },
	{ "guest-fs-base", 0, { S(GUEST_FS_BASE, NONCANONICAL) } },
	{ "guest-gs-base", 0, { S(GUEST_GS_BASE, NONCANONICAL) } },
	{ "guest-ldtr-base", 0, { S(GUEST_LDTR_AR_BYTES, 0x82),
				  S(GUEST_LDTR_BASE, NONCANONICAL) } },
	{ "guest-cs-base", 0, { S(GUEST_CS_BASE, 1ull << 32) } },
	{ "guest-ss-base", 0, { S(GUEST_SS_BASE, 1ull << 32) } },
	{ "guest-ds-base", 0, { S(GUEST_DS_BASE, 1ull << 32) } },
	{ "guest-es-base", 0, { S(GUEST_ES_BASE, 1ull << 32) } },
	{ "guest-v86-limits", V86, { S(GUEST_ES_LIMIT, 0xfffe) } },
	{ "guest-v86-ar", V86, { S(GUEST_ES_AR_BYTES, 0x93) } },
	{ "guest-cs-type", 0, { S(GUEST_CS_AR_BYTES, 0xa093) } },
	{ "guest-ss-type", 0, { S(GUEST_SS_AR_BYTES, 0xc091) } },
	{ "guest-data-type", 0, { S(GUEST_GS_AR_BYTES, 0xc092) } },
	{ "guest-seg-s", 0, { S(GUEST_DS_AR_BYTES, 0xc083) } },
	{ "guest-cs-dpl", 0, { S(GUEST_CS_AR_BYTES, 0xa0fb) } },
	{ "guest-ss-dpl", USER, { S(GUEST_CS_SELECTOR, 8),
				  S(GUEST_SS_SELECTOR, 0x10) } },
	{ "guest-data-dpl", 0, { S(GUEST_FS_SELECTOR, 0x13) } },
	{ "guest-seg-p", 0, { S(GUEST_DS_AR_BYTES, 0xc013) } },
	{ "guest-seg-reserved", 0, { S(GUEST_DS_AR_BYTES, 0xc193) } },
	{ "guest-cs-db", 0, { S(GUEST_CS_AR_BYTES, 0xe09b) } },
	{ "guest-seg-g", 0, { S(GUEST_DS_LIMIT, 0x1000) } },
	{ "guest-tr-type", 0, { S(GUEST_TR_AR_BYTES, 0x89) } },
	{ "guest-tr-ar", 0, { S(GUEST_TR_AR_BYTES, 0x0b) } },
	{ "guest-ldtr-ar", 0, { S(GUEST_LDTR_AR_BYTES, 0x02) } },
	/* descriptor tables, RIP, RFLAGS */
	{ "guest-gdtr-base", 0, { S(GUEST_GDTR_BASE, NONCANONICAL) } },
	{ "guest-idtr-base", 0, { S(GUEST_IDTR_BASE, NONCANONICAL) } },
	{ "guest-gdtr-limit", 0, { S(GUEST_GDTR_LIMIT, 0x10000) } },
	{ "guest-idtr-limit", 0, { S(GUEST_IDTR_LIMIT, 0x80000000) } },
	{ "guest-rip", 0, { S(GUEST_RIP, 1ull << 48) } },
	{ "guest-rflags", 0, { S(GUEST_RFLAGS, 0) } },
	{ "guest-rflags-vm", V86, { ENTRIES(0) } },
	{ "guest-rflags-if", 0, { INJECTS(EXTINT) } },
	/* non-register state */
	{ "guest-activity", 0, { S(GUEST_ACTIVITY_STATE, 4) } },
	{ "guest-activity-hlt", USER, { S(GUEST_ACTIVITY_STATE, 1) } },
	{ "guest-activity-blocking", 0, { S(GUEST_ACTIVITY_STATE, 1),
					  S(GUEST_INTERRUPTIBILITY_INFO, 2) } },
	{ "guest-activity-inject", 0, { S(GUEST_ACTIVITY_STATE, 2),
					INJECTS(0x80000b0d) } },
	{ "guest-interruptibility", 0, { S(GUEST_INTERRUPTIBILITY_INFO, 0x20) } },
	{ "guest-blocking-sti", 0, { S(GUEST_INTERRUPTIBILITY_INFO, 1) } },
	{ "guest-blocking-extint", 0, { S(GUEST_INTERRUPTIBILITY_INFO, 2),
		INJECTS(EXTINT), S(GUEST_RFLAGS, 0x202) } },
	{ "guest-blocking-nmi", 0, { S(GUEST_INTERRUPTIBILITY_INFO, 2),
				     INJECTS(NMI) } },
	{ "guest-blocking-smi", 0, { S(GUEST_INTERRUPTIBILITY_INFO, 4) } },
	{ "guest-pending-dbg", 0, { S(GUEST_PENDING_DBG_EXCEPTIONS, 0x10) } },
	{ "guest-pending-bs", 0, { S(GUEST_INTERRUPTIBILITY_INFO, 2),
				   S(GUEST_PENDING_DBG_EXCEPTIONS, 0x4000) } },
};
#define NCASES (sizeof cases / sizeof *cases)

/* -- a good VMCS ----------------------------------------------------------------- */
static const struct value good[] = {
	PINS(0), PROCS(0), EXITS(0), ENTRIES(0),
	S(VMCS_LINK_POINTER, ~0ull), S(VIRTUAL_APIC_PAGE_ADDR, 0x5000),
	S(HOST_CR0, CR0_GOOD), S(HOST_CR3, 0x1000), S(HOST_CR4, CR4_GOOD),
	S(HOST_CS_SELECTOR, 8), S(HOST_SS_SELECTOR, 0x10),
	S(HOST_TR_SELECTOR, 0x18), S(HOST_RIP, 0x1000),
	S(GUEST_CR0, CR0_GOOD), S(GUEST_CR3, 0x2000), S(GUEST_CR4, CR4_GOOD),
	S(GUEST_DR7, 0x400), S(GUEST_RFLAGS, 2), S(GUEST_RIP, 0x1000),
	S(GUEST_CS_SELECTOR, 8), S(GUEST_CS_LIMIT, 0xffffffff),
	S(GUEST_CS_AR_BYTES, 0xa09b),
	S(GUEST_SS_SELECTOR, 0x10), S(GUEST_SS_LIMIT, 0xffffffff),
	S(GUEST_SS_AR_BYTES, 0xc093),
	S(GUEST_DS_LIMIT, 0xffffffff), S(GUEST_DS_AR_BYTES, 0xc093),
	S(GUEST_ES_LIMIT, 0xffffffff), S(GUEST_ES_AR_BYTES, 0xc093),
	S(GUEST_FS_LIMIT, 0xffffffff), S(GUEST_FS_AR_BYTES, 0xc093),
	S(GUEST_GS_LIMIT, 0xffffffff), S(GUEST_GS_AR_BYTES, 0xc093),
	S(GUEST_LDTR_AR_BYTES, AR_UNUSABLE),
	S(GUEST_TR_SELECTOR, 0x18), S(GUEST_TR_LIMIT, 0x67),
	S(GUEST_TR_AR_BYTES, 0x8b), S(GUEST_GDTR_LIMIT, 0xffff),
	S(GUEST_IDTR_LIMIT, 0xffff),
};

struct subject {
	uint8_t page[VMCS12_SIZE];
	uint8_t ram[0x10000];
	struct vmx_caps caps;
	struct vmx_check_ctx x;
};

static bool read_ram(void *arg, uint64_t gpa, void *buf, unsigned len)
{
	struct subject *s = arg;

	if (gpa >= sizeof s->ram || len > sizeof s->ram - gpa)
		return false;
	memcpy(buf, s->ram + gpa, len);
	return true;
}

static void put(struct subject *s, int field, uint64_t v)
{
	layout_set(s->x.l, s->page, field, v);
}

static void v86(struct subject *s)
{
	put(s, VMCS_IDX_GUEST_RFLAGS, 0x20002);
	put(s, VMCS_IDX_VM_ENTRY_CONTROLS, ENTRY_BASE & ~ENTRY_IA32E);
	for (uint32_t n = 0; n < 12; n += 2) {
		put(s, vmcs_field_index(VMCS_GUEST_ES_SELECTOR + n), 0x100);
		put(s, vmcs_field_index(VMCS_GUEST_ES_BASE + n), 0x1000);
		put(s, vmcs_field_index(VMCS_GUEST_ES_LIMIT + n), 0xffff);
		put(s, vmcs_field_index(VMCS_GUEST_ES_AR_BYTES + n), 0xf3);
	}
}

static void user(struct subject *s)
{
	put(s, VMCS_IDX_GUEST_CS_SELECTOR, 0xb);
	put(s, VMCS_IDX_GUEST_CS_AR_BYTES, 0xa0fb);
	put(s, VMCS_IDX_GUEST_SS_SELECTOR, 0x13);
	put(s, VMCS_IDX_GUEST_SS_AR_BYTES, 0xc0f3);
}

static void make(struct subject *s, const struct check_case *k)
{
	memset(s, 0, sizeof *s);
	assert_true(vmx_caps_model("full", &s->caps));
	s->x = (struct vmx_check_ctx){
		.l = vmx_layout(), .page = s->page, .caps = &s->caps,
		.maxphyaddr = 46, .long_mode = true, .linear_bits = 48,
		.efer_reserved = ~0xd01ull, .perf_reserved = ~0x7000000ffull,
		.host_lma = true, .msr_counts = true,
		.read = read_ram, .arg = s, .current = 0x7000 };
	for (size_t n = 0; n < sizeof good / sizeof *good; n++)
		put(s, good[n].field, good[n].v);
	if (!k)
		return;
	if (k->how & V86)
		v86(s);
	if (k->how & USER)
		user(s);
	if (k->how & GUEST32) {
		put(s, VMCS_IDX_VM_ENTRY_CONTROLS, ENTRY_BASE & ~ENTRY_IA32E);
		put(s, VMCS_IDX_GUEST_CS_AR_BYTES, 0xc09b);
	}
	if (k->how & HOST32)
		s->x.host_lma = false;
	if (k->how & CAP_CET)
		s->caps.msr[0x489 - VMX_CAPS_FIRST] |= CR4_CET;
	if (k->how & CAP_SMM)
		s->caps.msr[0x490 - VMX_CAPS_FIRST] |= (uint64_t)ENTRY_SMM << 32;
	for (size_t n = 0; n < 6 && (k->set[n].field || k->set[n].v); n++)
		put(s, k->set[n].field, k->set[n].v);
}

/* -- the tests --------------------------------------------------------------------- */
static void test_good(void **state)
{
	static const unsigned ways[] = { 0, V86, USER, GUEST32 };
	struct subject s;

	(void)state;
	for (size_t n = 0; n < sizeof ways / sizeof *ways; n++) {
		struct check_case k = { .how = ways[n] };
		const struct vmx_check *bad;

		make(&s, &k);
		bad = vmx_check_first(&s.x, CHECK_ALL);
		if (bad)
			fail_msg("way %u: %s", ways[n], bad->id);
		if (ways[n] & (V86 | GUEST32))
			continue; /* their PDPTEs are another test's */
		assert_null(vmx_check_memory(&s.x));
	}
}

static void test_each_row(void **state)
{
	struct subject s;

	(void)state;
	for (size_t n = 0; n < NCASES; n++) {
		bool found = false;

		make(&s, &cases[n]);
		for (unsigned r = 0; r < vmx_check_count; r++) {
			bool holds = vmx_check_holds(&vmx_checks[r], &s.x);
			bool own = !strcmp(vmx_checks[r].id, cases[n].id);

			found |= own;
			if (holds == own)
				fail_msg("case %s: row %s %s", cases[n].id,
					 vmx_checks[r].id,
					 holds ? "holds" : "fails too");
		}
		if (!found)
			fail_msg("no row %s", cases[n].id);
		assert_string_equal(vmx_check_first(&s.x, CHECK_ALL)->id,
				    cases[n].id);
	}
}

/* No row without a case; names differ; what a failure leads to fits. */
static void test_whole(void **state)
{
	(void)state;
	for (unsigned r = 0; r < vmx_check_count; r++) {
		const struct vmx_check *c = &vmx_checks[r];
		unsigned have = 0, same = 0;

		for (size_t n = 0; n < NCASES; n++)
			have += !strcmp(cases[n].id, c->id);
		for (unsigned q = 0; q < vmx_check_count; q++)
			same += !strcmp(vmx_checks[q].id, c->id);
		if (have != 1 || same != 1)
			fail_msg("%s: %u cases, %u rows", c->id, have, same);
		assert_int_equal(c->error, c->group == CHECK_CONTROLS ? 7 :
				 c->group == CHECK_HOST ? 8 : 0);
		assert_true(strlen(c->section) >= 6 && strlen(c->sentence) > 10);
	}
}

static const struct vmx_check *link_check(struct subject *s, uint64_t pa,
					  uint32_t id, uint32_t sec)
{
	make(s, NULL);
	put(s, VMCS_IDX_VMCS_LINK_POINTER, pa);
	put(s, VMCS_IDX_SECONDARY_VM_EXEC_CONTROL, sec);
	if (pa < sizeof s->ram)
		memcpy(s->ram + pa, &id, 4);
	return vmx_check_memory(&s->x);
}

static void test_link_pointer(void **state)
{
	const uint32_t id = VMCS12_REVISION, shadow = id | VMCS12_SHADOW_BIT;
	struct subject s;

	(void)state;
	assert_null(link_check(&s, 0x3000, id, 0));
	assert_null(link_check(&s, 0x3000, shadow, SEC_SHADOW));
	assert_non_null(link_check(&s, 0x3000, shadow, 0));
	assert_non_null(link_check(&s, 0x3000, id, SEC_SHADOW));
	assert_non_null(link_check(&s, 0x3008, id, 0));
	assert_non_null(link_check(&s, 0x3000, id + 1, 0));
	assert_non_null(link_check(&s, 0x7000, id, 0)); /* the current VMCS */
	assert_non_null(link_check(&s, 1ull << 46, id, 0));
	assert_int_equal(link_check(&s, 0x3008, id, 0)->qualification, 4);
}

static void test_pdptes(void **state)
{
	const struct check_case k = { .how = GUEST32 };
	const struct vmx_check *bad;
	uint64_t reserved = 0x2001 | 1ull << 60, absent = 0x1e6;
	struct subject s;

	(void)state;
	make(&s, &k);
	assert_null(vmx_check_memory(&s.x));
	memcpy(s.ram + 0x2018, &absent, 8);
	assert_null(vmx_check_memory(&s.x));
	memcpy(s.ram + 0x2010, &reserved, 8);
	bad = vmx_check_memory(&s.x);
	assert_non_null(bad);
	assert_int_equal(bad->qualification, 2);
	/* Under EPT they are fields. */
	put(&s, VMCS_IDX_SECONDARY_VM_EXEC_CONTROL, SEC_EPT);
	put(&s, VMCS_IDX_EPT_POINTER, EPTP_GOOD);
	assert_null(vmx_check_memory(&s.x));
	put(&s, VMCS_IDX_GUEST_PDPTR3, 3);
	assert_non_null(vmx_check_memory(&s.x));
}

/* Each model's capabilities hang together, whatever the model. */
static void test_models(void **state)
{
	static const char *const names[] = { "full", "kvm-4.14", "kvm-5.10",
					     "kvm-6.1", "kvm-6.18" };
	struct vmx_caps c;

	(void)state;
	assert_false(vmx_caps_model("none", &c));
	for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
		assert_true(vmx_caps_model(names[n], &c));
		assert_int_equal(vmx_cap(&c, 0x480) & 0x7fffffff,
				 VMCS12_REVISION);
		for (uint32_t k = 0; k < 4; k++) {
			uint64_t plain = vmx_cap(&c, 0x481 + k);
			uint64_t exact = vmx_cap(&c, 0x48d + k);

			/* TRUE must-be-ones are among the plain ones, and both
			 * allow the same. */
			assert_int_equal(exact & ~plain & 0xffffffff, 0);
			assert_int_equal(plain >> 32, exact >> 32);
			assert_int_equal((plain & 0xffffffff) & ~(plain >> 32), 0);
		}
		assert_int_equal(vmx_cap(&c, 0x487), 0xffffffff);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_each_row),
		cmocka_unit_test(test_whole),
		cmocka_unit_test(test_link_pointer),
		cmocka_unit_test(test_pdptes),
		cmocka_unit_test(test_models),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
