/* ret.c: far RET and IRET in all their forms (SDM vol. 2, RET, IRET).
 */
#include "hvcore/event/event.h"

static _Noreturn void gp_sel(struct vcpu *c, uint16_t selector)
{
	cpu_raise_error(c, EXC_GP, selector & ~3u);
}

/* -- flags --------------------------------------------------------------- */
void flags_load(struct vcpu *c, uint64_t v, uint64_t mask)
{
	cpu_set_rflags(c, (cpu_rflags(c) & ~mask) | (v & mask) | 2);
	cpu_update_mode(c);
	mem_switch_context(c);
	look_again(c);
}

static uint64_t iret_mask(const struct vcpu *c, unsigned size)
{
	uint64_t mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;
	unsigned iopl = c->rflags >> 12 & 3;

	if (size > 2)
		mask |= FLAG_RF | FLAG_AC | FLAG_ID;
	if (c->cpl <= iopl)
		mask |= FLAG_IF;
	if (c->cpl == 0) {
		mask |= FLAG_IOPL;
		if (size > 2)
			mask |= FLAG_VIF | FLAG_VIP;
	}
	return mask;
}

/* -- what both check ----------------------------------------------------- */
static void return_cs(struct vcpu *c, uint16_t selector, struct desc *d)
{
	unsigned rpl = selector & 3;

	if (is_null(selector))
		cpu_raise_error(c, EXC_GP, 0);
	desc_fetch(c, selector, EXC_GP, d);
	if (!desc_is_code(d) || rpl < c->cpl)
		gp_sel(c, selector);
	if (DESC_TYPE(d) & TYPE_CONFORMING ? DESC_DPL(d) > rpl :
					     DESC_DPL(d) != rpl)
		gp_sel(c, selector);
	if (long_mode(c) && DESC_L(d) && DESC_DB(d))
		gp_sel(c, selector);
	if (!DESC_P(d))
		cpu_raise_error(c, EXC_NP, selector & ~3u);
}

static void return_ss(struct vcpu *c, uint16_t selector, const struct desc *cs,
		      struct desc *d)
{
	unsigned rpl = cs->selector & 3;

	*d = (struct desc){ 0, selector };
	if (is_null(selector) && long_mode(c) && DESC_L(cs) && rpl != 3) {
		if ((selector & 3u) != rpl)
			gp_sel(c, selector);
		return;
	}
	check_ss(c, selector, rpl, EXC_GP, d);
}

/* Data segments that the outer level may not use become invalid; FS and GS keep
 * their bases (SDM vol. 2, IRET: only selector and validity change). */
static void drop_data_segments(struct vcpu *c)
{
	static const int segs[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	for (unsigned n = 0; n < 4; n++) {
		uint32_t a = c->seg[segs[n]].attr;
		bool conforming = (a & (TYPE_CODE | TYPE_CONFORMING)) ==
				  (TYPE_CODE | TYPE_CONFORMING);

		if (!(a & AR_UNUSABLE) && !conforming && AR_DPL(a) < c->cpl) {
			c->seg[segs[n]].selector = 0;
			c->seg[segs[n]].attr |= AR_UNUSABLE;
		}
	}
	cpu_update_mode(c);
}

static void set_outer_sp(struct vcpu *c, const struct desc *cs,
			 const struct desc *ss, uint64_t sp)
{
	if (long_mode(c) && DESC_L(cs))
		c->r[R_RSP] = sp;
	else if (DESC_DB(ss))
		c->r[R_RSP] = (uint32_t)sp;
	else
		c->r[R_RSP] = (c->r[R_RSP] & ~0xffffull) | (sp & 0xffff);
}

/* -- RETF ---------------------------------------------------------------- */
static void retf_real(struct vcpu *c, const struct insn *i)
{
	unsigned size = insn_opsize(i);
	struct stack s;
	uint64_t rip;
	uint16_t cs;

	stack_current(c, &s);
	rip = pop(&s, size);
	cs = (uint16_t)pop(&s, size);
	if (rip > c->seg[SEG_CS].limit)
		cpu_raise_error(c, EXC_GP, 0);
	s.sp = (s.sp & ~s.mask) | ((s.sp + i->imm) & s.mask);
	segment_set_real(c, SEG_CS, cs);
	stack_commit(&s);
	cpu_update_mode(c);
	cpu_jump(c, rip);
}

void op_retf(struct vcpu *c, const struct insn *i)
{
	unsigned size = insn_opsize(i), release = (uint16_t)i->imm;
	struct desc cs, ss;
	struct stack s;
	uint64_t rip, sp;
	unsigned rpl;

	if (!protected_mode(c)) {
		retf_real(c, i);
		return;
	}
	stack_current(c, &s);
	rip = pop(&s, size);
	return_cs(c, (uint16_t)pop(&s, size), &cs);
	rpl = cs.selector & 3;
	s.sp = (s.sp & ~s.mask) | ((s.sp + release) & s.mask);
	if (rpl > c->cpl) {
		sp = pop(&s, size);
		return_ss(c, (uint16_t)pop(&s, size), &cs, &ss);
		far_check_limit(c, &cs, rip);
		cet_far_ret(c, rpl, cs.selector, desc_base(&cs) + rip);
		load_cs(c, &cs, rpl);
		load_ss(c, &ss, rpl);
		set_outer_sp(c, &cs, &ss, sp + release);
		drop_data_segments(c);
	} else {
		far_check_limit(c, &cs, rip);
		cet_far_ret(c, rpl, cs.selector, desc_base(&cs) + rip);
		load_cs(c, &cs, rpl);
		stack_commit(&s);
	}
	cpu_jump(c, rip);
}

/* -- IRET ---------------------------------------------------------------- */
static void iret_real(struct vcpu *c, const struct insn *i)
{
	unsigned size = insn_opsize(i);
	uint64_t rip, flags, mask;
	struct stack s;
	uint16_t cs;

	stack_current(c, &s);
	rip = pop(&s, size);
	cs = (uint16_t)pop(&s, size);
	flags = pop(&s, size);
	if (rip > c->seg[SEG_CS].limit)
		cpu_raise_error(c, EXC_GP, 0);
	mask = FLAGS_ARITH | FLAG_TF | FLAG_IF | FLAG_DF | FLAG_NT;
	if (!(c->rflags & FLAG_VM))
		mask |= FLAG_IOPL;
	if (size > 2)
		mask |= FLAG_RF | FLAG_AC | FLAG_ID;
	segment_set_real(c, SEG_CS, cs);
	stack_commit(&s);
	flags_load(c, flags, mask);
	cpu_jump(c, rip);
}

/* Virtual-8086 below IOPL 3: only the 16-bit form, and only with VME, where
 * IF stands for VIF. */
static void iret_vme(struct vcpu *c, const struct insn *i)
{
	uint64_t rip, flags, mask;
	struct stack s;
	uint16_t cs;

	if (!(c->cr4 & CR4_VME) || insn_opsize(i) != 2)
		cpu_raise_error(c, EXC_GP, 0);
	stack_current(c, &s);
	rip = pop(&s, 2);
	cs = (uint16_t)pop(&s, 2);
	flags = pop(&s, 2);
	if ((flags & FLAG_IF && c->rflags & FLAG_VIP) || flags & FLAG_TF ||
	    rip > c->seg[SEG_CS].limit)
		cpu_raise_error(c, EXC_GP, 0);
	if (flags & FLAG_IF)
		flags |= FLAG_VIF;
	mask = FLAGS_ARITH | FLAG_DF | FLAG_NT | FLAG_TF | FLAG_VIF;
	segment_set_real(c, SEG_CS, cs);
	stack_commit(&s);
	flags_load(c, flags, mask);
	cpu_jump(c, rip);
}

static void iret_task(struct vcpu *c)
{
	uint16_t link;

	if (long_mode(c))
		cpu_raise_error(c, EXC_GP, 0);
	mem_sys_read(c, c->seg[SEG_TR].base, &link, 2);
	task_switch(c, link, TASK_IRET, false, 0);
}

static void iret_to_v86(struct vcpu *c, struct stack *s, uint64_t rip,
			uint16_t cs, uint64_t flags)
{
	static const int order[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };
	uint64_t sp = pop(s, 4);
	uint16_t ss = (uint16_t)pop(s, 4), sel[4];

	for (unsigned n = 0; n < 4; n++)
		sel[n] = (uint16_t)pop(s, 4);
	if (rip > 0xffff)
		cpu_raise_error(c, EXC_GP, 0);
	cpu_set_rflags(c, (flags & 0x3f7fd7) | 2);
	segment_set_real(c, SEG_CS, cs);
	segment_set_real(c, SEG_SS, ss);
	for (unsigned n = 0; n < 4; n++)
		segment_set_real(c, order[n], sel[n]);
	c->r[R_RSP] = (uint32_t)sp;
	set_cpl(c, 3);
	look_again(c);
	cpu_jump(c, rip);
}

static void iret_same(struct vcpu *c, struct stack *s, struct desc *cs,
		      uint64_t rip, uint64_t flags, uint64_t mask)
{
	far_check_limit(c, cs, rip);
	cet_far_ret(c, c->cpl, cs->selector, desc_base(cs) + rip);
	load_cs(c, cs, c->cpl);
	stack_commit(s);
	flags_load(c, flags, mask);
	cpu_jump(c, rip);
}

/* To an outer level; in 64-bit mode SS:RSP are popped always. */
static void iret_with_stack(struct vcpu *c, struct stack *s, unsigned size,
			    struct desc *cs, uint64_t rip, uint64_t flags,
			    uint64_t mask)
{
	uint64_t sp = pop(s, size);
	unsigned rpl = cs->selector & 3;
	bool outer = rpl > c->cpl;
	struct desc ss;

	return_ss(c, (uint16_t)pop(s, size), cs, &ss);
	far_check_limit(c, cs, rip);
	cet_far_ret(c, rpl, cs->selector, desc_base(cs) + rip);
	load_cs(c, cs, rpl);
	load_ss(c, &ss, rpl);
	set_outer_sp(c, cs, &ss, sp);
	if (outer)
		drop_data_segments(c);
	flags_load(c, flags, mask);
	cpu_jump(c, rip);
}

static void unblock_nmi(struct vcpu *c)
{
	if (c->nonroot && !vmx_iret_unblocks(c))
		return;
	c->blocking &= ~BLOCK_NMI;
	look_again(c);
}

void op_iret(struct vcpu *c, const struct insn *i)
{
	unsigned size = insn_opsize(i);
	uint64_t rip, flags, mask;
	struct stack s;
	struct desc cs;
	uint16_t selector;

	/* Even an IRET that faults ends the blocking (SDM 6.7.1). */
	unblock_nmi(c);
	if (c->rflags & FLAG_VM && (c->rflags & FLAG_IOPL) != FLAG_IOPL) {
		iret_vme(c, i);
		return;
	}
	if (!protected_mode(c)) {
		iret_real(c, i);
		return;
	}
	if (c->rflags & FLAG_NT) {
		iret_task(c);
		return;
	}
	stack_current(c, &s);
	rip = pop(&s, size);
	selector = (uint16_t)pop(&s, size);
	flags = pop(&s, size);
	mask = iret_mask(c, size);
	if (flags & FLAG_VM && size == 4 && c->cpl == 0 && !long_mode(c)) {
		iret_to_v86(c, &s, rip, selector, flags);
		return;
	}
	return_cs(c, selector, &cs);
	if (c->mode & MODE_CS64 || (selector & 3) > c->cpl)
		iret_with_stack(c, &s, size, &cs, rip, flags, mask);
	else
		iret_same(c, &s, &cs, rip, flags, mask);
}
