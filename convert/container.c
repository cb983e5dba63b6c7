/* container.c: recognises a file, opens it with its reader, and writes it back
 * with patches.  Knows no format itself. */
#include "convert/container.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/codec.h"
#include "convert/outfile.h"
#include "convert/readers.h"
#include "convert/source.h"
#include "layouts/vmcs.h"

/* In the order of formats.md's detection: magics first, heuristics last. */
static const struct container_ops *const readers[] = {
	&reader_snapshot,
	&reader_blob,
};

static const struct container_ops *recognise(struct source *src,
					     const char *kind)
{
	uint64_t size = source_size(src);
	size_t len = size < 65536 ? size : 65536;
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

enum nst_status container_open(const char *path,
			       const struct container_options *o,
			       struct container **out, struct nst_error *e)
{
	struct container *c = calloc(1, sizeof *c);
	enum nst_status st;

	*out = NULL;
	if (!c || !(c->path = strdup(path))) {
		free(c);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	if (o)
		c->options = *o;
	st = source_open(path, &c->src, e);
	if (!st && !source_size(c->src))
		st = nst_fail(e, NST_BAD_INPUT, "is empty");
	if (!st) {
		c->ops = recognise(c->src, c->options.kind);
		if (!c->ops)
			st = nst_fail(e, NST_BAD_INPUT, "not a container that "
				      "is known (no nested state, snapshot, "
				      "stream or dump at its beginning)");
	}
	if (!st)
		st = c->ops->open(c, e);
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
	if (c->ops && c->ops->close)
		c->ops->close(c);
	for (uint32_t i = 0; i < c->nstates; i++)
		free(c->states[i].data);
	free(c->states);
	free(c->vcpus);
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

int container_walk(struct container *c, container_run_fn *fn, void *arg,
		   struct nst_error *e)
{
	return c->ops->walk ? c->ops->walk(c, fn, arg, e) : 0;
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

	for (size_t i = 0; i < n; i++) {
		at[i].gpa = p[i].kind == PATCH_RAM ? p[i].gpa : ~0ull;
		at[i].file_offset = ~0ull;
	}
	if (container_walk(c, find_pages, &f, e) < 0)
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

enum nst_status container_locate(struct container *c,
				 const struct container_patch *p, uint64_t *at,
				 struct nst_error *e)
{
	struct found f;
	enum nst_status st = locate(c, p, 1, &f, e);

	*at = f.file_offset;
	return st;
}

static enum nst_status clone_and_patch(struct container *c, int fd,
				       const struct container_patch *p,
				       size_t n, struct nst_error *e)
{
	struct found *at = calloc(n ? n : 1, sizeof *at);
	enum nst_status st;

	if (!at)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	st = locate(c, p, n, at, e);
	if (!st)
		st = outfile_clone(source_fd(c->src), fd, e);
	for (size_t i = 0; !st && i < n; i++) {
		size_t len = p[i].kind == PATCH_RAM ? VMCS12_SIZE :
			c->states[p[i].state].size;
		st = outfile_pwrite(fd, p[i].data, len, at[i].file_offset, e);
	}
	free(at);
	return st;
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
	st = codec->encode(source_at(s, 0, source_size(s)), source_size(s), out,
			   e);
	source_close(s);
	return st;
}

static enum nst_status write_plain(struct container *c, int fd,
				   const struct container_patch *p, size_t n,
				   struct nst_error *e)
{
	return c->ops->rewrite ? c->ops->rewrite(c, fd, p, n, e) :
		clone_and_patch(c, fd, p, n, e);
}

static enum nst_status write_wrapped(struct container *c, int fd,
				     const struct container_patch *p, size_t n,
				     struct nst_error *e)
{
	int plain = outfile_spool(e);
	enum nst_status st;

	if (plain < 0)
		return NST_SYSTEM;
	st = write_plain(c, plain, p, n, e);
	if (!st)
		st = rewrap(c, plain, fd, e);
	close(plain);
	return st;
}

enum nst_status container_write(struct container *c, const char *path,
				bool force, const struct container_patch *p,
				size_t n, struct nst_error *e)
{
	struct outfile o;
	enum nst_status st = outfile_open(&o, path, force, c->path, e);

	if (st)
		return st;
	st = source_wrapping(c->src) ? write_wrapped(c, o.fd, p, n, e) :
		write_plain(c, o.fd, p, n, e);
	return outfile_close(&o, st, e);
}

/* -- loading ------------------------------------------------------------------- */

enum nst_status container_load(struct container *c, struct snapshot **out,
			       struct nst_error *e)
{
	struct snapshot *s;
	enum nst_status st;

	if (!c->ops->load)
		return nst_fail(e, NST_BAD_INPUT, "a %s has no registers to go "
				"on from", c->ops->kind);
	s = snapshot_new(c->nvcpus ? c->nvcpus : 1);
	if (!s)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	st = c->ops->load(c, s, e);
	if (st) {
		snapshot_free(s);
		return st;
	}
	*out = s;
	return NST_OK;
}
