/* vm.c: VMX root operation, a VMCS for an L2 in 64-bit mode under EPT, and the
 * workloads of VMX itself.  Control registers, tables and memory are the same in
 * L1 and L2. */
#include "guest.h"

_Static_assert(ENC_EXIT_REASON == VM_EXIT_REASON, "");
_Static_assert(ENC_INSTRUCTION_LEN == VM_EXIT_INSTRUCTION_LEN, "");
_Static_assert(ENC_GUEST_CR3 == GUEST_CR3, "");
_Static_assert(ENC_GUEST_RSP == GUEST_RSP, "");
_Static_assert(ENC_GUEST_RIP == GUEST_RIP, "");
_Static_assert(ENC_GUEST_SYSENTER_ESP == GUEST_SYSENTER_ESP, "");
_Static_assert(ENC_GUEST_SYSENTER_EIP == GUEST_SYSENTER_EIP, "");
_Static_assert(ENC_GUEST_PENDING_DBG == GUEST_PENDING_DBG_EXCEPTIONS, "");
_Static_assert(ENC_HOST_RSP == HOST_RSP && ENC_HOST_RIP == HOST_RIP, "");
_Static_assert(L2_LAUNCHED == __builtin_offsetof(struct l2, launched), "");
_Static_assert(L2_STEP_OVER == __builtin_offsetof(struct l2, step_over), "");
_Static_assert(L2_REASON == __builtin_offsetof(struct l2, reason), "");
_Static_assert(L2_EXITS == __builtin_offsetof(struct l2, exits), "");

enum { MSR_FEATURE_CONTROL = 0x3a, MSR_BASIC = 0x480, MSR_CR0_FIXED0 = 0x486,
       MSR_CR4_FIXED0 = 0x488, MSR_SECONDARY = 0x48b };
enum { REASON_CPUID = 10, REASON_VMCALL = 18, REASON_VMREAD = 23,
       REASON_VMWRITE = 25, NO_REASON = 0xffff };
enum { SEC_EPT = 1 << 1, SEC_VPID = 1 << 5, SEC_SHADOWING = 1 << 14 };

#define MAPPED (128ul << 20)
typedef uint8_t page[PAGE] __attribute__((aligned(4096)));
static page vmxon_page, vmcs, shadow_vmcs, no_bits[2], l2_stack;
static uint64_t ept_root[512] __attribute__((aligned(4096)));
static uint64_t ept_pointers[512] __attribute__((aligned(4096)));
static uint64_t ept_directory[512] __attribute__((aligned(4096)));
static uint64_t ept_tables[MAPPED / PAGE] __attribute__((aligned(4096)));
static struct l2 l2;
static bool on;

/* -- the instructions ----------------------------------------------------------------- */
uint64_t read_msr(uint32_t index)
{
	uint32_t lo, hi;

	__asm__ volatile ("rdmsr" : "=a" (lo), "=d" (hi) : "c" (index));
	return (uint64_t)hi << 32 | lo;
}

static uint32_t cpuid_1_ecx(void)
{
	uint32_t a = 1, b, c = 0, d;

	__asm__ volatile ("cpuid" : "+a" (a), "=b" (b), "+c" (c), "=d" (d));
	return c;
}

uint64_t vmx_get(uint64_t field)
{
	uint64_t v = 0;

	__asm__ volatile ("vmread %1, %0" : "=r" (v) : "r" (field) : "cc");
	return v;
}

void vmx_set(uint64_t field, uint64_t v)
{
	bool failed;

	__asm__ volatile ("vmwrite %2, %1\n\tsetbe %0"
			  : "=r" (failed) : "r" (field), "r" (v) : "cc", "memory");
	if (failed) {
		say_number("\nVMWRITE of ", field, 16);
		give_up("failed");
	}
}

#define POINTER_INSN(name)						\
static void name(const void *p)						\
{									\
	uint64_t pa = (uint64_t)p;					\
	bool failed;							\
	__asm__ volatile (#name " %1\n\tsetbe %0" : "=r" (failed)	\
			  : "m" (pa) : "cc", "memory");			\
	if (failed)							\
		give_up(#name " failed");				\
}
POINTER_INSN(vmxon)
POINTER_INSN(vmclear)
POINTER_INSN(vmptrld)

#define CONTROL_REGISTER(name)						\
static uint64_t get_##name(void)					\
{									\
	uint64_t v;							\
	__asm__ volatile ("mov %%" #name ", %0" : "=r" (v));		\
	return v;							\
}									\
static void __attribute__((unused)) set_##name(uint64_t v)		\
{									\
	__asm__ volatile ("mov %0, %%" #name : : "r" (v) : "memory");	\
}
CONTROL_REGISTER(cr0)
CONTROL_REGISTER(cr3)
CONTROL_REGISTER(cr4)

/* -- VMX operation ----------------------------------------------------------------------- */
bool vmx_is_on(void)
{
	return on;
}

static uint32_t secondary_allowed(void)
{
	return (uint32_t)(read_msr(MSR_SECONDARY) >> 32);
}

const char *vmx_unable(bool in_l2, bool shadow)
{
	if (!(cpuid_1_ecx() >> 5 & 1))
		return "no VMX";
	if (!in_l2)
		return 0;
	if (!(read_msr(0x482) >> 63) || !(secondary_allowed() & SEC_EPT) ||
	    !(secondary_allowed() & SEC_VPID))
		return "no EPT and VPID";
	if (shadow && !(secondary_allowed() & SEC_SHADOWING))
		return "no VMCS shadowing";
	return 0;
}

static void turn_on(void)
{
	uint64_t control = read_msr(MSR_FEATURE_CONTROL);

	if (on)
		return;
	if (!(control & 1))
		__asm__ volatile ("wrmsr" : : "c" (MSR_FEATURE_CONTROL),
				  "a" ((uint32_t)control | 5), "d" (0));
	set_cr0(get_cr0() | read_msr(MSR_CR0_FIXED0));
	set_cr4(get_cr4() | read_msr(MSR_CR4_FIXED0));
	*(uint32_t *)vmxon_page = (uint32_t)read_msr(MSR_BASIC) & 0x7fffffff;
	vmxon(vmxon_page);
	on = true;
}

/* Controls as the capability MSR at `index` (or its TRUE twin) demands. */
static void control(uint64_t field, uint32_t index, uint32_t want)
{
	bool twin = read_msr(MSR_BASIC) >> 55 & 1 && index <= 0x484;
	uint64_t caps = read_msr(twin ? index + 0xc : index);

	want |= (uint32_t)caps;
	if (want & ~(uint32_t)(caps >> 32))
		give_up("a control is not offered");
	vmx_set(field, want);
}

static void build_ept(void)
{
	for (uint64_t n = 0; n < MAPPED / PAGE; n++)
		ept_tables[n] = n * PAGE | 6 << 3 | 7;
	for (uint64_t n = 0; n < MAPPED / PAGE / 512; n++)
		ept_directory[n] = (uint64_t)&ept_tables[512 * n] | 7;
	ept_pointers[0] = (uint64_t)ept_directory | 7;
	ept_root[0] = (uint64_t)ept_pointers | 7;
}

static void set_controls(bool shadow)
{
	control(PIN_BASED_VM_EXEC_CONTROL, 0x481, 0);
	control(CPU_BASED_VM_EXEC_CONTROL, 0x482, 1u << 31);
	control(SECONDARY_VM_EXEC_CONTROL, MSR_SECONDARY,
		SEC_EPT | SEC_VPID | (shadow ? SEC_SHADOWING : 0));
	control(VM_EXIT_CONTROLS, 0x483, 1u << 9);
	control(VM_ENTRY_CONTROLS, 0x484, 1u << 9);
	vmx_set(VIRTUAL_PROCESSOR_ID, 1);
	vmx_set(EPT_POINTER, (uint64_t)ept_root | 3 << 3 | 6);
	vmx_set(VMCS_LINK_POINTER, ~0ull);
	if (!shadow)
		return;
	*(uint32_t *)shadow_vmcs =
		((uint32_t)read_msr(MSR_BASIC) & 0x7fffffff) | 1u << 31;
	vmclear(shadow_vmcs);
	vmx_set(VMCS_LINK_POINTER, (uint64_t)shadow_vmcs);
	vmx_set(VMREAD_BITMAP, (uint64_t)no_bits[0]);
	vmx_set(VMWRITE_BITMAP, (uint64_t)no_bits[1]);
}

static void set_segment(unsigned n, uint64_t selector, uint64_t base,
			uint32_t limit, uint32_t rights)
{
	vmx_set(GUEST_ES_SELECTOR + 2 * n, selector);
	vmx_set(GUEST_ES_LIMIT + 2 * n, limit);
	vmx_set(GUEST_ES_AR_BYTES + 2 * n, rights);
	vmx_set(GUEST_ES_BASE + 2 * n, base);
}

static void set_guest(void)
{
	for (unsigned n = 0; n < 6; n++) /* ES CS SS DS FS GS */
		set_segment(n, n == 1 ? 8 : 16, 0, 0xffffffff,
			    n == 1 ? 0xa09b : 0xc093);
	set_segment(6, 0, 0, 0, 0x10000); /* LDTR: unusable */
	set_segment(7, 24, (uint64_t)task_state, 0x67, 0x8b);
	vmx_set(GUEST_GDTR_BASE, (uint64_t)gdt);
	vmx_set(GUEST_GDTR_LIMIT, 39);
	vmx_set(GUEST_IDTR_BASE, idt_base());
	vmx_set(GUEST_IDTR_LIMIT, 32 * 16 - 1);
	vmx_set(GUEST_CR0, get_cr0());
	vmx_set(GUEST_CR3, get_cr3());
	vmx_set(GUEST_CR4, get_cr4());
	vmx_set(CR0_READ_SHADOW, get_cr0());
	vmx_set(CR4_READ_SHADOW, get_cr4());
	vmx_set(GUEST_DR7, 0x400);
	vmx_set(GUEST_RFLAGS, 2);
}

static void set_host(void)
{
	static const uint16_t data_segments[] = {
		HOST_ES_SELECTOR, HOST_SS_SELECTOR, HOST_DS_SELECTOR,
		HOST_FS_SELECTOR, HOST_GS_SELECTOR };

	for (unsigned n = 0; n < 5; n++)
		vmx_set(data_segments[n], n < 3 ? 16 : 0);
	vmx_set(HOST_CS_SELECTOR, 8);
	vmx_set(HOST_TR_SELECTOR, 24);
	vmx_set(HOST_TR_BASE, (uint64_t)task_state);
	vmx_set(HOST_GDTR_BASE, (uint64_t)gdt);
	vmx_set(HOST_IDTR_BASE, idt_base());
	vmx_set(HOST_CR0, get_cr0());
	vmx_set(HOST_CR3, get_cr3());
	vmx_set(HOST_CR4, get_cr4());
}

/* What a cleared VMCS holds is not defined: zeros where nothing else is set. */
static void set_zero(void)
{
	static const uint16_t fields[] = {
		EXCEPTION_BITMAP, PAGE_FAULT_ERROR_CODE_MASK,
		PAGE_FAULT_ERROR_CODE_MATCH, CR3_TARGET_COUNT,
		VM_EXIT_MSR_STORE_COUNT, VM_EXIT_MSR_LOAD_COUNT,
		VM_ENTRY_MSR_LOAD_COUNT, VM_ENTRY_INTR_INFO_FIELD,
		CR0_GUEST_HOST_MASK, CR4_GUEST_HOST_MASK,
		GUEST_INTERRUPTIBILITY_INFO, GUEST_ACTIVITY_STATE,
		GUEST_SYSENTER_CS, GUEST_SYSENTER_ESP, GUEST_SYSENTER_EIP,
		GUEST_PENDING_DBG_EXCEPTIONS, GUEST_IA32_DEBUGCTL,
		HOST_IA32_SYSENTER_CS, HOST_IA32_SYSENTER_ESP,
		HOST_IA32_SYSENTER_EIP, HOST_FS_BASE, HOST_GS_BASE };

	for (unsigned n = 0; n < sizeof fields / sizeof *fields; n++)
		vmx_set(fields[n], 0);
}

void vmx_prepare(bool shadow)
{
	turn_on();
	build_ept();
	*(uint32_t *)vmcs = (uint32_t)read_msr(MSR_BASIC) & 0x7fffffff;
	vmclear(vmcs);
	vmptrld(vmcs);
	if (vmx_unable(true, shadow))
		return; /* VMREAD and VMWRITE work without an L2 */
	set_zero();
	set_controls(shadow);
	set_guest();
	set_host();
	for (unsigned n = 0; n < sizeof l2 / 8; n++)
		((uint64_t *)&l2)[n] = 0;
	l2.step_over = NO_REASON;
}

/* -- L2 ----------------------------------------------------------------------------------- */
static void enter_l2(void)
{
	if (!vm_enter(&l2)) {
		say_number("\ninstruction error ", vmx_get(VM_INSTRUCTION_ERROR), 10);
		give_up("VM entry failed");
	}
}

static void expect(uint64_t reason)
{
	if (l2.reason == reason)
		return;
	say_number("\nexit reason ", l2.reason, 16);
	say_number(" qualification ", vmx_get(EXIT_QUALIFICATION), 16);
	say_number(" RIP ", vmx_get(GUEST_RIP), 16);
	give_up("unexpected VM exit");
}

uint64_t vmx_call(routine *f, uint64_t a, uint64_t b, uint64_t c)
{
	l2.r[7] = a;
	l2.r[6] = b;
	l2.r[2] = c;
	l2.r[12] = (uint64_t)f;
	vmx_set(GUEST_RIP, (uint64_t)l2_start);
	vmx_set(GUEST_RSP, (uint64_t)l2_stack + PAGE);
	vmx_set(GUEST_RFLAGS, 2);
	enter_l2();
	expect(REASON_VMCALL);
	return l2.r[0];
}

/* -- the workloads --------------------------------------------------------------------------- */
static void in_l1(struct run *r, routine *f, uint64_t fixed)
{
	uint64_t n = 1000 * r->scale;

	r->start = read_tsc();
	f(n, 0, 0);
	r->stop = read_tsc();
	r->insns = 6 * n + fixed;
	r->events = 4 * n;
}
static void do_vmread(struct run *r)
{
	vmx_set(GUEST_CR3, 0x1234000);
	in_l1(r, l1_vmread, 5);
	r->bad = vmx_get(GUEST_CR3) != 0x1234000;
}
static void do_vmwrite(struct run *r)
{
	in_l1(r, l1_vmwrite, 6);
	r->sum = vmx_get(HOST_RIP);
	r->bad = r->sum != ENC_GUEST_SYSENTER_ESP;
}

static void do_exitmin(struct run *r)
{
	vmx_set(GUEST_RIP, (uint64_t)l2_cpuid_for_ever);
	vmx_set(GUEST_RSP, (uint64_t)l2_stack + PAGE);
	enter_l2();
	expect(REASON_CPUID);
	r->events = 1000 * r->scale;
	r->start = read_tsc();
	r->sum = vm_spin(r->events);
	r->stop = read_tsc();
	r->insns = 4 * r->events;
	r->bad = r->sum != 0 || vmx_get(VM_EXIT_REASON) != REASON_CPUID;
}

/* exiting: every event exits, and L1 takes 51 instructions to step over. */
static void in_l2(struct run *r, routine *f, uint64_t reason, uint64_t each,
		  uint64_t fixed, bool exiting)
{
	uint64_t n = 1000 * r->scale;

	l2.step_over = reason;
	r->start = read_tsc();
	vmx_call(f, n, 0, 0);
	r->stop = read_tsc();
	l2.step_over = NO_REASON;
	r->events = n;
	r->insns = (each + (exiting ? 51 : 0)) * n + fixed;
	r->bad = l2.exits != (exiting ? n + 1 : 1);
}
static void do_exitfull(struct run *r)
{
	in_l2(r, l2_cpuid, REASON_CPUID, 4, 3, true);
}
static void do_vmread_exit(struct run *r)
{
	in_l2(r, l2_vmread, REASON_VMREAD, 3, 2, true);
}
static void do_vmwrite_exit(struct run *r)
{
	in_l2(r, l2_vmwrite, REASON_VMWRITE, 3, 3, true);
}
static void do_vmread_shadow(struct run *r)
{
	in_l2(r, l2_vmread, NO_REASON, 3, 2, false);
}
static void do_vmwrite_shadow(struct run *r)
{
	in_l2(r, l2_vmwrite, NO_REASON, 3, 3, false);
}

const struct workload vmx_work[] = {
	{ "vmread", "vmreads", AT_L1, do_vmread },
	{ "vmwrite", "vmwrites", AT_L1, do_vmwrite },
	{ "exitmin", "exits", AT_L2, do_exitmin },
	{ "exitfull", "exits", AT_L2, do_exitfull },
	{ "vmread-exit", "vmreads", AT_L2, do_vmread_exit },
	{ "vmwrite-exit", "vmwrites", AT_L2, do_vmwrite_exit },
	{ "vmread-shadow", "vmreads", AT_L2 | NEEDS_SHADOW, do_vmread_shadow },
	{ "vmwrite-shadow", "vmwrites", AT_L2 | NEEDS_SHADOW, do_vmwrite_shadow },
	{ 0 }
};
