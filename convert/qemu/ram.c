/* ram.c: guest RAM in a stream: the block list, the page records, and an index
 * of each page's last record, which alone counts. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <zlib.h>

#include "convert/outfile.h"
#include "convert/qemu/stream.h"

#define PAGE 4096u
#define NONE 0xffffffffffffffffull
#define MAX_RAM (1ull << 46)
/* An index over this is kept in a temporary file and dropped from memory every
 * so many records: 8 bytes a page would else grow with the guest. */
#define INDEX_IN_MEMORY (16u << 20)
#define DROP_EVERY 8192u
/* How far a pass goes before what lies behind is let go of. */
#define RELEASE_EVERY (2ull << 20)

enum {
	F_ZERO = 0x02, F_MEM_SIZE = 0x04, F_PAGE = 0x08, F_EOS = 0x10,
	F_CONTINUE = 0x20, F_XBZRLE = 0x40, F_HOOK = 0x80, F_COMPRESS = 0x100,
	F_MULTIFD_FLUSH = 0x200,
};

static enum nst_status bad(struct nst_error *e, uint64_t at, const char *what)
{
	return nst_fail(e, NST_BAD_INPUT, "RAM of the stream: %s at byte 0x%llx",
			what, (unsigned long long)at);
}

static enum nst_status cut(struct nst_error *e, const struct cursor *c)
{
	return nst_fail(e, NST_BAD_INPUT, "the stream is cut in RAM, after byte "
			"0x%llx", (unsigned long long)c->at);
}

/* Only plain pages can be read in passing. */
static enum nst_status give_up(struct qstream *q, struct nst_error *e)
{
	q->gave_up = true;
	return nst_fail(e, NST_BAD_INPUT, "the stream cannot be read in passing");
}

/* -- the index ----------------------------------------------------------------- */

static enum nst_status index_make(struct qstream *q, struct nst_error *e)
{
	struct qindex *x = &q->index;
	size_t bytes = (size_t)x->npages * 8;
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;

	if (!x->npages)
		return NST_OK;
	x->touched = calloc(x->npages / 512 / 64 + 1, 8);
	if (!x->touched)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	if (bytes > INDEX_IN_MEMORY) {
		x->fd = outfile_spool(e);
		if (x->fd < 0)
			return NST_SYSTEM;
		if (ftruncate(x->fd, (off_t)bytes))
			return nst_fail(e, NST_SYSTEM, "temporary file: %s",
					strerror(errno));
		flags = MAP_SHARED;
	}
	x->entry = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, x->fd, 0);
	if (x->entry == MAP_FAILED) {
		x->entry = NULL;
		return nst_fail(e, NST_SYSTEM, "no memory for an index of %llu "
				"pages", (unsigned long long)x->npages);
	}
	return NST_OK;
}

static void index_drop(struct qindex *x)
{
	if (x->fd >= 0 && ++x->since_drop >= DROP_EVERY) {
		madvise(x->entry, x->npages * 8, MADV_DONTNEED);
		x->since_drop = 0;
	}
}

static bool index_touched(const struct qindex *x, uint64_t page)
{
	return x->touched[page / 512 / 64] >> (page / 512 % 64) & 1;
}

static void index_set(struct qindex *x, uint64_t page, enum qpage kind,
		      uint64_t position)
{
	uint64_t v = (uint64_t)kind << 56 | position;

	/* Zero is what a page without a record is too. */
	if (kind == Q_FILL && !position) {
		if (!index_touched(x, page))
			return;
		v = 0;
	}
	x->touched[page / 512 / 64] |= 1ull << (page / 512 % 64);
	x->entry[page] = v;
	index_drop(x);
}

void qram_close(struct qstream *q)
{
	struct qindex *x = &q->index;

	if (x->entry)
		munmap(x->entry, x->npages * 8);
	free(x->touched);
	if (x->fd >= 0)
		close(x->fd);
	if (x->spool >= 0)
		close(x->spool);
	x->fd = x->spool = -1;
}

/* -- the block list ------------------------------------------------------------ */

/* Postcopy adds the size of huge pages without saying so: a name's length is
 * never 0, that number's first byte always is. */
static void skip_hugepage_size(struct qstream *q, struct cursor *c, bool more)
{
	if (q->postcopy && more && cur_has(c, 8) && !c->p[c->at] &&
	    be_at(c->p + c->at, 8) % PAGE == 0)
		cur_skip(c, 8);
}

static enum nst_status mapped_header(struct cursor *c, struct qblock *b,
				     struct nst_error *e)
{
	uint64_t at = c->at, npages = b->length / PAGE;

	if (cur_be(c, 4) != 1 && !c->cut)
		return bad(e, at, "unknown version of a mapped-ram block");
	if (cur_be(c, 8) != PAGE && !c->cut)
		return bad(e, at, "a page size other than 4096");
	b->bitmap = cur_be(c, 8);
	b->pages = cur_be(c, 8);
	if (c->cut)
		return cut(e, c);
	if (b->bitmap > c->end || (npages + 63) / 64 * 8 > c->end - b->bitmap ||
	    b->bitmap < at || b->pages < b->bitmap || b->pages % PAGE)
		return bad(e, at, "a mapped-ram block with impossible offsets");
	/* The file ends with the last page that is there, in a cut one. */
	if (b->pages > c->end || b->length > c->end - b->pages)
		return bad(e, at, "a mapped-ram block that ends beyond the file");
	c->at = b->pages + b->length;
	return NST_OK;
}

static enum nst_status one_block(struct qstream *q, struct cursor *c,
				 uint64_t *left, struct nst_error *e)
{
	struct qblock *b = &q->block[q->nblocks];
	uint64_t at = c->at;
	enum nst_status st = NST_OK;

	if (q->nblocks == Q_MAX_BLOCKS)
		return bad(e, at, "too many RAM blocks");
	cur_name(c, b->name);
	b->length = cur_be(c, 8);
	if (c->cut)
		return cut(e, c);
	if (!b->name[0] || b->length % PAGE || b->length > *left)
		return bad(e, at, "a RAM block of impossible size");
	*left -= b->length;
	skip_hugepage_size(q, c, true);
	if (q->ignore_shared)
		cur_be(c, 8);
	if (q->mapped_ram)
		st = source_passes(q->src) ? give_up(q, e) :
			mapped_header(c, b, e);
	b->first = q->index.npages;
	q->index.npages += b->length / PAGE;
	q->nblocks++;
	return st;
}

enum nst_status qram_start(struct qstream *q, struct cursor *c,
			   struct nst_error *e)
{
	uint64_t at = c->at, word = cur_be(c, 8), left = word & ~0xfffull;
	enum nst_status st;

	if (c->cut)
		return cut(e, c);
	if ((word & 0xfff) != F_MEM_SIZE || left > MAX_RAM)
		return bad(e, at, "no list of blocks");
	while (left) {
		st = one_block(q, c, &left, e);
		if (st)
			return st;
	}
	st = q->mapped_ram ? NST_OK : index_make(q, e);
	return st ? st : qram_records(q, c, e);
}

/* -- records ------------------------------------------------------------------- */

static bool inflate_page(const uint8_t *in, uint32_t len, uint8_t *out)
{
	uLongf n = PAGE;

	return uncompress(out, &n, in, len) == Z_OK && n == PAGE;
}

/* Applies XBZRLE's delta to page. */
static bool xbzrle(const uint8_t *p, uint32_t len, uint8_t *page)
{
	uint32_t i = 0, out = 0;
	bool literal = false;

	while (i < len) {
		uint32_t n = p[i++];

		if (n & 0x80) {
			if (i == len || p[i] & 0x80)
				return false;
			n = (n & 0x7f) | (uint32_t)p[i++] << 7;
		}
		if (!n && out) /* only the first run of zeros may be empty */
			return false;
		if (n > PAGE - out || (literal && n > len - i))
			return false;
		if (literal) {
			memcpy(page + out, p + i, n);
			i += n;
		}
		out += n;
		literal = !literal;
	}
	return true;
}

/* A page by its index entry, into buf or in place. */
static const uint8_t *fetch(struct qstream *q, uint64_t number, uint8_t *buf,
			    uint64_t *at, struct nst_error *e)
{
	uint64_t v = index_touched(&q->index, number) ?
		q->index.entry[number] : 0;
	uint64_t pos = v & ((1ull << 56) - 1);

	*at = NONE;
	switch ((enum qpage)(v >> 56)) {
	case Q_PLAIN:
		*at = pos;
		return source_at(q->src, pos, PAGE);
	case Q_FILL:
		return memset(buf, (int)pos, PAGE);
	case Q_ZLIB:
		if (inflate_page(source_at(q->src, pos + 4, 0),
				 (uint32_t)be_at(source_at(q->src, pos, 4), 4),
				 buf))
			return buf;
		bad(e, pos, "a page that does not decompress");
		return NULL;
	case Q_KEPT:
		*at = pos;
		/* fall through */
	case Q_SPOOLED:
		return outfile_pread(q->index.spool, buf, PAGE, number * PAGE,
				     e) ? NULL : buf;
	case Q_GONE:
		nst_fail(e, NST_SYSTEM, "the page at byte 0x%llx was not kept",
			 (unsigned long long)pos);
		return NULL;
	case Q_NONE:
		break;
	}
	*at = 0;
	return memset(buf, 0, PAGE);
}

/* sync: 0, or how often the channels had been awaited when it came over one. */
static enum nst_status spool_page(struct qstream *q, uint64_t number,
				  const uint8_t *page, uint64_t sync,
				  struct nst_error *e)
{
	if (q->index.spool < 0)
		q->index.spool = outfile_spool(e);
	if (q->index.spool < 0)
		return NST_SYSTEM;
	index_set(&q->index, number, Q_SPOOLED, sync);
	return outfile_pwrite(q->index.spool, page, PAGE, number * PAGE, e);
}

/* A plain page of a source that passes. */
static enum nst_status sift(struct qstream *q, uint64_t number, uint64_t at,
			    const uint8_t *page, struct nst_error *e)
{
	enum nst_status st;

	if (!q->options->sieve(page)) {
		index_set(&q->index, number, Q_GONE, at);
		return NST_OK;
	}
	st = spool_page(q, number, page, 0, e);
	index_set(&q->index, number, Q_KEPT, at);
	return st;
}

static enum nst_status take_xbzrle(struct qstream *q, struct cursor *c,
				   uint64_t number, struct nst_error *e)
{
	uint64_t start = c->at, at;
	uint8_t buf[PAGE];
	const uint8_t *delta, *old;
	uint32_t len;

	if (cur_be(c, 1) != 1 && !c->cut)
		return bad(e, start, "an XBZRLE record of unknown form");
	len = (uint32_t)cur_be(c, 2);
	delta = cur_take(c, len);
	if (!delta)
		return cut(e, c);
	old = fetch(q, number, buf, &at, e);
	if (!old)
		return e->status;
	if (old != buf)
		memcpy(buf, old, PAGE);
	if (!xbzrle(delta, len, buf))
		return bad(e, start, "a damaged XBZRLE record");
	return spool_page(q, number, buf, 0, e);
}

static int block_by_name(const struct qstream *q, const char *name)
{
	for (uint32_t i = 0; i < q->nblocks; i++)
		if (!strcmp(q->block[i].name, name))
			return (int)i;
	return -1;
}

bool qram_number(struct qstream *q, const char *block, uint64_t offset,
		 uint64_t *number)
{
	int i = block_by_name(q, block);

	if (i < 0 || q->mapped_ram || offset % PAGE ||
	    offset >= q->block[i].length)
		return false;
	q->block[i].seen = true;
	q->block[i].records++;
	*number = q->block[i].first + offset / PAGE;
	return true;
}

enum nst_status qram_put(struct qstream *q, uint64_t number,
			 const uint8_t *page, struct nst_error *e)
{
	if (page)
		return spool_page(q, number, page, q->syncs + 1, e);
	index_set(&q->index, number, Q_FILL, 0);
	return NST_OK;
}

static enum nst_status take_zlib(struct qstream *q, struct cursor *c,
				 uint64_t number, struct nst_error *e)
{
	uint64_t at = c->at;
	uint32_t len = (uint32_t)cur_be(c, 4);

	if (len > 2 * PAGE)
		return bad(e, at, "a compressed page of impossible size");
	if (!cur_skip(c, len))
		return cut(e, c);
	index_set(&q->index, number, Q_ZLIB, at);
	return NST_OK;
}

static enum nst_status take_page(struct qstream *q, struct cursor *c,
				 uint64_t word, struct nst_error *e)
{
	uint64_t start = c->at - 8, at, number;
	const uint8_t *page;
	char name[256];
	struct qblock *b;

	if (!(word & F_CONTINUE)) {
		cur_name(c, name);
		if (c->cut)
			return cut(e, c);
		q->last_block = block_by_name(q, name);
	}
	if (q->last_block < 0)
		return bad(e, start, "a page of an unknown block");
	b = &q->block[q->last_block];
	if ((word & ~0xfffull) >= b->length || q->mapped_ram)
		return bad(e, start, "a page outside its block");
	number = b->first + (word & ~0xfffull) / PAGE;
	b->seen = true;
	b->records++;
	at = c->at;
	switch (word & 0xfff & ~F_CONTINUE) {
	case F_PAGE:
		page = cur_take(c, PAGE);
		if (!page)
			return cut(e, c);
		if (source_passes(q->src))
			return sift(q, number, at, page, e);
		index_set(&q->index, number, Q_PLAIN, at);
		return NST_OK;
	case F_ZERO:
		index_set(&q->index, number, Q_FILL, cur_be(c, 1));
		return c->cut ? cut(e, c) : NST_OK;
	case F_XBZRLE:
		return source_passes(q->src) ? give_up(q, e) :
			take_xbzrle(q, c, number, e);
	case F_COMPRESS:
		return source_passes(q->src) ? give_up(q, e) :
			take_zlib(q, c, number, e);
	}
	return bad(e, start, "a record with unknown flags");
}

/* Pages that are sent twice do not count as more than all. */
static void tell(const struct qstream *q)
{
	const struct container_progress *p = &q->options->progress;
	uint64_t all = q->index.npages * PAGE, done = q->records * PAGE;

	if (p->tell)
		p->tell(p->arg, done < all ? done : all, all);
}

enum nst_status qram_records(struct qstream *q, struct cursor *c,
			     struct nst_error *e)
{
	if (!q->released)
		q->released = c->at;
	for (;;) {
		uint64_t at = c->at, word = cur_be(c, 8);
		enum nst_status st;

		if (c->cut)
			return cut(e, c);
		q->records++;
		if ((word & 0xfff) == F_EOS) {
			q->ram_eos = at;
			/* QEMU before 8.1 awaits its channels here. */
			return q->flushes ? NST_OK : qmultifd_sync(q, e);
		}
		if ((word & 0xfff) == F_MULTIFD_FLUSH) {
			q->flushes = true;
			st = qmultifd_sync(q, e);
			if (st)
				return st;
			continue;
		}
		if (word & F_HOOK)
			return bad(e, at, "an RDMA record, which no file can "
				   "hold,");
		st = take_page(q, c, word, e);
		if (st)
			return st;
		if (c->at - q->released >= RELEASE_EVERY) {
			source_release(q->src, q->released,
				       c->at - q->released);
			q->released = c->at;
			if (source_passes(q->src))
				tell(q);
		}
	}
}

/* -- reading ------------------------------------------------------------------- */

static const uint8_t *mapped_page(struct qstream *q, const struct qblock *b,
				  uint64_t page, uint64_t *at)
{
	const uint8_t *bits = source_at(q->src, b->bitmap + page / 8, 1);

	*at = 0;
	if (!bits || !(*bits >> page % 8 & 1))
		return NULL;
	*at = b->pages + page * PAGE;
	return source_at(q->src, *at, PAGE);
}

const uint8_t *qram_page(struct qstream *q, uint32_t block, uint64_t page,
			 uint8_t *buf, uint64_t *at, struct nst_error *e)
{
	const struct qblock *b = &q->block[block];

	if (!q->mapped_ram)
		return fetch(q, b->first + page, buf, at, e);
	const uint8_t *p = mapped_page(q, b, page, at);
	return p ? p : memset(buf, 0, PAGE);
}

bool qram_races(const struct qstream *q, uint32_t block, uint64_t page)
{
	uint64_t number = q->block[block].first + page;
	uint64_t v = q->mapped_ram || !index_touched(&q->index, number) ? 0 :
		q->index.entry[number];

	uint64_t at = v & ((1ull << 56) - 1);

	return v >> 56 == Q_ZLIB ? at > q->ram_last :
		v >> 56 == Q_SPOOLED && !q->flushes && at && at >= q->syncs;
}

bool qram_find(const struct qstream *q, uint64_t gpa, uint32_t *block,
	       uint64_t *page)
{
	for (uint32_t i = 0; i < q->nranges; i++) {
		const struct qrange *r = &q->range[i];
		if (gpa < r->gpa || gpa - r->gpa >= r->size)
			continue;
		*block = r->block;
		*page = (r->offset + (gpa - r->gpa)) / PAGE;
		return true;
	}
	return false;
}

struct walker {
	struct qstream *q;
	bool plain_file;
	container_run_fn *fn;
	void *arg;
	bool kept;             /* what is plain passed, and is spooled */
	uint64_t behind, passed;
};

static bool is_gone(const struct qstream *q, uint64_t number)
{
	return !q->mapped_ram && index_touched(&q->index, number) &&
		q->index.entry[number] >> 56 == Q_GONE;
}

static int one_page(struct walker *w, const struct qrange *r, uint64_t i,
		    struct nst_error *e)
{
	const struct qblock *b = &w->q->block[r->block];
	uint64_t page = r->offset / PAGE + i, at;
	uint8_t buf[PAGE];
	struct container_run run = { r->gpa + i * PAGE, NULL, PAGE, NONE };

	if (is_gone(w->q, b->first + page))
		return w->fn(w->arg, &run);
	run.data = w->q->mapped_ram ? mapped_page(w->q, b, page, &at) :
		fetch(w->q, b->first + page, buf, &at, e);
	if (!run.data)
		return w->q->mapped_ram ? 0 : -1;
	if (!at)
		return 0;
	if (w->plain_file)
		run.file_offset = at;
	if (!w->kept && at != NONE && (at < w->behind ||
				       at - w->behind >= RELEASE_EVERY)) {
		if (at > w->behind)
			source_release(w->q->src, w->behind, at - w->behind);
		w->behind = at;
	}
	return w->fn(w->arg, &run);
}

/* 512 pages at a time: those that no record touched are passed over. */
static int walk_range(struct walker *w, const struct qrange *r, uint64_t from,
		      uint64_t to, struct nst_error *e)
{
	const struct qindex *x = &w->q->index;
	uint64_t first = w->q->block[r->block].first + r->offset / PAGE;

	for (uint64_t i = from; i < to; i++) {
		int rc;

		if (!w->q->mapped_ram && !index_touched(x, first + i)) {
			i += 511 - (first + i) % 512;
			continue;
		}
		rc = one_page(w, r, i, e);
		if (rc)
			return rc;
		if (x->fd >= 0 && ++w->passed % (1u << 20) == 0)
			madvise(x->entry, x->npages * 8, MADV_DONTNEED);
	}
	return 0;
}

int qram_walk(struct qstream *q, uint32_t part, uint32_t parts, bool plain_file,
	      container_run_fn *fn, void *arg, struct nst_error *e)
{
	struct walker w = { .q = q, .plain_file = plain_file, .fn = fn,
			    .arg = arg, .kept = source_passes(q->src) };
	int rc = 0;

	for (uint32_t i = 0; !rc && i < q->nranges; i++) {
		uint64_t n = q->range[i].size / PAGE;
		rc = walk_range(&w, &q->range[i], n / parts * part,
				part + 1 == parts ? n : n / parts * (part + 1),
				e);
	}
	return rc;
}
