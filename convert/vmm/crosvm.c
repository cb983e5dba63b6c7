/* crosvm.c: the reader of a vCPU file of a crosvm snapshot: CBOR, in which the
 * nested state is a list of small integers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/readers.h"
#include "convert/source.h"
#include "convert/vmm/bytearray.h"

static const char key[] = "\x6cnested_state";
#define KEY_LEN (sizeof key - 1)

static int probe(const uint8_t *head, size_t len, uint64_t size)
{
	(void)size;
	/* A map whose first key is text, and the name somewhere. */
	if (len < 32 || ((head[0] & 0xe0) != 0xa0) || (head[1] >> 5) != 3)
		return 0;
	return memmem(head, len, key, KEY_LEN) ? 75 :
		memmem(head, len, "\x67vcpu_id", 8) ? 70 : 0;
}

/* An integer's or an array's head: its number; false where it is of another
 * major type.  *open: an array without a length. */
static bool head(struct cursor *c, unsigned major, uint64_t *n, bool *open)
{
	unsigned b = (unsigned)cur_be(c, 1), info = b & 31;

	*open = info == 31;
	*n = info;
	if (b >> 5 != major || (info > 27 && !(*open && major == 4)))
		return false;
	if (info >= 24 && info <= 27)
		*n = cur_be(c, 1u << (info - 24));
	return !c->cut;
}

static uint8_t *encode(const uint8_t *b, uint32_t n, size_t *len)
{
	uint8_t *out = malloc(2 * (size_t)n + 5), *p = out;

	if (!out)
		return NULL;
	*p++ = n > 0xffff ? 0x9a : 0x99;
	be_put(p, n, n > 0xffff ? 4 : 2);
	p += n > 0xffff ? 4 : 2;
	for (uint32_t i = 0; i < n; i++) {
		if (b[i] > 23)
			*p++ = 0x18;
		*p++ = b[i];
	}
	*len = (size_t)(p - out);
	return out;
}

static enum nst_status take(struct container *c, struct byte_lists *l,
			    struct cursor *cur, uint8_t *buf,
			    struct nst_error *e)
{
	uint64_t from = cur->at, n, x;
	bool open, no;
	uint32_t i = 0;

	if (!head(cur, 4, &n, &open))
		return nst_fail(e, NST_BAD_INPUT, "nested_state is no list, at "
				"byte %llu", (unsigned long long)from);
	if (!open && !n)
		return NST_OK;
	for (; open || i < n; i++) {
		if (open && cur->at < cur->end && cur->p[cur->at] == 0xff) {
			cur->at++;
			break;
		}
		if (i == BA_MOST || !head(cur, 0, &x, &no) || x > 255)
			return nst_fail(e, NST_BAD_INPUT, "nested_state is cut or "
					"damaged at byte %llu",
					(unsigned long long)cur->at);
		buf[i] = (uint8_t)x;
	}
	if (!nested_plausible(buf, i))
		return nst_fail(e, NST_BAD_INPUT, "nested_state, at byte %llu, is "
				"none", (unsigned long long)from);
	return byte_lists_add(l, from, cur->at) &&
		container_add_state(c, -1, buf, i, ~0ull) ? NST_OK :
		nst_fail(e, NST_SYSTEM, "out of memory");
}

static enum nst_status open_crosvm(struct container *c, struct nst_error *e)
{
	struct byte_lists *l = calloc(1, sizeof *l);
	struct cursor cur = { .p = source_at(c->src, 0, 0),
			      .end = source_size(c->src) };
	uint8_t *buf = malloc(BA_MOST);
	const uint8_t *hit;
	enum nst_status st;

	c->priv = l;
	if (!l || !buf || !container_set_vcpus(c, 1)) {
		free(buf);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	l->encode = encode;
	hit = memmem(cur.p, cur.end, key, KEY_LEN);
	if (hit) {
		cur.at = (uint64_t)(hit - cur.p) + KEY_LEN;
		st = take(c, l, &cur, buf, e);
		/* The rest must at least be there. */
		if (!st && (cur.at >= cur.end))
			st = nst_fail(e, NST_BAD_INPUT, "cut after the nested "
				      "state, at byte %llu",
				      (unsigned long long)cur.at);
	} else {
		st = nst_fail(e, NST_BAD_INPUT, "a crosvm vCPU without nested "
			      "state (crosvm before August 2025, or cut)");
	}
	snprintf(c->note, sizeof c->note, "one vCPU; its RAM is another file "
		 "(mem)");
	free(buf);
	return st;
}

static enum nst_status rewrite(struct container *c, int fd,
			       const struct container_patch *p, size_t n,
			       struct nst_error *e)
{
	return byte_lists_rewrite(c, c->priv, fd, p, n, e);
}

static enum nst_status load(struct container *c, struct snapshot *s,
			    struct nst_error *e)
{
	(void)c, (void)s;
	return nst_fail(e, NST_BAD_INPUT, "crosvm's registers are not read: its "
			"nested state can be inspected and converted");
}

static void close_crosvm(struct container *c)
{
	struct byte_lists *l = c->priv;

	if (l)
		free(l->v);
	free(l);
}

const struct container_ops reader_crosvm = {
	.kind = "crosvm vCPU", .probe = probe, .open = open_crosvm, .load = load,
	.place = byte_lists_place, .rewrite = rewrite, .close = close_crosvm,
};
