/* block.h: blocks of decoded instructions and the cache that holds them.
 *
 * A block is keyed by the L1-physical address of its first byte and the mode
 * (struct vcpu's mode).  It ends at a branch, at 32 instructions or at the end
 * of its page; an instruction that crosses into another page is a block by
 * itself and its key holds the second page too.  One cache serves all vCPUs.
 *
 * Links lead from the branch that ends a block straight to the next block.
 * Inside one page a link holds for ever; into another page it holds for one
 * mapping generation and one linear address.  Dead blocks stay readable, their
 * handlers replaced by an exit, until the whole arena is emptied in cpu_run.
 */
#ifndef NSTATE_HVCORE_EXEC_BLOCK_H
#define NSTATE_HVCORE_EXEC_BLOCK_H

#include "hvcore/insn.h"
#include "hvcore/mem.h"

#define BLOCK_MAX 32
#define JUMP_SETS 4096
#define NO_PAGE (~0ull)

struct link {
	struct block *to;      /* NULL: not linked */
	uint64_t gen;          /* LINK_SAME_PAGE or c->map_gen */
	uint64_t rip;          /* the target's RIP, for links out of the page */
	struct link *next, **prev; /* in to->incoming */
};
#define LINK_SAME_PAGE 0ull  /* map_gen is never 0 */

struct block {
	uint64_t phys, phys2;  /* first byte; page of the last byte if another */
	uint32_t mode;
	uint16_t bytes;        /* of code */
	uint8_t n;             /* instructions */
	uint8_t nlinks;
	struct link *links;    /* nlinks of them */
	struct link *incoming;
	struct block *hash_next;
	struct block *page_next[2]; /* in the lists of its page(s) */
	struct insn insns[];   /* n and an END */
};

struct jump_entry {
	uint64_t lin, gen;
	struct block *to;
};

struct insn_index;

struct block_cache {
	struct vm *vm;
	struct insn_index *index;    /* of the instruction table */
	struct block **hash;
	struct code_page **pages;    /* hash of struct code_page */
	uint8_t *arena;
	size_t used, size;
	bool flush_wanted;
	uint64_t generation;         /* of the arena: counts flushes */
	struct jump_entry jump[JUMP_SETS];
};

/* The block at c's RIP for mode, decoded now if need be.  Raises what the
 * fetch raises.  NULL: the arena is full (flush_wanted is set). */
struct block *block_get(struct vcpu *c, uint32_t mode);
/* Empties the cache; no block may be running. */
void block_flush(struct block_cache *bc);
/* Points l at b for c's present RIP and generation. */
void block_link(struct vcpu *c, struct link *l, struct block *b, bool same_page);

static inline struct jump_entry *jump_slot(struct block_cache *bc, uint64_t lin)
{
	return &bc->jump[(lin ^ lin >> 12) & (JUMP_SETS - 1)];
}

#endif
