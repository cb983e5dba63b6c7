/* test_remap.c: remapping between all pairs of layouts loses nothing that both
 * have, says what it drops, and comes back bit for bit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka wants the four above first */
#include <cmocka.h>

#include "convert/remap.h"

static uint64_t seed = 1;
static uint64_t rnd(void)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return seed ^ seed >> 29;
}

/* A page in which every field of l holds something. */
static void fill(const struct layout *l, uint8_t *page)
{
	uint32_t id = VMCS12_REVISION, launched = 1;

	memset(page, 0, VMCS12_SIZE);
	memcpy(page, &id, 4);
	memcpy(page + VMCS12_OFF_LAUNCH, &launched, 4);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (layout_has(l, i))
			layout_set(l, page, i, rnd() | 1);
}

static void pair(const struct layout *a, const struct layout *b)
{
	uint8_t in[VMCS12_SIZE], there[VMCS12_SIZE], back[VMCS12_SIZE];
	struct remap_report r;
	struct nst_error e;
	bool superset = true;

	fill(a, in);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		superset &= !layout_has(a, i) || layout_has(b, i);
	assert_int_equal(remap_page(a, b, in, there, false, &r, &e),
			 superset ? NST_OK : NST_BAD_INPUT);
	assert_int_equal(remap_page(a, b, in, there, true, &r, &e), NST_OK);
	assert_int_equal(remap_page(b, a, there, back, true, NULL, &e), NST_OK);
	assert_memory_equal(in, there, 12);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		if (!layout_has(a, i) || !layout_has(b, i)) {
			if (layout_has(a, i))
				assert_int_equal(r.what[i], REMAP_DROPPED);
			continue;
		}
		assert_true(layout_get(a, in, i) == layout_get(b, there, i));
		assert_true(layout_get(a, in, i) == layout_get(a, back, i));
		assert_int_equal(r.what[i], a->offset[i] == b->offset[i] ?
				 REMAP_KEPT : REMAP_MOVED);
	}
	if (superset)
		assert_memory_equal(in, back, VMCS12_SIZE);
}

static void all_pairs(void **state)
{
	(void)state;
	assert_true(layout_count() >= 14);
	for (unsigned a = 0; a < layout_count(); a++)
		for (unsigned b = 0; b < layout_count(); b++)
			pair(layout_at(a), layout_at(b));
}

/* The page that a guest filled on real KVM: each writable field holds a value
 * made from its encoding. */
static void pattern_page(void **state)
{
	const char *name = "tests/fixtures/pages/kvm-6.1-pattern.bin";
	const struct layout *from = layout_by_name("v5.14");
	uint8_t in[VMCS12_SIZE], out[VMCS12_SIZE], back[VMCS12_SIZE];
	FILE *f = fopen(name, "rb");

	(void)state;
	assert_non_null(f);
	assert_int_equal(fread(in, 1, sizeof in, f), sizeof in);
	fclose(f);
	for (unsigned k = 0; k < layout_count(); k++) {
		const struct layout *to = layout_at(k);
		assert_int_equal(remap_page(from, to, in, out, true, NULL, NULL),
				 NST_OK);
		assert_int_equal(remap_page(to, from, out, back, true, NULL,
					    NULL), NST_OK);
		for (int i = 0; i < VMCS_FIELD_COUNT; i++)
			if (layout_has(from, i) && layout_has(to, i)) {
				assert_true(layout_get(from, in, i) ==
					    layout_get(to, out, i));
				assert_true(layout_get(from, in, i) ==
					    layout_get(from, back, i));
			}
	}
}

/* Bytes outside fields are carried where there is room, and counted. */
static void padding(void **state)
{
	const struct layout *a = layout_by_name("v4.14");
	const struct layout *b = layout_by_name("v6.18");
	uint8_t in[VMCS12_SIZE], out[VMCS12_SIZE];
	struct remap_report r;
	struct nst_error e;

	(void)state;
	memset(in, 0, sizeof in);
	in[2000] = 7;
	assert_int_equal(remap_page(a, b, in, out, false, &r, &e), NST_OK);
	assert_int_equal(r.padding, 1);
	assert_int_equal(r.padding_lost, 0);
	assert_int_equal(out[2000], 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_pairs),
		cmocka_unit_test(pattern_page),
		cmocka_unit_test(padding),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
