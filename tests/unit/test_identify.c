/* identify on pages of real kernels, on contrived ones, and on several. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layouts/identify.h"

#define DIR "tests/fixtures/pages/"

static void read_page(const char *name, uint8_t page[VMCS12_SIZE])
{
	char path[256];
	FILE *f;

	snprintf(path, sizeof path, DIR "%s", name);
	f = fopen(path, "rb");
	assert_non_null(f);
	assert_int_equal(fread(page, 1, VMCS12_SIZE, f), VMCS12_SIZE);
	fclose(f);
}

static void real_pages_are_told(void **state)
{
	static const struct { const char *file, *group; } t[] = {
		{ "kvm-4.17-in-l2.bin", "v4.14" },
		{ "kvm-4.17-never-launched.bin", "v4.14" },
		{ "kvm-6.1-in-l2.bin", "v4.18, v5.8, v5.13, v5.14, v6.18" },
		{ "kvm-6.1-no-pml-in-l2.bin",
		  "v4.0, v4.18, v5.8, v5.13, v5.14, v6.18" },
		{ "as-v4.12-in-l2.bin", "v4.12" },
		{ "as-v4.0-never-launched.bin",
		  "v4.0, v4.18, v5.8, v5.13, v5.14, v6.18" },
		{ "as-rhel7.3-in-l2.bin", "rhel7.3" },
		{ "as-rhel7.7-in-l1.bin", "rhel7.7" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		uint8_t page[VMCS12_SIZE];
		struct identify_result r;
		char name[256];

		read_page(t[i].file, page);
		identify_page(page, &r);
		assert_int_equal(r.verdict, IDENTIFY_CERTAIN);
		assert_string_equal(identify_group_name(&r, 0, name, sizeof name),
				    t[i].group);
		assert_non_null(strstr(t[i].group, r.layout->id));
		assert_true(r.margin > 0);
		assert_int_equal(r.plausible, 1);
		assert_false(r.empty);
		assert_int_equal(r.candidate[0].hard, 0);
	}
}

/* Values without sense, all of them where v5.14 has fields. */
static void a_pattern_fits_nothing(void **state)
{
	uint8_t page[VMCS12_SIZE];
	struct identify_result r;

	(void)state;
	read_page("kvm-6.1-pattern.bin", page);
	identify_page(page, &r);
	assert_int_equal(r.verdict, IDENTIFY_NONE);
	assert_null(r.layout);
	for (unsigned i = 0; i < r.count; i++)
		if (!strcmp(r.candidate[i].layout->id, "v5.14"))
			assert_int_equal(r.candidate[i].unowned, 0);
		else if (!strcmp(r.candidate[i].layout->id, "v4.14"))
			assert_true(r.candidate[i].unowned > 0);
}

static void an_empty_page_is_of_any_layout(void **state)
{
	uint8_t page[VMCS12_SIZE] = { 0xd0, 0x7e, 0xe5, 0x11 };
	struct identify_result r;

	(void)state;
	identify_page(page, &r);
	assert_int_equal(r.verdict, IDENTIFY_CERTAIN);
	assert_true(r.empty);
	assert_int_equal(r.groups, 1);
	assert_ptr_equal(r.layout, layout_newest());
}

/* One link pointer of ones, at 176: of v4.0 and later, or of v4.12. */
static void little_evidence_is_ambiguous(void **state)
{
	uint8_t page[VMCS12_SIZE] = { 0xd0, 0x7e, 0xe5, 0x11 };
	struct identify_result r;

	(void)state;
	memset(page + 544, 0x11, 4); /* a guest RIP, or what stands there */
	identify_page(page, &r);
	assert_int_equal(r.verdict, IDENTIFY_AMBIGUOUS);
	assert_true(r.groups > 1);
	assert_true(r.plausible > 1);
	memset(page, 0xa5, sizeof page);
	identify_page(page, &r);
	assert_int_equal(r.verdict, IDENTIFY_NONE);
}

/* Groups are what they say: compare byte by byte through the fields. */
static void groups_read_alike(void **state)
{
	uint8_t page[VMCS12_SIZE];
	struct identify_result r;

	(void)state;
	read_page("kvm-6.1-no-pml-in-l2.bin", page);
	identify_page(page, &r);
	for (unsigned a = 0; a < r.count; a++)
		for (unsigned b = 0; b < r.count; b++) {
			const struct layout *x = r.candidate[a].layout;
			const struct layout *y = r.candidate[b].layout;
			bool same = true;

			for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
				uint64_t vx = layout_has(x, i) ?
					layout_get(x, page, i) : 0;
				uint64_t vy = layout_has(y, i) ?
					layout_get(y, page, i) : 0;

				same &= vx == vy;
			}
			assert_int_equal(same, r.candidate[a].group ==
					 r.candidate[b].group);
		}
}

static void several_pages_are_judged_together(void **state)
{
	uint8_t page[VMCS12_SIZE];
	struct identify_pool p;
	struct identify_result r;

	(void)state;
	identify_pool_init(&p);
	identify_pool_result(&p, &r);
	assert_true(r.empty);

	memset(page, 0, sizeof page);
	memset(page + 544, 0x11, 4);
	identify_pool_add(&p, page, &r);
	assert_int_equal(r.verdict, IDENTIFY_AMBIGUOUS);
	read_page("kvm-6.1-pattern.bin", page);
	identify_pool_add(&p, page, NULL);
	assert_int_equal(p.skipped, 1);
	read_page("kvm-4.17-in-l2.bin", page);
	identify_pool_add(&p, page, NULL);
	read_page("kvm-4.17-never-launched.bin", page);
	identify_pool_add(&p, page, NULL);
	identify_pool_result(&p, &r);
	assert_int_equal(r.verdict, IDENTIFY_CERTAIN);
	assert_string_equal(r.layout->id, "v4.14");

	read_page("as-v4.12-in-l2.bin", page);
	identify_pool_add(&p, page, NULL);
	identify_pool_result(&p, &r);
	assert_true(p.conflict);
	assert_int_equal(r.verdict, IDENTIFY_AMBIGUOUS);
}

static void only_senseless_pages_give_no_answer(void **state)
{
	uint8_t page[VMCS12_SIZE];
	struct identify_pool p;
	struct identify_result r;

	(void)state;
	identify_pool_init(&p);
	read_page("kvm-6.1-pattern.bin", page);
	identify_pool_add(&p, page, NULL);
	identify_pool_result(&p, &r);
	assert_int_equal(r.verdict, IDENTIFY_NONE);
	assert_null(r.layout);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(real_pages_are_told),
		cmocka_unit_test(a_pattern_fits_nothing),
		cmocka_unit_test(an_empty_page_is_of_any_layout),
		cmocka_unit_test(little_evidence_is_ambiguous),
		cmocka_unit_test(groups_read_alike),
		cmocka_unit_test(several_pages_are_judged_together),
		cmocka_unit_test(only_senseless_pages_give_no_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
