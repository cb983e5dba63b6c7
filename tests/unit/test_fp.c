/* test_fp.c: which x87 and SIMD instructions fault when: CR0, CR4, XCR0, MXCSR,
 * pending exceptions, areas of the XSAVE family, and operands across pages.
 * What they compute is compared with the host's CPU in tests/native. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "hvcore/exec/block.h"
#include "hvcore/fp/fp.h"
#include "hvcore/parts.h"

#define RAM_SIZE 0x200000u
#define CODE 0x10000u
#define DATA 0x20000u
#define STACK 0x30000u
#define IDT 0x6000u
#define HANDLERS 0x8000u
#define CR0_BASE 0x80010033ull
#define CR4_BASE 0x40620ull /* PAE, OSFXSR, OSXMMEXCPT, OSXSAVE */

static uint8_t *ram;
static struct vm *vm;
static struct vcpu *c;
static bool avx512;         /* the host has it: such code can run */

static void put(uint32_t at, uint64_t v, unsigned n)
{
	memcpy(ram + at, &v, n);
}

static uint64_t get(uint32_t at, unsigned n)
{
	uint64_t v = 0;

	memcpy(&v, ram + at, n);
	return v;
}

static void map(uint32_t page, bool present)
{
	put(0x4000 + 8 * (page >> 12), page | (present ? 0x63 : 0), 8);
	mem_flush_all(c);
}

static void vectors(void)
{
	for (unsigned v = 0; v < 32; v++) {
		uint64_t to = HANDLERS + 16 * v;

		put(IDT + 16 * v, (to & 0xffff) | 8ull << 16 | 0x8eull << 40 |
		    (to >> 16 & 0xffff) << 48, 8);
		ram[to] = 0xf4; /* hlt */
	}
	c->idtr.base = IDT;
	c->idtr.limit = 16 * 32 - 1;
}

static void leaf(struct snapshot_vcpu *v, uint32_t fn, uint32_t sub, uint32_t eax,
		 uint32_t ebx, uint32_t ecx, uint32_t edx)
{
	struct kvm_cpuid_entry2 *e = &v->cpuid[v->ncpuid++];

	*e = (struct kvm_cpuid_entry2){ .function = fn, .index = sub,
		.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .eax = eax,
		.ebx = ebx, .ecx = ecx, .edx = edx };
}

/* A CPU with all of AVX-512F and XSAVE's extensions, no deprecated selectors. */
static void cpu_model(void)
{
	static struct kvm_cpuid_entry2 e[16];
	struct snapshot_vcpu v = { .have = 1u << SN_CPUID, .cpuid = e };

	leaf(&v, 0, 0, 0xd, 0x756e6547, 0x6c65746e, 0x49656e69);
	leaf(&v, 1, 0, 0x50654, 0, 0x7ed8320f, 0x0f8bfbff);
	leaf(&v, 7, 0, 0, 0xd18f2fe9, 0, 0);
	leaf(&v, 0xd, 0, 0xe7, 0xa80, 0xa80, 0);
	leaf(&v, 0xd, 1, 0xf, 0x980, 0x1800, 0);
	leaf(&v, 0xd, 2, 256, 576, 0, 0);
	leaf(&v, 0xd, 5, 64, 1088, 0, 0);
	leaf(&v, 0xd, 6, 512, 1152, 0, 0);
	leaf(&v, 0xd, 7, 1024, 1664, 0, 0);
	leaf(&v, 0xd, 11, 16, 0, 1, 0);
	leaf(&v, 0xd, 12, 24, 0, 1, 0);
	hv_vcpu_load(c, &v, NULL);
}

static int setup(void **state)
{
	static const struct segment code = { .limit = 0xffffffff,
		.attr = 0xa09b, .selector = 8 };
	static const struct segment flat = { .limit = 0xffffffff,
		.attr = 0xc093, .selector = 16 };

	(void)state;
	avx512 = __builtin_cpu_supports("avx512f");
	ram = aligned_alloc(4096, RAM_SIZE);
	memset(ram, 0, RAM_SIZE);
	vm = hv_vm_new(NULL);
	assert_non_null(vm);
	assert_int_equal(hv_map_ram(vm, 0, RAM_SIZE, ram, NULL), NST_OK);
	c = hv_vcpu_new(vm);
	cpu_model();
	put(0x1000, 0x2003, 8);
	put(0x2000, 0x3003, 8);
	put(0x3000, 0x4003, 8);
	put(0x5008, 0x00af9b000000ffff, 8); /* the GDT: code and data */
	put(0x5010, 0x00cf93000000ffff, 8);
	c->gdtr = (struct dtable){ 0x5000, 0x17 };
	c->cr3 = 0x1000;
	c->efer = 0x500;
	c->seg[SEG_CS] = code;
	for (int s = SEG_ES; s <= SEG_GS; s++)
		if (s != SEG_CS)
			c->seg[s] = flat;
	for (uint32_t page = 0; page < RAM_SIZE; page += 0x1000)
		put(0x4000 + 8 * (page >> 12), page | 0x63, 8);
	vectors();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	hv_vm_free(vm);
	free(ram);
	return 0;
}

/* -- running one piece of code ---------------------------------------------------- */
static void control(uint64_t cr0, uint64_t cr4, uint64_t xcr0)
{
	c->cr0 = cr0;
	c->cr4 = cr4;
	c->fpu.xcr0 = xcr0;
	cpu_update_mode(c);
	mem_switch_context(c);
	mem_flush_all(c);
}

/* All enabled, x87 and MXCSR initial, RBX and RDI at DATA, EDX:EAX all ones. */
static void fresh(void)
{
	fp_reset(c, false);
	control(CR0_BASE, CR4_BASE, 0xe7);
	c->fpu.fcw = FCW_INIT;
	c->fpu.ftw = 0;
	c->fpu.xinuse = 0;
	memset(c->r, 0, 16 * 8);
	c->r[R_RBX] = c->r[R_RDI] = DATA;
	c->r[R_RAX] = c->r[R_RDX] = 0xffffffff;
	memset(ram + DATA, 0, 0x3000);
}

struct code { uint8_t b[12]; };
#define CODE_OF(...) ((struct code){ { __VA_ARGS__ } })

/* The vector that it raises, at its own RIP, or -1.  HLT follows it. */
static int run_at(uint64_t rip, struct code code, unsigned len)
{
	uint64_t at;

	memcpy(ram + rip, code.b, len);
	ram[rip + len] = 0xf4;
	hv_ram_changed(vm, rip, len + 1);
	c->r[R_RSP] = STACK;
	c->r[R_RIP] = rip;
	c->activity = ACT_ACTIVE;
	cpu_set_rflags(c, 2);
	cpu_run(c, 1000);
	assert_int_equal(c->activity, ACT_HLT);
	at = c->r[R_RIP] - 1;
	if (at < HANDLERS || at >= HANDLERS + 16 * 32)
		return -1;
	return (int)(at - HANDLERS) / 16;
}
#define RUN(...) run_at(CODE, CODE_OF(__VA_ARGS__), \
			sizeof (const uint8_t[]){ __VA_ARGS__ })

static uint64_t frame(unsigned word)
{
	return get((uint32_t)c->r[R_RSP] + 8 * word, 8);
}

/* A fault with an error code stands at its instruction and gives it. */
static void assert_gp(int vector)
{
	assert_int_equal(vector, EXC_GP);
	assert_int_equal(frame(0), 0);
	assert_int_equal(frame(1), CODE);
}

/* -- CR0, CR4, XCR0 ------------------------------------------------------------------ */
enum class { X87, WAIT, MMX_CODE, SSE_CODE, VEX_CODE, EVEX_CODE, MASK_CODE,
	     FX_CODE, XS_CODE, MXCSR_CODE, VMXCSR_CODE, CLASSES };

static const struct { enum class k; uint8_t len; struct code code; } gated[] = {
	{ X87, 2, { { 0xd9, 0xe8 } } },                    /* fld1 */
	{ X87, 2, { { 0xdb, 0xe3 } } },                    /* fninit */
	{ X87, 2, { { 0xd9, 0x3b } } },                    /* fnstcw [rbx] */
	{ WAIT, 1, { { 0x9b } } },                         /* fwait */
	{ MMX_CODE, 3, { { 0x0f, 0xfc, 0xc1 } } },         /* paddb mm0, mm1 */
	{ MMX_CODE, 2, { { 0x0f, 0x77 } } },               /* emms */
	{ SSE_CODE, 3, { { 0x0f, 0x58, 0xc1 } } },         /* addps */
	{ SSE_CODE, 4, { { 0x66, 0x0f, 0xfc, 0x03 } } },   /* paddb xmm0, [rbx] */
	{ SSE_CODE, 4, { { 0x66, 0x0f, 0xf7, 0xc1 } } },   /* maskmovdqu */
	{ VEX_CODE, 4, { { 0xc5, 0xf8, 0x58, 0xc1 } } },   /* vaddps */
	{ VEX_CODE, 3, { { 0xc5, 0xf8, 0x77 } } },         /* vzeroupper */
	{ VEX_CODE, 5, { { 0xc4, 0xe2, 0x79, 0x2c, 0x03 } } }, /* vmaskmovps */
	{ EVEX_CODE, 6, { { 0x62, 0xf1, 0x7c, 0x48, 0x58, 0xc1 } } }, /* vaddps zmm */
	{ MASK_CODE, 4, { { 0xc5, 0xf8, 0x44, 0xc1 } } },  /* knotw */
	{ FX_CODE, 3, { { 0x0f, 0xae, 0x03 } } },          /* fxsave */
	{ FX_CODE, 3, { { 0x0f, 0xae, 0x0b } } },          /* fxrstor */
	{ XS_CODE, 3, { { 0x0f, 0xae, 0x23 } } },          /* xsave */
	{ XS_CODE, 3, { { 0x0f, 0xae, 0x2b } } },          /* xrstor */
	{ XS_CODE, 3, { { 0x0f, 0xae, 0x33 } } },          /* xsaveopt */
	{ XS_CODE, 3, { { 0x0f, 0xc7, 0x23 } } },          /* xsavec */
	{ XS_CODE, 3, { { 0x0f, 0xc7, 0x2b } } },          /* xsaves */
	{ MXCSR_CODE, 3, { { 0x0f, 0xae, 0x13 } } },       /* ldmxcsr */
	{ MXCSR_CODE, 3, { { 0x0f, 0xae, 0x1b } } },       /* stmxcsr */
	{ VMXCSR_CODE, 4, { { 0xc5, 0xf8, 0xae, 0x1b } } },/* vstmxcsr */
};

/* The SDM's exception tables of chapter 2.4 to 2.8 and of vol. 3, table 2-2. */
static int expected(enum class k, uint64_t cr0, uint64_t cr4, uint64_t xcr0)
{
	bool em = cr0 & CR0_EM, ts = cr0 & CR0_TS;

	switch (k) {
	case X87: case FX_CODE:
		return em || ts ? EXC_NM : -1;
	case WAIT:
		return ts && cr0 & CR0_MP ? EXC_NM : -1;
	case MMX_CODE:
		return em ? EXC_UD : ts ? EXC_NM : -1;
	case SSE_CODE: case MXCSR_CODE:
		return em || !(cr4 & CR4_OSFXSR) ? EXC_UD : ts ? EXC_NM : -1;
	case XS_CODE:
		return !(cr4 & CR4_OSXSAVE) ? EXC_UD : ts ? EXC_NM : -1;
	default:
		if (!(cr4 & CR4_OSXSAVE) || (xcr0 & 6) != 6)
			return EXC_UD;
		if ((k == EVEX_CODE || k == MASK_CODE) && (xcr0 & 0xe6) != 0xe6)
			return EXC_UD;
		return ts ? EXC_NM : -1;
	}
}

static void test_gates(void **state)
{
	static const uint64_t xcr0s[] = { 1, 3, 7, 0xe7 };

	(void)state;
	for (unsigned n = 0; n < 16 * 4 * sizeof gated / sizeof gated[0]; n++) {
		unsigned k = n / 64, bits = n % 16;
		uint64_t xcr0 = xcr0s[n / 16 % 4];
		uint64_t cr0 = CR0_BASE & ~CR0_MP, cr4 = CR4_BASE;
		int got;

		cr0 |= (bits & 1 ? CR0_EM : 0) | (bits & 2 ? CR0_TS : 0) |
		       (bits & 4 ? CR0_MP : 0);
		cr4 &= bits & 8 ? ~(CR4_OSFXSR | CR4_OSXSAVE) : ~0ull;
		if (gated[k].k >= EVEX_CODE && gated[k].k <= MASK_CODE && !avx512)
			continue;
		fresh();
		put(DATA, 0x1f80, 4);
		put(DATA + 24, 0x1f80, 4);
		control(cr0, cr4, xcr0);
		got = run_at(CODE, gated[k].code, gated[k].len);
		if (got != expected(gated[k].k, cr0, cr4, xcr0))
			fail_msg("row %u: CR0 %llx CR4 %llx XCR0 %llx: %d", k,
				 (unsigned long long)cr0,
				 (unsigned long long)cr4,
				 (unsigned long long)xcr0, got);
	}
}

/* -- exceptions of the units -------------------------------------------------------------- */
static void test_mf(void **state)
{
	(void)state;
	fresh();
	c->fpu.fcw = 0x37b; /* zero divide unmasked */
	/* fld1; fldz; fdivp; nop; fld1 */
	assert_int_equal(RUN(0xd9, 0xe8, 0xd9, 0xee, 0xde, 0xf9, 0x90, 0xd9, 0xe8),
			 EXC_MF);
	assert_int_equal(frame(0), CODE + 7);
	assert_int_equal(c->fpu.fsw & 0x8084, 0x8084);
	assert_int_equal(c->fpu.fip, CODE + 4);
	assert_int_equal(c->fpu.fop, 0x6f9);
	/* waiting ones fault, the others do not */
	assert_int_equal(RUN(0x9b), EXC_MF);
	assert_int_equal(RUN(0x0f, 0xfc, 0xc1), EXC_MF);  /* paddb mm0, mm1 */
	assert_int_equal(RUN(0x0f, 0x77), EXC_MF);        /* emms */
	assert_int_equal(RUN(0xd9, 0x2b), EXC_MF);        /* fldcw */
	assert_int_equal(RUN(0xdd, 0x23), EXC_MF);        /* frstor */
	assert_int_equal(RUN(0xdd, 0x3b), -1);            /* fnstsw */
	assert_int_equal(RUN(0x0f, 0xae, 0x03), -1);      /* fxsave */
	assert_int_equal(RUN(0x0f, 0x2a, 0x03), -1);      /* cvtpi2ps m64 */
	assert_int_equal(RUN(0xd9, 0x33), -1);            /* fnstenv masks all */
	assert_int_equal(c->fpu.fsw & 0x8080, 0);
	assert_int_equal(RUN(0x9b), -1);
	/* loading flags unmasked again makes it pending again */
	put(DATA + 64, 0x37b, 2);
	assert_int_equal(RUN(0xd9, 0x6b, 0x40), -1);      /* fldcw [rbx + 64] */
	assert_int_equal(RUN(0xdb, 0xe2, 0x9b), -1);      /* fnclex; fwait */
	/* #NM comes first */
	c->fpu.fsw |= 0x8084;
	control(CR0_BASE | CR0_TS, CR4_BASE, 0xe7);
	assert_int_equal(RUN(0xd9, 0xe8), EXC_NM);
	assert_int_equal(RUN(0x9b), EXC_NM);
}

static void test_xm(void **state)
{
	(void)state;
	fresh();
	c->fpu.mxcsr = 0x1d80; /* zero divide unmasked */
	put(DATA, 0x3f800000, 4);
	memset(c->fpu.zmm, 0, sizeof c->fpu.zmm);
	put(DATA + 16, 0x3f800000, 4);
	/* movss xmm0, [rbx]; divss xmm0, xmm1 */
	assert_int_equal(RUN(0xf3, 0x0f, 0x10, 0x03, 0xf3, 0x0f, 0x5e, 0xc1),
			 EXC_XM);
	assert_int_equal(frame(0), CODE + 4);
	assert_int_equal(c->fpu.mxcsr, 0x1d84);
	assert_int_equal(c->fpu.zmm[0][3], 0x3f); /* destination as it was */
	c->fpu.mxcsr = 0x1d80;
	control(CR0_BASE, CR4_BASE & ~CR4_OSXMMEXCPT, 0xe7);
	assert_int_equal(RUN(0xf3, 0x0f, 0x5e, 0xc1), EXC_UD);
	/* flags that stand already raise nothing */
	control(CR0_BASE, CR4_BASE, 0xe7);
	c->fpu.mxcsr = 0x1d84;
	assert_int_equal(RUN(0x0f, 0x58, 0xc9), -1);
	c->fpu.mxcsr = 0x1d80;
	assert_int_equal(RUN(0xc5, 0xfa, 0x5e, 0xc1), EXC_XM); /* vdivss */
	/* SAE: no flags, no exception */
	c->fpu.mxcsr = 0x1d80;
	if (avx512)
		assert_int_equal(RUN(0x62, 0xf1, 0x7c, 0x18, 0x5e, 0xc1), -1);
	assert_int_equal(c->fpu.mxcsr, 0x1d80);
}

static void test_mxcsr_reserved(void **state)
{
	(void)state;
	fresh();
	put(DATA, 0x11f80, 4);
	assert_gp(RUN(0x0f, 0xae, 0x13));        /* ldmxcsr */
	assert_gp(RUN(0xc5, 0xf8, 0xae, 0x13));  /* vldmxcsr */
	assert_int_equal(c->fpu.mxcsr, MXCSR_INIT);
	put(DATA, 0xffff, 4);
	assert_int_equal(RUN(0x0f, 0xae, 0x13), -1);
	assert_int_equal(c->fpu.mxcsr, 0xffff);
	put(DATA, 0, 4);
	put(DATA + 24, 0x80001f80, 4);
	assert_gp(RUN(0x0f, 0xae, 0x0b));        /* fxrstor */
	assert_gp(RUN(0x0f, 0xae, 0x2b));        /* xrstor: RFBM has SSE */
	c->r[R_RDX] = 0;
	c->r[R_RAX] = 1;
	assert_int_equal(RUN(0x0f, 0xae, 0x2b), -1); /* x87 alone */
	assert_int_equal(c->fpu.mxcsr, 0xffff);
	/* without CR4.OSFXSR FXRSTOR does not look at it */
	control(CR0_BASE, CR4_BASE & ~CR4_OSFXSR, 0xe7);
	assert_int_equal(RUN(0x0f, 0xae, 0x0b), -1);
}

/* -- alignment -------------------------------------------------------------------------------- */
static void test_alignment(void **state)
{
	(void)state;
	fresh();
	c->r[R_RBX] = DATA + 8;
	assert_gp(RUN(0x0f, 0x28, 0x03));             /* movaps */
	assert_gp(RUN(0x0f, 0x58, 0x03));             /* addps */
	assert_gp(RUN(0x0f, 0x29, 0x03));
	assert_int_equal(RUN(0x0f, 0x10, 0x03), -1);  /* movups */
	assert_int_equal(RUN(0xf3, 0x0f, 0x58, 0x03), -1);       /* addss */
	assert_int_equal(RUN(0xc5, 0xf8, 0x58, 0x03), -1);       /* vaddps */
	assert_gp(RUN(0xc5, 0xf8, 0x28, 0x03));       /* vmovaps */
	assert_gp(RUN(0x0f, 0xae, 0x03));             /* fxsave */
	assert_gp(RUN(0x0f, 0xae, 0x0b));
	c->r[R_RBX] = DATA + 16;
	assert_gp(RUN(0xc5, 0xfc, 0x28, 0x03));       /* vmovaps ymm */
	assert_int_equal(RUN(0x0f, 0xae, 0x03), -1);
	assert_gp(RUN(0x0f, 0xae, 0x23));             /* xsave: 64 */
	assert_gp(RUN(0x0f, 0xae, 0x2b));
	assert_gp(RUN(0x0f, 0xc7, 0x23));
	/* alignment goes before what the page says */
	map(DATA, false);
	c->r[R_RBX] = DATA + 8;
	assert_gp(RUN(0x0f, 0x28, 0x03));
	map(DATA, true);
	/* not canonical */
	c->r[R_RBX] = 1ull << 60;
	assert_gp(RUN(0x0f, 0x10, 0x03));
	assert_gp(RUN(0xdd, 0x03));                   /* fld m64 */
}

/* -- across pages ------------------------------------------------------------------------------- */
static void across(struct code code, unsigned len, unsigned before, bool write)
{
	uint8_t was[64];
	struct fpu fpu;

	fresh();
	memset(ram + DATA + 0xfc0, 0x11, 64);
	memcpy(was, ram + DATA + 0xfc0, 64);
	memset(c->fpu.zmm, 0x22, sizeof c->fpu.zmm);
	map(DATA + 0x1000, false);
	c->r[R_RBX] = DATA + 0x1000 - before;
	fpu = c->fpu;
	assert_int_equal(run_at(CODE, code, len), EXC_PF);
	assert_int_equal(c->cr2, DATA + 0x1000);
	assert_int_equal(frame(0), write ? 2 : 0);
	assert_int_equal(frame(1), CODE);
	assert_memory_equal(was, ram + DATA + 0xfc0, 64);
	assert_memory_equal(&fpu, &c->fpu, sizeof fpu);
	map(DATA + 0x1000, true);
	assert_int_equal(run_at(CODE, code, len), -1);
}

static void test_across_pages(void **state)
{
	(void)state;
	across(CODE_OF(0x0f, 0x10, 0x03), 3, 4, false);        /* movups load */
	across(CODE_OF(0x0f, 0x11, 0x03), 3, 4, true);
	across(CODE_OF(0xf2, 0x0f, 0x58, 0x03), 4, 3, false);  /* addsd */
	across(CODE_OF(0xdd, 0x03), 2, 1, false);              /* fld m64 */
	across(CODE_OF(0xdb, 0x2b), 2, 9, false);              /* fld m80 */
	across(CODE_OF(0xdf, 0x3b), 2, 4, true);               /* fistp m64 */
	across(CODE_OF(0xd9, 0x33), 2, 20, true);              /* fnstenv */
	across(CODE_OF(0xdd, 0x33), 2, 60, true);              /* fnsave */
	across(CODE_OF(0xd9, 0x23), 2, 20, false);             /* fldenv */
	across(CODE_OF(0x0f, 0x7f, 0x03), 3, 5, true);         /* movq m64, mm */
	across(CODE_OF(0xc5, 0xfc, 0x11, 0x03), 4, 31, true);  /* vmovups ymm */
	across(CODE_OF(0xc5, 0xfc, 0x58, 0x03), 4, 1, false);  /* vaddps ymm */
	across(CODE_OF(0x0f, 0xae, 0x03), 3, 0x20, true);      /* fxsave */
	across(CODE_OF(0x0f, 0xae, 0x23), 3, 0x40, true);      /* xsave */
	if (!avx512)
		return;
	across(CODE_OF(0x62, 0xf1, 0x7c, 0x48, 0x11, 0x03), 6, 1, true);
	across(CODE_OF(0x62, 0xf1, 0x7c, 0x48, 0x58, 0x03), 6, 63, false);
}

/* What a mask leaves out is not touched. */
static void test_masked_across(void **state)
{
	(void)state;
	fresh();
	map(DATA + 0x1000, false);
	c->r[R_RBX] = DATA + 0x1000 - 8;
	memset(c->fpu.zmm[1], 0, 64);
	c->fpu.zmm[1][3] = c->fpu.zmm[1][7] = 0x80;
	/* vmaskmovps [rbx], xmm1, xmm0 */
	assert_int_equal(RUN(0xc4, 0xe2, 0x71, 0x2e, 0x03), -1);
	c->fpu.zmm[1][15] = 0x80;
	assert_int_equal(RUN(0xc4, 0xe2, 0x71, 0x2e, 0x03), EXC_PF);
	assert_int_equal(frame(0), 2);
	if (avx512) {
		c->fpu.k[1] = 3;
		/* vmovups [rbx]{k1}, zmm0 */
		assert_int_equal(RUN(0x62, 0xf1, 0x7c, 0x49, 0x11, 0x03), -1);
		c->fpu.k[1] = 7;
		assert_int_equal(RUN(0x62, 0xf1, 0x7c, 0x49, 0x11, 0x03), EXC_PF);
	}
	map(DATA + 0x1000, true);
}

/* A gather that faults keeps what it has: elements done leave the mask. */
static void test_gather_restart(void **state)
{
	static const uint32_t index[4] = { 0, 1, 1024, 2 };

	(void)state;
	fresh();
	map(DATA + 0x1000, false);
	for (unsigned k = 0; k < 4; k++) {
		memcpy(c->fpu.zmm[1] + 4 * k, &index[k], 4);
		put(DATA + 4 * k, 0x1000 + k, 4);
	}
	memset(c->fpu.zmm[0], 0, 64);
	memset(c->fpu.zmm[2], 0xff, 16);
	/* vpgatherdd xmm0, [rbx + xmm1 * 4], xmm2 */
	assert_int_equal(RUN(0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8b), EXC_PF);
	assert_int_equal(c->cr2, DATA + 0x1000);
	assert_int_equal(*(uint32_t *)(void *)c->fpu.zmm[0], 0x1000);
	assert_int_equal(*(uint32_t *)(void *)(c->fpu.zmm[0] + 4), 0x1001);
	assert_int_equal(c->fpu.zmm[2][3] | c->fpu.zmm[2][7], 0);
	assert_int_equal(c->fpu.zmm[2][11] & c->fpu.zmm[2][15], 0xff);
	map(DATA + 0x1000, true);
	put(DATA + 0x1000, 0x77, 4);
	assert_int_equal(RUN(0xc4, 0xe2, 0x69, 0x90, 0x04, 0x8b), -1);
	assert_int_equal(c->fpu.zmm[0][8], 0x77);
	assert_int_equal(c->fpu.zmm[0][12], 2);
	assert_int_equal(c->fpu.zmm[2][15], 0);
}

/* Code bytes of which the last are in the next page. */
static void test_code_across(void **state)
{
	static const struct code vaddps = { { 0xc5, 0xf8, 0x58, 0xc1 } };

	(void)state;
	fresh();
	map(CODE + 0x1000, false);
	memcpy(ram + CODE + 0xffe, vaddps.b, 4);
	hv_ram_changed(vm, CODE + 0xffe, 4);
	assert_int_equal(run_at(CODE + 0xffe, vaddps, 4), EXC_PF);
	assert_int_equal(c->cr2, CODE + 0x1000);
	assert_int_equal(frame(1), CODE + 0xffe);
	map(CODE + 0x1000, true);
	assert_int_equal(run_at(CODE + 0xffe, vaddps, 4), -1);
}

/* -- the XSAVE family -------------------------------------------------------------------------- */
#define COMPACT (1ull << 63)

static uint64_t bv(void)
{
	return get(DATA + 512, 8);
}

static uint64_t comp(void)
{
	return get(DATA + 520, 8);
}

static void header(uint64_t xstate, uint64_t xcomp)
{
	memset(ram + DATA + 512, 0, 64);
	put(DATA + 512, xstate, 8);
	put(DATA + 520, xcomp, 8);
	put(DATA + 24, MXCSR_INIT, 4);
	put(DATA, FCW_INIT, 2);
}

static void test_init_optimisation(void **state)
{
	(void)state;
	fresh();
	memset(ram + DATA, 0xee, 512);
	assert_int_equal(RUN(0x0f, 0xae, 0x33), -1);   /* xsaveopt */
	assert_int_equal(bv(), 0);
	assert_int_equal(get(DATA, 2), 0xeeee);        /* not written */
	assert_int_equal(get(DATA + 24, 4), MXCSR_INIT); /* this one is */
	assert_int_equal(get(DATA + 160, 4), 0xeeeeeeee);
	assert_int_equal(RUN(0x0f, 0xae, 0x23), -1);   /* xsave writes all */
	assert_int_equal(bv(), 0);
	assert_int_equal(get(DATA, 2), FCW_INIT);
	assert_int_equal(get(DATA + 160, 4), 0);
	/* paddb ymm3: SSE and AVX in use; bits not asked for stay */
	assert_int_equal(RUN(0xc5, 0xe5, 0xfc, 0xdb), -1);
	put(DATA + 512, 0x80, 8);
	c->r[R_RAX] = 6;
	c->r[R_RDX] = 0;
	assert_int_equal(RUN(0x0f, 0xae, 0x33), -1);
	assert_int_equal(bv(), 0x86);
	/* xgetbv(1) */
	c->r[R_RCX] = 1;
	assert_int_equal(RUN(0x0f, 0x01, 0xd0), -1);
	assert_int_equal(c->r[R_RAX], 6);
	c->r[R_RCX] = 2;
	assert_gp(RUN(0x0f, 0x01, 0xd0));
}

static void test_compact(void **state)
{
	(void)state;
	fresh();
	memset(c->fpu.zmm[0], 0x44, 64);
	c->fpu.k[0] = 0x1234;
	c->fpu.xinuse = XCB(XC_OPMASK) | XCB(XC_ZMM_HI);
	memset(ram + DATA + 512, 0xee, 64);
	c->r[R_RDX] = 0;
	c->r[R_RAX] = 0xe4;
	assert_int_equal(RUN(0x0f, 0xc7, 0x23), -1);   /* xsavec */
	assert_int_equal(bv(), 0x60);
	assert_int_equal(comp(), COMPACT | 0xe4);
	/* AVX has its place though it is not in use: 576, then k at 832 */
	assert_int_equal(get(DATA + 832, 8), 0x1234);
	assert_int_equal(get(DATA + 896, 1), 0x44);
	/* MXCSR alone makes SSE state of it */
	c->r[R_RAX] = 3;
	c->fpu.mxcsr = 0x1f81;
	assert_int_equal(RUN(0x0f, 0xc7, 0x23), -1);
	assert_int_equal(bv(), 2);
	assert_int_equal(comp(), COMPACT | 3);
	assert_int_equal(get(DATA + 24, 4), 0x1f81);
	/* and back: components of which the bit is clear become initial */
	header(0x20, COMPACT | 0xe6);
	put(DATA + 832, 0x5678, 8);
	c->r[R_RAX] = 0xe7;
	assert_int_equal(RUN(0x0f, 0xae, 0x2b), -1);   /* xrstor */
	assert_int_equal(c->fpu.k[0], 0x5678);
	assert_int_equal(c->fpu.zmm[0][63], 0);
	assert_int_equal(c->fpu.mxcsr, MXCSR_INIT);
	assert_int_equal(c->fpu.xinuse & 0xe7, 0x20);
}

static void test_bad_headers(void **state)
{
	static const struct { uint64_t bv, comp; uint8_t at, value; } bad[] = {
		{ 0x100, 0, 0, 0 },              /* not in XCR0 */
		{ 7, 1, 0, 0 },                  /* XCOMP_BV in standard format */
		{ 7, 0, 16, 1 },                 /* bytes 23:16 */
		{ 7, COMPACT | 3, 0, 0 },        /* XSTATE_BV beyond XCOMP_BV */
		{ 3, COMPACT | 0x103, 0, 0 },    /* XCOMP_BV beyond XCR0 */
		{ 3, COMPACT | 3, 63, 1 },       /* bytes 63:16 */
		{ 0x800, COMPACT | 0x800, 0, 0 },/* a supervisor component */
	};

	(void)state;
	for (unsigned n = 0; n < sizeof bad / sizeof bad[0]; n++) {
		struct fpu was;

		fresh();
		header(bad[n].bv, bad[n].comp);
		ram[DATA + 512 + bad[n].at] |= bad[n].value;
		was = c->fpu;
		assert_gp(RUN(0x0f, 0xae, 0x2b));
		assert_memory_equal(&was, &c->fpu, sizeof was);
	}
	/* bytes beyond 23 count in the compacted format alone */
	fresh();
	header(0, 0);
	ram[DATA + 512 + 24] = 1;
	assert_int_equal(RUN(0x0f, 0xae, 0x2b), -1);
}

static void test_supervisor(void **state)
{
	(void)state;
	fresh();
	c->fpu.xss = XCB(XC_CET_U);
	c->msr.u_cet = 1;
	c->msr.pl_ssp[3] = 0x1238;
	c->r[R_RDX] = 0;
	c->r[R_RAX] = 0x803;
	assert_int_equal(RUN(0x0f, 0xc7, 0x2b), -1);   /* xsaves */
	assert_int_equal(bv(), 0x800);
	assert_int_equal(comp(), COMPACT | 0x803);
	assert_int_equal(get(DATA + 576, 8), 1);
	assert_int_equal(get(DATA + 584, 8), 0x1238);
	put(DATA + 584, 0x5678, 8);
	assert_int_equal(RUN(0x0f, 0xc7, 0x1b), -1);   /* xrstors */
	assert_int_equal(c->msr.pl_ssp[3], 0x5678);
	/* XRSTORS takes the compacted format alone */
	header(3, 0);
	assert_gp(RUN(0x0f, 0xc7, 0x1b));
	/* XSETBV's rules */
	c->r[R_RCX] = 0;
	c->r[R_RAX] = 0xe7;
	assert_int_equal(RUN(0x0f, 0x01, 0xd1), -1);
	static const uint32_t bad[] = { 0, 6, 5, 0x27, 0xe3, 0x107 };
	for (unsigned n = 0; n < 6; n++) {
		c->r[R_RAX] = bad[n];
		assert_gp(RUN(0x0f, 0x01, 0xd1));
	}
	c->msr.u_cet = c->msr.pl_ssp[3] = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_gates),
		cmocka_unit_test(test_mf),
		cmocka_unit_test(test_xm),
		cmocka_unit_test(test_mxcsr_reserved),
		cmocka_unit_test(test_alignment),
		cmocka_unit_test(test_across_pages),
		cmocka_unit_test(test_masked_across),
		cmocka_unit_test(test_gather_restart),
		cmocka_unit_test(test_code_across),
		cmocka_unit_test(test_init_optimisation),
		cmocka_unit_test(test_compact),
		cmocka_unit_test(test_bad_headers),
		cmocka_unit_test(test_supervisor),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
