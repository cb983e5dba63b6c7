/* source.c: opens an input, peels its wrapping, gives bytes by offset.
 *
 * Plain regular files are mapped.  Pipes and wrapped files are decoded once to
 * an unlinked temporary file, which is then mapped: random access for the
 * readers, and the memory is the page cache's.  The codecs are codec.h's.
 */
#include "convert/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/codec.h"
#include "convert/outfile.h"

#define FOLIO (4ull << 20)

struct source {
	char *name;          /* for messages; NULL: a temporary file */
	int fd;              /* of what is mapped */
	uint8_t *map;
	uint64_t size;
	const char *wrapping;/* outermost codec's name, or NULL */
	bool plain;          /* fd is the file itself */
	bool sparse;         /* it has holes */
};

/* -- what is mapped, for the handler of a read error ---------------------------- */

#define MAX_KNOWN 32
static struct source *known[MAX_KNOWN];

static void know(struct source *s)
{
	for (int i = 0; i < MAX_KNOWN; i++) {
		struct source *none = NULL;

		if (__atomic_compare_exchange_n(&known[i], &none, s, false,
						__ATOMIC_SEQ_CST,
						__ATOMIC_SEQ_CST))
			return;
	}
}

static void forget(struct source *s)
{
	for (int i = 0; i < MAX_KNOWN; i++) {
		struct source *self = s;

		__atomic_compare_exchange_n(&known[i], &self, NULL, false,
					    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
	}
}

const char *source_of_address(const void *address, uint64_t *offset)
{
	const uint8_t *p = address;

	for (int i = 0; i < MAX_KNOWN; i++) {
		struct source *s = __atomic_load_n(&known[i], __ATOMIC_SEQ_CST);

		if (!s || p < s->map || p >= s->map + s->size)
			continue;
		*offset = (uint64_t)(p - s->map);
		return s->name && s->plain ? s->name : "a temporary file";
	}
	return NULL;
}

/* -- opening --------------------------------------------------------------------- */

static enum nst_status sys_fail(struct nst_error *e, const char *what)
{
	return nst_fail(e, NST_SYSTEM, "%s: %s", what, strerror(errno));
}

static enum nst_status map_fd(struct source *s, struct nst_error *e)
{
	struct stat st;

	if (fstat(s->fd, &st))
		return sys_fail(e, "cannot stat");
	s->size = (uint64_t)st.st_size;
	s->sparse = (uint64_t)st.st_blocks * 512 < s->size;
	if (!s->size)
		return NST_OK;
	s->map = mmap(NULL, s->size, PROT_READ, MAP_SHARED, s->fd, 0);
	if (s->map == MAP_FAILED) {
		s->map = NULL;
		return sys_fail(e, "cannot map");
	}
	know(s);
	return NST_OK;
}

static void unmap(struct source *s)
{
	forget(s);
	if (s->map)
		munmap(s->map, s->size);
	s->map = NULL;
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* Copies what is not seekable into a spool. */
static enum nst_status spool_pipe(struct source *s, struct nst_error *e)
{
	int fd = outfile_spool(e);
	char buf[65536];
	ssize_t n;

	if (fd < 0)
		return NST_SYSTEM;
	while ((n = read(s->fd, buf, sizeof buf)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 || codec_write_all(fd, buf, (size_t)n)) {
			close(fd);
			return sys_fail(e, n < 0 ? "cannot read" :
					"cannot write a temporary file");
		}
	}
	close(s->fd);
	s->fd = fd;
	s->plain = false;
	return NST_OK;
}

/* Replaces what is mapped by its decoded form. */
static enum nst_status peel(struct source *s, const struct codec *c,
			    struct nst_error *e)
{
	int fd = outfile_spool(e);
	enum nst_status st;

	if (fd < 0)
		return NST_SYSTEM;
	st = codec_decode_from(c, s, 0, fd, e);
	if (st) {
		close(fd);
		return st;
	}
	unmap(s);
	s->fd = fd;
	s->plain = false;
	if (!s->wrapping)
		s->wrapping = c->name;
	return map_fd(s, e);
}

static enum nst_status open_and_peel(struct source *s, const char *path,
				     int layers, struct nst_error *e)
{
	struct stat st;
	enum nst_status status;

	s->fd = strcmp(path, "-") ? open(path, O_RDONLY | O_CLOEXEC) : dup(0);
	if (s->fd < 0)
		return sys_fail(e, "cannot open");
	if (fstat(s->fd, &st))
		return sys_fail(e, "cannot stat");
	if (S_ISDIR(st.st_mode))
		return nst_fail(e, NST_BAD_INPUT, "is a directory");
	s->plain = S_ISREG(st.st_mode);
	if (!s->plain && (status = spool_pipe(s, e)))
		return status;
	status = map_fd(s, e);
	for (int i = 0; !status && i < layers; i++) {
		const struct codec *c = codec_of(s->map, s->size);
		if (!c)
			break;
		status = peel(s, c, e);
	}
	return status;
}

static enum nst_status open_layers(const char *path, int layers,
				   struct source **out, struct nst_error *e)
{
	struct source *s = calloc(1, sizeof *s);
	enum nst_status st;

	if (!s)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	s->fd = -1;
	s->name = strdup(path);
	st = open_and_peel(s, path, layers, e);
	if (st) {
		source_close(s);
		return st;
	}
	*out = s;
	return NST_OK;
}

/* Twice at most: a .gz of an .xz is the worst that people have. */
enum nst_status source_open(const char *path, struct source **out,
			    struct nst_error *e)
{
	return open_layers(path, 2, out, e);
}

enum nst_status source_open_raw(const char *path, struct source **out,
				struct nst_error *e)
{
	return open_layers(path, 0, out, e);
}

enum nst_status source_from_fd(int fd, struct source **out,
			       struct nst_error *e)
{
	struct source *s = calloc(1, sizeof *s);
	enum nst_status st;

	if (!s) {
		close(fd);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	s->fd = fd;
	st = map_fd(s, e);
	if (st) {
		source_close(s);
		return st;
	}
	*out = s;
	return NST_OK;
}

uint64_t source_next_data(const struct source *s, uint64_t off)
{
	off_t data;

	if (!s->sparse)
		return off;
	data = lseek(s->fd, (off_t)off, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		return s->size;
	return data < 0 ? off : (uint64_t)data;
}

void source_release(struct source *s, uint64_t off, uint64_t len)
{
	/* A little more: the kernel maps whole folios round what is touched. */
	uint64_t from = off > FOLIO ? (off - FOLIO) & ~4095ull : 0;
	uint64_t to = (off + len) & ~4095ull;

	/* Of a shared file mapping: the page cache keeps what this process
	 * no longer counts as its own. */
	if (s->map && from < to && to <= s->size)
		madvise(s->map + from, to - from, MADV_DONTNEED);
}

void source_close(struct source *s)
{
	if (!s)
		return;
	unmap(s);
	free(s->name);
	free(s);
}

uint64_t source_size(const struct source *s)
{
	return s->size;
}

bool source_is_plain(const struct source *s)
{
	return s->plain;
}

const char *source_wrapping(const struct source *s)
{
	return s->wrapping;
}

int source_fd(const struct source *s)
{
	return s->fd;
}

const uint8_t *source_at(struct source *s, uint64_t off, size_t len)
{
	if (off > s->size || len > s->size - off)
		return NULL;
	return s->map ? s->map + off : (const uint8_t *)"";
}
