/* cmd_capture.c: nstate capture: a running QEMU VM's whole state into a file.
 *
 * The VM is stopped, migrated into the file through a passed descriptor, and let
 * go on; whatever happens in between, it ends as it was found.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <time.h>

#include "cli/capture/qmp.h"
#include "cli/cli.h"
#include "convert/container.h"
#include "convert/outfile.h"

struct args {
	const char *qmp, *out;
	bool force, stay;
};

/* Capabilities that write another kind of stream, or want another channel. */
static const char *const unwanted[] = {
	"multifd", "mapped-ram", "postcopy-ram", "background-snapshot", "x-colo",
	"x-ignore-shared", "rdma-pin-all",
};
#define NUNWANTED (sizeof unwanted / sizeof *unwanted)

static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

enum { OPT_QMP = 256, OPT_STAY };

static const struct argp_option options[] = {
	{ "qmp", OPT_QMP, "SOCKET", 0, "The VM's QMP monitor, a UNIX socket", 0 },
	{ "output", 'o', "FILE", 0, "Where its state goes", 0 },
	{ "force", 'f', NULL, 0, "Overwrite FILE", 0 },
	{ "stay", OPT_STAY, NULL, 0, "Leave the VM stopped", 0 },
	{ "quiet", 'q', NULL, 0, "No warnings", 0 },
	{ 0 },
};

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct args *a = state->input;

	switch (key) {
	case OPT_QMP: a->qmp = arg; return 0;
	case 'o': a->out = arg; return 0;
	case 'f': a->force = true; return 0;
	case 'q': cli_quiet = true; return 0;
	case OPT_STAY: a->stay = true; return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "%s: no argument is wanted", arg);
		return 0;
	case ARGP_KEY_END:
		if (!a->qmp || !a->out)
			argp_error(state, "--qmp SOCKET and -o FILE are needed");
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static const struct argp argp = {
	options, parse, NULL, "Stops a running QEMU VM, writes its whole state to "
	"FILE as a migration stream, and lets it go on.", NULL, NULL, NULL
};

/* -- what is changed for the while -------------------------------------------------- */
struct before {
	bool running, bandwidth_known;
	json_int_t bandwidth;
	bool on[NUNWANTED];
};

static void set_capability(struct qmp *q, const char *name, bool on)
{
	struct nst_error e;

	/* One that cannot be set was off, and stays so. */
	qmp_do(q, "migrate-set-capabilities", json_pack("{s[{sssb}]}",
	       "capabilities", "capability", name, "state", (int)on), -1, NULL, &e);
}

static void set_bandwidth(struct qmp *q, json_int_t bytes)
{
	struct nst_error e;

	/* Only for speed: QEMU that cannot is as good. */
	qmp_do(q, "migrate-set-parameters", json_pack("{sI}", "max-bandwidth",
	       bytes), -1, NULL, &e);
}

static void prepare(struct qmp *q, struct before *b)
{
	struct nst_error e;
	json_t *list = NULL, *o;
	size_t i;

	qmp_do(q, "query-migrate-capabilities", NULL, -1, &list, &e);
	json_array_foreach(list, i, o) {
		const char *name = json_string_value(
			json_object_get(o, "capability"));
		for (size_t k = 0; name && k < NUNWANTED; k++)
			if (!strcmp(name, unwanted[k]))
				b->on[k] = json_is_true(
					json_object_get(o, "state"));
	}
	json_decref(list);
	for (size_t k = 0; k < NUNWANTED; k++)
		if (b->on[k])
			set_capability(q, unwanted[k], false);
	o = NULL;
	if (!qmp_do(q, "query-migrate-parameters", NULL, -1, &o, &e) &&
	    json_object_get(o, "max-bandwidth")) {
		b->bandwidth_known = true;
		b->bandwidth = json_integer_value(
			json_object_get(o, "max-bandwidth"));
		set_bandwidth(q, 1ll << 40);
	}
	json_decref(o);
}

static enum nst_status restore(struct qmp *q, const struct before *b, bool stay,
			       struct nst_error *e)
{
	for (size_t k = 0; k < NUNWANTED; k++)
		if (b->on[k])
			set_capability(q, unwanted[k], true);
	if (b->bandwidth_known)
		set_bandwidth(q, b->bandwidth);
	if (!b->running || stay)
		return NST_OK;
	return qmp_do(q, "cont", NULL, -1, NULL, e);
}

/* -- the migration ------------------------------------------------------------------ */
/* Until it has ended; NST_NO where it failed. */
static enum nst_status await(struct qmp *q, struct nst_error *e)
{
	const struct timespec a_while = { 0, 20000000 };
	bool cancelled = false;

	for (;;) {
		json_t *o = NULL;
		enum nst_status st;
		const char *s, *why;

		if (interrupted && !cancelled) {
			cancelled = true;
			qmp_do(q, "migrate_cancel", NULL, -1, NULL, e);
		}
		st = qmp_do(q, "query-migrate", NULL, -1, &o, e);
		if (st)
			return st;
		s = json_string_value(json_object_get(o, "status"));
		why = json_string_value(json_object_get(o, "error-desc"));
		if (s && !strcmp(s, "completed")) {
			json_decref(o);
			return NST_OK;
		}
		if (s && (!strcmp(s, "failed") || !strcmp(s, "cancelled"))) {
			st = nst_fail(e, NST_SYSTEM, "QEMU's migration %s%s%s",
				      interrupted ? "was interrupted" : s,
				      why ? ": " : "", why ? why : "");
			json_decref(o);
			return st;
		}
		json_decref(o);
		nanosleep(&a_while, NULL);
	}
}

static enum nst_status migrate(struct qmp *q, int fd, struct nst_error *e)
{
	enum nst_status st = qmp_do(q, "getfd", json_pack("{ss}", "fdname",
					"nstate-capture"), fd, NULL, e);

	if (!st)
		st = qmp_do(q, "migrate", json_pack("{ss}", "uri",
				"fd:nstate-capture"), -1, NULL, e);
	return st ? st : await(q, e);
}

static enum nst_status stop(struct qmp *q, struct before *b, struct nst_error *e)
{
	json_t *o = NULL;
	enum nst_status st = qmp_do(q, "query-status", NULL, -1, &o, e);

	if (st)
		return st;
	b->running = json_is_true(json_object_get(o, "running"));
	json_decref(o);
	return b->running ? qmp_do(q, "stop", NULL, -1, NULL, e) : NST_OK;
}

static enum nst_status capture(struct qmp *q, const struct args *a, int fd,
			       struct nst_error *e)
{
	struct before b = { 0 };
	struct nst_error late;
	enum nst_status st = stop(q, &b, e), after;

	if (st)
		return st;
	prepare(q, &b);
	st = migrate(q, fd, e);
	after = restore(q, &b, a->stay, &late);
	if (after)
		cli_warn(a->qmp, "the VM is left stopped: %s", late.text);
	return st ? st : after ? nst_fail(e, after, "%s", late.text) : NST_OK;
}

/* Says what was written, by reading it. */
static int show(const char *path)
{
	struct container *c;
	struct nst_error e;
	uint32_t nested = 0;

	if (container_open(path, NULL, &c, &e))
		return cli_fail(path, &e);
	for (uint32_t i = 0; i < c->nstates; i++)
		nested += c->states[i].size > 128;
	printf("%s: %u vCPU%s, %u with a vmcs12 loaded\n", path, c->nvcpus,
	       c->nvcpus == 1 ? "" : "s", nested);
	container_close(c);
	return NST_OK;
}

int cmd_capture(int argc, char **argv)
{
	struct sigaction sa = { .sa_handler = on_signal };
	struct args a = { 0 };
	struct outfile out;
	struct nst_error e;
	struct qmp *q;
	enum nst_status st;

	cli_parse(&argp, argc, argv, &a);
	if (qmp_open(a.qmp, &q, &e))
		return cli_fail(a.qmp, &e);
	if (outfile_open(&out, a.out, a.force, NULL, &e)) {
		qmp_close(q);
		return cli_fail(a.out, &e);
	}
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	st = capture(q, &a, out.fd, &e);
	qmp_close(q);
	st = outfile_close(&out, st, &e);
	if (st)
		return cli_fail(a.qmp, &e);
	return strcmp(a.out, "-") ? show(a.out) : NST_OK;
}
