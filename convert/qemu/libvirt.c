/* libvirt.c: the reader of libvirt's save images (virsh save, managed save, the
 * memory of external snapshots): a header, the domain's XML, then a migration
 * stream, perhaps compressed by an external program.
 *
 * The header and the XML are copied as they are.
 */
#include "convert/qemu/stream.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "convert/codec.h"
#include "convert/outfile.h"
#include "convert/readers.h"

enum { HEADER = 92, O_VERSION = 16, O_DATA_LEN = 20, O_FORMAT = 28 };

/* The header's format field: which program wrote the stream. */
static const char *const formats[] = {
	"raw", "gzip", "bzip2", "xz", "lzop", "zstd", "sparse",
};
#define NFORMATS (sizeof formats / sizeof *formats)
enum { FORMAT_RAW = 0, FORMAT_SPARSE = 6 };

struct image {
	struct qstream q;
	uint64_t data;         /* where the stream, or its compressed form, is */
	uint32_t format;
	char model[100];       /* the CPU, as the XML names it */
};

static int probe(const uint8_t *head, size_t len, uint64_t size)
{
	(void)size;
	return len >= 16 && (!memcmp(head, "LibvirtQemudSave", 16) ||
			     !memcmp(head, "LibvirtQemudPart", 16)) ? 95 : 0;
}

/* -- the domain's XML, of which only a few words are shown --------------------- */

static bool between(const char *xml, size_t len, const char *open,
		    const char *close, char *buf, size_t room)
{
	const char *p = memmem(xml, len, open, strlen(open)), *q;
	size_t n;

	if (!p)
		return false;
	p += strlen(open);
	q = memmem(p, len - (size_t)(p - xml), close, strlen(close));
	n = q ? (size_t)(q - p) : room;
	if (n >= room || memchr(p, '\n', n))
		return false;
	memcpy(buf, p, n);
	buf[n] = 0;
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)buf[i] < ' ' || buf[i] == 0x7f)
			buf[i] = '?';
	return true;
}

static void describe(struct container *c, const char *xml, size_t len,
		     struct image *m)
{
	char name[100], text[100], machine[128];
	const char *cpu = memmem(xml, len, "<cpu ", 5);
	const char *old = cpu ? memmem(cpu, len - (size_t)(cpu - xml), "<model",
				       6) : NULL;

	if (!between(xml, len, "<name>", "</name>", name, sizeof name))
		strcpy(name, "?");
	if (!old || !between(old, len - (size_t)(old - xml), ">", "</model>",
			     m->model, sizeof m->model))
		strcpy(m->model, cpu && between(cpu, len - (size_t)(cpu - xml),
			"mode='", "'", text, sizeof text) ? text : "?");
	snprintf(machine, sizeof machine, "%.127s", c->note);
	snprintf(c->note, sizeof c->note, "domain %.60s, CPU model %.60s, %.60s, %s",
		 name, m->model, machine, formats[m->format]);
}

/* -- opening ------------------------------------------------------------------- */

static enum nst_status unpack(struct container *c, struct image *m,
			      struct source **out, struct nst_error *e)
{
	const struct codec *codec = codec_by_name(formats[m->format]);
	enum nst_status st;
	int fd;

	*out = NULL;
	if (c->options.sieve) {
		st = source_pass(c->src, m->data, codec, NULL, out, e);
		if (st || *out)
			return st;
	}
	fd = outfile_spool(e);
	if (fd < 0)
		return NST_SYSTEM;
	st = codec_decode_from(codec, c->src, m->data, fd, e);
	if (st) {
		close(fd);
		return st;
	}
	return source_from_fd(fd, out, e);
}

static enum nst_status read_header(struct container *c, struct image *m,
				   struct nst_error *e)
{
	const uint8_t *h = source_need(c->src, HEADER) ?
		source_at(c->src, 0, HEADER) : NULL;
	uint32_t version;

	if (!h)
		return nst_fail(e, NST_BAD_INPUT, "the libvirt header is cut");
	if (!memcmp(h + 12, "Part", 4))
		return nst_fail(e, NST_BAD_INPUT, "an incomplete save image: "
				"libvirt did not finish writing it");
	version = (uint32_t)le_at(h + O_VERSION, 4);
	if (version < 1 || version > 2)
		return nst_fail(e, NST_BAD_INPUT, version >> 24 ? "a save image of "
				"a big-endian host" : "save image version %u; 1 "
				"and 2 are known", version);
	m->data = HEADER + le_at(h + O_DATA_LEN, 4);
	m->format = version == 1 ? 0 : (uint32_t)le_at(h + O_FORMAT, 4);
	if (m->format >= NFORMATS)
		return nst_fail(e, NST_BAD_INPUT, "save image of unknown "
				"compression %u", m->format);
	if (!source_need(c->src, m->data + 1))
		return nst_fail(e, NST_BAD_INPUT, "cut: the stream would begin at "
				"byte %llu", (unsigned long long)m->data);
	return NST_OK;
}

static bool is_packed(const struct image *m)
{
	return m->format != FORMAT_RAW && m->format != FORMAT_SPARSE;
}

static enum nst_status open_image(struct container *c, struct nst_error *e)
{
	struct image *m = calloc(1, sizeof *m);
	struct source *src = c->src;
	enum nst_status st;

	if (!m)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	c->priv = m;
	m->q.index.fd = m->q.index.spool = -1;
	st = read_header(c, m, e);
	/* What is packed twice cannot pass twice; and what is wrong is said when all
	 * of it is there. */
	if (source_passes(c->src) && (st || is_packed(m)))
		return container_give_up(c, e);
	if (!st && is_packed(m))
		st = unpack(c, m, &src, e);
	if (!st)
		st = qstream_open(&m->q, src, is_packed(m),
				  is_packed(m) ? 0 : m->data, &c->options, e);
	c->gave_up = m->q.gave_up;
	if (!st)
		st = qcontainer_fill(c, &m->q, !is_packed(m), e);
	if (st)
		return st;
	const char *xml = (const char *)source_at(c->src, HEADER,
						  m->data - HEADER);
	describe(c, xml, strnlen(xml, m->data - HEADER), m);
	return NST_OK;
}

static int walk_part(struct container *c, uint32_t part, uint32_t parts,
		     container_run_fn *fn, void *arg, struct nst_error *e)
{
	struct image *m = c->priv;

	return qram_walk(&m->q, part, parts, !is_packed(m), fn, arg, e);
}

static enum nst_status load(struct container *c, struct snapshot *s,
			    struct nst_error *e)
{
	struct image *m = c->priv;
	enum nst_status st = qcontainer_load(&m->q, s, e);
	char *text;

	if (st || !strcmp(m->model, "?"))
		return st;
	if (asprintf(&text, "%scpu=%s\n", s->origin, m->model) < 0)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	free(s->origin);
	s->origin = text;
	return NST_OK;
}

/* -- writing ------------------------------------------------------------------- */

static enum nst_status place(struct container *c,
			     const struct container_patch *p,
			     container_put_fn *put, void *arg,
			     struct nst_error *e)
{
	struct image *m = c->priv;
	enum nst_status st;

	if (is_packed(m))
		return nst_fail(e, NST_BAD_INPUT, "a save image compressed with "
				"%s cannot be changed in place: write a new "
				"file with -o", formats[m->format]);
	st = qcontainer_place(c, &m->q, p, put, arg, e);
	return st == NST_NO ? NST_BAD_INPUT : st;
}

/* The changed stream through the same codec. */
static enum nst_status repack(struct image *m, int fd, struct nst_error *e)
{
	int plain = dup(source_fd(m->q.src));
	struct source *s;
	enum nst_status st;

	if (plain < 0)
		return nst_fail(e, NST_SYSTEM, "dup: %s", strerror(errno));
	st = source_from_fd(plain, &s, e); /* once more: it may have grown */
	if (st)
		return st;
	st = codec_encode_from(codec_by_name(formats[m->format]), s,
			       source_size(s), fd, e);
	source_close(s);
	return st;
}

static enum nst_status rewrite(struct container *c, int fd,
			       const struct container_patch *p, size_t n,
			       struct nst_error *e)
{
	struct image *m = c->priv;
	enum nst_status st;

	if (!is_packed(m))
		return qcontainer_rewrite(c, &m->q, fd, p, n, e);
	if (codec_write_all(fd, source_at(c->src, 0, m->data), m->data))
		return nst_fail(e, NST_SYSTEM, "cannot write: %s",
				strerror(errno));
	if (source_passes(m->q.src))
		return qcontainer_rewrite(c, &m->q, fd, p, n, e);
	st = qcontainer_rewrite(c, &m->q, source_fd(m->q.src), p, n, e);
	return st ? st : repack(m, fd, e);
}

static void close_image(struct container *c)
{
	struct image *m = c->priv;

	if (m)
		qstream_close(&m->q);
	free(m);
}

const struct container_ops reader_libvirt = {
	.kind = "libvirt save image", .probe = probe, .open = open_image,
	.walk_part = walk_part, .load = load, .place = place,
	.rewrite = rewrite, .passes = true, .close = close_image,
};
