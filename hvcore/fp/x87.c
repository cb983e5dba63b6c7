/* x87.c: x87 instructions: arithmetic on the host's unit, control instructions
 * by hand (SDM vol. 1, chapter 8).
 *
 * The guest's state goes to the host's unit as an FXSAVE image and comes back
 * in one; it is kept only after the memory operand was written.  Instruction
 * and data pointers are the guest's own and set here.
 */
#include "hvcore/decode/table.h"
#include "hvcore/exec/dispatch.h"
#include "hvcore/exec/flags.h"
#include "hvcore/fp/row.h"

/* In struct fp_op of x87: imm is the opcode, vindex the ModRM byte, zeroing
 * says that memory is written. */
enum { FLAGS_AT = 464 };

struct image { alignas(16) uint8_t b[512]; };

/* -- conditions ----------------------------------------------------------------- */
static void available(struct vcpu *c)
{
	if (c->cr0 & (CR0_EM | CR0_TS))
		cpu_raise(c, EXC_NM);
}

static void waiting(struct vcpu *c)
{
	available(c);
	fp_check_mf(c);
}

/* ES and B follow from flags and masks. */
static void settle_es(struct fpu *f)
{
	f->fsw &= 0x7f7f;
	if (f->fsw & ~f->fcw & 0x3f)
		f->fsw |= 0x8080;
}

/* -- pointers ---------------------------------------------------------------------- */
static void note_pointers(struct vcpu *c, const struct insn *i,
			  const struct fp_op *o)
{
	struct fpu *f = &c->fpu;
	bool pending = f->fsw & 0x80;

	f->fip = insn_rip(c, i);
	if (!(c->mode & MODE_CS64))
		f->fip = (uint32_t)f->fip;
	f->fcs = c->seg[SEG_CS].selector;
	/* CPUID.7.EBX[6]: the data pointer moves only for unmasked exceptions;
	 * so does the opcode on every recent CPU. */
	if (o->mem && (pending || !cpu_has(c, 7, 0, 1, 6))) {
		f->fdp = ea_offset(c, i);
		f->fds = i->seg <= SEG_GS ? c->seg[i->seg].selector :
			 c->seg[SEG_DS].selector;
	}
	if (pending)
		f->fop = (uint16_t)((o->imm & 7) << 8 | o->vindex);
}

/* -- arithmetic ----------------------------------------------------------------------- */
static uint64_t run_host(const struct fp_op *o, struct image *m, void *mem)
{
	uint32_t host = __builtin_ia32_stmxcsr();
	uint64_t flags = o->run((struct vcpu *)(void *)m->b, mem);

	__builtin_ia32_ldmxcsr(host);
	return flags;
}

static void image_of(struct vcpu *c, struct image *m)
{
	uint32_t mxcsr = MXCSR_INIT;
	uint64_t flags = (cpu_rflags(c) & FLAGS_ARITH) | 0x202;

	memset(m, 0, sizeof *m);
	fp_x87_get(c, m->b, true);
	memcpy(m->b + 24, &mxcsr, 4);
	memcpy(m->b + FLAGS_AT, &flags, 8);
}

/* An unmasked exception can keep a store from happening: then what was in the
 * buffer before shows through. */
static bool stored(struct vcpu *c, const struct fp_op *o, const struct image *m,
		   const uint8_t *buf)
{
	struct image again;
	uint8_t other[16];

	if (!(m->b[2] & 0x80))
		return true;
	image_of(c, &again);
	memset(other, 0xff, sizeof other);
	run_host(o, &again, other);
	return !memcmp(buf, other, o->msize);
}

static void read_operand(struct vcpu *c, const struct insn *i, uint64_t lin,
			 unsigned size, uint8_t *buf)
{
	uint64_t v;

	switch (size) {
	case 2: v = mem_read16(c, i, lin); break;
	case 4: v = mem_read32(c, i, lin); break;
	case 8: v = mem_read64(c, i, lin); break;
	default: mem_read_bytes(c, i, lin, buf, size); return;
	}
	memcpy(buf, &v, 8);
}

static void write_operand(struct vcpu *c, const struct insn *i, uint64_t lin,
			  unsigned size, const uint8_t *buf)
{
	uint64_t v;

	memcpy(&v, buf, 8);
	switch (size) {
	case 2: mem_write16(c, i, lin, (uint16_t)v); break;
	case 4: mem_write32(c, i, lin, (uint32_t)v); break;
	case 8: mem_write64(c, i, lin, v); break;
	default: mem_write_bytes(c, i, lin, buf, size); break;
	}
}

static bool sets_flags(const struct fp_op *o)
{
	/* FCOMI, FUCOMI and their popping forms */
	return !o->mem && (o->imm == 0xdb || o->imm == 0xdf) &&
	       o->vindex >= 0xe8 && o->vindex < 0xf8;
}

static __attribute__((noinline)) void arithmetic(struct vcpu *c,
						 const struct insn *i)
{
	const struct fp_op *o = i->ptr;
	struct fpu *f = &c->fpu;
	uint16_t fop = f->fop, fds = f->fds;
	uint64_t fdp = f->fdp, lin = 0, flags;
	uint8_t buf[16] = { 0 };
	struct image m;

	c->cur = i;
	waiting(c);
	if (!o->run)
		cpu_stop(c, HV_STOP_UNSUPPORTED, "no memory for host code of x87");
	if (o->mem)
		lin = ea_linear(c, i, o->msize, o->zeroing ? ACC_WRITE : ACC_READ);
	if (o->mem && !o->zeroing)
		read_operand(c, i, lin, o->msize, buf);
	image_of(c, &m);
	flags = run_host(o, &m, buf);
	if (o->zeroing && stored(c, o, &m, buf))
		write_operand(c, i, lin, o->msize, buf);
	fp_x87_set(c, m.b, true);
	f->fop = fop;
	f->fdp = fdp;
	f->fds = fds;
	note_pointers(c, i, o);
	if (sets_flags(o))
		cc_set(c, CC_ALL, !(flags & FLAG_ZF), flags & FLAGS_ARITH);
	f->xinuse |= XCB(XC_X87);
}

INSN(exec_arithmetic)
{
	arithmetic(c, i);
	NEXT(c, i);
}

/* -- environments ------------------------------------------------------------------------ */
static unsigned top(const struct fpu *f)
{
	return f->fsw >> 11 & 7;
}

/* Two bits a register from its value. */
static unsigned tag_of(const uint8_t *st)
{
	uint64_t m;
	uint16_t e;

	memcpy(&m, st, 8);
	memcpy(&e, st + 8, 2);
	e &= 0x7fff;
	if (!e && !m)
		return 1;
	return e == 0 || e == 0x7fff || !(m >> 63) ? 2 : 0;
}

static uint16_t full_tags(const struct fpu *f)
{
	unsigned tags = 0;

	for (unsigned n = 0; n < 8; n++)
		tags |= (f->ftw >> n & 1 ? tag_of(f->st[n]) : 3) << 2 * n;
	return (uint16_t)tags;
}

static uint8_t short_tags(uint16_t tags)
{
	unsigned ftw = 0;

	for (unsigned n = 0; n < 8; n++)
		ftw |= (unsigned)((tags >> 2 * n & 3) != 3) << n;
	return (uint8_t)ftw;
}

static bool real(const struct vcpu *c)
{
	return !(c->mode & MODE_PROT);
}

/* The seven words of an environment; CS and DS by CPUID.7.EBX[13]. */
static void env_words(const struct vcpu *c, bool wide, uint32_t w[7])
{
	const struct fpu *f = &c->fpu;
	bool sel = !cpu_has(c, 7, 0, 1, 13);
	uint32_t ip = (uint32_t)f->fip, dp = (uint32_t)f->fdp;
	uint32_t top_bits = wide ? 0xffff0000 : 0;

	w[0] = f->fcw | top_bits;
	w[1] = f->fsw | top_bits;
	w[2] = full_tags(f) | top_bits;
	if (real(c)) {
		ip += (uint32_t)f->fcs << 4;
		dp += (uint32_t)f->fds << 4;
		w[3] = (ip & 0xffff) | top_bits;
		w[4] = (ip >> 16 << 12) | f->fop;
		w[5] = (dp & 0xffff) | top_bits;
		w[6] = dp >> 16 << 12;
		return;
	}
	w[3] = ip;
	w[4] = (sel ? f->fcs : 0) | (uint32_t)f->fop << 16;
	w[5] = dp;
	w[6] = (sel ? f->fds : 0) | top_bits;
}

static void env_load(struct vcpu *c, bool wide, const uint32_t w[7])
{
	struct fpu *f = &c->fpu;

	f->fcw = (w[0] & 0x1f7f) | 0x40;
	f->fsw = (uint16_t)w[1];
	f->ftw = short_tags((uint16_t)w[2]);
	settle_es(f);
	if (real(c)) {
		f->fip = (w[3] & 0xffff) | (w[4] >> 12 & 0xffff) << 16;
		f->fdp = (w[5] & 0xffff) | (w[6] >> 12 & 0xffff) << 16;
		f->fop = w[4] & 0x7ff;
		f->fcs = f->fds = 0;
		return;
	}
	f->fip = w[3];
	f->fcs = (uint16_t)w[4];
	f->fop = wide ? w[4] >> 16 & 0x7ff : 0;
	f->fdp = w[5];
	f->fds = (uint16_t)w[6];
}

static unsigned env_pack(uint8_t *buf, const uint32_t w[7], bool wide)
{
	unsigned size = wide ? 4 : 2;

	for (unsigned n = 0; n < 7; n++)
		memcpy(buf + n * size, &w[n], size);
	return 7 * size;
}

static unsigned env_unpack(const uint8_t *buf, uint32_t w[7], bool wide)
{
	unsigned size = wide ? 4 : 2;

	for (unsigned n = 0; n < 7; n++) {
		w[n] = 0;
		memcpy(&w[n], buf + n * size, size);
	}
	return 7 * size;
}

static void init(struct fpu *f)
{
	f->fcw = FCW_INIT;
	f->fsw = f->fop = f->fcs = f->fds = 0;
	f->ftw = 0;
	f->fip = f->fdp = 0;
}

/* FNSTENV, FNSAVE */
static __attribute__((noinline)) void env_store(struct vcpu *c,
						const struct insn *i)
{
	bool wide = op_opsize(i) != 2, all = i->imm;
	struct fpu *f = &c->fpu;
	uint8_t buf[108];
	uint32_t w[7];
	unsigned n;

	c->cur = i;
	available(c);
	env_words(c, wide, w);
	n = env_pack(buf, w, wide);
	for (unsigned k = 0; all && k < 8; k++, n += 10)
		memcpy(buf + n, f->st[(top(f) + k) & 7], 10);
	mem_write_bytes(c, i, ea_linear(c, i, n, ACC_WRITE), buf, n);
	if (all)
		init(f);
	else
		f->fcw |= 0x3f;
	settle_es(f);
	f->xinuse |= XCB(XC_X87);
}

/* FLDENV, FRSTOR */
static __attribute__((noinline)) void env_restore(struct vcpu *c,
						  const struct insn *i)
{
	bool wide = op_opsize(i) != 2, all = i->imm;
	unsigned size = (wide ? 28 : 14) + (all ? 80 : 0), n;
	struct fpu *f = &c->fpu;
	uint8_t buf[108];
	uint32_t w[7];

	c->cur = i;
	waiting(c);
	mem_read_bytes(c, i, ea_linear(c, i, size, ACC_READ), buf, size);
	n = env_unpack(buf, w, wide);
	env_load(c, wide, w);
	for (unsigned k = 0; all && k < 8; k++, n += 10) {
		uint8_t *st = f->st[(top(f) + k) & 7];

		memcpy(st, buf + n, 10);
		memset(st + 10, 0, 6);
	}
	f->xinuse |= XCB(XC_X87);
}

INSN(exec_env_store)
{
	env_store(c, i);
	NEXT(c, i);
}

INSN(exec_env_restore)
{
	env_restore(c, i);
	NEXT(c, i);
}

/* -- control words -------------------------------------------------------------------------- */
INSN(exec_fldcw)
{
	uint16_t v;

	c->cur = i;
	waiting(c);
	v = mem_read16(c, i, ea_linear(c, i, 2, ACC_READ));
	c->fpu.fcw = (v & 0x1f7f) | 0x40;
	settle_es(&c->fpu);
	c->fpu.xinuse |= XCB(XC_X87);
	NEXT(c, i);
}

INSN(exec_fnstcw)
{
	c->cur = i;
	available(c);
	mem_write16(c, i, ea_linear(c, i, 2, ACC_WRITE), c->fpu.fcw);
	NEXT(c, i);
}

INSN(exec_fnstsw)
{
	c->cur = i;
	available(c);
	mem_write16(c, i, ea_linear(c, i, 2, ACC_WRITE), c->fpu.fsw);
	NEXT(c, i);
}

INSN(exec_fnstsw_ax)
{
	c->cur = i;
	available(c);
	WR16(c, R_RAX, c->fpu.fsw);
	NEXT(c, i);
}

INSN(exec_fnclex)
{
	c->cur = i;
	available(c);
	c->fpu.fsw &= 0x7f00;
	c->fpu.xinuse |= XCB(XC_X87);
	NEXT(c, i);
}

INSN(exec_fninit)
{
	c->cur = i;
	available(c);
	init(&c->fpu);
	c->fpu.xinuse |= XCB(XC_X87);
	NEXT(c, i);
}

/* FENI, FDISI and FSETPM of older units. */
INSN(exec_fnop)
{
	c->cur = i;
	available(c);
	NEXT(c, i);
}

/* -- decoding ---------------------------------------------------------------------------------- */
/* Memory forms D8../0 to DF../7: bytes, 0x80 added where they are written; 0:
 * not one of these; C: control. */
#define W(n) (0x80 | (n))
enum { C = 0x7f };
static const uint8_t memory_forms[8][8] = {
	{ 4, 4, 4, 4, 4, 4, 4, 4 },
	{ 4, 0, W(4), W(4), C, C, C, C },
	{ 4, 4, 4, 4, 4, 4, 4, 4 },
	{ 4, W(4), W(4), W(4), 0, 10, 0, W(10) },
	{ 8, 8, 8, 8, 8, 8, 8, 8 },
	{ 8, W(8), W(8), W(8), C, 0, C, C },
	{ 2, 2, 2, 2, 2, 2, 2, 2 },
	{ 2, W(2), W(2), W(2), 10, 8, W(10), W(8) },
};

/* Register forms: a bit for each of C0..FF that is defined, without those that
 * are control instructions. */
static const uint64_t register_forms[8] = {
	0xffffffffffffffff,
	0xffff7f33ff01ffff, /* D1-D7, E2, E3, E6, E7, EF are not */
	0x00000200ffffffff, /* FCMOVcc, FUCOMPP */
	0x00ffff00ffffffff, /* FCMOVNcc, FUCOMI, FCOMI */
	0xffffffffffffffff,
	0x0000ffffffffffff,
	0xffffffff02ffffff, /* D9 alone of D8-DF */
	0x00ffff00ffffffff,
};

static insn_fn *control_memory(const struct decode_ctx *x, struct insn *i)
{
	bool dd = x->opcode == 0xdd;

	i->imm = dd;
	switch (x->modrm >> 3 & 7) {
	case 4: return exec_env_restore;
	case 5: return exec_fldcw;
	case 6: return exec_env_store;
	default: return dd ? exec_fnstsw : exec_fnstcw;
	}
}

static insn_fn *control_register(const struct decode_ctx *x)
{
	if (x->opcode == 0xdf && x->modrm == 0xe0)
		return exec_fnstsw_ax;
	if (x->opcode != 0xdb)
		return NULL;
	switch (x->modrm) {
	case 0xe0: case 0xe1: case 0xe4: return exec_fnop;
	case 0xe2: return exec_fnclex;
	case 0xe3: return exec_fninit;
	default: return NULL;
	}
}

static uint32_t ask_guest(void *arg, uint32_t leaf, uint32_t sub, unsigned reg)
{
	uint32_t r[4];

	cpuid_query(arg, leaf, sub, r);
	return r[reg];
}

/* FISTTP came with SSE3, FCMOVcc and FCOMI with CMOV. */
static bool guest_has(struct vcpu *c, const struct decode_ctx *x)
{
	unsigned ext = x->modrm >> 3 & 7;

	if (!fp_feature(ask_guest, c, FPU_))
		return false;
	if (x->mem)
		return ext != 1 || !(x->opcode & 1) || x->opcode == 0xd9 ||
		       fp_feature(ask_guest, c, SSE3);
	if (((x->opcode == 0xda || x->opcode == 0xdb) && ext < 4) ||
	    ((x->opcode == 0xdb || x->opcode == 0xdf) && (ext == 5 || ext == 6)))
		return fp_feature(ask_guest, c, CMOV);
	return true;
}

static bool arithmetic_op(struct vcpu *c, const struct decode_ctx *x,
			  struct insn *i, uint8_t form)
{
	struct fp_op o;

	memset(&o, 0, sizeof o);
	o.enc = 0xff;
	o.imm = x->opcode;
	o.vindex = x->modrm;
	o.mem = x->mem;
	o.msize = form & 0x7f;
	o.zeroing = form & 0x80;
	o.host[0] = x->opcode;
	o.host[1] = x->mem ? (x->modrm & 0x38) | 6 : x->modrm;
	o.host_len = 2;
	i->ptr = fp_op_get(c, &o);
	i->fn = i->ptr ? exec_arithmetic : exec_stale;
	return true;
}

bool fp_decode_x87(struct vcpu *c, const struct decode_ctx *x, struct insn *i)
{
	unsigned n = x->opcode & 7;
	uint8_t form;

	if (!guest_has(c, x))
		return false;
	if (!x->mem) {
		i->fn = control_register(x);
		if (i->fn)
			return true;
		if (!(register_forms[n] >> (x->modrm & 63) & 1))
			return false;
		return arithmetic_op(c, x, i, 0);
	}
	form = memory_forms[n][x->modrm >> 3 & 7];
	if (form == C) {
		i->fn = control_memory(x, i);
		return true;
	}
	return form && arithmetic_op(c, x, i, form);
}
