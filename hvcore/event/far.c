/* far.c: far CALL, JMP and RET, through code segments and call gates; INT n and
 * its kin (SDM vol. 3, 5.8; vol. 2, CALL, JMP, RET, INT).
 */
#include "hvcore/event/event.h"

static _Noreturn void gp_sel(struct vcpu *c, uint16_t selector)
{
	cpu_raise_error(c, EXC_GP, selector & ~3u);
}

void far_check_limit(struct vcpu *c, const struct desc *cs, uint64_t rip)
{
	bool wide = long_mode(c) && DESC_L(cs);

	if (wide ? !canonical(c, rip) : rip > desc_limit(cs))
		cpu_raise_error(c, EXC_GP, event_ext(c));
}

/* A code segment whose D and L bits make sense for the mode. */
static void check_code(struct vcpu *c, const struct desc *d)
{
	if (long_mode(c) && DESC_L(d) && DESC_DB(d))
		gp_sel(c, d->selector);
	if (!DESC_P(d))
		cpu_raise_error(c, EXC_NP, d->selector & ~3u);
}

static uint64_t next_rip(const struct vcpu *c, const struct insn *i)
{
	uint64_t rip = insn_rip(c, i) + i->len;

	if (c->mode & MODE_CS64)
		return rip;
	return c->mode & MODE_CS32 ? (uint32_t)rip : (uint16_t)rip;
}

/* -- real-address and virtual-8086 mode ---------------------------------- */
static void far_real(struct vcpu *c, const struct insn *i, uint16_t selector,
		     uint64_t offset, bool call)
{
	struct stack s;
	unsigned size = insn_opsize(i);

	if (offset > c->seg[SEG_CS].limit)
		cpu_raise_error(c, EXC_GP, 0);
	if (call) {
		stack_current(c, &s);
		push(&s, size, c->seg[SEG_CS].selector);
		push(&s, size, next_rip(c, i));
		stack_commit(&s);
	}
	segment_set_real(c, SEG_CS, selector);
	cpu_update_mode(c);
	cpu_jump(c, offset);
}

/* -- straight to a code segment ------------------------------------------ */
static void far_code(struct vcpu *c, const struct insn *i, struct desc *d,
		     uint64_t offset, bool call)
{
	unsigned rpl = d->selector & 3, size = insn_opsize(i);
	uint64_t ret = next_rip(c, i);
	uint16_t old_cs = c->seg[SEG_CS].selector;
	struct stack s;

	if (DESC_TYPE(d) & TYPE_CONFORMING ? DESC_DPL(d) > c->cpl :
	    rpl > c->cpl || DESC_DPL(d) != c->cpl)
		gp_sel(c, d->selector);
	check_code(c, d);
	if (call) {
		stack_current(c, &s);
		push(&s, size, old_cs);
		push(&s, size, ret);
	}
	far_check_limit(c, d, offset);
	if (call) {
		cet_far_call(c, c->cpl, c->cpl, old_cs,
			     c->segbase[SEG_CS] + ret);
		stack_commit(&s);
	}
	load_cs(c, d, c->cpl);
	cet_track_far(c, c->cpl);
	cpu_jump(c, offset);
}

/* -- call gates ---------------------------------------------------------- */
struct call_gate {
	struct desc cs;
	uint64_t offset;
	uint8_t params, size;
};

static void read_call_gate(struct vcpu *c, const struct desc *d,
			   struct call_gate *g)
{
	uint16_t selector = (uint16_t)(d->raw >> 16);
	uint64_t lin, high = 0;

	g->size = DESC_TYPE(d) == SYS_CALL16 ? 2 : long_mode(c) ? 8 : 4;
	g->params = d->raw >> 32 & 31;
	g->offset = (d->raw & 0xffff) | (d->raw >> 48) << 16;
	if (g->size == 2)
		g->offset &= 0xffff;
	if (g->size == 8) {
		if (!desc_address(c, d->selector, 16, &lin))
			gp_sel(c, d->selector);
		mem_sys_read(c, lin + 8, &high, 8);
		if (high >> 40 & 0x1f)
			gp_sel(c, d->selector);
		g->offset |= high << 32;
		g->params = 0;
	}
	if (is_null(selector))
		cpu_raise_error(c, EXC_GP, 0);
	desc_fetch(c, selector, EXC_GP, &g->cs);
	if (!desc_is_code(&g->cs) || DESC_DPL(&g->cs) > c->cpl)
		gp_sel(c, selector);
	if (g->size == 8 && (!DESC_L(&g->cs) || DESC_DB(&g->cs)))
		gp_sel(c, selector);
	if (!DESC_P(&g->cs))
		cpu_raise_error(c, EXC_NP, selector & ~3u);
}

static void copy_params(struct stack *from, struct stack *to,
			const struct call_gate *g)
{
	for (unsigned n = g->params; n-- > 0;)
		push(to, g->size, peek_at(from, (uint64_t)n * g->size,
					  g->size));
}

static void gate_inner(struct vcpu *c, const struct insn *i,
		       struct call_gate *g)
{
	unsigned cpl = DESC_DPL(&g->cs), old_cpl = c->cpl;
	uint16_t old_cs = c->seg[SEG_CS].selector, ss_sel = 0;
	struct desc ss = { 0, 0 };
	struct stack s, old;
	uint64_t sp, ret = next_rip(c, i);

	stack_current(c, &old);
	if (g->size == 8) {
		stack_flat(c, &s, tss_rsp(c, 4 + 8 * cpl), cpl);
	} else {
		tss_stack(c, cpl, &ss_sel, &sp);
		check_ss(c, ss_sel, cpl, EXC_TS, &ss);
		stack_of(c, &s, &ss, sp, cpl);
	}
	push(&s, g->size, c->seg[SEG_SS].selector);
	push(&s, g->size, c->r[R_RSP]);
	copy_params(&old, &s, g);
	push(&s, g->size, old_cs);
	push(&s, g->size, ret);
	far_check_limit(c, &g->cs, g->offset);
	cet_far_call(c, cpl, old_cpl, old_cs, c->segbase[SEG_CS] + ret);
	load_ss(c, &ss, cpl);
	load_cs(c, &g->cs, cpl);
	stack_commit(&s);
	cet_track_far(c, cpl);
	cpu_jump(c, g->offset);
}

static void gate_same(struct vcpu *c, const struct insn *i,
		      struct call_gate *g, bool call)
{
	uint16_t old_cs = c->seg[SEG_CS].selector;
	uint64_t ret = next_rip(c, i);
	struct stack s;

	if (call) {
		stack_current(c, &s);
		if (g->size == 8)
			stack_flat(c, &s, c->r[R_RSP], c->cpl);
		push(&s, g->size, old_cs);
		push(&s, g->size, ret);
	}
	far_check_limit(c, &g->cs, g->offset);
	if (call) {
		cet_far_call(c, c->cpl, c->cpl, old_cs,
			     c->segbase[SEG_CS] + ret);
		stack_commit(&s);
	}
	load_cs(c, &g->cs, c->cpl);
	cet_track_far(c, c->cpl);
	cpu_jump(c, g->offset);
}

static void through_call_gate(struct vcpu *c, const struct insn *i,
			      const struct desc *d, bool call)
{
	struct call_gate g;
	bool conforming;

	read_call_gate(c, d, &g);
	conforming = DESC_TYPE(&g.cs) & TYPE_CONFORMING;
	if (!call && !conforming && DESC_DPL(&g.cs) != c->cpl)
		gp_sel(c, g.cs.selector);
	if (call && !conforming && DESC_DPL(&g.cs) < c->cpl)
		gate_inner(c, i, &g);
	else
		gate_same(c, i, &g, call);
}

/* -- system descriptors -------------------------------------------------- */
static void far_system(struct vcpu *c, const struct insn *i,
		       const struct desc *d, bool call)
{
	unsigned type = DESC_TYPE(d), rpl = d->selector & 3;
	bool legacy = !long_mode(c);

	if (type != SYS_CALL &&
	    !(legacy && (type == SYS_CALL16 || type == SYS_TASK_GATE ||
			 type == SYS_TSS || type == SYS_TSS16)))
		gp_sel(c, d->selector);
	if (DESC_DPL(d) < c->cpl || DESC_DPL(d) < rpl)
		gp_sel(c, d->selector);
	if (!DESC_P(d))
		cpu_raise_error(c, EXC_NP, d->selector & ~3u);
	if (type == SYS_CALL || type == SYS_CALL16)
		through_call_gate(c, i, d, call);
	else if (type == SYS_TASK_GATE)
		task_switch(c, (uint16_t)(d->raw >> 16),
			    call ? TASK_CALL : TASK_JMP, false, 0);
	else
		task_switch(c, d->selector, call ? TASK_CALL : TASK_JMP, false,
			    0);
}

static void far_transfer(struct vcpu *c, const struct insn *i,
			 uint16_t selector, uint64_t offset, bool call)
{
	struct desc d;

	if (!protected_mode(c)) {
		far_real(c, i, selector, offset, call);
		return;
	}
	if (is_null(selector))
		cpu_raise_error(c, EXC_GP, 0);
	desc_fetch(c, selector, EXC_GP, &d);
	if (!DESC_S(&d))
		far_system(c, i, &d, call);
	else if (desc_is_code(&d))
		far_code(c, i, &d, offset, call);
	else
		gp_sel(c, selector);
}

static void far_ptr(struct vcpu *c, const struct insn *i, bool call)
{
	uint64_t offset = insn_opsize(i) == 2 ? (uint16_t)i->imm :
						(uint32_t)i->imm;

	far_transfer(c, i, (uint16_t)(i->imm >> 32), offset, call);
}

static void far_mem(struct vcpu *c, const struct insn *i, bool call)
{
	unsigned size = insn_opsize(i);
	uint64_t lin = insn_linear(c, i), offset = 0;
	uint8_t buf[10];

	mem_read_bytes(c, i, lin, buf, size + 2);
	memcpy(&offset, buf, size);
	far_transfer(c, i, (uint16_t)(buf[size] | buf[size + 1] << 8), offset,
		     call);
}

void op_callf_ptr(struct vcpu *c, const struct insn *i) { far_ptr(c, i, true); }
void op_jmpf_ptr(struct vcpu *c, const struct insn *i) { far_ptr(c, i, false); }
void op_callf_mem(struct vcpu *c, const struct insn *i) { far_mem(c, i, true); }
void op_jmpf_mem(struct vcpu *c, const struct insn *i) { far_mem(c, i, false); }

/* -- INT n, INT3, INTO, INT1 --------------------------------------------- */
void op_int(struct vcpu *c, const struct insn *i)
{
	cpu_raise_soft(c, i->imm & 0xff, EV_SOFT_INT, i->len);
}

void op_int3(struct vcpu *c, const struct insn *i)
{
	cpu_raise_soft(c, EXC_BP, EV_SOFT_EXC, i->len);
}

void op_into(struct vcpu *c, const struct insn *i)
{
	if (cpu_rflags(c) & FLAG_OF)
		cpu_raise_soft(c, EXC_OF, EV_SOFT_EXC, i->len);
	cpu_jump(c, next_rip(c, i));
}

void op_int1(struct vcpu *c, const struct insn *i)
{
	cpu_raise_soft(c, EXC_DB, EV_PRIV_SOFT, i->len);
}
