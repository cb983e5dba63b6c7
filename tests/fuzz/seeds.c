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
		g_be(&g, i == 5 ? 0x10 : 0, 1);
	g.p[g.n - 128] = 1;
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

int main(int argc, char **argv)
{
	static uint8_t page[4096];
	FILE *f = fopen("tests/fixtures/pages/kvm-4.17-in-l2.bin", "rb");
	struct gen_stream o = { .vmcs12 = page, .json = true };
	struct gen_stream old = { .vmcs12 = page, .old_machine = true };
	struct gen s, k, g = { 0 };

	if (argc != 2 || !f || fread(page, 1, 4096, f) != 4096)
		return 2;
	s = gen_stream(&o);
	save(argv[1], "libvirt", gen_libvirt(&s));
	save(argv[1], "qcow2", gen_qcow2(&s));
	save(argv[1], "stream", s);
	save(argv[1], "old-stream", gen_stream(&old));
	k = gen_kdump(page);
	save(argv[1], "kdump-flat", gen_flat(&k));
	save(argv[1], "kdump", k);
	save(argv[1], "crosvm", crosvm(page));
	save(argv[1], "elf", elf(page));
	g_put(&g, page, 4096);
	save(argv[1], "page", g);
	fclose(f);
	return 0;
}
