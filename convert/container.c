/* container.c: recognises a file, opens it with its reader, and writes it back
 * with patches.  Knows no format itself. */
#include "convert/container.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/codec.h"
#include "convert/outfile.h"
#include "convert/pieces.h"
#include "convert/readers.h"
#include "convert/snapshot.h"
#include "convert/source.h"
#include "layouts/vmcs.h"

#define HEAD 65536u

/* In the order of formats.md's detection: magics first, heuristics last. */
static const struct container_ops *const readers[] = {
	&reader_snapshot,
	&reader_libvirt,
	&reader_qemu,
	&reader_qcow2,
	&reader_elf,
	&reader_kdump,
	&reader_lime,
	&reader_chv,
	&reader_crosvm,
	&reader_refused,
	&reader_raw,
	&reader_blob,
};

static const struct container_ops *recognise(struct source *src,
					     const char *kind)
{
	uint64_t size = source_size(src);
	size_t len = size < HEAD ? size : HEAD;
	const uint8_t *head = source_at(src, 0, len);
	const struct container_ops *best = NULL;
	int sure = 0;

	for (size_t i = 0; i < sizeof readers / sizeof *readers; i++) {
		if (kind) {
			if (!strcmp(kind, readers[i]->kind))
				return readers[i];
			continue;
		}
		int p = readers[i]->probe(head, len, size);
		if (p > sure) {
			sure = p;
			best = readers[i];
		}
	}
	return best;
}

/* All that a reader found. */
static void forget_content(struct container *c)
{
	if (c->ops && c->ops->close)
		c->ops->close(c);
	for (uint32_t i = 0; i < c->nstates; i++)
		free(c->states[i].data);
	free(c->states);
	free(c->vcpus);
	free(c->ram);
	c->ops = NULL;
	c->priv = NULL;
	c->states = NULL;
	c->vcpus = NULL;
	c->ram = NULL;
	c->nstates = c->nvcpus = c->nram = 0;
	c->has_ram = false;
	c->ram_bytes = 0;
	c->note[0] = c->details[0] = 0;
}

enum nst_status container_give_up(struct container *c, struct nst_error *e)
{
	c->gave_up = true;
	return nst_fail(e, NST_BAD_INPUT, "cannot be read in passing");
}

static enum nst_status read_container(struct container *c, struct nst_error *e)
{
	bool passes = source_passes(c->src);

	if (!source_need(c->src, 1))
		return source_status(c->src, e) ? e->status :
			nst_fail(e, NST_BAD_INPUT, "is empty");
	source_need(c->src, HEAD);
	c->ops = recognise(c->src, c->options.kind);
	if (passes && (!c->ops || !c->ops->passes))
		return container_give_up(c, e);
	if (!c->ops)
		return nst_fail(e, NST_BAD_INPUT, "not a container that is known "
				"(no nested state, snapshot, stream or dump at "
				"its beginning)");
	return c->ops->open(c, e);
}

/* Once more, with the whole of it in a file. */
static enum nst_status read_settled(struct container *c, struct nst_error *e)
{
	enum nst_status st;

	forget_content(c);
	*e = (struct nst_error){ 0 };
	c->gave_up = false;
	c->options.sieve = NULL;
	st = source_passes(c->src) ? source_settle(c->src, e) : NST_OK;
	return st ? st : read_container(c, e);
}

enum nst_status container_open(const char *path,
			       const struct container_options *o,
			       struct container **out, struct nst_error *e)
{
	struct container *c = calloc(1, sizeof *c);
	enum nst_status st;

	struct nst_error unwanted = { 0 };

	e = e ? e : &unwanted;
	*out = NULL;
	if (!c || !(c->path = strdup(path))) {
		free(c);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	if (o)
		c->options = *o;
	st = c->options.sieve ? source_open_passing(path, &c->src, e) :
		source_open(path, &c->src, e);
	if (!st)
		st = read_container(c, e);
	if (st && c->gave_up)
		st = read_settled(c, e);
	if (st) {
		container_close(c);
		return st;
	}
	*out = c;
	return NST_OK;
}

void container_close(struct container *c)
{
	if (!c)
		return;
	forget_content(c);
	source_close(c->src);
	free(c->path);
	free(c);
}

struct container_state *container_add_state(struct container *c, int vcpu,
					    const void *data, uint32_t size,
					    uint64_t file_offset)
{
	struct container_state *s = realloc(c->states, (c->nstates + 1) *
					    sizeof *s);

	if (!s)
		return NULL;
	c->states = s;
	s += c->nstates;
	*s = (struct container_state){ .vcpu = vcpu, .size = size,
				       .file_offset = file_offset };
	s->data = malloc(size ? size : 1);
	if (!s->data)
		return NULL;
	memcpy(s->data, data, size);
	c->nstates++;
	return s;
}

bool container_add_ram(struct container *c, uint64_t gpa, uint64_t size)
{
	struct container_ram *r = c->ram;

	if (!size)
		return true;
	if (!(c->nram & (c->nram - 1))) { /* full: room is a power of two */
		r = realloc(r, (c->nram ? c->nram * 2 : 1) * sizeof *r);
		if (!r)
			return false;
		c->ram = r;
	}
	c->ram_bytes += size;
	c->has_ram = true;
	if (c->nram && r[c->nram - 1].gpa + r[c->nram - 1].size == gpa)
		r[c->nram - 1].size += size;
	else
		r[c->nram++] = (struct container_ram){ gpa, size };
	return true;
}

bool container_set_vcpus(struct container *c, uint32_t n)
{
	struct container_vcpu *v;

	if (n <= c->nvcpus)
		return true;
	v = realloc(c->vcpus, n * sizeof *v);
	if (!v)
		return false;
	memset(v + c->nvcpus, 0, (n - c->nvcpus) * sizeof *v);
	c->vcpus = v;
	c->nvcpus = n;
	return true;
}

void container_detail(struct container *c, const char *format, ...)
{
	size_t len = strlen(c->details), room = sizeof c->details - len;
	va_list ap;
	int n;

	if (room < 2)
		return;
	va_start(ap, format);
	n = vsnprintf(c->details + len, room - 1, format, ap);
	va_end(ap);
	/* A line that does not fit is left out, not cut. */
	if (n < 0 || (size_t)n >= room - 1)
		c->details[len] = 0;
	else
		strcpy(c->details + len + n, "\n");
}

bool container_walks_parts(const struct container *c)
{
	return c->ops->walk_part != NULL;
}

int container_walk_part(struct container *c, uint32_t part, uint32_t parts,
			container_run_fn *fn, void *arg, struct nst_error *e)
{
	struct nst_error unwanted = { 0 };

	e = e ? e : &unwanted;
	if (c->ops->walk_part)
		return c->ops->walk_part(c, part, parts, fn, arg, e);
	return part || !c->ops->walk ? 0 : c->ops->walk(c, fn, arg, e);
}

int container_walk(struct container *c, container_run_fn *fn, void *arg,
		   struct nst_error *e)
{
	return container_walk_part(c, 0, 1, fn, arg, e);
}

/* -- writing ----------------------------------------------------------------- */

struct found { uint64_t gpa, file_offset; };
struct finder { struct found *want; size_t n; };

static int find_pages(void *arg, const struct container_run *run)
{
	struct finder *f = arg;

	for (size_t i = 0; i < f->n; i++) {
		uint64_t off = f->want[i].gpa - run->gpa;
		if (f->want[i].gpa < run->gpa || off >= run->size)
			continue;
		f->want[i].file_offset = run->file_offset == ~0ull ? ~0ull :
			run->file_offset + off;
	}
	return 0;
}

/* Where each RAM patch goes in the file: one walk for all. */
static enum nst_status locate(struct container *c,
			      const struct container_patch *p, size_t n,
			      struct found *at, struct nst_error *e)
{
	struct finder f = { at, n };
	bool ram = false;

	for (size_t i = 0; i < n; i++) {
		at[i].gpa = p[i].kind == PATCH_RAM ? p[i].gpa : ~0ull;
		at[i].file_offset = ~0ull;
		ram |= p[i].kind == PATCH_RAM;
	}
	if (ram && container_walk(c, find_pages, &f, e) < 0)
		return e ? e->status : NST_BAD_INPUT;
	for (size_t i = 0; i < n; i++) {
		if (p[i].kind == PATCH_STATE)
			at[i].file_offset = c->states[p[i].state].file_offset;
		if (at[i].file_offset == ~0ull)
			return nst_fail(e, NST_BAD_INPUT, p[i].kind == PATCH_RAM ?
					"page 0x%llx is not stored plainly" :
					"nested state %llu is not stored plainly",
					(unsigned long long)(p[i].kind == PATCH_RAM ?
					p[i].gpa : p[i].state));
	}
	return NST_OK;
}

static size_t patch_size(const struct container *c,
			 const struct container_patch *p)
{
	return p->kind == PATCH_RAM ? VMCS12_SIZE : c->states[p->state].size;
}

static enum nst_status place_by_offsets(struct container *c,
					const struct container_patch *p,
					size_t n, container_put_fn *put,
					void *arg, struct nst_error *e)
{
	struct found *at = calloc(n ? n : 1, sizeof *at);
	enum nst_status st;

	if (!at)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	st = locate(c, p, n, at, e);
	for (size_t i = 0; !st && i < n; i++)
		st = put(arg, at[i].file_offset, p[i].data,
			 patch_size(c, &p[i]), e);
	free(at);
	return st;
}

enum nst_status container_place(struct container *c,
				const struct container_patch *p, size_t n,
				container_put_fn *put, void *arg,
				struct nst_error *e)
{
	enum nst_status st = NST_OK;

	if (!c->ops->place)
		return place_by_offsets(c, p, n, put, arg, e);
	for (size_t i = 0; !st && i < n; i++)
		st = c->ops->place(c, &p[i], put, arg, e);
	return st;
}

static enum nst_status put_into_fd(void *arg, uint64_t at, const uint8_t *data,
				   size_t len, struct nst_error *e)
{
	return outfile_pwrite(*(int *)arg, data, len, at, e);
}

static enum nst_status clone_and_patch(struct container *c, int fd,
				       const struct container_patch *p,
				       size_t n, struct nst_error *e)
{
	enum nst_status st = fd == source_fd(c->src) ? NST_OK :
		outfile_clone(source_fd(c->src), fd, e);

	return st ? st : container_place(c, p, n, put_into_fd, &fd, e);
}

/* A wrapped input is wrapped again the same way. */
static enum nst_status rewrap(struct container *c, int plain, int out,
			      struct nst_error *e)
{
	const struct codec *codec = codec_by_name(source_wrapping(c->src));
	struct source *s;
	char name[64];
	enum nst_status st;

	if (!codec || !codec->encode)
		return nst_fail(e, NST_BAD_INPUT, "cannot write %s again",
				source_wrapping(c->src));
	snprintf(name, sizeof name, "/proc/self/fd/%d", plain);
	st = source_open_raw(name, &s, e);
	if (st)
		return st;
	st = codec_encode_from(codec, s, source_size(s), out, e);
	source_close(s);
	return st;
}

static enum nst_status recode_patched(struct container *c, int fd,
				      const struct container_patch *p, size_t n,
				      struct nst_error *e)
{
	struct pieces x = { 0 };
	enum nst_status st = container_place(c, p, n, pieces_add, &x, e);

	if (!st)
		st = pieces_recode(&x, c->src, NULL, 0, 0, &c->options.progress,
				   fd, e);
	pieces_free(&x);
	return st;
}

enum nst_status container_rewrite(struct container *c, int fd,
				  const struct container_patch *p, size_t n,
				  struct nst_error *e)
{
	if (c->ops->rewrite)
		return c->ops->rewrite(c, fd, p, n, e);
	return source_passes(c->src) ? recode_patched(c, fd, p, n, e) :
		clone_and_patch(c, fd, p, n, e);
}

static enum nst_status write_wrapped(struct container *c, int fd,
				     const struct container_patch *p, size_t n,
				     struct nst_error *e)
{
	/* What was decoded is a temporary file of our own: no need for another. */
	bool own = !c->ops->rewrite || c->ops->rewrites_own;
	int plain = own ? source_fd(c->src) : outfile_spool(e);
	enum nst_status st;

	if (plain < 0)
		return NST_SYSTEM;
	st = container_rewrite(c, plain, p, n, e);
	if (!st)
		st = rewrap(c, plain, fd, e);
	if (!own)
		close(plain);
	return st;
}

enum nst_status container_write(struct container *c, const char *path,
				unsigned flags, const struct container_patch *p,
				size_t n, struct nst_error *e)
{
	struct outfile o;
	enum nst_status st = outfile_open(&o, path, flags & CONTAINER_FORCE,
					  c->path, e);

	if (st)
		return st;
	o.no_sync = flags & CONTAINER_NO_SYNC;
	st = source_wrapping(c->src) && !source_passes(c->src) ?
		write_wrapped(c, o.fd, p, n, e) :
		container_rewrite(c, o.fd, p, n, e);
	return outfile_close(&o, st, e);
}

/* -- loading ------------------------------------------------------------------- */

static int copy_run(void *arg, const struct container_run *run)
{
	uint8_t *to = snapshot_ram_at(arg, run->gpa, run->size);

	/* A run may cross into the next stretch of RAM: page by page then. */
	if (to) {
		memcpy(to, run->data, run->size);
		return 0;
	}
	for (uint64_t o = 0; o < run->size; o += VMCS12_SIZE)
		if ((to = snapshot_ram_at(arg, run->gpa + o, VMCS12_SIZE)))
			memcpy(to, run->data + o, VMCS12_SIZE);
	return 0;
}

static enum nst_status load_ram(struct container *c, struct snapshot *s,
				struct nst_error *e)
{
	struct ram_plan *plan = calloc(c->nram, sizeof *plan);
	bool good = plan != NULL;

	for (uint32_t i = 0; good && i < c->nram; i++)
		plan[i] = (struct ram_plan){ c->ram[i].gpa, c->ram[i].size };
	good = good && snapshot_make_ram(s, plan, c->nram);
	free(plan);
	if (!good)
		return nst_fail(e, NST_SYSTEM, "cannot reserve memory for the "
				"guest's RAM");
	return container_walk(c, copy_run, s, e) < 0 ? e->status : NST_OK;
}

enum nst_status container_load(struct container *c, struct snapshot **out,
			       struct nst_error *e)
{
	struct snapshot *s;
	struct nst_error own = { 0 };
	enum nst_status st = NST_OK;

	e = e ? e : &own;
	s = snapshot_new(c->nvcpus ? c->nvcpus : 1);
	if (!s)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	s->share_ram = c->options.share_ram;
	if (c->ops->load)
		st = c->ops->load(c, s, e);
	else if (!c->nram)
		st = nst_fail(e, NST_BAD_INPUT, "a %s has neither registers nor "
			      "RAM to go on from", c->ops->kind);
	if (!st && !s->nram && c->nram)
		st = load_ram(c, s, e);
	if (st) {
		snapshot_free(s);
		return st;
	}
	*out = s;
	return NST_OK;
}
