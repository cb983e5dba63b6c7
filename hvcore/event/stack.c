/* stack.c: pushes and pops of far transfers and event delivery.
 *
 * SP lives in struct stack until stack_commit, so that a fault on the way
 * leaves the registers alone.
 */
#include "hvcore/event/event.h"

static uint64_t sp_mask(const struct vcpu *c, uint32_t attr)
{
	(void)c;
	return attr & AR_DB ? 0xffffffff : 0xffff;
}

void stack_current(struct vcpu *c, struct stack *s)
{
	const struct segment *ss = &c->seg[SEG_SS];

	*s = (struct stack){ .c = c, .sp = c->r[R_RSP], .base = ss->base,
			     .limit = ss->limit, .attr = ss->attr,
			     .selector = ss->selector, .cpl = c->cpl };
	s->flat = c->mode & MODE_CS64;
	s->mask = s->flat ? ~0ull : sp_mask(c, ss->attr);
}

void stack_of(struct vcpu *c, struct stack *s, const struct desc *ss,
	      uint64_t sp, unsigned cpl)
{
	*s = (struct stack){ .c = c, .sp = sp, .base = desc_base(ss),
			     .limit = desc_limit(ss), .attr = DESC_ATTR(ss),
			     .selector = ss->selector, .cpl = (uint8_t)cpl,
			     .fresh = true };
	s->mask = sp_mask(c, s->attr);
}

void stack_flat(struct vcpu *c, struct stack *s, uint64_t sp, unsigned cpl)
{
	*s = (struct stack){ .c = c, .sp = sp, .mask = ~0ull, .flat = true,
			     .cpl = (uint8_t)cpl, .fresh = true };
}

/* #SS(0) on the current stack; on one just chosen, #SS(its selector). */
static void stack_fault(const struct stack *s)
{
	uint32_t error = s->fresh ? s->selector & ~3u : 0;

	cpu_raise_error(s->c, EXC_SS, error | event_ext(s->c));
}

static uint64_t stack_linear(const struct stack *s, uint64_t off, unsigned size)
{
	uint32_t top = s->mask == 0xffff ? 0xffff : 0xffffffff;

	if (s->flat) {
		if (!canonical(s->c, off) || !canonical(s->c, off + size - 1))
			stack_fault(s);
		return off;
	}
	if (s->attr & AR_UNUSABLE)
		stack_fault(s);
	if ((s->attr & (TYPE_CODE | TYPE_DOWN)) == TYPE_DOWN) {
		if (off <= s->limit || off + size - 1 > top)
			stack_fault(s);
	} else if (off + size - 1 > s->limit) {
		stack_fault(s);
	}
	return (uint32_t)(s->base + off);
}

void push(struct stack *s, unsigned size, uint64_t v)
{
	uint64_t sp = (s->sp - size) & s->mask;

	mem_write_as(s->c, stack_linear(s, sp, size), &v, size, s->cpl);
	s->sp = (s->sp & ~s->mask) | sp;
}

uint64_t peek_at(struct stack *s, uint64_t offset, unsigned size)
{
	uint64_t v = 0;

	mem_read_as(s->c, stack_linear(s, (s->sp + offset) & s->mask, size), &v,
		    size, s->cpl);
	return v;
}

uint64_t pop(struct stack *s, unsigned size)
{
	uint64_t v = peek_at(s, 0, size);

	s->sp = (s->sp & ~s->mask) | ((s->sp + size) & s->mask);
	return v;
}

void stack_commit(struct stack *s)
{
	uint64_t *rsp = &s->c->r[R_RSP];

	if (s->mask == 0xffff)
		*rsp = (*rsp & ~0xffffull) | (s->sp & 0xffff);
	else
		*rsp = s->flat ? s->sp : (uint32_t)s->sp;
}
