/* cmd_diff.c: nstate diff: how the nested states of two files differ, by VMCS
 * field and decoded bit, whatever layouts and containers they have. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/inspect/inspect.h"
#include "cli/layout_arg.h"
#include "layouts/decode.h"

enum { OPT_IGNORE = 256, OPT_FROM_A, OPT_FROM_B, OPT_NO_RAM, OPT_JSON };

struct args {
	const char *file[2];
	const struct layout *from[2];
	bool ignore_volatile, json, no_ram;
	unsigned nfiles;
};

static const struct argp_option options[] = {
	{ "ignore-volatile", OPT_IGNORE, NULL, 0, "Leave out fields that change "
	  "with every exit (exit information, preemption timer)", 0 },
	{ "from-a", OPT_FROM_A, "LAYOUT", 0, "Layout of A (else identified)", 0 },
	{ "from-b", OPT_FROM_B, "LAYOUT", 0, "Layout of B (else identified)", 0 },
	{ "no-ram", OPT_NO_RAM, NULL, 0, "Compare nested states only", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print JSON", 0 },
	{ "quiet", 'q', NULL, 0, "Only the exit status", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	struct nst_error e;

	switch (key) {
	case OPT_FROM_A:
	case OPT_FROM_B:
		if (layout_arg(arg, &a->from[key == OPT_FROM_B], &e))
			argp_error(state, "%s", e.text);
		return 0;
	case OPT_IGNORE: a->ignore_volatile = true; return 0;
	case OPT_NO_RAM: a->no_ram = true; return 0;
	case OPT_JSON: a->json = true; return 0;
	case 'q': cli_quiet = true; return 0;
	case ARGP_KEY_ARG:
		if (a->nfiles == 2)
			argp_error(state, "two files only");
		a->file[a->nfiles++] = arg;
		return 0;
	case ARGP_KEY_END:
		if (a->nfiles != 2)
			argp_error(state, "two files are needed");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	options, parse, "A B", "Compares the nested VMX states of A and B, field "
	"by field.  Exit status 1 where they differ.", NULL, NULL, NULL
};

/* Both sides and what has been found. */
struct diff {
	const struct args *a;
	struct inspection side[2];
	struct out *out;
	unsigned count;
};

static bool is_volatile(int idx)
{
	return vmcs_type(vmcs_fields[idx].encoding) == VMCS_READ_ONLY ||
	       idx == VMCS_IDX_VMX_PREEMPTION_TIMER_VALUE;
}

static void found(struct diff *d, const char *where, const char *what,
		  const char *left, const char *right, const char *bits)
{
	d->count++;
	if (cli_quiet)
		return;
	out_begin(d->out, NULL);
	out_str(d->out, "where", NULL, "%s", where);
	out_str(d->out, "what", NULL, "%s", what);
	out_str(d->out, "a", NULL, "%s", left);
	out_str(d->out, "b", NULL, "%s", right);
	if (*bits)
		out_str(d->out, "bits", NULL, "%s", bits);
	out_end(d->out);
	out_text(d->out, "%s  %s: %s | %s%s%s\n", where, what, left, right,
		 *bits ? "  " : "", bits);
}

/* "+enable PML -enable VPID": what B has and A has not, and the reverse. */
static void name_bits(int idx, uint64_t a, uint64_t b, char *buf, size_t len)
{
	size_t used = 0;

	*buf = 0;
	for (unsigned bit = 0; bit < 64; bit++) {
		const char *name = vmcs_bit_name(vmcs_fields[idx].format, bit);
		if (!((a ^ b) >> bit & 1) || !name || used + 2 >= len)
			continue;
		used += (size_t)snprintf(buf + used, len - used, "%s%c%s",
					 used ? ", " : "",
					 b >> bit & 1 ? '+' : '-', name);
	}
}

static void diff_page(struct diff *d, const char *where, const uint8_t *a,
		      const uint8_t *b)
{
	const struct layout *la = d->side[0].layout, *lb = d->side[1].layout;
	char left[32], right[32], bits[400];

	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		bool ha = layout_has(la, i), hb = layout_has(lb, i);
		uint64_t va = ha ? layout_get(la, a, i) : 0;
		uint64_t vb = hb ? layout_get(lb, b, i) : 0;

		/* A field that one layout lacks is zero there. */
		if (va == vb || (d->a->ignore_volatile && is_volatile(i)))
			continue;
		snprintf(left, sizeof left, ha ? "0x%" PRIx64 : "(no place)", va);
		snprintf(right, sizeof right, hb ? "0x%" PRIx64 : "(no place)",
			 vb);
		name_bits(i, va, vb, bits, sizeof bits);
		found(d, where, vmcs_fields[i].name, left, right, bits);
	}
	for (unsigned off = 0; off < 12; off += 4) {
		uint32_t x, y;
		memcpy(&x, a + off, 4);
		memcpy(&y, b + off, 4);
		if (x == y)
			continue;
		snprintf(left, sizeof left, "0x%x", x);
		snprintf(right, sizeof right, "0x%x", y);
		found(d, where, off == 0 ? "revision id" : off == 4 ?
		      "abort indicator" : "launch_state", left, right, "");
	}
}

static void diff_header(struct diff *d, const char *where,
			const struct container_state *a,
			const struct container_state *b)
{
	static const struct { unsigned off, len; const char *name; } f[] = {
		{ 0, 2, "flags" }, { 2, 2, "format" }, { 4, 4, "size" },
		{ 8, 8, "vmxon_pa" }, { 16, 8, "vmcs12_pa" },
		{ 24, 2, "smm.flags" }, { 28, 4, "hdr.vmx.flags" },
		{ 32, 8, "preemption_timer_deadline" },
	};
	char left[32], right[32];

	if (a->bare_page || b->bare_page)
		return;
	for (size_t i = 0; i < sizeof f / sizeof *f; i++) {
		uint64_t x = 0, y = 0;
		memcpy(&x, a->data + f[i].off, f[i].len);
		memcpy(&y, b->data + f[i].off, f[i].len);
		if (x == y || (i == 7 && d->a->ignore_volatile))
			continue;
		snprintf(left, sizeof left, "0x%" PRIx64, x);
		snprintf(right, sizeof right, "0x%" PRIx64, y);
		found(d, where, f[i].name, left, right, "");
	}
}

/* The page of side s that stands where p does, or NULL. */
static const struct vmcs12_page *partner(const struct scan *s,
					 const struct vmcs12_page *p)
{
	for (uint32_t i = 0; i < s->n; i++) {
		const struct vmcs12_page *q = &s->page[i];
		if (q->place != p->place)
			continue;
		if (p->place == PLACE_RAM ? q->gpa == p->gpa :
		    q->state == p->state)
			return q;
	}
	return NULL;
}

static void name_page(const struct vmcs12_page *p, char *buf, size_t len)
{
	const char *what = p->place == PLACE_SHADOW_STATE ? "shadow vmcs12" :
		"vmcs12";

	if (p->place == PLACE_RAM)
		snprintf(buf, len, "RAM 0x%" PRIx64, p->gpa);
	else if (p->vcpu >= 0)
		snprintf(buf, len, "vCPU %d %s", p->vcpu, what);
	else
		snprintf(buf, len, "%s", what);
}

static void diff_pages(struct diff *d, unsigned from)
{
	const struct scan *a = &d->side[from].scan, *b = &d->side[!from].scan;
	char where[64];

	for (uint32_t i = 0; i < a->n; i++) {
		const struct vmcs12_page *p = &a->page[i], *q = partner(b, p);

		/* RAM on one side only: nothing to hold it against. */
		if (p->kind == VMCS12_VMXON || (p->place == PLACE_RAM &&
		    !(d->side[0].c->has_ram && d->side[1].c->has_ram)))
			continue;
		name_page(p, where, sizeof where);
		if (!q)
			found(d, where, "page", from ? "absent" : "there",
			      from ? "there" : "absent", "");
		else if (!from)
			diff_page(d, where, p->data, q->data);
	}
}

static void diff_states(struct diff *d)
{
	const struct container *a = d->side[0].c, *b = d->side[1].c;
	uint32_t n = a->nstates < b->nstates ? a->nstates : b->nstates;
	char where[64], left[16], right[16];

	if (a->nstates != b->nstates) {
		snprintf(left, sizeof left, "%u", a->nstates);
		snprintf(right, sizeof right, "%u", b->nstates);
		found(d, "file", "nested states", left, right, "");
	}
	for (uint32_t i = 0; i < n; i++) {
		if (a->states[i].vcpu >= 0)
			snprintf(where, sizeof where, "vCPU %d",
				 a->states[i].vcpu);
		else
			strcpy(where, "header");
		diff_header(d, where, &a->states[i], &b->states[i]);
	}
}

static enum nst_status open_sides(struct diff *d)
{
	for (int i = 0; i < 2; i++) {
		struct inspect_options o = { .file = d->a->file[i],
			.from = d->a->from[i], .no_ram = d->a->no_ram };
		struct nst_error e;
		enum nst_status st = inspect_open(&o, &d->side[i], &e);

		if (!st && !d->side[i].sure && d->side[i].pool->count &&
		    d->side[i].pool->verdict == IDENTIFY_AMBIGUOUS)
			st = nst_fail(&e, NST_BAD_INPUT, "the layout is "
				      "ambiguous; name it with --from-%c",
				      "ab"[i]);
		if (st) {
			if (i)
				inspect_close(&d->side[0]);
			return (enum nst_status)cli_fail(o.file, &e);
		}
	}
	return NST_OK;
}

int cmd_diff(int argc, char **argv)
{
	struct args a = { 0 };
	struct diff d = { .a = &a };
	enum nst_status st;

	cli_parse(&argp, argc, argv, &a);
	st = open_sides(&d);
	if (st)
		return st;
	d.out = out_open(a.json, cli_quiet ? fopen("/dev/null", "w") : stdout);
	out_str(d.out, "layout_a", NULL, "%s", d.side[0].layout->id);
	out_str(d.out, "layout_b", NULL, "%s", d.side[1].layout->id);
	out_list(d.out, "differences");
	diff_states(&d);
	diff_pages(&d, 0);
	diff_pages(&d, 1);
	out_list_end(d.out);
	if (!d.count && !cli_quiet)
		out_text(d.out, "equal, field by field (layouts %s and %s)\n",
			 d.side[0].layout->id, d.side[1].layout->id);
	if (!out_close(d.out))
		st = NST_SYSTEM;
	inspect_close(&d.side[0]);
	inspect_close(&d.side[1]);
	return st ? st : d.count ? NST_NO : NST_OK;
}
