/* cmd_snapshot.c: nstate snapshot: any container with RAM and registers, or a
 * directory of raw structs, as a native snapshot. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/container_args.h"
#include "convert/from_dir.h"
#include "convert/snapshot.h"

struct args {
	const char *in, *out, *dir;
	struct container_options open;
	bool force;
};

enum { OPT_FROM_DIR = 256 };

static const struct argp_option options[] = {
	{ "output", 'o', "FILE", 0, "The snapshot; .gz at the end of the name "
	  "compresses it (\"-\": standard output)", 0 },
	{ "from-dir", OPT_FROM_DIR, "DIR", 0, "Take KVM's structs from the files "
	  "of a directory: regs, sregs, msrs, nested_state, ram, ...", 0 },
	{ "force", 'f', NULL, 0, "Overwrite FILE", 0 },
	{ "quiet", 'q', NULL, 0, "No warnings", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case ARGP_KEY_INIT:
		state->child_inputs[0] = &a->open;
		return 0;
	case 'o': a->out = arg; return 0;
	case 'f': a->force = true; return 0;
	case 'q': cli_quiet = true; return 0;
	case OPT_FROM_DIR: a->dir = arg; return 0;
	case ARGP_KEY_ARG:
		if (a->in)
			argp_error(state, "one IN only");
		a->in = arg;
		return 0;
	case ARGP_KEY_END:
		if (!a->in == !a->dir)
			argp_error(state, "either IN or --from-dir is needed");
		if (!a->out)
			argp_error(state, "no -o FILE");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp_child children[] = {
	{ &container_argp, 0, NULL, 10 }, { 0 },
};

static const struct argp argp = {
	options, parse, "[IN]", "Writes what IN holds (RAM, registers, nested "
	"state) as a native snapshot, nstate-snapshot(5).  Nothing is remapped.",
	children, NULL, NULL
};

static enum nst_status from_container(struct args *a, struct snapshot **s,
				      struct nst_error *e)
{
	struct container *c;
	enum nst_status st = container_open(a->in, &a->open, &c, e);

	if (st)
		return st;
	st = container_load(c, s, e);
	container_close(c);
	return st;
}

static void warn_missing(const char *file, const struct snapshot *s)
{
	if (!s->nram)
		cli_warn(file, "holds no RAM: the snapshot cannot be resumed");
	for (uint32_t i = 0; i < s->nvcpus; i++) {
		if (!snapshot_has(&s->vcpu[i], SN_REGS))
			cli_warn(file, "vCPU %u has no registers: the snapshot "
				 "can be inspected, not resumed as it stands", i);
		else if (!snapshot_has(&s->vcpu[i], SN_XSAVE))
			cli_warn(file, "vCPU %u has no MSRs and FPU: a dump does "
				 "not hold them", i);
	}
}

int cmd_snapshot(int argc, char **argv)
{
	struct args a = { 0 };
	struct snapshot *s = NULL;
	struct nst_error e;
	enum nst_status st;
	const char *name;

	cli_parse(&argp, argc, argv, &a);
	name = a.dir ? a.dir : a.in;
	st = a.dir ? snapshot_from_dir(a.dir, &s, &e) :
		from_container(&a, &s, &e);
	if (st)
		return cli_fail(name, &e);
	warn_missing(name, s);
	st = snapshot_write(s, a.out, a.force, &e);
	snapshot_free(s);
	return st ? cli_fail(a.out, &e) : NST_OK;
}
