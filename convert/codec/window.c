/* window.c: a reserved stretch of addresses, of which only what lies between the
 * reader and the decoder has memory behind it.
 *
 * That memory goes round: what the reader is done with is moved, by its page
 * tables, to where the decoder goes on.  Fresh memory would have to be cleared,
 * which takes a third as long as decoding lz4 does.
 */
#include "convert/codec/window.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "convert/codec.h"

/* Addresses, which cost nothing; who decodes more does without a window.  (A build
 * for a sanitizer that needs most of them names fewer.) */
#ifndef RESERVE
#define RESERVE (1ull << 40)
#endif
#define STEP (4ull << 20)  /* what moves at a time; two huge pages */
/* How far the decoder goes ahead, and how much room it waits for: a block of lz4's,
 * which is then decoded where it is to be. */
#define AHEAD (2 * STEP)
#define ROOM STEP
#define MAX_SPARE 1u
/* A reader that waits is woken for no less, which bounds what that costs. */
#define WAKE (2ull << 20)
#define RESERVED (MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE)

struct window {
	void *map;
	uint8_t *base;         /* the first whole step in it */
	const struct codec *codec;
	struct source *in;
	uint64_t off;
	const struct window_edits *edits;
	/* the decoder's alone */
	uint64_t decoded;      /* made, without the insertion */
	size_t next;           /* piece */
	uint64_t backed;       /* whole steps that have memory, or may have */
	/* under the lock */
	uint64_t made, needed;
	uint64_t wake;         /* made, when somebody waits for it */
	uint64_t released;     /* bytes in all */
	uint64_t behind, front;/* what was released last ends there; whole steps
				* of it, there */
	uint64_t spare[MAX_SPARE]; /* steps whose memory is free to move */
	unsigned spares;
	bool ended, stop;
	bool full;             /* there are no more addresses */
	enum nst_status status;
	struct nst_error error;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t change;
};

/* -- memory -------------------------------------------------------------------- */

static bool reserve(struct window *w)
{
	w->map = mmap(NULL, RESERVE + STEP, PROT_READ | PROT_WRITE, RESERVED, -1,
		      0);
	if (w->map == MAP_FAILED)
		return false;
	w->base = (uint8_t *)w->map + (STEP - (uintptr_t)w->map % STEP) % STEP;
	/* Huge pages: a fault for each small one costs as much as decoding it. */
	madvise(w->base, RESERVE, MADV_HUGEPAGE);
	madvise(w->base, RESERVE, MADV_DONTDUMP);
	return true;
}

/* Takes a step's memory away.  Its addresses stay taken, but to touch them is an
 * error from now on. */
static void empty(const struct window *w, uint64_t step)
{
	mmap(w->base + step, STEP, PROT_NONE, RESERVED | MAP_FIXED, -1, 0);
}

/* A step that is not wanted any more; with the lock held. */
static void retire(struct window *w, uint64_t step)
{
	if (w->spares < MAX_SPARE && step < w->backed)
		w->spare[w->spares++] = step;
	else
		empty(w, step);
}

/* Gives steps up to `end` the memory of spare ones, as far as there are any (the
 * rest gets fresh memory when it is written to); with the lock held. */
static void back(struct window *w, uint64_t end)
{
	for (; w->backed < end; w->backed += STEP) {
		uint64_t from;
		void *to;

		if (!w->spares)
			continue;
		from = w->spare[--w->spares];
		to = w->base + w->backed;
		/* Before Linux 5.7 this is not known; then it is fresh memory. */
		if (mremap(w->base + from, STEP, STEP, MREMAP_MAYMOVE |
			   MREMAP_FIXED | MREMAP_DONTUNMAP, to) == MAP_FAILED)
			mmap(to, STEP, PROT_READ | PROT_WRITE, RESERVED |
			     MAP_FIXED, -1, 0);
		empty(w, from);
	}
}

/* -- the decoder's thread ------------------------------------------------------ */

static void *decode(void *arg)
{
	struct window *w = arg;
	struct nst_error e = { 0 };
	enum nst_status st = codec_decode_into(w->codec, w->in, w->off, w, &e);

	if (!st && w->edits && w->edits->insert_len &&
	    w->decoded < w->edits->insert_at)
		st = nst_fail(&e, NST_BAD_INPUT, "the input changed meanwhile");
	pthread_mutex_lock(&w->lock);
	w->status = st;
	w->error = e;
	w->ended = true;
	pthread_cond_broadcast(&w->change);
	pthread_mutex_unlock(&w->lock);
	return NULL;
}

struct window *window_open(const struct codec *c, struct source *in,
			   uint64_t off, const struct window_edits *edits)
{
	struct window *w = calloc(1, sizeof *w);

	if (!w)
		return NULL;
	*w = (struct window){ .codec = c, .in = in, .off = off, .edits = edits,
			      .wake = ~0ull };
	if (!reserve(w)) {
		free(w);
		return NULL;
	}
	pthread_mutex_init(&w->lock, NULL);
	pthread_cond_init(&w->change, NULL);
	if (pthread_create(&w->thread, NULL, decode, w)) {
		munmap(w->map, RESERVE + STEP);
		free(w);
		return NULL;
	}
	return w;
}

void window_close(struct window *w)
{
	if (!w)
		return;
	pthread_mutex_lock(&w->lock);
	w->stop = true;
	pthread_cond_broadcast(&w->change);
	pthread_mutex_unlock(&w->lock);
	pthread_join(w->thread, NULL);
	pthread_mutex_destroy(&w->lock);
	pthread_cond_destroy(&w->change);
	munmap(w->map, RESERVE + STEP);
	free(w);
}

const uint8_t *window_base(const struct window *w)
{
	return w->base;
}

uint64_t window_made(const struct window *w)
{
	return __atomic_load_n(&w->made, __ATOMIC_ACQUIRE);
}

/* -- the reader ----------------------------------------------------------------- */

enum window_answer window_need(struct window *w, uint64_t end, uint64_t most)
{
	enum window_answer a;

	if (window_made(w) >= end)
		return WINDOW_THERE;
	pthread_mutex_lock(&w->lock);
	while (w->made < end && !w->ended && w->made - w->released <= most) {
		uint64_t wake = w->made + WAKE > end ? w->made + WAKE : end;

		if (most != ~0ull && wake > w->made + ROOM)
			wake = w->made + ROOM;
		if (wake < w->wake)
			w->wake = wake;
		if (wake > w->needed) {
			w->needed = wake;
			pthread_cond_broadcast(&w->change);
		}
		pthread_cond_wait(&w->change, &w->lock);
	}
	a = w->made >= end ? WINDOW_THERE : w->ended && !w->full ? WINDOW_END :
		WINDOW_TOO_MUCH;
	pthread_mutex_unlock(&w->lock);
	return a;
}

void window_release(struct window *w, uint64_t from, uint64_t to)
{
	uint64_t step;

	pthread_mutex_lock(&w->lock);
	/* Whole steps, of which one may have been begun before. */
	step = from == w->behind ? w->front : (from + STEP - 1) & ~(STEP - 1);
	for (; step + STEP <= to; step += STEP) {
		retire(w, step);
		w->released += STEP;
	}
	w->behind = to;
	w->front = step;
	pthread_cond_broadcast(&w->change);
	pthread_mutex_unlock(&w->lock);
}

enum nst_status window_status(struct window *w, struct nst_error *e)
{
	enum nst_status st;

	pthread_mutex_lock(&w->lock);
	st = w->ended && !w->full ? w->status : NST_OK;
	if (st && e)
		*e = w->error;
	pthread_mutex_unlock(&w->lock);
	return st;
}

/* -- the decoder ---------------------------------------------------------------- */

/* How far it may go now. */
static uint64_t limit(const struct window *w)
{
	uint64_t ahead = w->front + AHEAD;

	return w->needed > ahead ? w->needed : ahead;
}

uint8_t *window_room(struct window *w, size_t *room)
{
	const struct window_edits *x = w->edits;
	uint64_t n, end;

	pthread_mutex_lock(&w->lock);
	while (!w->stop && w->made >= w->needed && limit(w) < w->made + ROOM)
		pthread_cond_wait(&w->change, &w->lock);
	end = limit(w);
	end = w->made + (end < w->made + 2 * ROOM ? ROOM :
			 (end - w->made) / ROOM * ROOM);
	end = w->stop ? w->made : end < RESERVE ? end : RESERVE;
	back(w, end);
	w->full = end == w->made && !w->stop;
	pthread_mutex_unlock(&w->lock);
	n = end - w->made;
	if (x && x->insert_len && w->decoded < x->insert_at &&
	    n > x->insert_at - w->decoded)
		n = x->insert_at - w->decoded;
	if (!n) {
		errno = ECANCELED;
		return NULL;
	}
	*room = n;
	return w->base + w->made;
}

/* What of the edits' pieces falls on the bytes that were just made. */
static void overlay(struct window *w, size_t len)
{
	const struct window_edits *x = w->edits;
	uint64_t from = w->decoded, end = from + len;

	while (x && w->next < x->n && x->piece[w->next].at < end) {
		const struct window_piece *p = &x->piece[w->next];
		uint64_t a = p->at > from ? p->at : from;
		uint64_t b = p->at + p->len < end ? p->at + p->len : end;

		if (a < b)
			memcpy(w->base + w->made + (a - from),
			       p->data + (a - p->at), b - a);
		if (p->at + p->len > end)
			break;
		w->next++;
	}
}

static void publish(struct window *w, size_t len)
{
	pthread_mutex_lock(&w->lock);
	__atomic_store_n(&w->made, w->made + len, __ATOMIC_RELEASE);
	if (w->made >= w->wake) {
		w->wake = ~0ull;
		pthread_cond_broadcast(&w->change);
	}
	pthread_mutex_unlock(&w->lock);
}

static int insert(struct window *w)
{
	const uint8_t *p = w->edits->insert;
	size_t len = w->edits->insert_len, n;

	while (len) {
		uint8_t *to = window_room(w, &n);

		if (!to)
			return -1;
		n = n < len ? n : len;
		memcpy(to, p, n);
		publish(w, n);
		p += n;
		len -= n;
	}
	return 0;
}

int window_took(struct window *w, size_t len)
{
	if (!len)
		return 0;
	overlay(w, len);
	w->decoded += len;
	publish(w, len);
	return w->edits && w->edits->insert_len &&
		w->decoded == w->edits->insert_at ? insert(w) : 0;
}
