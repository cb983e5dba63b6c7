/* test_nearby.c: the rules of the neighbourhood, row by row: for each a state that
 * only this row finds wrong, and a sound one that none does.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "convert/check/nearby.h"
#include "convert/check/set_rules.h"

/* Where things are in RAM of 2 MiB. */
enum {
	VMXON = 0x1000, VMCS12 = 0x2000, SHADOW = 0x3000, OTHER_VMCS = 0x4000,
	IO_A = 0x5000, IO_B = 0x6000, MSRS = 0x7000, VAPIC = 0x8000, PML = 0x9000,
	READS = 0xa000, WRITES = 0xb000, EPTPS = 0xc000, STORE = 0xd000,
	LOAD = 0xe000, POSTED = 0xf040,
	EPT4 = 0x10000, EPT3 = 0x11000, EPT2 = 0x12000, EPT1 = 0x13000,
	CR3 = 0x20000, PT3 = 0x21000, PT2 = 0x22000, PT1 = 0x23000,
	CODE = 0x30000, RAM_SIZE = 0x200000,
};
#define LINEAR 0x7f0000ull
#define RWX 7ull
#define WB (6ull << 3)
#define EPTP (EPT4 | 0x5e)
#define P_RW 3ull

struct vm {
	uint8_t page[VMCS12_SIZE], ram[RAM_SIZE];
	uint64_t vmcs[4], current[2];
	struct nearby_ctx x;
};

static bool read_ram(void *arg, uint64_t gpa, void *buf, unsigned len)
{
	struct vm *v = arg;

	if (gpa >= RAM_SIZE || len > RAM_SIZE - gpa)
		return false;
	memcpy(buf, v->ram + gpa, len);
	return true;
}

static void ram64(struct vm *v, uint64_t at, uint64_t value)
{
	memcpy(v->ram + at, &value, 8);
}
static void field(struct vm *v, int idx, uint64_t value)
{
	layout_set(v->x.l, v->page, idx, value);
}
#define SET(NAME, value) field(v, VMCS_IDX_##NAME, value)
#define GET(NAME) layout_get(v->x.l, v->page, VMCS_IDX_##NAME)

/* EPT: the first 2 MiB, identical, in 4 KiB pages; L2: LINEAR to CODE. */
static void tables(struct vm *v)
{
	ram64(v, EPT4, EPT3 | RWX);
	ram64(v, EPT3, EPT2 | RWX);
	ram64(v, EPT2, EPT1 | RWX);
	for (uint64_t i = 0; i < 512; i++)
		ram64(v, EPT1 + 8 * i, i << 12 | WB | RWX);
	ram64(v, CR3, PT3 | P_RW);
	ram64(v, PT3, PT2 | P_RW);
	ram64(v, PT2 + (LINEAR >> 21 & 511) * 8, PT1 | P_RW);
	ram64(v, PT1 + (LINEAR >> 12 & 511) * 8, CODE | P_RW);
}

static void good(struct vm *v)
{
	const uint32_t id = VMCS12_REVISION;

	memset(v, 0, sizeof *v);
	v->x = (struct nearby_ctx){ .l = layout_union(), .page = v->page,
		.vmxon_pa = VMXON, .vmcs12_pa = VMCS12, .l2_active = true,
		.maxphyaddr = 40, .ept_caps = 0x204140, .read = read_ram,
		.arg = v, .current = v->current, .ncurrent = 1,
		.vmcs = v->vmcs, .nvmcs = 4 };
	v->current[0] = OTHER_VMCS;
	v->vmcs[0] = VMXON;
	v->vmcs[1] = VMCS12;
	v->vmcs[2] = SHADOW;
	v->vmcs[3] = OTHER_VMCS;
	SET(CPU_BASED_VM_EXEC_CONTROL, 1u << 31 | 1u << 28 | 1u << 25 | 1u << 21);
	SET(SECONDARY_VM_EXEC_CONTROL, 2 | 1 << 13 | 1 << 14 | 1 << 17);
	SET(PIN_BASED_VM_EXEC_CONTROL, 1 << 7 | 1 << 6);
	SET(VM_FUNCTION_CONTROL, 1);
	SET(VM_ENTRY_CONTROLS, 1 << 9);
	SET(IO_BITMAP_A, IO_A);
	SET(IO_BITMAP_B, IO_B);
	SET(MSR_BITMAP, MSRS);
	SET(VIRTUAL_APIC_PAGE_ADDR, VAPIC);
	SET(PML_ADDRESS, PML);
	SET(VMREAD_BITMAP, READS);
	SET(VMWRITE_BITMAP, WRITES);
	SET(EPTP_LIST_ADDRESS, EPTPS);
	SET(POSTED_INTR_DESC_ADDR, POSTED);
	SET(VM_EXIT_MSR_STORE_ADDR, STORE);
	SET(VM_EXIT_MSR_STORE_COUNT, 2);
	SET(VM_ENTRY_MSR_LOAD_ADDR, STORE); /* as hypervisors do */
	SET(VM_ENTRY_MSR_LOAD_COUNT, 2);
	SET(VM_EXIT_MSR_LOAD_ADDR, LOAD);
	SET(VM_EXIT_MSR_LOAD_COUNT, 2);
	SET(VMCS_LINK_POINTER, SHADOW);
	SET(EPT_POINTER, EPTP);
	SET(GUEST_CR0, 0x80000001);
	SET(GUEST_CR3, CR3);
	SET(GUEST_CR4, 0x20);
	SET(GUEST_CS_AR_BYTES, 0xa09b);
	SET(GUEST_RIP, LINEAR + 0x123);
	ram64(v, EPTPS, EPTP);
	for (unsigned i = 0; i < 2; i++) {
		ram64(v, STORE + 16 * i, 0x10 + i);
		ram64(v, LOAD + 16 * i, 0x174 + i);
	}
	tables(v);
	memcpy(v->page, &id, 4);
	memcpy(v->ram + VMCS12, v->page, VMCS12_SIZE);
}

static void near_ram(struct vm *v) { SET(MSR_BITMAP, RAM_SIZE); }
static void near_ram_list(struct vm *v)
{
	SET(VM_EXIT_MSR_LOAD_ADDR, RAM_SIZE - 16); /* the second one is out */
}
static void near_overlap(struct vm *v) { SET(PML_ADDRESS, IO_B); }
static void near_overlap_store(struct vm *v)
{
	SET(VM_EXIT_MSR_STORE_ADDR, VAPIC + 0x800);
}
static void near_overlap_vmcs(struct vm *v) { SET(PML_ADDRESS, OTHER_VMCS); }
static void near_overlap_own(struct vm *v) { SET(MSR_BITMAP, VMCS12); }
static void near_shared_vmcs(struct vm *v) { v->current[0] = VMCS12; }
static void misconfig_write_only(struct vm *v)
{
	ram64(v, EPT1 + (CODE >> 12) * 8, CODE | WB | 2);
}
static void misconfig_exec_only(struct vm *v)
{
	ram64(v, EPT1 + (CODE >> 12) * 8, CODE | WB | 4);
}
static void misconfig_type(struct vm *v)
{
	ram64(v, EPT1 + (PT1 >> 12) * 8, PT1 | 3 << 3 | RWX);
}
static void misconfig_1g(struct vm *v) { ram64(v, EPT3, 0x80 | WB | RWX); }
static void misconfig_width(struct vm *v)
{
	ram64(v, EPT2, 1ull << 45 | EPT1 | RWX);
}
static void misconfig_large(struct vm *v)
{
	v->x.ept_caps |= 1 << 16;
	ram64(v, EPT2, 0x1000 | 0x80 | WB | RWX);
}
static void ept_ram_table(struct vm *v) { ram64(v, EPT2, RAM_SIZE | RWX); }
static void ept_ram_page(struct vm *v)
{
	ram64(v, EPT1 + (CODE >> 12) * 8, RAM_SIZE | WB | RWX);
}
static void ept_absent(struct vm *v) { ram64(v, EPT1 + (CODE >> 12) * 8, 0); }
static void ept_absent_cr3(struct vm *v) { ram64(v, EPT3, 0); }
static void near_paging(struct vm *v) { SET(GUEST_RIP, LINEAR + 0x1000); }
static void msr_fs_base(struct vm *v) { ram64(v, LOAD, 0xc0000100); }
static void msr_x2apic(struct vm *v) { ram64(v, STORE + 16, 0x808); }
static void msr_reserved(struct vm *v) { ram64(v, LOAD + 16, 1ull << 32 | 0x174); }
static void msr_count(struct vm *v)
{
	SET(VM_EXIT_MSR_LOAD_ADDR, 0x100000);
	SET(VM_EXIT_MSR_LOAD_COUNT, 513);
}
static void near_eptp_list(struct vm *v) { ram64(v, EPTPS + 8 * 77, EPT4 | 0x1e | 0x800); }
static void near_vmcs_page(struct vm *v) { ram64(v, VMCS12, 0); }
static void near_stale(struct vm *v)
{
	layout_set(v->x.l, v->ram + VMCS12, VMCS_IDX_GUEST_RSP, 1);
}
static void near_deadline(struct vm *v) { v->x.no_deadline = true; }

static void near_rare_fields(struct vm *v)
{
	v->x.l2_active = false;
	v->x.source = KERNEL(5, 9);
	v->page[VMCS12_OFF_LAUNCH] = 1;
}

static const struct {
	const char *id;
	void (*damage)(struct vm *v);
	const char *detail;
} cases[] = {
	{ "near-ram", near_ram, "MSR_BITMAP" },
	{ "near-ram", near_ram_list, "VM_EXIT_MSR_LOAD_ADDR" },
	{ "near-overlap", near_overlap, "PML_ADDRESS" },
	{ "near-overlap", near_overlap_store, "VIRTUAL_APIC" },
	{ "near-overlap", near_overlap_vmcs, "there is a VMCS" },
	{ "near-overlap", near_overlap_own, "vmcs12_pa" },
	{ "near-shared-vmcs", near_shared_vmcs, "another vCPU" },
	{ "near-ept-misconfig", misconfig_write_only, "not readable" },
	{ "near-ept-misconfig", misconfig_exec_only, "execute-only" },
	{ "near-ept-misconfig", misconfig_type, "memory type" },
	{ "near-ept-misconfig", misconfig_1g, "1 GiB" },
	{ "near-ept-misconfig", misconfig_width, "width" },
	{ "near-ept-misconfig", misconfig_large, "large page" },
	{ "near-ept-ram", ept_ram_table, "level 1" },
	{ "near-ept-ram", ept_ram_page, "not in guest RAM" },
	{ "near-ept-absent", ept_absent, "RIP" },
	{ "near-ept-absent", ept_absent_cr3, "CR3" },
	{ "near-paging", near_paging, "CR3" },
	{ "near-msr-list", msr_fs_base, "entry 1: MSR 0xc0000100" },
	{ "near-msr-list", msr_x2apic, "entry 2: MSR 0x808" },
	{ "near-msr-list", msr_reserved, "reserved" },
	{ "near-msr-list", msr_count, "at most 512" },
	{ "near-eptp-list", near_eptp_list, "entry 77" },
	{ "near-vmcs-page", near_vmcs_page, "begins with 0x0" },
	{ "near-stale", near_stale, "1 fields" },
	{ "near-deadline", near_deadline, "armed" },
	{ "near-rare-fields", near_rare_fields, "Linux 5.9" },
};
#define NCASES (sizeof cases / sizeof *cases)

static struct vm vm;

static void test_good(void **state)
{
	struct nearby_found f[NEARBY_MOST];
	struct vm *v = &vm;

	(void)state;
	good(v);
	if (nearby_check(&v->x, f))
		fail_msg("%s: %s", f[0].rule->id, f[0].detail);
	/* Large pages where the processor has them; execute-only; MBEC. */
	v->x.ept_caps |= 1 << 16 | 1;
	ram64(v, EPT2, 0x80 | WB | RWX);
	assert_int_equal(nearby_check(&v->x, f), 0);
	tables(v);
	ram64(v, EPT1 + (CODE >> 12) * 8, CODE | WB | 4);
	assert_int_equal(nearby_check(&v->x, f), 0);
	/* Without paging RIP is the address; without EPT, of L1. */
	good(v);
	SET(GUEST_CR0, 0x21);
	SET(VM_ENTRY_CONTROLS, 0);
	SET(GUEST_RIP, CODE);
	memcpy(v->ram + VMCS12, v->page, VMCS12_SIZE);
	assert_int_equal(nearby_check(&v->x, f), 0);
	SET(SECONDARY_VM_EXEC_CONTROL, 0);
	SET(GUEST_RIP, RAM_SIZE);
	memcpy(v->ram + VMCS12, v->page, VMCS12_SIZE);
	assert_int_equal(nearby_check(&v->x, f), 1);
	assert_string_equal(f[0].rule->id, "near-ept-ram");
	/* While L1 runs, what it has not finished is not looked at; without RAM,
	 * nothing is. */
	good(v);
	SET(MSR_BITMAP, RAM_SIZE);
	memcpy(v->ram + VMCS12, v->page, VMCS12_SIZE);
	v->x.l2_active = false;
	assert_int_equal(nearby_check(&v->x, f), 0);
	v->x.l2_active = true;
	v->x.read = NULL;
	assert_int_equal(nearby_check(&v->x, f), 0);
}

/* 32-bit and PAE paging find the same page. */
static void test_paging(void **state)
{
	struct nearby_found f[NEARBY_MOST];
	uint32_t pde = PT1 | 3, pte = CODE | 3;
	struct vm *v = &vm;

	(void)state;
	good(v);
	SET(VM_ENTRY_CONTROLS, 0);
	SET(GUEST_CR4, 0);
	memcpy(v->ram + CR3 + (LINEAR >> 22) * 4, &pde, 4);
	memcpy(v->ram + PT1 + (LINEAR >> 12 & 1023) * 4, &pte, 4);
	memcpy(v->ram + VMCS12, v->page, VMCS12_SIZE);
	assert_int_equal(nearby_check(&v->x, f), 0);
	pte = 0;
	memcpy(v->ram + PT1 + (LINEAR >> 12 & 1023) * 4, &pte, 4);
	assert_int_equal(nearby_check(&v->x, f), 1);
	assert_string_equal(f[0].rule->id, "near-paging");
	good(v);
	SET(VM_ENTRY_CONTROLS, 0);
	SET(GUEST_PDPTR0, PT2 | 1);
	memcpy(v->ram + VMCS12, v->page, VMCS12_SIZE);
	assert_int_equal(nearby_check(&v->x, f), 0);
	SET(GUEST_PDPTR0, 0);
	memcpy(v->ram + VMCS12, v->page, VMCS12_SIZE);
	assert_int_equal(nearby_check(&v->x, f), 1);
	assert_string_equal(f[0].rule->id, "near-paging");
}

static void test_each_row(void **state)
{
	(void)state;
	for (size_t n = 0; n < NCASES; n++) {
		struct nearby_found f[NEARBY_MOST];
		struct vm *v = &vm;
		unsigned have;

		good(v);
		cases[n].damage(v);
		/* RAM has what the nested state has, but for what is damaged. */
		if (strcmp(cases[n].id, "near-stale") &&
		    strcmp(cases[n].id, "near-vmcs-page"))
			memcpy(v->ram + VMCS12, v->page, VMCS12_SIZE);
		have = nearby_check(&v->x, f);
		if (!have)
			fail_msg("case %zu, %s: nothing found", n, cases[n].id);
		for (unsigned k = 0; k < have; k++)
			if (strcmp(f[k].rule->id, cases[n].id))
				fail_msg("case %zu, %s: %s: %s", n, cases[n].id,
					 f[k].rule->id, f[k].detail);
		if (!strstr(f[0].detail, cases[n].detail))
			fail_msg("case %zu: \"%s\"", n, f[0].detail);
	}
}

/* No rule without a case; the destination's MSRs are compared elsewhere. */
static void test_whole(void **state)
{
	(void)state;
	for (unsigned r = 0; r < nearby_rule_count; r++) {
		bool any = !strcmp(nearby_rules[r].id, "near-capability-msrs");

		for (size_t n = 0; n < NCASES; n++)
			any |= !strcmp(nearby_rules[r].id, cases[n].id);
		if (!any)
			fail_msg("%s has no case", nearby_rules[r].id);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_paging),
		cmocka_unit_test(test_each_row),
		cmocka_unit_test(test_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
