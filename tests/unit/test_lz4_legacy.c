/* lz4's legacy frames, as kernels are packed: several blocks, cut, damaged. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <lz4.h>

#include "convert/source.h"

enum { BLOCK = 8 << 20, PLAIN = BLOCK + 12345 };

static size_t pack(const uint8_t *plain, uint8_t *out)
{
	static const uint8_t magic[4] = { 0x02, 0x21, 0x4c, 0x18 };
	size_t n = 4;

	memcpy(out, magic, 4);
	for (size_t at = 0; at < PLAIN; at += BLOCK) {
		int len = PLAIN - at < BLOCK ? (int)(PLAIN - at) : BLOCK;
		int got = LZ4_compress_default((const char *)plain + at,
			(char *)out + n + 4, len, LZ4_compressBound(BLOCK));

		assert_true(got > 0);
		memcpy(out + n, &got, 4);
		n += 4 + (size_t)got;
	}
	return n;
}

static enum nst_status unpack(const uint8_t *packed, size_t size,
			      struct source **s)
{
	char path[] = "/tmp/nstate-test-XXXXXX";
	int fd = mkstemp(path);
	enum nst_status status;
	struct nst_error e;

	assert_int_equal(write(fd, packed, size), size);
	close(fd);
	*s = NULL;
	status = source_open(path, s, &e);
	unlink(path);
	return status;
}

static void legacy_frames_are_unpacked(void **state)
{
	uint8_t *plain = calloc(1, PLAIN), *packed = malloc(2 * PLAIN);
	struct source *s;
	size_t n;

	(void)state;
	for (size_t i = 0; i < PLAIN; i += 7)
		plain[i] = (uint8_t)(i * i >> 3);
	n = pack(plain, packed);
	assert_int_equal(unpack(packed, n, &s), NST_OK);
	assert_int_equal(source_size(s), PLAIN);
	assert_memory_equal(source_at(s, 0, PLAIN), plain, PLAIN);
	source_close(s);

	/* Cut in a block and in a length; a length that lies. */
	assert_int_equal(unpack(packed, n - 1, &s), NST_BAD_INPUT);
	assert_int_equal(unpack(packed, 6, &s), NST_BAD_INPUT);
	memset(packed + 4, 0xff, 4);
	assert_int_equal(unpack(packed, n, &s), NST_BAD_INPUT);
	free(plain);
	free(packed);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(legacy_frames_are_unpacked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
