/* block.h: blocks of decoded instructions and the cache that holds them.
 *
 * A block is keyed by the L1-physical address of its first byte and the mode
 * (struct vcpu's mode).  It ends at a branch, at 32 instructions or at the end
 * of its page; an instruction that crosses into another page is a block by
 * itself and its key holds the second page too.  One cache serves all vCPUs.
 *
 * Links lead from the branch that ends a block straight to the next block.
 * Inside one page a link holds for ever; into another page it holds for one
 * mapping generation and one linear address.  Until a way is linked, and where that has
 * to be checked, it leads to an instruction inside of the link, the guard.
 * Dead blocks stay readable, their handlers replaced by an exit, until the whole arena is emptied in cpu_run.
 */
#ifndef NSTATE_HVCORE_EXEC_BLOCK_H
#define NSTATE_HVCORE_EXEC_BLOCK_H

#include "hvcore/insn.h"
#include "hvcore/mem.h"

#define BLOCK_MAX 32
/* The budget keeps one block in reserve: as long as it is above 0, any block may
 * be entered without looking at its length. */
#define BUDGET_SLACK (BLOCK_MAX - 1)
#define JUMP_SETS 4096
#define NO_PAGE (~0ull)

/* One of the two ways out of a block: hot, read by every branch. */
struct way {
	const struct insn *go; /* the next block's first, or its link's guard */
	int32_t delta;         /* from this block's RIP to the target's */
	int32_t cost;          /* instructions retired */
};

struct link {
	struct insn guard;     /* runs when the way is not open: see go */
	struct exits *exits;
	const struct insn *from; /* the branch, or the block's END */
	struct block *to;      /* NULL: not linked */
	uint64_t gen, rip;     /* another page: c->map_gen and RIP it holds for */
	struct link *next, **prev; /* in to->incoming */
};

/* way[0] is the branch's target, way[1] what follows. */
struct exits {
	struct way way[2];
	struct link link[2];
};

struct block {
	uint64_t phys, phys2;  /* first byte; page of the last byte if another */
	uint32_t mode;
	uint16_t bytes;        /* of code */
	uint8_t n;             /* instructions */
	struct exits *exits;   /* NULL: it ends in something else */
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
/* Opens l to b, for c's present RIP and generation unless b is in the page that
 * l leads out of. */
void block_link(struct vcpu *c, struct link *l, struct block *b, bool same_page);

static inline struct jump_entry *jump_slot(struct block_cache *bc, uint64_t lin)
{
	return &bc->jump[(lin ^ lin >> 12) & (JUMP_SETS - 1)];
}

#endif
