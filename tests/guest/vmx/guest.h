/* guest.h: what the tests of nested VMX share: a hypervisor of one VMCS whose L2
 * runs functions of this program, in the same address space, under EPT.
 */
#ifndef GUEST_H
#define GUEST_H

#include "layouts/vmcs.h"

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define PAGE 4096u
/* 2 MiB that EPT maps by 4 KiB pages; the tests' memory. */
#define AREA 0x800000ull
#define AREA_PAGE(n) (AREA + (u64)(n) * PAGE)

enum { EXIT_EXCEPTION = 0, EXIT_CPUID = 10, EXIT_VMCALL = 18, EXIT_VMLAUNCH = 20,
       EXIT_VMPTRLD = 21, EXIT_VMREAD = 23, EXIT_VMRESUME = 24,
       EXIT_VMWRITE = 25, EXIT_VMXON = 27, EXIT_PAUSE = 40,
       EXIT_APIC_ACCESS = 44, EXIT_EPT_VIOLATION = 48, EXIT_VMFUNC = 59,
       EXIT_PML_FULL = 62, EXIT_XSAVES = 63, EXIT_SPP = 66, EXIT_UMWAIT = 67,
       EXIT_TPAUSE = 68 };

enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI };
extern u64 l2_regs[16];
extern volatile u32 l2_handled;
extern volatile u64 l2_error;
extern u64 eptp, ept_area[512] __attribute__((aligned(4096)));

#define EPT_RWX 7ull
#define EPT_ALL 0x407ull /* execution in user mode too, where that is told apart */
#define EPT_WB (6ull << 3)
#define EPT_A 0x100ull
#define EPT_D 0x200ull

/* -- privileged instructions ------------------------------------------------ */
static inline u64 rdmsr(u32 index)
{
	u32 a, d;

	__asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(index));
	return a | (u64)d << 32;
}
static inline void wrmsr(u32 index, u64 v)
{
	__asm__ volatile("wrmsr" : : "c"(index), "a"((u32)v), "d"((u32)(v >> 32)));
}
static inline u64 rdtsc(void)
{
	u32 a, d;

	__asm__ volatile("rdtsc" : "=a"(a), "=d"(d));
	return a | (u64)d << 32;
}
static inline u32 cpuid(u32 leaf, u32 sub, int reg)
{
	u32 r[4];

	__asm__ volatile("cpuid" : "=a"(r[0]), "=b"(r[1]), "=c"(r[2]), "=d"(r[3])
			 : "a"(leaf), "c"(sub));
	return r[reg];
}
static inline u64 vmread(u64 field)
{
	u64 v = 0;

	__asm__ volatile("vmread %1, %0" : "=rm"(v) : "r"(field) : "cc");
	return v;
}
static inline void vmwrite(u64 field, u64 v)
{
	__asm__ volatile("vmwrite %1, %0" : : "r"(field), "rm"(v) : "cc");
}
static inline void vmclear(u64 pa)
{
	__asm__ volatile("vmclear %0" : : "m"(pa) : "cc", "memory");
}
static inline void vmptrld(u64 pa)
{
	__asm__ volatile("vmptrld %0" : : "m"(pa) : "cc", "memory");
}
static inline void invept(void)
{
	u64 d[2] = { 0, 0 };

	__asm__ volatile("invept %0, %1" : : "m"(d), "r"(2ull) : "cc", "memory");
}
static inline void vmcall(void)
{
	__asm__ volatile("vmcall" : : : "memory", "cc");
}
static inline void touch(u64 at)
{
	*(volatile u8 *)at = 1;
}

/* -- the harness -------------------------------------------------------------- */
void print(const char *format, u64 a, u64 b);
void check_(bool good, const char *file, int line, const char *what, u64 got);
#define CHECK(condition) check_(condition, __FILE__, __LINE__, #condition, 0)
#define CHECK_EQ(got, want) do { u64 got_ = (got);			\
	check_(got_ == (u64)(want), __FILE__, __LINE__,			\
	       #got " == " #want, got_); } while (0)

/* A fresh VMCS for L2 at f, with these secondary controls and EPT.  False: the
 * capability MSRs do not allow them, and the test is skipped. */
bool setup(void (*f)(void), u32 secondary);
/* The parts of it: a new VMCS in page, and one made current. */
bool open_vmcs(void *page, void (*f)(void), u32 secondary);
void use_vmcs(void *page, bool was_launched);
extern u8 vmcs_page[]; /* setup()'s */
/* Sets bits of a control field; false: not allowed. */
bool control(u32 field, u32 bits);
/* Runs L2 to its next exit, whose basic reason it returns; ~0: the entry failed. */
u32 run(void);
/* The L0 is no KVM: it offers #VE. */
static inline bool is_sdm(void)
{
	return rdmsr(0x48b) >> 50 & 1;
}
/* RIP past the instruction that exited. */
void skip(void);
void set_gate(unsigned vector, void (*handler)(void));
void fill(void *at, u8 byte, u64 size);
/* Linear addresses from ALIAS on are AREA as well, as user-mode pages. */
#define ALIAS 0x100000000ull

extern void l2_handler(void), l2_handler_error(void);

/* Page n of the harness's own, for bitmaps and lists, cleared by setup(). */
u8 *scratch(unsigned n);

/* memory.c, control.c, shadow.c */
void test_memory(void);
void test_control(void);
void test_shadow(void);

#endif
