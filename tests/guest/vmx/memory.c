/* memory.c: what lies below L2's memory: EPT views, modification log, #VE, sub-page
 * permissions, execution by mode, the APIC-access page, events that meet a hole.
 */
#include "guest.h"

#define SEC_APIC_ACCESS 1u
#define SEC_VMFUNC (1u << 13)
#define SEC_PML (1u << 17)
#define SEC_VE (1u << 18)
#define SEC_MBEC (1u << 22)
#define SEC_SPP (1u << 23)
#define EPTP_AD 0x40ull
#define EPT_XU 0x400ull
#define EPT_SPP (1ull << 61)
#define EPT_SUPPRESS_VE (1ull << 63)

/* Qualification of an EPT violation. */
enum { Q_R = 1, Q_W = 2, Q_X = 4, Q_MAY_R = 8, Q_MAY_W = 16, Q_MAY_X = 32,
       Q_MAY_XU = 64, Q_FINAL = 0x180, Q_USER = 0x200, Q_WRITABLE = 0x400 };

/* All L2's linear addresses are writable, and the ALIAS ones user-mode. */
static u64 q(u64 access, u64 rights, bool user)
{
	u64 more = rdmsr(0x48c) >> 22 & 1 ? Q_WRITABLE | (user ? Q_USER : 0) : 0;

	return access | rights | Q_FINAL | more;
}

/* -- page-modification log ----------------------------------------------------------- */
static void l2_log(void)
{
	touch(AREA_PAGE(3));
	touch(AREA_PAGE(5));
	(void)*(volatile u8 *)AREA_PAGE(7);
	touch(AREA_PAGE(3));
	vmcall();
	touch(AREA_PAGE(9));        /* the last entry of the log */
	touch(AREA_PAGE(11));       /* no room */
	vmcall();
	(void)*(volatile u8 *)AREA_PAGE(13);
	vmcall();
}

/* Writes to one page, and lets L1 clear its dirty flag, again and again. */
static void l2_dirty(void)
{
	for (;;) {
		touch(AREA_PAGE(3));
		vmcall();
	}
}

/* Combined mappings of VPID 0 do not outlive an entry, so that a cleared flag is set
 * and logged again, INVEPT or not.  (A CPU might know better from guest-physical
 * mappings; this one does not keep them, nor does KVM.) */
static void test_pml_again(void)
{
	if (!setup(l2_dirty, SEC_PML))
		return;
	vmwrite(VMCS_EPT_POINTER, eptp | EPTP_AD);
	vmwrite(VMCS_PML_ADDRESS, (u64)scratch(0));
	vmwrite(VMCS_GUEST_PML_INDEX, 511);
	for (unsigned n = 0; n < 4; n++) {
		u64 index = vmread(VMCS_GUEST_PML_INDEX);

		CHECK_EQ(run(), EXIT_VMCALL);
		CHECK_EQ(ept_area[3] & EPT_D, EPT_D);
		CHECK(vmread(VMCS_GUEST_PML_INDEX) < index);
		ept_area[3] &= ~(EPT_A | EPT_D);
		skip();
	}
}

static void test_pml(void)
{
	u64 *log = (u64 *)scratch(0);

	if (!setup(l2_log, SEC_PML)) {
		print("skipped: page-modification log\n", 0, 0);
		return;
	}
	vmwrite(VMCS_EPT_POINTER, eptp | EPTP_AD);
	vmwrite(VMCS_PML_ADDRESS, (u64)log);
	vmwrite(VMCS_GUEST_PML_INDEX, 511);
	CHECK_EQ(run(), EXIT_VMCALL);
	/* First the 2 MiB page of the page tables and the stack; then the writes,
	 * once each. */
	CHECK_EQ(log[511] >> 21, 1);
	CHECK_EQ(log[510], AREA_PAGE(3));
	CHECK_EQ(log[509], AREA_PAGE(5));
	CHECK_EQ(vmread(VMCS_GUEST_PML_INDEX), 508);
	CHECK_EQ(ept_area[3] & (EPT_A | EPT_D), EPT_A | EPT_D);
	CHECK_EQ(ept_area[7] & (EPT_A | EPT_D), EPT_A);
	CHECK_EQ(ept_area[9] & (EPT_A | EPT_D), 0);
	skip();
	vmwrite(VMCS_GUEST_PML_INDEX, 0);
	CHECK_EQ(run(), EXIT_PML_FULL);
	CHECK_EQ(log[0], AREA_PAGE(9));
	CHECK_EQ(vmread(VMCS_GUEST_PML_INDEX), 0xffff);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), 0);
	CHECK_EQ(ept_area[9] & (EPT_A | EPT_D), EPT_A | EPT_D);
	CHECK_EQ(ept_area[11] & (EPT_A | EPT_D), 0);
	vmwrite(VMCS_GUEST_PML_INDEX, 511);
	CHECK_EQ(run(), EXIT_VMCALL);
	CHECK_EQ(log[511], AREA_PAGE(11));
	skip();
	/* An accessed flag alone: the index is looked at, nothing is logged.  KVM
	 * does not look. */
	vmwrite(VMCS_GUEST_PML_INDEX, 0xffff);
	if (is_sdm()) {
		CHECK_EQ(run(), EXIT_PML_FULL);
		CHECK_EQ(ept_area[13] & EPT_A, 0);
		vmwrite(VMCS_GUEST_PML_INDEX, 0);
	}
	CHECK_EQ(run(), EXIT_VMCALL);
	CHECK_EQ(ept_area[13] & (EPT_A | EPT_D), EPT_A);
	CHECK_EQ(vmread(VMCS_GUEST_PML_INDEX), is_sdm() ? 0 : 0xffff);
}

/* -- EPTP switching --------------------------------------------------------------------- */
/* Switches views four times; each time the next instruction and the data come from
 * the new view. R11 gathers both. */
__asm__(".pushsection .text\n"
	"view_begin:\n"
	"	mov $0x800000, %r8d\n"
	"	mov $4, %r9d\n"
	"	mov $1, %r10d\n"
	"1:	mov $0, %eax\n"
	"	mov %r10d, %ecx\n"
	"	.byte 0x0f, 0x01, 0xd4\n" /* VMFUNC */
	"view_patch:\n"
	"	mov $0x11, %edx\n"
	"	movzbl (%r8), %esi\n"
	"	shl $16, %r11\n"
	"	shl $8, %edx\n"
	"	or %edx, %esi\n"
	"	or %rsi, %r11\n"
	"	xor $1, %r10d\n"
	"	dec %r9d\n"
	"	jnz 1b\n"
	"	vmcall\n"
	"view_end:\n"
	"view_function:\n" /* any function, in a loop */
	"2:	.byte 0x0f, 0x01, 0xd4\n"
	"	vmcall\n"
	"	jmp 2b\n"
	".popsection\n");
extern u8 view_begin[], view_patch[], view_end[];
extern void view_function(void);

static u64 view_b[4][512] __attribute__((aligned(4096)));

static u64 make_view_b(void)
{
	u64 root = eptp & ~0xfffull, pdpt = *(u64 *)root & ~0xfffull;
	u64 *pd = (u64 *)(*(u64 *)pdpt & ~0xfffull);

	fill(view_b, 0, sizeof view_b);
	view_b[0][0] = (u64)view_b[1] | EPT_RWX;
	view_b[1][0] = (u64)view_b[2] | EPT_RWX;
	for (unsigned i = 0; i < 512; i++) {
		view_b[2][i] = pd[i];
		view_b[3][i] = ept_area[i];
	}
	view_b[2][AREA >> 21] = (u64)view_b[3] | EPT_RWX;
	view_b[3][0] = ept_area[10];
	view_b[3][1] = ept_area[11];
	return (u64)view_b[0] | (eptp & 0xfff);
}

static u32 vmfunc(u32 leaf, u32 index)
{
	u32 reason;

	vmwrite(VMCS_GUEST_RIP, (u64)view_function);
	l2_regs[RAX] = leaf;
	l2_regs[RCX] = index;
	reason = run();
	if (reason == EXIT_VMFUNC)
		CHECK_EQ(vmread(VMCS_VM_EXIT_INSTRUCTION_LEN), 3);
	return reason;
}

static void test_eptp_switching(void)
{
	u64 *list = (u64 *)scratch(0);
	u8 *a = (u8 *)AREA_PAGE(1), *b = (u8 *)AREA_PAGE(11);

	if (!setup((void (*)(void))AREA_PAGE(1), SEC_VMFUNC)) {
		print("skipped: VM functions\n", 0, 0);
		return;
	}
	for (long i = 0; i < view_end - view_begin; i++)
		a[i] = b[i] = view_begin[i];
	b[view_patch - view_begin + 1] = 0x22;
	*(u8 *)AREA_PAGE(0) = 0xaa;
	*(u8 *)AREA_PAGE(10) = 0xbb;
	list[0] = eptp;
	list[1] = make_view_b();
	list[2] = eptp | 7;
	list[511] = list[1];
	vmwrite(VMCS_VM_FUNCTION_CONTROL, 1);
	vmwrite(VMCS_EPTP_LIST_ADDRESS, (u64)list);
	CHECK_EQ(run(), EXIT_VMCALL);
	CHECK_EQ(l2_regs[11], 0x22bb11aa22bb11aaull);
	CHECK_EQ(vmread(VMCS_EPT_POINTER), list[0]);
	CHECK_EQ(vmfunc(0, 511), EXIT_VMCALL);
	CHECK_EQ(vmread(VMCS_EPT_POINTER), list[511]);
	CHECK_EQ(vmfunc(0, 2), EXIT_VMFUNC);
	CHECK_EQ(vmfunc(0, 512), EXIT_VMFUNC);
	CHECK_EQ(vmfunc(1, 0), EXIT_VMFUNC);
	CHECK_EQ(vmfunc(63, 0), EXIT_VMFUNC);
	CHECK_EQ(vmread(VMCS_EPT_POINTER), list[511]);
	vmwrite(VMCS_EXCEPTION_BITMAP, 1u << 6);
	CHECK_EQ(vmfunc(64, 0), EXIT_EXCEPTION);
	CHECK_EQ(vmread(VMCS_VM_EXIT_INTR_INFO), 0x80000306);
}

/* -- a data breakpoint where EPT has a hole -------------------------------------------------- */
extern u8 watch_after[];

static void l2_watched(void)
{
	__asm__ volatile("movq %0, %%dr0; movq %1, %%dr7; movb $1, (%0);"
			 "watch_after: nop; vmcall"
			 : : "r"(AREA_PAGE(3)), "r"(0x10401ull) : "memory");
}

/* The write that exits has not been made: nothing waits in the exit, and the trap
 * comes behind the instruction when it is done over. */
static void test_watched_hole(void)
{
	u64 leaf = ept_area[3];

	/* L2's DR7 goes into the VMCS and back. */
	if (!setup(l2_watched, 0) || !control(VMCS_VM_EXIT_CONTROLS, 4) ||
	    !control(VMCS_VM_ENTRY_CONTROLS, 4))
		return;
	vmwrite(VMCS_EXCEPTION_BITMAP, 2);
	ept_area[3] = 0;
	invept();
	CHECK_EQ(run(), EXIT_EPT_VIOLATION);
	CHECK_EQ(vmread(VMCS_GUEST_PENDING_DBG_EXCEPTIONS), 0);
	ept_area[3] = leaf;
	CHECK_EQ(run(), EXIT_EXCEPTION);
	CHECK_EQ(vmread(VMCS_VM_EXIT_INTR_INFO), 0x80000301);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION) & 0xf, 1);
	CHECK_EQ(vmread(VMCS_GUEST_RIP), (u64)watch_after);
	vmwrite(VMCS_GUEST_DR7, 0x400);
}

/* -- events whose delivery meets a hole ------------------------------------------------------ */
static void l2_int(void)
{
	vmcall();
	__asm__ volatile("int $0x31" : : : "memory");
	vmcall();
}

/* Delivery of the event ends in an EPT violation of page `hole`; L1 repairs it and
 * injects again what the exit says. */
static void interrupted(u32 info, u32 error, unsigned hole, u64 offset, u64 access)
{
	u64 leaf = ept_area[hole], rip = vmread(VMCS_GUEST_RIP);
	u32 before = l2_handled;

	ept_area[hole] = 0;
	invept();
	vmwrite(VMCS_VM_EXIT_INSTRUCTION_LEN, 0);
	CHECK_EQ(run(), EXIT_EPT_VIOLATION);
	CHECK_EQ(vmread(VMCS_IDT_VECTORING_INFO_FIELD), info);
	if (info & 0x800)
		CHECK_EQ(vmread(VMCS_IDT_VECTORING_ERROR_CODE), error);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), q(access, 0, false));
	CHECK_EQ(vmread(VMCS_GUEST_PHYSICAL_ADDRESS), AREA_PAGE(hole) + offset);
	CHECK_EQ(vmread(VMCS_GUEST_LINEAR_ADDRESS), AREA_PAGE(hole) + offset);
	CHECK_EQ(vmread(VMCS_VM_EXIT_INTR_INFO) >> 31, 0);
	CHECK_EQ(vmread(VMCS_VM_ENTRY_INTR_INFO_FIELD) >> 31, 0);
	CHECK_EQ(vmread(VMCS_GUEST_RIP), rip);
	CHECK_EQ(vmread(VMCS_GUEST_INTERRUPTIBILITY_INFO), 0);
	CHECK_EQ(l2_handled, before);
	ept_area[hole] = leaf;
	vmwrite(VMCS_VM_ENTRY_INTR_INFO_FIELD, info);
	vmwrite(VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE, error);
	if ((info >> 8 & 7) == 4)
		CHECK_EQ(vmread(VMCS_VM_EXIT_INSTRUCTION_LEN), 2);
	vmwrite(VMCS_VM_ENTRY_INSTRUCTION_LEN,
		vmread(VMCS_VM_EXIT_INSTRUCTION_LEN));
	CHECK_EQ(run(), EXIT_VMCALL);
	CHECK_EQ(l2_handled, before + 1);
}

static void test_interrupted_delivery(void)
{
	u64 stack = AREA_PAGE(22) + 0x800, *idt = (u64 *)AREA_PAGE(20);

	if (!setup(l2_int, 0))
		return;
	set_gate(2, l2_handler);
	set_gate(13, l2_handler_error);
	set_gate(0x30, l2_handler);
	set_gate(0x31, l2_handler);
	for (unsigned i = 0; i < 128; i++)
		idt[i] = ((u64 *)vmread(VMCS_GUEST_IDTR_BASE))[i];
	vmwrite(VMCS_GUEST_IDTR_BASE, AREA_PAGE(20));
	vmwrite(VMCS_GUEST_RSP, stack);
	vmwrite(VMCS_GUEST_RFLAGS, 0x202);
	vmwrite(VMCS_VM_ENTRY_INTR_INFO_FIELD, 0x80000030);
	interrupted(0x80000030, 0, 20, 0x300, Q_R);
	vmwrite(VMCS_VM_ENTRY_INTR_INFO_FIELD, 0x80000030);
	interrupted(0x80000030, 0, 22, 0x7f8, Q_W);
	vmwrite(VMCS_VM_ENTRY_INTR_INFO_FIELD, 0x80000b0d);
	vmwrite(VMCS_VM_ENTRY_EXCEPTION_ERROR_CODE, 0x18);
	interrupted(0x80000b0d, 0x18, 22, 0x7f8, Q_W);
	CHECK_EQ(l2_error, 0x18);
	vmwrite(VMCS_VM_ENTRY_INTR_INFO_FIELD, 0x80000202);
	interrupted(0x80000202, 0, 20, 0x20, Q_R);
	/* L2's own INT: the same without an injection. */
	skip();
	interrupted(0x80000431, 0, 20, 0x310, Q_R);
}

/* -- #VE ------------------------------------------------------------------------------------ */
struct ve_area { u32 reason, busy; u64 qualification, linear, physical; u16 index; };

static void l2_ve(void)
{
	touch(AREA_PAGE(30));
	touch(AREA_PAGE(31));
	touch(AREA_PAGE(32));
	vmcall();
}

/* The handler maps the page: L2 has EPT's tables in its memory. */
__asm__(".pushsection .text\n"
	"ve_handler:\n"
	"	push %rax\n"
	"	mov $0x81e037, %eax\n" /* page 30, write-back, all rights */
	"	mov %rax, ept_area + 8 * 30\n"
	"	pop %rax\n"
	"	jmp l2_handler\n"
	".popsection\n");
extern void ve_handler(void);

static void test_ve(void)
{
	volatile struct ve_area *area = (void *)scratch(0);

	if (!setup(l2_ve, SEC_VE)) {
		print("skipped: #VE\n", 0, 0);
		return;
	}
	set_gate(20, ve_handler);
	vmwrite(VMCS_VE_INFORMATION_ADDRESS, (u64)area);
	vmwrite(VMCS_EPTP_INDEX, 0x123);
	ept_area[30] = ept_area[31] = 0;
	ept_area[32] = EPT_SUPPRESS_VE;
	invept();
	CHECK_EQ(run(), EXIT_EPT_VIOLATION); /* page 31: the area is busy */
	CHECK_EQ(vmread(VMCS_GUEST_PHYSICAL_ADDRESS), AREA_PAGE(31));
	CHECK_EQ(l2_handled, 1);
	CHECK_EQ(area->reason, EXIT_EPT_VIOLATION);
	CHECK_EQ(area->busy, 0xffffffff);
	CHECK_EQ(area->qualification, q(Q_W, 0, false));
	CHECK_EQ(area->linear, AREA_PAGE(30));
	CHECK_EQ(area->physical, AREA_PAGE(30));
	CHECK_EQ(area->index, 0x123);
	area->busy = 0;
	ept_area[31] = AREA_PAGE(31) | EPT_WB | EPT_RWX;
	CHECK_EQ(run(), EXIT_EPT_VIOLATION); /* page 32: #VE is suppressed */
	CHECK_EQ(vmread(VMCS_GUEST_PHYSICAL_ADDRESS), AREA_PAGE(32));
	CHECK_EQ(l2_handled, 1);
	CHECK_EQ(area->busy, 0);
}

/* -- sub-page write permission ------------------------------------------------------------------ */
static void l2_spp(void)
{
	touch(AREA_PAGE(40));
	touch(AREA_PAGE(40) + 3 * 128 + 127);
	touch(AREA_PAGE(40) + 128);
	vmcall();
}

static void test_spp(void)
{
	u64 *t[4];

	if (!setup(l2_spp, SEC_SPP)) {
		print("skipped: sub-page write permission\n", 0, 0);
		return;
	}
	for (unsigned i = 0; i < 4; i++)
		t[i] = (u64 *)scratch(i);
	t[0][0] = (u64)t[1] | 1;
	t[1][0] = (u64)t[2] | 1;
	t[2][AREA >> 21] = (u64)t[3] | 1;
	t[3][40] = 1ull << (2 * 0) | 1ull << (2 * 3);
	vmwrite(VMCS_SPP_TABLE_POINTER, (u64)t[0]);
	ept_area[40] = (ept_area[40] & ~2ull) | EPT_SPP;
	fill((void *)AREA_PAGE(40), 0, PAGE);
	invept();
	CHECK_EQ(run(), EXIT_EPT_VIOLATION);
	CHECK_EQ(vmread(VMCS_GUEST_PHYSICAL_ADDRESS), AREA_PAGE(40) + 128);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), q(Q_W, Q_MAY_R | Q_MAY_X, false));
	CHECK_EQ(*(u8 *)AREA_PAGE(40), 1);
	CHECK_EQ(*(u8 *)(AREA_PAGE(40) + 3 * 128 + 127), 1);
	CHECK_EQ(*(u8 *)(AREA_PAGE(40) + 128), 0);
	t[3][40] |= 2; /* a reserved bit */
	invept();
	CHECK_EQ(run(), EXIT_SPP);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), 0);
	t[2][AREA >> 21] &= ~1ull;
	invept();
	CHECK_EQ(run(), EXIT_SPP);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), 0x800);
	CHECK_EQ(vmread(VMCS_GUEST_PHYSICAL_ADDRESS), AREA_PAGE(40) + 128);
	t[2][AREA >> 21] |= 1;
	t[3][40] = 1ull << (2 * 1);
	invept();
	CHECK_EQ(run(), EXIT_VMCALL);
	CHECK_EQ(*(u8 *)(AREA_PAGE(40) + 128), 1);
}

/* -- execution by mode ----------------------------------------------------------------------------- */
static void l2_call(void)
{
	__asm__ volatile("1: call *%%rax; vmcall; jmp 1b" : : : "memory", "cc");
}

static u32 call_at(u64 at)
{
	l2_regs[RAX] = at;
	vmwrite(VMCS_GUEST_RIP, (u64)l2_call);
	return run();
}

static void test_mbec(void)
{
	u64 leaf = AREA_PAGE(50) | EPT_WB | 3, low = AREA_PAGE(50);
	u64 user = ALIAS + 50 * PAGE;

	if (!setup(l2_call, SEC_MBEC)) {
		print("skipped: mode-based execute control\n", 0, 0);
		return;
	}
	/* What L2 runs besides is for supervisor mode too. */
	*(u8 *)AREA_PAGE(50) = 0xc3; /* RET */
	ept_area[50] = leaf | EPT_XU;
	invept();
	CHECK_EQ(call_at(user), EXIT_VMCALL);
	CHECK_EQ(call_at(low), EXIT_EPT_VIOLATION);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION),
		 q(Q_X, Q_MAY_R | Q_MAY_W | Q_MAY_XU, false));
	ept_area[50] = leaf | 4;
	invept();
	CHECK_EQ(call_at(low), EXIT_VMCALL);
	CHECK_EQ(call_at(user), EXIT_EPT_VIOLATION);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION),
		 q(Q_X, Q_MAY_R | Q_MAY_W | Q_MAY_X, true));
	CHECK_EQ(vmread(VMCS_GUEST_LINEAR_ADDRESS), user);
}

/* -- the APIC-access page ------------------------------------------------------------------------------ */
static void l2_apic(void)
{
	(void)*(volatile u32 *)(AREA_PAGE(60) + 0x80);
	vmcall();
}

static void l2_apic_write(void)
{
	*(volatile u32 *)(AREA_PAGE(60) + 0x320) = 0;
	vmcall();
}

static void test_apic_access(void)
{
	u64 *root = (u64 *)vmread(VMCS_GUEST_CR3);

	if (!setup(l2_apic, SEC_APIC_ACCESS)) {
		print("skipped: APIC accesses\n", 0, 0);
		return;
	}
	vmwrite(VMCS_APIC_ACCESS_ADDR, AREA_PAGE(60));
	CHECK_EQ(run(), EXIT_APIC_ACCESS);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), 0x0080);
	vmwrite(VMCS_GUEST_RIP, (u64)l2_apic_write);
	CHECK_EQ(run(), EXIT_APIC_ACCESS);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), 0x1320);
	vmwrite(VMCS_GUEST_RIP, AREA_PAGE(60) + 0x123);
	CHECK_EQ(run(), EXIT_APIC_ACCESS);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), 0x2123);
	/* Paging structures in it: a guest-physical access. */
	for (unsigned i = 0; i < 512; i++)
		((u64 *)AREA_PAGE(60))[i] = root[i];
	vmwrite(VMCS_GUEST_CR3, AREA_PAGE(60));
	vmwrite(VMCS_GUEST_RIP, (u64)l2_apic);
	CHECK_EQ(run(), EXIT_APIC_ACCESS);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), 0xf000);
	/* ... and during the delivery of an event (SDM table 28-6). */
	vmwrite(VMCS_VM_ENTRY_INTR_INFO_FIELD, 0x80000202);
	CHECK_EQ(run(), EXIT_APIC_ACCESS);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), 0xa000);
	CHECK_EQ(vmread(VMCS_IDT_VECTORING_INFO_FIELD), 0x80000202);
}

/* -- the table's shapes ----------------------------------------------------------------------------- */
static void test_levels(void)
{
	u64 *top = (u64 *)scratch(0), *pdpt = (u64 *)scratch(1);
	u64 caps = rdmsr(0x48c), ad = caps >> 21 & 1 ? EPTP_AD : 0;

	if (!setup(l2_apic, 0))
		return;
	if (caps >> 7 & 1) {
		top[0] = (eptp & ~0xfffull) | EPT_RWX;
		vmwrite(VMCS_EPT_POINTER, (u64)top | 4 << 3 | 6 | ad);
		CHECK_EQ(run(), EXIT_VMCALL);
		CHECK_EQ(top[0] & (EPT_A | EPT_D), ad ? EPT_A : 0);
		/* No translation of what is wider than the pointer's levels. */
		top[0] = 0;
		invept();
		CHECK_EQ(run(), EXIT_EPT_VIOLATION);
		vmwrite(VMCS_EPT_POINTER, eptp);
	}
	if (caps >> 17 & 1) {
		top[0] = (u64)pdpt | EPT_RWX;
		for (u64 i = 0; i < 4; i++)
			pdpt[i] = i << 30 | 0x80 | EPT_WB | EPT_RWX;
		vmwrite(VMCS_EPT_POINTER, (u64)top | 3 << 3 | 6 | ad);
		vmwrite(VMCS_GUEST_RIP, (u64)l2_apic);
		CHECK_EQ(run(), EXIT_VMCALL);
		CHECK_EQ(pdpt[0] & (EPT_A | EPT_D), ad ? EPT_A | EPT_D : 0);
		CHECK_EQ(pdpt[1] & (EPT_A | EPT_D), 0);
		pdpt[0] |= 1ull << 29; /* an address bit below 1 GiB */
		invept();
		CHECK_EQ(run(), 49);
	}
}

void test_memory(void)
{
	test_levels();
	test_pml();
	test_pml_again();
	test_eptp_switching();
	test_watched_hole();
	test_interrupted_delivery();
	test_ve();
	test_spp();
	test_mbec();
	test_apic_access();
}
