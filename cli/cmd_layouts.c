/* cmd_layouts.c: nstate layouts: list and show them; diff, extract and identify
 * are in files of their own. */
#include <stdlib.h>
#include <string.h>

#include "cli/layouts.h"
#include "convert/outfile.h"
#include "layouts/layout_file.h"

enum { OPT_SVG = 256, OPT_BTF_BASE, OPT_NO_RAM, OPT_FILE, OPT_NAME };

static const struct argp_option opt_common[] = {
	{ "json", 'j', NULL, 0, "Print JSON", 0 },
	{ "quiet", 'q', NULL, 0, "No warnings", 0 },
	{ "output", 'o', "FILE", 0, "Write to FILE (- is standard output)", 0 },
	{ "force", 'f', NULL, 0, "Replace FILE if it exists", 0 },
	{ 0 },
};
static const struct argp_option opt_show[] = {
	{ "file", OPT_FILE, NULL, 0, "As an nstate-layout(5) file", 0 },
	{ 0 },
};
static const struct argp_option opt_diff[] = {
	{ "svg", OPT_SVG, NULL, 0, "Draw the picture as SVG", 0 },
	{ 0 },
};
static const struct argp_option opt_extract[] = {
	{ "btf-base", OPT_BTF_BASE, "FILE", 0,
	  "BTF of the kernel that the module belongs to: a vmlinux, a vmlinuz "
	  "or /sys/kernel/btf/vmlinux", 0 },
	{ "name", OPT_NAME, "NAME", 0, "Name of the layout in its file", 0 },
	{ 0 },
};
static const struct argp_option opt_identify[] = {
	{ "all", 'a', NULL, 0, "Show every reason and every page", 0 },
	{ "no-ram", OPT_NO_RAM, NULL, 0, "Judge nested states only", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct layouts_options *o = state->input;

	switch (key) {
	case 'j': o->json = true; break;
	case 'q': cli_quiet = true; break;
	case 'o': o->output = arg; break;
	case 'f': o->force = true; break;
	case 'a': o->all = true; break;
	case OPT_SVG: o->svg = true; break;
	case OPT_FILE: o->file = true; break;
	case OPT_BTF_BASE: o->btf_base = arg; break;
	case OPT_NAME: o->name = arg; break;
	case OPT_NO_RAM: o->no_ram = true; break;
	case ARGP_KEY_ARG:
		if (o->nargs == 2)
			argp_error(state, "too many arguments");
		o->arg[o->nargs++] = arg;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

int sink_open(struct sink *s)
{
	struct nst_error e;

	s->text = NULL;
	s->f = open_memstream(&s->text, &s->len);
	if (s->f)
		return NST_OK;
	nst_fail(&e, NST_SYSTEM, "out of memory");
	return cli_fail(NULL, &e);
}

int sink_close(struct sink *s, const struct layouts_options *o, int status)
{
	struct outfile out;
	struct nst_error e;
	enum nst_status wrote;

	fclose(s->f);
	if (!o->output || !strcmp(o->output, "-")) {
		fwrite(s->text, 1, s->len, stdout);
		free(s->text);
		return status;
	}
	wrote = outfile_open(&out, o->output, o->force, NULL, &e);
	if (!wrote) {
		wrote = outfile_pwrite(out.fd, s->text, s->len, 0, &e);
		wrote = outfile_close(&out, wrote, &e);
	}
	free(s->text);
	return wrote ? cli_fail(NULL, &e) : status;
}

int json_finish(json_t *root, const struct layouts_options *o, int status)
{
	struct sink s;
	int opened = sink_open(&s);

	if (!opened) {
		json_dumpf(root, s.f, JSON_INDENT(2));
		fputc('\n', s.f);
	}
	json_decref(root);
	return opened ? opened : sink_close(&s, o, status);
}

static unsigned count_fields(const struct layout *l)
{
	unsigned n = 0;

	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		n += layout_has(l, i);
	return n;
}

json_t *json_layout(const struct layout *l)
{
	return json_pack("{s:s, s:s, s:i, s:i, s:b, s:b}", "id", l->id,
			 "kernels", l->kernels, "size", (int)l->size, "fields",
			 (int)count_fields(l), "preserves_v4_0",
			 (int)l->preserves_v40, "emits_nested_state",
			 (int)l->emits_blob);
}

static int list(const struct layouts_options *o)
{
	json_t *array = json_array();

	if (o->json) {
		for (unsigned i = 0; i < layout_count(); i++)
			json_array_append_new(array, json_layout(layout_at(i)));
		return json_finish(json_pack("{s:o}", "layouts", array), o,
				   NST_OK);
	}
	json_decref(array);
	printf("%-8s %-29s %5s %7s  %-13s %s\n", "LAYOUT", "KERNELS", "BYTES",
	       "FIELDS", "v4.0 OFFSETS", "NESTED-STATE IOCTL");
	for (unsigned i = 0; i < layout_count(); i++) {
		const struct layout *l = layout_at(i);

		printf("%-8s %-29s %5u %7u  %-13s %s\n", l->id, l->kernels,
		       l->size, count_fields(l),
		       l->preserves_v40 ? "kept" : "moved",
		       l->emits_blob ? "yes" : "no");
	}
	return NST_OK;
}

/* The field at a byte, or -1. */
static int field_at(const struct layout *l, unsigned at)
{
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (layout_has(l, i) && l->offset[i] == at)
			return i;
	return -1;
}

static void show_text(const struct layout *l, FILE *f)
{
	unsigned at = VMCS12_OFF_LAUNCH + 4;

	fprintf(f, "%s: struct vmcs12 of Linux %s, %u bytes, %u fields\n", l->id,
		*l->kernels ? l->kernels : "(unknown)", l->size,
		count_fields(l));
	fprintf(f, "%6s %5s  %-8s %-30s %s\n", "OFFSET", "BYTES", "ENCODING",
		"FIELD", "MEMBER");
	fprintf(f, "%6d %5d  %-8s %-30s %s\n", 0, 4, "-", "(revision id)", "hdr");
	fprintf(f, "%6d %5d  %-8s %-30s %s\n", 4, 4, "-", "(abort)", "abort");
	fprintf(f, "%6d %5d  %-8s %-30s %s\n", 8, 4, "-", "(launch state)",
		"launch_state");
	while (at < l->size) {
		int idx = field_at(l, at);
		unsigned start = at;

		if (idx >= 0) {
			const struct vmcs_field *v = &vmcs_fields[idx];

			fprintf(f, "%6u %5u  0x%04x   %-30s %s\n", at,
				vmcs_bytes(v->encoding), v->encoding, v->name,
				v->kernel_name ? v->kernel_name : "");
			at += vmcs_bytes(v->encoding);
			continue;
		}
		while (at < l->size && field_at(l, at) < 0)
			at++;
		fprintf(f, "%6u %5u  %-8s %-30s\n", start, at - start, "-",
			"(no field)");
	}
}

static json_t *show_json(const struct layout *l)
{
	json_t *root = json_layout(l), *members = json_array();

	for (unsigned at = 0; at < l->size; at++) {
		int idx = field_at(l, at);
		const struct vmcs_field *v = &vmcs_fields[idx < 0 ? 0 : idx];
		char enc[8];

		if (idx < 0)
			continue;
		snprintf(enc, sizeof enc, "0x%04x", v->encoding);
		json_array_append_new(members, json_pack("{s:i, s:i, s:s, s:s}",
			"offset", (int)at, "bytes", (int)vmcs_bytes(v->encoding),
			"encoding", enc, "name", v->name));
	}
	json_object_set_new(root, "members", members);
	return root;
}

static int show(const struct layouts_options *o)
{
	struct layout l;
	struct nst_error e;
	struct sink s;
	int opened;

	if (layout_resolve(o->arg[0], &l, &e))
		return cli_fail(NULL, &e);
	if (o->json)
		return json_finish(show_json(&l), o, NST_OK);
	opened = sink_open(&s);
	if (opened)
		return opened;
	if (o->file)
		layout_print(&l, NULL, s.f);
	else
		show_text(&l, s.f);
	return sink_close(&s, o, NST_OK);
}

static const struct verb {
	const char *name, *args, *doc;
	unsigned nargs;
	const struct argp_option *options;
	int (*run)(const struct layouts_options *o);
} verbs[] = {
	{ "list", "", "Lists the layouts of struct vmcs12 that are known.", 0,
	  NULL, list },
	{ "show", "LAYOUT", "Shows where each field stands in LAYOUT: one of "
	  "those listed, a kernel release, or a layout file.", 1, opt_show,
	  show },
	{ "diff", "LAYOUT LAYOUT", "Shows what moved between two layouts, and "
	  "a picture of both pages.", 2, opt_diff, layouts_diff },
	{ "extract", "KERNEL-MODULE", "Reads the layout out of a kvm-intel "
	  "module (.ko, also .xz, .zst, .gz) or a vmlinux, writes it as an "
	  "nstate-layout(5) file, and says which known layout it equals.", 1,
	  opt_extract, layouts_extract },
	{ "identify", "FILE", "Says which layout the vmcs12 pages of FILE have, "
	  "and why.  Exit status 1 if that is not certain.", 1, opt_identify,
	  layouts_identify },
};

static int run_verb(const struct verb *v, int argc, char **argv)
{
	static char name[64];
	struct argp_option options[16] = { { 0 } };
	struct argp argp = { options, parse_option, v->args, v->doc, NULL, NULL,
			     NULL };
	struct layouts_options o = { 0 };
	unsigned n = 0;

	for (const struct argp_option *p = v->options; p && p->name; p++)
		options[n++] = *p;
	for (const struct argp_option *p = opt_common; p->name; p++)
		options[n++] = *p;
	snprintf(name, sizeof name, "nstate layouts %s", v->name);
	argv[0] = name;
	cli_parse(&argp, argc, argv, &o);
	if (o.nargs != v->nargs) {
		fprintf(stderr, "nstate: layouts %s: wants %s (see --help)\n",
			v->name, v->nargs ? v->args : "no argument");
		return NST_USAGE;
	}
	return v->run(&o);
}

static void usage(FILE *f)
{
	fputs("Usage: nstate layouts [VERB] [OPTIONS] [ARGUMENTS]\n"
	      "The layouts of KVM's struct vmcs12.\n\n", f);
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		fprintf(f, "  %-8s %-14s %.*s\n", verbs[i].name, verbs[i].args,
			(int)strcspn(verbs[i].doc, ".,:"), verbs[i].doc);
	fputs("\nWithout a verb: list.  `nstate layouts VERB --help` tells "
	      "the options; see also\nnstate-layouts(1), nstate-layout(5).\n",
	      f);
}

int cmd_layouts(int argc, char **argv)
{
	if (argc < 2 || (argv[1][0] == '-' && strcmp(argv[1], "--help") &&
			 strcmp(argv[1], "-?")))
		return run_verb(&verbs[0], argc, argv);
	if (argv[1][0] == '-' || !strcmp(argv[1], "help")) {
		usage(stdout);
		return NST_OK;
	}
	for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++)
		if (!strcmp(argv[1], verbs[i].name))
			return run_verb(&verbs[i], argc - 1, argv + 1);
	fprintf(stderr, "nstate: layouts: no such verb: %s (see nstate layouts "
		"--help)\n", argv[1]);
	return NST_USAGE;
}
