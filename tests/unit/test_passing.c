/* Compressed files that pass: what their reader sees, and what is written, is what
 * it is where they are decoded to a file first; and they pass in little memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "convert/codec/window.h"
#include "convert/convert.h"
#include "layouts/layouts.h"
#include "recode.h"

#define PAGE "tests/fixtures/pages/kvm-4.17-in-l2.bin"
#define MIB (1ull << 20)
#define SIZE (61 * MIB + 12345)

static const char *const names[] = { "lz4", "gzip", "xz", "zstd", "bzip2", "lzop" };
#define NAMES (sizeof names / sizeof *names)
static uint8_t vmcs12[4096];
static struct gen plain;       /* SIZE bytes */
static struct gen packed;      /* the same through lz4 */

static struct gen pack(const struct gen *g, const char *codec)
{
	return recode(g, codec_by_name(codec), true, NST_OK);
}

static struct gen unpack(const struct gen *g, const char *codec)
{
	return recode(g, codec_by_name(codec), false, NST_OK);
}

static int setup(void **state)
{
	FILE *f = fopen(PAGE, "rb");
	uint64_t x = 1;

	(void)state;
	if (!f || fread(vmcs12, 1, 4096, f) != 4096)
		return -1;
	fclose(f);
	plain.n = SIZE;
	plain.p = malloc(SIZE);
	for (size_t i = 0; i < SIZE; i++) {
		if (!(i & 31))
			x = x * 6364136223846793005ull + 1442695040888963407ull;
		plain.p[i] = (uint8_t)(x >> (i & 7) * 8);
	}
	packed = pack(&plain, "lz4");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(plain.p);
	free(packed.p);
	return 0;
}

static struct source *file_of(const struct gen *g)
{
	struct source *s;
	struct nst_error e;
	int fd;

	gen_file(g, &fd);
	assert_int_equal(source_from_fd(fd, &s, &e), NST_OK);
	return s;
}

static struct source *pass(struct source *in)
{
	struct source *s;
	struct nst_error e;

	assert_int_equal(source_pass(in, 0, codec_by_name("lz4"), NULL, &s, &e),
			 NST_OK);
	assert_non_null(s);
	assert_true(source_passes(s));
	return s;
}

/* -- the window ---------------------------------------------------------------- */

static void all_bytes_pass_by_once(void **state)
{
	struct source *in = file_of(&packed), *s = pass(in);
	struct nst_error e;
	uint64_t at = 0;

	(void)state;
	while (at < SIZE) {
		size_t n = SIZE - at < 70001 ? SIZE - at : 70001;

		assert_true(source_need(s, at + n));
		assert_memory_equal(source_at(s, at, n), plain.p + at, n);
		/* 12 MiB ahead, and the step that was begun */
		assert_true(source_size(s) - at < 21 * MIB);
		source_release(s, at, n);
		at += n;
	}
	assert_false(source_need(s, SIZE + 1));
	assert_true(source_need_all(s));
	assert_false(source_too_much(s));
	assert_int_equal(source_status(s, &e), NST_OK);
	assert_int_equal(source_size(s), SIZE);
	assert_null(source_at(s, SIZE, 1));
	source_close(s);
	source_close(in);
}

/* What is not released stays, up to what is too much. */
static void only_what_is_released_goes(void **state)
{
	struct source *in = file_of(&packed), *s = pass(in);

	(void)state;
	for (uint64_t at = 3 * MIB; at < 55 * MIB; at += 2 * MIB) {
		assert_true(source_need(s, at + 2 * MIB));
		source_release(s, at, 2 * MIB);
	}
	assert_true(source_need_all(s));
	assert_memory_equal(source_at(s, 0, 3 * MIB), plain.p, 3 * MIB);
	assert_memory_equal(source_at(s, 56 * MIB, SIZE - 56 * MIB),
			    plain.p + 56 * MIB, SIZE - 56 * MIB);
	source_close(s);
	s = pass(in);
	assert_true(source_need(s, 20 * MIB));
	assert_false(source_need_all(s));
	assert_true(source_too_much(s));
	source_close(s);
	/* And who stops early is not kept waiting. */
	s = pass(in);
	assert_true(source_need(s, 1));
	source_close(s);
	source_close(in);
}

static void a_cut_is_met_where_it_is(void **state)
{
	struct gen cut = { packed.p, packed.n / 2, 0 };
	struct source *in = file_of(&cut), *s = pass(in);
	struct nst_error e = { 0 };
	uint64_t at = 0;

	(void)state;
	while (source_need(s, at + 4096)) {
		assert_memory_equal(source_at(s, at, 4096), plain.p + at, 4096);
		source_release(s, at, 4096);
		at += 4096;
	}
	assert_in_range(at, 10 * MIB, SIZE / 2 + 4 * MIB);
	assert_int_equal(source_status(s, &e), NST_BAD_INPUT);
	assert_non_null(strstr(e.text, "lz4: the file is cut"));
	assert_false(source_need_all(s));
	assert_false(source_too_much(s));
	source_close(s);
	source_close(in);
}

static void tell(void *arg, uint64_t done, uint64_t total)
{
	uint64_t *said = arg;

	assert_true(done >= *said && done <= total);
	assert_int_equal(total, SIZE + 23 * MIB);
	*said = done;
}

/* Pieces at the ends and over the steps' borders, an insertion larger than the
 * window; through every codec that is quick enough for so much. */
static void changes_are_made_on_the_way(void **state)
{
	static uint8_t bits[3][4096];
	const struct window_piece piece[] = {
		{ 0, bits[0], 4096 }, { 4 * MIB - 1, bits[1], 4096 },
		{ 4 * MIB + 5000, bits[2], 1 }, { SIZE - 4096, bits[2], 4096 },
	};
	struct gen more = { malloc(23 * MIB), 23 * MIB, 0 };
	const struct window_edits x = { piece, 4, more.p, more.n, 5 * MIB + 3 };
	struct container_progress told = { tell, NULL };
	struct source *in = file_of(&packed);
	struct nst_error e;

	(void)state;
	for (int i = 0; i < 3; i++)
		memset(bits[i], i + 1, 4096);
	memset(more.p, 0x77, more.n);
	for (size_t k = 0; k < NAMES; k++) {
		struct source *s = pass(in);
		int fd = memfd_create("out", MFD_CLOEXEC);
		struct gen out, got;
		uint64_t at = 0, said = 0;

		told.arg = &said;
		if (!strcmp(names[k], "xz") || !strcmp(names[k], "bzip2")) {
			close(fd);
			source_close(s);
			continue;
		}
		for (; source_need(s, at + MIB); at += MIB)
			source_release(s, at, MIB);
		assert_true(source_need_all(s));
		assert_int_equal(source_recode(s, codec_by_name(names[k]), &x,
					       &told, fd, &e), NST_OK);
		assert_in_range(said, SIZE / 2, SIZE + more.n);
		out = slurp(fd);
		got = unpack(&out, names[k]);
		assert_int_equal(got.n, SIZE + more.n);
		assert_memory_equal(got.p + 5 * MIB + 3, more.p, more.n);
		memmove(got.p + 5 * MIB + 3, got.p + 5 * MIB + 3 + more.n,
			SIZE - 5 * MIB - 3);
		for (int i = 0; i < 4; i++) {
			assert_memory_equal(got.p + piece[i].at, piece[i].data,
					    piece[i].len);
			memcpy(got.p + piece[i].at, plain.p + piece[i].at,
			       piece[i].len);
		}
		assert_memory_equal(got.p, plain.p, SIZE);
		free(got.p);
		free(out.p);
		close(fd);
		source_close(s);
	}
	free(more.p);
	source_close(in);
}

/* -- containers ---------------------------------------------------------------- */

static void same_scan(struct container *a, struct container *b)
{
	struct scan x, y;
	struct nst_error e;

	assert_int_equal(scan_container(a, true, &x, &e), NST_OK);
	assert_int_equal(scan_container(b, true, &y, &e), NST_OK);
	assert_int_equal(x.n, y.n);
	assert_int_equal(x.pages_seen, y.pages_seen);
	for (uint32_t i = 0; i < x.n; i++) {
		assert_int_equal(x.page[i].kind, y.page[i].kind);
		assert_int_equal(x.page[i].gpa, y.page[i].gpa);
		assert_int_equal(x.page[i].file_offset, y.page[i].file_offset);
		assert_memory_equal(x.page[i].data, y.page[i].data, 4096);
	}
	scan_free(&x);
	scan_free(&y);
}

/* From in, through fd; without its codec where there is one. */
static struct gen converted(const struct gen *in, const char *kind,
			    const char *codec, bool passes)
{
	struct plan_options o = { .to = layout_by_name("v6.18"),
				  .open.kind = kind };
	int out = memfd_create("out", MFD_CLOEXEC), fd;
	struct conversion v;
	struct nst_error e;
	struct gen g, plain_form;

	assert_int_equal(conversion_open(gen_file(in, &fd), &o, &v, &e), NST_OK);
	assert_int_equal(source_passes(v.c->src), passes);
	assert_int_equal(container_rewrite(v.c, out, v.patch, v.npatches, &e),
			 NST_OK);
	conversion_close(&v);
	close(fd);
	g = slurp(out);
	close(out);
	if (!codec || !passes)
		return g;
	plain_form = unpack(&g, codec);
	free(g.p);
	return plain_form;
}

static void same_conversion(const struct gen *g, const char *kind,
			    const struct gen *z, const char *codec, bool passes)
{
	struct gen want = converted(g, kind, NULL, false);
	struct gen got = converted(z, kind, codec, passes);

	assert_int_equal(got.n, want.n);
	assert_memory_equal(got.p, want.p, want.n);
	free(want.p);
	free(got.p);
}

static void check_dump(const struct gen *g, const char *codec, const char *kind,
		       uint32_t pages, bool passes)
{
	const struct container_options as_is = { .kind = kind };
	const struct container_options sieved = { .kind = kind,
						  .sieve = scan_wants };
	struct gen z = pack(g, codec);
	struct container *a, *b;
	struct scan s;
	struct nst_error e;
	int fd[2];

	assert_int_equal(container_open(gen_file(g, &fd[0]), &as_is, &a, &e),
			 NST_OK);
	assert_int_equal(container_open(gen_file(&z, &fd[1]), &sieved, &b, &e),
			 NST_OK);
	assert_int_equal(source_passes(b->src), passes);
	assert_int_equal(a->nram, b->nram);
	assert_memory_equal(a->ram, b->ram, a->nram * sizeof *a->ram);
	assert_int_equal(scan_container(a, true, &s, &e), NST_OK);
	assert_int_equal(s.n, pages);
	scan_free(&s);
	same_scan(a, b);
	container_close(a);
	container_close(b);
	same_conversion(g, kind, &z, codec, passes);
	close(fd[0]);
	close(fd[1]);
	free(z.p);
}

static void check_stream(const struct gen *g, const char *codec, bool passes)
{
	const struct container_options sieved = { .sieve = scan_wants };
	struct gen z = pack(g, codec);
	struct container *a, *b;
	struct nst_error e;
	int fd[2];

	assert_int_equal(container_open(gen_file(g, &fd[0]), NULL, &a, &e), NST_OK);
	assert_int_equal(container_open(gen_file(&z, &fd[1]), &sieved, &b, &e),
			 NST_OK);
	assert_int_equal(source_passes(b->src), passes);
	assert_string_equal(a->ops->kind, b->ops->kind);
	assert_string_equal(a->note, b->note);
	assert_string_equal(a->details, b->details);
	assert_int_equal(a->nstates, b->nstates);
	assert_int_equal(a->ram_bytes, b->ram_bytes);
	assert_memory_equal(a->vcpus, b->vcpus, sizeof *a->vcpus);
	same_scan(a, b);
	container_close(a);
	container_close(b);
	same_conversion(g, NULL, &z, codec, passes);
	close(fd[0]);
	close(fd[1]);
	free(z.p);
}

/* Those with deltas or compressed pages are settled, and read all the same. */
static void streams_are_the_same_in_passing(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 16; i++) {
		struct gen_stream o = { .vmcs12 = vmcs12, .json = i & 1,
					.old_machine = i & 2, .twice = i & 4,
					.plain = i & 8 };
		struct gen g = gen_stream(&o), lv = gen_libvirt(&g);

		check_stream(&g, names[i % NAMES], o.plain);
		check_stream(&lv, names[i % NAMES], o.plain);
		g_zero(&g, 3000);
		check_stream(&g, names[(i + 1) % NAMES], o.plain);
		free(g.p);
		free(lv.p);
	}
}

static void put64(struct gen *g, uint64_t v)
{
	g_put(g, &v, 8);
}

/* Two segments, the second in front of the first and with half a page at its end
 * (which begins as a prepared VMCS does), between them a gap. */
static struct gen elf_core(void)
{
	static const uint8_t head[64] = { 0x7f, 'E', 'L', 'F', 2, 1, 1,
		[16] = 4, [18] = 62, [20] = 1, [32] = 64, [52] = 64, [54] = 56,
		[56] = 2 };
	const uint64_t ph[2][7] = {
		{ 1, 8192, 0, 0x100000, 3 * 4096, 3 * 4096, 0 },
		{ 1, 4096 + 7, 0, 0x1000, 2048, 8192, 0 },
	};
	struct gen g = { 0 };

	g_put(&g, head, sizeof head);
	g_put(&g, ph, sizeof ph);
	g_zero(&g, 4096 + 7 - g.n);
	g_put(&g, vmcs12, 4);
	g_zero(&g, 8192 - g.n);
	g_put(&g, plain.p, 4096);
	g_put(&g, vmcs12, 4096);
	g_put(&g, vmcs12, 4096);
	return g;
}

static struct gen lime_capture(void)
{
	struct gen g = { 0 };

	for (uint64_t i = 0; i < 3; i++) {
		g_put(&g, "EMiL\1\0\0\0", 8);
		put64(&g, 0x1000000 * i);
		put64(&g, 0x1000000 * i + 5 * MIB * i + 4096 + i - 1);
		put64(&g, 0);
		g_put(&g, plain.p, 5 * MIB * i);
		g_put(&g, vmcs12, 4096);
		g_put(&g, plain.p, i);
	}
	return g;
}

static void dumps_are_the_same_in_passing(void **state)
{
	struct gen elf = elf_core(), lime = lime_capture(), many = { 0 };

	(void)state;
	for (size_t k = 0; k < NAMES; k++) {
		check_dump(&elf, names[k], NULL, 3, true);
		check_dump(&lime, names[k], NULL, 3, true);
		check_dump(&elf, names[k], "raw RAM", 2, true);
		check_dump(&lime, names[k], "raw RAM", 0, true);
	}
	/* Over 4,096 candidates have room in a file. */
	for (int i = 0; i < 4200; i++)
		g_put(&many, vmcs12, 4096);
	check_dump(&many, "lz4", "raw RAM", 4200, false);
	free(elf.p);
	free(lime.p);
	free(many.p);
}

/* What is wrong with a stream is said in the same words, wherever it is cut. */
static void cuts_are_refused_alike(void **state)
{
	const struct container_options sieved = { .sieve = scan_wants };
	struct gen_stream o = { .vmcs12 = vmcs12, .plain = true };
	struct gen g = gen_stream(&o);

	(void)state;
	for (size_t n = g.n - 1; n; n = n > 211 ? n - 211 : 0) {
		struct gen cut = { g.p, n, 0 }, z = pack(&cut, "lz4");
		struct container *a, *b;
		struct nst_error want = { 0 }, got = { 0 };
		int fd[2];

		assert_int_equal(container_open(gen_file(&cut, &fd[0]), NULL, &a,
						&want),
				 container_open(gen_file(&z, &fd[1]), &sieved, &b,
						&got));
		assert_string_equal(want.text, got.text);
		container_close(a);
		container_close(b);
		close(fd[0]);
		close(fd[1]);
		free(z.p);
	}
	free(g.p);
}

/* A device larger than what is kept in memory: the file is settled. */
static void large_devices_are_settled(void **state)
{
	struct gen_stream o = { .vmcs12 = vmcs12, .plain = true };
	struct gen g = gen_stream(&o), big = { 0 };
	uint8_t *dev = memmem(g.p, g.n, "\3dev\0\0\0\0\0\0\0\1", 12);
	size_t body = (size_t)(dev - g.p) + 12;

	(void)state;
	g_put(&big, g.p, body);
	g_put(&big, plain.p, 40 * MIB);
	g_put(&big, g.p + body, g.n - body);
	check_stream(&big, "lz4", false);
	free(big.p);
	free(g.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(all_bytes_pass_by_once),
		cmocka_unit_test(only_what_is_released_goes),
		cmocka_unit_test(a_cut_is_met_where_it_is),
		cmocka_unit_test(changes_are_made_on_the_way),
		cmocka_unit_test(streams_are_the_same_in_passing),
		cmocka_unit_test(dumps_are_the_same_in_passing),
		cmocka_unit_test(cuts_are_refused_alike),
		cmocka_unit_test(large_devices_are_settled),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
