/* The field catalogue and the built-in layouts, against a table that was made
 * from the kernels' sources without this program (tests/fixtures). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layouts/layouts.h"

#define TSV "tests/fixtures/vmcs12_layouts.tsv"

static void fields_are_sorted_and_found(void **state)
{
	(void)state;
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		const struct vmcs_field *f = &vmcs_fields[i];
		char enc[16];

		if (i)
			assert_true(f[-1].encoding < f->encoding);
		assert_int_equal(f->encoding & 1, 0);
		assert_int_equal(vmcs_field_index(f->encoding), i);
		assert_int_equal(vmcs_field_lookup(f->name), i);
		assert_int_equal(vmcs_field_lookup(f->sdm_name), i);
		if (f->kernel_name)
			assert_int_equal(vmcs_field_lookup(f->kernel_name), i);
		snprintf(enc, sizeof enc, "0x%x", f->encoding);
		assert_int_equal(vmcs_field_lookup(enc), i);
		assert_int_equal(vmcs_field_index(f->encoding | 1u),
				 vmcs_width(f->encoding) == VMCS_W64 ? i : -1);
		assert_int_equal(vmcs_field_index(f->encoding | 0x1000u), -1);
		assert_int_equal(vmcs_field_index(f->encoding | 0x8000u), -1);
		assert_int_equal(vmcs_field_index(f->encoding | 0x10000u), -1);
	}
}

static void unknown_names_are_refused(void **state)
{
	static const char *const bad[] = {
		"", "GUEST_RI", "GUEST_RIPS", "0x681e0", "0x681ez", "0x", "-1",
		"0x2046", "99999999999999999999", " ", "guest",
	};

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_int_equal(vmcs_field_lookup(bad[i]), -1);
	assert_int_equal(vmcs_field_lookup("guest rip"), VMCS_IDX_GUEST_RIP);
	assert_int_equal(vmcs_field_lookup("Guest_Rip"), VMCS_IDX_GUEST_RIP);
	assert_int_equal(vmcs_field_lookup("26654"), VMCS_IDX_GUEST_RIP);
}

struct row {
	char layout[16], member[48], type[24];
	unsigned offset, size;
	long encoding; /* -1: padding */
};

static bool next_row(FILE *f, struct row *r)
{
	char line[256], enc[16];

	if (!fgets(line, sizeof line, f))
		return false;
	assert_int_equal(sscanf(line, "%15s %47s %23s %u %u %15s", r->layout,
				r->member, r->type, &r->offset, &r->size, enc),
			 6);
	r->encoding = strcmp(enc, "-") ? strtol(enc, NULL, 16) : -1;
	return true;
}

static FILE *open_tsv(void)
{
	char header[256];
	FILE *f = fopen(TSV, "r");

	assert_non_null(f);
	assert_non_null(fgets(header, sizeof header, f));
	return f;
}

/* Every row of the table has its field there, and no layout has a field that
 * the table lacks. */
static void layouts_agree_with_the_table(void **state)
{
	unsigned fields[32] = { 0 }, end[32] = { 0 }, rows = 0;
	FILE *f = open_tsv();
	struct row r;

	(void)state;
	for (; next_row(f, &r); rows++) {
		const struct layout *l = layout_by_name(r.layout);
		unsigned n = 0;
		int idx;

		assert_non_null(l);
		while (layout_at(n) != l)
			n++;
		end[n] = r.offset + r.size;
		if (r.encoding < 0)
			continue;
		idx = vmcs_field_index((uint32_t)r.encoding);
		assert_true(idx >= 0);
		assert_int_equal(l->offset[idx], r.offset);
		assert_int_equal(vmcs_bytes((uint32_t)r.encoding), r.size);
		assert_string_equal(vmcs_fields[idx].kernel_name, r.member);
		fields[n]++;
	}
	fclose(f);
	assert_int_equal(rows, 2017);
	for (unsigned n = 0; n < layout_count(); n++) {
		const struct layout *l = layout_at(n);
		unsigned have = 0;

		for (int i = 0; i < VMCS_FIELD_COUNT; i++)
			have += layout_has(l, i);
		assert_int_equal(have, fields[n]);
		assert_int_equal(l->size, end[n]);
	}
	assert_null(layout_at(layout_count()));
}

/* preserves_v40 is what it says, computed. */
static void v40_is_preserved_where_said(void **state)
{
	const struct layout *v40 = layout_by_name("v4.0");

	(void)state;
	for (unsigned n = 0; n < layout_count(); n++) {
		const struct layout *l = layout_at(n);
		bool same = true;

		for (int i = 0; i < VMCS_FIELD_COUNT; i++)
			if (layout_has(v40, i) && layout_has(l, i) &&
			    v40->offset[i] != l->offset[i])
				same = false;
		assert_int_equal(same, l->preserves_v40);
		assert_int_equal(l->emits_blob,
				 same && layout_has(l, VMCS_IDX_VMREAD_BITMAP));
	}
	assert_string_equal(layout_newest()->id, "v6.18");
	assert_true(layout_newest()->preserves_v40);
}

static void kernels_have_their_layouts(void **state)
{
	static const struct { const char *release, *id; } t[] = {
		{ "3.1", "v3.1" }, { "3.9.6", "v3.1" }, { "3.10", "v3.10" },
		{ "3.14.79", "v3.10" }, { "3.15.5", "v3.15" },
		{ "3.19.8", "v3.19" }, { "4.0", "v4.0" }, { "4.11.6", "v4.0" },
		{ "4.12.0", "v4.12" }, { "4.13.4", "v4.12" },
		{ "4.14.280", "v4.14" }, { "4.17", "v4.14" },
		{ "4.18.0", "v4.18" }, { "4.19.95", "v4.18" },
		{ "5.7.14", "v4.18" }, { "5.8.1", "v5.8" },
		{ "5.10.0-32-amd64", "v5.8" }, { "5.13.1", "v5.13" },
		{ "5.14-rc5", "v5.14" }, { "6.1.0-47-amd64", "v5.14" },
		{ "6.12.107+deb13", "v5.14" }, { "6.17.0", "v5.14" },
		{ "6.18.2", "v6.18" }, { "7.2.13", "v6.18" },
		{ "3.10.0-514.el7.x86_64", "rhel7.3" },
		{ "3.10.0-1160.119.1.el7.x86_64", "rhel7.7" },
		{ "4.18.0-147.5.1.el8_1.x86_64", "v4.18" },
		{ "4.18.0-240.el8", "v5.8" }, { "4.18.0-348.2.1.el8_5", "v5.13" },
		{ "3.0", NULL }, { "2.6.32", NULL }, { "7.3", NULL },
		{ "3.10.0-862.el7.x86_64", NULL }, { "4.18.0-553.el8", NULL },
		{ "5.14.0-70.el9", NULL }, { "", NULL }, { "v4.14", NULL },
		{ "4", NULL }, { "4.x", NULL }, { "99999999999999999999.1", NULL },
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		const struct layout *l = layout_of_kernel(t[i].release);

		if (!t[i].id)
			assert_null(l);
		else
			assert_string_equal(l ? l->id : "none", t[i].id);
	}
}

/* Every field of every layout is read where it was written, and nowhere else. */
static void fields_do_not_overlap(void **state)
{
	(void)state;
	for (unsigned n = 0; n < layout_count(); n++) {
		const struct layout *l = layout_at(n);
		uint8_t page[VMCS12_SIZE] = { 0 };

		for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
			uint64_t mask = ~0ull >>
				(64 - 8 * vmcs_bytes(vmcs_fields[i].encoding));

			if (!layout_has(l, i))
				continue;
			assert_int_equal(layout_get(l, page, i), 0);
			layout_set(l, page, i, ~0ull);
			assert_true(layout_get(l, page, i) == mask);
		}
		for (int i = 0; i < VMCS_FIELD_COUNT; i++)
			if (layout_has(l, i))
				layout_set(l, page, i, 0);
		for (size_t b = 0; b < sizeof page; b++)
			assert_int_equal(page[b], 0);
	}
}

static void equal_layouts_are_found(void **state)
{
	(void)state;
	for (unsigned n = 0; n < layout_count(); n++) {
		struct layout l = *layout_at(n);

		assert_ptr_equal(layout_equal_builtin(&l), layout_at(n));
		l.offset[VMCS_IDX_GUEST_RIP]++;
		assert_null(layout_equal_builtin(&l));
	}
	assert_null(layout_by_name("v4.15"));
	assert_non_null(layout_by_name("V4.14"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fields_are_sorted_and_found),
		cmocka_unit_test(unknown_names_are_refused),
		cmocka_unit_test(layouts_agree_with_the_table),
		cmocka_unit_test(v40_is_preserved_where_said),
		cmocka_unit_test(kernels_have_their_layouts),
		cmocka_unit_test(fields_do_not_overlap),
		cmocka_unit_test(equal_layouts_are_found),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
