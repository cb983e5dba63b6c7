/* qcow2.c: the reader of a qcow2 image's internal snapshots (savevm): finds the
 * VM state, which is a migration stream scattered over clusters, and gathers it
 * into a temporary file.  Patches go back to the clusters, in place only.
 */
#include "convert/qemu/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "convert/outfile.h"
#include "convert/readers.h"

#define OFFSET_MASK 0x00fffffffffffe00ull
#define COMPRESSED (1ull << 62)
#define ZERO_CLUSTER 1ull
#define NONE 0xffffffffffffffffull
#define MAX_SNAPSHOTS 65536u

enum { INCOMPAT_CORRUPT = 2, INCOMPAT_DATA_FILE = 4, INCOMPAT_EXTENDED = 16 };

struct snap {
	uint64_t l1_at, state_size, disk_size;
	uint32_t l1_size;
	char id[64], name[256];
};

struct qcow {
	struct qstream q;
	unsigned cluster_bits;
	bool extended, zstd;
	struct snap snap;
	uint64_t *cluster;     /* where each cluster of the state stands: file
	                        * offset, or NONE (zero, compressed) */
	uint64_t nclusters;
};

static int probe(const uint8_t *head, size_t len, uint64_t size)
{
	(void)size;
	return len >= 4 && !memcmp(head, "QFI\xfb", 4) ? 95 : 0;
}

static enum nst_status cut(struct nst_error *e, const char *what)
{
	return nst_fail(e, NST_BAD_INPUT, "qcow2: %s lies beyond the end of the "
			"file", what);
}

/* -- the snapshot table -------------------------------------------------------- */

static void text(struct cursor *c, unsigned n, char *buf, size_t room)
{
	const uint8_t *p = cur_take(c, n);
	size_t len = p ? (n < room ? n : room - 1) : 0;

	if (len)
		memcpy(buf, p, len);
	buf[len] = 0;
	for (size_t i = 0; i < len; i++)
		if ((unsigned char)buf[i] < ' ' || buf[i] == 0x7f)
			buf[i] = '?';
}

static void one_snapshot(struct cursor *c, struct snap *s)
{
	unsigned id, name, extra;
	uint64_t start = c->at, extra_at;

	s->l1_at = cur_be(c, 8);
	s->l1_size = (uint32_t)cur_be(c, 4);
	id = (unsigned)cur_be(c, 2);
	name = (unsigned)cur_be(c, 2);
	cur_skip(c, 16);
	s->state_size = cur_be(c, 4);
	extra = (unsigned)cur_be(c, 4);
	extra_at = c->at;
	cur_skip(c, extra);
	if (!c->cut && extra >= 8)
		s->state_size = be_at(c->p + extra_at, 8);
	s->disk_size = !c->cut && extra >= 16 ? be_at(c->p + extra_at + 8, 8) :
		NONE;
	text(c, id, s->id, sizeof s->id);
	text(c, name, s->name, sizeof s->name);
	cur_skip(c, (8 - (c->at - start) % 8) % 8);
}

/* The one that is wanted, or the only one that holds a VM state. */
static enum nst_status choose(struct container *c, struct qcow *w, uint32_t n,
			      uint64_t at, uint64_t disk, struct nst_error *e)
{
	const char *want = c->options.snapshot;
	struct cursor cur = { .p = source_at(c->src, 0, 0), .at = at,
			      .end = source_size(c->src) };
	char names[300] = "";
	unsigned with_state = 0, hits = 0;

	for (uint32_t i = 0; i < n; i++) {
		struct snap s;

		one_snapshot(&cur, &s);
		if (cur.cut)
			return cut(e, "the snapshot table");
		if (!s.state_size)
			continue;
		if (s.disk_size == NONE)
			s.disk_size = disk;
		with_state++;
		size_t len = strlen(names);
		snprintf(names + len, sizeof names - len, "%s%s", len ? ", " : "",
			 s.name);
		if (want ? !strcmp(want, s.name) || !strcmp(want, s.id) : true) {
			w->snap = s;
			hits++;
		}
	}
	if (!with_state)
		return nst_fail(e, NST_BAD_INPUT, "a qcow2 image without the VM "
				"state of any snapshot");
	if (!hits)
		return nst_fail(e, NST_BAD_INPUT, "no snapshot \"%s\"; there are: "
				"%s", want, names);
	if (hits > 1 && !want)
		return nst_fail(e, NST_BAD_INPUT, "%u snapshots hold a VM state "
				"(%s): name one with --snapshot", with_state,
				names);
	return NST_OK;
}

/* -- clusters ------------------------------------------------------------------ */

static bool inflate_cluster(const uint8_t *in, size_t len, bool zstd,
			    uint8_t *out, size_t size)
{
	if (zstd) {
		ZSTD_DCtx *z = ZSTD_createDCtx();
		ZSTD_inBuffer i = { in, len, 0 };
		ZSTD_outBuffer o = { out, size, 0 };
		size_t rc = 1;

		while (z && o.pos < size) {
			size_t before = o.pos;
			rc = ZSTD_decompressStream(z, &o, &i);
			if (ZSTD_isError(rc) || o.pos == before)
				break;
		}
		ZSTD_freeDCtx(z);
		return o.pos == size;
	}
	z_stream z = { .next_in = (Bytef *)(uintptr_t)in, .avail_in = (uInt)len,
		       .next_out = out, .avail_out = (uInt)size };
	if (inflateInit2(&z, -12) != Z_OK)
		return false;
	inflate(&z, Z_FINISH);
	inflateEnd(&z);
	return !z.avail_out;
}

static enum nst_status compressed_cluster(struct container *c, struct qcow *w,
					  uint64_t entry, uint8_t *buf,
					  struct nst_error *e)
{
	unsigned x = 62 - (w->cluster_bits - 8);
	uint64_t at = entry & ((1ull << x) - 1), size = source_size(c->src);
	uint64_t sectors = (entry >> x & ((1ull << (62 - x)) - 1)) + 1;
	uint64_t len = sectors * 512 - at % 512;

	if (at >= size)
		return cut(e, "a compressed cluster");
	if (len > size - at)
		len = size - at;
	return inflate_cluster(source_at(c->src, at, len), len, w->zstd, buf,
			       1u << w->cluster_bits) ? NST_OK :
		nst_fail(e, NST_BAD_INPUT, "qcow2: the compressed cluster at byte "
			 "0x%llx does not decompress", (unsigned long long)at);
}

/* The L2 entry of a virtual offset; 0 where nothing is allocated. */
static enum nst_status lookup(struct container *c, struct qcow *w, uint64_t v,
			      uint64_t *entry, struct nst_error *e)
{
	unsigned shift = w->extended ? 4 : 3;
	unsigned s = 2 * w->cluster_bits - shift;
	uint64_t l1 = v >> s, l2;
	uint64_t index = v >> w->cluster_bits &
		((1ull << (w->cluster_bits - shift)) - 1);
	const uint8_t *p;

	*entry = 0;
	if (l1 >= w->snap.l1_size)
		return cut(e, "the VM state's L1 entry");
	p = source_at(c->src, w->snap.l1_at + 8 * l1, 8);
	if (!p)
		return cut(e, "the snapshot's L1 table");
	l2 = be_at(p, 8) & OFFSET_MASK;
	if (!l2)
		return NST_OK;
	p = source_at(c->src, l2 + (index << shift), 1u << shift);
	if (!p)
		return cut(e, "an L2 table");
	*entry = be_at(p, 8);
	if (w->extended && !(*entry & COMPRESSED) && (uint32_t)be_at(p + 12, 4) !=
	    0xffffffff && be_at(p + 8, 8))
		return nst_fail(e, NST_BAD_INPUT, "qcow2: the VM state uses "
				"subclusters in part, which is not supported");
	if (w->extended && !(*entry & COMPRESSED) && !be_at(p + 8, 8))
		*entry = 0;
	return NST_OK;
}

static enum nst_status one_cluster(struct container *c, struct qcow *w,
				   uint64_t i, uint64_t v, int fd, uint8_t *buf,
				   struct nst_error *e)
{
	uint64_t size = 1ull << w->cluster_bits, entry, at;
	uint64_t left = w->snap.state_size - i * size;
	uint64_t len = left < size ? left : size;
	const uint8_t *p = buf;
	enum nst_status st = lookup(c, w, v + i * size, &entry, e);

	w->cluster[i] = NONE;
	if (st)
		return st;
	at = entry & OFFSET_MASK;
	if (entry & COMPRESSED) {
		st = compressed_cluster(c, w, entry, buf, e);
		if (st)
			return st;
	} else if (!at || (!w->extended && entry & ZERO_CLUSTER)) {
		return NST_OK; /* a hole in the spool reads as zeros */
	} else {
		/* The last cluster may be cut by the end of the file. */
		p = source_at(c->src, at, len);
		if (!p)
			return cut(e, "a cluster of the VM state");
		w->cluster[i] = at;
	}
	return outfile_pwrite(fd, p, len, i * size, e);
}

static enum nst_status gather(struct container *c, struct qcow *w, int fd,
			      struct nst_error *e)
{
	unsigned s = 2 * w->cluster_bits - (w->extended ? 4 : 3);
	uint64_t reach = 1ull << s, v;
	uint8_t *buf;
	enum nst_status st = NST_OK;

	/* Behind the disk, from the next L1 entry on. */
	v = (w->snap.disk_size / reach + !!(w->snap.disk_size % reach)) * reach;
	w->nclusters = (w->snap.state_size >> w->cluster_bits) + 1;
	buf = malloc(1u << w->cluster_bits);
	w->cluster = malloc(w->nclusters * 8);
	if (!buf || !w->cluster || ftruncate(fd, (off_t)w->snap.state_size))
		st = nst_fail(e, NST_SYSTEM, "no room to gather the VM state");
	for (uint64_t i = 0; !st && i << w->cluster_bits < w->snap.state_size;
	     i++)
		st = one_cluster(c, w, i, v, fd, buf, e);
	free(buf);
	return st;
}

/* -- opening ------------------------------------------------------------------- */

static enum nst_status read_header(struct container *c, struct qcow *w,
				   struct nst_error *e)
{
	const uint8_t *h = source_at(c->src, 0, 72);
	uint32_t version = h ? (uint32_t)be_at(h + 4, 4) : 0, n;
	uint64_t incompatible = 0;

	if (!h || (version == 3 && !source_at(c->src, 0, 112)))
		return cut(e, "the header");
	if (version != 2 && version != 3)
		return nst_fail(e, NST_BAD_INPUT, "qcow2 version %u; 2 and 3 are "
				"known", version);
	if (version == 3)
		incompatible = be_at(h + 72, 8);
	if (be_at(h + 32, 4))
		return nst_fail(e, NST_BAD_INPUT, "an encrypted qcow2 image: "
				"decrypt it first (qemu-img convert)");
	if (incompatible & INCOMPAT_CORRUPT)
		return nst_fail(e, NST_BAD_INPUT, "a qcow2 image marked corrupt: "
				"qemu-img check -r all comes first");
	if (incompatible & INCOMPAT_DATA_FILE || incompatible & ~0x1full)
		return nst_fail(e, NST_BAD_INPUT, "a qcow2 image with features "
				"that are not supported (0x%llx)",
				(unsigned long long)incompatible);
	w->cluster_bits = (unsigned)be_at(h + 20, 4);
	if (w->cluster_bits < 9 || w->cluster_bits > 21)
		return nst_fail(e, NST_BAD_INPUT, "qcow2: clusters of 2^%u bytes",
				w->cluster_bits);
	w->extended = incompatible & INCOMPAT_EXTENDED;
	w->zstd = version == 3 && be_at(h + 100, 4) >= 105 && h[104] == 1;
	n = (uint32_t)be_at(h + 60, 4);
	if (n > MAX_SNAPSHOTS)
		return nst_fail(e, NST_BAD_INPUT, "qcow2: %u snapshots", n);
	enum nst_status st = choose(c, w, n, be_at(h + 64, 8), be_at(h + 24, 8),
				    e);
	/* Each cluster of the state has an 8-byte entry in the file. */
	if (!st && (w->snap.state_size >> w->cluster_bits) >
	    source_size(c->src) / 8)
		st = nst_fail(e, NST_BAD_INPUT, "qcow2: a VM state larger than "
			      "the file can hold");
	return st;
}

static enum nst_status open_qcow(struct container *c, struct nst_error *e)
{
	struct qcow *w = calloc(1, sizeof *w);
	struct source *src;
	char machine[128];
	enum nst_status st;
	int fd;

	if (!w)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	c->priv = w;
	w->q.index.fd = w->q.index.spool = -1;
	st = read_header(c, w, e);
	if (st)
		return st;
	fd = outfile_spool(e);
	if (fd < 0)
		return NST_SYSTEM;
	st = gather(c, w, fd, e);
	if (st) {
		close(fd);
		return st;
	}
	st = source_from_fd(fd, &src, e);
	if (!st)
		st = qstream_open(&w->q, src, true, 0, &c->options, e);
	if (!st)
		st = qcontainer_fill(c, &w->q, false, e);
	if (st)
		return st;
	snprintf(machine, sizeof machine, "%.127s", c->note);
	snprintf(c->note, sizeof c->note, "snapshot \"%.80s\" (%.40s), %.80s",
		 w->snap.name, w->snap.id, machine);
	return NST_OK;
}

/* -- walking and patching ------------------------------------------------------ */

static int walk_part(struct container *c, uint32_t part, uint32_t parts,
		     container_run_fn *fn, void *arg, struct nst_error *e)
{
	return qram_walk(&((struct qcow *)c->priv)->q, part, parts, false, fn,
			 arg, e);
}

static enum nst_status load(struct container *c, struct snapshot *s,
			    struct nst_error *e)
{
	return qcontainer_load(&((struct qcow *)c->priv)->q, s, e);
}

struct scatter {
	const struct qcow *w;
	container_put_fn *put;
	void *arg;
};

/* From the stream's positions to the clusters'; a page may straddle two. */
static enum nst_status put_scattered(void *arg, uint64_t at, const uint8_t *data,
				     size_t len, struct nst_error *e)
{
	const struct scatter *s = arg;
	uint64_t size = 1ull << s->w->cluster_bits;
	enum nst_status st = NST_OK;

	while (len && !st) {
		uint64_t in = at % size, n = size - in < len ? size - in : len;
		uint64_t host = s->w->cluster[at / size];

		if (host == NONE)
			return nst_fail(e, NST_BAD_INPUT, "a compressed cluster "
					"cannot be changed in place");
		st = s->put(s->arg, host + in, data, n, e);
		at += n;
		data += n;
		len -= n;
	}
	return st;
}

static enum nst_status place(struct container *c,
			     const struct container_patch *p,
			     container_put_fn *put, void *arg,
			     struct nst_error *e)
{
	struct qcow *w = c->priv;
	struct scatter s = { w, put, arg };
	enum nst_status st = qcontainer_place(c, &w->q, p, put_scattered, &s, e);

	return st != NST_NO ? st :
		nst_fail(e, NST_BAD_INPUT, "page 0x%llx is stored as a compressed, "
			 "delta or fill record, which cannot be changed in an "
			 "image: --only-current leaves it as it is",
			 (unsigned long long)p->gpa);
}

static enum nst_status rewrite(struct container *c, int fd,
			       const struct container_patch *p, size_t n,
			       struct nst_error *e)
{
	(void)c, (void)fd, (void)p, (void)n;
	return nst_fail(e, NST_USAGE, "a qcow2 image is changed in place only "
			"(--in-place, with an undo journal): a copy of a whole "
			"disk is seldom what is wanted");
}

static void close_qcow(struct container *c)
{
	struct qcow *w = c->priv;

	if (!w)
		return;
	qstream_close(&w->q);
	free(w->cluster);
	free(w);
}

const struct container_ops reader_qcow2 = {
	.kind = "qcow2 snapshot", .probe = probe, .open = open_qcow,
	.walk_part = walk_part, .load = load, .place = place,
	.rewrite = rewrite, .close = close_qcow,
};
