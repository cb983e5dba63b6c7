/* dispatch.h: how a handler that ends a block leaves it.
 *
 * insn.h has NEXT for the others.  Every exit charges the block's retired
 * instructions (ord + 1) to the budget, sets RIP, and goes on with the next
 * block if the budget holds all of it; else it returns to cpu_run.
 */
#ifndef NSTATE_HVCORE_EXEC_DISPATCH_H
#define NSTATE_HVCORE_EXEC_DISPATCH_H

#include "hvcore/exec/block.h"
#include "hvcore/exec/ea.h"

#ifdef HV_TRAMPOLINE
#define LEAVE(c) do { (c)->cur = NULL; return NULL; } while (0)
#else
#define LEAVE(c) do { (c)->cur = NULL; return; } while (0)
#endif

/* Charges instructions before and including i. */
static inline void retire(struct vcpu *c, const struct insn *i)
{
	c->budget -= i->ord + 1;
}

/* Goes on at RIP, which is set (and was checked), through the jump cache. */
insn_fn exec_continue;
/* A direct branch whose link was not usable: i->disp leads to the target
 * (taken), or the instruction's end does (fall). RIP is the block's still. */
insn_fn exec_link_taken, exec_link_fall;
/* Leaves to cpu_run with RIP at i: the block is stale, or ends before i. */
insn_fn exec_stale;

#define ENTER_BLOCK(c, b) do {						\
	if (unlikely((c)->budget < (b)->n))				\
		LEAVE(c);						\
	DISPATCH(c, (b)->insns);					\
} while (0)

#define GOTO_LINK(c, i, l, delta, slow) do {				\
	const struct link *l_ = (l);					\
	uint64_t rip_ = (c)->r[R_RIP] + (uint64_t)(int64_t)(delta);	\
	if (likely(l_->gen == LINK_SAME_PAGE ||				\
		   (l_->gen == (c)->map_gen && l_->rip == rip_))) {	\
		struct block *b_ = l_->to;				\
		(c)->r[R_RIP] = rip_;					\
		retire(c, i);						\
		ENTER_BLOCK(c, b_);					\
	}								\
	TAIL(slow, c, i);						\
} while (0)

/* Direct branches: links[0] is the taken one, links[1] the other. */
#define GOTO_TAKEN(c, i) \
	GOTO_LINK(c, i, (const struct link *)(i)->ptr, (i)->disp, exec_link_taken)
#define GOTO_FALL(c, i) \
	GOTO_LINK(c, i, (const struct link *)(i)->ptr + 1, \
		  (i)->off + (i)->len, exec_link_fall)

#endif
