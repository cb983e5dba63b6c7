/* kdump.c: the reader of kdump-compressed dumps (makedumpfile, QEMU's
 * kdump-zlib and its kin), plain and flattened.
 *
 * A patched page is never compressed again: its new bytes go to the end of the
 * file and its descriptor is pointed there; flattened, two records do the same.
 */
#include <errno.h>
#include <lzo/lzo1x.h>
#include <snappy-c.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "convert/bytes.h"
#include "convert/codec.h"
#include "convert/dump/notes.h"
#include "convert/outfile.h"
#include "convert/readers.h"
#include "convert/source.h"

#define PAGE 4096u
#define NONE 0xffffffffffffffffull
#define RELEASE_EVERY (2ull << 20)

enum { DESC = 24, FLAT_HEADER = 4096 };
enum { P_ZLIB = 1, P_LZO = 2, P_SNAPPY = 4, P_ZSTD = 0x20 };

struct kdump {
	struct source *src;    /* the container's, or what was unflattened */
	bool flat;
	const uint8_t *bitmap; /* of dumped pages */
	const uint8_t *valid;  /* of pages that are RAM */
	uint64_t bits;         /* pfns that they cover */
	bool zeros_only;       /* pages that were left out are all zero */
	uint64_t desc_at, ndesc;
	uint64_t last_record;  /* flattened: where the end record is */
	struct dump_cpus cpus;
};

static int probe(const uint8_t *head, size_t len, uint64_t size)
{
	(void)size;
	if (len < 16)
		return 0;
	return !memcmp(head, "KDUMP   ", 8) || !memcmp(head, "DISKDUMP", 8) ||
		!memcmp(head, "makedumpfile\0\0\0\0", 16) ? 95 : 0;
}

static enum nst_status cut(struct nst_error *e, const char *what)
{
	return nst_fail(e, NST_BAD_INPUT, "kdump: %s lies beyond the end of the "
			"file", what);
}

/* -- flattened ----------------------------------------------------------------- */

static enum nst_status unflatten(struct container *c, struct kdump *k, int fd,
				 struct nst_error *e)
{
	struct cursor cur = { .p = source_at(c->src, 0, 0), .at = FLAT_HEADER,
			      .end = source_size(c->src) };
	uint64_t limit = cur.end * 1024 + (1ull << 32);

	while (!cur.cut) {
		uint64_t at = cur.at, to = cur_be(&cur, 8), n = cur_be(&cur, 8);
		const uint8_t *p;

		if (cur.cut)
			break;
		if (to == NONE && n == NONE) {
			k->last_record = at;
			return NST_OK;
		}
		p = cur_take(&cur, n);
		if (!p)
			break;
		/* Sparse, but not without limit: nothing true is beyond it. */
		if (to > limit)
			return nst_fail(e, NST_BAD_INPUT, "kdump: the record at "
					"byte 0x%llx goes to 0x%llx",
					(unsigned long long)at,
					(unsigned long long)to);
		if (outfile_pwrite(fd, p, n, to, e))
			return e->status;
		source_release(c->src, at, cur.at - at);
	}
	return nst_fail(e, NST_BAD_INPUT, "kdump: the flattened file is cut "
			"after byte 0x%llx", (unsigned long long)cur.at);
}

static enum nst_status open_flat(struct container *c, struct kdump *k,
				 struct nst_error *e)
{
	const uint8_t *h = source_at(c->src, 0, FLAT_HEADER);
	enum nst_status st;
	int fd;

	if (!h)
		return cut(e, "the header of the flattened form");
	if (be_at(h + 16, 8) != 1 || be_at(h + 24, 8) != 1)
		return nst_fail(e, NST_BAD_INPUT, "kdump: an unknown version of "
				"the flattened form");
	fd = outfile_spool(e);
	if (fd < 0)
		return NST_SYSTEM;
	st = unflatten(c, k, fd, e);
	if (st) {
		close(fd);
		return st;
	}
	k->flat = true;
	return source_from_fd(fd, &k->src, e);
}

/* -- headers ------------------------------------------------------------------- */

static uint64_t count_bits(const uint8_t *p, uint64_t from, uint64_t to)
{
	uint64_t n = 0;

	for (; from < to && from % 64; from++)
		n += p[from / 8] >> from % 8 & 1;
	for (; from + 64 <= to; from += 64)
		n += (uint64_t)__builtin_popcountll(le_at(p + from / 8, 8));
	for (; from < to; from++)
		n += p[from / 8] >> from % 8 & 1;
	return n;
}

static enum nst_status take_bitmap(struct kdump *k, uint32_t sub,
				   uint32_t blocks, uint64_t max_pfn,
				   struct nst_error *e)
{
	uint64_t at = (1ull + sub) * PAGE, len = (uint64_t)blocks * PAGE;
	uint64_t one = (max_pfn / 8 + !!(max_pfn % 8) + PAGE - 1) / PAGE;
	const uint8_t *p = source_at(k->src, at, len);

	if (!p)
		return cut(e, "the page bitmap");
	/* Two halves, valid and dumped pages, unless there is room for one. */
	k->valid = p;
	if (blocks >= 2 * one) {
		p += len / 2;
		len /= 2;
	}
	k->bitmap = p;
	k->bits = len * 8 < max_pfn ? len * 8 : max_pfn;
	k->desc_at = at + (uint64_t)blocks * PAGE;
	k->ndesc = count_bits(p, 0, k->bits);
	if (k->ndesc > (source_size(k->src) - k->desc_at) / DESC)
		return cut(e, "the table of page descriptors");
	return NST_OK;
}

static enum nst_status read_headers(struct container *c, struct kdump *k,
				    struct nst_error *e)
{
	const uint8_t *h = source_at(k->src, 0, 2 * PAGE), *sub, *n;
	uint32_t version, nsub, blocks;
	uint64_t max_pfn, note, note_size;
	enum nst_status st;

	if (!h)
		return cut(e, "the header");
	sub = h + PAGE;
	if (memcmp(h, "KDUMP   ", 8) && memcmp(h, "DISKDUMP", 8))
		return nst_fail(e, NST_BAD_INPUT, "kdump: no header in the "
				"flattened file");
	version = (uint32_t)le_at(h + 8, 4);
	nsub = (uint32_t)le_at(h + 432, 4);
	blocks = (uint32_t)le_at(h + 436, 4);
	max_pfn = le_at(h + 440, 4);
	if (le_at(h + 428, 4) != PAGE)
		return nst_fail(e, NST_BAD_INPUT, "kdump: blocks of %u bytes",
				(unsigned)le_at(h + 428, 4));
	if (version >= 6 && nsub)
		max_pfn = le_at(sub + 96, 8);
	if (version >= 2 && nsub && le_at(sub + 12, 4))
		return nst_fail(e, NST_BAD_INPUT, "kdump: one part of a split "
				"dump: join the parts first (makedumpfile "
				"--reassemble)");
	if (max_pfn > 1ull << 40)
		return nst_fail(e, NST_BAD_INPUT, "kdump: %llu pages",
				(unsigned long long)max_pfn);
	k->zeros_only = version >= 1 && nsub && le_at(sub + 8, 4) <= 1;
	st = take_bitmap(k, nsub, blocks, max_pfn, e);
	if (st || version < 4 || !nsub)
		return st;
	note = le_at(sub + 48, 8);
	note_size = le_at(sub + 56, 8);
	n = source_at(k->src, note, note_size);
	if (!n)
		return cut(e, "the notes");
	return dump_notes(c, &k->cpus, n, note_size, e);
}

/* Stretches of dumped pages are what of RAM there is; where only zeros were left
 * out, all of RAM is. */
static enum nst_status name_ram(struct container *c, const struct kdump *k,
				struct nst_error *e)
{
	const uint8_t *map = k->zeros_only ? k->valid : k->bitmap;
	uint64_t from = 0, pfn;

	for (pfn = 0; pfn <= k->bits; pfn++) {
		bool there = pfn < k->bits && map[pfn / 8] >> pfn % 8 & 1;

		if (!there && pfn > from &&
		    !container_add_ram(c, from * PAGE, (pfn - from) * PAGE))
			return nst_fail(e, NST_SYSTEM, "out of memory");
		if (!there)
			from = pfn + 1;
		if (!there && pfn % 64 == 0 && pfn + 64 <= k->bits &&
		    !le_at(map + pfn / 8, 8)) {
			pfn += 63;
			from = pfn + 1;
		}
	}
	return NST_OK;
}

static enum nst_status open_kdump(struct container *c, struct nst_error *e)
{
	struct kdump *k = calloc(1, sizeof *k);
	enum nst_status st = NST_OK;

	if (!k)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	c->priv = k;
	k->src = c->src;
	if (source_size(c->src) < 16)
		st = cut(e, "the header");
	else if (!memcmp(source_at(c->src, 0, 12), "makedumpfile", 12))
		st = open_flat(c, k, e);
	if (!st && lzo_init() != LZO_E_OK)
		st = nst_fail(e, NST_SYSTEM, "liblzo2 does not work here");
	if (!st)
		st = read_headers(c, k, e);
	if (!st)
		st = name_ram(c, k, e);
	return st;
}

/* -- pages --------------------------------------------------------------------- */

static bool decode(const uint8_t *in, uint32_t len, uint32_t flags, uint8_t *out)
{
	uLongf zn = PAGE;
	lzo_uint ln = PAGE;
	size_t sn = PAGE, zs;

	switch (flags & (P_ZLIB | P_LZO | P_SNAPPY | P_ZSTD)) {
	case P_ZLIB:
		return uncompress(out, &zn, in, len) == Z_OK && zn == PAGE;
	case P_LZO:
		return lzo1x_decompress_safe(in, len, out, &ln, NULL) ==
			LZO_E_OK && ln == PAGE;
	case P_SNAPPY:
		return snappy_uncompress((const char *)in, len, (char *)out,
					 &sn) == SNAPPY_OK && sn == PAGE;
	case P_ZSTD:
		zs = ZSTD_decompress(out, PAGE, in, len);
		return !ZSTD_isError(zs) && zs == PAGE;
	}
	return false;
}

struct desc { uint64_t offset; uint32_t size, flags; };

static struct desc descriptor(const struct kdump *k, uint64_t n)
{
	const uint8_t *p = source_at(k->src, k->desc_at + n * DESC, DESC);

	return (struct desc){ le_at(p, 8), (uint32_t)le_at(p + 8, 4),
			      (uint32_t)le_at(p + 12, 4) };
}

/* NULL with status NST_OK in e: the page was lost when the dump was made. */
static const uint8_t *page(const struct kdump *k, uint64_t n, uint64_t pfn,
			   uint8_t *buf, uint64_t *at, struct nst_error *e)
{
	struct desc d = descriptor(k, n);
	const uint8_t *p;

	*at = NONE;
	e->status = NST_OK;
	if (!d.offset)
		return NULL;
	p = d.size <= 2 * PAGE ? source_at(k->src, d.offset, d.size) : NULL;
	if (p && !(d.flags & (P_ZLIB | P_LZO | P_SNAPPY | P_ZSTD)) &&
	    d.size == PAGE) {
		*at = d.offset;
		return p;
	}
	if (p && decode(p, d.size, d.flags, buf))
		return buf;
	nst_fail(e, NST_BAD_INPUT, "kdump: page 0x%llx (file byte 0x%llx) is cut "
		 "or damaged", (unsigned long long)pfn * PAGE,
		 (unsigned long long)d.offset);
	return NULL;
}

static int walk_part(struct container *c, uint32_t part, uint32_t parts,
		     container_run_fn *fn, void *arg, struct nst_error *e)
{
	const struct kdump *k = c->priv;
	uint64_t each = (k->bits / parts + 63) & ~63ull, from = each * part;
	uint64_t to = part + 1 == parts ? k->bits : from + each, n;
	uint64_t behind = 0, at;
	uint8_t buf[PAGE];

	if (to > k->bits)
		to = k->bits;
	n = from < to ? count_bits(k->bitmap, 0, from) : 0;
	for (uint64_t pfn = from; pfn < to; pfn++) {
		struct container_run run = { pfn * PAGE, NULL, PAGE, NONE };
		int rc;

		if (!(k->bitmap[pfn / 8] >> pfn % 8 & 1))
			continue;
		run.data = page(k, n, pfn, buf, &at, e);
		if (!run.data && e->status)
			return -1;
		if (run.data && !k->flat)
			run.file_offset = at;
		rc = run.data ? fn(arg, &run) : 0;
		if (rc)
			return rc;
		at = descriptor(k, n++).offset;
		if (at < behind || at - behind > RELEASE_EVERY) {
			if (at > behind)
				source_release(k->src, behind, at - behind);
			behind = at;
		}
	}
	return 0;
}

/* -- patches ------------------------------------------------------------------- */

/* The descriptor's number of a page; false where it is not in the dump. */
static bool number(const struct kdump *k, uint64_t gpa, uint64_t *n)
{
	uint64_t pfn = gpa / PAGE;

	if (pfn >= k->bits || !(k->bitmap[pfn / 8] >> pfn % 8 & 1))
		return false;
	*n = count_bits(k->bitmap, 0, pfn);
	return true;
}

static enum nst_status place(struct container *c,
			     const struct container_patch *p,
			     container_put_fn *put, void *arg,
			     struct nst_error *e)
{
	const struct kdump *k = c->priv;
	uint8_t buf[PAGE];
	uint64_t n, at;

	if (k->flat)
		return nst_fail(e, NST_BAD_INPUT, "a flattened kdump cannot be "
				"changed in place: write a new file with -o");
	if (p->kind != PATCH_RAM || !number(k, p->gpa, &n))
		return nst_fail(e, NST_BAD_INPUT, "page 0x%llx is not in the "
				"dump", (unsigned long long)p->gpa);
	if (!page(k, n, p->gpa / PAGE, buf, &at, e))
		return e->status ? e->status :
			nst_fail(e, NST_BAD_INPUT, "a page that was lost");
	if (at == NONE)
		return nst_fail(e, NST_BAD_INPUT, "page 0x%llx is compressed: "
				"write a new file with -o",
				(unsigned long long)p->gpa);
	return put(arg, at, p->data, PAGE, e);
}

static void plain_descriptor(const struct kdump *k, uint64_t n, uint64_t at,
			     uint8_t *d)
{
	uint32_t size = PAGE, flags = 0;

	memcpy(d, source_at(k->src, k->desc_at + n * DESC, DESC), DESC);
	memcpy(d, &at, 8);
	memcpy(d + 8, &size, 4);
	memcpy(d + 12, &flags, 4);
}

static enum nst_status flat_record(int fd, uint64_t *out, uint64_t to,
				   const void *data, uint64_t len,
				   struct nst_error *e)
{
	uint8_t h[16];
	enum nst_status st;

	be_put(h, to, 8);
	be_put(h + 8, data ? len : NONE, 8);
	st = outfile_pwrite(fd, h, 16, *out, e);
	*out += 16;
	if (!st && data)
		st = outfile_pwrite(fd, data, len, *out, e);
	*out += data ? len : 0;
	return st;
}

static enum nst_status rewrite(struct container *c, int fd,
			       const struct container_patch *p, size_t n,
			       struct nst_error *e)
{
	const struct kdump *k = c->priv;
	uint64_t end = (source_size(k->src) + PAGE - 1) & ~(PAGE - 1ull);
	uint64_t out = k->last_record, index;
	enum nst_status st = fd == source_fd(c->src) ? NST_OK :
		outfile_clone(source_fd(c->src), fd, e);

	for (size_t i = 0; !st && i < n; i++, end += PAGE) {
		uint8_t d[DESC];

		if (p[i].kind != PATCH_RAM || !number(k, p[i].gpa, &index))
			return nst_fail(e, NST_BAD_INPUT, "page 0x%llx is not in "
					"the dump", (unsigned long long)p[i].gpa);
		plain_descriptor(k, index, end, d);
		uint64_t at = k->desc_at + index * DESC;
		if (k->flat) {
			st = flat_record(fd, &out, end, p[i].data, PAGE, e);
			if (!st)
				st = flat_record(fd, &out, at, d, DESC, e);
			continue;
		}
		st = outfile_pwrite(fd, p[i].data, PAGE, end, e);
		if (!st)
			st = outfile_pwrite(fd, d, DESC, at, e);
	}
	if (!st && k->flat)
		st = flat_record(fd, &out, NONE, NULL, 0, e);
	if (!st && k->flat && ftruncate(fd, (off_t)out))
		st = nst_fail(e, NST_SYSTEM, "cannot write: %s",
			      strerror(errno));
	return st;
}

static enum nst_status load(struct container *c, struct snapshot *s,
			    struct nst_error *e)
{
	(void)e;
	dump_load(&((struct kdump *)c->priv)->cpus, s, c->ops->kind);
	return NST_OK;
}

static void close_kdump(struct container *c)
{
	struct kdump *k = c->priv;

	if (!k)
		return;
	if (k->flat)
		source_close(k->src);
	dump_cpus_free(&k->cpus);
	free(k);
}

const struct container_ops reader_kdump = {
	.kind = "kdump", .probe = probe, .open = open_kdump,
	.walk_part = walk_part, .load = load, .place = place,
	.rewrite = rewrite, .rewrites_own = true, .close = close_kdump,
};
