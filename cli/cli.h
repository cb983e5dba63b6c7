/* cli.h: what the commands share.  One file a command, cmd_NAME.c; the list of
 * commands is commands.def. */
#ifndef NSTATE_CLI_CLI_H
#define NSTATE_CLI_CLI_H

#include <argp.h>
#include <stdbool.h>
#include <stdio.h>

#include "layouts/error.h"

/* Runs a command; argv[0] is "nstate COMMAND".  Returns the exit status. */
#define COMMAND(name, function, summary) int function(int argc, char **argv);
#include "cli/commands.def"
#undef COMMAND

/* "nstate: FILE: text" on standard error; returns e->status. */
int cli_fail(const char *file, const struct nst_error *e);
/* A warning in the same form; silent with --quiet. */
void cli_warn(const char *file, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
extern bool cli_quiet;

/* argp_parse with our exit statuses (2 for usage) and no ARGP_NO_EXIT
 * surprises.  Returns 0 or exits. */
void cli_parse(const struct argp *argp, int argc, char **argv, void *input);

#endif
