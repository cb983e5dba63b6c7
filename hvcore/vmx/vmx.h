/* vmx.h: the state of VMX operation of a vCPU; private to hvcore/vmx/.
 *
 * The current VMCS lives in vmx.page, a 4 KiB copy in the layout that holds
 * every field of every v4.0-preserving vmcs12 (layout_union), as KVM keeps it:
 * guest RAM is read at VMPTRLD and written at VMCLEAR, VMXOFF and VMPTRLD of
 * another.  The shadow VMCS that the link pointer names is cached while L2 runs
 * and goes back to RAM at the VM exit.
 *
 * What an entry needs again and again (controls, bitmaps, EPTP) is kept decoded
 * in vmx.ctl; a change of a field marks the checks that rest on it (recheck.c).
 */
#ifndef NSTATE_HVCORE_VMX_VMX_H
#define NSTATE_HVCORE_VMX_VMX_H

#include "hvcore/insn.h"
#include "hvcore/mem.h"
#include "hvcore/parts.h"
#include "hvcore/sys/bits.h"
#include "hvcore/vmx_checks.h"

#define VMX_NONE 0xffffffffffffffffull

/* Pin-based (SDM table 25-5). */
#define PIN_EXTINT (1u << 0)
#define PIN_NMI (1u << 3)
#define PIN_VNMI (1u << 5)
#define PIN_PTIMER (1u << 6)
#define PIN_POSTED (1u << 7)
/* Primary (table 25-6). */
#define PROC_INTR_WINDOW (1u << 2)
#define PROC_TSC_OFFSET (1u << 3)
#define PROC_HLT (1u << 7)
#define PROC_INVLPG (1u << 9)
#define PROC_MWAIT (1u << 10)
#define PROC_RDPMC (1u << 11)
#define PROC_RDTSC (1u << 12)
#define PROC_CR3_LOAD (1u << 15)
#define PROC_CR3_STORE (1u << 16)
#define PROC_TERTIARY (1u << 17)
#define PROC_CR8_LOAD (1u << 19)
#define PROC_CR8_STORE (1u << 20)
#define PROC_TPR_SHADOW (1u << 21)
#define PROC_NMI_WINDOW (1u << 22)
#define PROC_MOV_DR (1u << 23)
#define PROC_UNCOND_IO (1u << 24)
#define PROC_IO_BITMAP (1u << 25)
#define PROC_MTF (1u << 27)
#define PROC_MSR_BITMAP (1u << 28)
#define PROC_MONITOR (1u << 29)
#define PROC_PAUSE (1u << 30)
#define PROC_SECONDARY (1u << 31)
/* Secondary (table 25-7). */
#define SEC_APIC_ACCESS (1u << 0)
#define SEC_EPT (1u << 1)
#define SEC_DESC (1u << 2)
#define SEC_RDTSCP (1u << 3)
#define SEC_X2APIC (1u << 4)
#define SEC_VPID (1u << 5)
#define SEC_WBINVD (1u << 6)
#define SEC_UNRESTRICTED (1u << 7)
#define SEC_APIC_REGS (1u << 8)
#define SEC_VID (1u << 9)
#define SEC_PLE (1u << 10)
#define SEC_RDRAND (1u << 11)
#define SEC_INVPCID (1u << 12)
#define SEC_VMFUNC (1u << 13)
#define SEC_SHADOW (1u << 14)
#define SEC_ENCLS (1u << 15)
#define SEC_RDSEED (1u << 16)
#define SEC_PML (1u << 17)
#define SEC_VE (1u << 18)
#define SEC_XSAVES (1u << 20)
#define SEC_MBEC (1u << 22)
#define SEC_SPP (1u << 23)
#define SEC_TSC_SCALING (1u << 25)
#define SEC_USER_WAIT (1u << 26)
/* VM-exit (table 25-13). */
#define EXIT_SAVE_DEBUG (1u << 2)
#define EXIT_HOST64 (1u << 9)
#define EXIT_LOAD_PERF (1u << 12)
#define EXIT_ACK_INTR (1u << 15)
#define EXIT_SAVE_PAT (1u << 18)
#define EXIT_LOAD_PAT (1u << 19)
#define EXIT_SAVE_EFER (1u << 20)
#define EXIT_LOAD_EFER (1u << 21)
#define EXIT_SAVE_PTIMER (1u << 22)
#define EXIT_CLEAR_BNDCFGS (1u << 23)
#define EXIT_LOAD_CET (1u << 28)
/* VM-entry (table 25-15). */
#define ENTRY_LOAD_DEBUG (1u << 2)
#define ENTRY_IA32E (1u << 9)
#define ENTRY_SMM (1u << 10)
#define ENTRY_DEACT_DUAL (1u << 11)
#define ENTRY_LOAD_PERF (1u << 13)
#define ENTRY_LOAD_PAT (1u << 14)
#define ENTRY_LOAD_EFER (1u << 15)
#define ENTRY_LOAD_BNDCFGS (1u << 16)
#define ENTRY_LOAD_CET (1u << 20)

/* Basic exit reasons (SDM appendix C). */
enum {
	XR_EXCEPTION = 0, XR_EXTINT = 1, XR_TRIPLE = 2, XR_INIT = 3, XR_SIPI = 4,
	XR_INTR_WINDOW = 7, XR_NMI_WINDOW = 8, XR_TASK = 9, XR_CPUID = 10,
	XR_GETSEC = 11, XR_HLT = 12, XR_INVD = 13, XR_INVLPG = 14, XR_RDPMC = 15,
	XR_RDTSC = 16, XR_RSM = 17, XR_VMCALL = 18, XR_VMCLEAR = 19,
	XR_VMLAUNCH = 20, XR_VMPTRLD = 21, XR_VMPTRST = 22, XR_VMREAD = 23,
	XR_VMRESUME = 24, XR_VMWRITE = 25, XR_VMXOFF = 26, XR_VMXON = 27,
	XR_CR = 28, XR_DR = 29, XR_IO = 30, XR_RDMSR = 31, XR_WRMSR = 32,
	XR_ENTRY_GUEST = 33, XR_ENTRY_MSR = 34, XR_MWAIT = 36, XR_MTF = 37,
	XR_MONITOR = 39, XR_PAUSE = 40, XR_ENTRY_MCE = 41, XR_TPR = 43,
	XR_APIC_ACCESS = 44, XR_EOI = 45, XR_GDTR_IDTR = 46, XR_LDTR_TR = 47,
	XR_EPT_VIOLATION = 48, XR_EPT_MISCONFIG = 49, XR_INVEPT = 50,
	XR_RDTSCP = 51, XR_PTIMER = 52, XR_INVVPID = 53, XR_WBINVD = 54,
	XR_XSETBV = 55, XR_APIC_WRITE = 56, XR_RDRAND = 57, XR_INVPCID = 58,
	XR_VMFUNC = 59, XR_ENCLS = 60, XR_RDSEED = 61, XR_PML_FULL = 62,
	XR_XSAVES = 63, XR_XRSTORS = 64, XR_SPP = 66, XR_UMWAIT = 67,
	XR_TPAUSE = 68, XR_LOADIWKEY = 69,
};
#define XR_FAILED_ENTRY (1u << 31)

/* The controls of the running L2, decoded at entry. */
struct vmx_ctl {
	uint32_t pin, proc, sec, exit, entry;
	uint32_t exceptions, pfec_mask, pfec_match;
	uint64_t cr0_mask, cr4_mask, cr0_shadow, cr4_shadow;
	uint64_t eptp;            /* changes with VMFUNC */
	uint16_t vpid;
	bool ept, ept_ad;
	/* Host pointers into L1's RAM, or NULL. */
	const uint8_t *msr_bitmap, *io_a, *io_b, *vmread_bitmap, *vmwrite_bitmap;
	uint8_t *vapic;           /* virtual-APIC page */
	uint64_t apic_access;     /* page, or VMX_NONE */
	uint64_t tsc_offset, tsc_multiplier;
};

/* What is left to do after a virtualized APIC write. */
enum vapic_after { AFTER_NOTHING, AFTER_TPR_EXIT, AFTER_EOI_EXIT,
		   AFTER_WRITE_EXIT };

/* The EPT's last level for 2 MiB of guest-physical memory; see ept.c. */
#define EPT_SLOTS 64
struct ept_slot {
	uint64_t tag;             /* guest-physical >> 21 */
	uint64_t eptp, gen;       /* gen 0: empty */
	const uint8_t *table;     /* host pointer to the page table */
	uint64_t table_hpa;
	uint64_t upper;           /* rights of the upper levels */
	uint64_t reserved;        /* bits that a good entry has clear */
};

/* CR0's bits that a transition leaves alone (SDM 27.3.2.1, 28.5.1): ET, NW, CD and
 * what is reserved. */
#define CR0_KEPT (CR0_CD | CR0_NW | CR0_ET | 0xffffffff1ffaffc0ull)

/* Rows of checks.def, and bytes of a vmx_check_ctx.seen in whole words. */
#define RECHECK_WORDS 4
#define SEEN_BYTES ((VMCS_FIELD_COUNT + 7) / 8 * 8)
struct recheck {
	uint64_t dirty[RECHECK_WORDS];      /* rows to look at */
	uint64_t rows_of[SEEN_BYTES][RECHECK_WORDS]; /* that rest on a field */
	struct vmx_check_ctx context;       /* all but page and current */
	bool context_known;
	bool lma;                 /* IA32_EFER.LMA when the host was checked */
};

/* A field as VMREAD and VMWRITE of 64-bit code find it at once. */
struct field_slot {
	uint16_t offset;          /* in the page; 0: take the long way */
	uint8_t unused_bits;      /* of the eight bytes there */
	uint8_t index;            /* of the field */
	bool may_write;
};
/* The encodings in use: width, type, and six bits of index. */
#define FIELD_SLOTS 1024
#define FIELD_SLOT_BITS 0x6c7eu
static inline unsigned field_slot(uint64_t encoding)
{
	return (unsigned)((encoding >> 13 & 3) << 8 | (encoding >> 10 & 3) << 6 |
			  (encoding >> 1 & 0x3f));
}

struct vmx {
	uint64_t vmxon_pa;        /* VMX_NONE: not in VMX operation */
	uint64_t current;         /* current-VMCS pointer, or VMX_NONE */
	uint64_t shadow_pa;       /* cached shadow VMCS, or VMX_NONE */
	const struct layout *l;   /* of page and shadow */
	alignas(64) uint8_t page[VMCS12_SIZE];
	alignas(64) uint8_t shadow[VMCS12_SIZE];
	struct vmx_caps caps;
	struct vmx_ctl ctl;
	struct recheck recheck;
	bool slots_known;
	struct field_slot slots[FIELD_SLOTS];
	bool run_pending;         /* a VM entry is due as soon as the vCPU runs */
	bool mtf_pending;         /* exit after one more instruction */
	bool mtf_armed;
	bool host_nmi_blocked;    /* blocking by NMI proper, while BLOCK_NMI
	                           * stands for virtual-NMI blocking */
	/* The IRET that removed blocking by NMI last: its place in time and code.
	 * An exit of that very instruction tells (SDM 28.2.3, bit 12). */
	uint64_t iret_icount, iret_rip;
	uint64_t ptimer_due;      /* TSC (unscaled) at which it expires */
	uint16_t smm_flags;       /* kvm_nested_state's, carried */
	uint8_t header_tail[88];  /* bytes 40..127, carried */
	uint64_t ple_first, ple_last;
	bool quiet;               /* hooks are silent: builtin.c replays */
	enum vapic_after after;
	unsigned after_value;
	uint32_t nested_size;     /* of the buffer that was loaded */
	struct ept_slot ept[EPT_SLOTS];
	/* builtin.c: the instruction count at its last answer, and how many there were
	 * at that. */
	uint64_t answered_at;
	unsigned answers;
};

/* What rests on a field of the current VMCS is looked at by the next entry. */
static inline void vmx_field_changed(struct vmx *v, unsigned idx)
{
	for (unsigned w = 0; w < RECHECK_WORDS; w++)
		v->recheck.dirty[w] |= v->recheck.rows_of[idx][w];
}

/* Values of fields in the current VMCS, by the field's name.  A field that the
 * layout lacks reads as 0. */
#define VGET(v, NAME) ({ uint64_t vget_ = 0;				\
	unsigned voff_ = (v)->l->offset[VMCS_IDX_##NAME];		\
	if (likely(voff_))						\
		memcpy(&vget_, (v)->page + voff_, VFIELD_BYTES(NAME));	\
	vget_; })
#define VSET(v, NAME, value) do { uint64_t vset_ = (value);		\
	unsigned voff_ = (v)->l->offset[VMCS_IDX_##NAME];		\
	if (likely(voff_))						\
		memcpy((v)->page + voff_, &vset_, VFIELD_BYTES(NAME));	\
	vmx_field_changed(v, VMCS_IDX_##NAME);				\
	} while (0)
#define VFIELD_BYTES(NAME) \
	((VMCS_##NAME >> 13 & 3) == VMCS_W16 ? 2 : \
	 (VMCS_##NAME >> 13 & 3) == VMCS_W32 ? 4 : 8)

/* -- vmx.c ------------------------------------------------------------------- */
bool vmx_on(const struct vcpu *c);
/* The layout of the cached VMCS: layout_union() and, in bytes that no kernel's
 * vmcs12 reaches, the fields that KVM keeps from its L1 but the core can serve:
 * EPTP index, #VE information area, SPP table, PAUSE loops.  Only an L0 profile
 * with beyond_kvm shows them. */
const struct layout *vmx_layout(void);
/* Bit 12 of an exit's interruption information or qualification, or 0. */
uint32_t vmx_nmi_unblocked(const struct vcpu *c);
void vmx_write_back(struct vcpu *c);            /* page to RAM */
void vmx_load_page(struct vcpu *c, uint64_t pa);/* RAM to page */
uint64_t vmx_host_tsc(const struct vcpu *c);

/* Well-formed by the capabilities (SDM 27.2.1.1). */
bool vmx_eptp_valid(const struct vcpu *c, uint64_t eptp);

/* -- recheck.c ----------------------------------------------------------------- */
void vmx_recheck_all(struct vmx *v);
void vmx_recheck_group(struct vmx *v, unsigned groups);
/* The first row of these groups that does not hold, in the SDM's order. */
const struct vmx_check *vmx_recheck(struct vmx *v, struct vmx_check_ctx *x,
				    unsigned groups);

/* -- entry.c, load.c ---------------------------------------------------------- */
/* VMLAUNCH or VMRESUME after the checks on the instruction itself.  Returns only
 * where the entry fails early (flags say so); else leaves for L2 or L1. */
void vmx_enter(struct vcpu *c, bool launch);
/* Decodes the controls into v->ctl. */
void vmx_decode_controls(struct vcpu *c);
void vmx_load_guest(struct vcpu *c);
void vmx_load_segments(struct vcpu *c);
/* Loads the MSRs of an area; the number of the entry that failed (from 1), or
 * 0. */
uint32_t vmx_load_msrs(struct vcpu *c, uint64_t area, uint32_t count);
bool vmx_store_msrs(struct vcpu *c, uint64_t area, uint32_t count);
/* After nonroot changed and the registers are loaded: mode, TLB context. */
void vmx_switched(struct vcpu *c);
/* Starts L2 that the vCPU's registers already hold (KVM_SET_NESTED_STATE). */
void vmx_start_guest(struct vcpu *c, bool from_vmcs);
/* Delivers the event of VM_ENTRY_INTR_INFO_FIELD, if any; true: there was. */
bool vmx_inject(struct vcpu *c);
void vmx_arm_ptimer(struct vcpu *c, uint64_t value);
uint32_t vmx_ptimer_value(const struct vcpu *c);

/* -- exit.c --------------------------------------------------------------------- */
/* Exits of the instruction c->cur: syncs, records its length, leaves. */
_Noreturn void vmx_exit_insn(struct vcpu *c, uint32_t reason, uint64_t qual);
/* Exits between instructions, or after an event; state is synced.  Leaves. */
_Noreturn void vmx_exit(struct vcpu *c, uint32_t reason, uint64_t qual);
/* Exits of a memory access (EPT violation, misconfiguration, PML full, SPP,
 * APIC access): of the instruction, or of an event's delivery. RF is saved as
 * 1: the instruction will be tried again. */
_Noreturn void vmx_exit_memory(struct vcpu *c, uint32_t reason, uint64_t qual);
/* The same without leaving: the vCPU is L1's afterwards. */
void vmx_exit_now(struct vcpu *c, uint32_t reason, uint64_t qual);
/* A VM entry that failed after the host state was checked (33, 34). */
_Noreturn void vmx_entry_failed(struct vcpu *c, uint32_t reason, uint64_t qual);
void vmx_save_guest(struct vcpu *c, uint8_t *page);
_Noreturn void vmx_abort(struct vcpu *c, uint32_t indicator);
/* VM-exit instruction information of c->cur (SDM tables 28-8 to 28-14). */
uint32_t vmx_insn_info(struct vcpu *c, const struct insn *i);
uint64_t vmx_insn_disp(struct vcpu *c, const struct insn *i);

/* -- insn.c ----------------------------------------------------------------------- */
void vmx_succeed(struct vcpu *c);
void vmx_fail_invalid(struct vcpu *c);
void vmx_fail_valid(struct vcpu *c, unsigned error);
void vmx_fail(struct vcpu *c, unsigned error);  /* valid where there is a VMCS */
/* #UD, exit, #GP in the SDM's order, for all VMX instructions but VMXON. */
void vmx_insn_checks(struct vcpu *c, const struct insn *i, uint32_t reason);

/* -- shadow.c, l0.c ------------------------------------------------------------------ */
bool vmx_shadow_access(struct vcpu *c, uint64_t encoding, bool write);
void vmx_shadow_load(struct vcpu *c);
void vmx_shadow_flush(struct vcpu *c);
bool vmx_knows_field(const struct vcpu *c, int idx);
const struct l0_profile *l0_default(void);

/* -- builtin.c ------------------------------------------------------------------------- */
/* True: the built-in L1 has answered; L2 goes on. */
bool vmx_builtin_l1(struct vcpu *c, uint32_t reason, uint64_t qual);
void vmx_builtin_retired(struct vcpu *c);
uint64_t vmx_builtin_cr(struct vcpu *c, int cr, uint64_t value);

/* -- apicv.c --------------------------------------------------------------------------- */
void vapic_entry(struct vcpu *c);
void vapic_evaluate(struct vcpu *c);     /* pending virtual interrupts */
bool vapic_deliver(struct vcpu *c);      /* true: one was delivered */
bool vapic_after_write(struct vcpu *c);  /* true: an exit was taken */
void vapic_process_posted(struct vcpu *c);
_Noreturn void vapic_physical(struct vcpu *c);

#endif
