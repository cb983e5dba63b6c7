/* lib.c: VMX operation, one VMCS, EPT one to one, printing. */
#include "guest.h"

#define SCRATCH 16
#define SELECTOR_CODE 0x10
#define SELECTOR_DATA 0x18
#define SELECTOR_TSS 0x20
#define CR4_VMXE 0x2000ull
#define SECONDARY (1u << 31)
#define SECONDARY_EPT 2u

u64 l2_regs[16];
volatile u32 l2_handled;
volatile u64 l2_error;
u64 eptp, ept_area[512] __attribute__((aligned(4096)));

static u64 ept_root[512] __attribute__((aligned(4096)));
static u64 ept_pdpt[512] __attribute__((aligned(4096)));
static u64 ept_pd[4][512] __attribute__((aligned(4096)));
static u64 pages[512] __attribute__((aligned(4096)));   /* L1's and L2's */
static u64 pdpt[512] __attribute__((aligned(4096)));
static u64 pd[5][512] __attribute__((aligned(4096)));
static u64 alias_table[512] __attribute__((aligned(4096)));
static u8 vmxon_page[PAGE] __attribute__((aligned(4096)));
u8 vmcs_page[PAGE] __attribute__((aligned(4096)));
static u8 scratch_pages[SCRATCH][PAGE] __attribute__((aligned(4096)));
static u8 l2_stack[8192] __attribute__((aligned(4096)));
static u64 idt[64][2] __attribute__((aligned(4096)));
static int failures, checks;
static bool launched;
extern u64 gdt[], tss[];
extern int run_l2(int resume);
int guest_main(void);

/* -- output ----------------------------------------------------------------------- */
static void put(char c)
{
	__asm__ volatile("outb %0, %1" : : "a"(c), "Nd"((u16)0x3f8));
}

static void put_hex(u64 v)
{
	int shift = 60;

	while (shift && !(v >> shift))
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		put("0123456789abcdef"[v >> shift & 15]);
}

/* %x takes a, then b. */
void print(const char *s, u64 a, u64 b)
{
	for (; *s; s++) {
		if (s[0] == '%' && s[1] == 'x') {
			put_hex(a);
			a = b;
			s++;
		} else {
			put(*s);
		}
	}
}

void check_(bool good, const char *file, int line, const char *what, u64 got)
{
	checks++;
	if (good)
		return;
	failures++;
	print("FAIL ", 0, 0);
	print(file, 0, 0);
	print(":%x: ", (u64)line, 0);
	print(what, 0, 0);
	print(", got %x (line number in hex)\n", got, 0);
}

void fill(void *at, u8 byte, u64 size)
{
	__asm__ volatile("rep stosb" : "+D"(at), "+c"(size) : "a"(byte) : "memory");
}

u8 *scratch(unsigned n)
{
	return scratch_pages[n];
}

/* -- memory -------------------------------------------------------------------------- */
static void map_all(void)
{
	pages[0] = (u64)pdpt | 7;
	for (u64 i = 0; i < 5; i++)
		pdpt[i] = (u64)pd[i] | 7;
	for (u64 i = 0; i < 2048; i++)
		pd[i >> 9][i & 511] = i << 21 | 0x83;
	pd[4][0] = (u64)alias_table | 7;
	for (u64 i = 0; i < 512; i++)
		alias_table[i] = AREA_PAGE(i) | 7;
	__asm__ volatile("mov %0, %%cr3" : : "r"(pages) : "memory");
}

static void map_ept(void)
{
	ept_root[0] = (u64)ept_pdpt | EPT_ALL;
	for (u64 i = 0; i < 4; i++)
		ept_pdpt[i] = (u64)ept_pd[i] | EPT_ALL;
	for (u64 i = 0; i < 2048; i++)
		ept_pd[i >> 9][i & 511] = i << 21 | 0x80 | EPT_WB | EPT_ALL;
	ept_pd[0][AREA >> 21] = (u64)ept_area | EPT_ALL;
	for (u64 i = 0; i < 512; i++)
		ept_area[i] = AREA_PAGE(i) | EPT_WB | EPT_ALL;
	eptp = (u64)ept_root | 3 << 3 | 6;
	invept();
}

void set_gate(unsigned vector, void (*handler)(void))
{
	u64 at = (u64)handler;

	idt[vector][0] = (at & 0xffff) | (u64)SELECTOR_CODE << 16 |
		0x8e0000000000ull | (at >> 16 & 0xffff) << 48;
	idt[vector][1] = at >> 32;
}

/* -- the VMCS --------------------------------------------------------------------------- */
static u32 allowed(u32 field, bool one)
{
	u32 index = field == VMCS_PIN_BASED_VM_EXEC_CONTROL ? 0x48d :
		field == VMCS_CPU_BASED_VM_EXEC_CONTROL ? 0x48e :
		field == VMCS_VM_EXIT_CONTROLS ? 0x48f :
		field == VMCS_VM_ENTRY_CONTROLS ? 0x490 : 0x48b;
	u64 v = rdmsr(index);

	return (u32)(one ? v >> 32 : v);
}

bool control(u32 field, u32 bits)
{
	u32 v = (u32)vmread(field) | bits | allowed(field, false);

	if (v & ~allowed(field, true))
		return false;
	vmwrite(field, v);
	return true;
}

static void write_host(void)
{
	u64 cr0, cr4;

	__asm__ volatile("mov %%cr0, %0" : "=r"(cr0));
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	vmwrite(VMCS_HOST_CR0, cr0);
	vmwrite(VMCS_HOST_CR3, (u64)pages);
	vmwrite(VMCS_HOST_CR4, cr4);
	vmwrite(VMCS_HOST_CS_SELECTOR, SELECTOR_CODE);
	for (u32 f = VMCS_HOST_ES_SELECTOR; f <= VMCS_HOST_GS_SELECTOR; f += 2)
		if (f != VMCS_HOST_CS_SELECTOR)
			vmwrite(f, SELECTOR_DATA);
	vmwrite(VMCS_HOST_TR_SELECTOR, SELECTOR_TSS);
	vmwrite(VMCS_HOST_TR_BASE, (u64)tss);
	vmwrite(VMCS_HOST_GDTR_BASE, (u64)gdt);
	vmwrite(VMCS_HOST_IDTR_BASE, (u64)idt);
	vmwrite(VMCS_HOST_FS_BASE, 0);
	vmwrite(VMCS_HOST_GS_BASE, 0);
	vmwrite(VMCS_GUEST_CR0, cr0);
	vmwrite(VMCS_GUEST_CR3, (u64)pages);
	vmwrite(VMCS_GUEST_CR4, cr4);
}

static void write_guest(void (*f)(void))
{
	for (u32 s = 0; s < 16; s += 2) {
		bool code = s == 2, table = s >= 12;

		vmwrite(VMCS_GUEST_ES_SELECTOR + s, s == 12 ? 0 :
			s == 14 ? SELECTOR_TSS : code ? SELECTOR_CODE :
			SELECTOR_DATA);
		vmwrite(VMCS_GUEST_ES_LIMIT + s, table ? 103 : 0xffffffff);
		vmwrite(VMCS_GUEST_ES_AR_BYTES + s, s == 12 ? 0x10000 :
			s == 14 ? 0x8b : code ? 0xa09b : 0xc093);
	}
	vmwrite(VMCS_GUEST_TR_BASE, (u64)tss);
	vmwrite(VMCS_GUEST_GDTR_BASE, (u64)gdt);
	vmwrite(VMCS_GUEST_GDTR_LIMIT, 0x2f);
	vmwrite(VMCS_GUEST_IDTR_BASE, (u64)idt);
	vmwrite(VMCS_GUEST_IDTR_LIMIT, sizeof idt - 1);
	vmwrite(VMCS_GUEST_RIP, (u64)f);
	vmwrite(VMCS_GUEST_RSP, (u64)l2_stack + sizeof l2_stack - 8);
	vmwrite(VMCS_GUEST_RFLAGS, 2);
	vmwrite(VMCS_GUEST_DR7, 0x400);
	vmwrite(VMCS_VMCS_LINK_POINTER, ~0ull);
}

bool open_vmcs(void *page, void (*f)(void), u32 secondary)
{
	vmclear((u64)page); /* what is cached of it goes to RAM */
	fill(page, 0, PAGE);
	*(u32 *)page = (u32)rdmsr(0x480) & 0x7fffffff;
	vmclear((u64)page);
	use_vmcs(page, false);
	write_host();
	write_guest(f);
	vmwrite(VMCS_EPT_POINTER, eptp);
	return control(VMCS_PIN_BASED_VM_EXEC_CONTROL, 0) &&
	       control(VMCS_CPU_BASED_VM_EXEC_CONTROL, SECONDARY) &&
	       control(VMCS_VM_EXIT_CONTROLS, 1u << 9) &&
	       control(VMCS_VM_ENTRY_CONTROLS, 1u << 9) &&
	       control(VMCS_SECONDARY_VM_EXEC_CONTROL, SECONDARY_EPT | secondary);
}

void use_vmcs(void *page, bool was_launched)
{
	vmptrld((u64)page);
	launched = was_launched;
}

bool setup(void (*f)(void), u32 secondary)
{
	fill(scratch_pages, 0, sizeof scratch_pages);
	fill(l2_regs, 0, sizeof l2_regs);
	fill(idt, 0, sizeof idt);
	l2_handled = 0;
	l2_error = 0;
	map_ept();
	return open_vmcs(vmcs_page, f, secondary);
}

u32 run(void)
{
	u64 flags = (u64)run_l2(launched);

	if (flags) {
		print("the VM entry failed: error %x\n",
		      vmread(VMCS_VM_INSTRUCTION_ERROR), 0);
		return ~0u;
	}
	if (!(vmread(VMCS_VM_EXIT_REASON) >> 31))
		launched = true;
	return (u32)vmread(VMCS_VM_EXIT_REASON) & ~(1u << 30);
}

void skip(void)
{
	vmwrite(VMCS_GUEST_RIP, vmread(VMCS_GUEST_RIP) +
		vmread(VMCS_VM_EXIT_INSTRUCTION_LEN));
}

int guest_main(void)
{
	u64 cr4, at = (u64)vmxon_page;

	map_all();
	if (rdmsr(0x3a) == 0)
		wrmsr(0x3a, 5);
	__asm__ volatile("mov %%cr4, %0" : "=r"(cr4));
	__asm__ volatile("mov %0, %%cr4" : : "r"(cr4 | CR4_VMXE));
	__asm__ volatile("mov %%cr0, %%rax; or $0x20, %%al; mov %%rax, %%cr0"
			 : : : "rax");
	*(u32 *)vmxon_page = (u32)rdmsr(0x480) & 0x7fffffff;
	__asm__ volatile("vmxon %0" : : "m"(at) : "cc", "memory");
	test_memory();
	test_control();
	test_shadow();
	print("%x checks, %x failures\n", (u64)checks, (u64)failures);
	return failures ? 1 : 0;
}
