/* coding.c: the thread that writes, and the threads that code chunks. */
#include "convert/codec/coding.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/codec.h"
#include "convert/codec/window.h"
#include "convert/source.h"

#define BUFFERS 4u
#define BUFFER (1u << 20)
#define RELEASE_EVERY (2ull << 20)
#define MAX_THREADS 8u

/* -- writing ------------------------------------------------------------------- */

struct writer {
	int fd;
	bool sparse;
	uint8_t *buf[BUFFERS];
	size_t len[BUFFERS];
	unsigned filled, written;  /* buffers ever handed over, and written */
	bool threaded, end;
	int error;                 /* errno of the first write that failed */
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t change;
};

static int write_out(const struct writer *w, const void *data, size_t len)
{
	return (w->sparse ? codec_write_sparse(w->fd, data, len) :
		codec_write_all(w->fd, data, len)) ? errno : 0;
}

static void *write_buffers(void *arg)
{
	struct writer *w = arg;

	pthread_mutex_lock(&w->lock);
	for (;;) {
		unsigned i = w->written % BUFFERS;
		int rc = w->error;

		if (w->written == w->filled) {
			if (w->end)
				break;
			pthread_cond_wait(&w->change, &w->lock);
			continue;
		}
		pthread_mutex_unlock(&w->lock);
		rc = rc ? rc : write_out(w, w->buf[i], w->len[i]);
		pthread_mutex_lock(&w->lock);
		w->error = rc;
		w->written++;
		pthread_cond_broadcast(&w->change);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* The buffer that is full goes to the thread; the next one is waited for.  Without a
 * thread it is written here. */
static int hand_over(struct writer *w)
{
	unsigned i = w->filled % BUFFERS;
	int rc;

	if (!w->threaded && !w->filled)
		w->threaded = !pthread_create(&w->thread, NULL, write_buffers,
					      w);
	if (!w->threaded) {
		rc = w->error = write_out(w, w->buf[i], w->len[i]);
		w->len[i] = 0;
		return rc;
	}
	pthread_mutex_lock(&w->lock);
	w->filled++;
	pthread_cond_broadcast(&w->change);
	while (w->filled - w->written == BUFFERS)
		pthread_cond_wait(&w->change, &w->lock);
	rc = w->error;
	pthread_mutex_unlock(&w->lock);
	w->len[w->filled % BUFFERS] = 0;
	return rc;
}

uint8_t *coding_room(struct coding *k, size_t *room)
{
	struct writer *w = k->writer;
	unsigned i;

	if (k->window)
		return window_room(k->window, room);
	i = w->filled % BUFFERS;
	if (!w->buf[i] && !(w->buf[i] = malloc(BUFFER))) {
		errno = ENOMEM;
		return NULL;
	}
	*room = BUFFER - w->len[i];
	return w->buf[i] + w->len[i];
}

int coding_took(struct coding *k, size_t len)
{
	struct writer *w = k->writer;
	size_t *have;
	int rc;

	if (k->window)
		return window_took(k->window, len);
	have = &w->len[w->filled % BUFFERS];
	*have += len;
	rc = *have == BUFFER ? hand_over(w) : 0;
	if (rc)
		errno = rc;
	return rc ? -1 : 0;
}

int coding_put(struct coding *k, const void *data, size_t len)
{
	const uint8_t *p = data;

	while (len) {
		size_t n;
		uint8_t *to = coding_room(k, &n);

		if (!to)
			return -1;
		n = n < len ? n : len;
		memcpy(to, p, n);
		p += n;
		len -= n;
		if (coding_took(k, n))
			return -1;
	}
	return 0;
}

enum nst_status coding_open(struct coding *k, int fd, bool sparse,
			    struct nst_error *e)
{
	struct writer *w = k->writer = calloc(1, sizeof *w);

	if (!w)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	w->fd = fd;
	w->sparse = sparse;
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->change, NULL);
	k->released = k->off;
	return NST_OK;
}

enum nst_status coding_close(struct coding *k, enum nst_status st,
			     struct nst_error *e)
{
	struct writer *w = k->writer;
	unsigned i = w->filled % BUFFERS;
	int rc;

	if (w->threaded) {
		pthread_mutex_lock(&w->lock);
		w->end = true;
		pthread_cond_broadcast(&w->change);
		pthread_mutex_unlock(&w->lock);
		pthread_join(w->thread, NULL);
	}
	rc = w->error;
	if (!rc && !st && w->len[i])
		rc = write_out(w, w->buf[i], w->len[i]);
	if (!st && rc)
		st = nst_fail(e, NST_SYSTEM, "cannot write: %s", strerror(rc));
	for (i = 0; i < BUFFERS; i++)
		free(w->buf[i]);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->change);
	free(w);
	k->writer = NULL;
	return st;
}

bool coding_need(const struct coding *k, uint64_t end)
{
	return !k->src || source_need(k->src, k->off + end);
}

void coding_done(struct coding *k, uint64_t at)
{
	uint64_t to = k->off + at;

	if (!k->src || to < k->released + RELEASE_EVERY)
		return;
	source_release(k->src, k->released, to - k->released);
	k->released = to;
}

/* -- chunks -------------------------------------------------------------------- */

struct slot {
	struct chunk c;
	bool ready, failed;
};

struct crew {
	struct coding *k;
	chunk_fn *fn;
	size_t len, room;
	uint64_t count, next, put; /* chunks in all, taken, put in order */
	unsigned slots;
	struct slot *slot;
	bool stop;
	pthread_mutex_t lock;
	pthread_cond_t change;
};

unsigned coding_threads(void)
{
	long n = sysconf(_SC_NPROCESSORS_ONLN);

	return n < 1 ? 1 : n > (long)MAX_THREADS ? MAX_THREADS : (unsigned)n;
}

/* Takes the next chunk, if there is one and a slot for it; with the lock held. */
static struct slot *take(struct crew *w)
{
	uint64_t i = w->next;
	struct slot *s = &w->slot[i % w->slots];

	if (w->stop || i == w->count || i - w->put >= w->slots)
		return NULL;
	w->next++;
	s->c.at = i * w->len;
	s->c.last = i + 1 == w->count;
	s->c.len = s->c.last ? w->k->size - s->c.at : w->len;
	s->c.room = w->room;
	s->c.out_len = 0;
	return s;
}

static void code(struct crew *w, struct slot *s)
{
	bool good;

	pthread_mutex_unlock(&w->lock);
	if (!s->c.out)
		s->c.out = malloc(w->room);
	good = s->c.out && coding_need(w->k, s->c.at + s->c.len) &&
		w->fn(w->k, &s->c);
	pthread_mutex_lock(&w->lock);
	s->failed = !good;
	s->ready = true;
	pthread_cond_broadcast(&w->change);
}

static void *work(void *arg)
{
	struct crew *w = arg;

	pthread_mutex_lock(&w->lock);
	while (!w->stop && w->next < w->count) {
		struct slot *s = take(w);

		if (s)
			code(w, s);
		else
			pthread_cond_wait(&w->change, &w->lock);
	}
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

/* Puts the chunks in order; codes, too, where the next one is not ready. */
static int lead(struct crew *w, chunk_order_fn *order, void *arg)
{
	int rc = 0;

	pthread_mutex_lock(&w->lock);
	while (!rc && w->put < w->count) {
		struct slot *s = &w->slot[w->put % w->slots], *own;

		if (!s->ready) {
			own = take(w);
			if (own)
				code(w, own);
			else
				pthread_cond_wait(&w->change, &w->lock);
			continue;
		}
		pthread_mutex_unlock(&w->lock);
		errno = 0;
		rc = s->failed ? -1 : 0;
		if (!rc && order)
			order(arg, &s->c);
		if (!rc)
			rc = coding_put(w->k, s->c.out, s->c.out_len);
		if (!rc)
			coding_done(w->k, s->c.at);
		pthread_mutex_lock(&w->lock);
		s->ready = false;
		w->put++;
		pthread_cond_broadcast(&w->change);
	}
	w->stop = true;
	pthread_cond_broadcast(&w->change);
	pthread_mutex_unlock(&w->lock);
	return rc;
}

int coding_in_chunks(struct coding *k, size_t len, size_t room, chunk_fn *fn,
		     chunk_order_fn *order, void *arg)
{
	unsigned n = coding_threads(), made = 0;
	struct crew w = { .k = k, .fn = fn, .len = len, .room = room,
			  .count = k->size ? (k->size + len - 1) / len : 1,
			  .slots = 2 * n };
	pthread_t thread[MAX_THREADS];
	int rc, why;

	w.slot = calloc(w.slots, sizeof *w.slot);
	if (!w.slot) {
		errno = ENOMEM;
		return -1;
	}
	pthread_mutex_init(&w.lock, NULL);
	pthread_cond_init(&w.change, NULL);
	while (made + 1 < n && made + 1 < w.count &&
	       !pthread_create(&thread[made], NULL, work, &w))
		made++;
	rc = lead(&w, order, arg);
	why = errno;
	while (made)
		pthread_join(thread[--made], NULL);
	for (unsigned i = 0; i < w.slots; i++)
		free(w.slot[i].c.out);
	free(w.slot);
	pthread_mutex_destroy(&w.lock);
	pthread_cond_destroy(&w.change);
	errno = why;
	return rc;
}

/* -- sharing ------------------------------------------------------------------- */

struct share {
	unsigned n, next;
	void (*fn)(void *arg, unsigned i);
	void *arg;
};

static void *take_shares(void *arg)
{
	struct share *s = arg;
	unsigned i;

	while ((i = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED)) < s->n)
		s->fn(s->arg, i);
	return NULL;
}

void coding_share(unsigned n, void (*fn)(void *arg, unsigned i), void *arg)
{
	struct share s = { .n = n, .fn = fn, .arg = arg };
	unsigned most = coding_threads(), made = 0;
	pthread_t thread[MAX_THREADS];

	while (made + 1 < most && made + 1 < n &&
	       !pthread_create(&thread[made], NULL, take_shares, &s))
		made++;
	take_shares(&s);
	while (made)
		pthread_join(thread[--made], NULL);
}
