/* out.h: what a command prints, said once, for people or as JSON.
 *
 * Values go to both; a value without a label is for JSON only, text without a
 * name for people only.  JSON is one object, printed when out_close is called;
 * 64-bit values that are addresses or bits are strings ("0x401000"), for JSON's
 * numbers end at 2^53.
 */
#ifndef NSTATE_CLI_OUT_H
#define NSTATE_CLI_OUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct out;

struct out *out_open(bool json, FILE *f);
/* Prints the JSON; false where the stream or memory failed. */
bool out_close(struct out *o);
/* Ends it without: what went wrong is told elsewhere. */
void out_drop(struct out *o);
bool out_is_json(const struct out *o);

/* Objects and lists nest.  Inside a list, name is NULL. */
void out_begin(struct out *o, const char *name);
void out_end(struct out *o);
void out_list(struct out *o, const char *name);
void out_list_end(struct out *o);

void out_str(struct out *o, const char *name, const char *label,
	     const char *format, ...) __attribute__((format(printf, 4, 5)));
void out_hex(struct out *o, const char *name, const char *label, uint64_t v);
void out_u64(struct out *o, const char *name, const char *label, uint64_t v);
void out_bool(struct out *o, const char *name, const char *label, bool v);

/* For people only: a line as it is. */
void out_text(struct out *o, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

#endif
