/* entries.c: what the core leaves out of its hot paths, seen by a guest: checks of
 * a VM entry that were made before, flushes of an untagged TLB, the ordinary way
 * of VMREAD and VMWRITE.  Runs in L1 on the machine of bench/guest; each test
 * first repeats the good case, so that all there is to remember is remembered. */
#include "guest.h"

enum { REASON_CPUID = 10, REASON_VMREAD = 23, REASON_VMWRITE = 25,
       FAILED_ENTRY = 0x80000021 };
enum { ERR_CONTROLS = 7, ERR_HOST = 8, ERR_NO_FIELD = 12, ERR_READ_ONLY = 13 };
enum { GOOD = 0, GUEST = 33 }; /* beside ERR_CONTROLS and ERR_HOST */
#define NON_CANONICAL 0x8000000000000000ull

static unsigned failures, tests;
static struct l2 l2;
static uint64_t stack[512] __attribute__((aligned(4096)));
static uint8_t pages[4][PAGE] __attribute__((aligned(4096)));

static void check(bool good, const char *what, uint64_t field, uint64_t got)
{
	tests++;
	if (good)
		return;
	failures++;
	say("FAIL ");
	say(what);
	say_number(" ", field, 16);
	say_number(": ", got, 16);
	say("\n");
}

/* -- VM entries ---------------------------------------------------------------------- */
/* L2: whatever R12 points to; these end in CPUID. */
#define L2_CODE(name, text)						\
extern uint8_t name[];							\
__asm__(".text\n.globl " #name "\n" #name ":\n" text "1: cpuid\njmp 1b\n")
L2_CODE(just_cpuid, "");
L2_CODE(sti_cpuid, "sti\n");
L2_CODE(load_fs, "movl $16, %eax\nmovl %eax, %fs\n");
L2_CODE(set_byte, "movb $77, (%rdi)\n");
L2_CODE(read_byte, "movzbl (%rdi), %eax\nmovq %rax, %r13\n");
L2_CODE(do_vmread, "movq $-1, %r13\nvmread %rdi, %r13\n");
L2_CODE(do_vmwrite, "vmwrite %rsi, %rdi\n");

/* How the entry ended: GOOD, an instruction error, or GUEST. */
static uint64_t enter(void)
{
	l2.reason = 0;
	if (!vm_enter(&l2))
		return vmx_get(VM_INSTRUCTION_ERROR);
	return l2.reason == FAILED_ENTRY ? GUEST : GOOD;
}

static void run_l2(const void *code, uint64_t rdi, uint64_t rsi, uint64_t reason)
{
	l2.r[7] = rdi;
	l2.r[6] = rsi;
	vmx_set(GUEST_RIP, (uint64_t)code);
	vmx_set(GUEST_RSP, (uint64_t)(stack + 512));
	if (enter() != GOOD || l2.reason != reason) {
		say_number("L2 ended with ", l2.reason, 16);
		give_up(" instead");
	}
}

static void fresh(bool shadow)
{
	vmx_prepare(shadow);
	for (unsigned n = 0; n < sizeof l2 / 8; n++)
		((uint64_t *)&l2)[n] = 0;
	l2.step_over = ~0ull;
	for (unsigned n = 0; n < 3; n++)
		run_l2(just_cpuid, 0, 0, REASON_CPUID);
}

static const struct bad {
	uint64_t field, value;
	unsigned end;
} bads[] = {
	{ PIN_BASED_VM_EXEC_CONTROL, 0xffffffff, ERR_CONTROLS },
	{ PIN_BASED_VM_EXEC_CONTROL, 0, ERR_CONTROLS },
	{ CPU_BASED_VM_EXEC_CONTROL, 0, ERR_CONTROLS },
	{ SECONDARY_VM_EXEC_CONTROL, 0xffffffff, ERR_CONTROLS },
	{ SECONDARY_VM_EXEC_CONTROL, 1u << 7 | 1u << 5, ERR_CONTROLS },
	{ VM_EXIT_CONTROLS, 0, ERR_CONTROLS },
	{ VM_ENTRY_CONTROLS, 0xffffffff, ERR_CONTROLS },
	{ CR3_TARGET_COUNT, 0x1ff, ERR_CONTROLS },
	{ VIRTUAL_PROCESSOR_ID, 0, ERR_CONTROLS },
	{ EPT_POINTER, 0x1000, ERR_CONTROLS },
	{ EPT_POINTER, 0xfff000000000101eull, ERR_CONTROLS },
	{ VM_ENTRY_INTR_INFO_FIELD, 0x80000120, ERR_CONTROLS },
	{ VM_ENTRY_INTR_INFO_FIELD, 0x80000303, GOOD }, /* #BP as hardware exc. */
	{ HOST_CR0, 0, ERR_HOST },
	{ HOST_CR4, 0, ERR_HOST },
	{ HOST_CR3, 1ull << 62, ERR_HOST },
	{ HOST_CS_SELECTOR, 0, ERR_HOST },
	{ HOST_TR_SELECTOR, 0, ERR_HOST },
	{ HOST_DS_SELECTOR, 17, ERR_HOST },
	{ HOST_FS_BASE, NON_CANONICAL, ERR_HOST },
	{ HOST_GDTR_BASE, NON_CANONICAL, ERR_HOST },
	{ HOST_IA32_SYSENTER_ESP, NON_CANONICAL, ERR_HOST },
	{ GUEST_CR0, 0, GUEST },
	{ GUEST_CR4, 0, GUEST },
	{ GUEST_CR3, 1ull << 62, GUEST },
	{ GUEST_RIP, NON_CANONICAL, GUEST },
	{ GUEST_RFLAGS, 0, GUEST },
	{ GUEST_RFLAGS, 0x20002, GUEST },
	{ GUEST_RFLAGS, 0x8000000002, GUEST },
	{ GUEST_CS_AR_BYTES, 0xc09b | 0x2000, GUEST },
	{ GUEST_CS_AR_BYTES, 0, GUEST },
	{ GUEST_SS_AR_BYTES, 0xc093 | 0x60, GUEST },
	{ GUEST_DS_AR_BYTES, 0xc093 & ~0x80, GUEST },
	{ GUEST_ES_LIMIT, 0xfff00000, GUEST },
	{ GUEST_TR_AR_BYTES, 0x10000, GUEST },
	{ GUEST_TR_AR_BYTES, 0x89, GUEST },
	{ GUEST_LDTR_AR_BYTES, 0x89, GUEST },
	{ GUEST_FS_BASE, NON_CANONICAL, GUEST },
	{ GUEST_TR_BASE, NON_CANONICAL, GUEST },
	{ GUEST_GDTR_BASE, NON_CANONICAL, GUEST },
	{ GUEST_IDTR_LIMIT, 0x10000, GUEST },
	{ GUEST_SYSENTER_EIP, NON_CANONICAL, GUEST },
	{ GUEST_ACTIVITY_STATE, 7, GUEST },
	{ GUEST_INTERRUPTIBILITY_INFO, 3, GUEST },
	{ GUEST_INTERRUPTIBILITY_INFO, 1, GUEST }, /* STI without IF */
	{ GUEST_PENDING_DBG_EXCEPTIONS, 1ull << 20, GUEST },
	{ VMCS_LINK_POINTER, 1, GUEST },
};

/* Good, bad, good again; and bad at once after bad. */
static void one_bad(const struct bad *b)
{
	uint64_t good = vmx_get(b->field);

	for (unsigned n = 0; n < 2; n++) {
		vmx_set(b->field, b->value);
		check(enter() == b->end, "bad entry", b->field, vmx_get(b->field));
		if (b->end != GOOD)
			check(enter() == b->end, "bad again", b->field, l2.reason);
		vmx_set(b->field, good);
		check(enter() == GOOD && l2.reason == REASON_CPUID, "good entry",
		      b->field, vmx_get(VM_INSTRUCTION_ERROR));
	}
}

static void test_checks(void)
{
	fresh(false);
	for (unsigned n = 0; n < sizeof bads / sizeof *bads; n++)
		if (bads[n].end != GOOD)
			one_bad(&bads[n]);
}

/* An exit saves state that the next entry's checks rest on: L1 makes a part of it
 * wrong that none had looked at before.  Comes first: what was ever looked at is
 * remembered. */
static void test_saved(void)
{
	vmx_prepare(false);
	l2.step_over = ~0ull;
	vmx_set(GUEST_FS_AR_BYTES, 0x10000); /* unusable: no limit to look at */
	for (unsigned n = 0; n < 3; n++)
		run_l2(just_cpuid, 0, 0, REASON_CPUID);
	run_l2(load_fs, 0, 0, REASON_CPUID);
	check(vmx_get(GUEST_FS_AR_BYTES) == 0xc093, "FS", GUEST_FS_AR_BYTES,
	      vmx_get(GUEST_FS_AR_BYTES));
	vmx_set(GUEST_FS_LIMIT, 0xfff00000);
	check(enter() == GUEST, "FS limit", GUEST_FS_LIMIT, l2.reason);
	fresh(false);
	run_l2(sti_cpuid, 0, 0, REASON_CPUID);
	check(vmx_get(GUEST_INTERRUPTIBILITY_INFO) == 1, "STI shadow",
	      GUEST_INTERRUPTIBILITY_INFO, vmx_get(GUEST_INTERRUPTIBILITY_INFO));
	check(vmx_get(GUEST_RFLAGS) & 0x200, "IF", GUEST_RFLAGS,
	      vmx_get(GUEST_RFLAGS));
	vmx_set(GUEST_RFLAGS, 2);
	check(enter() == GUEST, "STI shadow without IF", GUEST_RFLAGS, l2.reason);
	vmx_set(GUEST_INTERRUPTIBILITY_INFO, 0);
	check(enter() == GOOD, "neither", GUEST_RFLAGS, l2.reason);
}

/* Another VMCS and back: what was remembered is of no use. */
static void test_capabilities(void)
{
	fresh(false);
	vmx_set(HOST_CR4, 0);
	fresh(false);
	check(enter() == GOOD, "fresh VMCS", HOST_CR4, vmx_get(HOST_CR4));
}

/* -- the TLB without VPID --------------------------------------------------------------- */
static uint64_t *entry_of(const void *p, unsigned level)
{
	uint64_t *table = (uint64_t *)root, lin = (uint64_t)p;

	for (unsigned l = 4; l > level; l--)
		table = (uint64_t *)(table[lin >> (12 + 9 * (l - 1)) & 511] &
				     0xffffffffff000ull);
	return &table[lin >> (12 + 9 * (level - 1)) & 511];
}

static volatile uint8_t *byte(unsigned page)
{
	return pages[page];
}

static void no_vpid(void)
{
	fresh(false);
	vmx_set(SECONDARY_VM_EXEC_CONTROL,
		vmx_get(SECONDARY_VM_EXEC_CONTROL) & ~(1u << 5));
	for (unsigned n = 0; n < 20; n++)
		run_l2(just_cpuid, 0, 0, REASON_CPUID);
}

/* A transition has to make every change of the tables seen, without INVLPG. */
static void test_flush(void)
{
	uint64_t *pte = entry_of(pages[0], 1), *pde = entry_of(pages[0], 2);
	static uint64_t other[512] __attribute__((aligned(4096)));
	uint64_t old = *pte, old_pde = *pde, *twin = (uint64_t *)(old_pde & ~0xfffull);

	no_vpid();
	for (unsigned n = 0; n < 4; n++)
		*byte(n) = (uint8_t)(10 + n);
	for (unsigned n = 0; n < 100; n++) {
		unsigned to = n % 3 + 1;

		check(*byte(0) == 10, "mapped", n, *byte(0));
		*pte = (uint64_t)pages[to] | 3;
		run_l2(read_byte, (uint64_t)pages[0], 0, REASON_CPUID);
		check(l2.r[13] == 10u + to, "L2 sees a new PTE", n, l2.r[13]);
		check(*byte(0) == 10 + to, "L1 sees a new PTE", n, *byte(0));
		*pte = old;
		run_l2(just_cpuid, 0, 0, REASON_CPUID);
		check(*byte(0) == 10, "L1 sees the old PTE", n, *byte(0));
		if (n % 10)
			continue;
		/* another page table under the same directory */
		for (unsigned k = 0; k < 512; k++)
			other[k] = twin[k];
		other[pte - twin] = (uint64_t)pages[to] | 3;
		*pde = (uint64_t)other | 3;
		run_l2(read_byte, (uint64_t)pages[0], 0, REASON_CPUID);
		check(l2.r[13] == 10u + to, "L2 sees a new PDE", n, l2.r[13]);
		*pde = old_pde;
		run_l2(read_byte, (uint64_t)pages[0], 0, REASON_CPUID);
		check(l2.r[13] == 10, "L2 sees the old PDE", n, l2.r[13]);
	}
	/* L2 changes an entry itself: byte 1 of it, which is of the address. */
	*pte = old;
	run_l2(just_cpuid, 0, 0, REASON_CPUID);
	check(*byte(0) == 10, "before L2's change", 0, *byte(0));
	run_l2(set_byte, (uint64_t)pte + 1, 0, REASON_CPUID);
	check((*pte & ~0x60ull) == ((old & ~0xff60ull) | 77 << 8), "L2's change", 0,
	      *pte);
	*pte = old;
	run_l2(just_cpuid, 0, 0, REASON_CPUID);
	/* Accessed and dirty flags that were cleared come back. */
	*pte = old & ~0x60ull;
	run_l2(set_byte, (uint64_t)pages[0], 0, REASON_CPUID);
	check((*pte & 0x60) == 0x60 && *byte(0) == 77, "A and D", 0, *pte);
}

/* -- VMREAD, VMWRITE -------------------------------------------------------------------------- */
enum outcome { SUCCEED, FAIL_INVALID, FAIL_VALID };

static enum outcome outcome(bool cf, bool zf)
{
	return cf ? FAIL_INVALID : zf ? FAIL_VALID : SUCCEED;
}

static enum outcome raw_read(uint64_t field, uint64_t *v)
{
	bool cf, zf;

	__asm__ volatile ("vmread %3, %2" : "=@ccc" (cf), "=@ccz" (zf), "+r" (*v)
			  : "r" (field));
	return outcome(cf, zf);
}

static enum outcome raw_write(uint64_t field, uint64_t v)
{
	bool cf, zf;

	__asm__ volatile ("vmwrite %3, %2" : "=@ccc" (cf), "=@ccz" (zf)
			  : "r" (field), "r" (v));
	return outcome(cf, zf);
}

/* Every field keeps its width and leaves its neighbours alone. */
static void test_widths(void)
{
	static const uint16_t fields[] = {
		GUEST_ES_SELECTOR, GUEST_CS_SELECTOR, GUEST_SS_SELECTOR,
		HOST_ES_SELECTOR, HOST_CS_SELECTOR,
		EXCEPTION_BITMAP, PAGE_FAULT_ERROR_CODE_MASK,
		GUEST_ES_LIMIT, GUEST_CS_LIMIT, GUEST_SYSENTER_CS,
		TSC_OFFSET, MSR_BITMAP, GUEST_CR3, GUEST_RSP, GUEST_RIP, HOST_RSP };
	enum { N = sizeof fields / sizeof *fields };
	static const uint64_t masks[] = { 0xffff, ~0ull, 0xffffffff, ~0ull };

	for (unsigned n = 0; n < N; n++)
		vmx_set(fields[n], 0);
	for (unsigned n = 0; n < N; n++) {
		uint64_t v = 0x123456789abcdef0ull * (2 * n + 1), got = ~0ull;

		vmx_set(fields[n], v);
		raw_read(fields[n], &got);
		check(got == (v & masks[fields[n] >> 13 & 3]), "width", fields[n],
		      got);
		for (unsigned k = 0; k < N; k++)
			if (k != n)
				check(vmx_get(fields[k]) == 0, "neighbour",
				      fields[k], vmx_get(fields[k]));
		vmx_set(fields[n], 0);
	}
	vmx_set(TSC_OFFSET, 0x1122334455667788);
	check(vmx_get(TSC_OFFSET + 1) == 0x11223344, "high half", TSC_OFFSET + 1,
	      vmx_get(TSC_OFFSET + 1));
	vmx_set(TSC_OFFSET + 1, 0xffffffff99999999);
	check(vmx_get(TSC_OFFSET) == 0x9999999955667788, "high half set",
	      TSC_OFFSET, vmx_get(TSC_OFFSET));
}

static void no_field(uint64_t field)
{
	uint64_t v = 5;

	check(raw_read(field, &v) == FAIL_VALID && v == 5 &&
	      vmx_get(VM_INSTRUCTION_ERROR) == ERR_NO_FIELD, "no such field",
	      field, v);
	vmx_set(GUEST_RSP, 0);
	check(raw_write(field, 5) == FAIL_VALID &&
	      vmx_get(VM_INSTRUCTION_ERROR) == ERR_NO_FIELD, "no such field",
	      field, 0);
}

static void test_vmrw(void)
{
	static uint8_t dead[PAGE] __attribute__((aligned(4096)));
	uint64_t v = 5, at = (uint64_t)dead;
	bool may_write = read_msr(0x485) >> 29 & 1;
	enum outcome o;

	vmx_prepare(false);
	test_widths();
	no_field(0x07fe);
	no_field(GUEST_RIP | 1);        /* a high half of a natural-width field */
	no_field(GUEST_RIP | 1u << 12); /* reserved bits */
	no_field(GUEST_RIP | 1u << 15);
	no_field(GUEST_RIP | 1ull << 16);
	no_field(GUEST_RIP | 1ull << 32);
	no_field(GUEST_RIP | 1ull << 63);
	o = raw_write(VM_EXIT_REASON, 5);
	check(o == (may_write ? SUCCEED : FAIL_VALID) &&
	      (may_write || vmx_get(VM_INSTRUCTION_ERROR) == ERR_READ_ONLY),
	      "read-only field", VM_EXIT_REASON, o);
	*(uint32_t *)dead = (uint32_t)read_msr(0x480) & 0x7fffffff;
	__asm__ volatile ("vmptrld %0\n\tvmclear %0" : : "m" (at) : "cc", "memory");
	check(raw_read(GUEST_RIP, &v) == FAIL_INVALID && v == 5, "no VMCS",
	      GUEST_RIP, v);
	check(raw_write(GUEST_RIP, 5) == FAIL_INVALID, "no VMCS", GUEST_RIP, 5);
}

/* In L2: the bitmaps decide, field by field. */
static void test_shadow(void)
{
	uint8_t *reads, *writes;

	if (vmx_unable(true, true)) {
		say("no VMCS shadowing\n");
		return;
	}
	fresh(true);
	reads = (uint8_t *)vmx_get(VMREAD_BITMAP);
	writes = (uint8_t *)vmx_get(VMWRITE_BITMAP);
	for (unsigned n = 0; n < 3; n++) {
		uint64_t rsp = vmx_get(GUEST_RSP), bit = 1u << (GUEST_RSP & 7);

		run_l2(do_vmwrite, GUEST_RSP, 0x4321 + n, REASON_CPUID);
		run_l2(do_vmread, GUEST_RSP, 0, REASON_CPUID);
		check(l2.r[13] == 0x4321 + n, "shadow", GUEST_RSP, l2.r[13]);
		check(vmx_get(GUEST_RSP) == rsp, "L1's own", GUEST_RSP,
		      vmx_get(GUEST_RSP));
		reads[GUEST_RSP / 8] |= bit;
		run_l2(do_vmread, GUEST_RSP, 0, REASON_VMREAD);
		run_l2(do_vmwrite, GUEST_RSP, 7, REASON_CPUID);
		reads[GUEST_RSP / 8] &= ~bit;
		writes[GUEST_RSP / 8] |= bit;
		run_l2(do_vmwrite, GUEST_RSP, 8, REASON_VMWRITE);
		run_l2(do_vmread, GUEST_RSP, 0, REASON_CPUID);
		check(l2.r[13] == 7, "shadow", GUEST_RSP, l2.r[13]);
		writes[GUEST_RSP / 8] &= ~bit;
		run_l2(do_vmread, 1ull << 15 | GUEST_RSP, 0, REASON_VMREAD);
	}
	vmx_set(VMCS_LINK_POINTER, ~0ull); /* VMfailInvalid without a shadow */
	run_l2(do_vmread, GUEST_RSP, 0, REASON_CPUID);
	check(l2.r[13] == ~0ull, "no shadow VMCS", GUEST_RSP, l2.r[13]);
}

int guest_main(const uint32_t *info)
{
	(void)info;
	init_machine();
	if (vmx_unable(true, false))
		give_up("no VMX");
	test_saved();
	test_checks();
	test_capabilities();
	test_flush();
	test_vmrw();
	test_shadow();
	say_number("entries: ", tests, 10);
	say_number(" tests, failures: ", failures, 10);
	say(failures ? "\nDONE fail\n" : "\nDONE ok\n");
	drain();
	return failures != 0;
}
