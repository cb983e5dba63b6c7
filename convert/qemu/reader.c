/* reader.c: the reader of bare migration streams, and what all files that hold a
 * stream share: vCPUs, nested states, patches, rewriting. */
#include "convert/qemu/stream.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "convert/outfile.h"
#include "convert/pieces.h"
#include "convert/readers.h"
#include "layouts/vmcs.h"

#define NONE 0xffffffffffffffffull
#define MAX_VCPUS 4096u

/* -- vCPUs and nested states --------------------------------------------------- */

static uint32_t count_cpus(const struct qstream *q)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < q->nsections; i++)
		n += !strcmp(q->section[i].name, "cpu");
	return n;
}

/* The n-th section of that name, or NULL. */
static const struct qsection *nth(const struct qstream *q, const char *name,
				  uint32_t n)
{
	for (uint32_t i = 0; i < q->nsections; i++)
		if (!strcmp(q->section[i].name, name) && !n--)
			return &q->section[i];
	return NULL;
}

static enum nst_status load_vcpu(struct qstream *q, uint32_t i,
				 struct snapshot_vcpu *v, struct qnested *n,
				 char *ignored, size_t len, struct nst_error *e)
{
	const struct qsection *cpu = nth(q, "cpu", i), *apic = nth(q, "apic", i);
	enum nst_status st = qcpu_load(q, cpu, v, n, ignored, len, e);

	if (!st && apic)
		qdev_apic(q, apic, v);
	return st;
}

static void fill_vcpu(struct container_vcpu *to, const struct snapshot_vcpu *v)
{
	*to = (struct container_vcpu){
		.has_regs = true, .rip = v->regs.rip, .rsp = v->regs.rsp,
		.cr0 = v->sregs.cr0, .cr3 = v->sregs.cr3, .cr4 = v->sregs.cr4,
		.efer = v->sregs.efer,
	};
}

static enum nst_status fill_one(struct container *c, struct qstream *q,
				uint32_t i, struct snapshot *s,
				struct qnested *n, struct nst_error *e)
{
	char ignored[256] = "";
	enum nst_status st = load_vcpu(q, i, &s->vcpu[0], n, ignored,
				       sizeof ignored, e);

	if (st)
		return st;
	fill_vcpu(&c->vcpus[i], &s->vcpu[0]);
	if (ignored[0])
		container_detail(c, "vCPU %u: not carried over: %s", i, ignored);
	if (n->size && !container_add_state(c, (int)i, n->data, n->size, NONE))
		return nst_fail(e, NST_SYSTEM, "out of memory");
	return NST_OK;
}

static enum nst_status fill_vcpus(struct container *c, struct qstream *q,
				  struct nst_error *e)
{
	uint32_t n = count_cpus(q);
	struct qnested *nested = malloc(sizeof *nested);
	enum nst_status st = NST_OK;

	if (n > MAX_VCPUS)
		st = nst_fail(e, NST_BAD_INPUT, "%u cpu sections", n);
	else if (!nested || !container_set_vcpus(c, n))
		st = nst_fail(e, NST_SYSTEM, "out of memory");
	for (uint32_t i = 0; !st && i < n; i++) {
		struct snapshot *s = snapshot_new(1);

		st = s ? fill_one(c, q, i, s, nested, e) :
			nst_fail(e, NST_SYSTEM, "out of memory");
		snapshot_free(s);
	}
	free(nested);
	return st;
}

static int by_gpa(const void *a, const void *b)
{
	const struct qrange *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

enum nst_status qcontainer_fill(struct container *c, struct qstream *q,
				bool plain_file, struct nst_error *e)
{
	(void)plain_file;
	qsort(q->range, q->nranges, sizeof *q->range, by_gpa);
	for (uint32_t i = 0; i < q->nranges; i++)
		if (!container_add_ram(c, q->range[i].gpa, q->range[i].size))
			return nst_fail(e, NST_SYSTEM, "out of memory");
	snprintf(c->note, sizeof c->note, "%s%s", q->machine[0] ? q->machine :
		 "machine type 2.3 or older", q->ignore_shared && !q->nranges ?
		 ", its RAM is in another file (x-ignore-shared)" : "");
	/* Nothing tells a page that a balloon made free from one that went over
	 * another channel, unless the stream speaks of such channels. */
	if (q->unseen)
		container_detail(c, "RAM: %llu pages at least have no record%s",
				 (unsigned long long)q->unseen,
				 q->flushes ? ": they went over other channels "
				 "(multifd); name captures of all with --multifd" :
				 " (free in a balloon, or sent over other channels: "
				 "see --multifd)");
	return fill_vcpus(c, q, e);
}

enum nst_status qcontainer_load(struct qstream *q, struct snapshot *s,
				struct nst_error *e)
{
	struct qnested *n = malloc(sizeof *n);
	char ignored[8] = "";
	enum nst_status st = n ? NST_OK : nst_fail(e, NST_SYSTEM,
						   "out of memory");

	for (uint32_t i = 0; !st && i < s->nvcpus && nth(q, "cpu", i); i++) {
		struct snapshot_vcpu *v = &s->vcpu[i];

		st = load_vcpu(q, i, v, n, ignored, sizeof ignored, e);
		if (st || !n->size)
			continue;
		v->nested = malloc(n->size);
		if (!v->nested) {
			st = nst_fail(e, NST_SYSTEM, "out of memory");
			continue;
		}
		memcpy(v->nested, n->data, n->size);
		v->nested_size = n->size;
		v->have |= 1u << SN_NESTED;
	}
	free(n);
	if (!st) {
		qdev_vm(q, s);
		qdev_absent(q, s);
	}
	if (!st && asprintf(&s->origin, "container=QEMU migration stream\n"
			    "machine=%s\n", q->machine) < 0) {
		s->origin = NULL;
		st = nst_fail(e, NST_SYSTEM, "out of memory");
	}
	return st;
}

/* -- patches ------------------------------------------------------------------- */

/* Where the pages of the state'th nested state stand. */
static enum nst_status place_state(struct container *c, struct qstream *q,
				   const struct container_patch *p,
				   container_put_fn *put, void *arg,
				   struct nst_error *e)
{
	const struct container_state *st = &c->states[p->state];
	struct snapshot *s = snapshot_new(1);
	struct qnested *n = malloc(sizeof *n);
	char ignored[8] = "";
	enum nst_status status = s && n ? load_vcpu(q, (uint32_t)st->vcpu,
		&s->vcpu[0], n, ignored, sizeof ignored, e) :
		nst_fail(e, NST_SYSTEM, "out of memory");
	uint64_t skip = n && le_at(n->data + 2, 2) ? 8 : 0;

	for (int i = 0; !status && i < 2; i++)
		if (n->page[i] && !skip)
			status = put(arg, n->page[i], p->data + 128 + 4096 * i,
				     4096, e);
	snapshot_free(s);
	free(n);
	return status;
}

enum nst_status qcontainer_place(struct container *c, struct qstream *q,
				 const struct container_patch *p,
				 container_put_fn *put, void *arg,
				 struct nst_error *e)
{
	uint32_t block;
	uint64_t page, at;
	uint8_t buf[4096];

	if (p->kind == PATCH_STATE)
		return place_state(c, q, p, put, arg, e);
	if (!qram_find(q, p->gpa, &block, &page))
		return nst_fail(e, NST_BAD_INPUT, "page 0x%llx is not in the RAM "
				"of this file", (unsigned long long)p->gpa);
	if (!qram_page(q, block, page, buf, &at, e))
		return e->status;
	if (!at || at == NONE) {
		nst_fail(e, NST_BAD_INPUT, "page 0x%llx is stored as a compressed, "
			 "delta or fill record or in another file, which cannot "
			 "be changed in place: write a new file with -o",
			 (unsigned long long)p->gpa);
		return NST_NO;
	}
	return put(arg, at, p->data, 4096, e);
}

/* -- rewriting ----------------------------------------------------------------- */

struct rewrite {
	struct pieces pieces;
	uint8_t *insert;       /* records */
	size_t insert_len;
	uint64_t insert_at;
	bool own_section;      /* they need a section of their own */
};

/* A plain record that comes after all others: the last one counts. */
static enum nst_status add_record(struct qstream *q, struct rewrite *w,
				  const struct container_patch *p,
				  struct nst_error *e)
{
	uint32_t block;
	uint64_t page;
	size_t name;
	uint8_t *r;

	if (!qram_find(q, p->gpa, &block, &page) || q->mapped_ram)
		return nst_fail(e, NST_BAD_INPUT, "no place for page 0x%llx",
				(unsigned long long)p->gpa);
	if (qram_races(q, block, page) && q->multifd)
		return nst_fail(e, NST_BAD_INPUT, "page 0x%llx came over a "
				"channel last of all: QEMU might take it instead "
				"of a converted one", (unsigned long long)p->gpa);
	name = strlen(q->block[block].name);
	w->own_section |= qram_races(q, block, page);
	r = realloc(w->insert, w->insert_len + 9 + name + 4096);
	if (!r)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	w->insert = r;
	r += w->insert_len;
	be_put(r, page * 4096 | 8, 8);
	r[8] = (uint8_t)name;
	memcpy(r + 9, q->block[block].name, name);
	memcpy(r + 9 + name, p->data, 4096);
	w->insert_len += 9 + name + 4096;
	return NST_OK;
}

/* The records go before the mark that ends the last RAM section, or, in one more
 * section, behind it. */
static enum nst_status finish_insert(struct qstream *q, struct rewrite *w,
				     struct nst_error *e)
{
	unsigned footer = q->footers ? 5 : 0;
	uint8_t *r;

	w->insert_at = q->ram_eos;
	if (!w->own_section)
		return NST_OK;
	w->insert_at = q->ram_eos + 8 + footer;
	r = malloc(5 + w->insert_len + 8 + footer);
	if (!r)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	r[0] = 3; /* END, as the one before */
	be_put(r + 1, q->ram_id, 4);
	memcpy(r + 5, w->insert, w->insert_len);
	be_put(r + 5 + w->insert_len, 0x10, 8);
	if (footer) {
		r[13 + w->insert_len] = 0x7e;
		be_put(r + 14 + w->insert_len, q->ram_id, 4);
	}
	free(w->insert);
	w->insert = r;
	w->insert_len += 13 + footer;
	return NST_OK;
}

/* Makes room in the file itself: what is behind moves, the end first. */
static enum nst_status shift_tail(struct qstream *q, uint64_t from, uint64_t by,
				  struct nst_error *e)
{
	uint64_t at = source_size(q->src);
	uint8_t buf[65536];
	enum nst_status st = NST_OK;

	while (!st && at > from) {
		size_t n = at - from < sizeof buf ? at - from : sizeof buf;

		at -= n;
		memcpy(buf, source_at(q->src, at, n), n);
		st = outfile_pwrite(source_fd(q->src), buf, n, at + by, e);
	}
	return st;
}

static enum nst_status write_pieces(struct qstream *q, const struct rewrite *w,
				    int fd, struct nst_error *e)
{
	uint64_t size = source_size(q->src), cut = w->insert_at;
	int src = source_fd(q->src);
	enum nst_status st = NST_OK;

	if (fd == src && w->insert_len) {
		st = shift_tail(q, cut, w->insert_len, e);
	} else if (fd != src && !w->insert_len) {
		st = outfile_clone(src, fd, e);
	} else if (fd != src) {
		st = outfile_copy(src, 0, cut, fd, 0, e);
		if (!st)
			st = outfile_copy(src, cut, size - cut, fd,
					  cut + w->insert_len, e);
	}
	if (!st && w->insert_len)
		st = outfile_pwrite(fd, w->insert, w->insert_len, cut, e);
	for (size_t i = 0; !st && i < w->pieces.n; i++) {
		const struct window_piece *p = &w->pieces.v[i];

		st = outfile_pwrite(fd, p->data, p->len, p->at +
				    (p->at >= cut ? w->insert_len : 0), e);
	}
	return st;
}

static bool any_ram(const struct container_patch *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (p[i].kind == PATCH_RAM)
			return true;
	return false;
}

enum nst_status qcontainer_rewrite(struct container *c, struct qstream *q,
				   int fd, const struct container_patch *p, size_t n,
				   struct nst_error *e)
{
	struct rewrite w = { 0 };
	enum nst_status st = NST_OK;

	if (q->flushes && q->unseen && !q->multifd && any_ram(p, n))
		return nst_fail(e, NST_BAD_INPUT, "a part of its RAM went over "
				"other channels (multifd): name captures of all "
				"with --multifd, or leave RAM alone with "
				"--only-current");
	for (size_t i = 0; !st && i < n; i++) {
		st = qcontainer_place(c, q, &p[i], pieces_add, &w.pieces, e);
		if (st == NST_NO)
			st = add_record(q, &w, &p[i], e);
	}
	if (!st)
		st = finish_insert(q, &w, e);
	if (!st)
		st = source_passes(q->src) ?
			pieces_recode(&w.pieces, q->src, w.insert, w.insert_len,
				      w.insert_at, &c->options.progress, fd, e) :
			write_pieces(q, &w, fd, e);
	pieces_free(&w.pieces);
	free(w.insert);
	return st;
}

/* -- bare streams -------------------------------------------------------------- */

static int probe(const uint8_t *head, size_t len, uint64_t size)
{
	(void)size;
	return qstream_is(head, len) ? 95 : 0;
}

static enum nst_status open_stream(struct container *c, struct nst_error *e)
{
	struct qstream *q = calloc(1, sizeof *q);
	enum nst_status st;

	if (!q)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	c->priv = q;
	q->index.fd = q->index.spool = -1;
	if (source_passes(c->src) && c->options.nmultifd)
		return container_give_up(c, e);
	st = qmultifd_open(q, c->options.multifd, c->options.nmultifd, e);
	if (!st)
		st = qstream_open(q, c->src, false, 0, &c->options, e);
	c->gave_up = q->gave_up;
	return st ? st : qcontainer_fill(c, q, true, e);
}

static int walk_part(struct container *c, uint32_t part, uint32_t parts,
		     container_run_fn *fn, void *arg, struct nst_error *e)
{
	return qram_walk(c->priv, part, parts, true, fn, arg, e);
}

static enum nst_status load(struct container *c, struct snapshot *s,
			    struct nst_error *e)
{
	return qcontainer_load(c->priv, s, e);
}

static enum nst_status place(struct container *c,
			     const struct container_patch *p,
			     container_put_fn *put, void *arg,
			     struct nst_error *e)
{
	enum nst_status st = qcontainer_place(c, c->priv, p, put, arg, e);

	return st == NST_NO ? NST_BAD_INPUT : st;
}

static enum nst_status rewrite(struct container *c, int fd,
			       const struct container_patch *p, size_t n,
			       struct nst_error *e)
{
	return qcontainer_rewrite(c, c->priv, fd, p, n, e);
}

static void close_stream(struct container *c)
{
	if (c->priv)
		qstream_close(c->priv);
	free(c->priv);
}

const struct container_ops reader_qemu = {
	.kind = "QEMU migration stream", .probe = probe, .open = open_stream,
	.walk_part = walk_part, .load = load, .place = place,
	.rewrite = rewrite, .rewrites_own = true, .passes = true,
	.close = close_stream,
};
