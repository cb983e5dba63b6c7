/* container_gen.h: small containers made in memory for tests: a migration stream
 * with every kind of RAM record and a nested state, a kdump, a qcow2 image.
 * Written from the formats' descriptions, not with the readers' code. */
#ifndef NSTATE_TESTS_CONTAINER_GEN_H
#define NSTATE_TESTS_CONTAINER_GEN_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

struct gen { uint8_t *p; size_t n, room; };

static inline void g_put(struct gen *g, const void *data, size_t n)
{
	if (g->n + n > g->room) {
		g->room = (g->n + n) * 2;
		g->p = realloc(g->p, g->room);
	}
	memcpy(g->p + g->n, data, n);
	g->n += n;
}

static inline void g_be(struct gen *g, uint64_t v, int bytes)
{
	uint8_t b[8];

	for (int i = 0; i < bytes; i++)
		b[i] = (uint8_t)(v >> 8 * (bytes - 1 - i));
	g_put(g, b, (size_t)bytes);
}

static inline void g_name(struct gen *g, const char *s)
{
	g_be(g, strlen(s), 1);
	g_put(g, s, strlen(s));
}

static inline void g_zero(struct gen *g, size_t n)
{
	while (n--)
		g_be(g, 0, 1);
}

static inline void g_sub(struct gen *g, const char *name)
{
	g_be(g, 5, 1);
	g_name(g, name);
	g_be(g, 1, 4);
}

enum { GEN_PAGES = 16, GEN_CURRENT = 1, GEN_OTHER = 2, GEN_PACKED = 3,
       GEN_DELTA = 4, GEN_FILL = 5 };
#define GEN_CR4 0x2020u

struct gen_stream {
	const uint8_t *vmcs12;   /* current, and in RAM */
	bool old_machine;        /* no configuration, footers */
	bool json;
	bool no_nested;
	bool twice;              /* page GEN_OTHER is sent with rubbish first */
	bool plain;              /* 3 and 4 have plain records, too */
	size_t eof;              /* out: behind the end mark */
	size_t cpu_page;         /* out: where the nested vmcs12 is */
};

static inline void g_footer(struct gen *g, const struct gen_stream *o,
			    uint32_t id)
{
	if (o->old_machine)
		return;
	g_be(g, 0x7e, 1);
	g_be(g, id, 4);
}

static inline void g_header(struct gen *g, int type, uint32_t id,
			    const char *name, uint32_t version)
{
	g_be(g, (uint64_t)type, 1);
	g_be(g, id, 4);
	g_name(g, name);
	g_be(g, 0, 4);
	g_be(g, version, 4);
}

/* 1000 bytes kept, 1 new, 3094 kept, 1 new */
static inline void g_delta(struct gen *g, const uint8_t *page)
{
	g_be(g, 1, 1);
	g_be(g, 8, 2);
	g_be(g, 0xe807, 2);
	g_be(g, 1, 1);
	g_be(g, page[1000], 1);
	g_be(g, 0x9618, 2);
	g_be(g, 1, 1);
	g_be(g, page[4095], 1);
}

/* First: page 0 zero; 1 and 2 plain; 3 zlib; 4 plain then XBZRLE; 5 filled. */
static inline void g_ram_pages(struct gen *g, const struct gen_stream *o)
{
	uint8_t page[4096], z[8192];
	uLongf zn = sizeof z;

	g_be(g, 0 << 12 | 2, 8);
	g_name(g, "pc.ram");
	g_be(g, 0, 1);
	g_be(g, GEN_CURRENT << 12 | 0x28, 8);
	g_put(g, o->vmcs12, 4096);
	if (o->twice) {
		memset(page, 0x5a, sizeof page);
		g_be(g, GEN_OTHER << 12 | 0x28, 8);
		g_put(g, page, 4096);
	}
	g_be(g, GEN_OTHER << 12 | 0x28, 8);
	g_put(g, o->vmcs12, 4096);
	if (o->plain) {
		g_be(g, GEN_PACKED << 12 | 0x28, 8);
		g_put(g, o->vmcs12, 4096);
	} else {
		compress2(z, &zn, o->vmcs12, 4096, 6);
		g_be(g, GEN_PACKED << 12 | 0x120, 8);
		g_be(g, zn, 4);
		g_put(g, z, zn);
	}
	memcpy(page, o->vmcs12, 4096);
	page[4095] ^= 0xff;
	page[1000] ^= 0xff;
	g_be(g, GEN_DELTA << 12 | 0x28, 8);
	g_put(g, page, 4096);
	g_be(g, GEN_DELTA << 12 | (o->plain ? 0x28 : 0x60), 8);
	if (o->plain)
		g_put(g, o->vmcs12, 4096);
	else
		g_delta(g, o->vmcs12);
	g_be(g, GEN_FILL << 12 | 0x22, 8);
	g_be(g, 0xaa, 1);
	for (int i = GEN_FILL + 1; i < GEN_PAGES; i++) {
		g_be(g, (uint64_t)i << 12 | 0x22, 8);
		g_be(g, 0, 1);
	}
}

static inline void g_cpu(struct gen *g, struct gen_stream *o)
{
	size_t at = g->n;

	g_zero(g, 1817);
	for (int i = 0; i < 16; i++) /* RAX.. = 0x10.. */
		g->p[at + 8 * (size_t)i + 7] = (uint8_t)(0x10 + i);
	g->p[at + 0x1e8 - 2] = GEN_CR4 >> 8;
	g->p[at + 0x1e8 - 1] = GEN_CR4 & 0xff;
	if (o->no_nested)
		return;
	g_sub(g, "cpu/nested_state");
	g_be(g, 1, 2);
	g_be(g, 0, 2);
	g_be(g, 128 + 4096, 4);
	g_sub(g, "cpu/kvm_nested_state/vmx");
	g_be(g, 0xf000, 8);
	g_be(g, GEN_CURRENT << 12, 8);
	g_be(g, 0, 2);
	g_sub(g, "cpu/kvm_nested_state/vmx/vmcs12");
	o->cpu_page = g->n;
	g_put(g, o->vmcs12, 4096);
}

static inline struct gen gen_stream(struct gen_stream *o)
{
	struct gen g = { 0 };
	const char *json = "{\"page_size\": 4096, \"devices\": [{\"name\": \"dev\","
		"\"instance_id\": 0, \"vmsd_name\": \"dev\", \"version\": 1,"
		"\"fields\": [{\"name\": \"x\", \"size\": 4, \"array_len\": 5}]}]}";

	g_be(&g, 0x5145564d, 4);
	g_be(&g, 3, 4);
	if (!o->old_machine) {
		g_be(&g, 7, 1);
		g_be(&g, 11, 4);
		g_put(&g, "pc-q35-10.0", 11);
	}
	g_header(&g, 1, 2, "ram", 4);
	g_be(&g, GEN_PAGES << 12 | 4, 8);
	g_name(&g, "pc.ram");
	g_be(&g, GEN_PAGES << 12, 8);
	g_be(&g, 0x10, 8);
	g_footer(&g, o, 2);
	g_be(&g, 2, 1);
	g_be(&g, 2, 4);
	g_ram_pages(&g, o);
	g_be(&g, 0x10, 8);
	g_footer(&g, o, 2);
	if (!o->old_machine) {
		g_be(&g, 0x08, 1);
		g_be(&g, 11, 2);
		g_be(&g, 0, 2);
	}
	g_be(&g, 3, 1);
	g_be(&g, 2, 4);
	g_be(&g, 0x10, 8);
	g_footer(&g, o, 2);
	g_header(&g, 4, 3, "dev", 1);
	g_zero(&g, 20);
	g_footer(&g, o, 3);
	g_header(&g, 4, 4, "cpu", 12);
	g_cpu(&g, o);
	g_footer(&g, o, 4);
	g_be(&g, 0, 1);
	o->eof = g.n;
	if (o->json) {
		g_be(&g, 6, 1);
		g_be(&g, strlen(json), 4);
		g_put(&g, json, strlen(json));
	}
	return g;
}

/* A plain kdump of GEN_PAGES pages: page 1 zlib, 2 plain. */
static inline struct gen gen_kdump(const uint8_t *vmcs12)
{
	struct gen g = { 0 };
	uint8_t z[8192];
	uLongf zn = sizeof z;
	uint64_t data = 4 * 4096 + 4096;
	uint32_t v;

	g_zero(&g, 5 * 4096);
	memcpy(g.p, "KDUMP   ", 8);
#define AT32(at, x) (v = (x), memcpy(g.p + (at), &v, 4))
	AT32(8, 6);
	AT32(428, 4096);
	AT32(432, 1);
	AT32(436, 2);
	AT32(440, GEN_PAGES);
	AT32(4096 + 96, GEN_PAGES);
	memset(g.p + 2 * 4096, 0xff, 2);   /* valid */
	g.p[3 * 4096] = 6;                 /* dumped: pages 1 and 2 */
	compress2(z, &zn, vmcs12, 4096, 6);
	memcpy(g.p + 4 * 4096, &data, 8);
	AT32(4 * 4096 + 8, (uint32_t)zn);
	AT32(4 * 4096 + 12, 1);
	data += zn;
	memcpy(g.p + 4 * 4096 + 24, &data, 8);
	AT32(4 * 4096 + 32, 4096);
#undef AT32
	g_put(&g, z, zn);
	g_put(&g, vmcs12, 4096);
	return g;
}

/* The flattened form of another file. */
static inline struct gen gen_flat(const struct gen *in)
{
	struct gen g = { 0 };

	g_put(&g, "makedumpfile\0\0\0\0", 16);
	g_be(&g, 1, 8);
	g_be(&g, 1, 8);
	g_zero(&g, 4096 - 32);
	g_be(&g, 0, 8);
	g_be(&g, in->n, 8);
	g_put(&g, in->p, in->n);
	g_be(&g, ~0ull, 8);
	g_be(&g, ~0ull, 8);
	return g;
}

/* A qcow2 image of 512-byte clusters with one snapshot whose VM state is in; the
 * disk is empty.  Clusters: header, L1, L2s, state, snapshot table. */
static inline struct gen gen_qcow2(const struct gen *in)
{
	enum { BITS = 9, SIZE = 1 << BITS, PER = SIZE / 8 };
	struct gen g = { 0 }, l1 = { 0 }, l2 = { 0 };
	size_t n = (in->n + SIZE - 1) / SIZE, nl2 = (n + PER - 1) / PER;
	size_t l1_len = ((nl2 * 8 + SIZE - 1) / SIZE) * SIZE;
	size_t l1_at = SIZE, l2_at = l1_at + l1_len;
	size_t data = l2_at + nl2 * SIZE, table = data + n * SIZE;

	for (size_t i = 0; i < nl2; i++)
		g_be(&l1, (l2_at + i * SIZE) | 1ull << 63, 8);
	g_zero(&l1, l1_len - l1.n);
	for (size_t i = 0; i < n; i++)
		g_be(&l2, (data + i * SIZE) | 1ull << 63, 8);
	g_zero(&l2, nl2 * SIZE - l2.n);
	g_put(&g, "QFI\xfb", 4);
	g_be(&g, 2, 4);
	g_zero(&g, 12);
	g_be(&g, BITS, 4);
	g_zero(&g, 8);                     /* virtual size 0 */
	g_zero(&g, 28);
	g_be(&g, 1, 4);                    /* snapshots */
	g_be(&g, table, 8);
	g_zero(&g, SIZE - g.n);
	g_put(&g, l1.p, l1.n);
	g_put(&g, l2.p, l2.n);
	g_put(&g, in->p, in->n);
	g_zero(&g, table - g.n);
	g_be(&g, l1_at, 8);
	g_be(&g, nl2, 4);
	g_be(&g, 1, 2);
	g_be(&g, 4, 2);
	g_zero(&g, 16);
	g_be(&g, 0, 4);
	g_be(&g, 16, 4);
	g_be(&g, in->n, 8);
	g_be(&g, 0, 8);
	g_put(&g, "1here", 5);
	g_zero(&g, 3);
	free(l1.p);
	free(l2.p);
	return g;
}

/* A libvirt image around a stream. */
static inline struct gen gen_libvirt(const struct gen *in)
{
	static const char xml[] = "<domain><name>vm</name></domain>";
	struct gen g = { 0 };
	uint32_t head[19] = { 2, sizeof xml, 1, 0 };

	g_put(&g, "LibvirtQemudSave", 16);
	g_put(&g, head, sizeof head);
	g_put(&g, xml, sizeof xml);
	g_put(&g, in->p, in->n);
	return g;
}

/* The path of an open memory file with these bytes; *fd is to be closed. */
static inline const char *gen_file(const struct gen *g, int *fd)
{
	static char path[64];

	*fd = memfd_create("container", MFD_CLOEXEC);
	if (*fd < 0 || write(*fd, g->p, g->n) != (ssize_t)g->n)
		abort();
	snprintf(path, sizeof path, "/proc/self/fd/%d", *fd);
	return path;
}

#endif
