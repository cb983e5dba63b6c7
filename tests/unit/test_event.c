/* test_event.c: descriptors, gates, double faults and debug traps, on a vCPU
 * without devices: what is pushed, what is loaded, which exception with which
 * error code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hvcore/mem.h"
#include "hvcore/parts.h"
#include "hvcore/sys/bits.h"

#define RAM_SIZE 0x200000u
enum { GDT = 0x1000, IDT = 0x2000, TSS = 0x3000, CODE = 0x8000, STACK = 0x9000,
       STACK0 = 0xa000, IST1 = 0xb000, TABLES = 0x10000 };

struct machine {
	struct vm *vm;
	struct vcpu *c;
	uint8_t *ram;
};

static void put64(struct machine *m, uint32_t at, uint64_t v)
{
	memcpy(m->ram + at, &v, 8);
}

static uint64_t get64(const struct machine *m, uint32_t at)
{
	uint64_t v;

	memcpy(&v, m->ram + at, 8);
	return v;
}

static uint32_t get32(const struct machine *m, uint32_t at)
{
	return (uint32_t)get64(m, at);
}

static void make(struct machine *m)
{
	m->vm = hv_vm_new(NULL);
	m->ram = aligned_alloc(4096, RAM_SIZE);
	memset(m->ram, 0, RAM_SIZE);
	assert_int_equal(hv_map_ram(m->vm, 0, RAM_SIZE, m->ram, NULL), NST_OK);
	m->c = hv_vcpu_new(m->vm);
	assert_non_null(m->c);
}

static void unmake(struct machine *m)
{
	hv_vm_free(m->vm);
	free(m->ram);
}

/* 8-byte descriptor: flat, with this access byte and flags nibble. */
static uint64_t desc(uint8_t access, unsigned flags)
{
	return 0x000f00000000ffffull | (uint64_t)access << 40 |
	       (uint64_t)flags << 52;
}

/* Selectors: code and data of both rings, conforming, read-only, absent... */
enum { CS0 = 0x08, DS0 = 0x10, CS3 = 0x18, DS3 = 0x20, RO3 = 0x28, CONF = 0x30,
       XO3 = 0x38, ABSENT = 0x40, SYS = 0x48, CS64 = 0x50, LAST = 0x58 };

static void gdt(struct machine *m)
{
	put64(m, GDT + CS0, desc(0x9a, 0xc));
	put64(m, GDT + DS0, desc(0x92, 0xc));
	put64(m, GDT + CS3, desc(0xfa, 0xc));
	put64(m, GDT + DS3, desc(0xf2, 0xc));
	put64(m, GDT + RO3, desc(0xf0, 0xc));
	put64(m, GDT + CONF, desc(0x9e, 0xc));
	put64(m, GDT + XO3, desc(0xf8, 0xc));
	put64(m, GDT + ABSENT, desc(0x72, 0xc));
	put64(m, GDT + SYS, desc(0x89, 0));
	put64(m, GDT + CS64, desc(0x9a, 0xa));
	put64(m, GDT + LAST, desc(0xfa, 0xa));
	m->c->gdtr = (struct dtable){ GDT, LAST + 7 };
	m->c->idtr = (struct dtable){ IDT, 0xfff };
}

static void segment(struct machine *m, int s, uint16_t selector)
{
	uint64_t d = get64(m, GDT + (selector & ~7u));

	m->c->seg[s] = (struct segment){ 0, 0xffffffff,
		(uint32_t)(d >> 40) & 0xf0ff, selector };
	m->c->segbase[s] = 0;
}

static void protected32(struct machine *m, unsigned cpl)
{
	struct vcpu *c = m->c;

	gdt(m);
	c->cr0 = CR0_PE | CR0_ET;
	c->cr4 = 0;
	c->efer = 0;
	c->cpl = (uint8_t)cpl;
	segment(m, SEG_CS, cpl ? CS3 | 3 : CS0);
	for (int s = SEG_ES; s <= SEG_GS; s++)
		if (s != SEG_CS)
			segment(m, s, cpl ? DS3 | 3 : DS0);
	c->seg[SEG_TR] = (struct segment){ TSS, 0x67, 0x8b, SYS };
	c->seg[SEG_LDTR].attr = AR_UNUSABLE;
	c->r[R_RSP] = STACK;
	c->r[R_RIP] = CODE;
	put64(m, TSS + 4, STACK0 | (uint64_t)DS0 << 32);
	cpu_set_rflags(c, 2);
	cpu_update_mode(c);
	mem_switch_context(c);
}

static void long64(struct machine *m, unsigned cpl)
{
	struct vcpu *c = m->c;

	protected32(m, cpl);
	put64(m, TABLES, (TABLES + 0x1000) | 7);
	put64(m, TABLES + 0x1000, (TABLES + 0x2000) | 7);
	put64(m, TABLES + 0x2000, 0x87);
	c->cr3 = TABLES;
	c->cr4 = CR4_PAE;
	c->cr0 |= CR0_PG;
	c->efer = EFER_LME | EFER_LMA | EFER_SCE;
	segment(m, SEG_CS, cpl ? LAST | 3 : CS64);
	put64(m, TSS + 4, STACK0);
	put64(m, TSS + 0x24, IST1);
	cpu_update_mode(c);
	mem_switch_context(c);
}

static void gate(struct machine *m, unsigned vector, unsigned type,
		 unsigned dpl, uint16_t selector, uint64_t to, unsigned ist)
{
	bool wide = m->c->efer & EFER_LMA;
	uint32_t at = IDT + vector * (wide ? 16 : 8);

	put64(m, at, (to & 0xffff) | (uint64_t)selector << 16 |
	      (uint64_t)ist << 32 | (uint64_t)(0x80 | dpl << 5 | type) << 40 |
	      (to >> 16 & 0xffff) << 48);
	if (wide)
		put64(m, at + 8, to >> 32);
}

/* Delivers c->fault as the run loop does: faults on the way are delivered in
 * their turn.  Returns false at shutdown. */
static bool deliver(struct machine *m)
{
	jmp_buf env;
	struct vcpu *c = m->c;

	c->unwind = &env;
	m->vm->stopping = false;
	if (setjmp(env) == UNWIND_RESUME) {
		c->unwind = NULL;
		return !m->vm->stopping;
	}
	event_deliver_fault(c);
	c->unwind = NULL;
	return true;
}

static void raise_exc(struct machine *m, unsigned vector, int error)
{
	m->c->fault = (struct fault){ .vector = (uint8_t)vector,
		.type = EV_HARD_EXC, .has_error = error >= 0,
		.error = error >= 0 ? (uint32_t)error : 0, .cr2 = 0x1234 };
}

/* -- loading segment registers ------------------------------------------- */
static int load(struct machine *m, int seg, uint16_t selector)
{
	jmp_buf env;
	struct vcpu *c = m->c;

	c->unwind = &env;
	if (setjmp(env)) {
		c->unwind = NULL;
		return c->fault.vector << 16 | (int)c->fault.error;
	}
	load_segment(c, seg, selector);
	c->unwind = NULL;
	return 0;
}

#define FAULT(vector, error) ((vector) << 16 | (error))

static void segment_loads(void **state)
{
	static const struct {
		int seg; uint16_t selector; unsigned cpl; int want;
	} t[] = {
		{ SEG_DS, DS0, 0, 0 }, { SEG_DS, DS3 | 3, 3, 0 },
		{ SEG_DS, DS3, 0, 0 }, { SEG_DS, 0, 3, 0 }, { SEG_DS, 3, 3, 0 },
		{ SEG_DS, DS0, 3, FAULT(EXC_GP, DS0) },
		{ SEG_DS, DS0 | 3, 0, FAULT(EXC_GP, DS0) },
		{ SEG_ES, CONF | 3, 3, 0 }, /* conforming, readable */
		{ SEG_ES, XO3 | 3, 3, FAULT(EXC_GP, XO3) },
		{ SEG_ES, CS3 | 3, 3, 0 }, { SEG_ES, RO3 | 3, 3, 0 },
		{ SEG_FS, ABSENT | 3, 3, FAULT(EXC_NP, ABSENT) },
		{ SEG_GS, SYS, 0, FAULT(EXC_GP, SYS) },
		{ SEG_GS, LAST + 8, 0, FAULT(EXC_GP, LAST + 8) },
		{ SEG_GS, DS0 | 4, 0, FAULT(EXC_GP, DS0 | 4) }, /* no LDT */
		{ SEG_SS, 0, 0, FAULT(EXC_GP, 0) },
		{ SEG_SS, DS0, 0, 0 }, { SEG_SS, DS3 | 3, 3, 0 },
		{ SEG_SS, DS3, 3, FAULT(EXC_GP, DS3) },
		{ SEG_SS, DS3 | 3, 0, FAULT(EXC_GP, DS3) },
		{ SEG_SS, RO3 | 3, 3, FAULT(EXC_GP, RO3) },
		{ SEG_SS, CS3 | 3, 3, FAULT(EXC_GP, CS3) },
		{ SEG_SS, ABSENT | 3, 3, FAULT(EXC_SS, ABSENT) },
	};
	struct machine m;

	(void)state;
	make(&m);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		protected32(&m, t[i].cpl);
		assert_int_equal(load(&m, t[i].seg, t[i].selector), t[i].want);
		if (t[i].want)
			continue;
		assert_int_equal(m.c->seg[t[i].seg].selector, t[i].selector);
		/* The accessed bit was set in the table. */
		if (t[i].selector > 3)
			assert_true(get64(&m, GDT + (t[i].selector & ~7u)) >>
				    40 & 1);
		else
			assert_true(m.c->seg[t[i].seg].attr & AR_UNUSABLE);
	}
	/* 64-bit code may have a null SS, but not in ring 3. */
	long64(&m, 0);
	assert_int_equal(load(&m, SEG_SS, 0), 0);
	long64(&m, 3);
	assert_int_equal(load(&m, SEG_SS, 3), FAULT(EXC_GP, 0));
	unmake(&m);
}

static void real_mode_segments(void **state)
{
	struct machine m;

	(void)state;
	make(&m);
	assert_int_equal(load(&m, SEG_DS, 0x1234), 0);
	assert_true(m.c->segbase[SEG_DS] == 0x12340);
	assert_int_equal(m.c->seg[SEG_DS].limit, 0xffff);
	unmake(&m);
}

/* -- 64-bit gates -------------------------------------------------------- */
static void frame_64(void **state)
{
	struct machine m;
	uint32_t top = (STACK - 3) & ~15u;

	(void)state;
	make(&m);
	long64(&m, 0);
	m.c->r[R_RSP] = STACK - 3; /* aligned down before the pushes */
	cpu_set_rflags(m.c, 2 | FLAG_IF | FLAG_ZF | FLAG_NT);
	gate(&m, EXC_GP, 14, 0, CS64, 0x4000, 0);
	raise_exc(&m, EXC_GP, 0x18);
	assert_true(deliver(&m));
	assert_true(m.c->r[R_RIP] == 0x4000);
	assert_true(m.c->r[R_RSP] == top - 48);
	assert_true(get64(&m, top - 48) == 0x18);
	assert_true(get64(&m, top - 40) == CODE);
	assert_true(get64(&m, top - 32) == CS64);
	/* RF for a fault; IF and NT are gone now, ZF is not. */
	assert_true(get64(&m, top - 24) ==
		    (2 | FLAG_IF | FLAG_ZF | FLAG_NT | FLAG_RF));
	assert_true(get64(&m, top - 16) == STACK - 3);
	assert_true(get64(&m, top - 8) == DS0);
	assert_true(cpu_rflags(m.c) == (2 | FLAG_ZF));
	unmake(&m);
}

static void stacks_64(void **state)
{
	struct machine m;

	(void)state;
	make(&m);
	long64(&m, 3);
	gate(&m, EXC_PF, 15, 0, CS64, 0x4000, 0);
	raise_exc(&m, EXC_PF, 6);
	cpu_set_rflags(m.c, 2 | FLAG_IF);
	assert_true(deliver(&m));
	assert_true(m.c->cr2 == 0x1234);
	assert_int_equal(m.c->cpl, 0);
	assert_int_equal(m.c->seg[SEG_SS].selector, 0);
	assert_true(m.c->seg[SEG_SS].attr & AR_UNUSABLE);
	assert_true(m.c->r[R_RSP] == STACK0 - 48);
	assert_true(cpu_rflags(m.c) & FLAG_IF); /* a trap gate */
	long64(&m, 3);
	gate(&m, EXC_PF, 14, 0, CS64, 0x4000, 1);
	raise_exc(&m, EXC_PF, 6);
	assert_true(deliver(&m));
	assert_true(m.c->r[R_RSP] == IST1 - 48);
	assert_true(get64(&m, IST1 - 8) == (DS3 | 3));
	unmake(&m);
}

/* -- 32-bit gates -------------------------------------------------------- */
static void frames_32(void **state)
{
	struct machine m;

	(void)state;
	make(&m);
	protected32(&m, 3);
	gate(&m, 0x80, 14, 3, CS0, 0x4000, 0);
	m.c->fault = (struct fault){ .vector = 0x80, .type = EV_SOFT_INT,
				     .insn_len = 2 };
	assert_true(deliver(&m));
	assert_int_equal(m.c->cpl, 0);
	assert_true(m.c->r[R_RSP] == STACK0 - 20);
	assert_int_equal(get32(&m, STACK0 - 20), CODE + 2);
	assert_int_equal(get32(&m, STACK0 - 16), CS3 | 3);
	assert_int_equal(get32(&m, STACK0 - 12), 2);
	assert_int_equal(get32(&m, STACK0 - 8), STACK);
	assert_int_equal(get32(&m, STACK0 - 4), DS3 | 3);
	/* A 16-bit gate pushes words. */
	protected32(&m, 0);
	gate(&m, EXC_UD, 6, 0, CS0, 0x4000, 0);
	raise_exc(&m, EXC_UD, -1);
	assert_true(deliver(&m));
	assert_true(m.c->r[R_RSP] == STACK - 6);
	assert_int_equal(get32(&m, STACK - 6), CS0 << 16 | CODE);
	unmake(&m);
}

/* What is wrong with a gate is #GP or #NP with the vector's error code. */
static void bad_gates(void **state)
{
	static const struct {
		unsigned type, dpl; uint16_t cs; bool soft; unsigned want;
		uint32_t error;
	} t[] = {
		{ 14, 0, CS0, true, EXC_GP, 0x40 << 3 | 2 },   /* DPL < CPL */
		{ 12, 3, CS0, false, EXC_GP, 0x40 << 3 | 3 },  /* call gate */
		{ 14, 3, 0, true, EXC_GP, 0 },
		{ 14, 3, 0, false, EXC_GP, 1 },
		{ 14, 3, DS0, true, EXC_GP, DS0 },
		{ 14, 3, DS0, false, EXC_GP, DS0 | 1 },
		{ 14, 3, LAST + 8, false, EXC_GP, (LAST + 8) | 1 },
	};
	struct machine m;

	(void)state;
	make(&m);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		protected32(&m, 3);
		gate(&m, 0x40, t[i].type, t[i].dpl, t[i].cs, 0x4000, 0);
		gate(&m, t[i].want, 14, 0, CS0, 0x5000, 0);
		m.c->fault = (struct fault){ .vector = 0x40, .type = t[i].soft ?
			EV_SOFT_INT : EV_EXTINT, .insn_len = t[i].soft ? 2 : 0 };
		assert_true(deliver(&m));
		assert_true(m.c->r[R_RIP] == 0x5000);
		assert_int_equal(get32(&m, STACK0 - 24), t[i].error);
		assert_int_equal(get32(&m, STACK0 - 20), CODE);
	}
	unmake(&m);
}

/* -- double and triple faults -------------------------------------------- */
static void double_faults(void **state)
{
	static const struct { unsigned first; int code; unsigned then; } t[] = {
		{ EXC_DE, -1, EXC_DF }, { EXC_GP, 0, EXC_DF },
		{ EXC_PF, 0, EXC_DF }, { EXC_UD, -1, EXC_GP },
		{ EXC_DB, -1, EXC_GP }, { EXC_BR, -1, EXC_GP },
		{ EXC_NP, 8, EXC_DF }, { EXC_AC, 0, EXC_GP },
	};
	struct machine m;

	(void)state;
	make(&m);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		long64(&m, 0);
		memset(m.ram + IDT, 0, 0x1000); /* no gate: #GP on delivery */
		gate(&m, EXC_DF, 14, 0, CS64, 0x6000, 0);
		if (t[i].then == EXC_GP)
			gate(&m, EXC_GP, 14, 0, CS64, 0x5000, 0);
		raise_exc(&m, t[i].first, t[i].code);
		assert_true(deliver(&m));
		assert_true(m.c->r[R_RIP] ==
			    (t[i].then == EXC_DF ? 0x6000 : 0x5000));
		assert_true(get64(&m, STACK - 48) ==
			    (t[i].then == EXC_DF ? 0 : t[i].first << 3 | 3));
		assert_false(m.c->event.valid);
	}
	/* Not even #DF has a gate. */
	long64(&m, 0);
	memset(m.ram + IDT, 0, 0x1000);
	raise_exc(&m, EXC_GP, 0);
	assert_false(deliver(&m));
	assert_int_equal(m.vm->stop.reason, HV_STOP_SHUTDOWN);
	unmake(&m);
}

/* -- running code: shadows, traps ---------------------------------------- */
static uint64_t run(struct machine *m, const void *code, size_t len, uint64_t n)
{
	memcpy(m->ram + CODE, code, len);
	hv_ram_changed(m->vm, CODE, (unsigned)len);
	m->vm->stopping = false;
	m->c->r[R_RIP] = CODE;
	return cpu_run(m->c, n);
}

static void single_step(void **state)
{
	static const uint8_t nops[] = { 0x90, 0x90, 0x90 };
	static const uint8_t popss[] = { 0x8e, 0xd0, 0x90, 0x90 };
	struct machine m;

	(void)state;
	make(&m);
	long64(&m, 0);
	gate(&m, EXC_DB, 14, 0, CS64, 0x4000, 0);
	cpu_set_rflags(m.c, 2 | FLAG_TF);
	cpu_update_mode(m.c);
	assert_true(run(&m, nops, sizeof nops, 2) >= 1);
	/* The trap's frame leads behind the first instruction. */
	assert_true(get64(&m, STACK - 40) == CODE + 1);
	assert_true(m.c->dr[6] & DR6_BS);
	/* MOV SS holds it back for one more. */
	long64(&m, 0);
	m.c->dr[6] = DR6_INIT;
	m.c->r[R_RAX] = DS0;
	cpu_set_rflags(m.c, 2 | FLAG_TF);
	cpu_update_mode(m.c);
	run(&m, popss, sizeof popss, 3);
	assert_true(get64(&m, STACK - 40) == CODE + 3);
	unmake(&m);
}

static void data_breakpoint(void **state)
{
	/* mov [0x7000], al; nop; hlt */
	static const uint8_t code[] = { 0x88, 0x04, 0x25, 0x00, 0x70, 0, 0,
					0x90, 0xf4 };
	struct machine m;

	(void)state;
	make(&m);
	long64(&m, 0);
	gate(&m, EXC_DB, 14, 0, CS64, 0x4000, 0);
	m.ram[0x4000] = 0xf4;
	run(&m, code, sizeof code, 1); /* fills the TLB */
	m.c->dr[1] = 0x7000;
	m.c->dr[7] = DR7_INIT | 1u << 2 | 1u << 20; /* L1, write, 1 byte */
	cpu_update_mode(m.c);
	mem_switch_context(m.c);
	run(&m, code, sizeof code, 8);
	assert_true(get64(&m, STACK - 40) == CODE + 7); /* a trap */
	assert_true((m.c->dr[6] & 15) == 2);
	unmake(&m);
}

/* Runs code (then NOP and HLT) twice with a data breakpoint, reads and writes of one
 * byte, at `address`: 0x200000 is not mapped until the second time.  len: of the first
 * instruction. */
static void meets_breakpoint(uint64_t address, const uint8_t *code, size_t size,
			     unsigned len)
{
	struct machine m;

	make(&m);
	long64(&m, 0);
	gate(&m, EXC_DB, 14, 0, CS64, 0x4000, 0);
	gate(&m, EXC_PF, 14, 0, CS64, 0x4800, 0);
	m.ram[0x4000] = m.ram[0x4800] = 0xf4;
	m.c->dr[0] = address;
	m.c->dr[7] = DR7_INIT | 2u | 3u << 16; /* G0, read and write, 1 byte */
	m.c->r[R_RSI] = 0x5000;
	m.c->r[R_RDI] = 0x200000;
	cpu_update_mode(m.c);
	mem_switch_context(m.c);
	run(&m, code, size, 8);
	assert_true(m.c->r[R_RIP] == 0x4801); /* the #PF alone */
	assert_true(get64(&m, STACK - 40) == CODE);
	assert_int_equal(m.c->dr[6] & 15, 0);
	assert_int_equal(m.c->dr6_pending, 0);
	put64(&m, TABLES + 0x2008, 0x87); /* to the same RAM */
	m.c->r[R_RSP] = STACK;
	m.c->activity = ACT_ACTIVE;
	run(&m, code, size, 8);
	assert_true(m.c->r[R_RIP] == 0x4001);
	assert_true(get64(&m, STACK - 40) == CODE + len);
	assert_int_equal(m.c->dr[6] & 15, 1);
	unmake(&m);
}

/* An access that faults meets no breakpoint: the retry does, and traps after it. */
static void data_breakpoint_retried(void **state)
{
	/* mov [0x200000], al; mov eax, [0x200000] */
	static const uint8_t code[] = { 0x88, 0x04, 0x25, 0x00, 0, 0x20, 0, 0x90, 0xf4 };
	static const uint8_t load[] = { 0x8b, 0x04, 0x25, 0x00, 0, 0x20, 0, 0x90, 0xf4 };

	(void)state;
	meets_breakpoint(0x200000, code, sizeof code, 7);
	meets_breakpoint(0x200000, load, sizeof load, 7);
}

/* Nor does one whose instruction faults in a later access. */
static void data_breakpoint_aborted(void **state)
{
	static const uint8_t code[] = { 0xa4, 0x90, 0xf4 }; /* movsb */

	(void)state;
	meets_breakpoint(0x5000, code, sizeof code, 1);
}

static void syscall_and_back(void **state)
{
	static const uint8_t code[] = { 0x0f, 0x05 };
	static const uint8_t back[] = { 0x48, 0x0f, 0x07 };
	struct machine m;

	(void)state;
	make(&m);
	long64(&m, 3);
	m.c->msr.star = (uint64_t)CS0 << 32 | (uint64_t)0x18 << 48;
	m.c->msr.lstar = 0x4000;
	m.c->msr.fmask = FLAG_IF | FLAG_DF;
	cpu_set_rflags(m.c, 2 | FLAG_IF | FLAG_DF | FLAG_CF);
	memcpy(m.ram + 0x4000, back, sizeof back);
	run(&m, code, sizeof code, 1);
	assert_int_equal(m.c->cpl, 0);
	assert_true(m.c->r[R_RIP] == 0x4000);
	assert_true(m.c->r[R_RCX] == CODE + 2);
	assert_true(m.c->r[R_R11] == (2 | FLAG_IF | FLAG_DF | FLAG_CF));
	assert_true(cpu_rflags(m.c) == (2 | FLAG_CF));
	cpu_run(m.c, 1);
	assert_int_equal(m.c->cpl, 3);
	assert_int_equal(m.c->seg[SEG_CS].selector, 0x2b);
	assert_int_equal(m.c->seg[SEG_SS].selector, 0x23);
	assert_true(m.c->r[R_RIP] == CODE + 2);
	assert_true(cpu_rflags(m.c) == (2 | FLAG_IF | FLAG_DF | FLAG_CF));
	unmake(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(segment_loads),
		cmocka_unit_test(real_mode_segments),
		cmocka_unit_test(frame_64), cmocka_unit_test(stacks_64),
		cmocka_unit_test(frames_32), cmocka_unit_test(bad_gates),
		cmocka_unit_test(double_faults), cmocka_unit_test(single_step),
		cmocka_unit_test(data_breakpoint),
		cmocka_unit_test(data_breakpoint_retried),
		cmocka_unit_test(data_breakpoint_aborted),
		cmocka_unit_test(syscall_and_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
