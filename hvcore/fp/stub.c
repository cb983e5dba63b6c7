/* stub.c: host code for one SIMD instruction, and where it is kept.
 *
 * A stub is called as f(vcpu, memory operand): it loads the registers that the
 * instruction names from struct fpu into host registers of the same numbers,
 * runs the same opcode with the memory operand at [rsi] and general operands
 * in rax, and stores what was written.  Stubs belong to the VM's first vCPU;
 * the memory is one file mapped twice, writable and executable, never both.
 * When it is full all blocks are flushed, since they point into it.
 */
#include <cpuid.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <unistd.h>

#include "hvcore/exec/block.h"
#include "hvcore/fp/row.h"

#define CODE_SIZE (4u << 20)
#define CODE_MAX 256u          /* bytes of the longest stub */
#define OPS 16384u
#define HASH 8192u

struct fp_code {
	uint8_t *rw, *rx;
	unsigned used, nops;
	uint64_t full_at;      /* block generation in which it was full, + 1 */
	bool has[FEATURES];
	struct fp_op *hash[HASH];
	struct fp_op ops[OPS];
};

/* -- what the host has ------------------------------------------------------------ */
static uint32_t ask_host(void *arg, uint32_t leaf, uint32_t sub, unsigned reg)
{
	uint32_t r[4] = { 0 };

	(void)arg;
	__get_cpuid_count(leaf, sub, &r[0], &r[1], &r[2], &r[3]);
	return r[reg];
}

static uint64_t host_xcr0(void)
{
	uint32_t lo, hi;

	if (!(ask_host(NULL, 1, 0, 2) >> 27 & 1))
		return 3;
	__asm__("xgetbv" : "=a"(lo), "=d"(hi) : "c"(0));
	return lo | (uint64_t)hi << 32;
}

static void find_features(struct fp_code *k)
{
	uint64_t xcr0 = host_xcr0();

	for (unsigned f = 0; f < FEATURES; f++) {
		k->has[f] = fp_feature(ask_host, NULL, f);
		if (f >= AVX && (xcr0 & 6) != 6)
			k->has[f] = false;
		if (f >= AVX512F && (xcr0 & 0xe6) != 0xe6)
			k->has[f] = false;
	}
}

bool fp_host_has(const struct fp_code *k, enum feature f)
{
	return k->has[f];
}

/* -- the store ---------------------------------------------------------------------- */
static bool map_code(struct fp_code *k)
{
	int fd = memfd_create("hvcore-stubs", MFD_CLOEXEC);
	void *rw, *rx;

	if (fd < 0)
		return false;
	if (ftruncate(fd, CODE_SIZE)) {
		close(fd);
		return false;
	}
	rw = mmap(NULL, CODE_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	rx = mmap(NULL, CODE_SIZE, PROT_READ | PROT_EXEC, MAP_SHARED, fd, 0);
	close(fd);
	k->rw = rw == MAP_FAILED ? NULL : rw;
	k->rx = rx == MAP_FAILED ? NULL : rx;
	return k->rw && k->rx;
}

static void code_free(struct fp_code *k)
{
	if (!k)
		return;
	if (k->rw)
		munmap(k->rw, CODE_SIZE);
	if (k->rx)
		munmap(k->rx, CODE_SIZE);
	free(k);
}

void fp_init_vcpu(struct vcpu *c)
{
	c->fp = calloc(1, sizeof *c->fp);
	if (!c->fp)
		abort();
	if (c->vm->vcpus[0] != c)
		return;
	c->fp->code = calloc(1, sizeof *c->fp->code);
	if (!c->fp->code)
		abort();
	find_features(c->fp->code);
	/* Without it SIMD instructions stop the run; the rest goes on. */
	map_code(c->fp->code);
}

void fp_free_vcpu(struct vcpu *c)
{
	if (c->fp)
		code_free(c->fp->code);
	free(c->fp);
	c->fp = NULL;
}

struct fp_code *fp_code_of(struct vcpu *c)
{
	return c->vm->vcpus[0]->fp->code;
}

/* -- emitting ------------------------------------------------------------------------- */
struct emit {
	uint8_t *p;
	const struct fp_op *o;
	const struct fp_code *k;
};

static void bytes(struct emit *e, const void *p, unsigned n)
{
	memcpy(e->p, p, n);
	e->p += n;
}
#define EMIT(e, ...) do { \
	const uint8_t b_[] = { __VA_ARGS__ }; \
	bytes(e, b_, sizeof b_); \
} while (0)

/* ModRM for [rdi + disp32] and the displacement. */
static void at_vcpu(struct emit *e, unsigned reg, size_t offset)
{
	uint32_t disp = (uint32_t)offset;

	EMIT(e, 0x87 | (reg & 7) << 3);
	bytes(e, &disp, 4);
}

static void vector(struct emit *e, unsigned n, bool store, unsigned len)
{
	size_t at = offsetof(struct vcpu, fpu.zmm) + 64 * n;
	uint8_t op = store ? 0x11 : 0x10;

	if (len == 64) {
		EMIT(e, 0x62, 0x61 | (n & 8 ? 0 : 0x80) | (n & 16 ? 0 : 0x10),
		     0x7c, 0x48, op);
	} else if (len == 32) {
		EMIT(e, 0xc5, n & 8 ? 0x7c : 0xfc, op);
	} else {
		if (n & 8)
			EMIT(e, 0x44);
		EMIT(e, 0x0f, op);
	}
	at_vcpu(e, n, at);
}

static void mmx(struct emit *e, unsigned n, bool store)
{
	EMIT(e, 0x0f, store ? 0x7f : 0x6f);
	at_vcpu(e, n, offsetof(struct vcpu, fpu.st) + 16 * (n & 7));
}

static void opmask(struct emit *e, unsigned n, bool store)
{
	if (e->k->has[AVX512BW])
		EMIT(e, 0xc4, 0xe1, 0xf8, store ? 0x91 : 0x90);
	else
		EMIT(e, 0xc5, 0xf8, store ? 0x91 : 0x90);
	at_vcpu(e, n, offsetof(struct vcpu, fpu.k) + 8 * (n & 7));
}

static void gpr(struct emit *e, unsigned host, unsigned n, bool store)
{
	EMIT(e, 0x48, store ? 0x89 : 0x8b);
	at_vcpu(e, host, offsetof(struct vcpu, r) + 8 * n);
}

static void mxcsr(struct emit *e, bool store)
{
	EMIT(e, 0x0f, 0xae);
	at_vcpu(e, store ? 3 : 2, offsetof(struct vcpu, fpu.mxcsr));
}

static unsigned load_length(const struct emit *e)
{
	return e->o->enc == ENC_EVEX ? 64 : e->o->enc == ENC_VEX ? 32 : 16;
}

static void load(struct emit *e, unsigned kind, unsigned n)
{
	switch (kind) {
	case KIND_V: vector(e, n, false, load_length(e)); break;
	case KIND_P: mmx(e, n & 7, false); break;
	case KIND_G: gpr(e, 0, n, false); break;
	case KIND_K: opmask(e, n, false); break;
	default: break;
	}
}

/* VEX and EVEX zero the rest of the register, to the longest there is. */
static void store_vector(struct emit *e, unsigned n)
{
	size_t at = offsetof(struct vcpu, fpu.zmm) + 64 * n + 32;

	if (e->o->enc == ENC_LEGACY) {
		vector(e, n, true, 16);
	} else if (e->k->has[AVX512F]) {
		vector(e, n, true, 64);
	} else {
		vector(e, n, true, 32);
		EMIT(e, 0xc5, 0xf8, 0x57, 0xc0); /* vxorps xmm0, xmm0, xmm0 */
		EMIT(e, 0xc5, 0xfc, 0x11);
		at_vcpu(e, 0, at);
	}
}

static void store(struct emit *e, unsigned kind, unsigned n)
{
	switch (kind) {
	case KIND_V: store_vector(e, n); break;
	case KIND_P: mmx(e, n & 7, true); break;
	case KIND_G: gpr(e, 0, n, true); break;
	case KIND_K: opmask(e, n, true); break;
	default: break;
	}
}

static void load_operands(struct emit *e)
{
	const struct fp_op *o = e->o;
	unsigned p = o->row->pattern;
	uint64_t f = o->row->flags;

	if (f & (XMM0 | XMM0OUT))
		vector(e, 0, false, load_length(e));
	if (f & IS4)
		vector(e, o->imm >> 4, false, load_length(e));
	if (o->aaa)
		opmask(e, o->aaa, false);
	/* A general register that is only written need not be read. */
	if (PAT_REG(p) != KIND_G)
		load(e, PAT_REG(p), o->reg);
	if (o->enc != ENC_LEGACY)
		load(e, PAT_VV(p), o->vvvv);
	if (!o->mem && !(PAT_RM(p) == KIND_G && PAT_WR(p) == WR_RM))
		load(e, PAT_RM(p), o->rm);
	if (f & STRING) {
		gpr(e, 0, R_RAX, false);
		gpr(e, 2, R_RDX, false);
		if (f & ECXOUT)
			gpr(e, 1, R_RCX, false);
	}
}

static void store_results(struct emit *e)
{
	const struct fp_op *o = e->o;
	unsigned p = o->row->pattern;
	uint64_t f = o->row->flags;

	if (f & FLAGS)
		EMIT(e, 0x9c, 0x58); /* pushfq; pop rax */
	if (PAT_WR(p) == WR_REG)
		store(e, PAT_REG(p), o->reg);
	else if (PAT_WR(p) == WR_RM && !o->mem)
		store(e, PAT_RM(p), o->rm);
	else if (PAT_WR(p) == WR_VV)
		store(e, PAT_VV(p), o->vvvv);
	if (f & XMM0OUT)
		store_vector(e, 0);
	if (f & ECXOUT)
		gpr(e, 1, R_RCX, true);
	if (f & KPAIR)
		opmask(e, o->reg ^ 1, true);
}

static bool uses_mmx(unsigned pattern)
{
	return PAT_REG(pattern) == KIND_P || PAT_RM(pattern) == KIND_P;
}

/* Called with an FXSAVE image in place of the vCPU; flags at its end. */
static unsigned make_x87_stub(struct emit *e)
{
	uint8_t *start = e->p;

	EMIT(e, 0x48, 0x0f, 0xae, 0x0f);       /* fxrstor64 [rdi] */
	EMIT(e, 0xff, 0xb7, 0xd0, 1, 0, 0);    /* push qword [rdi + 464] */
	EMIT(e, 0x9d);                         /* popfq */
	bytes(e, e->o->host, e->o->host_len);
	EMIT(e, 0x9c, 0x58);                   /* pushfq; pop rax */
	EMIT(e, 0x48, 0x0f, 0xae, 0x07);       /* fxsave64 [rdi] */
	EMIT(e, 0xdb, 0xe3, 0xc3);             /* fninit; ret */
	return (unsigned)(e->p - start);
}

static unsigned make_stub(struct emit *e)
{
	uint8_t *start = e->p;
	const struct fp_op *o = e->o;
	bool fpx;

	if (!o->row)
		return make_x87_stub(e);
	fpx = o->row->flags & FPX;

	if (fpx) {
		EMIT(e, 0x0f, 0xae, 0x5c, 0x24, 0xf0); /* stmxcsr [rsp - 16] */
		mxcsr(e, false);
	}
	load_operands(e);
	bytes(e, o->host, o->host_len);
	store_results(e);
	if (fpx) {
		mxcsr(e, true);
		EMIT(e, 0x0f, 0xae, 0x54, 0x24, 0xf0);
	}
	if (o->enc != ENC_LEGACY)
		EMIT(e, 0xc5, 0xf8, 0x77); /* vzeroupper */
	if (uses_mmx(o->row->pattern))
		EMIT(e, 0x0f, 0x77);       /* emms */
	EMIT(e, 0xc3);
	return (unsigned)(e->p - start);
}

/* -- finding --------------------------------------------------------------------------- */
static unsigned hash_of(const struct fp_op *o)
{
	const uint8_t *p = (const uint8_t *)o;
	uint32_t h = 2166136261u;

	for (size_t n = 0; n < offsetof(struct fp_op, run); n++)
		h = (h ^ p[n]) * 16777619u;
	return h % HASH;
}

static bool make_room(struct vcpu *c, struct fp_code *k)
{
	uint64_t now = c->blocks->generation + 1;

	if (k->full_at && k->full_at != now) {
		k->used = k->nops = 0;
		k->full_at = 0;
		memset(k->hash, 0, sizeof k->hash);
	}
	if (!k->full_at && k->nops < OPS && k->used + CODE_MAX <= CODE_SIZE)
		return true;
	k->full_at = now;
	c->blocks->flush_wanted = true;
	return false;
}

const struct fp_op *fp_op_get(struct vcpu *c, const struct fp_op *o)
{
	struct fp_code *k = fp_code_of(c);
	struct emit e = { .k = k };
	struct fp_op *to;
	unsigned h = hash_of(o);

	if (!make_room(c, k))
		return NULL;
	for (to = k->hash[h]; to; to = to->next)
		if (!memcmp(to, o, offsetof(struct fp_op, run)))
			return to;
	to = &k->ops[k->nops++];
	memcpy(to, o, sizeof *to);
	to->next = k->hash[h];
	k->hash[h] = to;
	to->run = NULL;
	if (!o->host_len || !k->rw || !k->rx)
		return to;
	e.p = k->rw + k->used;
	e.o = to;
	/* One pointer type to another is what POSIX has for dlsym, too. */
	to->run = (fp_stub *)(uintptr_t)(k->rx + k->used);
	k->used += (make_stub(&e) + 15) & ~15u;
	return to;
}

/* -- unmasked exceptions ------------------------------------------------------------------ */
/* A signal has no argument: this is the one variable outside of struct vm. */
struct trap { sigjmp_buf env; uint32_t mxcsr; };
static __thread struct trap *trap_now;

static void on_fpe(int sig, siginfo_t *info, void *context)
{
	const ucontext_t *u = context;

	(void)sig;
	(void)info;
	trap_now->mxcsr = u->uc_mcontext.fpregs->mxcsr;
	siglongjmp(trap_now->env, 1);
}

bool fp_run_trapping(struct vcpu *c, const struct fp_op *o, void *mem,
		     uint64_t *result)
{
	struct sigaction sa = { .sa_sigaction = on_fpe,
		.sa_flags = SA_SIGINFO | SA_NODEFER }, old;
	struct trap t;
	volatile bool good = true;
	uint32_t host = __builtin_ia32_stmxcsr();

	sigemptyset(&sa.sa_mask);
	trap_now = &t;
	sigaction(SIGFPE, &sa, &old);
	if (!sigsetjmp(t.env, 0)) {
		*result = o->run(c, mem);
	} else {
		c->fpu.mxcsr = t.mxcsr;
		good = false;
	}
	sigaction(SIGFPE, &old, NULL);
	__builtin_ia32_ldmxcsr(host);
	trap_now = NULL;
	return good;
}
