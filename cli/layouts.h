/* layouts.h: what the parts of `nstate layouts` share. */
#ifndef NSTATE_CLI_LAYOUTS_H
#define NSTATE_CLI_LAYOUTS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "cli/cli.h"
#include "layouts/layouts.h"

struct layouts_options {
	bool json, svg, file, force, all, no_ram;
	const char *output;   /* NULL: standard output */
	const char *btf_base;
	const char *name;     /* of an extracted layout */
	const char *arg[2];
	unsigned nargs;
};

int layouts_diff(const struct layouts_options *o);
int layouts_extract(const struct layouts_options *o);
int layouts_identify(const struct layouts_options *o);

/* Text that goes to -o's file (whole or not at all) or standard output. */
struct sink {
	FILE *f;
	char *text;
	size_t len;
};
int sink_open(struct sink *s);
int sink_close(struct sink *s, const struct layouts_options *o, int status);

/* Writes root and frees it; returns the exit status. */
int json_finish(json_t *root, const struct layouts_options *o, int status);
json_t *json_layout(const struct layout *l); /* id, kernels, size, ... */

#endif
