/* shadow.c: VMCS shadowing: the bitmaps bit by bit, and a hypervisor in L2 whose own
 * guest, L3, is logged and whose VMCS needs no exits.
 */
#include "guest.h"

#define SEC_SHADOW (1u << 14)
#define SEC_PML (1u << 17)
#define EPTP_AD 0x40ull
#define ENCODINGS 0x8000u
#define SHADOW_BIT 0x80000000u
#define FLAG_CF 1u

/* Reads and writes back every field from RCX to RSI - 1. */
__asm__(".pushsection .text\n"
	"every_field:\n"
	"1:	vmread %rcx, %rdx\n"
	"	vmwrite %rdx, %rcx\n"
	"	inc %rcx\n"
	"	cmp %rsi, %rcx\n"
	"	jb 1b\n"
	"	vmcall\n"
	"one_field:\n" /* RDI: CF of it */
	"	xor %edi, %edi\n"
	"	vmread %rcx, %rdx\n"
	"	setc %dil\n"
	"	vmcall\n"
	".popsection\n");
extern void every_field(void), one_field(void);

static u8 seen[ENCODINGS];

static void set_bit(u8 *map, u32 n, bool on)
{
	if (on)
		map[n >> 3] |= (u8)(1u << (n & 7));
	else
		map[n >> 3] &= (u8)~(1u << (n & 7));
}

static void make_shadow(u8 *page)
{
	*(u32 *)page = ((u32)rdmsr(0x480) & 0x7fffffff) | SHADOW_BIT;
	vmwrite(VMCS_VMCS_LINK_POINTER, (u64)page);
	vmwrite(VMCS_VMREAD_BITMAP, (u64)scratch(0));
	vmwrite(VMCS_VMWRITE_BITMAP, (u64)scratch(1));
}

/* In pass k VMREADs exit whose encoding has bit k, and the other VMWRITEs: after all
 * passes no two bits of a map can stand for one another. */
static void one_pass(unsigned k)
{
	u32 reason, wrong = 0;

	for (u32 n = 0; n < ENCODINGS; n++) {
		set_bit(scratch(0), n, n >> k & 1);
		set_bit(scratch(1), n, !(n >> k & 1));
	}
	fill(seen, 0, sizeof seen);
	l2_regs[RCX] = 0;
	l2_regs[RSI] = ENCODINGS;
	vmwrite(VMCS_GUEST_RIP, (u64)every_field);
	while ((reason = run()) == EXIT_VMREAD || reason == EXIT_VMWRITE) {
		seen[l2_regs[RCX] & (ENCODINGS - 1)] |=
			reason == EXIT_VMREAD ? 1 : 2;
		skip();
	}
	CHECK_EQ(reason, EXIT_VMCALL);
	for (u32 n = 0; n < ENCODINGS; n++)
		wrong += seen[n] != (n >> k & 1 ? 1 : 2);
	CHECK_EQ(wrong, 0);
}

static void test_bitmaps(void)
{
	if (!setup(every_field, SEC_SHADOW)) {
		print("skipped: VMCS shadowing\n", 0, 0);
		return;
	}
	make_shadow(scratch(2));
	/* Once in full: it takes half a million exits. */
	for (unsigned k = 0; k < (is_sdm() ? 15 : 1); k++)
		one_pass(k);
	/* Any bit from 15 on makes it exit, whatever the maps hold. */
	fill(scratch(0), 0, PAGE);
	for (unsigned bit = 15; bit < 64; bit++) {
		l2_regs[RCX] = 1ull << bit | VMCS_GUEST_RIP;
		vmwrite(VMCS_GUEST_RIP, (u64)one_field);
		CHECK_EQ(run(), EXIT_VMREAD);
	}
	/* Register 2 is the field's, register 1 the other operand. */
	CHECK_EQ(vmread(VMCS_VMX_INSTRUCTION_INFO) & 0xf0000478,
		 (u32)RCX << 28 | 1u << 10 | (u32)RDX << 3);
	l2_regs[RCX] = VMCS_GUEST_RIP;
	vmwrite(VMCS_GUEST_RIP, (u64)one_field);
	CHECK_EQ(run(), EXIT_VMCALL);
	CHECK_EQ(l2_regs[RDI], 0);
	/* No shadow VMCS: VMfailInvalid. */
	vmwrite(VMCS_VMCS_LINK_POINTER, ~0ull);
	vmwrite(VMCS_GUEST_RIP, (u64)one_field);
	CHECK_EQ(run(), EXIT_VMCALL);
	CHECK_EQ(l2_regs[RDI], 1);
	/* A VMCS that is no shadow may not be linked, nor a shadow VMCS entered. */
	*(u32 *)scratch(2) &= ~SHADOW_BIT;
	vmwrite(VMCS_VMCS_LINK_POINTER, (u64)scratch(2));
	CHECK_EQ(run(), 0x80000021);
	CHECK_EQ(vmread(VMCS_EXIT_QUALIFICATION), 4);
}

/* -- L3 ------------------------------------------------------------------------------ */
__asm__(".pushsection .text\n"
	"l2_hypervisor:\n"
	"	vmxon l2_pointer\n"
	"	vmptrld l2_pointer\n"
	"	mov $0x681e, %eax\n"        /* GUEST_RIP */
	"	mov $l3, %rcx\n"
	"	vmwrite %rcx, %rax\n"
	"	mov $0x681c, %eax\n"        /* GUEST_RSP */
	"	lea -512(%rsp), %rcx\n"
	"	vmwrite %rcx, %rax\n"
	"	mov $0x6c16, %eax\n"        /* HOST_RIP */
	"	mov $1f, %rcx\n"
	"	vmwrite %rcx, %rax\n"
	"	mov $0x6c14, %eax\n"        /* HOST_RSP */
	"	vmwrite %rsp, %rax\n"
	"	vmlaunch\n"
	"	ud2\n"
	"1:	mov $0x4402, %eax\n"        /* VM_EXIT_REASON */
	"	vmread %rax, %rbx\n"
	"	movb $1, 0x852000\n"
	"	vmcall\n"
	"l3:	movb $1, 0x850000\n"
	"	movb $1, 0x851000\n"
	"	vmcall\n"
	".popsection\n");
extern void l2_hypervisor(void);
u64 l2_pointer;

/* L2's instruction succeeds. */
static void emulated(void)
{
	skip();
	vmwrite(VMCS_GUEST_RFLAGS, 2);
}

/* Runs L3 with a VMCS of its own, as L2's says; then L2's tells of its exit. */
static void run_l3(u8 *shadow, u8 *own, u64 index, u64 *left)
{
	u64 rip, rsp, host_rip, host_rsp;

	vmptrld((u64)shadow);
	rip = vmread(VMCS_GUEST_RIP);
	rsp = vmread(VMCS_GUEST_RSP);
	host_rip = vmread(VMCS_HOST_RIP);
	host_rsp = vmread(VMCS_HOST_RSP);
	vmclear((u64)shadow);
	CHECK(open_vmcs(own, (void (*)(void))rip, SEC_PML));
	vmwrite(VMCS_GUEST_RSP, rsp);
	vmwrite(VMCS_EPT_POINTER, eptp | EPTP_AD);
	vmwrite(VMCS_PML_ADDRESS, (u64)scratch(3));
	vmwrite(VMCS_GUEST_PML_INDEX, index);
	CHECK_EQ(run(), EXIT_VMCALL);
	*left = vmread(VMCS_GUEST_PML_INDEX);
	rip = vmread(VMCS_GUEST_RIP);
	vmclear((u64)own);
	vmptrld((u64)shadow);
	vmwrite(VMCS_VM_EXIT_REASON, EXIT_VMCALL);
	vmwrite(VMCS_GUEST_RIP, rip);
	vmclear((u64)shadow);
	use_vmcs(vmcs_page, true);
	vmwrite(VMCS_GUEST_RIP, host_rip);
	vmwrite(VMCS_GUEST_RSP, host_rsp);
	vmwrite(VMCS_GUEST_PML_INDEX, *left);
}

static void test_l3(void)
{
	u64 *log = (u64 *)scratch(3), left = 0;
	u8 *shadow = scratch(2);

	if (!(rdmsr(0x485) >> 29 & 1) ||
	    !setup(l2_hypervisor, SEC_SHADOW | SEC_PML)) {
		print("skipped: L3\n", 0, 0);
		return;
	}
	l2_pointer = (u64)scratch(5);
	vmwrite(VMCS_EPT_POINTER, eptp | EPTP_AD);
	vmwrite(VMCS_PML_ADDRESS, (u64)log);
	vmwrite(VMCS_GUEST_PML_INDEX, 511);
	make_shadow(shadow);
	vmwrite(VMCS_VMCS_LINK_POINTER, ~0ull);
	CHECK_EQ(run(), EXIT_VMXON);
	emulated();
	CHECK_EQ(run(), EXIT_VMPTRLD);
	emulated();
	vmwrite(VMCS_VMCS_LINK_POINTER, (u64)shadow);
	CHECK_EQ(run(), EXIT_VMLAUNCH); /* no VMWRITE has left */
	CHECK_EQ(log[511] >> 21, 1);
	CHECK_EQ(vmread(VMCS_GUEST_PML_INDEX), 510);
	run_l3(shadow, scratch(4), vmread(VMCS_GUEST_PML_INDEX), &left);
	CHECK_EQ(left, 508);
	CHECK_EQ(run(), EXIT_VMCALL);
	CHECK_EQ(l2_regs[RBX], EXIT_VMCALL);
	CHECK_EQ(log[510], AREA_PAGE(0x50));
	CHECK_EQ(log[509], AREA_PAGE(0x51));
	CHECK_EQ(log[508], AREA_PAGE(0x52));
	CHECK_EQ(vmread(VMCS_GUEST_PML_INDEX), 507);
}

void test_shadow(void)
{
	test_bitmaps();
	test_l3();
}
