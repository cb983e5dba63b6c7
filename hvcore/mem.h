/* mem.h: linear and physical memory, as the instruction handlers see it.
 *
 * A TLB is three direct-mapped arrays (read, write, fetch): permission is
 * which array holds the page.  A hit is one compare and one add; the mask
 * keeps the low size-1 bits of the address, so that an unaligned access
 * misses too and the slow path sorts it out (and checks alignment).  Writes
 * hit only where the guest's and EPT's dirty bits are already set and the
 * page holds no decoded code.  Rights differ between supervisor, user and
 * supervisor with AC: each (context, class) has a struct tlb of its own and
 * c->tlb points to the current one.
 */
#ifndef NSTATE_HVCORE_MEM_H
#define NSTATE_HVCORE_MEM_H

#include "hvcore/cpu.h"

#define PAGE_BITS 12
#define PAGE_MASK 0xfffull
#define TLB_SETS 512

struct tlbe {
	uint64_t tag;      /* linear page address; TLB_EMPTY never matches */
	uint64_t addend;   /* host address = linear address + addend */
};
#define TLB_EMPTY 0x0000800000000fffull

struct tlb {
	struct tlbe r[TLB_SETS], w[TLB_SETS], x[TLB_SETS];
	uint64_t xphys[TLB_SETS]; /* x[]: L1-physical page of the fetch */
	/* mem/'s own book-keeping follows in struct tlb_full of mem/tlb.h */
};

enum mem_access { ACC_READ = 1, ACC_WRITE = 2, ACC_FETCH = 4, ACC_RMW = 3,
                  ACC_SHSTK = 8,    /* shadow-stack access */
                  ACC_IMPLICIT = 16 /* supervisor whatever the CPL */ };

static inline void *tlb_hit(const struct tlbe *set, uint64_t lin, unsigned size)
{
	const struct tlbe *t = &set[lin >> PAGE_BITS & (TLB_SETS - 1)];

	if (likely((lin & (~PAGE_MASK | (size - 1))) == t->tag))
		return (void *)(uintptr_t)(lin + t->addend);
	return NULL;
}

/* Slow paths (mem/access.c): set c->cur = i, translate, check alignment, fill
 * the TLB, do MMIO, or raise.  size is 1, 2, 4 or 8. */
uint64_t mem_read_slow(struct vcpu *c, const struct insn *i, uint64_t lin,
		       unsigned size);
void mem_write_slow(struct vcpu *c, const struct insn *i, uint64_t lin,
		    unsigned size, uint64_t value);
/* Checks that [lin, lin+size) can be written (faults as a write does, sets the
 * dirty bits): before a read-modify-write or a push of several words. */
void mem_probe_write(struct vcpu *c, const struct insn *i, uint64_t lin,
		     unsigned size);

/* Any length (SIMD operands, XSAVE areas, descriptors): all of it translated
 * before the first byte changes. */
void mem_read_bytes(struct vcpu *c, const struct insn *i, uint64_t lin,
		    void *buf, unsigned len);
void mem_write_bytes(struct vcpu *c, const struct insn *i, uint64_t lin,
		     const void *buf, unsigned len);
/* The same as supervisor whatever the CPL: descriptor tables, TSS, IDT. */
void mem_sys_read(struct vcpu *c, uint64_t lin, void *buf, unsigned len);
void mem_sys_write(struct vcpu *c, uint64_t lin, const void *buf, unsigned len);
void mem_sys_probe_write(struct vcpu *c, uint64_t lin, unsigned len);

#define MEM_ACCESSORS(bits)						\
static inline uint##bits##_t mem_read##bits(struct vcpu *c,		\
		const struct insn *i, uint64_t lin)			\
{									\
	const void *p = tlb_hit(c->tlb->r, lin, bits / 8);		\
	uint##bits##_t v;						\
	if (unlikely(!p))						\
		return (uint##bits##_t)mem_read_slow(c, i, lin, bits / 8);\
	memcpy(&v, p, sizeof v);					\
	return v;							\
}									\
static inline void mem_write##bits(struct vcpu *c, const struct insn *i,\
		uint64_t lin, uint##bits##_t v)				\
{									\
	void *p = tlb_hit(c->tlb->w, lin, bits / 8);			\
	if (unlikely(!p))						\
		mem_write_slow(c, i, lin, bits / 8, v);			\
	else								\
		memcpy(p, &v, sizeof v);				\
}
MEM_ACCESSORS(8)
MEM_ACCESSORS(16)
MEM_ACCESSORS(32)
MEM_ACCESSORS(64)

/* With the rights of cpl: stacks of another privilege level. */
void mem_read_as(struct vcpu *c, uint64_t lin, void *buf, unsigned len,
		 unsigned cpl);
void mem_write_as(struct vcpu *c, uint64_t lin, const void *buf, unsigned len,
		  unsigned cpl);
/* Shadow-stack accesses of 4 or 8 bytes, aligned (CET, SDM vol. 1 ch. 17). */
uint64_t mem_shstk_read(struct vcpu *c, uint64_t lin, unsigned size, bool user);
void mem_shstk_write(struct vcpu *c, uint64_t lin, unsigned size, bool user,
		     uint64_t v);

/* Fetch (mem/access.c): host pointer to the code at lin up to its page's end
 * and its L1-physical address; raises #PF and the like.  NULL: fetch from
 * something that is not RAM. */
const uint8_t *mem_fetch(struct vcpu *c, uint64_t lin, uint64_t *phys);

/* A host pointer to one page of lin that may be used for `want` bytes inside
 * it for bulk copies (REP MOVS), or NULL where single accesses must do. */
void *mem_bulk(struct vcpu *c, const struct insn *i, uint64_t lin,
	       enum mem_access access);

/* Walks the tables as access would, without effects (no A/D bits, no faults):
 * for INS probes, debuggers.  False: not mapped. */
bool mem_peek_linear(struct vcpu *c, uint64_t lin, uint64_t *gpa);

/* A vCPU's TLBs; false: out of memory. */
bool mem_init_vcpu(struct vcpu *c);
void mem_free_vcpu(struct vcpu *c);

/* Context changes. */
void mem_switch_context(struct vcpu *c);  /* CR0/3/4, EFER, CPL, AC, PKRU, VMX
                                           * entry/exit: picks c->tlb */
void mem_flush_all(struct vcpu *c);       /* every context of this vCPU */
void mem_flush_pcid(struct vcpu *c, uint16_t pcid, bool globals);
void mem_flush_vpid(struct vcpu *c, uint16_t vpid, bool keep_globals);
/* A VM entry or exit without VPID: forgets what VPID 0 has. */
void mem_transition(struct vcpu *c);
/* What the current context has cached rests on the paging-structure entry at hpa. */
void mem_rests_on(struct vcpu *c, uint64_t hpa);
void mem_flush_eptp(struct vcpu *c, uint64_t eptp);
/* Changes whenever guest-physical mappings have to be forgotten. */
uint32_t mem_gpa_generation(const struct vcpu *c);
/* Is all of gpa's page plain RAM? */
bool phys_is_ram(struct vm *vm, uint64_t gpa);
void mem_flush_page(struct vcpu *c, uint64_t lin); /* INVLPG, current context */
void mem_flush_addr(struct vcpu *c, uint16_t vpid, uint64_t lin);
void mem_flush_phys_code(struct vm *vm, uint64_t gpa); /* page became code:
                                           * drop W entries for it everywhere */

/* -- physical memory (L1's physical address space) ------------------------- */
/* Host pointer to RAM at gpa, or NULL; len must not cross a slot's end. */
uint8_t *phys_ptr(struct vm *vm, uint64_t gpa, uint64_t len);
/* Any physical access: RAM, MMIO, or nothing (reads ones, writes lost).
 * Writes tell the block cache and watches. */
void phys_read(struct vcpu *c, uint64_t gpa, void *buf, unsigned len);
void phys_write(struct vcpu *c, uint64_t gpa, const void *buf, unsigned len);
uint64_t phys_read64(struct vcpu *c, uint64_t gpa);
uint32_t phys_read32(struct vcpu *c, uint64_t gpa);
void phys_write64(struct vcpu *c, uint64_t gpa, uint64_t v);
void phys_write32(struct vcpu *c, uint64_t gpa, uint32_t v);
/* exec/block.c: code in [gpa, gpa+len) changed. */
void block_invalidate(struct vm *vm, uint64_t gpa, unsigned len);

#endif
