/* cpu.h: the state of a vCPU and of the machine; internal to hvcore/.
 *
 * Who owns what: decode/ and exec/ run instructions; mem/ translates and
 * touches memory; event/ delivers exceptions and interrupts and owns far
 * control transfers; sys/ holds system instructions, MSRs, CPUID and the
 * KVM-struct state access; fp/ is x87 and SIMD; vmx/ is all of VMX; board/ is
 * devices, local APICs and time.
 *
 * The three rules that the parts rest on:
 * 1. A handler does every access that can fault before it changes
 *    architectural state.  Faults and VM exits leave by longjmp (cpu_raise,
 *    vmx exits) from slow paths only.
 * 2. RIP and the instruction count are kept per block.  In a handler, the
 *    instruction's RIP is r[R_RIP] + cur->off and the count of retired
 *    instructions is deadline - budget + cur->ord; slow paths set c->cur.
 *    With cur == NULL both are exact (between blocks).
 * 3. An event that is to be looked at calls cpu_kick(): the budget becomes 0
 *    and the run loop looks before the next block.  Blocks test nothing else.
 */
#ifndef NSTATE_HVCORE_CPU_H
#define NSTATE_HVCORE_CPU_H

#include <setjmp.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hvcore/hvcore.h"
#include "layouts/layouts.h"

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

struct insn;
struct block;
struct block_cache;
struct tlb;
struct tlb_pool;
struct vmx;
struct lapic;
struct board;

/* Register file: 16 GPRs, then the block's RIP and a zero, so that every
 * address form is r[base] + (r[index] << scale) + disp. */
enum {
	R_RAX, R_RCX, R_RDX, R_RBX, R_RSP, R_RBP, R_RSI, R_RDI,
	R_R8, R_R9, R_R10, R_R11, R_R12, R_R13, R_R14, R_R15,
	R_RIP, R_ZERO, R_COUNT
};

/* Order of the instruction encoding; SEG_NONE has base 0 for ever. */
enum { SEG_ES, SEG_CS, SEG_SS, SEG_DS, SEG_FS, SEG_GS, SEG_LDTR, SEG_TR,
       SEG_NONE, SEG_COUNT };

/* attr is the VMX access-rights format (SDM 25.4.1): type 3:0, S 4, DPL 6:5,
 * P 7, AVL 12, L 13, D/B 14, G 15, unusable 16.  limit is in bytes. */
struct segment {
	uint64_t base;
	uint32_t limit, attr;
	uint16_t selector;
};
#define AR_TYPE 0xfu
#define AR_S 0x10u
#define AR_DPL(a) ((a) >> 5 & 3)
#define AR_P 0x80u
#define AR_L 0x2000u
#define AR_DB 0x4000u
#define AR_G 0x8000u
#define AR_UNUSABLE 0x10000u

struct dtable { uint64_t base; uint16_t limit; };

/* What the decoder and the block cache must know of the mode; a block's key. */
enum cpu_mode {
	MODE_CS64 = 1,     /* 64-bit code */
	MODE_CS32 = 2,     /* default operand and address size 32 */
	MODE_SS32 = 4,     /* stack pointer is ESP (not SP); unused in CS64 */
	MODE_PROT = 8,     /* CR0.PE and not virtual-8086 */
	MODE_V86 = 16,
	MODE_LONG = 32,    /* EFER.LMA */
	MODE_USER = 64,    /* CPL 3 */
	MODE_FLAT = 128,   /* not CS64: CS, SS, DS, ES all base 0, limit 4 GiB,
	                    * present and of ordinary types */
	MODE_NONROOT = 256,/* VMX non-root operation */
	MODE_STEP = 512,   /* blocks of one instruction, nothing fused: TF, trace,
	                    * MTF, breakpoints */
	MODE_CET = 1024,   /* shadow stack or IBT on at this privilege level */
};

enum { FLAG_CF = 1, FLAG_PF = 4, FLAG_AF = 0x10, FLAG_ZF = 0x40, FLAG_SF = 0x80,
       FLAG_TF = 0x100, FLAG_IF = 0x200, FLAG_DF = 0x400, FLAG_OF = 0x800,
       FLAG_IOPL = 0x3000, FLAG_NT = 0x4000, FLAG_RF = 0x10000,
       FLAG_VM = 0x20000, FLAG_AC = 0x40000, FLAG_VIF = 0x80000,
       FLAG_VIP = 0x100000, FLAG_ID = 0x200000,
       FLAGS_ARITH = FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF };

enum { EXC_DE, EXC_DB, EXC_NMI, EXC_BP, EXC_OF, EXC_BR, EXC_UD, EXC_NM, EXC_DF,
       EXC_TS = 10, EXC_NP, EXC_SS, EXC_GP, EXC_PF, EXC_MF = 16, EXC_AC, EXC_MC,
       EXC_XM, EXC_VE, EXC_CP };

/* SDM 6.14/25.9.2: how an event came about (VM-entry interruption types). */
enum event_type { EV_EXTINT = 0, EV_NMI = 2, EV_HARD_EXC = 3, EV_SOFT_INT = 4,
                  EV_PRIV_SOFT = 5, EV_SOFT_EXC = 6, EV_OTHER = 7 };

/* x87 and SIMD registers.  Layouts chosen so that host instructions can load
 * and store them directly. */
struct fpu {
	alignas(64) uint8_t zmm[32][64];
	uint64_t k[8];
	uint8_t st[8][16];     /* physical registers R0..R7, 80 bits each */
	uint16_t fcw, fsw, fop;/* fsw holds TOP */
	uint8_t ftw;           /* one bit a register: 1 = not empty */
	uint16_t fcs, fds;
	uint64_t fip, fdp;
	uint32_t mxcsr;
	uint64_t xcr0, xss;
	uint64_t xinuse;       /* XINUSE: components not in their init state */
	uint32_t pkru;
};

/* A fault on its way from cpu_raise to the run loop. */
struct fault {
	uint8_t vector;
	uint8_t type;          /* enum event_type */
	bool has_error;
	uint8_t insn_len;      /* software events: bytes to skip */
	uint32_t error;
	uint64_t cr2;          /* #PF: linear address */
	uint64_t dr6;          /* #DB: bits to set */
};

/* activity: SDM 25.4.2's numbers. */
enum { ACT_ACTIVE, ACT_HLT, ACT_SHUTDOWN, ACT_WAIT_SIPI };

/* Blocking, as bits of the VMX interruptibility state (SDM table 25-3). */
enum { BLOCK_STI = 1, BLOCK_MOVSS = 2, BLOCK_SMI = 4, BLOCK_NMI = 8 };

/* Bits of pending_events: what event_poll looks at. */
enum {
	PEND_NMI = 1, PEND_SMI = 2, PEND_INIT = 4, PEND_SIPI = 8,
	PEND_INTR = 16,       /* LAPIC or PIC has a deliverable vector */
	PEND_TRAP = 32,       /* a debug trap (dr6_pending) waits */
	PEND_MTF = 64, PEND_WINDOW = 128, PEND_VAPIC = 256, PEND_STOP = 512,
	PEND_TIMER = 1024, PEND_PTIMER = 2048,
	PEND_INJECT = 4096,   /* c->event is to be delivered (again) */
};

struct vcpu {
	/* -- hot: touched by every block -- */
	uint64_t r[R_COUNT];
	uint64_t cc_dst, cc_src; /* lazy arithmetic flags: see exec/flags.h */
	uint32_t cc_op;
	uint32_t mode;           /* enum cpu_mode */
	int64_t budget;          /* instructions until the run loop must look */
	uint64_t deadline;       /* icount when budget is 0 */
	struct tlb *tlb;         /* of the current context and privilege */
	const struct insn *cur;  /* rule 2 */
	uint64_t segbase[SEG_COUNT]; /* copies of seg[].base; 0 for SEG_NONE */
	uint64_t map_gen;        /* names the current fetch mapping; links and
	                          * the jump cache hold a copy */
	bool nonroot;            /* VMX non-root operation */
	bool trace;

	/* -- registers -- */
	uint64_t rflags;         /* all but FLAGS_ARITH, which are lazy */
	struct segment seg[SEG_TR + 1];
	struct dtable gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, efer;
	uint64_t pdptr[4];       /* PAE paging */
	uint64_t dr[8];          /* 4, 5 unused */
	uint8_t cpl;
	uint8_t activity;
	uint8_t blocking;        /* BLOCK_* bits */
	bool in_smm;
	uint64_t dr6_pending;    /* pending debug exceptions (SDM 25.4.2 form) */
	/* event/raise.c: faults one after the other, the instruction count at them */
	uint64_t faulted_at;
	unsigned faults;
	uint32_t pending_events;
	struct fpu fpu;

	/* -- MSRs that have a place of their own; the rest in sys/msr.c -- */
	struct {
		uint64_t star, lstar, cstar, fmask, kernel_gs_base;
		uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
		uint64_t pat, tsc_aux, debugctl, misc_enable, feature_control;
		uint64_t tsc_adjust, bndcfgs, perf_global_ctrl, spec_ctrl;
		uint64_t u_cet, s_cet, pl_ssp[4], ssp, ssp_tbl;
		uint64_t mtrr_def, mtrr_phys[32], mtrr_fix[11];
		uint64_t mcg_status, mcg_ctl, mc_bank[4 * 32];
		uint64_t umwait_control, pkrs, xfd, xfd_err;
	} msr;
	uint64_t tsc_offset;     /* TSC = icount * ratio + tsc_offset */
	uint32_t tsc_khz;

	/* -- exceptions on their way -- */
	jmp_buf *unwind;         /* of the run loop */
	struct fault fault;
	struct {                 /* event being delivered, or to be injected */
		bool valid;
		uint8_t vector, type;
		bool has_error;
		uint8_t insn_len;
		uint32_t error;
	} event;
	uint32_t nested_faults;  /* for #DF: what is being delivered */

	/* -- the parts' own state -- */
	unsigned id;             /* index and initial APIC ID */
	struct vm *vm;
	struct tlb_pool *tlbs;      /* mem/ */
	struct block_cache *blocks; /* exec/ (one for the VM, shared) */
	struct vmx *vmx;            /* vmx/ */
	struct lapic *lapic;        /* board/ */
	struct cpu_model *model;    /* sys/: CPUID table and MSR values */
	struct fp_state *fp;        /* fp/: stub cache and such */
};

/* A run of RAM.  flags has a byte a page. */
enum { PAGE_CODE = 1,   /* blocks were decoded from it: no W entry in a TLB */
       PAGE_WATCH = 2, /* writes call vmx_watch_write (cached VMX pages) */
       PAGE_NOTIFY = 4,/* writes call ops.write */
       PAGE_TABLE = 8 };/* mem/tables.c wants to know of the next write */
struct ram_slot {
	uint64_t gpa, size;
	uint8_t *host;
	uint8_t *flags;
};

struct mmio_region {
	uint64_t gpa, size;
	uint64_t (*read)(void *dev, struct vcpu *c, uint64_t off, unsigned size);
	void (*write)(void *dev, struct vcpu *c, uint64_t off, unsigned size,
		      uint64_t value);
	void *dev;
};

/* How an L0 shows itself beside what the SDM says (vmx/l0.c). */
struct l0_profile {
	char name[32];
	const struct layout *fields;  /* those that VMREAD finds; NULL: all */
	uint32_t ar_mask;             /* VMWRITE keeps these access-rights bits */
	bool pml_dirty_only;          /* PML looks at the index for D only */
	bool launched_at_exit;        /* launch_state is set by the first exit */
	bool msr_counts;              /* MSR areas beyond the recommended maximum
	                               * fail the entry's checks */
	bool beyond_kvm;              /* so are those that no kernel's vmcs12
	                               * has: vmx.h's FIELDS_BEYOND */
	const char *caps;             /* capability MSRs where the snapshot and
	                               * the CPU model have none: vmx/caps.def */
	bool by_capability;           /* fields of controls that the capability
	                               * MSRs do not allow are not found */
};

#define VM_MAX_VCPUS 256
struct vm {
	struct hv_ops ops;
	struct ram_slot *slots;  /* sorted by gpa */
	unsigned nslots, slot_hint;
	struct mmio_region mmio[64];
	unsigned nmmio, mmio_known; /* known: that mmio_floor is of */
	uint64_t mmio_floor;     /* lowest device address */
	struct vcpu *vcpus[VM_MAX_VCPUS];
	unsigned nvcpus;
	struct block_cache *blocks;
	const struct snapshot_region *absent; /* board/absent.c */
	uint32_t nabsent;
	struct board *board;     /* NULL: bare vCPUs without devices */
	const struct l0_profile *l0; /* vmx/ */
	bool builtin_l1;             /* vmx/builtin.c answers L2's exits */
	struct l0_profile l0_own;    /* what l0 points to, if it was set */
	struct hv_stats stats;
	struct hv_stop stop;
	bool stopping;
	bool stop_before;        /* hv_request_stop_before: exec/ clears it */
	uint64_t table_writes;   /* mem/tables.c */
	uint64_t seed;           /* RDRAND, RDSEED */
	uint64_t icount;         /* of all vCPUs together, at the last turn's end */
	uint64_t exits, exit_limit; /* see run_vmexit */
};

/* What longjmp(*c->unwind, ...) tells the run loop. */
enum { UNWIND_FAULT = 1,  /* c->fault is to be delivered (event_deliver_fault) */
       UNWIND_RESUME = 2  /* state is whole: look at vm->stopping and go on */ };

/* -- exec/: running -------------------------------------------------------- */
/* Runs c for at most n instructions, or until vm->stopping or c leaves the
 * active state with nothing pending.  Returns the instructions retired. */
uint64_t cpu_run(struct vcpu *c, uint64_t n);
/* Makes RIP (r[R_RIP]) and the count exact and cur NULL: for code that works
 * on whole state from within an instruction.  advance: past the instruction. */
void cpu_sync(struct vcpu *c, bool advance);
uint64_t cpu_rflags(const struct vcpu *c);      /* with the arithmetic flags */
void cpu_set_rflags(struct vcpu *c, uint64_t v);
/* After any change of CR0, CR4, EFER, CS, SS, CPL, rflags.VM/TF, nonroot. */
void cpu_update_mode(struct vcpu *c);
/* Retired instructions of this vCPU; exact in a handler that set cur. */
uint64_t cpu_icount(const struct vcpu *c);

static inline void cpu_kick(struct vcpu *c)
{
	c->deadline -= (uint64_t)c->budget;
	c->budget = 0;
}
static inline void cpu_pend(struct vcpu *c, uint32_t events)
{
	c->pending_events |= events;
	cpu_kick(c);
}

/* Stops the run for good with a reason for people. */
_Noreturn void cpu_stop(struct vcpu *c, enum hv_stop_reason why,
			const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* -- event/: raising ------------------------------------------------------- */
_Noreturn void cpu_raise(struct vcpu *c, unsigned vector);          /* no code */
_Noreturn void cpu_raise_error(struct vcpu *c, unsigned vector, uint32_t error);
_Noreturn void cpu_raise_pf(struct vcpu *c, uint64_t lin, uint32_t error);
_Noreturn void cpu_raise_db(struct vcpu *c, uint64_t dr6);          /* fault-like */
/* INT n, INT3, INTO, INT1: delivered at the end of the instruction. */
_Noreturn void cpu_raise_soft(struct vcpu *c, unsigned vector,
			      enum event_type type, unsigned insn_len);

#endif
