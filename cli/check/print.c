/* print.c: a broken rule, for people and as JSON. */
#include "cli/check/print.h"

#include <inttypes.h>
#include <stdio.h>

void broken_print(struct out *out, const struct broken *b)
{
	char decoded[256] = "";

	out_begin(out, NULL);
	out_str(out, "rule", NULL, "%s", b->id);
	out_str(out, "where", NULL, "%s", b->where);
	out_str(out, "must", NULL, "%s", b->sentence);
	if (b->size) {
		out_u64(out, "offset", NULL, b->offset);
		out_u64(out, "size", NULL, b->size);
	}
	if (b->field >= 0) {
		vmcs_field_decode(b->field, b->value, decoded, sizeof decoded);
		out_str(out, "field", NULL, "%s", vmcs_fields[b->field].name);
		out_hex(out, "value", NULL, b->value);
		out_text(out, "    %s = 0x%" PRIx64 "%s%s%s: %s (SDM %s, rule %s)\n",
			 vmcs_fields[b->field].name, b->value, *decoded ? " (" :
			 "", decoded, *decoded ? ")" : "", b->sentence, b->where,
			 b->id);
	} else {
		out_text(out, "    %s (%s%s, rule %s)\n", b->sentence,
			 *b->where >= '0' && *b->where <= '9' ? "SDM " : "",
			 b->where, b->id);
	}
	if (b->remedy) {
		out_str(out, "remedy", NULL, "%s", b->remedy);
		out_text(out, "    what to do: %s\n", b->remedy);
	}
	out_end(out);
}
