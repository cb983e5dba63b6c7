/* cmd_resume.c: nstate resume: goes on where a VM was stopped. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/cpu_model.h"
#include "cli/layout_arg.h"
#include "cli/resume/gdb.h"
#include "cli/resume/gdb_socket.h"
#include "cli/resume/session.h"
#include "convert/compare.h"
#include "convert/load.h"
#include "convert/snapshot.h"

enum { OPT_UNTIL = 256, OPT_MAX_INSNS, OPT_MAX_EXITS, OPT_EXPECT, OPT_STRICT,
       OPT_IGNORE_RAM, OPT_REPORT, OPT_PML_LOG, OPT_JSON, OPT_DEVICES, OPT_NO_SANDBOX,
       OPT_HASH, OPT_CHECK_HASHES,
       OPT_TRACE, OPT_L1, OPT_EPT, OPT_CPU, OPT_L0, OPT_ENGINE, OPT_FROM,
       OPT_RAM, OPT_GDB, OPT_REGS, OPT_SREGS };

static const struct argp_option options[] = {
	{ "until", OPT_UNTIL, "COND", 0, "Stop when COND holds (repeatable): "
	  "io:PORT[=VALUE], exit:REASON, rip:[L1:|L2:]ADDR, write:GPA, "
	  "console:TEXT, idle", 0 },
	{ "max-insns", OPT_MAX_INSNS, "N", 0, "Stop after N instructions", 0 },
	{ "max-exits", OPT_MAX_EXITS, "N", 0, "Stop after N VM exits", 0 },
	{ "output", 'o', "FILE", 0, "Write a snapshot of where it stopped", 0 },
	{ "force", 'f', NULL, 0, "Overwrite FILE", 0 },
	{ "expect", OPT_EXPECT, "FILE", 0, "Compare with this snapshot; status 1 "
	  "where anything differs", 1 },
	{ "strict", OPT_STRICT, NULL, 0, "With --expect: compare what differs "
	  "from run to run too", 1 },
	{ "ignore-ram", OPT_IGNORE_RAM, "GPA[-GPA]", 0, "With --expect: leave "
	  "these pages out (repeatable)", 1 },
	{ "report", OPT_REPORT, NULL, 0, "Print what happened, at the end", 2 },
	{ "trace", OPT_TRACE, "WHAT,...", 0, "Print as it happens: exits (and "
	  "entries), events, io, pml, insns", 2 },
	{ "json", OPT_JSON, NULL, 0, "Report and traces as JSON", 2 },
	{ "pml-log", OPT_PML_LOG, "FILE", 0, "Write the L2-physical addresses that "
	  "went to the page-modification log", 2 },
	{ "gdb", OPT_GDB, "ADDRESS", 0, "Serve gdb at [HOST]:PORT or a socket's "
	  "path", 2 },
	{ "hash-exits", OPT_HASH, "FILE", 0, "Record a hash of RAM and registers "
	  "at each VM exit", 2 },
	{ "check-hashes", OPT_CHECK_HASHES, "FILE", 0, "Stop at the first VM exit "
	  "whose hash differs from FILE's", 2 },
	{ "from", OPT_FROM, "LAYOUT", 0, "The layout of the vmcs12s (else it is "
	  "identified)", 3 },
	{ "cpu", OPT_CPU, "MODEL", 0, "CPU model, as for `nstate run' (else as in "
	  "the snapshot)", 3 },
	{ "l0", OPT_L0, "PROFILE", 0, "How L0 behaves: sdm or a kernel release", 3 },
	{ "ram", OPT_RAM, "FILE[@GPA]", 0, "Guest RAM for a raw nested state "
	  "(repeatable, rising)", 3 },
	{ "regs", OPT_REGS, "FILE", 0, "A raw struct kvm_regs for vCPU 0", 3 },
	{ "sregs", OPT_SREGS, "FILE", 0, "A raw struct kvm_sregs for vCPU 0", 3 },
	{ "l1", OPT_L1, "guest|builtin", 0, "Who answers L2's exits: L1's own code "
	  "(default) or a built-in L1", 3 },
	{ "ept", OPT_EPT, "identity", 0, "With --l1 builtin: L2-physical is "
	  "L1-physical; L1's EPT tables are not used", 3 },
	{ "engine", OPT_ENGINE, "core|kvm|auto", 0, "What runs it: the embedded "
	  "core (default) or real KVM", 3 },
	{ "devices", OPT_DEVICES, "ignore", 0, "A device of the VM that the core "
	  "has not reads all ones, instead of stopping the run", 3 },
	{ "no-sandbox", OPT_NO_SANDBOX, NULL, 0, "Run the guest in this process, "
	  "with all its privileges and system calls", 3 },
	{ "quiet", 'q', NULL, 0, "No warnings", 4 },
	{ 0 },
};

static bool parse_count(const char *arg, uint64_t *v)
{
	char *end;

	*v = strtoull(arg, &end, 0);
	return end != arg && !*end;
}

static bool parse_range(const char *arg, struct gpa_range *r)
{
	char *end;

	r->first = strtoull(arg, &end, 0);
	r->last = r->first;
	if (end == arg)
		return false;
	if (*end == '-')
		r->last = strtoull(end + 1, &end, 0);
	return !*end && r->last >= r->first;
}

static bool parse_ram(char *arg, struct session *s)
{
	char *at = strrchr(arg, '@'), *end = NULL;
	struct load_ram r = { .path = arg };

	if (at) {
		r.gpa = strtoull(at + 1, &end, 0);
		if (end == at + 1 || *end)
			return false;
		*at = 0;
	}
	if (s->load.nram == LOAD_MAX_RAM || r.gpa & 0xfff ||
	    (s->load.nram && r.gpa <= s->ram[s->load.nram - 1].gpa))
		return false;
	s->ram[s->load.nram++] = r;
	return true;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct session *s = state->input;
	struct nst_error e;

	switch (key) {
	case OPT_UNTIL:
		if (s->nuntil == MAX_UNTIL)
			argp_error(state, "more than %d conditions", MAX_UNTIL);
		else if (until_parse(arg, &s->until[s->nuntil++], &e))
			argp_error(state, "%s", e.text);
		return 0;
	case OPT_MAX_INSNS:
		if (!parse_count(arg, &s->limits.insns))
			argp_error(state, "%s: not a number", arg);
		return 0;
	case OPT_MAX_EXITS:
		if (!parse_count(arg, &s->limits.exits))
			argp_error(state, "%s: not a number", arg);
		return 0;
	case OPT_IGNORE_RAM:
		if (s->nignored == MAX_RANGES ||
		    !parse_range(arg, &s->ignored[s->nignored++]))
			argp_error(state, "%s: not GPA[-GPA]", arg);
		return 0;
	case OPT_TRACE:
		if (!trace_parse(&s->trace, arg))
			argp_error(state, "%s: not of exits, events, io, pml, "
				   "insns", arg);
		return 0;
	case OPT_RAM:
		if (!parse_ram(arg, s))
			argp_error(state, "%s: not FILE[@GPA] in rising order",
				   arg);
		return 0;
	case OPT_L1:
		s->engine.builtin_l1 = !strcmp(arg, "builtin");
		if (!s->engine.builtin_l1 && strcmp(arg, "guest"))
			argp_error(state, "%s: neither guest nor builtin", arg);
		return 0;
	case OPT_EPT:
		if (strcmp(arg, "identity"))
			argp_error(state, "%s: not identity", arg);
		s->engine.ept_identity = true;
		return 0;
	case OPT_DEVICES:
		if (strcmp(arg, "ignore"))
			argp_error(state, "%s: not ignore", arg);
		s->engine.ignore_devices = true;
		return 0;
	case OPT_NO_SANDBOX: s->sandbox.off = true; return 0;
	case OPT_JSON: s->json = s->trace.json = true; return 0;
	case OPT_PML_LOG: s->pml_log = arg; return 0;
	case OPT_REGS: s->load.regs = arg; return 0;
	case OPT_SREGS: s->load.sregs = arg; return 0;
	case OPT_GDB: s->gdb = arg; return 0;
	case 'o': s->out = arg; return 0;
	case 'f': s->force = true; return 0;
	case 'q': cli_quiet = true; return 0;
	case OPT_EXPECT: s->expect = arg; return 0;
	case OPT_STRICT: s->strict = true; return 0;
	case OPT_REPORT: s->report = true; return 0;
	case OPT_HASH: s->hash_exits = arg; return 0;
	case OPT_CHECK_HASHES: s->check_hashes = arg; return 0;
	case OPT_FROM:
		if (layout_arg(arg, &s->load.from, &e))
			argp_error(state, "%s", e.text);
		return 0;
	case OPT_CPU:
		s->engine.cpu = arg;
		s->engine.cpu_asked = true;
		return 0;
	case OPT_L0: s->engine.l0 = arg; return 0;
	case OPT_ENGINE: s->engine_name = arg; return 0;
	case ARGP_KEY_ARG:
		if (s->file)
			argp_error(state, "one FILE only");
		s->file = arg;
		return 0;
	case ARGP_KEY_END:
		if (!s->file)
			argp_error(state, "no FILE");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	options, parse, "FILE", "Goes on where the VM in FILE was stopped: its "
	"L2, the exits, and L1's own code, on the embedded core.", NULL, NULL, NULL
};

struct expectation {
	const struct session *s;
	struct out *o;
	unsigned shown, counted;
};

static bool is_ignored(const struct session *s, const char *where)
{
	unsigned long long gpa;

	if (sscanf(where, "RAM page %llx", &gpa) != 1)
		return false;
	for (unsigned i = 0; i < s->nignored; i++)
		if (gpa >= s->ignored[i].first && gpa <= s->ignored[i].last)
			return true;
	return false;
}

static void show_difference(void *arg, const char *where, const char *left,
			    const char *right)
{
	struct expectation *x = arg;

	if (is_ignored(x->s, where))
		return;
	if (x->counted++ >= 100)
		return;
	out_begin(x->o, NULL);
	out_str(x->o, "where", NULL, "%s", where);
	out_str(x->o, "value", NULL, "%s", left);
	out_str(x->o, "expected", NULL, "%s", right);
	out_end(x->o);
	out_text(x->o, "%s: %s, expected %s\n", where, left, right);
}

static int compare_expected(struct session *s, struct out *o)
{
	struct expectation x = { .s = s, .o = o };
	struct loaded want;
	struct nst_error e;

	/* It may have another layout than the file; --from is for what cannot tell. */
	if (load_converted(s->expect, &(struct load_options){ 0 }, &want, &e) &&
	    (!s->load.from ||
	     load_converted(s->expect, &(struct load_options){ .from =
			    s->load.from }, &want, &e)))
		return cli_fail(s->expect, &e);
	out_list(o, "differences");
	snapshot_compare(s->snapshot, want.snapshot, s->layout, s->strict,
			 show_difference, &x);
	out_list_end(o);
	out_u64(o, "different", NULL, x.counted);
	snapshot_free(want.snapshot);
	if (!x.counted) {
		fprintf(stderr, "nstate: equal to %s\n", s->expect);
		return NST_OK;
	}
	fprintf(stderr, "nstate: %u differences from %s\n", x.counted, s->expect);
	return NST_NO;
}

/* The first option given that only the core can follow, or NULL: KVM tells of I/O
 * and the console, but neither counts instructions nor shows exits to L1. */
static const char *core_only(const struct session *s)
{
	const struct { bool given; const char *name; } wants[] = {
		{ s->gdb, "--gdb" },
		{ s->engine.cpu_asked, "--cpu" },
		{ s->engine.l0, "--l0" },
		{ s->engine.builtin_l1, "--l1 builtin" },
		{ s->limits.insns != ~0ull, "--max-insns" },
		{ s->limits.exits != ~0ull, "--max-exits" },
		{ s->hash_exits, "--hash-exits" },
		{ s->check_hashes, "--check-hashes" },
		{ s->pml_log, "--pml-log" },
		{ s->trace.insns || s->trace.events || s->trace.exits ||
		  s->trace.pml, "--trace of more than io" },
	};

	for (unsigned i = 0; i < sizeof wants / sizeof *wants; i++)
		if (wants[i].given)
			return wants[i].name;
	for (unsigned i = 0; i < s->nuntil; i++)
		if (s->until[i].kind != UNTIL_IO && s->until[i].kind != UNTIL_CONSOLE)
			return "--until of more than io and console";
	return NULL;
}

static const struct engine_ops *pick_engine(const struct session *s,
					    struct nst_error *e)
{
	const char *name = s->engine_name, *missing, *needs = core_only(s);

	if (!name || !strcmp(name, "core"))
		return &engine_core;
	if (strcmp(name, "kvm") && strcmp(name, "auto")) {
		nst_fail(e, NST_USAGE, "%s: no such engine (core, kvm, auto)",
			 name);
		return NULL;
	}
	missing = engine_kvm_missing();
	if (!strcmp(name, "auto"))
		return missing || needs ? &engine_core : &engine_kvm;
	if (needs) {
		nst_fail(e, NST_USAGE, "%s needs --engine core", needs);
		return NULL;
	}
	if (missing) {
		nst_fail(e, NST_SYSTEM, "cannot run on KVM: %s", missing);
		return NULL;
	}
	return &engine_kvm;
}

/* What was asked for after the run; status: the run's. */
static int finish(struct session *s, int status, struct out *o)
{
	struct nst_error e;

	if (s->report || s->json)
		session_report(s, o);
	if (s->out && snapshot_write(s->snapshot, s->out, s->force, &e))
		return cli_fail(s->out, &e);
	if (s->expect && !status)
		status = compare_expected(s, o);
	return status;
}

static int report(struct session *s, int status)
{
	struct nst_error e;
	struct out *o = out_open(s->json, stdout);

	status = finish(s, status, o);
	if (!out_close(o) && !status) {
		nst_fail(&e, NST_SYSTEM, "cannot write: %m");
		status = cli_fail(NULL, &e);
	}
	return status;
}

/* -- the run, in a process of its own unless --no-sandbox ------------------------------- */
static enum nst_status isolate(void *arg, struct nst_error *e)
{
	struct session *s = arg;
	int keep[3];
	unsigned n = 0;

	if (s->hashes)
		keep[n++] = fileno(s->hashes);
	if (s->pml)
		keep[n++] = fileno(s->pml);
	if (s->gdb_fd >= 0)
		keep[n++] = s->gdb_fd;
	return sandbox_enter(&s->sandbox, keep, n, e);
}

/* Fills s->snapshot and s->result; *ran: they are worth a report.  The engine stays:
 * KVM leaves nested mode when a VM goes away, and writes to its RAM. */
static int guest(struct session *s, bool *ran)
{
	struct nst_error e;
	enum nst_status st;
	int status = NST_OK;

	*ran = false;
	s->engine.isolate = isolate;
	s->engine.isolate_arg = s;
	if (s->ops->create(&s->g, s->snapshot, &s->engine, &e))
		return cli_fail(s->file, &e);
	st = session_run(s, &e);
	if (st)
		status = cli_fail(s->file, &e);
	session_take_result(s);
	if (s->ops->save(s->g, s->snapshot, &e))
		status = cli_fail(s->file, &e);
	else
		*ran = true;
	return status;
}

static _Noreturn void be_guest(struct session *s)
{
	bool ran;
	int status = guest(s, &ran);

	if (ran) {
		sandbox_send_snapshot(&s->sandbox, s->snapshot);
		sandbox_send_result(&s->sandbox, &s->result, sizeof s->result);
	}
	sandbox_end(&s->sandbox, status);
}

/* The parent keeps the debugger's connection. */
static enum nst_status split(struct session *s, struct nst_error *e)
{
	int pair[2] = { -1, -1 };
	enum nst_status st;

	if (s->gdb_fd >= 0 && !s->sandbox.off &&
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return nst_fail(e, NST_SYSTEM, "socketpair: %m");
	st = sandbox_fork(&s->sandbox, e);
	if (st || pair[0] < 0)
		return st;
	if (sandbox_is_child(&s->sandbox)) {
		close(s->gdb_fd);
		close(pair[0]);
		s->gdb_fd = pair[1];
	} else {
		close(pair[1]);
		s->sandbox.outer = s->gdb_fd;
		s->sandbox.inner = pair[0];
	}
	return st;
}

static int run(struct session *s)
{
	struct nst_error e;
	enum nst_status st = session_open(s, &e);
	bool ran;
	int status;

	s->gdb_fd = -1;
	if (!st && s->gdb)
		st = gdb_accept(s->gdb, &s->gdb_fd, &e);
	if (!st)
		st = split(s, &e);
	if (st)
		return cli_fail(s->file, &e);
	if (sandbox_is_child(&s->sandbox))
		be_guest(s);
	if (!sandbox_is_parent(&s->sandbox))
		status = guest(s, &ran);
	else
		status = sandbox_await(&s->sandbox, s->file, s->snapshot,
				       &s->result, sizeof s->result, &ran);
	if (ran && !session_result_is_sane(s)) {
		nst_fail(&e, NST_SYSTEM, "the process that ran the guest sent "
			 "nonsense");
		return cli_fail(s->file, &e);
	}
	if (ran)
		status = report(s, status);
	if (s->g)
		s->ops->destroy(s->g);
	return status;
}

/* What the machine will not have that the VM had. */
static void warn_devices(const struct session *s)
{
	char names[1024] = "";
	const struct snapshot *sn = s->snapshot;
	size_t n = 0;

	for (uint32_t i = 0; i < sn->nregions && n < sizeof names; i++) {
		const char *name = sn->region[i].device;
		uint32_t k = 0;

		while (k < i && strcmp(sn->region[k].device, name))
			k++;
		if (k == i)
			n += (size_t)snprintf(names + n, sizeof names - n, "%s%s",
					      n ? ", " : "", name);
	}
	if (n)
		cli_warn(s->file, "devices that the core has not: %s; %s", names,
			 s->engine.ignore_devices ? "they read all ones" :
			 "an access to one stops the run");
}

/* A stream has no CPUID table: what the machine will have instead. */
static void choose_cpu(struct session *s)
{
	char why[256];

	if (s->engine.cpu_asked)
		return;
	s->engine.cpu = cpu_model_of(s->snapshot, why, sizeof why);
	if (s->ops == &engine_kvm && *why)
		snprintf(why, sizeof why, "no CPUID table in it: the CPU is the host's");
	if (*why)
		cli_warn(s->file, "%s", why);
}

int cmd_resume(int argc, char **argv)
{
	struct session s = { .limits = { ~0ull, ~0ull },
			     .sandbox = SANDBOX_NONE };
	struct loaded in;
	struct nst_error e;
	int status;

	cli_parse(&argp, argc, argv, &s);
	s.ops = pick_engine(&s, &e);
	if (!s.ops)
		return cli_fail(NULL, &e);
	if (s.ops == &engine_kvm)
		s.sandbox.off = true; /* KVM keeps the guest in */
	s.load.ram = s.ram;
	s.load.share_ram = !s.sandbox.off;
	if (load_converted(s.file, &s.load, &in, &e))
		return cli_fail(s.file, &e);
	if (*in.note)
		cli_warn(s.file, "%s", in.note);
	s.snapshot = in.snapshot;
	s.layout = in.layout;
	choose_cpu(&s);
	if (s.ops == &engine_core)
		warn_devices(&s);
	session_hooks(&s);
	status = run(&s);
	snapshot_free(s.snapshot);
	return status;
}
