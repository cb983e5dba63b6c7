/* guest.h: what the guest's files share. */
#ifndef NSTATE_BENCH_GUEST_H
#define NSTATE_BENCH_GUEST_H

#include "bench.h"

/* The encodings by their names. */
enum field {
#define F(encoding, NAME, ...) NAME = encoding,
#include "layouts/vmcs_fields.def"
#undef F
};

/* boot.S */
extern uint8_t exception_stubs[], gdt[], task_state[], root[];
_Noreturn void power_off(int status);

/* console.c */
void init_machine(void);
void drain(void);
void say(const char *s);
void say_number(const char *name, uint64_t v, unsigned base);
_Noreturn void give_up(const char *why);
uint64_t idt_base(void);
int guest_exception(uint64_t vector, uint64_t first, uint64_t second, uint64_t cr2);

/* main.c, or another program's: returns the exit status. */
int guest_main(const uint32_t *info);

/* vm.c: VMX root operation and one L2. */
bool vmx_is_on(void);
/* Why the CPU cannot do it, or 0. */
const char *vmx_unable(bool l2, bool shadow);
/* Enters VMX operation and makes a fresh VMCS. */
void vmx_prepare(bool shadow);
/* VMREAD and VMWRITE that have to succeed. */
uint64_t vmx_get(uint64_t field);
void vmx_set(uint64_t field, uint64_t v);
uint64_t read_msr(uint32_t index);
uint64_t vmx_call(routine *f, uint64_t a, uint64_t b, uint64_t c);

/* entry.S.  What L1 keeps of L2 between an exit and the next entry. */
struct l2 {
	uint64_t r[16];        /* RAX RCX RDX RBX - RBP RSI RDI R8..R15 */
	uint64_t launched;
	uint64_t step_over;    /* exit reason to step over without returning */
	uint64_t reason, exits;
};
/* Runs L2 until it exits for another reason; false: the entry failed. */
bool vm_enter(struct l2 *l2);
/* n exits of an L2 that stands on CPUID, by the shortest way; those left. */
uint64_t vm_spin(uint64_t n);
extern uint8_t l2_start[], l2_cpuid_for_ever[];
routine l2_cpuid, l2_vmread, l2_vmwrite; /* n */
routine l1_vmread, l1_vmwrite;           /* n rounds of four */
#endif
