/* cmd_caps.c: nstate caps: what a host, a CPU model or a snapshot's CPU offers L1, as
 * a file for nstate check --caps. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/check/caps.h"
#include "cli/cli.h"
#include "cli/cpu_model.h"
#include "cli/out.h"
#include "convert/load.h"
#include "convert/outfile.h"
#include "layouts/snapshot.h"

struct args {
	const char *file, *cpu, *output;
	bool host, json, force;
};

enum { OPT_HOST = 256, OPT_CPU, OPT_JSON };

static const struct argp_option options[] = {
	{ "host", OPT_HOST, NULL, 0, "Of this host's KVM (the default without FILE)",
	  0 },
	{ "cpu", OPT_CPU, "MODEL", 0, "Of a CPU model of the core (help: list them)",
	  0 },
	{ "output", 'o', "OUT", 0, "Write to OUT, not to standard output", 0 },
	{ "force", 'f', NULL, 0, "Replace OUT where it is there", 0 },
	{ "json", OPT_JSON, NULL, 0, "Print JSON, with the name of every bit", 0 },
	{ "quiet", 'q', NULL, 0, "No warnings", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case OPT_HOST: a->host = true; return 0;
	case OPT_CPU: a->cpu = arg; return 0;
	case 'o': a->output = arg; return 0;
	case 'f': a->force = true; return 0;
	case OPT_JSON: a->json = true; return 0;
	case 'q': cli_quiet = true; return 0;
	case ARGP_KEY_ARG:
		if (a->file)
			argp_error(state, "one FILE only");
		a->file = arg;
		return 0;
	case ARGP_KEY_END:
		if (!!a->file + !!a->cpu + a->host > 1)
			argp_error(state, "one of FILE, --cpu and --host only");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	options, parse, "[FILE]", "Writes the VMX capabilities of this host's KVM, "
	"of a CPU model, or of the CPU of a snapshot or stream in FILE (or of a file "
	"that caps wrote).  Run it on the destination of a migration, and give what "
	"it wrote to `nstate check --caps` beside the state.", NULL, NULL, NULL
};

static enum nst_status of_model(const char *name, struct caps_file *out,
				struct nst_error *e)
{
	struct vm *vm = hv_vm_new(&(struct hv_ops){ 0 });
	struct vcpu *c = vm ? hv_vcpu_new(vm) : NULL;
	enum nst_status st = c ? cpu_model_set(c, name, e) :
		nst_fail(e, NST_SYSTEM, "out of memory");

	if (!st)
		st = caps_of_vcpu(c, out, e);
	if (!st)
		snprintf(out->origin, sizeof out->origin, "CPU model %s", name);
	hv_vm_free(vm);
	return st;
}

static enum nst_status of_snapshot(const struct loaded *in, const char *path,
				   struct caps_file *out, struct nst_error *e)
{
	const struct snapshot *s = in->snapshot;
	const struct snapshot_vcpu *v = s->nvcpus ? &s->vcpu[0] : NULL;
	struct snapshot_vcpu bare;
	struct vm *vm;
	struct vcpu *c;
	enum nst_status st;

	if (!v || !snapshot_has(v, SN_MSRS) || !snapshot_msr(v, VMX_CAPS_FIRST))
		return nst_fail(e, NST_BAD_INPUT, "has no VMX capability MSRs");
	vm = hv_vm_new(&(struct hv_ops){ 0 });
	c = vm ? hv_vcpu_new(vm) : NULL;
	bare = *v;
	bare.have &= 1u << SN_CPUID | 1u << SN_MSRS;
	st = !c ? nst_fail(e, NST_SYSTEM, "out of memory") :
		snapshot_has(v, SN_CPUID) ? NST_OK :
		hv_vcpu_set_model(c, hv_cpu_models[0], e);
	if (!st)
		st = hv_vcpu_load(c, &bare, e);
	if (!st)
		st = caps_of_vcpu(c, out, e);
	if (!st)
		snprintf(out->origin, sizeof out->origin, "as the guest of %.150s "
			 "saw them", strrchr(path, '/') ? strrchr(path, '/') + 1 :
			 path);
	hv_vm_free(vm);
	return st;
}

/* A container, or a file that caps wrote: then it is checked and put in order. */
static enum nst_status of_file(const char *path, struct caps_file *out,
			       struct nst_error *e)
{
	struct load_options o = { .for_check = true };
	struct loaded in;
	struct nst_error other = { 0 };
	enum nst_status st;

	if (!caps_read(path, out, &other))
		return NST_OK;
	st = load_converted(path, &o, &in, e);
	if (st)
		return st;
	st = of_snapshot(&in, path, out, e);
	snapshot_free(in.snapshot);
	return st;
}

static void print_json(const struct caps_file *c, FILE *f)
{
	struct vmx_caps none;
	struct lacking have[400];
	unsigned n;
	struct out *out = out_open(true, f);

	memset(&none, 0, sizeof none);
	n = caps_compare(&c->caps, &none, have, 400);
	out_str(out, "origin", NULL, "%s", c->origin);
	out_list(out, "msrs");
	for (uint32_t i = 0; i < VMX_CAPS_COUNT; i++) {
		if (!c->caps.msr[i])
			continue;
		out_begin(out, NULL);
		out_hex(out, "index", NULL, VMX_CAPS_FIRST + i);
		out_str(out, "name", NULL, "IA32_VMX_%s",
			caps_msr_name(VMX_CAPS_FIRST + i));
		out_hex(out, "value", NULL, c->caps.msr[i]);
		out_end(out);
	}
	out_list_end(out);
	out_list(out, "offers");
	for (unsigned i = 0; i < n; i++) {
		if (!have[i].name)
			continue;
		out_begin(out, NULL);
		out_hex(out, "msr", NULL, have[i].index);
		out_u64(out, "bit", NULL, have[i].bit);
		out_str(out, "name", NULL, "%s", have[i].name);
		if (have[i].qemu)
			out_str(out, "qemu", NULL, "%s", have[i].qemu);
		out_end(out);
	}
	out_list_end(out);
	out_close(out);
}

static enum nst_status write_out(const struct args *a, const struct caps_file *c,
				 struct nst_error *e)
{
	struct outfile o;
	char *text = NULL;
	size_t len = 0;
	FILE *f = open_memstream(&text, &len);
	enum nst_status st;

	if (!f)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	if (a->json)
		print_json(c, f);
	else
		caps_write(c, f);
	fclose(f);
	st = outfile_open(&o, a->output ? a->output : "-", a->force, a->file, e);
	if (!st) {
		st = outfile_pwrite(o.fd, text, len, 0, e);
		st = outfile_close(&o, st, e);
	}
	free(text);
	return st;
}

int cmd_caps(int argc, char **argv)
{
	struct args a = { 0 };
	struct caps_file c;
	struct nst_error e = { 0 };
	enum nst_status st;

	cli_parse(&argp, argc, argv, &a);
	if (a.cpu && !strcmp(a.cpu, "help")) {
		cpu_model_list();
		return NST_OK;
	}
	st = a.cpu ? of_model(a.cpu, &c, &e) :
		a.file ? of_file(a.file, &c, &e) : caps_of_host(&c, &e);
	if (!st)
		st = write_out(&a, &c, &e);
	return st ? cli_fail(a.file, &e) : NST_OK;
}
