/* tlb.h: the TLB pool, walks and physical memory; private to hvcore/mem/.
 *
 * A context is everything that decides what a linear address means but the
 * privilege: (EPTP, VPID, PCID, CR3, paging mode, protection keys).  It has a
 * TLB for each privilege class.  Contexts whose key comes back are found again
 * with their entries, so that CR3 loads with PCID, VM entries and VM exits
 * flush nothing.
 *
 * Besides TLBs a context caches the last level's tables (struct pde_slot:
 * "these 2 MiB are mapped by the page table at..."); vmx/ept.c does the same for
 * the second level.  Both serve the plain case only: whatever would fault,
 * exit or set an A/D bit is walked afresh from the root, so a stale entry can
 * never cause a fault that the tables do not.
 */
#ifndef NSTATE_HVCORE_MEM_TLB_H
#define NSTATE_HVCORE_MEM_TLB_H

#include "hvcore/mem.h"
#include "hvcore/parts.h"

enum tlb_class { CLS_SUPER, CLS_SUPER_AC, CLS_USER, CLS_COUNT };

#define TLB_CONTEXTS 24
#define PDE_SLOTS 64
#define BLOOM_BITS 1024

/* All bytes are set (no padding), so that keys compare by memcmp. */
struct ctx_key {
	uint64_t eptp, cr3;
	uint32_t mode;           /* CR4's bits of paging, and KEY_* */
	uint32_t pkru, pkrs;
	uint16_t vpid, pcid;
};
enum { KEY_NONROOT = 1 << 27, KEY_LMA = 1 << 28, KEY_NXE = 1 << 29,
       KEY_WP = 1 << 30 };

struct tlb_full {
	struct tlb t;
	/* Slots that are not empty: 0.. of r, 512.. of w, 1024.. of x. */
	uint16_t filled[3 * TLB_SETS];
	unsigned nfilled;
};

struct pde_slot {
	uint64_t tag;            /* linear >> 21, ~0: empty */
	uint64_t table_hpa;
	const uint8_t *table;    /* host pointer to the page table */
	uint8_t rights;          /* enum perm of the upper levels */
};

struct tlb_ctx {
	struct ctx_key key;
	bool used;
	bool proven;             /* tables.c: all its walks left marks... */
	uint64_t table_writes;   /* ...and none was written up to here */
	uint64_t last_use;
	uint64_t gen_super, gen_user; /* map_gen values */
	/* Fetch pages seen since the generation began: was this page one? */
	uint64_t bloom[BLOOM_BITS / 64];
	/* Linear range filled from large pages, and the largest's size. */
	uint64_t big_first, big_last;
	uint8_t big_shift;
	struct pde_slot pde[PDE_SLOTS];
	struct tlb_full *cls[CLS_COUNT];
};

struct tlb_pool {
	struct tlb_ctx ctx[TLB_CONTEXTS];
	struct tlb_ctx *cur;
	uint64_t clock, next_gen;
	uint64_t dr7;            /* that the TLBs were filled under */
	unsigned losses, rest;   /* tables.c: marks that were for nothing, and
	                          * transitions to do without them */
	uint32_t gpa_gen;        /* see mem_gpa_generation */
};

/* What the upper levels allow, and the leaf. */
enum perm { PERM_W = 1, PERM_U = 2, PERM_NX = 4 };

struct walk {
	/* in */
	uint64_t lin;
	uint8_t access;          /* ACC_* */
	uint8_t cls;             /* enum tlb_class */
	bool peek;               /* no effects; fails instead of faulting */
	/* out */
	uint64_t gpa, hpa;       /* of lin itself */
	uint32_t error;          /* page-fault error code where it fails */
	uint8_t rights;          /* ACC_READ | WRITE | FETCH that this class has
	                          * and that need no more A/D work */
	uint8_t shift;           /* page size, the smaller of both levels */
	bool special;            /* see struct ept_result */
	/* within */
	uint8_t perm, leaf_shift;
	uint64_t leaf;           /* the entry that maps the page */
	bool shstk_upper;        /* every upper level writable */
	bool entry_missing;      /* second-level peek failed */
	unsigned nsteps;
	struct { uint64_t hpa, gpa, value; } step[5];
};

/* walk.c: false: page fault, w->error says which.  Leaves by longjmp where the
 * second level exits. */
bool walk_linear(struct vcpu *c, struct walk *w);

/* tlb.c */
enum tlb_class tlb_class_of(const struct vcpu *c);
struct tlb_full *tlb_get(struct vcpu *c, enum tlb_class cls);
void tlb_fill(struct vcpu *c, struct tlb_full *t, const struct walk *w,
	      uint8_t *host_page, bool no_write);

void ctx_flush(struct vcpu *c, struct tlb_ctx *x);
void tlb_forget(struct vcpu *c, uint64_t lin);

/* tables.c: an entry is to be made from all of w's steps. */
void tables_walked(struct vcpu *c, const struct walk *w);
/* A page with PAGE_TABLE among its flags was written. */
void tables_written(struct vm *vm, uint8_t *flags);

/* The flags byte of the page at gpa, or NULL where there is no RAM. */
uint8_t *phys_flags(struct vm *vm, uint64_t gpa);
const struct mmio_region *phys_mmio(struct vm *vm, uint64_t gpa);
/* After a write to RAM at [gpa, gpa+len), within one page. */
void phys_written(struct vcpu *c, uint64_t gpa, unsigned len);

#endif
