/* Layout files: round trips, and what must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "layouts/layout_file.h"

static void every_layout_comes_back(void **state)
{
	(void)state;
	for (unsigned i = 0; i < layout_count(); i++) {
		const struct layout *l = layout_at(i);
		struct layout back;
		struct nst_error e;
		char *text;
		size_t len;
		FILE *f = open_memstream(&text, &len);

		layout_print(l, "two\nlines", f);
		fclose(f);
		if (layout_parse(text, len, &back, &e))
			fail_msg("%s", e.text);
		assert_string_equal(back.id, l->id);
		assert_string_equal(back.kernels, l->kernels);
		assert_int_equal(back.size, l->size);
		assert_int_equal(back.preserves_v40, l->preserves_v40);
		assert_int_equal(back.emits_blob, l->emits_blob);
		assert_true(layout_same_offsets(&back, l));
		free(text);
	}
}

static void bad_files_are_refused(void **state)
{
	static const struct { const char *text, *error; } t[] = {
		{ "", "nothing in this layout file" },
		{ "hello", "line 1: not a layout file (want \"nstate-layout "
			   "1\")" },
		{ "nstate-layout 1\n", "no \"size\" line in this layout file" },
		{ "nstate-layout 1\nsize 998\n", "no field in this layout file" },
		{ "nstate-layout 1\nsize 5000\n",
		  "line 2: not a size of at most 4096" },
		{ "nstate-layout 1\nsize -1\n",
		  "line 2: not a size of at most 4096" },
		{ "nstate-layout 1\nsize 998\n0x681e 544\n0x681e 552\n",
		  "line 4: this field was given before" },
		{ "nstate-layout 1\nsize 998\n0x681e 544\n0x6820 548\n",
		  "GUEST_RIP and GUEST_RFLAGS both have byte 548" },
		{ "nstate-layout 1\nsize 998\n0x681e 991\n",
		  "GUEST_RIP at offset 991 is outside of bytes 12 to 997" },
		{ "nstate-layout 1\nsize 998\n0x681e 8\n",
		  "GUEST_RIP at offset 8 is outside of bytes 12 to 997" },
		{ "nstate-layout 1\nsize 998\n0x681e 0\n",
		  "line 3: not an offset in the page" },
		{ "nstate-layout 1\nsize 998\n0x681e 5000\n",
		  "line 3: not an offset in the page" },
		{ "nstate-layout 1\nsize 998\n0x681e\n",
		  "line 3: not an offset in the page" },
		{ "nstate-layout 1\nsize 998\n0x681f 544\n",
		  "line 3: no VMCS field has this encoding" },
		{ "nstate-layout 1\nsize 998\n0xffff0000 544\n",
		  "line 3: not an encoding" },
		{ "nstate-layout 1\nsize 998\n0x681e 544 GUEST_RSP\n",
		  "line 3: the name is of another field" },
		{ "nstate-layout 1\nsize 998\n0x681e 544 GUEST_RIP x\n",
		  "line 3: too many words" },
		{ "nstate-layout 1\nfoo\n", "line 2: unknown word" },
		{ "nstate-layout 1\nemits-blob maybe\n",
		  "line 2: want yes or no" },
		{ "nstate-layout 1\nname\n", "line 2: name without a name" },
		{ "nstate-layout 1\nname "
		  "0123456789012345678901234567890123456789\n",
		  "line 2: too long" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		struct layout l;
		struct nst_error e = { 0 };

		assert_int_equal(layout_parse(t[i].text, strlen(t[i].text), &l,
					      &e), NST_BAD_INPUT);
		assert_string_equal(e.text, t[i].error);
	}
}

static void bytes_that_are_no_text_are_refused(void **state)
{
	static const char nul[] = "nstate-layout 1\nsize\0 998\n";
	struct layout l;
	char *big = malloc(4096);

	(void)state;
	assert_int_equal(layout_parse(nul, sizeof nul - 1, &l, NULL),
			 NST_BAD_INPUT);
	memset(big, 'x', 4096);
	assert_int_equal(layout_parse(big, 4096, &l, NULL), NST_BAD_INPUT);
	free(big);
}

static void names_are_resolved(void **state)
{
	struct layout l;
	struct nst_error e;
	char path[] = "/tmp/nstate-test-XXXXXX";
	int fd = mkstemp(path);
	FILE *f = fdopen(fd, "w");

	(void)state;
	layout_print(layout_by_name("v4.12"), NULL, f);
	fclose(f);
	assert_int_equal(layout_resolve(path, &l, &e), NST_OK);
	assert_string_equal(l.id, "v4.12");
	unlink(path);
	assert_int_equal(layout_resolve(path, &l, &e), NST_SYSTEM);
	assert_int_equal(layout_resolve("v4.14", &l, &e), NST_OK);
	assert_string_equal(l.id, "v4.14");
	assert_int_equal(layout_resolve("4.13.2", &l, &e), NST_OK);
	assert_string_equal(l.id, "v4.12");
	assert_int_equal(layout_resolve("v9.9", &l, &e), NST_USAGE);
	assert_int_equal(layout_resolve("none.layout", &l, &e), NST_SYSTEM);
	assert_int_equal(layout_resolve("/tmp", &l, &e), NST_BAD_INPUT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_layout_comes_back),
		cmocka_unit_test(bad_files_are_refused),
		cmocka_unit_test(bytes_that_are_no_text_are_refused),
		cmocka_unit_test(names_are_resolved),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
