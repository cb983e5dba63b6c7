/* layouts_extract.c: nstate layouts extract: a kernel module's own layout. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/layouts.h"
#include "convert/codec.h"
#include "convert/outfile.h"
#include "convert/source.h"
#include "layouts/extract.h"
#include "layouts/layout_file.h"

/* A kernel to take BTF from, unpacked. */
struct base {
	struct source *src;
	const uint8_t *data;
	size_t size;
	void *map;             /* of a vmlinuz's payload */
};

static uint32_t le32(const uint8_t *p)
{
	return p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 |
		(uint32_t)p[3] << 24;
}

static enum nst_status map_all(int fd, struct base *b, struct nst_error *e)
{
	struct stat st;

	if (fstat(fd, &st) || !st.st_size)
		return nst_fail(e, NST_BAD_INPUT, "its payload is empty");
	b->size = (size_t)st.st_size;
	b->map = mmap(NULL, b->size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (b->map == MAP_FAILED) {
		b->map = NULL;
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	b->data = b->map;
	return NST_OK;
}

/* A bzImage holds the vmlinux compressed (Documentation/x86/boot.rst:
 * setup_sects at 0x1f1, payload_offset and payload_length from 0x248). */
static enum nst_status unpack_bzimage(struct base *b, struct nst_error *e)
{
	uint64_t setup = b->data[0x1f1] ? b->data[0x1f1] : 4;
	uint64_t at = (setup + 1) * 512 + le32(b->data + 0x248);
	uint64_t len = le32(b->data + 0x24c);
	const struct codec *codec;
	enum nst_status status;
	int fd;

	if (at > b->size || len > b->size - at || len < 8)
		return nst_fail(e, NST_BAD_INPUT,
				"its payload lies outside of the file");
	codec = codec_of(b->data + at, len);
	if (!codec)
		return nst_fail(e, NST_BAD_INPUT,
				"its payload's compression is not known");
	/* All but gzip are followed by the unpacked size. */
	if (strcmp(codec->name, "gzip"))
		len -= 4;
	fd = outfile_spool(e);
	if (fd < 0)
		return NST_SYSTEM;
	status = codec_decode(codec, b->data + at, len, fd, e);
	if (!status)
		status = map_all(fd, b, e);
	close(fd);
	return status;
}

static enum nst_status base_open(const char *path, struct base *b,
				 struct nst_error *e)
{
	enum nst_status status = source_open(path, &b->src, e);

	if (status)
		return status;
	b->size = (size_t)source_size(b->src);
	b->data = source_at(b->src, 0, b->size);
	if (!b->data)
		return nst_fail(e, NST_BAD_INPUT, "empty");
	if (b->size > 0x250 && !memcmp(b->data + 0x202, "HdrS", 4))
		return unpack_bzimage(b, e);
	return NST_OK;
}

static void base_close(struct base *b)
{
	if (b->map)
		munmap(b->map, b->size);
	if (b->src)
		source_close(b->src);
}

/* -- report --------------------------------------------------------------------- */
static json_t *json_view(const struct extract_view *v)
{
	return json_pack("{s:b, s:i, s:i, s:s}", "there", (int)v->there,
			 "fields", (int)v->fields, "size", (int)v->size,
			 "note", v->note);
}

static json_t *json_extract(const struct extract_result *r)
{
	json_t *notes = json_array(), *offsets = json_object();
	json_t *root;

	for (unsigned i = 0; i < r->nnotes; i++)
		json_array_append_new(notes, json_string(r->note[i]));
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (layout_has(&r->layout, i))
			json_object_set_new(offsets, vmcs_fields[i].name,
					    json_integer(r->layout.offset[i]));
	root = json_pack("{s:o, s:o, s:o, s:o, s:b, s:o, s:i, s:o}", "table",
			 json_view(&r->table), "btf", json_view(&r->btf),
			 "dwarf", json_view(&r->dwarf), "layout",
			 json_layout(&r->layout), "agree", !r->disagree, "notes",
			 notes, "more_notes", (int)r->more, "offsets", offsets);
	if (r->table.there) {
		json_object_set_new(root, "symbol", json_string(r->symbol));
		json_object_set_new(root, "rotated", json_boolean(r->rotated));
	}
	json_object_set_new(root, "equals", r->equal ?
			    json_string(r->equal->id) : json_null());
	return root;
}

static void comment(const struct extract_result *r, FILE *f)
{
	const struct extract_view *views[] = { &r->table, &r->btf, &r->dwarf };
	static const char *const names[] = { "table", "BTF", "DWARF" };

	if (r->equal)
		fprintf(f, "equals %s (Linux %s)\n", r->equal->id,
			r->equal->kernels);
	else
		fprintf(f, "equals no layout known to nstate " NSTATE_VERSION
			"\n");
	for (size_t i = 0; i < 3; i++) {
		if (views[i]->there)
			fprintf(f, "%s: %u fields, %s\n", names[i],
				views[i]->fields, views[i]->note);
		else
			fprintf(f, "%s: not read: %s\n", names[i],
				views[i]->note);
	}
	for (unsigned i = 0; i < r->nnotes; i++)
		fprintf(f, "note: %s\n", r->note[i]);
	if (r->more)
		fprintf(f, "note: and %u more\n", r->more);
}

static int print_result(const struct layouts_options *o,
			struct extract_result *r)
{
	int status = r->disagree ? NST_NO : NST_OK;
	char *text = NULL;
	size_t len;
	struct sink s;
	FILE *f;
	int opened;

	if (o->name)
		snprintf(r->layout.id, sizeof r->layout.id, "%s", o->name);
	else if (r->equal)
		memcpy(r->layout.id, r->equal->id, sizeof r->layout.id);
	if (r->equal)
		memcpy(r->layout.kernels, r->equal->kernels,
		       sizeof r->layout.kernels);
	if (r->disagree)
		cli_warn(o->arg[0], "table, BTF and DWARF disagree; see the "
			 "notes");
	if (o->json)
		return json_finish(json_extract(r), o, status);
	f = open_memstream(&text, &len);
	if (!f)
		return NST_SYSTEM;
	comment(r, f);
	fclose(f);
	opened = sink_open(&s);
	if (!opened) {
		layout_print(&r->layout, text, s.f);
		opened = sink_close(&s, o, status);
		if (o->output && strcmp(o->output, "-") && !cli_quiet)
			fputs(text, stdout);
	}
	free(text);
	return opened;
}

int layouts_extract(const struct layouts_options *o)
{
	struct extract_result *r = malloc(sizeof *r);
	struct extract_input in = { 0 };
	struct source *src = NULL;
	struct base base = { 0 };
	struct nst_error e;
	const char *about = o->arg[0];
	enum nst_status status;
	int exit_status;

	if (!r)
		return NST_SYSTEM;
	status = source_open(o->arg[0], &src, &e);
	if (!status) {
		in.size = (size_t)source_size(src);
		in.image = source_at(src, 0, in.size);
		if (!in.size || !in.image)
			status = nst_fail(&e, NST_BAD_INPUT, "empty");
	}
	if (!status && o->btf_base) {
		status = base_open(o->btf_base, &base, &e);
		about = status ? o->btf_base : about;
		in.base = base.data;
		in.base_size = base.size;
	}
	if (!status)
		status = layout_extract(&in, r, &e);
	exit_status = status ? cli_fail(about, &e) : print_result(o, r);
	base_close(&base);
	if (src)
		source_close(src);
	free(r);
	return exit_status;
}
