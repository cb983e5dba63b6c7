/* multifd.c: what the channels of a multifd migration carried, captured beside the
 * main stream: packets of pages, plain, zlib or zstd, whose order against the main
 * stream's records the SYNC packets tell. */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "convert/qemu/stream.h"

#define MAGIC 0x11223344u
#define PAGE 4096u
/* QEMU's packets hold 512 KiB; nobody's hold more than this. */
#define MAX_PAGES 65536u
#define MAX_DATA (64u << 20)

enum { HELLO = 64, HEADER = 64, NAME = 256, DEVICE_HEADER = 12 + NAME + 8 };
enum { F_SYNC = 1, F_METHOD = 0x3e, F_DEVICE = 0x40 };
enum { M_NONE = 0, M_ZLIB = 2, M_ZSTD = 4, M_QPL = 8, M_UADK = 0x10,
       M_QATZIP = 0x20 };

struct qchannel {
	struct source *src;
	const char *path;
	uint64_t at;
	z_stream zlib;         /* their state goes on from packet to packet */
	bool have_zlib;
	ZSTD_DStream *zstd;
};

struct qmultifd {
	uint32_t n;
	struct qchannel channel[];
};

struct packet {
	uint32_t flags, pages, normal, zero, size;
	const uint8_t *name, *offset, *data;
};

static enum nst_status bad(struct nst_error *e, const struct qchannel *c,
			   const char *what)
{
	return nst_fail(e, NST_BAD_INPUT, "multifd channel %.200s: %s at byte "
			"0x%llx", c->path, what, (unsigned long long)c->at);
}

/* -- opening ------------------------------------------------------------------- */

static enum nst_status open_channel(struct qchannel *c, const char *path,
				    struct nst_error *e)
{
	const uint8_t *p;
	enum nst_status st = source_open(path, &c->src, e);
	struct nst_error inner = *e;

	c->path = path;
	if (st)
		return nst_fail(e, st, "multifd channel %.200s: %s", path,
				inner.text);
	p = source_at(c->src, 0, HELLO);
	if (!p || be_at(p, 4) != MAGIC || be_at(p + 4, 4) != 1)
		return bad(e, c, "no channel of a multifd migration begins");
	c->at = HELLO;
	return NST_OK;
}

enum nst_status qmultifd_open(struct qstream *q, const char *const *path,
			      uint32_t n, struct nst_error *e)
{
	enum nst_status st = NST_OK;

	if (!n)
		return NST_OK;
	q->multifd = calloc(1, sizeof *q->multifd + n * sizeof(struct qchannel));
	if (!q->multifd)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	q->multifd->n = n;
	for (uint32_t i = 0; !st && i < n; i++)
		st = open_channel(&q->multifd->channel[i], path[i], e);
	return st;
}

void qmultifd_close(struct qstream *q)
{
	for (uint32_t i = 0; q->multifd && i < q->multifd->n; i++) {
		struct qchannel *c = &q->multifd->channel[i];

		if (c->have_zlib)
			inflateEnd(&c->zlib);
		ZSTD_freeDStream(c->zstd);
		source_close(c->src);
	}
	free(q->multifd);
}

/* -- packets ------------------------------------------------------------------- */

/* The state of a device, which is none of the CPUs' or of RAM. */
static enum nst_status skip_device(struct qchannel *c, struct nst_error *e)
{
	const uint8_t *p = source_at(c->src, c->at, DEVICE_HEADER);
	uint64_t len = p ? be_at(p + 12 + NAME + 4, 4) : 0;

	if (!p || !source_at(c->src, c->at + DEVICE_HEADER, len))
		return bad(e, c, "the capture is cut in a packet");
	c->at += DEVICE_HEADER + len;
	return NST_OK;
}

static enum nst_status header(struct qchannel *c, struct packet *k,
			      struct nst_error *e)
{
	const uint8_t *p = source_at(c->src, c->at, HEADER);
	uint64_t fixed;

	if (!p)
		return bad(e, c, "the capture is cut in a packet");
	k->pages = (uint32_t)be_at(p + 12, 4);
	k->normal = (uint32_t)be_at(p + 16, 4);
	k->size = (uint32_t)be_at(p + 20, 4);
	k->zero = (uint32_t)be_at(p + 32, 4);
	if (!k->normal) /* a SYNC packet may say the size of the one before */
		k->size = 0;
	if (k->pages > MAX_PAGES || k->size > MAX_DATA ||
	    (uint64_t)k->normal + k->zero > k->pages)
		return bad(e, c, "a packet of impossible size");
	fixed = HEADER + NAME + 8ull * k->pages;
	if (!source_at(c->src, c->at, fixed + k->size))
		return bad(e, c, "the capture is cut in a packet");
	k->name = source_at(c->src, c->at + HEADER, NAME);
	k->offset = k->name + NAME;
	k->data = k->offset + 8ull * k->pages;
	if (!memchr(k->name, 0, NAME))
		return bad(e, c, "a block without a name");
	return NST_OK;
}

static enum nst_status start_codec(struct qchannel *c, const struct packet *k,
				   struct nst_error *e)
{
	switch (k->flags & F_METHOD) {
	case M_NONE:
		return k->size == k->normal * PAGE ? NST_OK :
			bad(e, c, "a packet whose size is not that of its pages");
	case M_ZLIB:
		if (!c->have_zlib && inflateInit(&c->zlib) != Z_OK)
			return nst_fail(e, NST_SYSTEM, "out of memory");
		c->have_zlib = true;
		c->zlib.next_in = (Bytef *)(uintptr_t)k->data;
		c->zlib.avail_in = k->size;
		return NST_OK;
	case M_ZSTD:
		if (!c->zstd && !(c->zstd = ZSTD_createDStream()))
			return nst_fail(e, NST_SYSTEM, "out of memory");
		return NST_OK;
	case M_QPL:
	case M_UADK:
	case M_QATZIP:
		return bad(e, c, "pages compressed by QPL, UADK or QATzip, which "
			   "are not supported,");
	}
	return bad(e, c, "an unknown compression");
}

/* The next page of the packet, into buf or in place; in is what is left of zstd's. */
static const uint8_t *next_page(struct qchannel *c, const struct packet *k,
				uint32_t i, ZSTD_inBuffer *in, uint8_t *buf)
{
	ZSTD_outBuffer out = { buf, PAGE, 0 };
	z_stream *z = &c->zlib;
	int rc = Z_OK;

	if (!(k->flags & F_METHOD))
		return k->data + (uint64_t)i * PAGE;
	if (k->flags & M_ZLIB) {
		z->next_out = buf;
		z->avail_out = PAGE;
		while (z->avail_out && rc == Z_OK)
			rc = inflate(z, Z_SYNC_FLUSH);
		return z->avail_out ? NULL : buf;
	}
	while (out.pos < PAGE) {
		size_t before[2] = { in->pos, out.pos };

		if (ZSTD_isError(ZSTD_decompressStream(c->zstd, &out, in)) ||
		    (before[0] == in->pos && before[1] == out.pos))
			return NULL;
	}
	return buf;
}

static enum nst_status take_pages(struct qstream *q, struct qchannel *c,
				  const struct packet *k, struct nst_error *e)
{
	ZSTD_inBuffer in = { k->data, k->size, 0 };
	enum nst_status st = start_codec(c, k, e);
	uint8_t buf[PAGE];
	uint64_t number;

	for (uint32_t i = 0; !st && i < k->normal + k->zero; i++) {
		const uint8_t *p = NULL;

		if (i < k->normal && !(p = next_page(c, k, i, &in, buf)))
			return bad(e, c, "a page that does not decompress, in "
				   "the packet");
		if (!qram_number(q, (const char *)k->name,
				 be_at(k->offset + 8 * i, 8), &number))
			return bad(e, c, "a page outside its block, in the "
				   "packet");
		st = qram_put(q, number, p, e);
	}
	return st;
}

/* Up to the next SYNC packet, or to the end. */
static enum nst_status to_next_sync(struct qstream *q, struct qchannel *c,
				    struct nst_error *e)
{
	enum nst_status st = NST_OK;
	struct packet k = { 0 };

	while (!st && !(k.flags & F_SYNC) && c->at < source_size(c->src)) {
		const uint8_t *p = source_at(c->src, c->at, 12);
		uint64_t behind = c->at;

		if (!p)
			return bad(e, c, "the capture is cut in a packet");
		if (be_at(p, 4) != MAGIC || be_at(p + 4, 4) != 1)
			return bad(e, c, "no packet begins");
		k.flags = (uint32_t)be_at(p + 8, 4);
		if (k.flags & F_DEVICE) {
			st = skip_device(c, e);
			continue;
		}
		st = header(c, &k, e);
		if (!st && (k.normal || k.zero))
			st = take_pages(q, c, &k, e);
		if (!st)
			c->at += HEADER + NAME + 8ull * k.pages + k.size;
		source_release(c->src, behind, c->at - behind);
	}
	return st;
}

enum nst_status qmultifd_sync(struct qstream *q, struct nst_error *e)
{
	enum nst_status st = NST_OK;

	for (uint32_t i = 0; !st && q->multifd && i < q->multifd->n; i++)
		st = to_next_sync(q, &q->multifd->channel[i], e);
	q->syncs++;
	return st;
}

enum nst_status qmultifd_rest(struct qstream *q, struct nst_error *e)
{
	enum nst_status st = NST_OK;

	for (uint32_t i = 0; !st && q->multifd && i < q->multifd->n; i++)
		while (!st && q->multifd->channel[i].at <
		       source_size(q->multifd->channel[i].src))
			st = to_next_sync(q, &q->multifd->channel[i], e);
	return st;
}
