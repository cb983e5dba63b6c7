/* deliver.c: an event through the interrupt table of each mode (SDM vol. 3,
 * 6.12-6.14; vol. 1, 20.1.4 for real-address mode).
 *
 * State is synced (cur NULL).  Registers change after everything that can
 * fault, so that a fault on the way finds them as they were.
 */
#include "hvcore/event/event.h"

struct gate {
	uint16_t selector;
	uint64_t offset;
	uint8_t type, dpl, ist;
	bool present;
};

/* What is pushed. */
struct frame {
	uint64_t rip, flags, rsp;
	uint16_t cs, ss;
	bool has_error;
	uint32_t error;
};

static _Noreturn void raise_vector(struct vcpu *c, unsigned exc,
				   unsigned vector)
{
	cpu_raise_error(c, exc, vector << 3 | 2 | event_ext(c));
}

static void read_gate(struct vcpu *c, unsigned vector, struct gate *g)
{
	bool wide = long_mode(c);
	unsigned size = wide ? 16 : 8;
	uint64_t raw[2] = { 0, 0 };

	if (vector * size + size - 1 > c->idtr.limit)
		raise_vector(c, EXC_GP, vector);
	mem_sys_read(c, c->idtr.base + vector * size, raw, size);
	g->selector = (uint16_t)(raw[0] >> 16);
	g->offset = (raw[0] & 0xffff) | (raw[0] >> 48) << 16;
	g->type = raw[0] >> 40 & 0x1f; /* with S: only system types are gates */
	g->dpl = raw[0] >> 45 & 3;
	g->present = raw[0] >> 47 & 1;
	g->ist = raw[0] >> 32 & 7;
	if (wide)
		g->offset |= raw[1] << 32;
}

static bool is_software(unsigned type)
{
	return type == EV_SOFT_INT || type == EV_SOFT_EXC;
}

static void check_gate(struct vcpu *c, const struct gate *g, unsigned vector)
{
	bool ok = g->type == SYS_INT || g->type == SYS_TRAP;

	if (!long_mode(c))
		ok = ok || g->type == SYS_INT16 || g->type == SYS_TRAP16 ||
		     g->type == SYS_TASK_GATE;
	if (!ok)
		raise_vector(c, EXC_GP, vector);
	if (is_software(c->event.type) && g->dpl < c->cpl)
		raise_vector(c, EXC_GP, vector);
	if (!g->present)
		raise_vector(c, EXC_NP, vector);
}

static void raise_sel(struct vcpu *c, unsigned exc, uint16_t selector)
{
	cpu_raise_error(c, exc, (selector & ~3u) | event_ext(c));
}

static void handler_cs(struct vcpu *c, const struct gate *g, struct desc *d)
{
	if (is_null(g->selector))
		cpu_raise_error(c, EXC_GP, event_ext(c));
	desc_fetch(c, g->selector, EXC_GP, d);
	if (!desc_is_code(d) || DESC_DPL(d) > c->cpl)
		raise_sel(c, EXC_GP, g->selector);
	if (long_mode(c) && (!DESC_L(d) || DESC_DB(d)))
		raise_sel(c, EXC_GP, g->selector);
	if (!DESC_P(d))
		raise_sel(c, EXC_NP, g->selector);
}

static void push_frame(struct stack *s, const struct frame *f, unsigned size,
		       bool with_stack)
{
	if (with_stack) {
		push(s, size, f->ss);
		push(s, size, f->rsp);
	}
	push(s, size, f->flags);
	push(s, size, f->cs);
	push(s, size, f->rip);
	if (f->has_error)
		push(s, size, f->error);
}

static void after_gate(struct vcpu *c, const struct gate *g)
{
	uint64_t clear = FLAG_TF | FLAG_NT | FLAG_VM | FLAG_RF;

	if (!(g->type & 1))
		clear |= FLAG_IF;
	cpu_set_rflags(c, cpu_rflags(c) & ~clear);
}

/* -- 64-bit -------------------------------------------------------------- */
static void through_64(struct vcpu *c, const struct gate *g,
		       const struct frame *f)
{
	struct stack s;
	struct desc cs;
	unsigned new_cpl, old_cpl = c->cpl;
	uint64_t rsp;

	handler_cs(c, g, &cs);
	new_cpl = DESC_TYPE(&cs) & TYPE_CONFORMING ? old_cpl : DESC_DPL(&cs);
	if (g->ist)
		rsp = tss_rsp(c, 0x24 + 8 * (g->ist - 1u));
	else if (new_cpl < old_cpl)
		rsp = tss_rsp(c, 4 + 8 * new_cpl);
	else
		rsp = c->r[R_RSP];
	stack_flat(c, &s, rsp & ~15ull, new_cpl);
	push_frame(&s, f, 8, true);
	if (!canonical(c, g->offset))
		cpu_raise_error(c, EXC_GP, event_ext(c));
	cet_deliver(c, new_cpl, old_cpl, f->cs, f->rip, g->ist);
	if (new_cpl < old_cpl)
		load_ss(c, &(struct desc){ 0, 0 }, new_cpl);
	after_gate(c, g);
	load_cs(c, &cs, new_cpl);
	stack_commit(&s);
	c->r[R_RIP] = g->offset;
	cet_track_far(c, new_cpl);
}

/* -- 32- and 16-bit ------------------------------------------------------ */
static void push_v86(struct vcpu *c, struct stack *s, unsigned size)
{
	push(s, size, c->seg[SEG_GS].selector);
	push(s, size, c->seg[SEG_FS].selector);
	push(s, size, c->seg[SEG_DS].selector);
	push(s, size, c->seg[SEG_ES].selector);
}

static void leave_v86(struct vcpu *c)
{
	segment_set_null(c, SEG_GS, 0);
	segment_set_null(c, SEG_FS, 0);
	segment_set_null(c, SEG_DS, 0);
	segment_set_null(c, SEG_ES, 0);
}

static void inner_level(struct vcpu *c, const struct gate *g,
			const struct frame *f, struct desc *cs)
{
	unsigned size = g->type & 8 ? 4 : 2, cpl = DESC_DPL(cs);
	unsigned old_cpl = c->cpl;
	bool v86 = c->rflags & FLAG_VM;
	struct desc ss;
	struct stack s;
	uint16_t ss_sel;
	uint64_t sp;

	if (v86 && cpl)
		raise_sel(c, EXC_GP, g->selector);
	tss_stack(c, cpl, &ss_sel, &sp);
	check_ss(c, ss_sel, cpl, EXC_TS, &ss);
	stack_of(c, &s, &ss, sp, cpl);
	if (v86)
		push_v86(c, &s, size);
	push_frame(&s, f, size, true);
	far_check_limit(c, cs, g->offset);
	cet_deliver(c, cpl, old_cpl, f->cs, f->rip, 0);
	after_gate(c, g);
	if (v86)
		leave_v86(c);
	load_ss(c, &ss, cpl);
	load_cs(c, cs, cpl);
	stack_commit(&s);
}

static void same_level(struct vcpu *c, const struct gate *g,
		       const struct frame *f, struct desc *cs)
{
	struct stack s;
	unsigned cpl = c->cpl;

	if (c->rflags & FLAG_VM)
		raise_sel(c, EXC_GP, g->selector);
	stack_current(c, &s);
	push_frame(&s, f, g->type & 8 ? 4 : 2, false);
	far_check_limit(c, cs, g->offset);
	cet_deliver(c, cpl, cpl, f->cs, f->rip, 0);
	after_gate(c, g);
	load_cs(c, cs, cpl);
	stack_commit(&s);
}

static void through_32(struct vcpu *c, struct gate *g, const struct frame *f)
{
	struct desc cs;

	if (!(g->type & 8))
		g->offset &= 0xffff;
	handler_cs(c, g, &cs);
	if (!(DESC_TYPE(&cs) & TYPE_CONFORMING) && DESC_DPL(&cs) < c->cpl)
		inner_level(c, g, f, &cs);
	else
		same_level(c, g, f, &cs);
	c->r[R_RIP] = g->offset;
	cet_track_far(c, c->cpl);
}

/* -- real-address mode --------------------------------------------------- */
static void through_ivt(struct vcpu *c, unsigned vector, const struct frame *f)
{
	struct stack s;
	uint16_t to[2];

	if (vector * 4 + 3 > c->idtr.limit)
		cpu_raise_error(c, EXC_GP, 0);
	mem_sys_read(c, c->idtr.base + vector * 4, to, sizeof to);
	stack_current(c, &s);
	push(&s, 2, f->flags);
	push(&s, 2, f->cs);
	push(&s, 2, f->rip);
	cpu_set_rflags(c, cpu_rflags(c) &
		       ~(uint64_t)(FLAG_IF | FLAG_TF | FLAG_AC | FLAG_RF));
	segment_set_real(c, SEG_CS, to[1]);
	stack_commit(&s);
	cpu_update_mode(c);
	c->r[R_RIP] = to[0];
}

/* Virtual-8086 mode with VME: INT n may go through the 8086 task's own table
 * (SDM 20.3.3): the redirection bitmap before the I/O bitmap says so. */
static bool redirected(struct vcpu *c, unsigned vector)
{
	uint16_t io_base;
	uint8_t bits;

	if (!(c->rflags & FLAG_VM) || !(c->cr4 & CR4_VME) ||
	    c->event.type != EV_SOFT_INT)
		return false;
	if (c->seg[SEG_TR].limit < 103)
		raise_sel(c, EXC_GP, 0);
	mem_sys_read(c, c->seg[SEG_TR].base + 102, &io_base, 2);
	if (io_base < 32u || io_base - 32u + vector / 8 > c->seg[SEG_TR].limit)
		raise_sel(c, EXC_GP, 0);
	mem_sys_read(c, c->seg[SEG_TR].base + io_base - 32 + vector / 8, &bits,
		     1);
	return !(bits >> (vector & 7) & 1);
}

static void through_v86_ivt(struct vcpu *c, unsigned vector,
			    const struct frame *f)
{
	uint64_t flags = f->flags, now = cpu_rflags(c);
	bool virt = (flags & FLAG_IOPL) != FLAG_IOPL;
	struct stack s;
	uint16_t to[2];

	/* Below IOPL 3 the task sees VIF as its IF, and IOPL 3. */
	if (virt) {
		flags &= ~(uint64_t)FLAG_IF;
		flags |= FLAG_IOPL | (flags & FLAG_VIF ? FLAG_IF : 0);
	}
	mem_read_as(c, vector * 4, to, sizeof to, 3);
	stack_current(c, &s);
	push(&s, 2, flags);
	push(&s, 2, f->cs);
	push(&s, 2, f->rip);
	cpu_set_rflags(c, now & ~(uint64_t)(FLAG_TF | FLAG_RF |
					    (virt ? FLAG_VIF : FLAG_IF)));
	segment_set_real(c, SEG_CS, to[1]);
	stack_commit(&s);
	cpu_update_mode(c);
	c->r[R_RIP] = to[0];
}

/* -- whole --------------------------------------------------------------- */
/* Faults leave RF set in the image, so that the retry passes its breakpoint;
 * not so a breakpoint itself, traps and interrupts (SDM 17.3.1.1). */
static bool sets_rf(unsigned vector, unsigned type)
{
	return type == EV_HARD_EXC && vector != EXC_DB && vector != EXC_DF &&
	       vector != EXC_MC;
}

static void make_frame(struct vcpu *c, struct frame *f, unsigned insn_len)
{
	f->rip = c->r[R_RIP] + insn_len;
	if (!(c->mode & MODE_CS64))
		f->rip = (uint32_t)f->rip;
	f->flags = cpu_rflags(c);
	if (sets_rf(c->event.vector, c->event.type))
		f->flags |= FLAG_RF;
	f->rsp = c->r[R_RSP];
	f->cs = c->seg[SEG_CS].selector;
	f->ss = c->seg[SEG_SS].selector;
	f->has_error = c->event.has_error && c->cr0 & CR0_PE;
	f->error = c->event.error;
}

static void deliver(struct vcpu *c)
{
	unsigned vector = c->event.vector, len = 0;
	struct frame f;
	struct gate g;

	if (c->event.type >= EV_SOFT_INT && c->event.type <= EV_SOFT_EXC)
		len = c->event.insn_len;
	make_frame(c, &f, len);
	if (!(c->cr0 & CR0_PE)) {
		through_ivt(c, vector, &f);
		return;
	}
	if (redirected(c, vector)) {
		through_v86_ivt(c, vector, &f);
		return;
	}
	/* INT n in virtual-8086 mode needs IOPL 3 to reach the IDT. */
	if (c->rflags & FLAG_VM && c->event.type == EV_SOFT_INT &&
	    (c->rflags & FLAG_IOPL) != FLAG_IOPL)
		cpu_raise_error(c, EXC_GP, 0);
	read_gate(c, vector, &g);
	check_gate(c, &g, vector);
	if (g.type == SYS_TASK_GATE) {
		c->r[R_RIP] = f.rip;
		task_switch(c, g.selector, TASK_GATE, f.has_error, f.error);
	} else if (long_mode(c)) {
		through_64(c, &g, &f);
	} else {
		through_32(c, &g, &f);
	}
}

void event_inject(struct vcpu *c, unsigned vector, enum event_type type,
		  bool has_error, uint32_t error, unsigned insn_len)
{
	const struct hv_ops *ops = &c->vm->ops;

	c->event.valid = true;
	c->event.vector = (uint8_t)vector;
	c->event.type = (uint8_t)type;
	c->event.has_error = has_error;
	c->event.error = error;
	c->event.insn_len = (uint8_t)insn_len;
	c->blocking &= ~(BLOCK_STI | BLOCK_MOVSS);
	deliver(c);
	c->event.valid = false;
	if (ops->event)
		ops->event(ops->arg, c->id, vector, type, has_error, error);
}
