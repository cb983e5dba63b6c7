/* pieces.c: a growing list of pieces, and a compressed file written again with them. */
#include "convert/pieces.h"

#include <stdlib.h>

#include "convert/codec.h"
#include "convert/source.h"

enum nst_status pieces_add(void *arg, uint64_t at, const uint8_t *data,
			   size_t len, struct nst_error *e)
{
	struct pieces *p = arg;

	if (p->n == p->room) {
		size_t room = p->room ? p->room * 2 : 16;
		struct window_piece *v = realloc(p->v, room * sizeof *v);
		if (!v)
			return nst_fail(e, NST_SYSTEM, "out of memory");
		p->v = v;
		p->room = room;
	}
	p->v[p->n++] = (struct window_piece){ at, data, len };
	return NST_OK;
}

void pieces_free(struct pieces *p)
{
	free(p->v);
	*p = (struct pieces){ 0 };
}

static int by_position(const void *a, const void *b)
{
	const struct window_piece *x = a, *y = b;

	return x->at < y->at ? -1 : x->at > y->at;
}

enum nst_status pieces_recode(struct pieces *p, struct source *src,
			      const uint8_t *insert, size_t insert_len,
			      uint64_t insert_at,
			      const struct container_progress *progress, int fd,
			      struct nst_error *e)
{
	const struct window_edits x = { p->v, p->n, insert, insert_len,
					insert_at };
	const char *name = source_wrapping(src);
	const struct codec *codec = codec_by_name(name);

	if (!codec || !codec->encode)
		return nst_fail(e, NST_BAD_INPUT, "cannot write %s again", name);
	if (p->n)
		qsort(p->v, p->n, sizeof *p->v, by_position);
	return source_recode(src, codec, &x, progress, fd, e);
}
