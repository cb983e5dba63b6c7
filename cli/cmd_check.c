/* cmd_check.c: nstate check: would a kernel accept this nested state, would the
 * VM entry succeed, and why not? */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/check/print.h"
#include "cli/cli.h"
#include "cli/layout_arg.h"
#include "cli/out.h"
#include "convert/load.h"
#include "convert/source.h"
#include "hvcore/hvcore.h"

/* The releases between which a verdict can change. */
static const char *const releases[] = {
	"4.19", "4.20", "5.2", "5.4", "5.8", "5.10", "5.15", "6.1", "6.6",
	"6.12", "6.18", "6.19", "7.2",
};
#define NRELEASES (sizeof releases / sizeof *releases)

struct args {
	const char *file, *kernel, *cpu, *caps;
	struct load_options load;
	bool json, sdm_only;
};

enum { OPT_KERNEL = 256, OPT_CPU, OPT_CAPS, OPT_FROM, OPT_JSON };

static const struct argp_option options[] = {
	{ "kernel", OPT_KERNEL, "RELEASE|all", 0, "Whose KVM is asked (default: "
	  "all that differ)", 0 },
	{ "cpu", OPT_CPU, "MODEL", 0, "The destination's CPU model (else as in the "
	  "file)", 0 },
	{ "caps", OPT_CAPS, "FILE", 0, "The destination's capability MSRs, lines "
	  "of INDEX VALUE as `nstate caps` prints them", 0 },
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
		if (strcmp(arg, "all") && !kernel_parse(arg))
			argp_error(state, "%s: not a kernel release", arg);
		a->kernel = strcmp(arg, "all") ? arg : NULL;
		return 0;
	case OPT_CPU: a->cpu = arg; return 0;
	case OPT_CAPS: a->caps = arg; return 0;
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

/* Lines "0x48b 0x02137bff00000000"; '#' begins a comment. */
static enum nst_status read_caps(const char *path, struct vmx_caps *caps,
				 struct nst_error *e)
{
	char line[256];
	unsigned number = 0;
	FILE *f = fopen(path, "r");

	if (!f)
		return nst_fail(e, NST_SYSTEM, "%s: %s", path, strerror(errno));
	memset(caps, 0, sizeof *caps);
	while (fgets(line, sizeof line, f)) {
		uint32_t index;
		uint64_t value;
		number++;
		if (*line == '#' || *line == '\n')
			continue;
		if (sscanf(line, "%" SCNx32 " %" SCNx64, &index, &value) != 2 ||
		    index < VMX_CAPS_FIRST ||
		    index >= VMX_CAPS_FIRST + VMX_CAPS_COUNT) {
			fclose(f);
			return nst_fail(e, NST_BAD_INPUT, "%s: line %u is no "
					"\"INDEX VALUE\" of 0x480 to 0x493",
					path, number);
		}
		caps->msr[index - VMX_CAPS_FIRST] = value;
	}
	fclose(f);
	vmx_caps_complete(caps);
	return NST_OK;
}

/* A core vCPU with the CPU that the state is to run on: what the entry checks
 * need of it is then the same that the core's own entries use. */
static enum nst_status make_cpu(const struct args *a, const struct loaded *in,
				uint32_t i, struct vm *vm, struct vcpu **out,
				struct nst_error *e)
{
	const struct snapshot_vcpu *v = &in->snapshot->vcpu[i];
	struct snapshot_vcpu bare = *v;
	struct vcpu *c = hv_vcpu_new(vm);

	*out = c;
	if (!c)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	if (a->cpu || !snapshot_has(v, SN_CPUID))
		return hv_vcpu_set_model(c, a->cpu ? a->cpu : hv_cpu_models[0],
					 e);
	bare.have &= 1u << SN_CPUID | 1u << SN_MSRS;
	return hv_vcpu_load(c, &bare, e);
}

static bool in_smm(const struct snapshot_vcpu *v)
{
	return snapshot_has(v, SN_EVENTS) && v->events.smi.smm;
}

static void fill_subject(const struct loaded *in, uint32_t i, struct vcpu *c,
			 const struct vmx_caps *caps, struct subject *s)
{
	const struct snapshot_vcpu *v = &in->snapshot->vcpu[i];
	const uint8_t *page = v->nested_size >= 128 + VMCS12_SIZE ?
		v->nested + 128 : NULL;
	uint64_t pa = ~0ull;

	memset(s, 0, sizeof *s);
	if (v->nested_size >= 24)
		memcpy(&pa, v->nested + 16, 8);
	hv_check_context(c, page, pa, &s->vmcs);
	if (caps)
		s->vmcs.caps = caps;
	/* The VM entry that a restore makes is L1's: its size is the host's. */
	if (page)
		s->vmcs.host_lma = layout_get(s->vmcs.l, page,
			VMCS_IDX_VM_EXIT_CONTROLS) >> 9 & 1;
	s->blob = v->nested;
	s->size = v->nested_size;
	s->from = in->from;
	s->set = (struct set_context){ .blob = s->blob, .size = s->size,
		.has_vmx = hv_cpu_has_vmx(c), .maxphyaddr = s->vmcs.maxphyaddr,
		.in_smm = in_smm(v) };
}

static bool ask_kernel(const struct subject *s, const char *release,
		       struct out *out)
{
	struct broken b;
	char text[300];
	enum verdict v = verdict_kernel(s, kernel_parse(release), &b, text,
					sizeof text);
	const char *word = v == V_REFUSED ? "refused (EINVAL)" : v == V_WRONG ?
		"accepted, but wrong" : "accepted";

	out_begin(out, NULL);
	out_str(out, "kernel", NULL, "%s", release);
	out_str(out, "verdict", NULL, "%s", word);
	out_text(out, "  %-6s %s%s%s\n", release, word, *text ? ": " : "", text);
	if (*text)
		out_str(out, "why", NULL, "%s", text);
	out_list(out, "broken");
	if (v == V_REFUSED)
		broken_print(out, &b);
	out_list_end(out);
	out_end(out);
	return v == V_ACCEPTED;
}

static bool check_vcpu(const struct args *a, const struct subject *s, uint32_t i,
		       struct out *out)
{
	static struct broken b[MAX_BROKEN];
	unsigned n = verdict_sdm(s, b, MAX_BROKEN);
	bool good = !n;

	out_begin(out, NULL);
	out_u64(out, "vcpu", NULL, i);
	out_text(out, "vCPU %u\n", i);
	out_list(out, "kernels");
	for (size_t k = 0; k < NRELEASES; k++)
		if (!a->kernel)
			good &= ask_kernel(s, releases[k], out);
	if (a->kernel)
		good &= ask_kernel(s, a->kernel, out);
	out_list_end(out);
	out_text(out, "  VM entry by the SDM: %s\n", !s->vmcs.page ?
		 "there is no vmcs12" : n ? "fails" : "every check passes");
	out_list(out, "sdm");
	for (unsigned k = 0; k < n; k++)
		broken_print(out, &b[k]);
	out_list_end(out);
	out_end(out);
	return good;
}

static int run(const struct args *a, struct loaded *in, struct nst_error *e)
{
	struct vm *vm = hv_vm_new(&(struct hv_ops){ 0 });
	struct out *out = out_open(a->json, cli_quiet ? fopen("/dev/null", "w") :
				   stdout);
	struct vmx_caps caps;
	bool good = true, any = false;
	enum nst_status st = NST_OK;

	if (!vm)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	if (a->caps)
		st = read_caps(a->caps, &caps, e);
	for (uint32_t i = 0; !st && i < in->snapshot->nram; i++)
		st = hv_map_ram(vm, in->snapshot->ram[i].gpa,
				in->snapshot->ram[i].size,
				in->snapshot->ram[i].host, e);
	out_list(out, "vcpus");
	for (uint32_t i = 0; !st && i < in->snapshot->nvcpus; i++) {
		struct subject s;
		struct vcpu *c;

		if (!snapshot_has(&in->snapshot->vcpu[i], SN_NESTED))
			continue;
		st = make_cpu(a, in, i, vm, &c, e);
		if (st)
			break;
		fill_subject(in, i, c, a->caps ? &caps : NULL, &s);
		good &= check_vcpu(a, &s, i, out);
		any = true;
	}
	out_list_end(out);
	if (!st && !any)
		out_text(out, "no nested state: nothing to check\n");
	if (!out_close(out) && !st)
		st = nst_fail(e, NST_SYSTEM, "cannot write the report");
	hv_vm_free(vm);
	return st ? (int)st : good ? NST_OK : NST_NO;
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
	status = run(&a, &in, &e);
	snapshot_free(in.snapshot);
	return status > NST_NO ? cli_fail(a.file, &e) : status;
}
