/* layout_file.c: reads and writes layout files; sees to it that a layout from
 * outside is sound before anything reads a page by it. */
#include "layouts/layout_file.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <strings.h>

#include "layouts/builtin.h"

#define FORMAT_LINE "nstate-layout 1"
/* A file of every field with its name is under 10 KiB. */
#define MAX_FILE (256u * 1024)

void layout_derive(struct layout *l)
{
	const struct layout *v40 = &builtin_layouts[LI_v4_0];

	l->preserves_v40 = true;
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (layout_has(v40, i) && layout_has(l, i) &&
		    v40->offset[i] != l->offset[i])
			l->preserves_v40 = false;
}

enum nst_status layout_validate(const struct layout *l, struct nst_error *e)
{
	int owner[VMCS12_SIZE];

	if (l->size < VMCS12_OFF_LAUNCH + 4 || l->size > VMCS12_SIZE)
		return nst_fail(e, NST_BAD_INPUT,
				"size %u is not between 12 and 4096", l->size);
	for (size_t b = 0; b < VMCS12_SIZE; b++)
		owner[b] = -1;
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		const struct vmcs_field *f = &vmcs_fields[i];
		unsigned at = l->offset[i], n = vmcs_bytes(f->encoding);

		if (!at)
			continue;
		if (at < VMCS12_OFF_LAUNCH + 4 || at + n > l->size)
			return nst_fail(e, NST_BAD_INPUT, "%s at offset %u is "
					"outside of bytes 12 to %u", f->name, at,
					l->size - 1);
		for (unsigned b = at; b < at + n; b++) {
			if (owner[b] >= 0)
				return nst_fail(e, NST_BAD_INPUT, "%s and %s "
						"both have byte %u",
						vmcs_fields[owner[b]].name,
						f->name, b);
			owner[b] = i;
		}
	}
	return NST_OK;
}

static int by_offset(const void *a, const void *b, void *layout)
{
	const struct layout *l = layout;

	return (int)l->offset[*(const int *)a] - (int)l->offset[*(const int *)b];
}

void layout_print(const struct layout *l, const char *comment, FILE *f)
{
	int order[VMCS_FIELD_COUNT], n = 0;

	fputs(FORMAT_LINE "\n", f);
	while (comment && *comment) {
		int len = (int)strcspn(comment, "\n");

		fprintf(f, "# %.*s\n", len, comment);
		comment += len + (comment[len] == '\n');
	}
	fprintf(f, "name %s\n", *l->id ? l->id : "unnamed");
	if (*l->kernels)
		fprintf(f, "kernels %s\n", l->kernels);
	fprintf(f, "size %u\n", l->size);
	if (l->emits_blob)
		fputs("emits-blob yes\n", f);
	fputs("# encoding offset name\n", f);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (layout_has(l, i))
			order[n++] = i;
	qsort_r(order, (size_t)n, sizeof order[0], by_offset, (void *)l);
	for (int i = 0; i < n; i++)
		fprintf(f, "0x%04x %4u %s\n", vmcs_fields[order[i]].encoding,
			l->offset[order[i]], vmcs_fields[order[i]].name);
}

struct parser {
	struct layout *l;
	struct nst_error *e;
	unsigned line;
	bool have_name, have_size, have_fields;
};

static enum nst_status bad(struct parser *p, const char *what)
{
	return nst_fail(p->e, NST_BAD_INPUT, "line %u: %s", p->line, what);
}

static bool number(const char *text, int base, unsigned long max,
		   unsigned long *out)
{
	char *end;

	if (!isxdigit((unsigned char)*text))
		return false;
	errno = 0;
	*out = strtoul(text, &end, base);
	return !errno && !*end && *out <= max;
}

static enum nst_status parse_field(struct parser *p, const char *enc_text,
				   char *rest)
{
	char *offset = strtok_r(NULL, " \t", &rest);
	char *name = strtok_r(NULL, " \t", &rest);
	unsigned long enc, at;
	int idx;

	if (!number(enc_text, 16, UINT16_MAX, &enc))
		return bad(p, "not an encoding");
	if (!offset || !number(offset, 0, VMCS12_SIZE - 1, &at) || !at)
		return bad(p, "not an offset in the page");
	if (strtok_r(NULL, " \t", &rest))
		return bad(p, "too many words");
	idx = enc & 1 ? -1 : vmcs_field_index((uint32_t)enc);
	if (idx < 0)
		return bad(p, "no VMCS field has this encoding");
	if (name && vmcs_field_lookup(name) != idx)
		return bad(p, "the name is of another field");
	if (p->l->offset[idx])
		return bad(p, "this field was given before");
	p->l->offset[idx] = (uint16_t)at;
	p->have_fields = true;
	return NST_OK;
}

static enum nst_status parse_text(struct parser *p, char *to, size_t size,
				  const char *text, const char *what)
{
	if (!*text)
		return bad(p, what);
	if (strlen(text) >= size)
		return bad(p, "too long");
	for (const char *c = text; *c; c++)
		if (iscntrl((unsigned char)*c))
			return bad(p, "control characters");
	strcpy(to, text);
	return NST_OK;
}

static enum nst_status parse_line(struct parser *p, char *line)
{
	char *rest = NULL, *word;
	unsigned long n;

	line[strcspn(line, "#")] = '\0';
	for (size_t k = strlen(line); k && isspace((unsigned char)line[k - 1]);)
		line[--k] = '\0';
	if (p->line == 1)
		return strcmp(line, FORMAT_LINE) ?
			bad(p, "not a layout file (want \"" FORMAT_LINE "\")") :
			NST_OK;
	word = strtok_r(line, " \t", &rest);
	if (!word)
		return NST_OK;
	if (!strncasecmp(word, "0x", 2))
		return parse_field(p, word + 2, rest);
	rest += strspn(rest, " \t");
	if (!strcmp(word, "name")) {
		p->have_name = true;
		return parse_text(p, p->l->id, sizeof p->l->id, rest,
				  "name without a name");
	}
	if (!strcmp(word, "kernels"))
		return parse_text(p, p->l->kernels, sizeof p->l->kernels, rest,
				  "kernels without kernels");
	if (!strcmp(word, "emits-blob")) {
		p->l->emits_blob = !strcmp(rest, "yes");
		return p->l->emits_blob || !strcmp(rest, "no") ? NST_OK :
			bad(p, "want yes or no");
	}
	if (strcmp(word, "size"))
		return bad(p, "unknown word");
	if (!number(rest, 0, VMCS12_SIZE, &n))
		return bad(p, "not a size of at most 4096");
	p->have_size = true;
	p->l->size = (uint16_t)n;
	return NST_OK;
}

enum nst_status layout_parse(const char *text, size_t len, struct layout *out,
			     struct nst_error *e)
{
	struct parser p = { .l = out, .e = e };
	char line[256];

	memset(out, 0, sizeof *out);
	for (size_t at = 0; at < len;) {
		const char *nl = memchr(text + at, '\n', len - at);
		size_t n = nl ? (size_t)(nl - (text + at)) : len - at;
		enum nst_status status;

		p.line++;
		if (n >= sizeof line || memchr(text + at, '\0', n))
			return bad(&p, "not a line of a layout file");
		memcpy(line, text + at, n);
		line[n] = '\0';
		at += n + 1;
		status = parse_line(&p, line);
		if (status)
			return status;
	}
	if (!p.have_size || !p.have_fields)
		return nst_fail(e, NST_BAD_INPUT, "%s in this layout file",
				!len ? "nothing" : p.have_size ?
				"no field" : "no \"size\" line");
	if (!p.have_name)
		strcpy(out->id, "unnamed");
	layout_derive(out);
	return layout_validate(out, e);
}

enum nst_status layout_parse_file(const char *path, struct layout *out,
				  struct nst_error *e)
{
	FILE *f = strcmp(path, "-") ? fopen(path, "r") : stdin;
	enum nst_status status;
	char *text;
	size_t len;

	if (!f)
		return nst_fail(e, NST_SYSTEM, "%s", strerror(errno));
	text = malloc(MAX_FILE + 1);
	if (!text) {
		status = nst_fail(e, NST_SYSTEM, "out of memory");
	} else {
		len = fread(text, 1, MAX_FILE + 1, f);
		if (ferror(f))
			status = nst_fail(e, errno == EISDIR ? NST_BAD_INPUT :
					  NST_SYSTEM, "%s", strerror(errno));
		else if (len > MAX_FILE)
			status = nst_fail(e, NST_BAD_INPUT,
					  "too long for a layout file");
		else
			status = layout_parse(text, len, out, e);
	}
	free(text);
	if (f != stdin)
		fclose(f);
	return status;
}

enum nst_status layout_resolve(const char *text, struct layout *out,
			       struct nst_error *e)
{
	const struct layout *l = layout_by_name(text);
	size_t n = strlen(text);
	struct nst_error inner;
	enum nst_status status;

	if (!l && !strchr(text, '/'))
		l = layout_of_kernel(text);
	if (l) {
		*out = *l;
		return NST_OK;
	}
	if (!strchr(text, '/') && strcmp(text, "-") &&
	    (n < 7 || strcmp(text + n - 7, ".layout")))
		return nst_fail(e, NST_USAGE, "no such layout or kernel: %s (see "
				"\"nstate layouts\"; a layout file's name has "
				"a slash or ends in .layout)", text);
	status = layout_parse_file(text, out, &inner);
	return status ? nst_fail(e, status, "%s: %s", text, inner.text) : NST_OK;
}
