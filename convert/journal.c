/* journal.c: the undo journal of in-place conversions. */
#include "convert/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include "convert/codec.h"
#include "convert/outfile.h"
#include "convert/source.h"

static const char magic[16] = "nstate-undo-1\n";
#define END 0xffffffffffffffffull

static enum nst_status sys_fail(struct nst_error *e, const char *what,
				const char *name)
{
	return nst_fail(e, NST_SYSTEM, "%s %s: %s", what, name, strerror(errno));
}

static enum nst_status put(struct journal *j, const void *data, size_t len,
			   struct nst_error *e)
{
	if (codec_write_all(j->fd, data, len))
		return sys_fail(e, "cannot write", j->undo);
	j->crc = crc32_z(j->crc, data, len);
	return NST_OK;
}

enum nst_status journal_begin(struct journal *j, const char *path,
			      struct nst_error *e)
{
	*j = (struct journal){ .fd = -1 };
	j->path = strdup(path);
	if (!j->path || asprintf(&j->undo, "%s.undo", path) < 0) {
		j->undo = NULL;
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	j->fd = open(j->undo, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (j->fd < 0 && errno == EEXIST)
		return nst_fail(e, NST_USAGE, "%s exists: apply it with --undo "
				"or remove it first", j->undo);
	if (j->fd < 0)
		return sys_fail(e, "cannot make", j->undo);
	j->crc = crc32(0, NULL, 0);
	return put(j, magic, sizeof magic, e);
}

enum nst_status journal_add(struct journal *j, uint64_t at,
			    const uint8_t *before, const uint8_t *after,
			    size_t len, struct nst_error *e)
{
	struct journal_write *w = realloc(j->write, (j->n + 1) * sizeof *w);
	uint64_t head[2] = { at, len };
	enum nst_status st;

	if (!w)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	j->write = w;
	w[j->n++] = (struct journal_write){ at, len, after };
	st = put(j, head, sizeof head, e);
	return st ? st : put(j, before, len, e);
}

static enum nst_status seal(struct journal *j, struct nst_error *e)
{
	uint64_t end[2] = { END, 0 };
	uint32_t crc;
	enum nst_status st = put(j, end, sizeof end, e);

	if (st)
		return st;
	crc = (uint32_t)j->crc;
	if (codec_write_all(j->fd, &crc, 4) || fsync(j->fd))
		return sys_fail(e, "cannot write", j->undo);
	return NST_OK;
}

static enum nst_status change(const char *path, const struct journal_write *w,
			      size_t n, struct nst_error *e)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	enum nst_status st = NST_OK;

	if (fd < 0)
		return sys_fail(e, "cannot open", path);
	for (size_t i = 0; !st && i < n; i++)
		st = outfile_pwrite(fd, w[i].data, w[i].len, w[i].at, e);
	if (!st && fsync(fd))
		st = sys_fail(e, "cannot write", path);
	close(fd);
	return st;
}

enum nst_status journal_commit(struct journal *j, enum nst_status status,
			       struct nst_error *e)
{
	bool made = j->fd >= 0;

	if (!status)
		status = seal(j, e);
	if (j->fd >= 0)
		close(j->fd);
	/* From here on the journal stays: the file may be half changed. */
	if (!status)
		status = change(j->path, j->write, j->n, e);
	else if (made)
		unlink(j->undo);
	free(j->write);
	free(j->undo);
	free(j->path);
	return status;
}

/* Checks the journal and lists its records. */
static enum nst_status parse(struct source *s, struct journal_write **out,
			     size_t *n, struct nst_error *e)
{
	uint64_t size = source_size(s), at = sizeof magic;
	const uint8_t *p = source_at(s, 0, size);
	uint32_t crc;

	*out = NULL;
	*n = 0;
	if (size < sizeof magic + 20 || memcmp(p, magic, sizeof magic))
		return nst_fail(e, NST_BAD_INPUT, "is no undo journal");
	memcpy(&crc, p + size - 4, 4);
	if (crc32_z(crc32(0, NULL, 0), p, size - 4) != crc)
		return nst_fail(e, NST_BAD_INPUT, "the undo journal is cut or "
				"damaged: the file was not changed by it");
	while (at + 16 <= size - 4) {
		uint64_t head[2];
		struct journal_write *w;

		memcpy(head, p + at, 16);
		at += 16;
		if (head[0] == END)
			return NST_OK;
		if (head[1] > size - 4 - at)
			break;
		w = realloc(*out, (*n + 1) * sizeof *w);
		if (!w)
			return nst_fail(e, NST_SYSTEM, "out of memory");
		*out = w;
		w[(*n)++] = (struct journal_write){ head[0], head[1], p + at };
		at += head[1];
	}
	return nst_fail(e, NST_BAD_INPUT, "the undo journal is damaged");
}

enum nst_status journal_undo(const char *path, struct nst_error *e)
{
	struct journal_write *w = NULL;
	struct source *s = NULL;
	enum nst_status st;
	char *undo;
	size_t n;

	if (asprintf(&undo, "%s.undo", path) < 0)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	st = source_open_raw(undo, &s, e);
	if (!st)
		st = parse(s, &w, &n, e);
	if (!st)
		st = change(path, w, n, e);
	if (!st && unlink(undo))
		st = sys_fail(e, "cannot remove", undo);
	free(w);
	source_close(s);
	free(undo);
	return st;
}
