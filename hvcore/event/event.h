/* event.h: between the files of hvcore/event/ (and sys/desc.c). */
#ifndef NSTATE_HVCORE_EVENT_EVENT_H
#define NSTATE_HVCORE_EVENT_EVENT_H

#include "hvcore/sys/ops.h"

/* The low 8 bytes of a descriptor, decoded; 64-bit TSS and LDT descriptors have
 * base_hi besides. */
struct desc {
	uint64_t raw;
	uint16_t selector;
};
#define DESC_ATTR(d) ((uint32_t)((d)->raw >> 40) & 0xf0ffu)
#define DESC_TYPE(d) ((uint32_t)((d)->raw >> 40) & 0xfu)
#define DESC_S(d) ((d)->raw >> 44 & 1)
#define DESC_DPL(d) ((unsigned)((d)->raw >> 45) & 3u)
#define DESC_P(d) ((d)->raw >> 47 & 1)
#define DESC_L(d) ((d)->raw >> 53 & 1)
#define DESC_DB(d) ((d)->raw >> 54 & 1)
#define TYPE_CODE 8u
#define TYPE_CONFORMING 4u /* code */
#define TYPE_DOWN 4u       /* data */
#define TYPE_RW 2u         /* code: readable; data: writable */

enum { SYS_TSS16 = 1, SYS_LDT = 2, SYS_TSS16_BUSY = 3, SYS_CALL16 = 4,
       SYS_TASK_GATE = 5, SYS_INT16 = 6, SYS_TRAP16 = 7, SYS_TSS = 9,
       SYS_TSS_BUSY = 11, SYS_CALL = 12, SYS_INT = 14, SYS_TRAP = 15 };

static inline bool is_null(uint16_t selector)
{
	return !(selector & ~3u);
}
static inline uint64_t desc_base(const struct desc *d)
{
	return (d->raw >> 16 & 0xffffff) | (d->raw >> 56) << 24;
}
uint32_t desc_limit(const struct desc *d);
static inline bool desc_is_code(const struct desc *d)
{
	return DESC_S(d) && DESC_TYPE(d) & TYPE_CODE;
}

/* The EXT bit of error codes: is an event from outside being delivered? */
uint32_t event_ext(const struct vcpu *c);

/* segment.c */
bool desc_address(const struct vcpu *c, uint16_t selector, unsigned size,
		  uint64_t *lin);
/* Reads the descriptor or raises vector(selector). */
void desc_fetch(struct vcpu *c, uint16_t selector, unsigned vector,
		struct desc *d);
void desc_mark_accessed(struct vcpu *c, struct desc *d);
void segment_set(struct vcpu *c, int seg, const struct desc *d);
void segment_set_real(struct vcpu *c, int seg, uint16_t selector);
void segment_set_null(struct vcpu *c, int seg, uint16_t selector);
/* Loads CS with a code descriptor that was checked; RPL becomes cpl. */
void load_cs(struct vcpu *c, struct desc *d, unsigned cpl);
/* Checks as SS for privilege cpl; raises vector (TS, GP) and SS if absent. */
void check_ss(struct vcpu *c, uint16_t selector, unsigned cpl, unsigned vector,
	      struct desc *d);
void load_ss(struct vcpu *c, struct desc *d, unsigned cpl);
/* SS:ESP (or RSP) of privilege level pl from the TSS. */
void tss_stack(struct vcpu *c, unsigned pl, uint16_t *ss, uint64_t *sp);
uint64_t tss_rsp(struct vcpu *c, unsigned slot); /* byte offset into the TSS */
void set_cpl(struct vcpu *c, unsigned cpl);
static inline bool long_mode(const struct vcpu *c)
{
	return c->efer & EFER_LMA;
}
static inline bool protected_mode(const struct vcpu *c)
{
	return c->cr0 & CR0_PE && !(c->rflags & FLAG_VM);
}

/* stack.c: a stack that is written or read before registers change. */
struct stack {
	struct vcpu *c;
	uint64_t sp, base, mask;
	uint32_t limit, attr;
	uint16_t selector;
	uint8_t cpl;
	bool flat;               /* 64-bit: no segment */
	bool fresh;              /* another stack than the current one */
};
void stack_current(struct vcpu *c, struct stack *s);
void stack_of(struct vcpu *c, struct stack *s, const struct desc *ss,
	      uint64_t sp, unsigned cpl);
void stack_flat(struct vcpu *c, struct stack *s, uint64_t sp, unsigned cpl);
void push(struct stack *s, unsigned size, uint64_t v);
uint64_t pop(struct stack *s, unsigned size);
/* Only addresses that stack checks allow: as push/pop would, without effect. */
uint64_t peek_at(struct stack *s, uint64_t offset, unsigned size);
/* Writes SP, ESP or RSP back. */
void stack_commit(struct stack *s);

/* Flags that a pop at this privilege may change: sets them. */
void flags_load(struct vcpu *c, uint64_t v, uint64_t mask);
/* After interrupts may have become deliverable. */
static inline void look_again(struct vcpu *c)
{
	if (c->pending_events)
		cpu_kick(c);
}

/* cet.c of sys/ */
void cet_deliver(struct vcpu *c, unsigned new_cpl, unsigned old_cpl,
		 uint16_t cs, uint64_t lip, unsigned ist);
bool cet_shstk(const struct vcpu *c, unsigned cpl);
bool cet_ibt(const struct vcpu *c, unsigned cpl);
void cet_far_call(struct vcpu *c, unsigned new_cpl, unsigned old_cpl,
		  uint16_t cs, uint64_t lip);
void cet_far_ret(struct vcpu *c, unsigned new_cpl, uint16_t cs, uint64_t lip);
void cet_track_far(struct vcpu *c, unsigned cpl);
/* SYSCALL, SYSENTER and their returns: before and after CPL changes. */
void cet_fast_enter(struct vcpu *c);
void cet_fast_leave(struct vcpu *c);

/* far.c */
void far_check_limit(struct vcpu *c, const struct desc *cs, uint64_t rip);


/* task.c: why of task_switch */
enum task_why { TASK_CALL, TASK_IRET, TASK_JMP, TASK_GATE };

#endif
