/* Containers made by container_gen.h: what is read from them, what a conversion
 * writes, and what damage does (an error, never a crash, never a silent wrong
 * answer). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "convert/convert.h"
#include "layouts/layouts.h"
#include "recode.h"

#define PAGE "tests/fixtures/pages/kvm-4.17-in-l2.bin"

static uint8_t vmcs12[4096], wanted[4096];
static char dir[] = "/tmp/nstate-containers-XXXXXX";

static int setup(void **state)
{
	FILE *f = fopen(PAGE, "rb");
	struct remap_report r;
	struct nst_error e;

	(void)state;
	if (!f || fread(vmcs12, 1, 4096, f) != 4096 || !mkdtemp(dir))
		return -1;
	fclose(f);
	return remap_page(layout_by_name("v4.14"), layout_by_name("v6.18"),
			  vmcs12, wanted, false, &r, &e);
}

static int teardown(void **state)
{
	char cmd[128];

	(void)state;
	snprintf(cmd, sizeof cmd, "rm -r '%s'", dir);
	return system(cmd);
}

static struct gen stream(bool json, bool old, bool twice, size_t *eof)
{
	struct gen_stream o = { .vmcs12 = vmcs12, .json = json,
				.old_machine = old, .twice = twice };
	struct gen g = gen_stream(&o);

	if (eof)
		*eof = o.eof;
	return g;
}

/* -- reading ------------------------------------------------------------------- */

struct seen { uint8_t page[GEN_PAGES][4096]; unsigned times[GEN_PAGES]; };

static int see(void *arg, const struct container_run *run)
{
	struct seen *s = arg;

	for (uint64_t o = 0; o < run->size; o += 4096) {
		uint64_t i = (run->gpa + o) / 4096;
		assert_true(i < GEN_PAGES);
		memcpy(s->page[i], run->data + o, 4096);
		s->times[i]++;
	}
	return 0;
}

static void check_ram(struct container *c, const uint8_t *page, unsigned parts)
{
	struct seen *s = calloc(1, sizeof *s);
	struct nst_error e;
	uint8_t fill[4096];

	for (unsigned i = 0; i < parts; i++)
		assert_int_equal(container_walk_part(c, i, parts, see, s, &e), 0);
	for (unsigned i = 0; i < GEN_PAGES; i++) {
		const uint8_t *want = page;

		memset(fill, i == GEN_FILL ? 0xaa : 0, sizeof fill);
		if (i < GEN_CURRENT || i > GEN_DELTA)
			want = fill;
		assert_memory_equal(s->page[i], want, 4096);
		assert_true(s->times[i] <= 1);
	}
	free(s);
}

static void check_stream(const struct gen *g, const char *kind)
{
	struct container *c;
	struct scan scan;
	struct nst_error e;
	int fd;

	assert_int_equal(container_open(gen_file(g, &fd), NULL, &c, &e), NST_OK);
	assert_string_equal(c->ops->kind, kind);
	assert_int_equal(c->nvcpus, 1);
	assert_int_equal(c->vcpus[0].cr4, GEN_CR4);
	assert_int_equal(c->vcpus[0].rsp, 0x14);
	assert_int_equal(c->nstates, 1);
	assert_int_equal(c->states[0].size, 128 + 4096);
	assert_memory_equal(c->states[0].data + 128, vmcs12, 4096);
	check_ram(c, vmcs12, 1);
	check_ram(c, vmcs12, 3);
	assert_int_equal(scan_container(c, true, &scan, &e), NST_OK);
	assert_int_equal(scan.n, 5);
	assert_int_equal(scan.page[0].kind, VMCS12_CURRENT);
	assert_int_equal(scan.page[1].kind, VMCS12_STALE);
	for (int i = 2; i < 5; i++) {
		assert_int_equal(scan.page[i].kind, VMCS12_ORDINARY);
		assert_int_equal(scan.page[i].gpa, i << 12);
	}
	scan_free(&scan);
	container_close(c);
	close(fd);
}

static void streams_of_all_ages_are_read(void **state)
{
	(void)state;
	for (int i = 0; i < 8; i++) {
		struct gen g = stream(i & 1, i & 2, i & 4, NULL);
		check_stream(&g, "QEMU migration stream");
		free(g.p);
	}
}

static void wrappings_of_a_stream_are_read(void **state)
{
	struct gen g = stream(true, false, false, NULL);
	struct gen lv = gen_libvirt(&g), qc = gen_qcow2(&g);

	(void)state;
	check_stream(&lv, "libvirt save image");
	check_stream(&qc, "qcow2 snapshot");
	g_zero(&g, 3000); /* a volume's tail behind the stream */
	check_stream(&g, "QEMU migration stream");
	free(g.p);
	free(lv.p);
	free(qc.p);
}

static void kdumps_are_read(void **state)
{
	struct gen g = gen_kdump(vmcs12), flat = gen_flat(&g);
	const struct gen *both[2] = { &g, &flat };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct container *c;
		struct scan s;
		struct nst_error e;
		int fd;

		assert_int_equal(container_open(gen_file(both[i], &fd), NULL, &c,
						&e), NST_OK);
		assert_string_equal(c->ops->kind, "kdump");
		assert_int_equal(c->ram_bytes, GEN_PAGES * 4096);
		assert_int_equal(scan_container(c, true, &s, &e), NST_OK);
		assert_int_equal(s.n, 2);
		assert_memory_equal(s.page[0].data, vmcs12, 4096);
		assert_memory_equal(s.page[1].data, vmcs12, 4096);
		scan_free(&s);
		container_close(c);
		close(fd);
	}
	free(g.p);
	free(flat.p);
}

static void registers_reach_the_snapshot(void **state)
{
	struct gen g = stream(true, false, false, NULL);
	struct container *c;
	struct snapshot *s;
	struct nst_error e;
	int fd;

	(void)state;
	assert_int_equal(container_open(gen_file(&g, &fd), NULL, &c, &e), NST_OK);
	assert_int_equal(container_load(c, &s, &e), NST_OK);
	container_close(c);
	assert_int_equal(s->vcpu[0].regs.rcx, 0x11);
	assert_int_equal(s->vcpu[0].regs.r15, 0x1f);
	assert_int_equal(s->vcpu[0].sregs.cr4, GEN_CR4);
	assert_int_equal(s->vcpu[0].nested_size, 128 + 4096);
	assert_int_equal(s->nram, 1);
	assert_memory_equal(snapshot_ram_at(s, GEN_DELTA << 12, 4096), vmcs12,
			    4096);
	snapshot_free(s);
	close(fd);
	free(g.p);
}

/* -- converting ---------------------------------------------------------------- */

static void convert_to(const char *in, const char *out)
{
	struct plan_options o = { .to = layout_by_name("v6.18") };
	struct conversion v;
	struct nst_error e;

	assert_int_equal(conversion_open(in, &o, &v, &e), NST_OK);
	assert_string_equal(v.plan.from->id, "v4.14");
	assert_int_equal(conversion_write(&v, out, true, &e), NST_OK);
	conversion_close(&v);
}

static void conversion_reaches_every_record(void **state)
{
	struct gen g = stream(true, false, true, NULL), lv = gen_libvirt(&g);
	const struct gen *both[2] = { &g, &lv };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct container *c;
		struct nst_error e;
		char out[64];
		int fd;

		snprintf(out, sizeof out, "%s/out%d", dir, i);
		convert_to(gen_file(both[i], &fd), out);
		close(fd);
		assert_int_equal(container_open(out, NULL, &c, &e), NST_OK);
		assert_memory_equal(c->states[0].data + 128, wanted, 4096);
		check_ram(c, wanted, 1);
		/* Two records were added: page, name, eight bytes each. */
		assert_int_equal(source_size(c->src), both[i]->n +
				 2 * (8 + 7 + 4096));
		container_close(c);
	}
	free(g.p);
	free(lv.p);
}

static void kdumps_are_converted(void **state)
{
	struct gen g = gen_kdump(vmcs12), flat = gen_flat(&g);
	const struct gen *both[2] = { &g, &flat };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct container *c;
		struct scan s;
		struct nst_error e;
		char out[64];
		int fd;

		snprintf(out, sizeof out, "%s/kdump%d", dir, i);
		convert_to(gen_file(both[i], &fd), out);
		close(fd);
		assert_int_equal(container_open(out, NULL, &c, &e), NST_OK);
		assert_int_equal(scan_container(c, true, &s, &e), NST_OK);
		assert_int_equal(s.n, 2);
		assert_memory_equal(s.page[0].data, wanted, 4096);
		assert_memory_equal(s.page[1].data, wanted, 4096);
		scan_free(&s);
		container_close(c);
	}
	free(g.p);
	free(flat.p);
}

static void save(const char *path, const struct gen *g)
{
	FILE *f = fopen(path, "wb");

	assert_non_null(f);
	assert_int_equal(fwrite(g->p, 1, g->n, f), g->n);
	fclose(f);
}

static void assert_file(const char *path, const struct gen *g, bool same)
{
	FILE *f = fopen(path, "rb");
	uint8_t *p = malloc(g->n);

	assert_non_null(f);
	assert_int_equal(fread(p, 1, g->n, f), g->n);
	assert_int_equal(!memcmp(p, g->p, g->n), same);
	fclose(f);
	free(p);
}

static void in_place_is_undone(void **state)
{
	/* Only the current vmcs12: two of the others have no plain record. */
	struct plan_options o = { .to = layout_by_name("v6.18"),
				  .only_current = true };
	struct gen g = stream(true, false, false, NULL), qc = gen_qcow2(&g);
	const struct gen *both[2] = { &g, &qc };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct conversion v;
		struct container *c;
		struct nst_error e;
		char path[64];

		snprintf(path, sizeof path, "%s/in-place%d", dir, i);
		save(path, both[i]);
		assert_int_equal(conversion_open(path, &o, &v, &e), NST_OK);
		assert_int_equal(conversion_in_place(&v, &e), NST_OK);
		conversion_close(&v);
		assert_int_equal(container_open(path, NULL, &c, &e), NST_OK);
		assert_memory_equal(c->states[0].data + 128, wanted, 4096);
		container_close(c);
		assert_int_equal(conversion_undo(path, &e), NST_OK);
		assert_file(path, both[i], true);
		/* With the pages in RAM: refused, and nothing touched. */
		o.only_current = false;
		assert_int_equal(conversion_open(path, &o, &v, &e), NST_OK);
		assert_int_equal(conversion_in_place(&v, &e), NST_BAD_INPUT);
		conversion_close(&v);
		assert_file(path, both[i], true);
		o.only_current = true;
	}
	free(g.p);
	free(qc.p);
}

/* -- damage -------------------------------------------------------------------- */

/* Opens, scans, plans; the status of the first that fails. */
static enum nst_status use(const char *path, struct nst_error *e)
{
	struct plan_options o = { .to = layout_by_name("v6.18") };
	struct conversion v;
	enum nst_status st = conversion_open(path, &o, &v, e);

	if (!st)
		conversion_close(&v);
	return st;
}

static void cut_everywhere(const struct gen *g, size_t good, size_t step)
{
	struct nst_error e;
	char path[64];
	int fd;

	snprintf(path, sizeof path, "%s", gen_file(g, &fd));
	for (size_t n = g->n - 1; n > 0; n = n > step ? n - step : 0) {
		enum nst_status st;

		assert_int_equal(ftruncate(fd, (off_t)n), 0);
		e.text[0] = 0;
		st = use(path, &e);
		/* Old streams have nothing behind the end mark. */
		if (n == good)
			assert_int_equal(st, NST_OK);
		else if (st != NST_BAD_INPUT)
			fail_msg("cut at %zu of %zu: status %d", n, g->n, st);
		else
			assert_true(e.text[0]);
	}
	close(fd);
}

static void cut_files_are_refused(void **state)
{
	size_t eof;
	struct gen g = stream(true, false, false, &eof);
	struct gen lv = gen_libvirt(&g), kd = gen_kdump(vmcs12);
	struct gen flat = gen_flat(&kd);

	(void)state;
	cut_everywhere(&g, eof, 1);
	cut_everywhere(&lv, eof + lv.n - g.n, 7);
	cut_everywhere(&kd, 0, 1);
	cut_everywhere(&flat, 0, 7);
	free(g.p);
	free(lv.p);
	free(kd.p);
	free(flat.p);
}

static uint64_t random_state = 42;

static uint64_t next_random(void)
{
	random_state = random_state * 6364136223846793005ull + 1;
	return random_state >> 20;
}

static void flip_bits(const struct gen *g, unsigned times)
{
	struct nst_error e;
	char path[64];
	int fd;

	snprintf(path, sizeof path, "%s", gen_file(g, &fd));
	for (unsigned i = 0; i < times; i++) {
		uint64_t at = next_random() % g->n;
		uint8_t was = g->p[at];
		uint8_t now = was ^ (uint8_t)(1u << next_random() % 8);
		enum nst_status st;

		assert_int_equal(pwrite(fd, &now, 1, (off_t)at), 1);
		st = use(path, &e);
		assert_true(st == NST_OK || st == NST_BAD_INPUT);
		assert_int_equal(pwrite(fd, &was, 1, (off_t)at), 1);
	}
	assert_int_equal(use(path, &e), NST_OK);
	close(fd);
}

static void flipped_bits_do_no_harm(void **state)
{
	struct gen g = stream(true, false, false, NULL);
	struct gen qc = gen_qcow2(&g), kd = gen_kdump(vmcs12);

	(void)state;
	flip_bits(&g, 10000);
	flip_bits(&qc, 1000);
	flip_bits(&kd, 1000);
	free(g.p);
	free(qc.p);
	free(kd.p);
}

/* -- codecs -------------------------------------------------------------------- */

static void codecs_go_round(void **state)
{
	static const char *const names[] = { "gzip", "xz", "zstd", "bzip2", "lz4",
					     "lzop" };
	struct gen g = stream(true, false, false, NULL);

	(void)state;
	g_zero(&g, 300000);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const struct codec *c = codec_by_name(names[i]);
		struct gen packed = recode(&g, c, true, NST_OK), twice = { 0 };
		struct gen back = recode(&packed, c, false, NST_OK);

		assert_ptr_equal(codec_of(packed.p, packed.n), c);
		assert_int_equal(back.n, g.n);
		assert_memory_equal(back.p, g.p, g.n);
		free(back.p);
		/* Two members one after the other. */
		g_put(&twice, packed.p, packed.n);
		g_put(&twice, packed.p, packed.n);
		back = recode(&twice, c, false, NST_OK);
		assert_int_equal(back.n, 2 * g.n);
		assert_memory_equal(back.p + g.n, g.p, g.n);
		free(back.p);
		for (size_t n = 1; n < packed.n; n += packed.n / 200 + 1) {
			struct gen part = { packed.p, n, n };
			struct gen junk = recode(&part, c, false,
						 NST_BAD_INPUT);
			free(junk.p);
		}
		free(packed.p);
		free(twice.p);
	}
	free(g.p);
}

/* Several chunks and buffers, ending where a buffer does, just before and after. */
static void long_inputs_are_coded_in_chunks(void **state)
{
	static const char *const names[] = { "gzip", "xz", "zstd", "bzip2", "lz4",
					     "lzop" };
	struct gen g = { 0 };

	(void)state;
	g.p = malloc(g.n = (3u << 20) + 1);
	for (size_t i = 0; i < g.n; i++)
		g.p[i] = i >> 12 & 1 ? (uint8_t)next_random() : (uint8_t)(i >> 6);
	for (size_t i = 0; i < sizeof names / sizeof *names; i++)
		for (int odd = -1; odd < 2; odd++) {
			struct gen part = { g.p, (3u << 20) + (size_t)odd, 0 };
			const struct codec *c = codec_by_name(names[i]);
			struct gen packed, back, again;

			if (odd && !strcmp(names[i], "xz"))
				continue; /* it takes its time */
			packed = recode(&part, c, true, NST_OK);
			again = recode(&part, c, true, NST_OK);
			back = recode(&packed, c, false, NST_OK);
			assert_int_equal(back.n, part.n);
			assert_memory_equal(back.p, part.p, part.n);
			assert_int_equal(again.n, packed.n);
			assert_memory_equal(again.p, packed.p, packed.n);
			free(packed.p);
			free(again.p);
			free(back.p);
		}
	free(g.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_of_all_ages_are_read),
		cmocka_unit_test(wrappings_of_a_stream_are_read),
		cmocka_unit_test(kdumps_are_read),
		cmocka_unit_test(registers_reach_the_snapshot),
		cmocka_unit_test(conversion_reaches_every_record),
		cmocka_unit_test(kdumps_are_converted),
		cmocka_unit_test(in_place_is_undone),
		cmocka_unit_test(cut_files_are_refused),
		cmocka_unit_test(flipped_bits_do_no_harm),
		cmocka_unit_test(codecs_go_round),
		cmocka_unit_test(long_inputs_are_coded_in_chunks),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
