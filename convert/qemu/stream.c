/* stream.c: walks a migration stream's sections from the magic to the end mark.
 *
 * Device sections have no length.  It comes from the JSON description at the
 * end; without it, cpu sections are walked by their fixed table (cpu.c) and
 * others passed over to the next footer, or the next plausible header where
 * the machine type is too old for footers.
 */
#include "convert/qemu/stream.h"

#include <stdio.h>
#include <stdlib.h>

#define MAGIC 0x5145564du
#define MAX_SECTIONS 65536u

enum {
	S_EOF = 0, S_START = 1, S_PART = 2, S_END = 3, S_FULL = 4, S_SUB = 5,
	S_VMDESC = 6, S_CONFIG = 7, S_COMMAND = 8, S_FOOTER = 0x7e,
};
enum { CMD_POSTCOPY_ADVISE = 3, CMD_PACKAGED = 7 };

bool qstream_is(const uint8_t *p, size_t len)
{
	return len >= 8 && be_at(p, 4) == MAGIC && be_at(p + 4, 4) <= 3;
}

static enum nst_status bad(struct nst_error *e, uint64_t at, const char *what)
{
	return nst_fail(e, NST_BAD_INPUT, "%s at byte 0x%llx of the stream", what,
			(unsigned long long)at);
}

static enum nst_status is_cut(struct nst_error *e, const struct cursor *c)
{
	return nst_fail(e, NST_BAD_INPUT, "the stream is cut after byte 0x%llx",
			(unsigned long long)c->at);
}

/* -- configuration ------------------------------------------------------------- */

static void capability(struct qstream *q, const char *name)
{
	if (!strcmp(name, "x-ignore-shared"))
		q->ignore_shared = true;
	if (!strcmp(name, "mapped-ram"))
		q->mapped_ram = true;
}

static enum nst_status config_part(struct qstream *q, struct cursor *c,
				   struct nst_error *e)
{
	uint64_t at = c->at++;
	char name[256], cap[256];

	cur_name(c, name);
	cur_be(c, 4);
	if (!strcmp(name, "configuration/capabilities")) {
		uint32_t n = (uint32_t)cur_be(c, 4);
		for (uint32_t i = 0; i < n && !c->cut; i++) {
			cur_name(c, cap);
			capability(q, cap);
		}
	} else if (!strcmp(name, "configuration/target-page-bits")) {
		cur_be(c, 4);
	} else if (!strcmp(name, "configuration/uuid")) {
		cur_skip(c, 16);
	} else if (!c->cut) {
		return bad(e, at, "an unknown part of the configuration");
	}
	return c->cut ? is_cut(e, c) : NST_OK;
}

static enum nst_status config(struct qstream *q, struct cursor *c,
			      struct nst_error *e)
{
	uint64_t at = c->at++;
	uint32_t len = (uint32_t)cur_be(c, 4);
	const uint8_t *p = cur_take(c, len);
	enum nst_status st = NST_OK;

	if (!p)
		return is_cut(e, c);
	if (len >= sizeof q->machine || memchr(p, 0, len))
		return bad(e, at, "a machine type of impossible length");
	memcpy(q->machine, p, len);
	q->footers = true;
	while (!st && cur_has(c, 1) && c->p[c->at] == S_SUB)
		st = config_part(q, c, e);
	return st;
}

/* -- device sections ----------------------------------------------------------- */

static bool plausible_header(const uint8_t *p, uint64_t at, uint64_t end,
			     uint32_t id)
{
	struct cursor c = { .p = p, .at = at, .end = end };
	uint64_t type = cur_be(&c, 1), next = cur_be(&c, 4), version;
	char name[256];

	if (type != S_START && type != S_FULL)
		return false;
	cur_name(&c, name);
	cur_be(&c, 4);
	version = cur_be(&c, 4);
	if (c.cut || next <= id || next - id > 4096 || version > 1000 ||
	    strlen(name) < 2)
		return false;
	for (const char *s = name; *s; s++)
		if (*s <= ' ' || *s > '~')
			return false;
	return true;
}

/* What may follow a footer. */
static bool plausible_next(const struct qstream *q, const uint8_t *p,
			   uint64_t at, uint64_t end, uint32_t id)
{
	struct cursor c = { .p = p, .at = at, .end = end };
	uint64_t type = cur_be(&c, 1);

	switch (c.cut ? 0xff : type) {
	case S_EOF:
		return true;
	case S_START:
	case S_FULL:
		return plausible_header(p, at, end, id);
	case S_PART:
	case S_END:
		return cur_be(&c, 4) <= id || q->have_ram;
	case S_COMMAND:
		return cur_be(&c, 2) <= 32;
	}
	return false;
}

/* The end of a body of unknown length; 0 where there is none. */
static uint64_t resync(const struct qstream *q, const uint8_t *p, uint64_t at,
		       uint64_t end, uint32_t id)
{
	uint8_t footer[5] = { S_FOOTER };

	be_put(footer + 1, id, 4);
	for (uint64_t i = at; q->footers; i++) {
		const uint8_t *hit = memmem(p + i, end - i, footer, 5);
		if (!hit)
			return 0;
		i = (uint64_t)(hit - p);
		if (plausible_next(q, p, i + 5, end, id))
			return i;
	}
	for (uint64_t i = at; i < end; i++) {
		if (p[i] == S_EOF && (i + 1 == end || (i + 7 < end &&
		    p[i + 1] == S_VMDESC && p[i + 6] == '{')))
			return i;
		if (plausible_header(p, i, end, id))
			return i;
	}
	return 0;
}

static bool footer_at(const struct qstream *q, const uint8_t *p, uint64_t at,
		      uint64_t end, uint32_t id)
{
	return !q->footers || (end - at >= 5 && at <= end &&
			       p[at] == S_FOOTER && be_at(p + at + 1, 4) == id);
}

/* The end of a device's body: by JSON, by the cpu table, by what follows. */
static uint64_t body_end(struct qstream *q, const struct cursor *c,
			 const struct qsection *s, uint32_t id)
{
	uint64_t len = 0, room = c->end - c->at;

	if (!q->desc && !q->desc_at)
		q->desc = qdesc_find(c->p, c->at, c->end, &q->desc_at);
	if (!q->desc)
		q->desc_at = ~0ull; /* looked for, not found */
	else
		len = qdesc_length(q->desc, s->name, s->instance);
	if (len && len <= room &&
	    footer_at(q, c->p, c->at + len, c->end, id))
		return c->at + len;
	if (!strcmp(s->name, "cpu")) {
		len = qcpu_length(c->p, c->at, c->end, s->version);
		if (len && len <= room &&
		    footer_at(q, c->p, c->at + len, c->end, id))
			return c->at + len;
		/* Without footers all that follows would pass for its end. */
		if (len == ~0ull && !q->footers)
			return 0;
	}
	return resync(q, c->p, c->at, c->end, id);
}

/* All that is left of a passing source, which stays where it is. */
static bool take_the_rest(struct qstream *q, struct cursor *c,
			  struct nst_error *e)
{
	q->released = 0;
	c->starved = !source_need_all(c->more);
	c->end = source_size(c->more);
	if (c->starved) {
		is_cut(e, c);
		return false;
	}
	c->more = NULL;
	return true;
}

static enum nst_status device(struct qstream *q, struct cursor *c,
			      const char *name, uint32_t id, uint32_t instance,
			      uint32_t version, struct nst_error *e)
{
	struct qsection *s;

	/* How long it is stands at the end, if anywhere; it is read again later. */
	if (c->more && !take_the_rest(q, c, e))
		return e->status;
	if (q->nsections == q->room) {
		uint32_t room = q->room ? q->room * 2 : 64;
		s = room > MAX_SECTIONS ? NULL :
			realloc(q->section, room * sizeof *s);
		if (!s)
			return bad(e, c->at, "too many sections");
		q->section = s;
		q->room = room;
	}
	s = &q->section[q->nsections++];
	*s = (struct qsection){ .id = id, .instance = instance,
				.version = version, .body = c->at };
	strcpy(s->name, name);
	s->end = body_end(q, c, s, id);
	if (!s->end)
		return nst_fail(e, NST_BAD_INPUT, "the stream is cut or damaged "
				"in section \"%s\", which begins at byte 0x%llx",
				s->name, (unsigned long long)s->body);
	c->at = s->end;
	return NST_OK;
}

static enum nst_status ram_section(struct qstream *q, struct cursor *c,
				   uint32_t id, uint32_t version,
				   struct nst_error *e)
{
	if (q->have_ram)
		return bad(e, c->at, "a second RAM section");
	if (version != 4)
		return nst_fail(e, NST_BAD_INPUT, "RAM section of version %u; "
				"only 4 is known", version);
	q->have_ram = true;
	q->ram_id = id;
	q->ram_last = c->at;
	return qram_start(q, c, e);
}

/* A device's section of several parts, of which QEMU has few (dirty bitmaps). */
static enum nst_status device_part(struct qstream *q, struct cursor *c,
				   uint64_t at, uint32_t id,
				   struct nst_error *e)
{
	for (uint32_t i = 0; i < q->nsections; i++)
		if (q->section[i].id == id)
			return device(q, c, "", id, 0, 0, e);
	return bad(e, at, "a part of a section that never began");
}

static enum nst_status section(struct qstream *q, struct cursor *c,
			       struct nst_error *e)
{
	uint64_t at = c->at;
	uint64_t type = cur_be(c, 1);
	uint32_t id = (uint32_t)cur_be(c, 4), instance, version;
	char name[256];
	enum nst_status st;

	if (type == S_START || type == S_FULL) {
		cur_name(c, name);
		instance = (uint32_t)cur_be(c, 4);
		version = (uint32_t)cur_be(c, 4);
		if (c->cut)
			return is_cut(e, c);
		st = !strcmp(name, "ram") && type == S_START ?
			ram_section(q, c, id, version, e) :
			device(q, c, name, id, instance, version, e);
	} else if (c->cut) {
		return is_cut(e, c);
	} else if (q->have_ram && id == q->ram_id) {
		q->ram_last = at;
		st = qram_records(q, c, e);
	} else {
		st = device_part(q, c, at, id, e);
	}
	if (st || !q->footers)
		return st;
	if (!cur_has(c, 5))
		return is_cut(e, c);
	if (!footer_at(q, c->p, c->at, c->end, id))
		return nst_fail(e, NST_BAD_INPUT, "no footer at byte 0x%llx of "
				"the stream for the section at byte 0x%llx",
				(unsigned long long)c->at,
				(unsigned long long)at);
	c->at += 5;
	return NST_OK;
}

/* -- the rest ------------------------------------------------------------------ */

static enum nst_status command(struct qstream *q, struct cursor *c,
			       struct nst_error *e)
{
	uint64_t at = c->at++;
	unsigned cmd = (unsigned)cur_be(c, 2), len = (unsigned)cur_be(c, 2);

	if (!cur_skip(c, len))
		return is_cut(e, c);
	if (cmd > 32)
		return bad(e, at, "an unknown command");
	if (cmd == CMD_POSTCOPY_ADVISE)
		q->postcopy = true;
	/* What is packaged are sections like any others: go on inside. */
	return NST_OK;
}

/* One damaged byte can look like the end: a VM has RAM and a CPU, and no section
 * with a number that is yet to come follows.  (Stale bytes may.) */
static enum nst_status check_end(struct qstream *q, struct cursor *c,
				 struct nst_error *e)
{
	bool cpu = false;
	uint32_t last = q->ram_id;

	for (uint32_t i = 0; i < q->nsections; i++) {
		cpu |= !strcmp(q->section[i].name, "cpu");
		if (q->section[i].id > last)
			last = q->section[i].id;
	}
	if (!q->have_ram || !cpu)
		return bad(e, c->at, q->have_ram ? "the end, without a cpu "
			   "section before it," : "the end, without RAM before "
			   "it,");
	if (c->at + 1 < c->end &&
	    plausible_header(c->p, c->at + 1, c->end, last))
		return bad(e, c->at, "an end mark with a section behind it");
	return NST_OK;
}

static enum nst_status end_mark(struct qstream *q, struct cursor *c,
				struct nst_error *e)
{
	enum nst_status st = check_end(q, c, e);

	if (st)
		return st;
	c->at++;
	q->end = c->at;
	if (!cur_has(c, 1) || c->p[c->at] != S_VMDESC)
		return NST_OK;
	c->at++;
	uint32_t len = (uint32_t)cur_be(c, 4);
	if (c->cut || !cur_skip(c, len))
		return nst_fail(e, NST_BAD_INPUT, "the stream is cut in its "
				"description, after byte 0x%llx",
				(unsigned long long)c->at);
	q->end = c->at;
	return NST_OK;
}

static enum nst_status walk(struct qstream *q, struct cursor *c,
			    struct nst_error *e)
{
	enum nst_status st = NST_OK;

	while (!st) {
		if (!cur_has(c, 1))
			return is_cut(e, c);
		switch (c->p[c->at]) {
		case S_EOF:
			return end_mark(q, c, e);
		case S_START:
		case S_PART:
		case S_END:
		case S_FULL:
			st = section(q, c, e);
			break;
		case S_CONFIG:
			st = q->nsections || q->have_ram ?
				bad(e, c->at, "a second configuration") :
				config(q, c, e);
			break;
		case S_COMMAND:
			st = command(q, c, e);
			break;
		default:
			st = bad(e, c->at, "no section begins");
		}
	}
	return st;
}

static enum nst_status open_walk(struct qstream *q, struct cursor *c,
				 struct nst_error *e)
{
	enum nst_status st;

	if (!cur_has(c, 8) || !qstream_is(c->p + c->at, 8))
		return bad(e, c->at, "no migration stream begins");
	c->at += 4;
	if (cur_be(c, 4) != 3)
		return nst_fail(e, NST_BAD_INPUT, "a stream of version 2 (QEMU "
				"before 0.12) is not supported");
	st = walk(q, c, e);
	return st ? st : qmultifd_rest(q, e);
}

enum nst_status qstream_open(struct qstream *q, struct source *src,
			     bool own_src, uint64_t start,
			     const struct container_options *o,
			     struct nst_error *e)
{
	struct cursor c = { .at = start, .more = source_passes(src) ? src : NULL };
	enum nst_status st;

	q->src = src;
	q->own_src = own_src;
	q->start = start;
	q->options = o;
	q->last_block = -1;
	q->index.fd = q->index.spool = -1;
	c.end = source_size(src);
	c.p = source_at(src, 0, 0);
	st = open_walk(q, &c, e);
	q->gave_up |= source_too_much(src);
	/* Where decoding failed, that is why the stream seemed to end. */
	if (st && c.starved && source_status(src, e))
		st = e->status;
	if (!st)
		qmap_make(q, o->lowmem);
	return st;
}

void qstream_close(struct qstream *q)
{
	qmultifd_close(q);
	qram_close(q);
	json_decref(q->desc);
	free(q->section);
	if (q->own_src)
		source_close(q->src);
}
