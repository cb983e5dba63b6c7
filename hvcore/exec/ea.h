/* ea.h: addresses and operands of handlers.
 *
 * Handlers of memory forms come in two kinds.  The plain kind is for 64-bit
 * code without a segment base and with 64-bit addresses: ea_simple(), or
 * ea_base() where there is no index (_b in the name).  The other kind (its name
 * ends in g) is for everything else and goes through ea_linear(), which knows
 * address sizes, segment bases, limits and rights.
 */
#ifndef NSTATE_HVCORE_EXEC_EA_H
#define NSTATE_HVCORE_EXEC_EA_H

#include "hvcore/insn.h"
#include "hvcore/mem.h"
#include "hvcore/parts.h"

/* struct insn.scale: bits 1:0 the shift; bits 7:6 of it say which of F2 and F3
 * was there.  The host masks shift counts to six bits, so it is free. */
#define INSN_SHIFT(i) ((i)->scale & 63)
enum { SCALE_F2 = 0x40, SCALE_F3 = 0x80 };

/* struct insn.op: the row of the instruction table and what the operand-size
 * and address-size prefixes came to. */
enum { OP_ROW = 0x3ff, OP_MEM = 0x400, OP_OPSIZE = 0x800 /* two bits: 1 << n */,
       OP_ADSIZE = 0x2000 /* two bits */ };
enum { ADSIZE_16 = 1, ADSIZE_32 = 2, ADSIZE_64 = 3,
       ADSIZE_RIP = 0 /* 64-bit, RIP-relative, disp counts from the insn's end */ };

static inline unsigned op_opsize(const struct insn *i)
{
	return 1u << (i->op / OP_OPSIZE & 3);
}

static inline unsigned op_adsize(const struct insn *i)
{
	unsigned n = i->op / OP_ADSIZE & 3;

	return n == ADSIZE_RIP ? 8 : 1u << n;
}

static inline uint64_t ea_simple(const struct vcpu *c, const struct insn *i)
{
	return c->r[i->base] + (c->r[i->index] << INSN_SHIFT(i)) +
	       (uint64_t)(int64_t)i->disp;
}

/* The same for where there is no index. */
static inline uint64_t ea_base(const struct vcpu *c, const struct insn *i)
{
	return c->r[i->base] + (uint64_t)(int64_t)i->disp;
}

/* Offset within the segment, cut to the address size. */
uint64_t ea_offset(const struct vcpu *c, const struct insn *i);
/* Linear address for an access of size bytes, after the segment's checks. */
uint64_t ea_linear(struct vcpu *c, const struct insn *i, unsigned size,
		   enum mem_access access);
/* The same for an offset already known (strings, stacks, moffs). */
uint64_t seg_linear(struct vcpu *c, const struct insn *i, unsigned seg,
		    uint64_t offset, unsigned size, enum mem_access access);

/* -- registers --------------------------------------------------------------- */
#define RD8(c, n) (((uint8_t *)(c)->r)[n])
#define RD16(c, n) ((uint16_t)(c)->r[n])
#define RD32(c, n) ((uint32_t)(c)->r[n])
#define RD64(c, n) ((c)->r[n])
#define WR8(c, n, v) (((uint8_t *)(c)->r)[n] = (uint8_t)(v))
#define WR16(c, n, v) (*(uint16_t *)&(c)->r[n] = (uint16_t)(v))
#define WR32(c, n, v) ((c)->r[n] = (uint32_t)(v))
#define WR64(c, n, v) ((c)->r[n] = (uint64_t)(v))

#define EA_G(c, i, size, access) ea_linear(c, i, size, access)

/* Plain forms hold the TLB hit only: a miss goes on in the G form as a tail
 * call, so that they need no stack frame. */
#ifdef HV_TRAMPOLINE
#define TAIL(f, c, i) return f(c, i)
#elif defined(__clang__)
#define TAIL(f, c, i) __attribute__((musttail)) return f(c, i)
#else
#define TAIL(f, c, i) return f(c, i)
#endif
#define TLB_ENTRY(set, lin) (&(set)[(lin) >> PAGE_BITS & (TLB_SETS - 1)])
#define TLB_MATCH(t, lin, size) (((lin) & (~PAGE_MASK | ((size) - 1))) == (t)->tag)
#define LOAD_FROM(slow, b, c, i, ea, var)				\
	uint64_t lin_ = ea(c, i);					\
	const struct tlbe *t_ = TLB_ENTRY((c)->tlb->r, lin_);		\
	uint##b##_t var;						\
	if (unlikely(!TLB_MATCH(t_, lin_, b / 8)))			\
		TAIL(slow, c, i);					\
	memcpy(&var, (const void *)(uintptr_t)(lin_ + t_->addend), b / 8)
#define PLACE_AT(slow, b, c, i, ea, ptr)				\
	uint64_t lin_ = ea(c, i);					\
	const struct tlbe *t_ = TLB_ENTRY((c)->tlb->w, lin_);		\
	uint##b##_t *ptr;						\
	if (unlikely(!TLB_MATCH(t_, lin_, b / 8)))			\
		TAIL(slow, c, i);					\
	ptr = (uint##b##_t *)(uintptr_t)(lin_ + t_->addend)
#define LOAD_OR(slow, b, c, i, var) LOAD_FROM(slow, b, c, i, ea_simple, var)
#define PLACE_OR(slow, b, c, i, ptr) PLACE_AT(slow, b, c, i, ea_simple, ptr)

/* -- the stack ---------------------------------------------------------------- */
uint64_t stack_read_slow(struct vcpu *c, const struct insn *i, uint64_t lin);
void stack_write_slow(struct vcpu *c, const struct insn *i, uint64_t lin,
		      uint64_t v);

/* 64-bit mode, 64-bit operands: the common case, inline. */
static inline uint64_t stack_read64(struct vcpu *c, const struct insn *i,
				    uint64_t lin)
{
	const void *p = tlb_hit(c->tlb->r, lin, 8);
	uint64_t v;

	if (unlikely(!p))
		return stack_read_slow(c, i, lin);
	memcpy(&v, p, 8);
	return v;
}

static inline void stack_write64(struct vcpu *c, const struct insn *i,
				 uint64_t lin, uint64_t v)
{
	void *p = tlb_hit(c->tlb->w, lin, 8);

	if (unlikely(!p))
		stack_write_slow(c, i, lin, v);
	else
		memcpy(p, &v, 8);
}

/* Every other case: SP, ESP or RSP by mode. */
uint64_t stack_pointer(const struct vcpu *c);
void stack_set_pointer(struct vcpu *c, uint64_t sp);
/* Linear address of stack offset sp, for size bytes; raises #SS. */
uint64_t stack_linear(struct vcpu *c, const struct insn *i, uint64_t sp,
		      unsigned size, enum mem_access access);
void stack_push(struct vcpu *c, const struct insn *i, unsigned size,
		uint64_t v);
/* Reads the top without moving the pointer; stack_drop moves it. */
uint64_t stack_top(struct vcpu *c, const struct insn *i, unsigned size);
void stack_drop(struct vcpu *c, unsigned bytes);

#endif
