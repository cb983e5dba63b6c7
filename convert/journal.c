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
#include "convert/source.h"

static const char magic[16] = "nstate-undo-2\n";
#define END 0xffffffffffffffffull

static enum nst_status sys_fail(struct nst_error *e, const char *what,
				const char *name)
{
	return nst_fail(e, NST_SYSTEM, "%s %s: %s", what, name, strerror(errno));
}

static enum nst_status put(struct journal *j, const void *data, size_t len,
			   struct nst_error *e)
{
	if (codec_write_all(j->out.fd, data, len))
		return sys_fail(e, "cannot write", j->undo);
	j->crc = crc32_z(j->crc, data, len);
	return NST_OK;
}

enum nst_status journal_begin(struct journal *j, const char *path,
			      struct nst_error *e)
{
	enum nst_status st;
	struct stat file;
	uint64_t size;

	*j = (struct journal){ .path = strdup(path) };
	if (!j->path || asprintf(&j->undo, "%s.undo", path) < 0) {
		j->undo = NULL;
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	if (!access(j->undo, F_OK))
		return nst_fail(e, NST_USAGE, "%s exists: apply it with --undo "
				"or remove it first", j->undo);
	if (stat(path, &file))
		return sys_fail(e, "cannot stat", path);
	st = outfile_open(&j->out, j->undo, false, path, e);
	if (st)
		return st;
	j->made = true;
	j->crc = crc32(0, NULL, 0);
	size = (uint64_t)file.st_size;
	st = put(j, magic, sizeof magic, e);
	return st ? st : put(j, &size, sizeof size, e);
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
	w[j->n++] = (struct journal_write){ at, len, before, after };
	st = put(j, head, sizeof head, e);
	if (!st)
		st = put(j, before, len, e);
	return st ? st : put(j, after, len, e);
}

static enum nst_status seal(struct journal *j, struct nst_error *e)
{
	uint64_t end[2] = { END, 0 };
	uint32_t crc;
	enum nst_status st = put(j, end, sizeof end, e);

	if (st)
		return st;
	crc = (uint32_t)j->crc;
	return codec_write_all(j->out.fd, &crc, 4) ?
		sys_fail(e, "cannot write", j->undo) : NST_OK;
}

static enum nst_status change(const char *path, const struct journal_write *w,
			      size_t n, bool back, struct nst_error *e)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	enum nst_status st = NST_OK;

	if (fd < 0)
		return sys_fail(e, "cannot open", path);
	for (size_t i = 0; !st && i < n; i++)
		st = outfile_pwrite(fd, back ? w[i].before : w[i].after,
				    w[i].len, w[i].at, e);
	if (!st && fsync(fd))
		st = sys_fail(e, "cannot write", path);
	close(fd);
	return st;
}

enum nst_status journal_commit(struct journal *j, enum nst_status status,
			       struct nst_error *e)
{
	if (!status)
		status = seal(j, e);
	if (j->made)
		status = outfile_close(&j->out, status, e);
	/* From here on the journal stays: the file may be half changed. */
	if (!status)
		status = change(j->path, j->write, j->n, false, e);
	free(j->write);
	free(j->undo);
	free(j->path);
	return status;
}

/* -- undoing ------------------------------------------------------------------- */

static enum nst_status damaged(struct nst_error *e)
{
	return nst_fail(e, NST_BAD_INPUT, "the undo journal is cut or damaged");
}

/* Checks the journal and lists its records. */
static enum nst_status parse(struct source *s, uint64_t *file_size,
			     struct journal_write **out, size_t *n,
			     struct nst_error *e)
{
	uint64_t size = source_size(s), at = sizeof magic + 8, head[2];
	const uint8_t *p = source_at(s, 0, size);
	struct journal_write *w;
	uint32_t crc;

	*out = NULL;
	*n = 0;
	if (size < sizeof magic + 28 || memcmp(p, magic, sizeof magic))
		return nst_fail(e, NST_BAD_INPUT, "is no undo journal");
	memcpy(&crc, p + size - 4, 4);
	if (crc32_z(crc32(0, NULL, 0), p, size - 4) != crc)
		return damaged(e);
	memcpy(file_size, p + sizeof magic, 8);
	while (at + 16 <= size - 4) {
		memcpy(head, p + at, 16);
		at += 16;
		if (head[0] == END)
			return NST_OK;
		if (head[1] > (size - 4 - at) / 2)
			break;
		w = realloc(*out, (*n + 1) * sizeof *w);
		if (!w)
			return nst_fail(e, NST_SYSTEM, "out of memory");
		*out = w;
		w[(*n)++] = (struct journal_write){ head[0], head[1], p + at,
						    p + at + head[1] };
		at += 2 * head[1];
	}
	return damaged(e);
}

/* Byte by byte, for the power may have failed in the middle of a write. */
static enum nst_status is_its_file(const char *path, uint64_t size,
				   const struct journal_write *w, size_t n,
				   struct nst_error *e)
{
	struct source *s;
	enum nst_status st = source_open_raw(path, &s, e);

	if (st)
		return st;
	if (source_size(s) != size)
		st = nst_fail(e, NST_BAD_INPUT, "has %llu bytes; the undo journal "
			      "is of a file of %llu", (unsigned long long)
			      source_size(s), (unsigned long long)size);
	for (size_t i = 0; !st && i < n; i++) {
		const uint8_t *now = source_at(s, w[i].at, w[i].len);

		for (uint64_t k = 0; now && k < w[i].len; k++)
			if (now[k] != w[i].before[k] && now[k] != w[i].after[k])
				now = NULL;
		if (!now)
			st = nst_fail(e, NST_BAD_INPUT, "holds something else at "
				      "byte 0x%llx than the undo journal says",
				      (unsigned long long)w[i].at);
	}
	source_close(s);
	return st;
}

enum nst_status journal_undo(const char *path, struct nst_error *e)
{
	struct journal_write *w = NULL;
	struct source *s = NULL;
	enum nst_status st;
	char *undo;
	uint64_t size = 0;
	size_t n;

	if (asprintf(&undo, "%s.undo", path) < 0)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	if (access(undo, F_OK))
		st = sys_fail(e, "no undo journal,", undo);
	else
		st = source_open_raw(undo, &s, e);
	if (!st)
		st = parse(s, &size, &w, &n, e);
	if (!st)
		st = is_its_file(path, size, w, n, e);
	if (!st)
		st = change(path, w, n, true, e);
	if (!st && unlink(undo))
		st = sys_fail(e, "cannot remove", undo);
	free(w);
	source_close(s);
	free(undo);
	return st;
}
