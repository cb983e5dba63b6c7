/* Values of VMCS fields in words. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layouts/decode.h"

#define CHECK(NAME, value, text)                                             \
	do {                                                                 \
		char buf_[512];                                              \
		assert_string_equal(vmcs_field_decode(VMCS_IDX_##NAME, value,\
						      buf_, sizeof buf_),    \
				    text);                                   \
	} while (0)

static void values_are_decoded(void **state)
{
	(void)state;
	CHECK(GUEST_CR0, 0x80050033, "PE MP ET NE WP AM PG");
	CHECK(GUEST_CR4, 0x100002020, "PAE VMXE FRED");
	CHECK(GUEST_IA32_EFER, 0xd01, "SCE LME LMA NXE");
	CHECK(GUEST_RFLAGS, 0x3202, "IF IOPL 3");
	CHECK(GUEST_DR7, 0x400, "");
	CHECK(GUEST_DR7, 0x000d0401, "L0, 0: write 4");
	CHECK(GUEST_CS_SELECTOR, 0x10, "GDT entry 2");
	CHECK(GUEST_SS_SELECTOR, 0x2f, "LDT entry 5, RPL 3");
	CHECK(GUEST_FS_SELECTOR, 0, "null");
	CHECK(GUEST_CS_AR_BYTES, 0xa09b,
	      "code readable accessed, DPL 0, L, G");
	CHECK(GUEST_SS_AR_BYTES, 0xc0f3,
	      "data writable accessed, DPL 3, D/B, G");
	CHECK(GUEST_TR_AR_BYTES, 0x8b, "busy TSS, DPL 0");
	CHECK(GUEST_LDTR_AR_BYTES, 0x10000, "unusable");
	CHECK(PIN_BASED_VM_EXEC_CONTROL, 0x3f,
	      "external-interrupt exiting, NMI exiting, virtual NMIs");
	CHECK(SECONDARY_VM_EXEC_CONTROL, 0x20000002,
	      "enable EPT, bit 29");
	CHECK(CPU_BASED_VM_EXEC_CONTROL, 0x0401e172,
	      "CR3-load exiting, CR3-store exiting");
	CHECK(VM_ENTRY_CONTROLS, 0x13ff,
	      "load debug controls, IA-32e mode guest");
	CHECK(VM_EXIT_REASON, 48, "EPT violation (48)");
	CHECK(VM_EXIT_REASON, 0x80000021,
	      "VM-entry failure due to invalid guest state (33), "
	      "VM-entry failure");
	CHECK(VM_EXIT_REASON, 0x1000, "unknown (4096)");
	CHECK(VM_INSTRUCTION_ERROR, 12,
	      "VMREAD/VMWRITE from/to unsupported VMCS component");
	CHECK(VM_INSTRUCTION_ERROR, 0, "");
	CHECK(VM_INSTRUCTION_ERROR, 0xffffffff, "unknown");
	CHECK(VM_EXIT_INTR_INFO, 0x80000b0e,
	      "hardware exception #PF, error code");
	CHECK(VM_ENTRY_INTR_INFO_FIELD, 0x800000ef, "external interrupt 239");
	CHECK(VM_ENTRY_INTR_INFO_FIELD, 0x80000202, "NMI");
	CHECK(GUEST_INTERRUPTIBILITY_INFO, 9,
	      "blocking by STI, blocking by NMI");
	CHECK(GUEST_ACTIVITY_STATE, 1, "HLT");
	CHECK(GUEST_ACTIVITY_STATE, 4, "unknown");
	CHECK(EPT_POINTER, 0x41001e, "WB, 4-level, root at 0x410000");
	CHECK(EPT_POINTER, 0x410066,
	      "WB, 5-level, accessed and dirty flags, root at 0x410000");
	CHECK(VMCS_LINK_POINTER, ~0ull, "none");
	CHECK(GUEST_IA32_PAT, 0x0007040600070406ull,
	      "WB WT UC- UC WB WT UC- UC");
	CHECK(EXCEPTION_BITMAP, 0x60042, "#DB #UD #AC #MC");
	CHECK(EXCEPTION_BITMAP, 0xffffffff, "all");
	CHECK(GUEST_RIP, 0xfff0, "");
}

static void a_short_buffer_cuts(void **state)
{
	char buf[4];

	(void)state;
	for (size_t len = 0; len <= sizeof buf; len++) {
		memset(buf, '#', sizeof buf);
		for (int i = 0; i < VMCS_FIELD_COUNT; i++)
			vmcs_field_decode(i, 0x8000bbcdffffabcdull, buf, len);
		for (size_t k = len; k < sizeof buf; k++)
			assert_int_equal(buf[k], '#');
		if (len)
			assert_true(memchr(buf, 0, len));
	}
}

static void exits_are_decoded(void **state)
{
	char b[512];

	(void)state;
	assert_string_equal(vmx_qualification_decode(28, 0x304, b, sizeof b),
			    "MOV to CR4 from RBX");
	assert_string_equal(vmx_qualification_decode(30, 0x100000, b, sizeof b),
			    "OUT port 0x10, 1 byte, DX");
	assert_string_equal(
		vmx_qualification_decode(48, 0x182, b, sizeof b),
		"access -w-, page allows ---, final translation");
	assert_string_equal(vmx_qualification_decode(10, 0, b, sizeof b), "");
	assert_string_equal(vmx_insn_info_decode(23, 0x30000408, b, sizeof b),
			    "field in RBX, value in RCX");
}

/* A gate names a control that exists: "word:control", or several. */
static void gates_are_controls(void **state)
{
	static const struct { const char *word; enum vmcs_format format; } w[] = {
		{ "pin", VF_PIN_CTLS }, { "primary", VF_PROC_CTLS },
		{ "secondary", VF_PROC2_CTLS }, { "tertiary", VF_PROC3_CTLS },
		{ "exit", VF_EXIT_CTLS }, { "exit2", VF_EXIT2_CTLS },
		{ "entry", VF_ENTRY_CTLS },
	};

	(void)state;
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		char gates[256], *rest = gates, *one;

		if (!vmcs_fields[i].gate)
			continue;
		snprintf(gates, sizeof gates, "%s", vmcs_fields[i].gate);
		while ((one = strsep(&rest, "|"))) {
			char *name, *end;
			bool found = false;

			one += strspn(one, " ");
			for (end = one + strlen(one); end[-1] == ' '; end--)
				end[-1] = '\0';
			name = strchr(one, ':');
			assert_non_null(name);
			*name++ = '\0';
			for (size_t k = 0; k < sizeof w / sizeof w[0]; k++)
				for (unsigned bit = 0; bit < 64; bit++) {
					const char *n = vmcs_bit_name(w[k].format, bit);

					if (!strcmp(w[k].word, one) && n &&
					    !strcmp(n, name))
						found = true;
				}
			if (!found)
				fail_msg("%s: no control %s:%s",
					 vmcs_fields[i].name, one, name);
		}
	}
}

static void names_are_looked_up(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 100; i++) {
		const char *name = vmx_exit_reason_name(i);

		if (name)
			assert_int_equal(vmx_exit_reason_lookup(name), i);
	}
	assert_int_equal(vmx_exit_reason_lookup("EXIT_REASON_VMCALL"), 18);
	assert_int_equal(vmx_exit_reason_lookup("EPT_VIOLATION"), 48);
	assert_int_equal(vmx_exit_reason_lookup("48"), 48);
	assert_int_equal(vmx_exit_reason_lookup("35"), -1);
	assert_int_equal(vmx_exit_reason_lookup(""), -1);
	assert_null(vmx_exit_reason_name(35));
	assert_null(vmx_insn_error_name(14));
	assert_null(vmx_insn_error_name(99));
	assert_null(vmcs_bit_name(VF_CR0, 64));
	assert_null(vmcs_bit_name(VF_COUNT, 0));
	assert_string_equal(vmcs_bit_name(VF_PROC2_CTLS, 17), "enable PML");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(values_are_decoded),
		cmocka_unit_test(a_short_buffer_cuts),
		cmocka_unit_test(exits_are_decoded),
		cmocka_unit_test(gates_are_controls),
		cmocka_unit_test(names_are_looked_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
