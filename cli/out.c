/* out.c: the two renderers.  JSON is built as a jansson tree. */
#include "cli/out.h"

#include <inttypes.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>

#define DEPTH 16

struct out {
	bool json;
	FILE *f;
	json_t *stack[DEPTH];
	int top;
};

struct out *out_open(bool json, FILE *f)
{
	struct out *o = calloc(1, sizeof *o);

	if (!o)
		abort(); /* 144 bytes */
	o->json = json;
	o->f = f;
	if (json)
		o->stack[0] = json_object();
	return o;
}

bool out_close(struct out *o)
{
	bool good = true;

	if (o->json) {
		good = !json_dumpf(o->stack[0], o->f, JSON_INDENT(2)) &&
			fputc('\n', o->f) != EOF;
		json_decref(o->stack[0]);
	}
	good = good && !fflush(o->f) && !ferror(o->f);
	free(o);
	return good;
}

void out_drop(struct out *o)
{
	if (o->json)
		json_decref(o->stack[0]);
	free(o);
}

bool out_is_json(const struct out *o)
{
	return o->json;
}

static void put(struct out *o, const char *name, json_t *v)
{
	json_t *in = o->stack[o->top];

	if (json_is_array(in))
		json_array_append_new(in, v);
	else
		json_object_set_new(in, name, v);
}

static void push(struct out *o, const char *name, json_t *v)
{
	if (o->top + 1 == DEPTH)
		abort(); /* nesting is fixed by the callers, not by input */
	put(o, name, v);
	o->stack[++o->top] = v;
}

void out_begin(struct out *o, const char *name)
{
	if (o->json)
		push(o, name, json_object());
}

void out_end(struct out *o)
{
	if (o->json)
		o->top--;
}

void out_list(struct out *o, const char *name)
{
	if (o->json)
		push(o, name, json_array());
}

void out_list_end(struct out *o)
{
	out_end(o);
}

static void line(struct out *o, const char *label, const char *value)
{
	fprintf(o->f, "  %-22s %s\n", label, value);
}

void out_str(struct out *o, const char *name, const char *label,
	     const char *format, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	if (o->json) {
		json_t *v;

		if (!name && !json_is_array(o->stack[o->top]))
			return; /* for people only */
		/* What came from a file may not be UTF-8. */
		v = json_string(text);
		put(o, name, v ? v : json_string("(not text)"));
	} else if (label) {
		line(o, label, text);
	}
}

void out_hex(struct out *o, const char *name, const char *label, uint64_t v)
{
	out_str(o, name, label, "0x%" PRIx64, v);
}

void out_u64(struct out *o, const char *name, const char *label, uint64_t v)
{
	char text[24];

	if (o->json && v >> 53) {
		out_hex(o, name, label, v);
	} else if (o->json) {
		put(o, name, json_integer((json_int_t)v));
	} else if (label) {
		snprintf(text, sizeof text, "%" PRIu64, v);
		line(o, label, text);
	}
}

void out_bool(struct out *o, const char *name, const char *label, bool v)
{
	if (o->json)
		put(o, name, json_boolean(v));
	else if (label)
		line(o, label, v ? "yes" : "no");
}

void out_text(struct out *o, const char *format, ...)
{
	va_list ap;

	if (o->json)
		return;
	va_start(ap, format);
	vfprintf(o->f, format, ap);
	va_end(ap);
}
