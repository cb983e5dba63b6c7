/* cmd_check.c: nstate check: would a kernel accept this nested state, would the
 * VM entry succeed, and why not? */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/check/around.h"
#include "cli/check/caps.h"
#include "cli/check/print.h"
#include "cli/check/subject.h"
#include "cli/cli.h"
#include "cli/cpu_model.h"
#include "cli/layout_arg.h"
#include "cli/out.h"
#include "convert/load.h"
#include "convert/source.h"
#include "hvcore/hvcore.h"

/* The releases between which a verdict can change. */
static const char *const releases[] = {
	"4.19", "4.20", "5.2", "5.4", "5.7", "5.8", "5.10", "5.14", "5.15",
	"6.1", "6.6", "6.12", "6.18", "6.19", "7.2",
};
#define NRELEASES (sizeof releases / sizeof *releases)

#define MOST_KERNELS 16
struct args {
	const char *file, *cpu, *caps;
	const char *kernel[MOST_KERNELS]; /* none: all that differ */
	unsigned nkernels;
	struct load_options load;
	struct caps_file dest;            /* of --caps or --host */
	bool json, host;
	const char *fallback;             /* model of vCPUs without a CPUID table */
};

enum { OPT_KERNEL = 256, OPT_CPU, OPT_CAPS, OPT_HOST, OPT_FROM, OPT_JSON };

static const struct argp_option options[] = {
	{ "kernel", OPT_KERNEL, "RELEASE|all", 0, "Whose KVM is asked (default: "
	  "all that differ); several are compared", 0 },
	{ "cpu", OPT_CPU, "MODEL", 0, "The destination's CPU model (else as in the "
	  "file)", 0 },
	{ "caps", OPT_CAPS, "FILE", 0, "The destination's capabilities, as `nstate "
	  "caps` wrote them there", 0 },
	{ "host", OPT_HOST, NULL, 0, "The destination is this host", 0 },
	{ "from", OPT_FROM, "LAYOUT", 0, "The layout of the vmcs12 (else it is "
	  "identified)", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print JSON", 0 },
	{ "quiet", 'q', NULL, 0, "Only the exit status", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;
	struct nst_error e;

	switch (key) {
	case OPT_KERNEL:
		if (!strcmp(arg, "all"))
			return 0;
		if (!kernel_parse(arg))
			argp_error(state, "%s: not a kernel release", arg);
		if (a->nkernels == MOST_KERNELS)
			argp_error(state, "at most %d kernels", MOST_KERNELS);
		a->kernel[a->nkernels++] = arg;
		return 0;
	case OPT_CPU: a->cpu = arg; return 0;
	case OPT_CAPS: a->caps = arg; return 0;
	case OPT_HOST: a->host = true; return 0;
	case OPT_FROM:
		if (layout_arg(arg, &a->load.from, &e))
			argp_error(state, "%s", e.text);
		return 0;
	case OPT_JSON: a->json = true; return 0;
	case 'q': cli_quiet = true; return 0;
	case ARGP_KEY_ARG:
		if (a->file)
			argp_error(state, "one FILE only");
		a->file = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->file)
			argp_error(state, "no FILE");
		if (a->host + !!a->caps + !!a->cpu > 1)
			argp_error(state, "one of --cpu, --caps and --host only");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	options, parse, "FILE", "Says whether KVM_SET_NESTED_STATE would accept "
	"the nested state in FILE and whether its VM entry would succeed, with "
	"the rule that is broken.  Exit status 1 where any would refuse.",
	NULL, NULL, NULL
};

struct answer {
	const char *release;
	enum verdict verdict;
	struct broken broken;
	char text[400];
};

static const char *word(const struct answer *a)
{
	if (a->verdict == V_REFUSED)
		return a->broken.result == -EINVAL ? "refused (EINVAL)" :
			a->broken.result == 1 ? "refused (returns 1)" :
			"refused (returns 2)";
	return a->verdict == V_WRONG ? "accepted, but wrong" : "accepted";
}

static bool same_answer(const struct answer *a, const struct answer *b)
{
	return a->verdict == b->verdict && !strcmp(a->text, b->text) &&
		(a->verdict != V_REFUSED || (!strcmp(a->broken.id, b->broken.id) &&
			a->broken.result == b->broken.result));
}

/* For people, neighbours that say the same are one. */
static void print_answers(const struct answer *a, unsigned n, struct out *out)
{
	for (unsigned i = 0, last; i < n; i = last + 1) {
		char span[40];

		for (last = i; last + 1 < n && same_answer(&a[i], &a[last + 1]);)
			last++;
		if (last == i)
			snprintf(span, sizeof span, "%s", a[i].release);
		else
			snprintf(span, sizeof span, "%s to %s", a[i].release,
				 a[last].release);
		out_text(out, "  %-14s %s%s%s\n", span, word(&a[i]),
			 *a[i].text ? ": " : "", a[i].text);
		for (unsigned k = i; k <= last; k++) {
			out_begin(out, NULL);
			out_str(out, "kernel", NULL, "%s", a[k].release);
			out_str(out, "verdict", NULL, "%s", word(&a[k]));
			if (*a[k].text)
				out_str(out, "why", NULL, "%s", a[k].text);
			if (a[k].verdict == V_REFUSED)
				out_str(out, "result", NULL, "%d",
					a[k].broken.result);
			out_list(out, "broken");
			if (a[k].verdict == V_REFUSED &&
			    (k == i || out_is_json(out)))
				broken_print(out, &a[k].broken);
			out_list_end(out);
			out_end(out);
		}
	}
}

/* All kernels that were asked for; false: some does not take it as it is. */
static bool ask_kernels(const struct args *a, const struct subject *s,
			struct out *out)
{
	static struct answer answers[MOST_KERNELS];
	const char *const *list = a->nkernels ? a->kernel : releases;
	unsigned n = a->nkernels ? a->nkernels : (unsigned)NRELEASES;
	bool good = true, differ = false;

	for (unsigned k = 0; k < n; k++) {
		struct answer *w = &answers[k];

		w->release = list[k];
		w->verdict = verdict_kernel(s, kernel_parse(list[k]), &w->broken,
					    w->text, sizeof w->text);
		differ |= w->verdict != answers[0].verdict;
		good &= w->verdict == V_ACCEPTED;
	}
	out_list(out, "kernels");
	print_answers(answers, n, out);
	out_list_end(out);
	out_bool(out, "kernels_differ", NULL, differ);
	if (differ && a->nkernels)
		out_text(out, "  The kernels differ.\n");
	return good;
}

static bool check_vcpu(const struct args *a, const struct around *around,
		       const struct subject *s, uint32_t i, struct out *out)
{
	static struct broken b[MAX_BROKEN];
	unsigned n = verdict_sdm(s, b, MAX_BROKEN);
	bool good = !n;

	out_begin(out, NULL);
	out_u64(out, "vcpu", NULL, i);
	out_text(out, "vCPU %u\n", i);
	good &= ask_kernels(a, s, out);
	out_text(out, "  VM entry by the SDM: %s%s\n", !s->vmcs.page ?
		 "there is no vmcs12" : n ? "fails" : "every check passes",
		 s->vmcs.page && n && !(s->blob[0] & KVM_STATE_NESTED_GUEST_MODE) ?
		 " (L1 runs, and may not have finished this VMCS)" : "");
	out_list(out, "sdm");
	for (unsigned k = 0; k < n; k++)
		broken_print(out, &b[k]);
	out_list_end(out);
	good &= around_tell(around, i, s, a->caps || a->host || a->cpu, out);
	out_end(out);
	return good;
}

/* One vCPU, on a core VM of its own: a machine may have hundreds. */
static enum nst_status check_one(const struct args *a, const struct loaded *in,
				 const struct around *around, uint32_t i,
				 struct out *out, bool *good, struct nst_error *e)
{
	const struct caps_file *dest = a->caps || a->host ? &a->dest : NULL;
	const struct snapshot *snap = in->snapshot;
	struct vm *vm = hv_vm_new(&(struct hv_ops){ 0 });
	enum nst_status st = NST_OK;
	struct subject s;
	struct vcpu *c;

	if (!vm)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	for (uint32_t k = 0; !st && k < snap->nram; k++)
		st = hv_map_ram(vm, snap->ram[k].gpa, snap->ram[k].size,
				snap->ram[k].host, e);
	if (!st)
		st = subject_cpu(&snap->vcpu[i], a->cpu, a->fallback, dest, vm, &c, e);
	if (!st) {
		subject_fill(&snap->vcpu[i], in->from, snap->nram, c, dest, &s);
		*good &= check_vcpu(a, around, &s, i, out);
	}
	hv_vm_free(vm);
	return st;
}

static enum nst_status check_all(const struct args *a, const struct loaded *in,
				 struct out *out, bool *good,
				 struct nst_error *e)
{
	const struct snapshot *snap = in->snapshot;
	struct around around;
	enum nst_status st = NST_OK;
	bool any = false;

	if (!around_open(&around, in))
		st = nst_fail(e, NST_SYSTEM, "out of memory");
	out_list(out, "vcpus");
	for (uint32_t i = 0; !st && i < snap->nvcpus; i++) {
		if (!snapshot_has(&snap->vcpu[i], SN_NESTED))
			continue;
		st = check_one(a, in, &around, i, out, good, e);
		any = true;
	}
	out_list_end(out);
	if (!st && !any)
		out_text(out, "no nested state: nothing to check\n");
	around_close(&around);
	return st;
}

static int run(struct args *a, const struct loaded *in, struct nst_error *e)
{
	struct out *out = out_open(a->json, cli_quiet ? fopen("/dev/null", "w") :
				   stdout);
	bool good = true;
	enum nst_status st = NST_OK;

	if (a->caps)
		st = caps_read(a->caps, &a->dest, e);
	else if (a->host)
		st = caps_of_host(&a->dest, e);
	if (!st)
		st = check_all(a, in, out, &good, e);
	if (st)
		out_drop(out);
	else if (!out_close(out))
		st = nst_fail(e, NST_SYSTEM, "cannot write the report");
	return st ? (int)st : good ? NST_OK : NST_NO;
}

/* What the rules about capabilities go by where the container has no CPUID table. */
static void choose_cpu(struct args *a, const struct snapshot *s)
{
	char why[256];
	const char *model = cpu_model_of(s, why, sizeof why);

	a->fallback = model ? model : hv_cpu_models[0];
	if (*why && !a->cpu && !a->caps && !a->host)
		cli_warn(a->file, "%s", why);
}

int cmd_check(int argc, char **argv)
{
	struct args a = { 0 };
	struct loaded in;
	struct nst_error e = { 0 };
	int status;

	cli_parse(&argp, argc, argv, &a);
	a.load.for_check = true;
	if (load_converted(a.file, &a.load, &in, &e))
		return cli_fail(a.file, &e);
	choose_cpu(&a, in.snapshot);
	status = run(&a, &in, &e);
	snapshot_free(in.snapshot);
	return status > NST_NO ? cli_fail(a.file, &e) : status;
}
