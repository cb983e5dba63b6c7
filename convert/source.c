/* source.c: opens an input, peels its wrapping, gives bytes by offset.
 *
 * Plain regular files are mapped.  Pipes and wrapped files are decoded once to
 * an unlinked temporary file, which is then mapped: random access for the
 * readers, and the memory is the page cache's.  What passes is decoded into a
 * window (codec/window.h) instead.  The codecs are codec.h's.
 */
#include "convert/source.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/bytes.h"
#include "convert/codec.h"
#include "convert/codec/window.h"
#include "convert/container.h"
#include "convert/outfile.h"

#define FOLIO (4ull << 20)
#define HEAD 65536u
/* What of a passing source may be in memory at a time; a reader who wants more has
 * it decoded to a file. */
#define MOST_KEPT (32ull << 20)

struct source {
	char *name;          /* for messages; NULL: a temporary file */
	int fd;              /* of what is mapped */
	uint8_t *map;
	uint64_t size;
	const char *wrapping;/* outermost codec's name, or NULL */
	bool plain;          /* fd is the file itself */
	bool sparse;         /* it has holes */
	struct window *window; /* it passes; or NULL */
	struct source *under;/* what the window is made of, */
	uint64_t under_off;
	bool own_under;
	const struct codec *codec;
	uint64_t most;       /* of the window in memory */
	bool too_much;       /* was asked for */
	struct container_progress progress; /* of releasing it, of size */
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

/* -- passing ------------------------------------------------------------------- */

/* What is mapped goes from one source to another that has nothing mapped. */
static void hand_on(struct source *from, struct source *to)
{
	forget(from);
	to->fd = from->fd;
	to->map = from->map;
	to->size = from->size;
	to->plain = from->plain;
	to->sparse = from->sparse;
	from->fd = -1;
	from->map = NULL;
	from->size = 0;
	from->plain = from->sparse = false;
	if (to->map)
		know(to);
}

/* Back to what is under it. */
static void stop_passing(struct source *s)
{
	window_close(s->window);
	s->window = NULL;
	if (s->own_under) {
		hand_on(s->under, s);
		free(s->under->name);
		free(s->under);
	}
	s->under = NULL;
	s->own_under = false;
}

static bool is_wrapped(struct window *w)
{
	window_need(w, HEAD, MOST_KEPT);
	return codec_of(window_base(w), window_made(w)) != NULL;
}

/* Lets what is mapped pass through c.  False, and nothing is changed: it cannot, or
 * what comes out is to be peeled once more. */
static bool begin_passing(struct source *s, const struct codec *c, bool last)
{
	struct source *under = calloc(1, sizeof *under);

	if (!under)
		return false;
	under->name = s->name ? strdup(s->name) : NULL;
	hand_on(s, under);
	s->under = under;
	s->own_under = true;
	s->codec = c;
	s->most = MOST_KEPT;
	s->window = window_open(c, under, 0, NULL);
	if (!s->window || (!last && is_wrapped(s->window))) {
		stop_passing(s);
		return false;
	}
	if (!s->wrapping)
		s->wrapping = c->name;
	return true;
}

enum nst_status source_pass(struct source *in, uint64_t off,
			    const struct codec *c,
			    const struct window_edits *edits,
			    struct source **out, struct nst_error *e)
{
	struct source *s = calloc(1, sizeof *s);

	*out = NULL;
	if (!s)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	*s = (struct source){ .fd = -1, .under = in, .under_off = off,
			      .codec = c, .wrapping = c->name,
			      .most = MOST_KEPT };
	s->window = window_open(c, in, off, edits);
	if (s->window)
		*out = s;
	else
		free(s);
	return NST_OK;
}

bool source_passes(const struct source *s)
{
	return s->window != NULL;
}

enum nst_status source_settle(struct source *s, struct nst_error *e)
{
	stop_passing(s);
	return peel(s, s->codec, e);
}

static enum window_answer need(struct source *s, uint64_t end)
{
	enum window_answer a = window_need(s->window, end, s->most);

	if (a == WINDOW_TOO_MUCH)
		s->too_much = true;
	return a;
}

bool source_need(struct source *s, uint64_t end)
{
	return s->window ? need(s, end) == WINDOW_THERE : end <= s->size;
}

bool cur_more(struct cursor *c, uint64_t n)
{
	c->starved = n > ~0ull - c->at || !source_need(c->more, c->at + n);
	c->end = source_size(c->more);
	return !c->starved;
}

bool source_need_all(struct source *s)
{
	return !s->window || (need(s, ~0ull) == WINDOW_END &&
			      !window_status(s->window, NULL));
}

bool source_too_much(const struct source *s)
{
	return s->too_much;
}

enum nst_status source_status(struct source *s, struct nst_error *e)
{
	return s->window ? window_status(s->window, e) : NST_OK;
}

enum nst_status source_recode(struct source *s, const struct codec *c,
			      const struct window_edits *edits,
			      const struct container_progress *progress, int fd,
			      struct nst_error *e)
{
	uint64_t size = source_size(s) + edits->insert_len;
	struct source *again;
	enum nst_status st = source_pass(s->under, s->under_off, s->codec, edits,
					 &again, e), made;

	if (st || !again)
		return st ? st : nst_fail(e, NST_SYSTEM, "no address space to "
					  "decode in");
	again->most = ~0ull;
	again->size = size;
	again->progress = *progress;
	st = codec_encode_from(c, again, size, fd, e);
	/* What is wrong with the input is why the encoder did not get it. */
	made = window_status(again->window, e);
	st = made ? made : st;
	if (!st && source_need(again, size + 1))
		st = nst_fail(e, NST_BAD_INPUT, "the input changed meanwhile");
	source_close(again);
	return st;
}

static enum nst_status open_and_peel(struct source *s, const char *path,
				     int layers, bool passing,
				     struct nst_error *e)
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
		if (!c || (passing && begin_passing(s, c, i + 1 == layers)))
			break;
		status = peel(s, c, e);
	}
	return status;
}

static enum nst_status open_layers(const char *path, int layers, bool passing,
				   struct source **out, struct nst_error *e)
{
	struct source *s = calloc(1, sizeof *s);
	enum nst_status st;

	if (!s)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	s->fd = -1;
	s->name = strdup(path);
	st = open_and_peel(s, path, layers, passing, e);
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
	return open_layers(path, 2, false, out, e);
}

enum nst_status source_open_passing(const char *path, struct source **out,
				    struct nst_error *e)
{
	return open_layers(path, 2, true, out, e);
}

enum nst_status source_open_raw(const char *path, struct source **out,
				struct nst_error *e)
{
	return open_layers(path, 0, false, out, e);
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

	if (s->window) {
		window_release(s->window, off, off + len);
		if (s->progress.tell)
			s->progress.tell(s->progress.arg, off + len, s->size);
		return;
	}
	/* Of a shared file mapping: the page cache keeps what this process
	 * no longer counts as its own. */
	if (s->map && from < to && to <= s->size)
		madvise(s->map + from, to - from, MADV_DONTNEED);
}

void source_close(struct source *s)
{
	if (!s)
		return;
	stop_passing(s);
	unmap(s);
	free(s->name);
	free(s);
}

uint64_t source_size(const struct source *s)
{
	return s->window ? window_made(s->window) : s->size;
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
	uint64_t size = source_size(s);

	if (off > size || len > size - off)
		return NULL;
	if (s->window)
		return window_base(s->window) + off;
	return s->map ? s->map + off : (const uint8_t *)"";
}
