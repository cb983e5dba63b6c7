/* run.c: runs the engine until a condition holds; the hooks that watch. */
#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <zlib.h>

#include "cli/resume/session.h"

/* Set by Ctrl-C; looked at between slices, so that the stop is clean. */
static volatile sig_atomic_t interrupted;

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
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

	if (!s->json)
		putchar(byte);
	for (unsigned i = 0; i < s->nuntil; i++)
		if (until_console(&s->until[i], byte))
			reach(s, &s->until[i]);
}

static void on_io(void *arg, unsigned vcpu, bool write, uint16_t port,
		  unsigned size, uint64_t value)
{
	struct session *s = arg;

	(void)vcpu, (void)write, (void)size;
	for (unsigned i = 0; i < s->nuntil; i++)
		if (until_io(&s->until[i], port, value))
			reach(s, &s->until[i]);
}

static void on_vmexit(void *arg, unsigned vcpu, uint32_t reason,
		      uint64_t qualification)
{
	struct session *s = arg;
	const char *name = vmx_exit_reason_name(reason & 0xffff);

	s->exits_seen++;
	if (s->trace_exits)
		fprintf(stderr, "exit vcpu=%u reason=%u %s qualification=0x%"
			PRIx64 "\n", vcpu, reason & 0xffff, name ? name : "?",
			qualification);
	for (unsigned i = 0; i < s->nuntil; i++)
		if (until_exit(&s->until[i], reason))
			reach(s, &s->until[i]);
	if (s->hashes) {
		s->at_exit = true;
		s->ops->request_stop(s->g, 0);
	}
}

static void on_vmentry(void *arg, unsigned vcpu)
{
	struct session *s = arg;

	if (s->trace_exits)
		fprintf(stderr, "entry vcpu=%u\n", vcpu);
}

static bool wants_exits(const struct session *s)
{
	if (s->trace_exits || s->hash_exits || s->check_hashes)
		return true;
	for (unsigned i = 0; i < s->nuntil; i++)
		if (s->until[i].kind == UNTIL_EXIT)
			return true;
	return false;
}

void session_hooks(struct session *s)
{
	struct hv_ops *o = &s->engine.ops;

	o->arg = s;
	o->console = on_console;
	o->io = on_io;
	if (wants_exits(s))
		o->vmexit = on_vmexit;
	if (s->trace_exits)
		o->vmentry = on_vmentry;
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

static bool idle_wanted(const struct session *s)
{
	for (unsigned i = 0; i < s->nuntil; i++)
		if (s->until[i].kind == UNTIL_IDLE)
			return true;
	return false;
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

enum nst_status session_run(struct session *s, struct nst_error *e)
{
	struct sigaction sa = { .sa_handler = on_signal }, old;
	enum nst_status st = NST_OK;
	const char *name = s->hash_exits ? s->hash_exits : s->check_hashes;

	if (name && !(s->hashes = fopen(name, s->hash_exits ? "w" : "r")))
		return nst_fail(e, NST_SYSTEM, "%s: %m", name);
	sigaction(SIGINT, &sa, &old);
	do {
		s->at_exit = false;
		s->ops->run(s->g, &s->limits, &s->stop);
		if (s->at_exit)
			st = hash_one(s, e);
	} while (!st && go_on(s));
	sigaction(SIGINT, &old, NULL);
	fflush(stdout);
	if (s->hashes)
		fclose(s->hashes);
	if (st)
		return st;
	if (s->stop.reason == HV_STOP_UNKNOWN ||
	    s->stop.reason == HV_STOP_UNSUPPORTED)
		return nst_fail(e, NST_BAD_INPUT, "%s", s->stop.text);
	if (s->stop.reason == HV_STOP_IDLE && idle_wanted(s))
		return NST_OK;
	if (s->nuntil && !s->reached)
		return nst_fail(e, NST_NO, "no stop condition was reached: %s",
				s->stop.text);
	return NST_OK;
}
