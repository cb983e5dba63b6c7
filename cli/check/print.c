/* print.c: a broken rule, for people and as JSON. */
#include "cli/check/print.h"

#include <inttypes.h>
#include <stdio.h>

void lacking_print(struct out *out, const struct lacking *list, unsigned n)
{
	char remedy[200];

	out_list(out, "lacking");
	for (unsigned i = 0; i < n; i++) {
		const struct lacking *l = &list[i];
		bool can = caps_remedy(l, remedy, sizeof remedy);

		out_begin(out, NULL);
		out_hex(out, "msr", NULL, l->index);
		out_str(out, "msr_name", NULL, "IA32_VMX_%s",
			caps_msr_name(l->index));
		out_u64(out, "bit", NULL, l->bit);
		out_bool(out, "must_be_set", NULL, l->must);
		if (l->name)
			out_str(out, "name", NULL, "%s", l->name);
		if (l->qemu)
			out_str(out, "qemu", NULL, "%s=off", l->qemu);
		if (l->qemu)
			out_str(out, "libvirt", NULL, "<feature policy='disable' "
				"name='%s'/>", l->qemu);
		out_end(out);
		out_text(out, "      bit %u (%s) is %s, and IA32_VMX_%s (0x%x) does "
			 "not allow that%s%s\n", l->bit, l->name ? l->name :
			 "reserved", l->must ? "clear" : "set",
			 caps_msr_name(l->index), l->index, can ? ": " : "",
			 remedy);
	}
	out_list_end(out);
}

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
	if (*b->detail) {
		out_str(out, "detail", NULL, "%s", b->detail);
		out_text(out, "      %s\n", b->detail);
	}
	if (b->nlacking)
		lacking_print(out, b->lacking, b->nlacking);
	if (b->remedy) {
		out_str(out, "remedy", NULL, "%s", b->remedy);
		out_text(out, "    what to do: %s\n", b->remedy);
	}
	out_end(out);
}
