/* hvcore.h: the embedded x86-64 + VMX machine, as a library.
 *
 * Shaped like KVM's ioctls: make a VM, give it RAM and vCPUs, set their state
 * in KVM's own structs, run until a stop reason, read the state back.  The
 * core does no I/O of its own: what the guest sends to a device that the host
 * must see (console bytes, the debug-exit port) arrives through struct hv_ops.
 * A VM and its vCPUs belong to one thread.  Deterministic: time is counted in
 * retired instructions.
 */
#ifndef NSTATE_HVCORE_HVCORE_H
#define NSTATE_HVCORE_HVCORE_H

#include <linux/kvm.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layouts/error.h"
#include "layouts/snapshot.h"

#pragma GCC visibility push(default)

struct vm;
struct vcpu;

/* Why hv_run returned. */
enum hv_stop_reason {
	HV_STOP_INSNS,      /* the instruction limit was reached */
	HV_STOP_EXITS,      /* the VM-exit limit was reached */
	HV_STOP_REQUEST,    /* a callback or hv_request_stop asked for it */
	HV_STOP_IDLE,       /* every vCPU is halted and nothing is pending */
	HV_STOP_SHUTDOWN,   /* triple fault, or VMX abort */
	HV_STOP_DEBUG_EXIT, /* the guest wrote the debug-exit port: code */
	HV_STOP_UNKNOWN,    /* an instruction the core does not know: text */
	HV_STOP_UNSUPPORTED,/* something else the core cannot do: text */
};

struct hv_stop {
	enum hv_stop_reason reason;
	unsigned vcpu;      /* that stopped */
	int level;          /* 1: root mode, 2: non-root */
	uint64_t rip;       /* linear address of the next instruction */
	uint64_t code;      /* DEBUG_EXIT: value written; REQUEST: callback's;
	                     * SHUTDOWN: 1 if the guest asked for it */
	char text[256];     /* for people */
};

/* What the guest does that the host may want to see.  Every pointer may be
 * NULL.  A callback may call hv_request_stop; the stop happens right after the
 * current instruction retires. */
struct hv_ops {
	void (*console)(void *arg, uint8_t byte);
	/* Any OUT (write) or IN (after the value is known), at any level. */
	void (*io)(void *arg, unsigned vcpu, bool write, uint16_t port,
		   unsigned size, uint64_t value);
	/* A VM exit was taken (to L1): its vmcs12 is readable. */
	void (*vmexit)(void *arg, unsigned vcpu, uint32_t reason,
		       uint64_t qualification);
	void (*vmentry)(void *arg, unsigned vcpu);
	/* Before each instruction, where hv_set_trace turned it on. */
	void (*insn)(void *arg, struct vcpu *c, uint64_t rip,
		     const uint8_t *bytes, unsigned len);
	/* An exception, interrupt or NMI goes through the IDT; type is SDM table
	 * 25-17's. */
	void (*event)(void *arg, unsigned vcpu, unsigned vector, unsigned type,
		      bool has_error, uint32_t error);
	/* L2 dirtied a page: its GPA went to the page-modification log. */
	void (*pml)(void *arg, unsigned vcpu, uint64_t gpa);
	/* A write to a page that hv_watch_page named. */
	void (*write)(void *arg, unsigned vcpu, uint64_t gpa, unsigned len);
	void *arg;
};

struct hv_limits {
	uint64_t insns; /* stop at this many retired in all; ~0: none */
	uint64_t exits; /* stop at this many VM exits in all; ~0: none */
};

struct hv_stats {
	uint64_t insns[3];         /* retired at level 1, 2 (index 0 unused) */
	uint64_t exits[128];       /* to L1, by basic reason */
	uint64_t builtin[128];     /* answered by the built-in L1 */
	uint64_t entries, entry_failures;
	uint64_t vmread_shadowed, vmwrite_shadowed;
	uint64_t pml_entries, pml_fulls, eptp_switches, injected;
};

/* cpu_model: a name of hv_cpu_models, or NULL for "as in the snapshot". */
struct vm *hv_vm_new(const struct hv_ops *ops);
void hv_vm_free(struct vm *vm);

/* RAM at gpa; host memory stays the caller's.  Page-aligned; up to 4096 slots. */
enum nst_status hv_map_ram(struct vm *vm, uint64_t gpa, uint64_t size,
			   void *host, struct nst_error *e);

struct vcpu *hv_vcpu_new(struct vm *vm);
struct vcpu *hv_vcpu(struct vm *vm, unsigned i);
unsigned hv_nvcpus(const struct vm *vm);

/* Sets a vCPU's whole state from v (registers, MSRs, XSAVE, LAPIC, events,
 * CPUID, nested state last), in KVM's restore order; and back.  What v lacks
 * stays as at reset. */
enum nst_status hv_vcpu_load(struct vcpu *c, const struct snapshot_vcpu *v,
			     struct nst_error *e);
enum nst_status hv_vcpu_save(struct vcpu *c, struct snapshot_vcpu *v,
			     struct nst_error *e);
/* VM-level state: irqchips, PIT, clock, and the core's own NSTATE notes.  Load
 * it after the vCPUs. */
enum nst_status hv_vm_load(struct vm *vm, const struct snapshot *s,
			   struct nst_error *e);
enum nst_status hv_vm_save(struct vm *vm, struct snapshot *s,
			   struct nst_error *e);

/* A named CPU model: CPUID table and capability MSRs. */
extern const char *const hv_cpu_models[]; /* NULL-terminated */
enum nst_status hv_vcpu_set_model(struct vcpu *c, const char *name,
				  struct nst_error *e);
/* "sdm", "5.10", "6.1", "7.2": how the L0 differs from the bare SDM. */
enum nst_status hv_set_l0(struct vm *vm, const char *name,
			  struct nst_error *e);
/* The capability MSRs of vCPUs whose state brings none: "full", "kvm-4.14"...;
 * else the L0 profile's.  Both before the vCPUs get their models. */
enum nst_status hv_set_vmx_caps(struct vm *vm, const char *name,
				struct nst_error *e);

/* An access to a device of s->region stops the run (HV_STOP_UNSUPPORTED) before the
 * instruction, instead of reading all ones.  s must outlive vm. */
void hv_stop_at_absent(struct vm *vm, const struct snapshot *s);

/* L2's exits are answered by a built-in L1 instead of L1's code.  ept_identity:
 * L2-physical addresses are L1-physical; L1's EPT tables are not used.  After
 * the vCPUs were loaded. */
void hv_use_builtin_l1(struct vm *vm, bool ept_identity);

void hv_run(struct vm *vm, const struct hv_limits *limits,
	    struct hv_stop *stop);
void hv_request_stop(struct vm *vm, uint64_t code);
/* The same from ops.insn: before the instruction that it was told of. */
void hv_request_stop_before(struct vm *vm);
const struct hv_stats *hv_stats(const struct vm *vm);
/* A byte for the guest's serial port; false: its buffer is full. */
bool hv_console_input(struct vm *vm, uint8_t byte);

/* -- for debuggers --------------------------------------------------------- */
/* Calls ops.insn before every instruction (slow: blocks of one). */
void hv_set_trace(struct vm *vm, bool on);
/* Calls ops.write after each write to the page of gpa. */
void hv_watch_page(struct vm *vm, uint64_t gpa);
/* 1 in root mode, 2 in non-root. */
int hv_level(const struct vcpu *c);
uint64_t hv_linear_rip(const struct vcpu *c);
/* Linear to L1-physical by the current tables, without effects. */
bool hv_translate(struct vcpu *c, uint64_t lin, uint64_t *gpa);
/* What runs calls physical (L2-physical while L2 runs under EPT), to L1-physical. */
bool hv_translate_physical(struct vcpu *c, uint64_t address, uint64_t *gpa);
/* Copies up to len bytes of RAM at lin; returns how many are mapped. */
unsigned hv_peek(struct vcpu *c, uint64_t lin, void *buf, unsigned len);
/* 16, 32 or 64: the code segment's. */
unsigned hv_code_bits(const struct vcpu *c);
/* General registers, RIP and RFLAGS only. */
enum nst_status hv_vcpu_set_regs(struct vcpu *c, const struct kvm_regs *r,
				 struct nst_error *e);
/* Tells the core that the host changed a byte of RAM that holds code. */
void hv_ram_changed(struct vm *vm, uint64_t gpa, unsigned len);

#pragma GCC visibility pop

#endif
