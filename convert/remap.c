/* remap.c: the permutation of fields between two layouts. */
#include "convert/remap.h"

#include <string.h>

/* Where the first field of every layout stands. */
#define FIRST_FIELD 40u

/* Marks the bytes that a layout gives to fields. */
static void mark_fields(const struct layout *l, uint8_t *map)
{
	memset(map, 0, VMCS12_SIZE);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (layout_has(l, i))
			memset(map + l->offset[i], 1,
			       vmcs_bytes(vmcs_fields[i].encoding));
}

static void move_fields(const struct layout *from, const struct layout *to,
			const uint8_t *in, uint8_t *out,
			struct remap_report *r)
{
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		if (!layout_has(from, i)) {
			r->what[i] = layout_has(to, i) ? REMAP_NEW : 0;
			continue;
		}
		uint64_t v = layout_get(from, in, i);
		if (layout_has(to, i)) {
			bool moved = from->offset[i] != to->offset[i];
			layout_set(to, out, i, v);
			r->what[i] = moved ? REMAP_MOVED : REMAP_KEPT;
			r->moved += moved;
			r->kept += !moved;
		} else {
			r->what[i] = v ? REMAP_DROPPED : REMAP_GONE;
			r->dropped += v != 0;
		}
	}
}

static void carry_padding(const struct layout *from, const struct layout *to,
			  const uint8_t *in, uint8_t *out,
			  struct remap_report *r)
{
	uint8_t a[VMCS12_SIZE], b[VMCS12_SIZE];

	mark_fields(from, a);
	mark_fields(to, b);
	for (unsigned i = FIRST_FIELD; i < VMCS12_SIZE; i++) {
		if (a[i] || !in[i])
			continue;
		r->padding++;
		if (b[i])
			r->padding_lost++;
		else
			out[i] = in[i];
	}
}

static enum nst_status name_dropped(const struct layout *from,
				    const struct layout *to, const uint8_t *in,
				    const struct remap_report *r,
				    struct nst_error *e)
{
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (r->what[i] == REMAP_DROPPED)
			return nst_fail(e, NST_BAD_INPUT, "%s = 0x%llx%s has no "
				"place in layout %s; --drop-unsupported gives "
				"it up", vmcs_fields[i].name,
				(unsigned long long)layout_get(from, in, i),
				r->dropped > 1 ? " (and others)" : "", to->id);
	return nst_fail(e, NST_BAD_INPUT, "%u bytes outside the fields of layout "
			"%s are not zero and would be overwritten in %s; "
			"--drop-unsupported gives them up", r->padding_lost,
			from->id, to->id);
}

enum nst_status remap_page(const struct layout *from, const struct layout *to,
			   const uint8_t *in, uint8_t *out, bool drop,
			   struct remap_report *report, struct nst_error *e)
{
	struct remap_report own, *r;

	if (!report)
		report = &own;
	r = memset(report, 0, sizeof *report);
	memset(out, 0, VMCS12_SIZE);
	memcpy(out, in, FIRST_FIELD);
	carry_padding(from, to, in, out, r);
	move_fields(from, to, in, out, r);
	if ((r->dropped || r->padding_lost) && !drop)
		return name_dropped(from, to, in, r, e);
	return NST_OK;
}

static bool fits(const struct layout *from, const struct layout *to,
		 const uint8_t *page)
{
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (layout_has(from, i) && !layout_has(to, i) &&
		    layout_get(from, page, i))
			return false;
	return true;
}

const struct layout *remap_target(const struct layout *from,
				  const uint8_t *const *pages, unsigned n)
{
	for (unsigned k = layout_count(); k-- > 0; ) {
		const struct layout *to = layout_at(k);
		unsigned i = 0;

		if (!to->preserves_v40)
			continue;
		while (i < n && fits(from, to, pages[i]))
			i++;
		if (i == n)
			return to;
	}
	return layout_newest();
}
