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
/* Leaves to cpu_run with RIP at i: the block is stale, or ends before i. */
insn_fn exec_stale;
/* Guards of links: look the target up and link; check, then go. */
insn_fn exec_link_miss, exec_link_check;

#define ENTER_BLOCK(c, b) do {						\
	if (unlikely((c)->budget <= 0))					\
		LEAVE(c);						\
	DISPATCH(c, (b)->insns);					\
} while (0)

/* Leaves the block by way n of i's exits. */
#define GOTO_WAY(c, i, n) do {						\
	const struct way *w_ = &((const struct exits *)(i)->ptr)->way[n]; \
	(c)->r[R_RIP] += (uint64_t)(int64_t)w_->delta;			\
	(c)->budget -= w_->cost;					\
	if (unlikely((c)->budget <= 0))					\
		LEAVE(c);						\
	DISPATCH(c, w_->go);						\
} while (0)
#define GOTO_TAKEN(c, i) GOTO_WAY(c, i, 0)
#define GOTO_FALL(c, i) GOTO_WAY(c, i, 1)

#endif
