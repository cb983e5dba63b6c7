/* parts.h: what each part of the core offers to the others.
 *
 * cpu.h says who owns what.  A part's private headers stay in its folder; this
 * page is all that another part may call.
 */
#ifndef NSTATE_HVCORE_PARTS_H
#define NSTATE_HVCORE_PARTS_H

#include "hvcore/cpu.h"

/* ==== decode: handlers that the table names but other parts implement =====
 * The instruction table (decode/) names a handler by its function; handlers
 * outside exec/ are ordinary functions "void op(struct vcpu *, const struct
 * insn *)" marked SLOW in the table: exec/ sets c->cur before the call, goes
 * on after it, and ends the block where the row says so (ENDS).  They may
 * change RIP only by cpu_jump. */
typedef void slow_fn(struct vcpu *c, const struct insn *i);
/* The operand of a SLOW instruction with ModRM: linear address with segment
 * checks done (memory form), or register number. i->rm is the register when
 * insn_is_mem is false. */
bool insn_is_mem(const struct insn *i);
uint64_t insn_linear(struct vcpu *c, const struct insn *i); /* effective + base,
                            * limit and canonical checks for the access size
                            * of the row; raises #GP/#SS */
uint64_t insn_effective(struct vcpu *c, const struct insn *i); /* offset only */
unsigned insn_opsize(const struct insn *i);  /* 2, 4, 8 bytes */
unsigned insn_adsize(const struct insn *i);  /* 2, 4, 8 bytes */
unsigned insn_rep(const struct insn *i);     /* 0, 0xf2, 0xf3 */
/* #SS(0) or #GP(0): by the segment, or in 64-bit mode by the base register. */
_Noreturn void insn_address_fault(struct vcpu *c, const struct insn *i);
/* Sets RIP from a SLOW handler that ENDS its block. */
void cpu_jump(struct vcpu *c, uint64_t rip);
/* The register operand of ModRM.reg (i->reg) and the opcode's immediate
 * (i->imm) are in struct insn; which of the forms of an opcode it is tells: */
unsigned insn_opcode(const struct insn *i);  /* last opcode byte */

/* SLOW handlers of sys/ (system instructions).  ModRM forms: control or debug
 * register number in i->reg, general register in i->rm. */
slow_fn op_mov_from_cr, op_mov_to_cr, op_mov_from_dr, op_mov_to_dr, op_clts,
	op_lmsw, op_smsw, op_lgdt, op_lidt, op_sgdt, op_sidt, op_lldt, op_ltr,
	op_sldt, op_str, op_verr, op_verw, op_lar, op_lsl, op_arpl,
	op_invlpg, op_invpcid, op_invd, op_wbinvd, op_rdmsr, op_wrmsr, op_rdpmc,
	op_rdtsc, op_rdtscp, op_rdpid, op_rdrand, op_rdseed, op_cpuid, op_hlt,
	op_monitor, op_mwait, op_umonitor, op_umwait, op_tpause, op_swapgs,
	op_rdfsbase, op_rdgsbase, op_wrfsbase, op_wrgsbase, op_clac, op_stac,
	op_rdpkru, op_wrpkru, op_serialize, op_rsm, op_getsec, op_encls,
	op_enclu, op_enclv, op_pconfig, op_loadiwkey,
	/* CET (SDM vol. 1, 17); WRSS and WRUSS by insn_opsize */
	op_incssp, op_rdssp, op_saveprevssp, op_rstorssp, op_wrss, op_wruss,
	op_setssbsy, op_clrssbsy;
/* SLOW handlers of event/: far control transfers.  _ptr: selector in imm
 * 47:32 (offset below; 31:16 with a 16-bit operand it is still 47:32), _mem:
 * m16:16/32/64 at insn_linear.  RETF: bytes to release in imm.  INT n: vector
 * in imm.  Operand size by insn_opsize, stack size from SS. */
slow_fn op_callf_ptr, op_callf_mem, op_jmpf_ptr, op_jmpf_mem, op_retf, op_iret,
	op_int, op_int3, op_into, op_int1, op_syscall, op_sysret, op_sysenter,
	op_sysexit;

/* CET for near transfers: sys/cet.c; called under MODE_CET only, c->cur set.
 * cet_call pushes ret (after the stack was probed, before it is written);
 * cet_ret pops and compares with target or raises #CP; cet_track is told of
 * an indirect near JMP/CALL without NOTRACK; cet_waiting: the next instruction
 * has to be ENDBR (of this code size), else cet_missing_endbr is called with
 * cur at it (returns where legacy compatibility allows it); cet_endbr: it was. */
void cet_call(struct vcpu *c, uint64_t ret, unsigned size);
void cet_ret(struct vcpu *c, uint64_t target, unsigned size);
void cet_track(struct vcpu *c);
bool cet_waiting(const struct vcpu *c);
void cet_missing_endbr(struct vcpu *c);
void cet_endbr(struct vcpu *c);
bool cet_notrack(const struct vcpu *c); /* is the NOTRACK prefix heeded? */

/* ==== exec/ =============================================================== */
/* hv_vm's shared cache of blocks; made with the first vCPU. */
struct block_cache *block_cache_new(struct vm *vm);
void block_cache_free(struct block_cache *b);

/* ==== event/ ============================================================== */
/* After a longjmp: c->fault to a delivery (VMX intercept, #DF, triple fault).
 * State is synced. */
void event_deliver_fault(struct vcpu *c);
/* Before an instruction is done over: breakpoints that its accesses met are met again. */
void event_drop_data_traps(struct vcpu *c);
/* Delivers through the IDT/IVT: fault, trap, interrupt or injected event.
 * Faults during it longjmp. */
void event_inject(struct vcpu *c, unsigned vector, enum event_type type,
		  bool has_error, uint32_t error, unsigned insn_len);
/* Between blocks, when pending_events or blocking is set: takes the highest
 * priority event that is deliverable (SDM 7.9 order).  True: state changed. */
bool event_poll(struct vcpu *c);
/* Far control transfers; SLOW handlers for CALL/JMP far, RETF, IRET, INT,
 * SYSCALL, SYSRET, SYSENTER, SYSEXIT stand in event/ too. */
void load_segment(struct vcpu *c, int seg, uint16_t selector); /* MOV/POP/LxS */
void task_switch(struct vcpu *c, uint16_t selector, int why, bool has_error,
		 uint32_t error);
/* Leaves for the run loop: state is whole (after a VM exit, a task switch). */
_Noreturn void cpu_resume(struct vcpu *c);

/* ==== sys/ ================================================================ */
uint64_t msr_read(struct vcpu *c, uint32_t index, bool *gp);    /* no intercept */
void msr_write(struct vcpu *c, uint32_t index, uint64_t v, bool *gp);
/* For VMX MSR lists and state load: as above, but tells unknown from bad. */
void cr_load(struct vcpu *c, int cr, uint64_t v); /* no checks: sets, flushes,
                                                   * recomputes mode */
/* Reads and checks the four PDPTEs at cr3 (L1- or, under EPT, L2-physical);
 * false: a reserved bit is set, c->pdptr is unchanged. */
bool pdptrs_load(struct vcpu *c, uint64_t cr3);
bool cr0_valid(const struct vcpu *c, uint64_t v); /* architectural only */
bool cr4_valid(const struct vcpu *c, uint64_t v);
uint64_t cr4_reserved(const struct vcpu *c);      /* from CPUID */
/* By the paging mode (addresses that are used), and by the widest that the CPU
 * has: what MSRs, descriptor-table and segment bases are checked against. */
bool canonical(const struct vcpu *c, uint64_t va);
bool canonical_max(const struct vcpu *c, uint64_t va);
unsigned maxphyaddr(const struct vcpu *c);
void cpuid_query(struct vcpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4]);
bool cpu_has(const struct vcpu *c, uint32_t leaf, uint32_t sub, unsigned reg,
	     unsigned bit);                       /* CPUID feature, cached */
/* The value that the snapshot or the named model gives an MSR which has no
 * place of its own in struct vcpu (capabilities among them). */
bool model_msr(const struct vcpu *c, uint32_t index, uint64_t *v);
const char *model_name(const struct vcpu *c); /* NULL: from a snapshot */
/* vmx/: CPUID or the kept MSRs were replaced. */
void vmx_model_changed(struct vcpu *c);
uint64_t cpu_tsc(const struct vcpu *c);           /* host (L1) TSC */
void cpu_reset(struct vcpu *c, bool init);        /* power-up or INIT */
void cpu_sipi(struct vcpu *c, uint8_t vector);

/* ==== mem/ to vmx/: second-level translation =============================== */
/* vmx/ept.c.  Translates an L2-physical address; access is enum mem_access of
 * the final access, walk true when gpa is a guest paging-structure entry.
 * Sets A/D bits, logs to the PML, or exits (violation, misconfiguration, PML
 * full, #VE).  lin is the linear address if lin_valid. Returns the L1-physical
 * page with its rights, for the TLB. */
struct ept_result {
	uint64_t hpa;            /* page address plus offset */
	uint8_t rights;          /* ACC_READ|ACC_WRITE|ACC_FETCH; fetch for the
	                          * current privilege under MBEC */
	uint8_t rights_ufetch;   /* user-mode fetch under MBEC */
	bool dirty;              /* dirty bit is set (or A/D is off) */
	uint8_t page_shift;      /* 12, 21, 30 */
	bool special;            /* APIC-access page, SPP: never in the TLB */
};
struct ept_access {
	uint64_t gpa, lin;
	uint8_t access;          /* ACC_* */
	bool lin_valid, walk, user;
	/* advanced information (bit 22 of the EPT capabilities) */
	bool lin_user, lin_writable, lin_nx;
};
void ept_translate(struct vcpu *c, const struct ept_access *a,
		   struct ept_result *out);
/* The same where it needs no walk and has no effect: a cached table's entry
 * that allows the access and has its flags set.  False: ask ept_translate. */
bool ept_translate_plain(struct vcpu *c, const struct ept_access *a,
			 struct ept_result *out);
bool ept_enabled(const struct vcpu *c);  /* non-root and EPT on */
bool ept_peek(struct vcpu *c, uint64_t gpa, uint64_t *hpa); /* no effects */
/* The TLB context's tag: 0 in root mode. */
uint64_t vmx_tlb_eptp(const struct vcpu *c);
uint16_t vmx_tlb_vpid(const struct vcpu *c);
/* APIC-access page or virtual x2APIC: true when the access was virtualized. */
bool vapic_read(struct vcpu *c, uint64_t offset, unsigned size, uint64_t *v);
bool vapic_write(struct vcpu *c, uint64_t offset, unsigned size, uint64_t v);
_Noreturn void vapic_fetch(struct vcpu *c, uint64_t offset);
/* RDMSR and WRMSR of 0x800..0x8ff under "virtualize x2APIC mode", after
 * vmx_hook_msr: false: not virtualized; raises #GP itself. */
bool vmx_x2apic_read(struct vcpu *c, uint32_t index, uint64_t *v);
bool vmx_x2apic_write(struct vcpu *c, uint32_t index, uint64_t v);
bool vmx_is_apic_access(const struct vcpu *c, uint64_t hpa);

/* ==== vmx/: the one question at each place an exit can come from ===========
 * Each hook returns when there is nothing to do (always in root mode: test
 * c->nonroot first) and leaves by longjmp when it exits.  c->cur must be set. */
enum vmx_insn_kind { VI_CPUID, VI_HLT, VI_INVD, VI_INVLPG, VI_RDPMC, VI_RDTSC,
	VI_RDTSCP, VI_MWAIT, VI_MONITOR, VI_PAUSE, VI_WBINVD, VI_XSETBV,
	VI_RDRAND, VI_RDSEED, VI_INVPCID, VI_XSAVES, VI_XRSTORS, VI_GETSEC,
	VI_RSM, VI_SGDT, VI_SIDT, VI_LGDT, VI_LIDT, VI_SLDT, VI_STR, VI_LLDT,
	VI_LTR, VI_ENCLS, VI_UMWAIT, VI_TPAUSE, VI_LOADIWKEY, VI_RDPID };
void vmx_hook_insn(struct vcpu *c, const struct insn *i, enum vmx_insn_kind k);
void vmx_hook_io(struct vcpu *c, const struct insn *i, uint16_t port,
		 unsigned size, bool in, bool string, bool rep, bool immediate);
void vmx_hook_msr(struct vcpu *c, uint32_t index, bool write);
/* MOV to CR: returns the value that the guest really loads (masks applied). */
uint64_t vmx_hook_cr_write(struct vcpu *c, int cr, uint64_t v, unsigned gpr);
uint64_t vmx_hook_cr_read(struct vcpu *c, int cr, unsigned gpr);
void vmx_hook_clts(struct vcpu *c, bool *skip);
/* LMSW source: memory operand's linear address for the exit, or ~0. */
uint64_t vmx_hook_lmsw(struct vcpu *c, uint16_t source, bool mem, uint64_t lin);
uint64_t vmx_hook_smsw(struct vcpu *c);           /* CR0 as the guest reads it */
void vmx_hook_dr(struct vcpu *c, int dr, bool write, unsigned gpr);
void vmx_hook_fault(struct vcpu *c, const struct fault *f); /* before IDT */
void vmx_hook_task_switch(struct vcpu *c, uint16_t selector, int why,
			  unsigned insn_len);
/* From event_poll; true: the event became an exit (state is L1's now). */
bool vmx_hook_event(struct vcpu *c, uint32_t pend, uint8_t vector_if_known);
bool vmx_wants_window(struct vcpu *c);  /* NMI/interrupt window, preemption
                                         * timer, MTF due: exits if so */
void vmx_hook_triple_fault(struct vcpu *c); /* exits in non-root mode */
void vmx_idt_vectoring(struct vcpu *c); /* an exit during delivery of c->event */
/* Non-root: are NMIs held back?  (Physical NMIs that exit are not held back by
 * virtual-NMI blocking.) */
bool vmx_blocks_nmi(const struct vcpu *c);
/* Non-root: does IRET end blocking by NMI (bit 3 of c->blocking, which stands
 * for virtual-NMI blocking under virtual NMIs)? (SDM 26.3) */
bool vmx_iret_unblocks(struct vcpu *c);
bool vmx_in_operation(const struct vcpu *c); /* after VMXON: INIT is blocked */
uint64_t vmx_tsc(struct vcpu *c, uint64_t tsc);   /* offset and scale */
uint64_t vmx_apic_tpr(struct vcpu *c, bool write, uint64_t v); /* MOV CR8 */
/* Instructions until the preemption timer fires, or ~0. */
uint64_t vmx_ptimer_left(const struct vcpu *c);
void vmx_retired(struct vcpu *c);       /* MTF: after one instruction */
bool vmx_mtf(const struct vcpu *c);     /* MTF is on: cpu_update_mode asks */
void vmx_init_vcpu(struct vcpu *c);
void vmx_free_vcpu(struct vcpu *c);
void vmx_reset(struct vcpu *c);
uint64_t vmx_cr0_fixed(const struct vcpu *c, bool fixed1); /* in VMX operation */
bool vmx_cr_allowed(const struct vcpu *c, int cr, uint64_t v); /* VMXON'd */
uint64_t vmx_msr_read(struct vcpu *c, uint32_t index, bool *gp); /* 0x480.. */
enum nst_status vmx_set_nested(struct vcpu *c, const void *blob, uint32_t size,
			       struct nst_error *e);
uint32_t vmx_get_nested(struct vcpu *c, void *blob, uint32_t size);
void vmx_watch_write(struct vcpu *c, uint64_t gpa, unsigned len);
/* SLOW handlers of the VMX instructions, named in the instruction table. */
slow_fn op_vmxon, op_vmxoff, op_vmclear, op_vmptrld, op_vmptrst, op_vmread,
	op_vmwrite, op_vmlaunch, op_vmresume, op_vmcall, op_vmfunc, op_invept,
	op_invvpid;

/* ==== fp/ ================================================================= */
void fp_init_vcpu(struct vcpu *c);
void fp_free_vcpu(struct vcpu *c);
void fp_reset(struct vcpu *c, bool init);
/* Fills i (fn, ptr, len...) for an x87/MMX/SSE/AVX/AVX-512 instruction at
 * bytes (whole, with prefixes; len bytes there), or returns false: not one of
 * fp/'s.  ctx tells mode and prefixes already parsed. See fp/fp.h. */
struct decode_ctx;
bool fp_decode(struct vcpu *c, const struct decode_ctx *x, struct insn *i);
/* XSAVE area (standard or compacted) to and from c->fpu. */
void fp_to_xsave(const struct vcpu *c, uint8_t *area, uint32_t size);
void fp_from_xsave(struct vcpu *c, const uint8_t *area, uint32_t size);
slow_fn op_fxsave, op_fxrstor, op_xsave, op_xsaveopt, op_xsavec, op_xsaves,
	op_xrstor, op_xrstors, op_xgetbv, op_xsetbv, op_ldmxcsr, op_stmxcsr,
	op_fwait, op_emms;

/* ==== board/ ============================================================== */
struct board *board_new(struct vm *vm);
void board_free(struct board *b);
uint32_t io_read(struct vcpu *c, uint16_t port, unsigned size);
void io_write(struct vcpu *c, uint16_t port, unsigned size, uint32_t v);
struct lapic *lapic_new(struct vcpu *c);
void lapic_free(struct lapic *l);
void lapic_reset(struct lapic *l, bool init);
/* Highest deliverable vector (PIC ExtINT too), or -1; ack takes it. */
int board_intr_pending(struct vcpu *c);
int board_intr_ack(struct vcpu *c);
uint8_t lapic_tpr(struct lapic *l);
void lapic_set_tpr(struct lapic *l, uint8_t tpr);
void lapic_eoi(struct lapic *l);
/* 0x1b, 0x6e0, 0x800..0x83f.  False: no such MSR (now): #GP. */
bool lapic_msr_read(struct vcpu *c, uint32_t index, uint64_t *v);
bool lapic_msr_write(struct vcpu *c, uint32_t index, uint64_t v, bool *gp);
/* Sends a fixed interrupt from inside (posted interrupts, IPI virt). */
void lapic_ipi(struct vcpu *c, uint32_t icr_low, uint32_t dest);
uint8_t lapic_sipi_vector(struct lapic *l);    /* of the last start-up IPI */
void lapic_set_base(struct vcpu *c, uint64_t base); /* KVM_SET_SREGS: no rules */
/* After the vCPU's TSC was written (IA32_TIME_STAMP_COUNTER, TSC_ADJUST, or
 * TSC-deadline): the deadline moves in board time. */
void board_tsc_changed(struct vcpu *c);
/* vmx/ calls these once a transition is done (nonroot has changed, state is
 * synced): counts, callbacks of struct hv_ops, exit limit. */
void run_vmentry(struct vcpu *c);
void run_vmexit(struct vcpu *c, uint32_t reason, uint64_t qualification);
/* vCPU instructions until this vCPU's next timer event, or ~0; and take it. */
uint64_t board_next_event(struct vcpu *c);
void board_time(struct vcpu *c);
void lapic_get(struct vcpu *c, struct kvm_lapic_state *s);
void lapic_set(struct vcpu *c, const struct kvm_lapic_state *s);

#endif
