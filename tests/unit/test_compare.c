/* Comparing snapshots: what is equal by meaning, whatever its bytes are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "convert/compare.h"
#include "layouts/layouts.h"

static void ignore(void *arg, const char *where, const char *a, const char *b)
{
	(void)where, (void)a, (void)b;
	++*(unsigned *)arg;
}

static struct snapshot *with_xsave(uint64_t bv, uint16_t fcw, uint8_t xmm0)
{
	struct snapshot *s = snapshot_new(1);
	struct snapshot_vcpu *v = &s->vcpu[0];

	v->have = 1u << SN_XSAVE;
	v->xsave_size = 4096;
	v->xsave = calloc(1, 4096);
	memcpy(v->xsave, &fcw, 2);
	v->xsave[24] = 0x80;
	v->xsave[25] = 0x1f;
	v->xsave[160] = xmm0;
	memcpy(v->xsave + 512, &bv, 8);
	return s;
}

static unsigned differences(struct snapshot *a, struct snapshot *b, bool strict)
{
	unsigned n = 0;

	snapshot_compare(a, b, layout_union(), strict, ignore, &n);
	snapshot_free(a);
	snapshot_free(b);
	return n;
}

/* SDM vol. 1, 13.6: a clear bit means the initial state, and a set one may too. */
static void initial_components(void **state)
{
	(void)state;
	assert_int_equal(differences(with_xsave(0, 0, 0), with_xsave(3, 0x37f, 0), false), 0);
	assert_int_equal(differences(with_xsave(0, 9, 9), with_xsave(3, 0x37f, 0), false), 0);
	assert_int_equal(differences(with_xsave(0, 0, 0), with_xsave(1, 0x27f, 0), false), 1);
	assert_int_equal(differences(with_xsave(1, 0x37f, 5), with_xsave(3, 0x37f, 5), false), 1);
	assert_int_equal(differences(with_xsave(0, 0, 0), with_xsave(3, 0x37f, 0), true), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(initial_components),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
