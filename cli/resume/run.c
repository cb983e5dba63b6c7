/* run.c: runs the engine until a condition holds; the hooks that watch. */
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <zlib.h>

#include "cli/resume/gdb.h"
#include "cli/resume/session.h"

/* Set by Ctrl-C; looked at between slices, so that the stop is clean. */
static volatile sig_atomic_t interrupted;

/* The session that a signal stops: handlers get no argument. */
static struct session *volatile signalled;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
	if (signalled)
		signalled->ops->request_stop(signalled->g, 0);
}

static void reach(struct session *s, const struct until *u)
{
	if (!s->reached)
		s->reached = u;
	s->ops->request_stop(s->g, 0);
}

static void on_console(void *arg, uint8_t byte)
{
	struct session *s = arg;

	fputc(byte, s->json ? stderr : stdout); /* JSON has stdout to itself */
	for (unsigned i = 0; i < s->nuntil; i++)
		if (until_console(&s->until[i], byte))
			reach(s, &s->until[i]);
}

static void on_io(void *arg, unsigned vcpu, bool write, uint16_t port,
		  unsigned size, uint64_t value)
{
	struct session *s = arg;

	trace_io(&s->trace, vcpu, write, port, size, value);
	for (unsigned i = 0; i < s->nuntil; i++)
		if (until_io(&s->until[i], port, value))
			reach(s, &s->until[i]);
}

static void on_vmexit(void *arg, unsigned vcpu, uint32_t reason,
		      uint64_t qualification)
{
	struct session *s = arg;

	s->exits_seen++;
	trace_exit(&s->trace, vcpu, reason, qualification);
	for (unsigned i = 0; i < s->nuntil; i++)
		if (until_exit(&s->until[i], reason))
			reach(s, &s->until[i]);
	if (s->hashes) {
		s->at_exit = true;
		s->ops->request_stop(s->g, 0);
	}
	if (s->stop_at_exits)
		s->ops->request_stop(s->g, 0);
}

static void on_vmentry(void *arg, unsigned vcpu)
{
	struct session *s = arg;

	trace_entry(&s->trace, vcpu);
}

static void on_event(void *arg, unsigned vcpu, unsigned vector, unsigned type,
		     bool has_error, uint32_t error)
{
	struct session *s = arg;

	trace_event(&s->trace, vcpu, vector, type, has_error, error);
}

static void on_pml(void *arg, unsigned vcpu, uint64_t gpa)
{
	struct session *s = arg;

	trace_pml(&s->trace, vcpu, gpa);
	if (s->pml)
		fprintf(s->pml, "0x%" PRIx64 "\n", gpa);
}

static void on_write(void *arg, unsigned vcpu, uint64_t gpa, unsigned len)
{
	struct session *s = arg;

	(void)vcpu, (void)len;
	for (unsigned i = 0; i < s->nuntil; i++)
		if (until_write(&s->until[i], gpa))
			reach(s, &s->until[i]);
}

static void on_insn(void *arg, struct vcpu *c, uint64_t rip,
		    const uint8_t *bytes, unsigned len)
{
	struct session *s = arg;

	if (s->at_insn)
		s->at_insn(arg, c, rip, bytes, len);
	for (unsigned i = 0; i < s->nuntil; i++)
		if (until_rip(&s->until[i], hv_level(c), rip) &&
		    rip != s->started_at) {
			s->reached = &s->until[i];
			hv_request_stop_before(s->ops->core(s->g));
			return;
		}
	s->started_at = ~0ull; /* only the first instruction is let pass */
	trace_insn(&s->trace, c, rip, bytes, len);
}

static bool until_has(const struct session *s, int kind)
{
	for (unsigned i = 0; i < s->nuntil; i++)
		if ((int)s->until[i].kind == kind)
			return true;
	return false;
}

static bool wants_exits(const struct session *s)
{
	if (s->trace.exits || s->hash_exits || s->check_hashes)
		return true;
	return s->gdb || until_has(s, UNTIL_EXIT);
}

/* What has to be asked of the core once it is there. */
static void arm(struct session *s)
{
	struct vm *vm = s->ops->core(s->g);

	if (!vm)
		return;
	if (s->trace.insns || until_has(s, UNTIL_RIP))
		hv_set_trace(vm, true);
	for (unsigned i = 0; i < s->nuntil; i++)
		if (s->until[i].kind == UNTIL_WRITE)
			hv_watch_page(vm, s->until[i].a);
}

void session_hooks(struct session *s)
{
	struct hv_ops *o = &s->engine.ops;

	o->arg = s;
	o->console = on_console;
	o->io = on_io;
	if (wants_exits(s))
		o->vmexit = on_vmexit;
	if (s->trace.exits)
		o->vmentry = on_vmentry;
	if (s->trace.events)
		o->event = on_event;
	if (s->trace.pml || s->pml_log)
		o->pml = on_pml;
	o->write = on_write;
	o->insn = on_insn;
}

/* What a run is compared by at each exit: all of RAM and the registers. */
static uint32_t state_hash(struct session *s, struct nst_error *e,
			   enum nst_status *st)
{
	uLong h = crc32(0, NULL, 0);

	*st = s->ops->save(s->g, s->snapshot, e);
	for (uint32_t i = 0; i < s->snapshot->nvcpus; i++) {
		h = crc32(h, (void *)&s->snapshot->vcpu[i].regs,
			  sizeof s->snapshot->vcpu[i].regs);
		h = crc32(h, (void *)&s->snapshot->vcpu[i].sregs,
			  sizeof s->snapshot->vcpu[i].sregs);
	}
	for (uint32_t i = 0; i < s->snapshot->nram; i++)
		h = crc32_z(h, s->snapshot->ram[i].host,
			    s->snapshot->ram[i].size);
	return (uint32_t)h;
}

static enum nst_status hash_one(struct session *s, struct nst_error *e)
{
	enum nst_status st;
	uint32_t h = state_hash(s, e, &st), want;
	uint64_t n;

	if (st)
		return st;
	if (s->hash_exits) {
		fprintf(s->hashes, "%" PRIu64 " %08x\n", s->exits_seen, h);
		return NST_OK;
	}
	if (fscanf(s->hashes, "%" SCNu64 " %x", &n, &want) != 2)
		return NST_OK; /* the recorded run was shorter */
	if (want == h && n == s->exits_seen)
		return NST_OK;
	s->hash_differs = true;
	return nst_fail(e, NST_NO, "runs part at exit %" PRIu64
			": hash %08x, recorded %08x", s->exits_seen, h, want);
}

/* Whether to go on after the engine stopped. */
static bool go_on(struct session *s)
{
	if (s->reached || interrupted)
		return false;
	if (s->stop.reason == HV_STOP_INSNS || s->stop.reason == HV_STOP_EXITS)
		return false;
	return s->stop.reason == HV_STOP_REQUEST && s->at_exit;
}

enum nst_status session_open(struct session *s, struct nst_error *e)
{
	const char *name = s->hash_exits ? s->hash_exits : s->check_hashes;

	if (name && !(s->hashes = fopen(name, s->hash_exits ? "we" : "re")))
		return nst_fail(e, NST_SYSTEM, "%s: %m", name);
	if (s->pml_log && !(s->pml = fopen(s->pml_log, "we")))
		return nst_fail(e, NST_SYSTEM, "%s: %m", s->pml_log);
	return NST_OK;
}

enum nst_status session_run(struct session *s, struct nst_error *e)
{
	struct sigaction sa = { .sa_handler = on_signal }, old;
	enum nst_status st = NST_OK;

	signalled = s;
	sigaction(SIGINT, &sa, &old);
	arm(s);
	if (s->gdb)
		st = gdb_serve(s, e);
	else do {
		s->at_exit = false;
		s->ops->run(s->g, &s->limits, &s->stop);
		if (s->at_exit)
			st = hash_one(s, e);
	} while (!st && go_on(s));
	sigaction(SIGINT, &old, NULL);
	signalled = NULL;
	if (s->pml && fclose(s->pml) && !st)
		st = nst_fail(e, NST_SYSTEM, "%s: %m", s->pml_log);
	fflush(stdout);
	if (s->hashes)
		fclose(s->hashes);
	if (st)
		return st;
	if (s->stop.reason == HV_STOP_UNKNOWN ||
	    s->stop.reason == HV_STOP_UNSUPPORTED)
		return nst_fail(e, NST_BAD_INPUT, "%s", s->stop.text);
	if (s->stop.reason == HV_STOP_IDLE && until_has(s, UNTIL_IDLE))
		return NST_OK;
	if (s->nuntil && !s->reached && !s->gdb && !interrupted)
		return nst_fail(e, NST_NO, "no stop condition was reached: %s",
				s->stop.text);
	return NST_OK;
}
