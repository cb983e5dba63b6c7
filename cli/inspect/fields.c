/* fields.c: every field of a vmcs12 page, by group, decoded. */
#include <inttypes.h>
#include <string.h>

#include "cli/inspect/inspect.h"
#include "layouts/decode.h"

static const char *const type_names[] = {
	[VMCS_CONTROL] = "Control fields",
	[VMCS_READ_ONLY] = "Exit information",
	[VMCS_GUEST] = "Guest state",
	[VMCS_HOST] = "Host state",
};

static bool wanted(const struct inspect_options *o, int idx)
{
	if (!o->nfields)
		return true;
	for (unsigned i = 0; i < o->nfields; i++)
		if (o->field[i] == idx)
			return true;
	return false;
}

static void one(const struct inspect_options *o, const struct layout *l,
		const uint8_t *page, int idx, struct out *out)
{
	const struct vmcs_field *f = &vmcs_fields[idx];
	uint64_t v = layout_get(l, page, idx);
	char decoded[400];

	vmcs_page_decode(l, page, idx, decoded, sizeof decoded);
	out_begin(out, f->name);
	out_str(out, "encoding", NULL, "0x%04x", f->encoding);
	out_hex(out, "value", NULL, v);
	out_u64(out, "offset", NULL, l->offset[idx]);
	if (*decoded)
		out_str(out, "decoded", NULL, "%s", decoded);
	out_end(out);
	if (o->raw)
		out_text(out, "  +%-4u %2u bytes  ", l->offset[idx],
			 vmcs_bytes(f->encoding));
	else
		out_text(out, "  ");
	out_text(out, "0x%04x %-34s 0x%0*" PRIx64 "%s%s\n", f->encoding, f->name,
		 (int)vmcs_bytes(f->encoding) * 2, v, *decoded ? "  " : "",
		 decoded);
}

static void missing(const struct layout *l, int idx, struct out *out)
{
	out_text(out, "  0x%04x %-34s not in layout %s\n",
		 vmcs_fields[idx].encoding, vmcs_fields[idx].name, l->id);
}

void inspect_fields(const struct inspect_options *o, const struct layout *l,
		    const uint8_t *page, struct out *out)
{
	out_begin(out, "fields");
	for (int type = VMCS_CONTROL; type <= VMCS_HOST; type++) {
		if (!o->nfields)
			out_text(out, " %s\n", type_names[type]);
		for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
			if ((int)vmcs_type(vmcs_fields[i].encoding) != type ||
			    !wanted(o, i))
				continue;
			if (layout_has(l, i))
				one(o, l, page, i, out);
			else if (o->nfields)
				missing(l, i, out);
		}
	}
	out_end(out);
}
