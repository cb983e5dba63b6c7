/* gdb.c: the packets of gdb's remote protocol, over the engine's interface.
 * Runs the core in slices, so that an interrupt from the debugger is seen. */
#include "cli/resume/gdb.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/resume/gdb_socket.h"
#include "hvcore/hvcore.h"

#define MAX_BREAK 64
#define PACKET 16384
#define SLICE 2000000ull

struct gdb {
	struct session *s;
	struct gdb_socket *io;
	struct vcpu *cpu;
	unsigned thread;            /* 1-based vCPU that gdb looks at */
	struct { bool used; uint64_t addr; } brk[MAX_BREAK];
	unsigned nbrk;
	bool hit;                   /* a breakpoint was reached */
	uint64_t skip;              /* RIP that run() starts from */
	bool skipping;
	enum { LINEAR, L1_PHYSICAL, L2_PHYSICAL } space; /* of memory packets */
	bool done;
	char in[PACKET], out[PACKET];
};

/* -- hexadecimal ------------------------------------------------------------ */
static int nibble(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static char *put_hex(char *to, const void *data, size_t n)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < n; i++)
		to += sprintf(to, "%02x", p[i]);
	return to;
}

static size_t get_hex(const char *from, void *data, size_t n)
{
	uint8_t *p = data;
	size_t i;

	for (i = 0; i < n; i++) {
		int h = nibble(from[2 * i]), l = h < 0 ? -1 : nibble(from[2 * i + 1]);
		if (l < 0)
			break;
		p[i] = (uint8_t)(h << 4 | l);
	}
	return i;
}

/* -- registers: gdb's default order for i386:x86-64 ------------------------- */
static bool current(struct gdb *g, struct snapshot_vcpu *v)
{
	memset(v, 0, sizeof *v);
	return hv_vcpu_save(g->cpu, v, NULL) == NST_OK;
}

static void read_registers(struct gdb *g)
{
	struct snapshot_vcpu v;
	char *p = g->out;

	if (!current(g, &v)) {
		strcpy(g->out, "E01");
		return;
	}
	const struct kvm_regs *r = &v.regs;
	const struct kvm_sregs *q = &v.sregs;
	const uint64_t gpr[17] = { r->rax, r->rbx, r->rcx, r->rdx, r->rsi,
		r->rdi, r->rbp, r->rsp, r->r8, r->r9, r->r10, r->r11, r->r12,
		r->r13, r->r14, r->r15, r->rip };
	const uint32_t rest[7] = { (uint32_t)r->rflags, q->cs.selector,
		q->ss.selector, q->ds.selector, q->es.selector, q->fs.selector,
		q->gs.selector };
	p = put_hex(p, gpr, sizeof gpr);
	put_hex(p, rest, sizeof rest);
	snapshot_vcpu_clear(&v);
}

static void write_registers(struct gdb *g, const char *hex)
{
	uint64_t gpr[17];
	uint32_t flags;
	struct snapshot_vcpu v;

	strcpy(g->out, "E01");
	if (get_hex(hex, gpr, sizeof gpr) != sizeof gpr ||
	    get_hex(hex + 2 * sizeof gpr, &flags, 4) != 4 || !current(g, &v))
		return;
	struct kvm_regs *r = &v.regs;
	uint64_t *to[17] = { (uint64_t *)&r->rax, (uint64_t *)&r->rbx,
		(uint64_t *)&r->rcx, (uint64_t *)&r->rdx, (uint64_t *)&r->rsi,
		(uint64_t *)&r->rdi, (uint64_t *)&r->rbp, (uint64_t *)&r->rsp,
		(uint64_t *)&r->r8, (uint64_t *)&r->r9, (uint64_t *)&r->r10,
		(uint64_t *)&r->r11, (uint64_t *)&r->r12, (uint64_t *)&r->r13,
		(uint64_t *)&r->r14, (uint64_t *)&r->r15, (uint64_t *)&r->rip };
	for (int i = 0; i < 17; i++)
		*to[i] = gpr[i];
	r->rflags = (r->rflags & ~0xffffffffull) | flags;
	if (!hv_vcpu_set_regs(g->cpu, r, NULL))
		strcpy(g->out, "OK");
	snapshot_vcpu_clear(&v);
}

/* -- memory ------------------------------------------------------------------ */
static uint8_t *memory_at(struct gdb *g, uint64_t addr, uint64_t *gpa)
{
	*gpa = addr;
	if (g->space == LINEAR && !hv_translate(g->cpu, addr, gpa))
		return NULL;
	if (g->space == L2_PHYSICAL && !hv_translate_physical(g->cpu, addr, gpa))
		return NULL;
	return snapshot_ram_at(g->s->snapshot, *gpa, 1);
}

static void read_memory(struct gdb *g, uint64_t addr, uint64_t len)
{
	char *p = g->out;

	if (len > (PACKET - 8) / 2)
		len = (PACKET - 8) / 2;
	for (uint64_t i = 0; i < len; i++) {
		uint64_t gpa;
		uint8_t *b = memory_at(g, addr + i, &gpa);
		if (!b)
			break;
		p = put_hex(p, b, 1);
	}
	*p = 0;
	if (p == g->out)
		strcpy(g->out, "E14"); /* EFAULT */
}

static void write_memory(struct gdb *g, uint64_t addr, uint64_t len,
			 const char *hex)
{
	strcpy(g->out, "OK");
	for (uint64_t i = 0; i < len; i++) {
		uint64_t gpa;
		uint8_t value, *b = memory_at(g, addr + i, &gpa);
		if (!b || get_hex(hex + 2 * i, &value, 1) != 1) {
			strcpy(g->out, "E14");
			return;
		}
		*b = value;
		hv_ram_changed(g->s->ops->core(g->s->g), gpa, 1);
	}
}

/* -- running ----------------------------------------------------------------- */
static void on_insn(void *arg, struct vcpu *c, uint64_t rip,
		    const uint8_t *bytes, unsigned len)
{
	struct session *s = arg;
	struct gdb *g = s->debugger;

	(void)c, (void)bytes, (void)len;
	if (g->skipping && rip == g->skip) {
		g->skipping = false;
		return;
	}
	g->skipping = false;
	for (unsigned i = 0; i < MAX_BREAK; i++) {
		if (!g->brk[i].used || g->brk[i].addr != rip)
			continue;
		g->hit = true;
		hv_request_stop_before(s->ops->core(s->g));
		return;
	}
}

static void stop_reply(struct gdb *g)
{
	const struct hv_stop *stop = &g->s->stop;

	switch (stop->reason) {
	case HV_STOP_SHUTDOWN:
	case HV_STOP_DEBUG_EXIT:
		sprintf(g->out, "W%02x", (unsigned)stop->code & 0xff);
		g->done = true;
		break;
	case HV_STOP_UNKNOWN:
	case HV_STOP_UNSUPPORTED:
		sprintf(g->out, "T04thread:%x;", stop->vcpu + 1); /* SIGILL */
		break;
	default:
		sprintf(g->out, "T05thread:%x;", stop->vcpu + 1); /* SIGTRAP */
	}
	g->thread = stop->vcpu + 1;
	g->cpu = hv_vcpu(g->s->ops->core(g->s->g), stop->vcpu);
}

static uint64_t retired(struct gdb *g)
{
	const struct hv_stats *t = g->s->ops->stats(g->s->g);

	return t->insns[1] + t->insns[2];
}

static void go(struct gdb *g, bool step)
{
	struct session *s = g->s;
	struct vm *vm = s->ops->core(s->g);
	uint64_t exits = s->exits_seen;

	g->hit = false;
	g->skipping = true;
	g->skip = hv_linear_rip(g->cpu);
	hv_set_trace(vm, g->nbrk > 0);
	s->reached = NULL;
	for (;;) {
		struct hv_limits limits = { .insns = retired(g) +
			(step ? 1 : SLICE), .exits = ~0ull };
		s->ops->run(s->g, &limits, &s->stop);
		if (step || g->hit || s->reached ||
		    (s->stop.reason != HV_STOP_INSNS &&
		     s->stop.reason != HV_STOP_REQUEST))
			break;
		if (s->stop_at_exits && s->exits_seen != exits)
			break;
		if (gdb_interrupted(g->io))
			break;
	}
	hv_set_trace(vm, false);
	fflush(stdout);
	stop_reply(g);
}

static void set_break(struct gdb *g, bool on, uint64_t addr)
{
	for (unsigned i = 0; i < MAX_BREAK; i++) {
		bool match = on ? !g->brk[i].used :
			g->brk[i].used && g->brk[i].addr == addr;
		if (!match)
			continue;
		g->brk[i].used = on;
		g->brk[i].addr = addr;
		g->nbrk += on ? 1u : -1u;
		strcpy(g->out, "OK");
		return;
	}
	strcpy(g->out, on ? "E1c" : "OK"); /* ENOSPC */
}

/* -- monitor commands --------------------------------------------------------- */
static void say(struct gdb *g, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void say(struct gdb *g, const char *format, ...)
{
	char text[512];
	va_list ap;

	va_start(ap, format);
	vsnprintf(text, sizeof text, format, ap);
	va_end(ap);
	put_hex(g->out, text, strlen(text));
}

static void monitor(struct gdb *g, const char *hex)
{
	char word[64];
	size_t n = get_hex(hex, word, sizeof word - 1);

	word[n] = 0;
	if (!strncmp(word, "phys ", 5)) {
		g->space = !strcmp(word + 5, "l1") ? L1_PHYSICAL :
			!strcmp(word + 5, "l2") ? L2_PHYSICAL : LINEAR;
		say(g, "memory is %s\n", g->space == L1_PHYSICAL ? "L1-physical" :
		    g->space == L2_PHYSICAL ? "L2-physical" : "linear");
	} else if (!strcmp(word, "exits on") || !strcmp(word, "exits off")) {
		g->s->stop_at_exits = word[7] == 'n';
		say(g, "%s at VM exits\n", g->s->stop_at_exits ? "stops" :
		    "goes on");
	} else if (!strcmp(word, "where")) {
		say(g, "vcpu %u in L%d\n", g->thread - 1, hv_level(g->cpu));
	} else {
		say(g, "where            which level the vCPU is at\n"
		       "phys l1|l2|off   memory by L1- or L2-physical address\n"
		       "exits on|off     stop at VM exits\n");
	}
}

/* -- the packets --------------------------------------------------------------- */
static void query(struct gdb *g, const char *p)
{
	static const char target[] = "l<?xml version=\"1.0\"?><!DOCTYPE target "
		"SYSTEM \"gdb-target.dtd\"><target><architecture>i386:x86-64"
		"</architecture></target>";

	if (!strncmp(p, "qSupported", 10))
		sprintf(g->out, "PacketSize=%x;qXfer:features:read+",
			PACKET - 64);
	else if (!strncmp(p, "qXfer:features:read:target.xml", 30))
		strcpy(g->out, target);
	else if (!strcmp(p, "qAttached"))
		strcpy(g->out, "1");
	else if (!strcmp(p, "qC"))
		sprintf(g->out, "QC%x", g->thread);
	else if (!strcmp(p, "qfThreadInfo")) {
		char *o = g->out + sprintf(g->out, "m1");
		for (unsigned i = 1; i < g->s->snapshot->nvcpus; i++)
			o += sprintf(o, ",%x", i + 1);
	} else if (!strcmp(p, "qsThreadInfo"))
		strcpy(g->out, "l");
	else if (!strncmp(p, "qRcmd,", 6))
		monitor(g, p + 6);
}

static void select_thread(struct gdb *g, const char *p)
{
	long n = strtol(p + 2, NULL, 16);

	strcpy(g->out, "OK");
	if (n <= 0)
		return;
	if ((unsigned long)n > g->s->snapshot->nvcpus) {
		strcpy(g->out, "E01");
		return;
	}
	g->thread = (unsigned)n;
	g->cpu = hv_vcpu(g->s->ops->core(g->s->g), g->thread - 1);
}

static void memory_packet(struct gdb *g, const char *p)
{
	char *end;
	uint64_t addr = strtoull(p + 1, &end, 16), len = 0;

	if (*end == ',')
		len = strtoull(end + 1, &end, 16);
	if (*p == 'm')
		read_memory(g, addr, len);
	else if (*end == ':')
		write_memory(g, addr, len, end + 1);
	else
		strcpy(g->out, "E16"); /* EINVAL */
}

/* Fills g->out with the reply to g->in. */
static void handle(struct gdb *g)
{
	const char *p = g->in;

	g->out[0] = 0;
	switch (*p) {
	case '?': sprintf(g->out, "T05thread:%x;", g->thread); break;
	case 'g': read_registers(g); break;
	case 'G': write_registers(g, p + 1); break;
	case 'm': case 'M': memory_packet(g, p); break;
	case 'c': go(g, false); break;
	case 's': go(g, true); break;
	case 'H': select_thread(g, p); break;
	case 'T': strcpy(g->out, "OK"); break;
	case 'q': query(g, p); break;
	case 'Z': case 'z':
		if (p[1] == '0' || p[1] == '1')
			set_break(g, *p == 'Z', strtoull(p + 3, NULL, 16));
		break;
	case 'D': strcpy(g->out, "OK"); g->done = true; break;
	case 'k': g->done = true; break;
	}
}

enum nst_status gdb_serve(struct session *s, struct nst_error *e)
{
	struct gdb *g = calloc(1, sizeof *g);

	if (!g || !(g->io = gdb_socket_new(s->gdb_fd))) {
		free(g);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	g->s = s;
	g->thread = 1;
	g->cpu = hv_vcpu(s->ops->core(s->g), 0);
	s->debugger = g;
	s->at_insn = on_insn;
	while (!g->done && gdb_receive(g->io, g->in, sizeof g->in)) {
		handle(g);
		if (!gdb_send(g->io, g->out))
			break;
	}
	gdb_hang_up(g->io);
	s->debugger = NULL;
	s->at_insn = NULL;
	free(g);
	return NST_OK;
}
