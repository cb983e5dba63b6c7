/* print.h: how a broken rule is printed, by every command that finds one. */
#ifndef NSTATE_CLI_CHECK_PRINT_H
#define NSTATE_CLI_CHECK_PRINT_H

#include "cli/check/verdict.h"
#include "cli/out.h"

/* "field = value: what must hold (SDM section, rule)" and what to do. */
void broken_print(struct out *out, const struct broken *b);
/* Capability bits that are not there, each with what turns it off. */
void lacking_print(struct out *out, const struct lacking *list, unsigned n);

#endif
