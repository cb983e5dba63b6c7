/* cmd_fields.c: nstate fields: the catalogue of VMCS fields. */
#include <ctype.h>
#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "cli/layouts.h"

/* So many are shown each with all that is known. */
#define DETAILED 4u

struct options {
	bool json, offsets;
	const char *pattern;
};

static const struct argp_option options[] = {
	{ "json", 'j', NULL, 0, "Print JSON", 0 },
	{ "quiet", 'q', NULL, 0, "No warnings", 0 },
	{ "offsets", 'O', NULL, 0, "Show where each layout has the fields", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'j': o->json = true; break;
	case 'q': cli_quiet = true; break;
	case 'O': o->offsets = true; break;
	case ARGP_KEY_ARG:
		if (o->pattern)
			argp_error(state, "too many arguments");
		o->pattern = arg;
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	options, parse_option, "[PATTERN]",
	"Lists the fields of a VMCS: encoding, names, width, type, access, the "
	"control that makes each meaningful, and where the known layouts of "
	"struct vmcs12 have it.\vPATTERN is an encoding (0x681e), a name, a part "
	"of a name or a glob.", NULL, NULL, NULL,
};

static const char *width_name(uint32_t enc)
{
	static const char *const names[] = { "16", "64", "32", "natural" };

	return names[vmcs_width(enc)];
}

static const char *type_name(uint32_t enc)
{
	static const char *const names[] = { "control", "read-only", "guest",
					     "host" };

	return names[vmcs_type(enc)];
}

static const char *access_name(uint32_t enc)
{
	return vmcs_type(enc) == VMCS_READ_ONLY ? "read" : "read/write";
}

static bool matches(int idx, const char *pattern)
{
	const struct vmcs_field *f = &vmcs_fields[idx];
	bool glob = strpbrk(pattern, "*?[");

	if (isdigit((unsigned char)*pattern))
		return vmcs_field_lookup(pattern) == idx;
	if (glob)
		return !fnmatch(pattern, f->name, FNM_CASEFOLD) ||
			!fnmatch(pattern, f->sdm_name, FNM_CASEFOLD);
	return strcasestr(f->name, pattern) ||
		strcasestr(f->sdm_name, pattern) ||
		(f->kernel_name && strcasestr(f->kernel_name, pattern));
}

static json_t *json_field(int idx)
{
	const struct vmcs_field *f = &vmcs_fields[idx];
	json_t *offsets = json_object(), *o;
	char enc[8];

	snprintf(enc, sizeof enc, "0x%04x", f->encoding);
	for (unsigned i = 0; i < layout_count(); i++)
		if (layout_has(layout_at(i), idx))
			json_object_set_new(offsets, layout_at(i)->id,
				json_integer(layout_at(i)->offset[idx]));
	o = json_pack("{s:s, s:s, s:s, s:s?, s:s, s:s, s:s, s:s?, s:o}",
		      "encoding", enc, "name", f->name, "sdm_name", f->sdm_name,
		      "member", f->kernel_name, "width",
		      width_name(f->encoding), "type", type_name(f->encoding),
		      "access", access_name(f->encoding), "gate", f->gate,
		      "offsets", offsets);
	if (vmcs_width(f->encoding) == VMCS_W64)
		json_object_set_new(o, "encoding_high",
				    json_sprintf("0x%04x", f->encoding | 1));
	return o;
}

/* Layouts that have the field at the same place are told together. */
static void print_places(int idx)
{
	bool told[64] = { false };

	for (unsigned i = 0; i < layout_count(); i++) {
		const struct layout *l = layout_at(i);

		if (told[i])
			continue;
		if (l->offset[idx])
			printf("  at %-6u ", l->offset[idx]);
		else
			fputs("  missing   ", stdout);
		for (unsigned k = i; k < layout_count(); k++) {
			if (layout_at(k)->offset[idx] != l->offset[idx])
				continue;
			told[k] = true;
			printf("%s%s", k == i ? "" : ", ", layout_at(k)->id);
		}
		putchar('\n');
	}
}

static void print_detail(int idx)
{
	const struct vmcs_field *f = &vmcs_fields[idx];

	printf("%s: %s\n", f->name, f->sdm_name);
	printf("  encoding  0x%04x", f->encoding);
	if (vmcs_width(f->encoding) == VMCS_W64)
		printf(" (high half 0x%04x)", f->encoding | 1u);
	printf("\n  width     %s%s\n", width_name(f->encoding),
	       vmcs_width(f->encoding) == VMCS_WNATURAL ? "" : " bits");
	printf("  type      %s\n  access    %s\n", type_name(f->encoding),
	       access_name(f->encoding));
	printf("  gated by  %s\n", f->gate ? f->gate : "nothing: always meaningful");
	printf("  member    %s\n", f->kernel_name ? f->kernel_name :
	       "none: no KVM has it in struct vmcs12");
	if (f->kernel_name)
		print_places(idx);
}

static void print_row(int idx)
{
	const struct vmcs_field *f = &vmcs_fields[idx];

	printf("0x%04x  %-30s %-8s %-10s %-11s %-42s %s\n", f->encoding, f->name,
	       width_name(f->encoding), type_name(f->encoding),
	       access_name(f->encoding), f->sdm_name, f->gate ? f->gate : "");
}

static void print_offsets(int idx)
{
	printf("0x%04x  %-30s", vmcs_fields[idx].encoding, vmcs_fields[idx].name);
	for (unsigned i = 0; i < layout_count(); i++) {
		if (layout_has(layout_at(i), idx))
			printf(" %7u", layout_at(i)->offset[idx]);
		else
			printf(" %7s", "-");
	}
	putchar('\n');
}

static void print_header(const struct options *o)
{
	if (!o->offsets) {
		printf("%-7s %-30s %-8s %-10s %-11s %-42s %s\n", "ENC", "NAME",
		       "WIDTH", "TYPE", "ACCESS", "SDM NAME", "GATED BY");
		return;
	}
	printf("%-7s %-30s", "ENC", "NAME");
	for (unsigned i = 0; i < layout_count(); i++)
		printf(" %7s", layout_at(i)->id);
	putchar('\n');
}

int cmd_fields(int argc, char **argv)
{
	struct options o = { 0 };
	int list[VMCS_FIELD_COUNT];
	unsigned n = 0;

	cli_parse(&argp, argc, argv, &o);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (!o.pattern || matches(i, o.pattern))
			list[n++] = i;
	if (o.json) {
		json_t *array = json_array();

		for (unsigned k = 0; k < n; k++)
			json_array_append_new(array, json_field(list[k]));
		array = json_pack("{s:o}", "fields", array);
		json_dumpf(array, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(array);
		return n ? NST_OK : NST_NO;
	}
	if (!n) {
		fprintf(stderr, "nstate: no VMCS field matches %s\n", o.pattern);
		return NST_NO;
	}
	if (n <= DETAILED && !o.offsets) {
		for (unsigned k = 0; k < n; k++) {
			if (k)
				putchar('\n');
			print_detail(list[k]);
		}
		return NST_OK;
	}
	print_header(&o);
	for (unsigned k = 0; k < n; k++)
		(o.offsets ? print_offsets : print_row)(list[k]);
	return NST_OK;
}
