/* Writes one small container of each format into a directory: seeds DIR. */
#include <stdio.h>
#include <stdlib.h>

#include "tests/unit/container_gen.h"

static void save(const char *dir, const char *name, struct gen g)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	f = fopen(path, "wb");
	if (!f || fwrite(g.p, 1, g.n, f) != g.n || fclose(f))
		exit(4);
	free(g.p);
}

static struct gen crosvm(const uint8_t *page)
{
	struct gen g = { 0 };

	g_be(&g, 0xa2, 1);
	g_put(&g, "\x67vcpu_id\0\x6cnested_state\x99\x10\x80", 25);
	for (int i = 0; i < 128; i++)
		g_be(&g, i == 4 ? 0x1880 : i == 0 ? 1 : i == 5 ? 0x10 : 0,
		     i == 4 ? 2 : 1);
	for (int i = 0; i < 4096; i++)
		g_be(&g, page[i] > 23 ? 0x1800u | page[i] : page[i],
		     page[i] > 23 ? 2 : 1);
	g_zero(&g, 1);
	return g;
}

static struct gen elf(const uint8_t *page)
{
	static const uint8_t head[64] = { 0x7f, 'E', 'L', 'F', 2, 1, 1,
		[16] = 4, [18] = 62, [20] = 1, [32] = 64, [52] = 64, [54] = 56,
		[56] = 1 };
	struct gen g = { 0 };
	uint64_t ph[7] = { 1, 120, 0, 0x1000, 4096, 4096, 0 };

	g_put(&g, head, 64);
	g_put(&g, ph, 56);
	g_put(&g, page, 4096);
	return g;
}

static struct gen lime(const uint8_t *page)
{
	struct gen g = { 0 };
	uint64_t range[3] = { 0x4000, 0x4fff, 0 };

	g_put(&g, "EMiL\1\0\0\0", 8);
	g_put(&g, range, 24);
	g_put(&g, page, 4096);
	return g;
}

/* A state.json with one vCPU, whose state is text inside the text. */
static struct gen chv(const uint8_t *page)
{
	static const char before[] = "{\"snapshots\":{\"cpu-manager\":"
		"{\"snapshots\":{\"0\":{\"snapshots\":{},\"snapshot_data\":"
		"{\"state\":\"{\\\"Kvm\\\":{\\\"regs\\\":[1,2],"
		"\\\"nested_state\\\":[";
	static const char after[] = "]}}\"}}},\"snapshot_data\":null}},"
		"\"snapshot_data\":null}";
	struct gen g = { 0 };
	uint8_t state[4224] = { 1, [5] = 0x10, [4] = 0x80, [9] = 0x30,
				[17] = 0x10 };
	char number[8];

	memcpy(state + 128, page, 4096);
	g_put(&g, before, sizeof before - 1);
	for (int i = 0; i < 4224; i++)
		g_put(&g, number, (size_t)snprintf(number, sizeof number, "%s%u",
						   i ? "," : "", state[i]));
	g_put(&g, after, sizeof after - 1);
	return g;
}

/* A native snapshot: a nested state's note, and a page of RAM. */
static struct gen snapshot(const uint8_t *page)
{
	struct gen g = elf(page);
	uint64_t ph[2][7] = {
		{ 4, 4096, 0, 0, 12 + 4 + 8 + 4224, 0, 4 },
		{ 1 | 7ull << 32, 16384, 0, 0x1000, 4096, 4096, 4096 },
	};
	uint32_t note[6] = { 4, 8 + 4224, 12, 0x004d564b, 0, 0 };
	uint8_t state[128] = { 1, [5] = 0x10, [4] = 0x80, [9] = 0x30,
			       [17] = 0x10 };

	g.n = 64;
	g.p[56] = 2;
	g_put(&g, ph, sizeof ph);
	g_zero(&g, 4096 - g.n);
	g_put(&g, note, sizeof note);
	g_put(&g, state, sizeof state);
	g_put(&g, page, 4096);
	g_zero(&g, 16384 - g.n);
	g_put(&g, page, 4096);
	return g;
}

int main(int argc, char **argv)
{
	static uint8_t page[4096];
	FILE *f = fopen("tests/fixtures/pages/kvm-4.17-in-l2.bin", "rb");
	struct gen_stream o = { .vmcs12 = page, .json = true };
	struct gen_stream old = { .vmcs12 = page, .old_machine = true };
	struct gen_stream plain = { .vmcs12 = page, .plain = true };
	struct gen s, k, g = { 0 };

	if (argc != 2 || !f || fread(page, 1, 4096, f) != 4096)
		return 2;
	s = gen_stream(&o);
	save(argv[1], "libvirt", gen_libvirt(&s));
	save(argv[1], "qcow2", gen_qcow2(&s));
	save(argv[1], "stream", s);
	save(argv[1], "old-stream", gen_stream(&old));
	save(argv[1], "plain-stream", gen_stream(&plain));
	k = gen_kdump(page);
	save(argv[1], "kdump-flat", gen_flat(&k));
	save(argv[1], "kdump", k);
	save(argv[1], "crosvm", crosvm(page));
	save(argv[1], "elf", elf(page));
	save(argv[1], "lime", lime(page));
	save(argv[1], "chv", chv(page));
	save(argv[1], "snapshot", snapshot(page));
	g_put(&g, page, 4096);
	save(argv[1], "page", g);
	fclose(f);
	return 0;
}
