/* layouts_diff.c: nstate layouts diff: what moved, in words and in a picture.
 *
 * Fields that move by the same distance make a run with a letter; the picture
 * shows both pages, 64 bytes a row, two bytes a character, so that one sees the
 * same letter at its two places.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/layouts.h"
#include "layouts/layout_file.h"

#define ROW 64u

/* Consecutive fields (by offset in the first layout that has them) that share
 * one fate. */
struct run {
	enum { SAME, MOVED, ADDED, REMOVED } kind;
	int shift;
	int first, last;      /* field indices */
	unsigned fields;
	unsigned from, to;    /* offset of first in either layout */
	unsigned from_end, to_end;
	char mark;
};

struct diff {
	const struct layout *a, *b;
	struct run run[VMCS_FIELD_COUNT];
	unsigned nruns;
	int shifts[VMCS_FIELD_COUNT]; /* distinct ones, for the letters */
	unsigned nshifts;
	uint8_t mark_a[VMCS12_SIZE], mark_b[VMCS12_SIZE]; /* by byte */
	int field_a[VMCS12_SIZE], field_b[VMCS12_SIZE];   /* at its first byte */
};

static int order_key(const struct diff *d, int idx)
{
	/* In b's order: additions fall where they stand; removals where they
	 * stood. */
	return layout_has(d->b, idx) ? d->b->offset[idx] * 2 + 1 :
		d->a->offset[idx] * 2;
}

static int compare_keys(const void *x, const void *y, void *arg)
{
	return order_key(arg, *(const int *)x) - order_key(arg, *(const int *)y);
}

static char mark_of_shift(struct diff *d, int shift)
{
	unsigned i = 0;

	while (i < d->nshifts && d->shifts[i] != shift)
		i++;
	if (i == d->nshifts)
		d->shifts[d->nshifts++] = shift;
	return (char)(i < 26 ? 'a' + i : 'z');
}

static void add_field(struct diff *d, int idx)
{
	bool in_a = layout_has(d->a, idx), in_b = layout_has(d->b, idx);
	unsigned from = d->a->offset[idx], to = d->b->offset[idx];
	unsigned bytes = vmcs_bytes(vmcs_fields[idx].encoding);
	int shift = in_a && in_b ? (int)to - (int)from : 0;
	struct run *r = d->nruns ? &d->run[d->nruns - 1] : NULL, n = {
		.kind = !in_a ? ADDED : !in_b ? REMOVED : shift ? MOVED : SAME,
		.shift = shift, .first = idx, .from = from, .to = to,
	};

	if (!r || r->kind != n.kind || r->shift != shift) {
		r = &d->run[d->nruns++];
		*r = n;
		r->mark = n.kind == ADDED ? '+' : n.kind == REMOVED ? '-' :
			n.kind == SAME ? '=' : mark_of_shift(d, shift);
	}
	r->last = idx;
	r->fields++;
	r->from_end = in_a ? from + bytes : 0;
	r->to_end = in_b ? to + bytes : 0;
	if (in_a) {
		memset(d->mark_a + from, r->mark, bytes);
		d->field_a[from] = idx;
	}
	if (in_b) {
		memset(d->mark_b + to, r->mark, bytes);
		d->field_b[to] = idx;
	}
}

static void make_diff(struct diff *d, const struct layout *a,
		      const struct layout *b)
{
	int order[VMCS_FIELD_COUNT], n = 0;

	memset(d, 0, sizeof *d);
	d->a = a;
	d->b = b;
	for (unsigned at = 0; at < VMCS12_SIZE; at++) {
		d->field_a[at] = d->field_b[at] = -1;
		d->mark_a[at] = at < 12 ? '#' : at < a->size ? '.' : ' ';
		d->mark_b[at] = at < 12 ? '#' : at < b->size ? '.' : ' ';
	}
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (layout_has(a, i) || layout_has(b, i))
			order[n++] = i;
	qsort_r(order, (size_t)n, sizeof order[0], compare_keys, d);
	for (int i = 0; i < n; i++)
		add_field(d, order[i]);
}

/* -- text ---------------------------------------------------------------------- */
static const char *colour(char mark, bool on)
{
	static const char *const moved[] = {
		"\033[33m", "\033[36m", "\033[35m", "\033[34m", "\033[93m",
	};

	if (!on)
		return "";
	switch (mark) {
	case '=': return "\033[2m";
	case '+': return "\033[32m";
	case '-': return "\033[31m";
	case '.': case '#': case ' ': return "\033[2m";
	default: return moved[(mark - 'a') % 5];
	}
}

static void print_row(FILE *f, const uint8_t *marks, bool on)
{
	char last = 0;

	for (unsigned i = 0; i < ROW; i += 2) {
		/* Two bytes a character: no field is smaller. */
		char mark = (char)marks[i];

		if (mark != last)
			fprintf(f, "%s%s", on && last ? "\033[0m" : "",
				colour(mark, on));
		fputc(mark, f);
		last = mark;
	}
	fputs(on ? "\033[0m" : "", f);
}

static void picture(const struct diff *d, FILE *f, bool on)
{
	unsigned end = d->a->size > d->b->size ? d->a->size : d->b->size;

	fprintf(f, "%6s  %-*s    %s\n", "", (int)ROW / 2, d->a->id, d->b->id);
	for (unsigned at = 0; at < end && at + ROW <= VMCS12_SIZE; at += ROW) {
		fprintf(f, "%6u  ", at);
		print_row(f, d->mark_a + at, on);
		fputs("    ", f);
		print_row(f, d->mark_b + at, on);
		fputc('\n', f);
	}
	fputs("\n  = same place   letter: moved together   + only in the second"
	      "   - only in the first\n  # header       . no field       "
	      "(a row: 64 bytes, a character: 2)\n", f);
}

static void print_run(const struct run *r, FILE *f, bool on)
{
	char from[24] = "", to[24] = "", what[24];
	const char *name = vmcs_fields[r->first].name;

	if (r->kind != ADDED)
		snprintf(from, sizeof from, "%u..%u", r->from, r->from_end - 1);
	if (r->kind != REMOVED)
		snprintf(to, sizeof to, "%u..%u", r->to, r->to_end - 1);
	if (r->kind == MOVED)
		snprintf(what, sizeof what, "%+d", r->shift);
	else
		snprintf(what, sizeof what, "%s", r->kind == ADDED ? "added" :
			 r->kind == REMOVED ? "removed" : "same");
	fprintf(f, "  %s%c%s %11s %11s %8s %7u  %s%s%s\n", colour(r->mark, on),
		r->mark, on ? "\033[0m" : "", from, to, what, r->fields, name,
		r->fields > 1 ? " .. " : "",
		r->fields > 1 ? vmcs_fields[r->last].name : "");
}

static void counts(const struct diff *d, unsigned n[4])
{
	memset(n, 0, 4 * sizeof n[0]);
	for (unsigned i = 0; i < d->nruns; i++)
		n[d->run[i].kind] += d->run[i].fields;
}

static void print_text(const struct diff *d, FILE *f, bool on)
{
	unsigned n[4];

	counts(d, n);
	fprintf(f, "%s (%s, %u bytes) to %s (%s, %u bytes): %u fields in place, "
		"%u moved, %u added, %u removed\n\n", d->a->id, d->a->kernels,
		d->a->size, d->b->id, d->b->kernels, d->b->size, n[SAME],
		n[MOVED], n[ADDED], n[REMOVED]);
	picture(d, f, on);
	fprintf(f, "\n    %11s %11s %8s %7s  %s\n", d->a->id, d->b->id, "BY",
		"FIELDS", "WHICH");
	for (unsigned i = 0; i < d->nruns; i++)
		print_run(&d->run[i], f, on);
}

/* -- SVG ------------------------------------------------------------------------ */
#define UNIT       7u
#define ROW_HEIGHT 22u
#define LEFT       50u
#define TOP        56u
#define GAP        60u
#define LEGEND     90u
#define PAGE_WIDTH (ROW * UNIT)

static const char *fill(char mark)
{
	static const char *const moved[] = {
		"#e6a23c", "#3ca6c8", "#b06fc4", "#5a7fd6", "#c8b43c", "#d67a5a",
	};

	switch (mark) {
	case '=': return "#d8dce0";
	case '+': return "#58b368";
	case '-': return "#d9534f";
	case '#': return "#8a929a";
	case '.': return "#f6f7f8";
	default: return moved[(mark - 'a') % 6];
	}
}

/* One field or gap, cut where a row ends. */
static void svg_box(FILE *f, unsigned left, unsigned at, unsigned bytes,
		    char mark, const char *name)
{
	while (bytes) {
		unsigned room = ROW - at % ROW, n = bytes < room ? bytes : room;

		fprintf(f, "<rect x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\" "
			"fill=\"%s\"><title>%s at %u</title></rect>\n",
			left + at % ROW * UNIT, TOP + at / ROW * ROW_HEIGHT,
			n * UNIT - 1, ROW_HEIGHT - 4, fill(mark), name, at);
		at += n;
		bytes -= n;
	}
}

static void svg_page(FILE *f, unsigned left, const struct layout *l,
		     const uint8_t *marks, const int *fields)
{
	fprintf(f, "<text x=\"%u\" y=\"%u\" class=\"h\">%s</text>\n", left,
		TOP - 12, l->id);
	svg_box(f, left, 0, 12, '#', "header");
	for (unsigned at = 12; at < l->size;) {
		unsigned start = at;

		if (fields[at] >= 0) {
			const struct vmcs_field *v = &vmcs_fields[fields[at]];

			at += vmcs_bytes(v->encoding);
			svg_box(f, left, start, at - start, (char)marks[start],
				v->name);
			continue;
		}
		while (at < l->size && fields[at] < 0)
			at++;
		svg_box(f, left, start, at - start, '.', "no field");
	}
}

static void svg_legend(const struct diff *d, FILE *f, unsigned y)
{
	const unsigned a_row = (PAGE_WIDTH * 2 + GAP) / LEGEND;

	for (unsigned i = 0; i < d->nshifts + 3; i++) {
		static const char marks[] = { '=', '+', '-' };
		static const char *const words[] = { "in place", "added",
						     "removed" };
		char mark = i < 3 ? marks[i] :
			(char)(i - 3 < 26 ? 'a' + (i - 3) : 'z');
		unsigned x = LEFT + i % a_row * LEGEND;
		unsigned at = y + i / a_row * ROW_HEIGHT;
		char text[32];

		snprintf(text, sizeof text, "%+d", i < 3 ? 0 : d->shifts[i - 3]);
		fprintf(f, "<rect x=\"%u\" y=\"%u\" width=\"14\" height=\"14\" "
			"fill=\"%s\"/><text x=\"%u\" y=\"%u\">%s</text>\n", x, at,
			fill(mark), x + 20, at + 12, i < 3 ? words[i] : text);
	}
}

static void print_svg(const struct diff *d, FILE *f)
{
	unsigned end = d->a->size > d->b->size ? d->a->size : d->b->size;
	unsigned rows = (end + ROW - 1) / ROW;
	unsigned width = LEFT + 2 * PAGE_WIDTH + GAP + 20;
	unsigned legend = d->nshifts * LEGEND / (PAGE_WIDTH * 2) + 1;
	unsigned height = TOP + (rows + legend) * ROW_HEIGHT + 50;

	fprintf(f, "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" "
		"height=\"%u\" viewBox=\"0 0 %u %u\">\n<style>text{font:13px "
		"sans-serif;fill:#333}.h{font-weight:bold}.o{fill:#888;"
		"text-anchor:end}</style>\n<rect width=\"100%%\" "
		"height=\"100%%\" fill=\"#fff\"/>\n<text x=\"%u\" y=\"22\">"
		"struct vmcs12: %s (%s) and %s (%s), 64 bytes a row</text>\n",
		width, height, width, height, LEFT, d->a->id, d->a->kernels,
		d->b->id, d->b->kernels);
	for (unsigned r = 0; r < rows; r++)
		fprintf(f, "<text x=\"%u\" y=\"%u\" class=\"o\">%u</text>\n",
			LEFT - 8, TOP + r * ROW_HEIGHT + 14, r * ROW);
	svg_page(f, LEFT, d->a, d->mark_a, d->field_a);
	svg_page(f, LEFT + PAGE_WIDTH + GAP, d->b, d->mark_b, d->field_b);
	svg_legend(d, f, TOP + rows * ROW_HEIGHT + 18);
	fputs("</svg>\n", f);
}

/* -- JSON ------------------------------------------------------------------------ */
static json_t *json_diff(const struct diff *d)
{
	json_t *moved = json_array(), *added = json_array();
	json_t *removed = json_array();
	unsigned n[4];

	counts(d, n);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		const char *name = vmcs_fields[i].name;
		int a = d->a->offset[i], b = d->b->offset[i];
		char enc[8];

		snprintf(enc, sizeof enc, "0x%04x", vmcs_fields[i].encoding);

		if (a && b && a != b)
			json_array_append_new(moved, json_pack(
				"{s:s, s:s, s:i, s:i, s:i}", "name", name,
				"encoding", enc, "from", a, "to", b, "by",
				b - a));
		else if (a && !b)
			json_array_append_new(removed, json_pack(
				"{s:s, s:s, s:i}", "name", name, "encoding",
				enc, "from", a));
		else if (b && !a)
			json_array_append_new(added, json_pack(
				"{s:s, s:s, s:i}", "name", name, "encoding",
				enc, "to", b));
	}
	return json_pack("{s:o, s:o, s:i, s:o, s:o, s:o}", "from",
			 json_layout(d->a), "to", json_layout(d->b), "in_place",
			 (int)n[SAME], "moved", moved, "added", added,
			 "removed", removed);
}

int layouts_diff(const struct layouts_options *o)
{
	bool on = isatty(STDOUT_FILENO) && !getenv("NO_COLOR") && !o->output;
	struct layout a, b;
	struct nst_error e;
	struct diff *d;
	struct sink s;
	int status;

	if (layout_resolve(o->arg[0], &a, &e) ||
	    layout_resolve(o->arg[1], &b, &e))
		return cli_fail(NULL, &e);
	d = malloc(sizeof *d);
	if (!d) {
		nst_fail(&e, NST_SYSTEM, "out of memory");
		return cli_fail(NULL, &e);
	}
	make_diff(d, &a, &b);
	if (o->json) {
		status = json_finish(json_diff(d), o, NST_OK);
		free(d);
		return status;
	}
	status = sink_open(&s);
	if (!status) {
		if (o->svg)
			print_svg(d, s.f);
		else
			print_text(d, s.f, on);
		status = sink_close(&s, o, NST_OK);
	}
	free(d);
	return status;
}
