/* test_exec.c: blocks, fetch, and exact prefixes: what comparing single
 * instructions with the host cannot see.  A machine of 2 MiB in 64-bit mode,
 * every exception vector a HLT. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "hvcore/exec/block.h"
#include "hvcore/parts.h"

#define RAM_SIZE 0x200000u
#define CODE 0x10000u
#define DATA 0x20000u
#define STACK 0x30000u
#define IDT 0x6000u
#define HANDLERS 0x8000u

static uint8_t *ram;
static struct vm *vm;
static struct vcpu *c;

static void put64(uint32_t at, uint64_t v)
{
	memcpy(ram + at, &v, 8);
}

static void map(uint32_t page, bool present)
{
	put64(0x4000 + 8 * (page >> 12), page | (present ? 0x63 : 0));
	mem_flush_all(c);
}

static void vectors(void)
{
	for (unsigned v = 0; v < 32; v++) {
		uint64_t to = HANDLERS + 16 * v;

		put64(IDT + 16 * v, (to & 0xffff) | 8ull << 16 |
		      0x8eull << 40 | (to >> 16 & 0xffff) << 48);
		ram[to] = 0xf4; /* hlt */
	}
	c->idtr.base = IDT;
	c->idtr.limit = 16 * 32 - 1;
}

static int setup(void **state)
{
	static const struct segment code = { .limit = 0xffffffff,
		.attr = 0xa09b, .selector = 8 };
	static const struct segment flat = { .limit = 0xffffffff,
		.attr = 0xc093, .selector = 16 };

	(void)state;
	ram = aligned_alloc(4096, RAM_SIZE);
	memset(ram, 0, RAM_SIZE);
	vm = hv_vm_new(NULL);
	assert_non_null(vm);
	assert_int_equal(hv_map_ram(vm, 0, RAM_SIZE, ram, NULL), NST_OK);
	c = hv_vcpu_new(vm);
	put64(0x1000, 0x2003);
	put64(0x2000, 0x3003);
	put64(0x3000, 0x4003);
	put64(0x5008, 0x00af9b000000ffff); /* the GDT: code and data */
	put64(0x5010, 0x00cf93000000ffff);
	c->gdtr = (struct dtable){ 0x5000, 0x17 };
	c->cr0 = 0x80010033;
	c->cr3 = 0x1000;
	c->cr4 = 0x620;
	c->efer = 0x500;
	c->seg[SEG_CS] = code;
	for (int s = SEG_ES; s <= SEG_GS; s++)
		if (s != SEG_CS)
			c->seg[s] = flat;
	c->rflags = 2;
	cpu_update_mode(c);
	mem_switch_context(c);
	for (uint32_t page = 0; page < RAM_SIZE; page += 0x1000)
		map(page, true);
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

static void start(uint64_t rip)
{
	memset(c->r, 0, 16 * 8);
	c->r[R_RSP] = STACK;
	c->r[R_RIP] = rip;
	c->activity = ACT_ACTIVE;
	cpu_set_rflags(c, 2);
}

static void load(uint32_t at, const void *code, unsigned len)
{
	memcpy(ram + at, code, len);
	hv_ram_changed(vm, at, len);
}
#define LOAD(at, ...) do { \
	static const uint8_t code_[] = { __VA_ARGS__ }; \
	load(at, code_, sizeof code_); \
} while (0)

/* To the first HLT; the vector whose handler it is in, or -1. */
static int run(uint64_t rip)
{
	uint64_t at;

	start(rip);
	cpu_run(c, 100000);
	assert_int_equal(c->activity, ACT_HLT);
	at = c->r[R_RIP] - 1;
	if (at < HANDLERS || at >= HANDLERS + 16 * 32)
		return -1;
	return (int)(at - HANDLERS) / 16;
}

/* The frame that a fault pushed: error code or RIP first. */
static uint64_t frame(unsigned word)
{
	uint64_t v;

	memcpy(&v, ram + c->r[R_RSP] + 8 * word, 8);
	return v;
}

/* -- code that changes ----------------------------------------------------------- */
static void test_next_insn_patched(void **state)
{
	(void)state;
	for (int k = 0; k < 2; k++) {
		/* mov byte [CODE+9], 0x22; mov al, 0x11; hlt */
		LOAD(CODE, 0xc6, 0x04, 0x25, 0x09, 0x00, 0x01, 0x00, 0x22,
		     0xb0, 0x11, 0xf4);
		assert_int_equal(run(CODE), -1);
		assert_int_equal(c->r[R_RAX], 0x22);
	}
}

static void test_patched_loop(void **state)
{
	(void)state;
	/* mov ecx,10; L: add eax,1; cmp ecx,5; jne M; mov byte [L+2],100;
	 * M: dec ecx; jnz L; hlt */
	LOAD(CODE, 0xb9, 10, 0, 0, 0, 0x83, 0xc0, 1, 0x83, 0xf9, 5, 0x75, 8,
	     0xc6, 0x04, 0x25, 0x07, 0x00, 0x01, 0x00, 100,
	     0xff, 0xc9, 0x75, 0xec, 0xf4);
	assert_int_equal(run(CODE), -1);
	assert_int_equal(c->r[R_RAX], 6 + 4 * 100);
}

/* A CALL that pushes its return address over the instruction it goes to. */
static void test_call_over_code(void **state)
{
	(void)state;
	LOAD(CODE, 0xbc, 0x18, 0x00, 0x01, 0x00, /* mov esp, CODE + 24 */
	     0xe8, 6, 0, 0, 0,                   /* call CODE + 16 */
	     0xf4, 0x90, 0x90, 0x90, 0x90, 0x90,
	     0xeb, 0xfe, 0x90, 0x90, 0x90, 0x90, 0x90, 0x90);
	/* the pushed 0x1000a is or al, [rax] and more */
	start(CODE);
	cpu_run(c, 3);
	assert_int_equal(c->r[R_RIP], CODE + 18);
}

/* Data beside code in one page leaves the code alone. */
static void test_data_beside_code(void **state)
{
	(void)state;
	/* mov ecx,100; L: mov [CODE+0x800],ecx; dec ecx; jnz L; hlt */
	LOAD(CODE, 0xb9, 100, 0, 0, 0, 0x89, 0x0c, 0x25, 0x00, 0x08, 0x01, 0x00,
	     0xff, 0xc9, 0x75, 0xf5, 0xf4);
	assert_int_equal(run(CODE), -1);
	assert_int_equal(ram[CODE + 0x800], 1);
}

/* -- fetch ----------------------------------------------------------------------- */
static void test_fetch_across_page(void **state)
{
	const uint32_t end = CODE + 0x1000;

	(void)state;
	/* mov eax, imm32 with two bytes in the next page */
	LOAD(end - 3, 0xb8, 0x44, 0x33, 0x22, 0x11, 0xf4);
	assert_int_equal(run(end - 3), -1);
	assert_int_equal(c->r[R_RAX], 0x11223344);
	/* the far half changes */
	LOAD(end, 0x55, 0x66);
	assert_int_equal(run(end - 3), -1);
	assert_int_equal(c->r[R_RAX], 0x66553344);
	map(end, false);
	assert_int_equal(run(end - 3), EXC_PF);
	assert_int_equal(c->cr2, end);
	assert_int_equal(frame(1), end - 3);
	/* reached from a block before it */
	LOAD(end - 5, 0x90, 0x90);
	assert_int_equal(run(end - 5), EXC_PF);
	assert_int_equal(frame(1), end - 3);
	/* an instruction that ends with the page needs no other */
	LOAD(end - 1, 0x90);
	assert_int_equal(run(end - 1), EXC_PF);
	assert_int_equal(frame(1), end);
	map(end, true);
}

static void test_length_limit(void **state)
{
	uint8_t code[17];

	(void)state;
	memset(code, 0x66, sizeof code);
	code[14] = 0x90;
	code[15] = 0xf4;
	load(CODE, code, sizeof code);
	assert_int_equal(run(CODE), -1);
	code[14] = 0x66;
	code[15] = 0x90;
	load(CODE, code, sizeof code);
	assert_int_equal(run(CODE), EXC_GP);
	assert_int_equal(frame(0), 0);
	assert_int_equal(frame(1), CODE);
	/* too long, with the sixteenth byte where nothing is: still #GP */
	map(CODE + 0x1000, false);
	memset(code, 0x66, sizeof code);
	load(CODE + 0x1000 - 15, code, 15);
	assert_int_equal(run(CODE + 0x1000 - 15), EXC_GP);
	map(CODE + 0x1000, true);
}

static void test_lock(void **state)
{
	static const struct { uint8_t code[6]; int vector; } t[] = {
		{ { 0xf0, 0x90, 0xf4 }, EXC_UD },
		{ { 0xf0, 0x01, 0xc0, 0xf4 }, EXC_UD },       /* add eax, eax */
		{ { 0xf0, 0x01, 0x04, 0x24, 0xf4 }, -1 },     /* add [rsp], eax */
		{ { 0xf0, 0x39, 0x04, 0x24, 0xf4 }, EXC_UD }, /* cmp */
		{ { 0xf0, 0x03, 0x04, 0x24, 0xf4 }, EXC_UD }, /* add eax, [rsp] */
		{ { 0xf0, 0x8b, 0x04, 0x24, 0xf4 }, EXC_UD }, /* mov */
		{ { 0xf0, 0x87, 0x04, 0x24, 0xf4 }, -1 },     /* xchg */
		{ { 0xf0, 0xf6, 0x14, 0x24, 0xf4 }, -1 },     /* not */
	};

	(void)state;
	for (unsigned n = 0; n < sizeof t / sizeof t[0]; n++) {
		load(CODE, t[n].code, sizeof t[n].code);
		assert_int_equal(run(CODE), t[n].vector);
	}
}

/* -- faults and prefixes ------------------------------------------------------------ */
static void test_rep_restart(void **state)
{
	(void)state;
	/* mov esi,DATA; mov edi,DATA+0x1ff0; mov ecx,0x100; rep movsb; hlt */
	LOAD(CODE, 0xbe, 0x00, 0x00, 0x02, 0x00, 0xbf, 0xf0, 0x1f, 0x02, 0x00,
	     0xb9, 0x00, 0x01, 0x00, 0x00, 0xf3, 0xa4, 0xf4);
	map(DATA + 0x2000, false);
	assert_int_equal(run(CODE), EXC_PF);
	assert_int_equal(c->cr2, DATA + 0x2000);
	assert_int_equal(frame(0), 2);
	assert_int_equal(frame(1), CODE + 15);
	assert_int_equal(c->r[R_RCX], 0xf0);
	assert_int_equal(c->r[R_RSI], DATA + 0x10);
	assert_int_equal(c->r[R_RDI], DATA + 0x2000);
	map(DATA + 0x2000, true);
	c->r[R_RSP] += 8;
	LOAD(HANDLERS + 16 * EXC_PF, 0x48, 0xcf); /* iretq */
	c->r[R_RIP] = HANDLERS + 16 * EXC_PF;
	c->activity = ACT_ACTIVE;
	cpu_run(c, 100);
	LOAD(HANDLERS + 16 * EXC_PF, 0xf4);
	assert_int_equal(c->r[R_RIP], CODE + 18);
	assert_int_equal(c->r[R_RCX], 0);
}

/* Flags before a faulting load are exact although later code overwrites them. */
static void test_flags_at_fault(void **state)
{
	(void)state;
	/* cmp eax,1; mov rbx,[DATA]; add eax,1; hlt */
	LOAD(CODE, 0x83, 0xf8, 1, 0x48, 0x8b, 0x1c, 0x25, 0x00, 0x00, 0x02, 0x00,
	     0x83, 0xc0, 1, 0xf4);
	map(DATA, false);
	assert_int_equal(run(CODE), EXC_PF);
	assert_int_equal(frame(3) & FLAGS_ARITH,
			 FLAG_CF | FLAG_PF | FLAG_AF | FLAG_SF);
	map(DATA, true);
}

/* mov ecx,7; L: lea rax,[rax+rcx*2]; imul rax,rax,3; push rax; pop rdx;
 * xor rdx,rcx; rol rdx,5; cmp cl,3; sete bl; call F; dec ecx; jnz L; hlt;
 * F: mov esi,DATA; mov edi,DATA+0xff0; push rcx; mov ecx,40; rep movsb;
 * pop rcx; ret */
static void load_program(void)
{
	LOAD(CODE, 0xb9, 7, 0, 0, 0, 0x48, 0x8d, 0x04, 0x48, 0x48, 0x6b, 0xc0, 3,
	     0x50, 0x5a, 0x48, 0x31, 0xca, 0x48, 0xc1, 0xc2, 5, 0x80, 0xf9, 3,
	     0x0f, 0x94, 0xc3, 0xe8, 0x05, 0, 0, 0, 0xff, 0xc9, 0x75, 0xe0, 0xf4,
	     0xbe, 0x00, 0x00, 0x02, 0x00, 0xbf, 0xf0, 0x0f, 0x02, 0x00, 0x51,
	     0xb9, 40, 0, 0, 0, 0xf3, 0xa4, 0x59, 0xc3);
}

/* However a run is cut, it comes to the same state after the same count. */
static void test_cuts(void **state)
{
	uint64_t whole[R_COUNT], total;

	(void)state;
	load_program();
	start(CODE);
	total = cpu_run(c, 100000);
	assert_int_equal(c->activity, ACT_HLT);
	memcpy(whole, c->r, sizeof whole);
	for (uint64_t part = 1; part < 60; part++) {
		uint64_t n = 0;

		start(CODE);
		while (c->activity == ACT_ACTIVE) {
			uint64_t did = cpu_run(c, part);

			assert_true(did && did <= part);
			n += did;
		}
		assert_int_equal(n, total);
		assert_memory_equal(whole, c->r, sizeof whole);
	}
}

static void test_flush(void **state)
{
	uint64_t whole[R_COUNT];

	(void)state;
	load_program();
	start(CODE);
	cpu_run(c, 100000);
	memcpy(whole, c->r, sizeof whole);
	start(CODE);
	while (c->activity == ACT_ACTIVE) {
		cpu_run(c, 9);
		block_flush(c->blocks);
	}
	assert_memory_equal(whole, c->r, sizeof whole);
}

/* SDM 18.3.1.1: after MOV SS an instruction breakpoint is as if RF were set, for
 * that one instruction; other loads hold nothing back. */
static void test_breakpoint_after_mov_ss(void **state)
{
	static const uint8_t moves[2][2] = { { 0x8e, 0xd0 }, { 0x8e, 0xd8 } };

	(void)state;
	for (int ds = 0; ds < 2; ds++) {
		/* mov eax, ss; mov ss|ds, eax; CODE+4: xor eax, eax; hlt */
		LOAD(CODE, 0x8c, 0xd0, 0, 0, 0x31, 0xc0, 0xf4);
		load(CODE + 2, moves[ds], 2);
		c->dr[0] = CODE + 4;
		c->dr[7] = 0x402;
		cpu_update_mode(c);
		assert_int_equal(run(CODE), ds ? 1 : -1);
		if (ds)
			assert_int_equal(frame(0), CODE + 4);
	}
	/* The next but one is not held back. */
	LOAD(CODE, 0x8c, 0xd0, 0x8e, 0xd0, 0x31, 0xc0, 0x31, 0xc0, 0xf4);
	c->dr[0] = CODE + 6;
	assert_int_equal(run(CODE), 1);
	c->dr[7] = 0x400;
	cpu_update_mode(c);
}

/* -- instructions joined in pairs -------------------------------------------------- */
static uint32_t chance(uint32_t n)
{
	static uint64_t state = 0x9e3779b97f4a7c15;

	state = state * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(state >> 33) % n;
}

/* One instruction between registers RAX..RBX (R8..R11), or with an immediate. */
static unsigned random_insn(uint8_t *p)
{
	static const uint8_t rr[] = { 0x89, 0x01, 0x29, 0x31, 0x21, 0x09 };
	static const uint8_t group1[] = { 0xc0, 0xe8, 0xe0 };
	static const uint8_t group2[] = { 0xe0, 0xe8, 0xc0 };
	uint8_t rex = 0x40 | (chance(3) ? 8 : 0) | (chance(8) ? 0 : 5);
	uint8_t to = (uint8_t)chance(2), from = (uint8_t)chance(4);

	p[0] = rex;
	switch (chance(4)) {
	case 0:
		p[1] = 0x83;
		p[2] = group1[chance(3)] | to;
		p[3] = (uint8_t)chance(256);
		return 4;
	case 1:
		p[1] = 0xc1;
		p[2] = group2[chance(3)] | to;
		p[3] = (uint8_t)chance(256);
		return 4;
	case 2:
		p[1] = 0x0f;
		p[2] = 0xaf;
		p[3] = (uint8_t)(0xc0 | to << 3 | from);
		return 4;
	default:
		p[1] = rr[chance(6)];
		p[2] = (uint8_t)(0xc0 | from << 3 | to);
		return 3;
	}
}

/* A run of them as one block must end as it does one by one. */
static void test_pairs(void **state)
{
	enum { INSNS = 24 };
	uint64_t first[16], whole[16], flags;

	(void)state;
	for (int round = 0; round < 4000; round++) {
		uint8_t code[4 * INSNS + 3];
		unsigned len = 0;

		for (int n = 0; n < INSNS; n++)
			len += random_insn(code + len);
		memcpy(code + len, "\x85\xc0\xf4", 3); /* test eax, eax; hlt */
		load(CODE, code, len + 3);
		for (int n = 0; n < 16; n++)
			first[n] = chance(~0u) * 0x100000001ull * chance(~0u);
		first[R_RSP] = STACK;
		start(CODE);
		memcpy(c->r, first, sizeof first);
		assert_int_equal(cpu_run(c, 1000), INSNS + 2);
		memcpy(whole, c->r, sizeof whole);
		flags = cpu_rflags(c);
		start(CODE);
		memcpy(c->r, first, sizeof first);
		for (int n = 0; n < INSNS + 2; n++)
			assert_int_equal(cpu_run(c, 1), 1);
		assert_memory_equal(whole, c->r, sizeof whole);
		assert_int_equal(flags, cpu_rflags(c));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_next_insn_patched),
		cmocka_unit_test(test_patched_loop),
		cmocka_unit_test(test_call_over_code),
		cmocka_unit_test(test_data_beside_code),
		cmocka_unit_test(test_fetch_across_page),
		cmocka_unit_test(test_length_limit),
		cmocka_unit_test(test_lock),
		cmocka_unit_test(test_rep_restart),
		cmocka_unit_test(test_flags_at_fault),
		cmocka_unit_test(test_cuts),
		cmocka_unit_test(test_flush),
		cmocka_unit_test(test_breakpoint_after_mov_ss),
		cmocka_unit_test(test_pairs),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
