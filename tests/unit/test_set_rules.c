/* test_set_rules.c: the rules of KVM_SET_NESTED_STATE, row by row: for each a state
 * that only this row refuses, and what differs between releases.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <linux/kvm.h>

#include "convert/check/set_rules.h"
#include "layouts/layouts.h"

#define NONE 0xffffffffffffffffull
#define K(major, minor) KERNEL(major, minor)
#define NEWEST K(7, 2)

struct state {
	uint8_t blob[128 + 2 * VMCS12_SIZE];
	struct set_context x;
};

static void put(struct state *s, unsigned off, uint64_t v, unsigned n)
{
	memcpy(s->blob + off, &v, n);
}
#define FLAGS(s, v) put(s, 0, v, 2)
#define FORMAT(s, v) put(s, 2, v, 2)
#define SIZE(s, v) put(s, 4, v, 4)
#define VMXON(s, v) put(s, 8, v, 8)
#define VMCS12(s, v) put(s, 16, v, 8)
#define SMM(s, v) put(s, 24, v, 2)
#define VMX_FLAGS(s, v) put(s, 28, v, 4)

/* L2 runs, with a shadow VMCS: all that a state can have. */
static void good(struct state *s)
{
	const struct layout *l = layout_newest();
	uint8_t *page = s->blob + 128;

	memset(s, 0, sizeof *s);
	FLAGS(s, KVM_STATE_NESTED_GUEST_MODE);
	SIZE(s, sizeof s->blob);
	VMXON(s, 0x400000);
	VMCS12(s, 0x401000);
	put(s, 128, VMCS12_REVISION, 4);
	put(s, 128 + VMCS12_SIZE, VMCS12_REVISION | VMCS12_SHADOW_BIT, 4);
	layout_set(l, page, VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL, 0x80000000);
	layout_set(l, page, VMCS_IDX_SECONDARY_VM_EXEC_CONTROL, 0x4000);
	layout_set(l, page, VMCS_IDX_VMCS_LINK_POINTER, 0x402000);
	s->x = (struct set_context){ .blob = s->blob, .size = sizeof s->blob,
		.kernel = NEWEST, .has_vmx = true, .maxphyaddr = 46 };
}

static void buffer_size(struct state *s)
{
	s->x.kernel = K(5, 4); /* later ones refuse it for another reason too */
	FLAGS(s, 0);
	SIZE(s, 127);
}
static void flags_known(struct state *s) { FLAGS(s, 0x11); }
static void run_pending_needs_guest(struct state *s)
{
	FLAGS(s, KVM_STATE_NESTED_RUN_PENDING);
}
static void format_vmx(struct state *s) { FORMAT(s, 1); }
static void no_vmxon_no_vmcs(struct state *s)
{
	FLAGS(s, 0);
	VMXON(s, NONE);
}
static void no_vmxon_no_flags(struct state *s)
{
	VMXON(s, NONE);
	VMCS12(s, NONE);
}
static void cpuid_has_vmx(struct state *s) { s->x.has_vmx = false; }
static void vmxon_pa_valid(struct state *s) { VMXON(s, 0x400800); }
static void smm_guest_xor_guest(struct state *s) { SMM(s, 3); }
static void smm_flags_known(struct state *s)
{
	s->x.in_smm = true;
	FLAGS(s, 0);
	SMM(s, 6);
}
static void vmx_flags_known(struct state *s) { VMX_FLAGS(s, 2); }
static void smm_consistent(struct state *s) { SMM(s, 2); }
static void smm_guest_needs_vmxon(struct state *s)
{
	s->x.in_smm = true;
	FLAGS(s, 0);
	SMM(s, 1);
}
static void evmcs_enabled(struct state *s)
{
	FLAGS(s, KVM_STATE_NESTED_EVMCS);
	VMCS12(s, NONE);
}
static void vmcs12_absent(struct state *s)
{
	SIZE(s, 128);
	layout_set(layout_newest(), s->blob + 128,
		   VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL, 0); /* no shadow VMCS */
}
static void vmcs12_pa_valid(struct state *s) { VMCS12(s, 1ull << 46); }
static void vmcs12_or_evmcs(struct state *s) { VMCS12(s, NONE); }
static void vmcs12_revision(struct state *s) { put(s, 128, 0, 4); }
static void shadow_size(struct state *s) { SIZE(s, 128 + VMCS12_SIZE); }
static void shadow_revision(struct state *s)
{
	put(s, 128 + VMCS12_SIZE, VMCS12_REVISION, 4);
}

static void activity_wait_sipi(struct state *s)
{
	s->x.kernel = K(5, 9);
	layout_set(layout_newest(), s->blob + 128, VMCS_IDX_GUEST_ACTIVITY_STATE, 3);
}

static const struct { const char *id; void (*damage)(struct state *s); }
	cases[] = {
#define RULE(id, ...) { #id, id },
#include "convert/check/set_rules.def"
#undef RULE
};

/* In SMM, GUEST_MODE may not be set at all; outside, no SMM flag: whatever is in
 * both flags breaks this rule too. */
static bool implied(const char *broken, const char *id)
{
	return !strcmp(broken, "smm_guest_xor_guest") &&
		!strcmp(id, "smm_consistent");
}

static const char *first(const struct state *s)
{
	bool fields;
	const struct set_rule *r = set_rules_first_broken(&s->x, &fields);

	return r ? r->id : NULL;
}

static void test_good(void **state)
{
	static const uint32_t kernels[] = { K(4, 19), K(4, 20), K(5, 2), K(5, 4),
		K(5, 8), K(6, 1), K(7, 2) };
	struct state s;
	bool fields;

	(void)state;
	good(&s);
	for (size_t i = 0; i < sizeof kernels / sizeof *kernels; i++) {
		s.x.kernel = kernels[i];
		assert_null(set_rules_first_broken(&s.x, &fields));
		assert_true(fields);
	}
}

static void test_each_row(void **state)
{
	(void)state;
	assert_int_equal(sizeof cases / sizeof *cases, set_rule_count);
	for (unsigned n = 0; n < set_rule_count; n++) {
		struct state s;

		good(&s);
		cases[n].damage(&s);
		for (unsigned r = 0; r < set_rule_count; r++) {
			const struct set_rule *rule = &set_rules[r];
			int holds;

			if (s.x.kernel < rule->since || s.x.kernel > rule->until)
				continue;
			holds = rule->holds(&s.x);
			if (r == n ? holds != 0 : holds == 0 &&
			    !implied(cases[n].id, rule->id))
				fail_msg("case %s: row %s: %d", cases[n].id,
					 rule->id, holds);
			if (holds < 0)
				break; /* the ioctl ends with success here */
		}
		assert_string_equal(first(&s), cases[n].id);
	}
}

/* A rule's first release refuses, the one before takes it. */
static void test_releases(void **state)
{
	static const struct { const char *id; uint32_t before, since; } news[] = {
		{ "no_vmxon_no_flags", K(5, 1), K(5, 2) },
		{ "vmx_flags_known", K(5, 7), K(5, 8) },
		{ "evmcs_enabled", K(5, 1), K(5, 2) },
		{ "vmcs12_absent", K(5, 7), K(5, 8) },
	};
	struct state s;

	(void)state;
	for (size_t i = 0; i < sizeof news / sizeof *news; i++)
		for (unsigned n = 0; n < set_rule_count; n++) {
			if (strcmp(cases[n].id, news[i].id))
				continue;
			good(&s);
			cases[n].damage(&s);
			s.x.kernel = news[i].before;
			if (first(&s))
				fail_msg("%s: %s", news[i].id, first(&s));
			s.x.kernel = news[i].since;
			assert_string_equal(first(&s), news[i].id);
		}
}

static void test_flags_by_release(void **state)
{
	static const struct { unsigned flag; uint32_t before, since; } flags[] = {
		{ KVM_STATE_NESTED_EVMCS, K(4, 19), K(4, 20) },
		{ KVM_STATE_NESTED_MTF_PENDING, K(5, 6), K(5, 7) },
		{ KVM_STATE_NESTED_GIF_SET, K(5, 7), K(5, 8) },
	};
	struct state s;

	(void)state;
	good(&s);
	s.x.evmcs_enabled = true;
	for (size_t i = 0; i < sizeof flags / sizeof *flags; i++) {
		FLAGS(&s, KVM_STATE_NESTED_GUEST_MODE | flags[i].flag);
		s.x.kernel = flags[i].before;
		assert_string_equal(first(&s), "flags_known");
		s.x.kernel = flags[i].since;
		assert_null(first(&s));
	}
}

/* 4.20 and 5.0 compared sizes with a pointer's by mistake. */
static void test_sizes_by_release(void **state)
{
	static const struct { uint32_t kernel, least; } sizes[] = {
		{ K(4, 19), 2124 }, { K(4, 20), 2004 }, { K(5, 0), 2004 },
		{ K(5, 2), 5222 }, { K(7, 2), 5222 },
	};
	struct state s;

	(void)state;
	good(&s);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		s.x.kernel = sizes[i].kernel;
		SIZE(&s, sizes[i].least);
		assert_null(first(&s));
		SIZE(&s, sizes[i].least - 1);
		assert_string_equal(first(&s), "shadow_size");
	}
}

static void test_remarks(void **state)
{
	struct state s;
	char text[200];

	(void)state;
	good(&s);
	assert_false(set_remark(&s.x, 0, text, sizeof text));
	s.blob[128 + 998] = 1;
	assert_true(set_remark(&s.x, 0, text, sizeof text));
	assert_non_null(strstr(text, "998"));
	assert_false(set_remark(&s.x, 1, text, sizeof text));
	good(&s);
	VMX_FLAGS(&s, 1);
	assert_true(set_remark(&s.x, 0, text, sizeof text));
	assert_non_null(strstr(text, "another host"));
	s.x.kernel = K(5, 4);
	assert_true(set_remark(&s.x, 0, text, sizeof text));
	assert_non_null(strstr(text, "ignored"));
	good(&s);
	SIZE(&s, 128 + VMCS12_SIZE);
	assert_true(set_remark(&s.x, 0, text, sizeof text));
	assert_non_null(strstr(text, "shadow"));
	good(&s);
	s.x.in_smm = true;
	FLAGS(&s, 0);
	SMM(&s, 2);
	SIZE(&s, 128);
	VMCS12(&s, NONE);
	assert_true(set_remark(&s.x, 0, text, sizeof text));
	assert_non_null(strstr(text, "SMM"));
}

static void test_address_of_419(void **state)
{
	struct state s;

	(void)state;
	good(&s);
	VMCS12(&s, NONE);
	s.x.kernel = K(4, 19);
	assert_string_equal(first(&s), "vmcs12_pa_valid");
	good(&s);
	VMCS12(&s, 0x400000);
	assert_string_equal(first(&s), "vmcs12_pa_valid");
	s.x.maxphyaddr = 22;
	VMCS12(&s, 0x401000);
	assert_string_equal(first(&s), "vmxon_pa_valid");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_each_row),
		cmocka_unit_test(test_releases),
		cmocka_unit_test(test_flags_by_release),
		cmocka_unit_test(test_sizes_by_release),
		cmocka_unit_test(test_remarks),
		cmocka_unit_test(test_address_of_419),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
