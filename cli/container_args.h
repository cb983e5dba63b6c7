/* container_args.h: the options that say how a container is read, as a child
 * parser for every command that opens one. */
#ifndef NSTATE_CLI_CONTAINER_ARGS_H
#define NSTATE_CLI_CONTAINER_ARGS_H

#include <argp.h>

#include "convert/container.h"

/* Its input is a struct container_options; set child_inputs[] in
 * ARGP_KEY_INIT. */
extern const struct argp container_argp;

/* A number with 0x, or with K, M, G; false where it is none. */
bool cli_size(const char *text, uint64_t *out);

#endif
