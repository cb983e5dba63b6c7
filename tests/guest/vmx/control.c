/* control.c: instructions and time under VM-execution controls, and what an exit
 * writes and what it leaves.
 */
#include "guest.h"

#define SEC_PLE (1u << 10)
#define SEC_XSAVES (1u << 20)
#define SEC_TSC_SCALING (1u << 25)
#define SEC_USER_WAIT (1u << 26)
#define PROC_TSC_OFFSET (1u << 3)
#define PROC_RDTSC (1u << 12)
#define PROC VMCS_CPU_BASED_VM_EXEC_CONTROL
#define CR4_OSXSAVE (1ull << 18)
#define IA32_XSS 0xda0

/* -- what an exit writes ----------------------------------------------------------- */
static void l2_cpuid(void)
{
	cpuid(0, 0, 0);
	vmcall();
}

static void test_exit_fields(void)
{
	static const struct { u32 field; u64 before, after; } f[] = {
		{ VMCS_EXIT_QUALIFICATION, 0x1111111111111111, 0 },
		{ VMCS_VM_EXIT_INSTRUCTION_LEN, 0x22, 2 },
		{ VMCS_VM_EXIT_INTR_INFO, 0x80000333, 0 },
		{ VMCS_IDT_VECTORING_INFO_FIELD, 0x80000444, 0 },
		/* Undefined after this exit, so left alone. */
		{ VMCS_VM_EXIT_INTR_ERROR_CODE, 0x55, 0x55 },
		{ VMCS_IDT_VECTORING_ERROR_CODE, 0x66, 0x66 },
		{ VMCS_VMX_INSTRUCTION_INFO, 0x77, 0x77 },
		{ VMCS_GUEST_LINEAR_ADDRESS, 0x8888, 0x8888 },
		{ VMCS_GUEST_PHYSICAL_ADDRESS, 0x9999, 0x9999 },
		{ VMCS_VM_INSTRUCTION_ERROR, 0xa, 0xa },
	};
	const unsigned n = sizeof f / sizeof *f;

	if (!(rdmsr(0x485) >> 29 & 1) || !setup(l2_cpuid, 0)) {
		print("skipped: exit information\n", 0, 0);
		return;
	}
	for (unsigned i = 0; i < n; i++)
		vmwrite(f[i].field, f[i].before);
	CHECK_EQ(run(), EXIT_CPUID);
	for (unsigned i = 0; i < n; i++)
		if (vmread(f[i].field) != f[i].after) {
			print("field %x: ", f[i].field, 0);
			CHECK_EQ(vmread(f[i].field), f[i].after);
		}
}

/* -- time ------------------------------------------------------------------------------ */
static void l2_time(void)
{
	u64 t = rdtsc();

	__asm__ volatile("mov %0, %%rbx; vmcall" : : "r"(t) : "rbx", "memory");
}

static void test_tsc_scaling(void)
{
	const u64 offset = 0xfffffff000000000;
	/* x 2.75, in 16.48 fixed point */
	const u64 multiplier = 0x2c00000000000;
	u64 before, after;

	if (!setup(l2_time, SEC_TSC_SCALING) ||
	    !control(PROC, PROC_TSC_OFFSET)) {
		print("skipped: TSC scaling\n", 0, 0);
		return;
	}
	vmwrite(VMCS_TSC_MULTIPLIER, multiplier);
	vmwrite(VMCS_TSC_OFFSET, offset);
	before = rdtsc();
	CHECK_EQ(run(), EXIT_VMCALL);
	after = rdtsc();
	CHECK(l2_regs[RBX] - offset >= before * 11 / 4);
	CHECK(l2_regs[RBX] - offset <= after * 11 / 4);
	CHECK(after - before < 2000);
}

/* -- PAUSE loops ------------------------------------------------------------------------- */
static void l2_pause(void)
{
	for (unsigned i = 0; i < 3000; i++)
		__builtin_ia32_pause();
	vmcall();
}

/* Every PAUSE farther from the last than the gap. */
static void l2_pause_slow(void)
{
	for (unsigned i = 0; i < 300; i++) {
		for (volatile unsigned k = 0; k < 30; k++)
			;
		__builtin_ia32_pause();
	}
	vmcall();
}

static void test_pause_loop(void)
{
	u64 start;

	if (!setup(l2_pause, SEC_PLE)) {
		print("skipped: PAUSE loops\n", 0, 0);
		return;
	}
	vmwrite(VMCS_PLE_GAP, 40);
	vmwrite(VMCS_PLE_WINDOW, 1000);
	start = rdtsc();
	CHECK_EQ(run(), EXIT_PAUSE);
	CHECK(rdtsc() - start > 1000);
	/* The window begins again with the entry. */
	start = rdtsc();
	CHECK_EQ(run(), EXIT_PAUSE);
	CHECK(rdtsc() - start > 1000);
	vmwrite(VMCS_PLE_WINDOW, 1000000);
	CHECK_EQ(run(), EXIT_VMCALL);
	vmwrite(VMCS_PLE_WINDOW, 1000);
	vmwrite(VMCS_GUEST_RIP, (u64)l2_pause_slow);
	CHECK_EQ(run(), EXIT_VMCALL);
}

/* -- XSAVES and XRSTORS --------------------------------------------------------------------- */
/* Both with the mask in EDX:EAX, memory at RDI. */
static void l2_xsaves(void)
{
	__asm__ volatile(".byte 0x48, 0x0f, 0xc7, 0x2f\n\t"
			 "vmcall\n\t"
			 ".byte 0x48, 0x0f, 0xc7, 0x1f\n\t"
			 "vmcall" : : : "memory");
}

static u32 xsaves(u32 low, u64 rip)
{
	l2_regs[RAX] = low;
	l2_regs[RDX] = 0;
	l2_regs[RDI] = AREA_PAGE(70);
	vmwrite(VMCS_GUEST_RIP, rip);
	return run();
}

static void test_xsaves(void)
{
	u64 cr4, f = (u64)l2_xsaves, xss = 0x1800;

	if (!setup(l2_xsaves, 0))
		return;
	if (!(cpuid(0xd, 1, 0) >> 3 & 1)) {
		print("skipped: XSAVES\n", 0, 0);
		return;
	}
	xss &= cpuid(0xd, 1, 2);
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_OSXSAVE));
	wrmsr(IA32_XSS, xss);
	fill((void *)AREA_PAGE(70), 0, PAGE);
	vmwrite(VMCS_GUEST_CR4, cr4 | CR4_OSXSAVE);
	vmwrite(VMCS_HOST_CR4, cr4 | CR4_OSXSAVE);
	/* Without the control they are undefined. */
	vmwrite(VMCS_EXCEPTION_BITMAP, 1u << 6);
	CHECK_EQ(xsaves(1, f), EXIT_EXCEPTION);
	CHECK_EQ(vmread(VMCS_VM_EXIT_INTR_INFO), 0x80000306);
	if (!control(VMCS_SECONDARY_VM_EXEC_CONTROL, SEC_XSAVES))
		return;
	CHECK_EQ(xsaves(1, f), EXIT_VMCALL);
	/* An exit needs a bit in the mask, in IA32_XSS and in the bitmap. */
	vmwrite(VMCS_XSS_EXIT_BITMAP, 0x800);
	CHECK_EQ(xsaves(0x1001, f), EXIT_VMCALL);
	CHECK_EQ(xsaves(0x801, f), xss & 0x800 ? EXIT_XSAVES : EXIT_VMCALL);
	if (xss & 0x800) {
		CHECK_EQ(vmread(VMCS_VM_EXIT_INSTRUCTION_LEN), 4);
		/* [rdi]: base 7, no index, 64-bit addresses, DS */
		CHECK_EQ(vmread(VMCS_VMX_INSTRUCTION_INFO) & 0x0fc38380,
			 7u << 23 | 1u << 22 | 3u << 15 | 2u << 7);
		CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), 0);
		CHECK_EQ(xsaves(0x801, f + 7), EXIT_XSAVES + 1);
	}
	vmwrite(VMCS_XSS_EXIT_BITMAP, ~0x1800ull);
	CHECK_EQ(xsaves(0x1801, f), EXIT_VMCALL);
	wrmsr(IA32_XSS, 0);
	vmwrite(VMCS_XSS_EXIT_BITMAP, ~0ull);
	CHECK_EQ(xsaves(1, f), EXIT_VMCALL);
}

/* -- UMWAIT and TPAUSE ------------------------------------------------------------------------- */
static void l2_wait(void)
{
	__asm__ volatile("xor %%eax, %%eax\n\t"
			 "xor %%edx, %%edx\n\t"
			 "mov %0, %%edi\n\t"
			 ".byte 0xf3, 0x0f, 0xae, 0xf7\n\t" /* UMONITOR EDI */
			 ".byte 0xf2, 0x0f, 0xae, 0xf3\n\t" /* UMWAIT EBX */
			 ".byte 0x66, 0x0f, 0xae, 0xf6\n\t" /* TPAUSE ESI */
			 "vmcall" : : "i"(AREA) : "rax", "rdx", "rdi");
}

static void test_user_wait(void)
{
	if (!setup(l2_wait, 0))
		return;
	if (!(cpuid(7, 0, 2) >> 5 & 1) ||
	    !(rdmsr(0x48b) >> 32 & SEC_USER_WAIT)) {
		print("skipped: UMWAIT\n", 0, 0);
		return;
	}
	vmwrite(VMCS_EXCEPTION_BITMAP, 1u << 6);
	CHECK_EQ(run(), EXIT_EXCEPTION);
	CHECK_EQ(vmread(VMCS_VM_EXIT_INTR_INFO), 0x80000306);
	control(VMCS_SECONDARY_VM_EXEC_CONTROL, SEC_USER_WAIT);
	vmwrite(VMCS_GUEST_RIP, (u64)l2_wait);
	CHECK_EQ(run(), EXIT_VMCALL);
	control(PROC, PROC_RDTSC);
	vmwrite(VMCS_GUEST_RIP, (u64)l2_wait);
	CHECK_EQ(run(), EXIT_UMWAIT);
	CHECK_EQ(vmread(VMCS_VM_EXIT_INSTRUCTION_LEN), 4);
	CHECK_EQ(vmread(VMCS_VMX_INSTRUCTION_INFO) & 0x1878, 3u << 3 | 1u << 11);
	skip();
	CHECK_EQ(run(), EXIT_TPAUSE);
	CHECK_EQ(vmread(VMCS_VMX_INSTRUCTION_INFO) & 0x1878, 6u << 3 | 1u << 11);
	skip();
	CHECK_EQ(run(), EXIT_VMCALL);
}

void test_control(void)
{
	test_exit_fields();
	test_tsc_scaling();
	test_pause_loop();
	test_xsaves();
	test_user_wait();
}
