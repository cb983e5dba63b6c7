/* run.c: runs code natively in a signal-guarded thunk, and in the core. */
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "hvcore/exec/block.h"
#include "hvcore/exec/flags.h"
#include "tests/native/native.h"

#define DATA (NATIVE_BASE + 0x1000)
#define GPA 0x100000ull
#define TABLES_SIZE 0x10000u

/* What the thunk loads and stores; at DATA. */
struct data {
	uint64_t r[16], rflags;      /* in */
	uint64_t out[16], out_flags; /* out_flags is pushed: the word before it */
	uint64_t host_rsp, taken;
};

struct native {
	struct vm *vm;
	struct vcpu *c;
	uint8_t *tables;
	uint64_t xcr0;
};

static sigjmp_buf escape;
static volatile int escaped;
static ucontext_t fault_context;
static uint8_t fault_xsave[NATIVE_XSAVE_SIZE];

static struct data *data(void)
{
	return (struct data *)DATA;
}

/* -- the thunk ---------------------------------------------------------------------- */
static uint8_t *emit_at;

static void emit(const void *p, unsigned n)
{
	memcpy(emit_at, p, n);
	emit_at += n;
}
#define EMIT(...) do { \
	const uint8_t b_[] = { __VA_ARGS__ }; \
	emit(b_, sizeof b_); \
} while (0)

static void emit_rel(uint64_t target)
{
	int32_t rel = (int32_t)(target - ((uint64_t)(uintptr_t)emit_at + 4));

	emit(&rel, 4);
}

/* mov between reg and the 64-bit word at p */
static void emit_mov(uint8_t op, unsigned reg, const void *p)
{
	EMIT(0x48 | (reg >> 3) << 2, op, 0x05 | (reg & 7) << 3);
	emit_rel((uint64_t)(uintptr_t)p);
}

static void emit_lea_rsp(const void *p)
{
	EMIT(0x48, 0x8d, 0x25);
	emit_rel((uint64_t)(uintptr_t)p);
}

/* xrstor64 (5), xsave64 (4) with all components asked for */
static void emit_xsave(unsigned ext, uint64_t area)
{
	EMIT(0xb8, 0xff, 0xff, 0xff, 0xff); /* mov eax, -1 */
	EMIT(0xba, 0xff, 0xff, 0xff, 0xff); /* mov edx, -1 */
	EMIT(0x48, 0x0f, 0xae, 0x05 | ext << 3);
	emit_rel(area);
}

static void emit_return(void)
{
	EMIT(0x41, 0x5f, 0x41, 0x5e, 0x41, 0x5d, 0x41, 0x5c, 0x5d, 0x5b, 0xc3);
}

static void emit_exit(bool taken, bool simd)
{
	struct data *d = data();

	for (unsigned k = 0; k < 16; k++)
		emit_mov(0x89, k, &d->out[k]);
	emit_lea_rsp(&d->out_flags + 1);
	EMIT(0x9c, 0xfc);                   /* pushfq; cld */
	emit_mov(0x8b, R_RSP, &d->host_rsp);
	EMIT(0xb8, taken, 0, 0, 0);         /* mov eax, taken */
	emit_mov(0x89, R_RAX, &d->taken);
	if (simd) {
		emit_xsave(4, NATIVE_XSAVE + NATIVE_XSAVE_SIZE);
		EMIT(0xdb, 0xe3); /* fninit: does not wait for exceptions */
	}
	emit_return();
}

/* -- the same by way of 32-bit code (Linux has 23 and 33 for code, 2B for data) -- */
static void emit32(uint64_t v)
{
	uint32_t w = (uint32_t)v;

	emit(&w, 4);
}

static void emit_mov32(uint8_t op, unsigned reg, const void *p)
{
	EMIT(op, 0x05 | reg << 3);
	emit32((uint64_t)(uintptr_t)p);
}

static void emit_exit32(bool taken, uint64_t exit64)
{
	struct data *d = data();

	for (unsigned k = 0; k < 8; k++)
		emit_mov32(0x89, k, &d->out[k]);
	EMIT(0xbc); /* mov esp */
	emit32((uint64_t)(uintptr_t)&d->out_flags + 4);
	EMIT(0x9c, 0xfc, 0xc7, 0x05); /* pushfd; cld; mov dword [taken] */
	emit32((uint64_t)(uintptr_t)&d->taken);
	emit32(taken);
	EMIT(0xea);
	emit32(exit64);
	EMIT(0x33, 0);
}

static void emit_entry32(void)
{
	struct data *d = data();

	/* mov eax, 2b; mov ds, eax; mov es, eax; far return to 23:+0x200 */
	EMIT(0xb8, 0x2b, 0, 0, 0, 0x8e, 0xd8, 0x8e, 0xc0, 0x6a, 0x23, 0x68);
	emit32(NATIVE_BASE + 0x200);
	EMIT(0x48, 0xcb);
	emit_at = (uint8_t *)NATIVE_BASE + 0x200;
	EMIT(0xbc);
	emit32((uint64_t)(uintptr_t)&d->rflags);
	EMIT(0x9d);
	for (unsigned k = 0; k < 8; k++)
		emit_mov32(0x8b, k, &d->r[k]);
	EMIT(0xe9);
	emit_rel(NATIVE_CODE);
}

static void emit_exits32(uint8_t *exits[2])
{
	struct data *d = data();
	uint64_t exit64;

	emit_at = (uint8_t *)NATIVE_BASE + 0x700;
	exit64 = (uint64_t)(uintptr_t)emit_at;
	EMIT(0x31, 0xc0, 0x8e, 0xd8, 0x8e, 0xc0); /* ds = es = 0 */
	emit_mov(0x8b, R_RSP, &d->host_rsp);
	emit_return();
	emit_at = (uint8_t *)NATIVE_BASE + 0x400;
	for (int taken = 0; taken < 2; taken++) {
		exits[taken] = emit_at;
		emit_exit32(taken, exit64);
	}
}

static void build_thunk(const struct native_code *code, bool simd)
{
	struct data *d = data();
	uint8_t *exits[2];

	emit_at = (uint8_t *)NATIVE_BASE + 0x400;
	for (int taken = 0; taken < 2 && !code->compat; taken++) {
		exits[taken] = emit_at;
		emit_exit(taken, simd);
	}
	if (code->compat)
		emit_exits32(exits);
	emit_at = (uint8_t *)NATIVE_BASE;
	EMIT(0x53, 0x55, 0x41, 0x54, 0x41, 0x55, 0x41, 0x56, 0x41, 0x57);
	emit_mov(0x89, R_RSP, &d->host_rsp);
	if (code->compat) {
		emit_entry32();
		goto code;
	}
	if (simd)
		emit_xsave(5, NATIVE_XSAVE);
	emit_lea_rsp(&d->rflags);
	EMIT(0x9d);
	for (unsigned k = 0; k < 16; k++)
		emit_mov(0x8b, k, &d->r[k]);
	EMIT(0xe9);
	emit_rel(NATIVE_CODE);
code:
	emit_at = (uint8_t *)NATIVE_CODE;
	emit(code->bytes, code->len);
	EMIT(0xe9);
	emit_rel((uint64_t)(uintptr_t)exits[0]);
	emit_at = (uint8_t *)NATIVE_TAKEN;
	EMIT(0xe9);
	emit_rel((uint64_t)(uintptr_t)exits[1]);
	if (code->insns > 1)
		return;
	emit_at = (uint8_t *)NATIVE_TAKEN8;
	EMIT(0xe9);
	emit_rel((uint64_t)(uintptr_t)exits[1]);
}

/* -- on the host ----------------------------------------------------------------------- */
static int vector_of(int sig)
{
	switch (sig) {
	case SIGFPE: return EXC_DE;
	case SIGILL: return EXC_UD;
	case SIGSEGV: return EXC_GP;
	case SIGBUS: return EXC_AC;
	default: return EXC_DB;
	}
}

/* The kernel's signal frame holds an XSAVE area; its size is at 464 + 16. */
static void save_fault_xsave(const void *frame)
{
	uint32_t size;

	memcpy(&size, (const uint8_t *)frame + 464 + 16, 4);
	if (size < 512 || size > sizeof fault_xsave)
		size = 512;
	memcpy(fault_xsave, frame, size);
}

static void on_signal(int sig, siginfo_t *info, void *context)
{
	(void)info;
	memcpy(&fault_context, context, sizeof fault_context);
	save_fault_xsave(fault_context.uc_mcontext.fpregs);
	escaped = sig;
	__asm__ volatile("cld");
	siglongjmp(escape, 1);
}

static void from_context(struct native_state *out)
{
	static const int order[16] = { REG_RAX, REG_RCX, REG_RDX, REG_RBX,
		REG_RSP, REG_RBP, REG_RSI, REG_RDI, REG_R8, REG_R9, REG_R10,
		REG_R11, REG_R12, REG_R13, REG_R14, REG_R15 };
	const greg_t *g = fault_context.uc_mcontext.gregs;

	for (unsigned k = 0; k < 16; k++)
		out->r[k] = (uint64_t)g[order[k]];
	out->rflags = (uint64_t)g[REG_EFL];
	out->vector = vector_of(escaped);
	out->taken = false;
}

void native_run_host(struct native *n, const struct native_code *code,
		     const struct native_state *in, struct native_state *out)
{
	struct data *d = data();

	(void)n;
	build_thunk(code, in->xsave);
	memset(d->out, 0, sizeof d->out);
	d->out_flags = d->taken = 0;
	memcpy(d->r, in->r, sizeof d->r);
	d->rflags = in->rflags;
	memcpy((void *)NATIVE_BUF, in->buf, NATIVE_BUF_SIZE);
	if (in->xsave)
		memcpy((void *)NATIVE_XSAVE, in->xsave, NATIVE_XSAVE_SIZE);
	escaped = 0;
	if (!sigsetjmp(escape, 0)) {
		((void (*)(void))NATIVE_BASE)();
		__builtin_ia32_ldmxcsr(0x1f80);
		memcpy(out->r, d->out, sizeof out->r);
		out->rflags = d->out_flags;
		out->taken = d->taken;
		out->vector = -1;
	} else {
		from_context(out);
		if (code->compat)
			__asm__ volatile("mov %0, %%ds; mov %0, %%es" : : "r"(0));
	}
	for (unsigned k = 8; k < 16 && code->compat; k++)
		out->r[k] = in->r[k];
	if (in->xsave && !escaped)
		memcpy(out->xsave, (void *)(NATIVE_XSAVE + NATIVE_XSAVE_SIZE),
		       NATIVE_XSAVE_SIZE);
	else if (in->xsave)
		memcpy(out->xsave, fault_xsave, NATIVE_XSAVE_SIZE);
	memcpy(out->buf, (void *)NATIVE_BUF, NATIVE_BUF_SIZE);
}

/* -- in the core ------------------------------------------------------------------------- */
static void run_block(struct vcpu *c, const struct block *b)
{
#ifdef HV_TRAMPOLINE
	const struct insn *i = b->insns;

	while (i)
		i = i->fn(c, i);
#else
	b->insns->fn(c, b->insns);
#endif
}

/* One instruction goes through a block of one; a sequence through the block
 * that the core makes of it (and of the jump behind it), whole or in parts. */
static void run_code(struct vcpu *c, const struct native_code *code)
{
	bool alone = code->insns == 1;
	uint64_t end = cpu_icount(c) + code->insns + !(alone || code->branches);

	while (cpu_icount(c) < end) {
		struct block *b;

		if (c->blocks->flush_wanted) /* fp/'s code cache is full */
			block_flush(c->blocks);
		b = block_get(c, c->mode | (alone ? MODE_STEP : 0));

		c->budget = (int64_t)(end - cpu_icount(c)) - BUDGET_SLACK;
		c->deadline = end - BUDGET_SLACK;
		run_block(c, b);
		if (alone) /* a part of a string is done over */
			end += c->r[R_RIP] == NATIVE_CODE;
	}
}

static void core_state(struct vcpu *c, const struct native_state *in)
{
	memcpy(c->r, in->r, sizeof in->r);
	c->r[R_RIP] = NATIVE_CODE;
	c->r[R_ZERO] = 0;
	c->cur = NULL;
	c->blocking = 0;
	cpu_set_rflags(c, in->rflags);
	memcpy((void *)NATIVE_BUF, in->buf, NATIVE_BUF_SIZE);
	if (in->xsave)
		fp_from_xsave(c, in->xsave, NATIVE_XSAVE_SIZE);
}

void native_run_core(struct native *n, const struct native_code *code,
		     const struct native_state *in, struct native_state *out)
{
	struct vcpu *c = n->c;
	jmp_buf env;

	native_set_mode(n, code->compat);
	build_thunk(code, in->xsave);
	core_state(c, in);
	hv_ram_changed(n->vm, GPA, 0x1000);
	if (c->blocks->flush_wanted || c->blocks->used > (32u << 20))
		block_flush(c->blocks);
	out->vector = -1;
	c->unwind = &env;
	switch (setjmp(env)) {
	case 0:
		run_code(c, code);
		break;
	case UNWIND_FAULT:
		out->vector = c->fault.vector;
		out->cr2 = c->fault.cr2;
		cpu_sync(c, false);
		break;
	default:
		out->vector = 99; /* cpu_stop: see stop.text */
		n->vm->stopping = false;
		cpu_sync(c, false);
		break;
	}
	c->unwind = NULL;
	out->taken = c->r[R_RIP] == NATIVE_TAKEN ||
		     (code->insns == 1 && c->r[R_RIP] == NATIVE_TAKEN8);
	memcpy(out->r, c->r, sizeof out->r);
	out->rflags = cpu_rflags(c);
	memcpy(out->buf, (void *)NATIVE_BUF, NATIVE_BUF_SIZE);
	if (in->xsave)
		fp_to_xsave(c, out->xsave, NATIVE_XSAVE_SIZE);
}

/* -- the guest ------------------------------------------------------------------------------ */
static uint64_t *table(struct native *n, unsigned k)
{
	return (uint64_t *)(n->tables + 0x1000 * k);
}

/* Identity of the area, user, writable, accessed, dirty. */
static void page_tables(struct native *n)
{
	table(n, 0)[0] = 0x1000 | 0x27;
	table(n, 1)[0] = 0x2000 | 0x27;
	table(n, 2)[NATIVE_BASE >> 21] = 0x3000 | 0x27;
	for (unsigned k = 0; k < NATIVE_SIZE >> 12; k++)
		table(n, 3)[k] = (GPA + 0x1000 * k) | 0x67;
}

void native_set_mode(struct native *n, bool compat)
{
	static const struct segment code = { .limit = 0xffffffff,
		.attr = 0xa0fb, .selector = 0x33 };
	static const struct segment code32 = { .limit = 0xffffffff,
		.attr = 0xc0fb, .selector = 0x23 };
	struct vcpu *c = n->c;

	if (c->seg[SEG_CS].selector == (compat ? 0x23 : 0x33))
		return;
	c->seg[SEG_CS] = compat ? code32 : code;
	c->seg[SEG_ES].selector = c->seg[SEG_DS].selector = compat ? 0x2b : 0;
	cpu_update_mode(c);
}

static void user_mode(struct native *n)
{
	static const struct segment flat = { .limit = 0xffffffff,
		.attr = 0xc0f3, .selector = 0x2b };
	struct vcpu *c = n->c;

	c->cr0 = 0x80050033;
	c->cr3 = 0;
	c->cr4 = 0x40620; /* PAE, OSFXSR, OSXMMEXCPT, OSXSAVE */
	c->efer = 0xd01;
	c->cpl = 3;
	for (int s = SEG_ES; s <= SEG_GS; s++)
		c->seg[s] = flat;
	/* as Linux has them */
	c->seg[SEG_FS].selector = c->seg[SEG_GS].selector = 0;
	c->rflags = 0x202;
	native_set_mode(n, false);
	mem_switch_context(c);
}

static void catch_signals(void)
{
	static uint8_t stack[65536];
	stack_t alt = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction sa = { .sa_sigaction = on_signal,
		.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER };

	sigaltstack(&alt, NULL);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGILL, &sa, NULL);
	sigaction(SIGFPE, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	sigaction(SIGTRAP, &sa, NULL);
}

struct native *native_new(void)
{
	struct native *n = calloc(1, sizeof *n);
	void *area = mmap((void *)NATIVE_BASE, NATIVE_SIZE,
			  PROT_READ | PROT_WRITE | PROT_EXEC,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);

	if (!n || area == MAP_FAILED) {
		perror("native: mapping the area");
		exit(1);
	}
	n->tables = aligned_alloc(4096, TABLES_SIZE);
	memset(n->tables, 0, TABLES_SIZE);
	n->vm = hv_vm_new(NULL);
	if (!n->vm || hv_map_ram(n->vm, 0, TABLES_SIZE, n->tables, NULL) ||
	    hv_map_ram(n->vm, GPA, NATIVE_SIZE, area, NULL)) {
		fprintf(stderr, "native: no VM\n");
		exit(1);
	}
	n->c = hv_vcpu_new(n->vm);
	page_tables(n);
	native_simd_cpu(n->c);
	user_mode(n);
	catch_signals();
	return n;
}

void native_free(struct native *n)
{
	hv_vm_free(n->vm);
	free(n->tables);
	munmap((void *)NATIVE_BASE, NATIVE_SIZE);
	free(n);
}

struct vcpu *native_vcpu(struct native *n)
{
	return n->c;
}

uint64_t native_xcr0(const struct native *n)
{
	return n->xcr0;
}
