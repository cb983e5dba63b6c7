/* bytes.h: integers of either byte order out of memory, and a cursor that
 * cannot run over its end. */
#ifndef NSTATE_CONVERT_BYTES_H
#define NSTATE_CONVERT_BYTES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

static inline uint64_t be_at(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	while (bytes--)
		v = v << 8 | *p++;
	return v;
}

static inline uint64_t le_at(const uint8_t *p, unsigned bytes)
{
	uint64_t v = 0;

	memcpy(&v, p, bytes);
	return v;
}

static inline void be_put(uint8_t *p, uint64_t v, unsigned bytes)
{
	while (bytes--)
		*p++ = (uint8_t)(v >> 8 * bytes);
}

struct source;

/* Positions are absolute.  After cut, everything reads as 0. */
struct cursor {
	const uint8_t *p; /* of position 0 */
	uint64_t at, end;
	bool cut;
	struct source *more; /* that end may still move in, or NULL */
	bool starved;        /* it could not any further */
};

/* Has [at, at + n) made where that is possible; moves the end (source.c). */
bool cur_more(struct cursor *c, uint64_t n);

static inline bool cur_has(struct cursor *c, uint64_t n)
{
	return c->at <= c->end && (c->end - c->at >= n ||
				   (c->more && cur_more(c, n)));
}

static inline const uint8_t *cur_take(struct cursor *c, uint64_t n)
{
	const uint8_t *p;

	if (c->cut || !cur_has(c, n)) {
		c->cut = true;
		return NULL;
	}
	p = c->p + c->at;
	c->at += n;
	return p;
}

static inline uint64_t cur_be(struct cursor *c, unsigned bytes)
{
	const uint8_t *p = cur_take(c, bytes);

	return p ? be_at(p, bytes) : 0;
}

static inline uint64_t cur_le(struct cursor *c, unsigned bytes)
{
	const uint8_t *p = cur_take(c, bytes);

	return p ? le_at(p, bytes) : 0;
}

static inline bool cur_skip(struct cursor *c, uint64_t n)
{
	return cur_take(c, n) != NULL;
}

/* u8 length, then that many bytes; buf (256 bytes) gets it with a NUL. */
static inline void cur_name(struct cursor *c, char *buf)
{
	unsigned n = (unsigned)cur_be(c, 1);
	const uint8_t *p = cur_take(c, n);

	if (p)
		memcpy(buf, p, n);
	buf[p ? n : 0] = 0;
}

#endif
