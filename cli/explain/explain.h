/* explain.h: what the parts of `nstate explain` share. */
#ifndef NSTATE_CLI_EXPLAIN_EXPLAIN_H
#define NSTATE_CLI_EXPLAIN_EXPLAIN_H

#include "cli/check/rules.h"
#include "cli/out.h"

/* A VM-instruction error (up to 28), an exit reason, or one with bit 31 set. */
void explain_number(uint64_t number, struct out *out);
/* A failed VM entry's number as QEMU and KVM print it: 0x7, 0x80000021; with or
 * without the rules that lead to it. */
void explain_entry_error(uint32_t number, bool rules, struct out *out);

/* The tracepoint's line; false: it is none. */
bool explain_trace(const char *line, unsigned number, struct out *out);
/* A message of QEMU's or KVM's; false: it is none. */
bool explain_message(const char *line, unsigned number, struct out *out);
/* "hardware error 0x80000021" and the like in a line; 0: there is none. */
uint32_t explain_find_error(const char *line);

/* The rules of "id id id", each in one line. */
void explain_rules(const char *ids, struct out *out);

#endif
