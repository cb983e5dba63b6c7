/* task.c: hardware task switches through 32- and 16-bit TSSs (SDM vol. 3,
 * chapter 7).
 *
 * Up to the commit point faults belong to the old task and change nothing;
 * after it (segment loads) they are raised in the new one.
 */
#include "hvcore/event/event.h"

/* One image for both formats; a 16-bit TSS has the low halves, without FS, GS
 * and CR3. */
struct tss {
	uint32_t cr3, eip, eflags;
	uint32_t gpr[8];         /* EAX ECX EDX EBX ESP EBP ESI EDI */
	uint16_t seg[6];         /* ES CS SS DS FS GS */
	uint16_t ldt;
	bool trap;
};

/* Order of the segments in a TSS is the encoding's, as SEG_ES.. are. */
enum { TSS32_SIZE = 104, TSS16_SIZE = 44 };

static _Noreturn void ts_sel(struct vcpu *c, uint16_t selector)
{
	cpu_raise_error(c, EXC_TS, (selector & ~3u) | event_ext(c));
}

/* -- images -------------------------------------------------------------- */
static void parse32(const uint8_t *b, struct tss *t)
{
	memcpy(&t->cr3, b + 28, 4);
	memcpy(&t->eip, b + 32, 4);
	memcpy(&t->eflags, b + 36, 4);
	memcpy(t->gpr, b + 40, 32);
	for (unsigned n = 0; n < 6; n++)
		memcpy(&t->seg[n], b + 72 + 4 * n, 2);
	memcpy(&t->ldt, b + 96, 2);
	t->trap = b[100] & 1;
}

static void parse16(const uint8_t *b, struct tss *t)
{
	uint16_t w[16];

	memcpy(w, b + 14, 30);
	t->eip = w[0];
	t->eflags = w[1];
	for (unsigned n = 0; n < 8; n++)
		t->gpr[n] = w[2 + n] | 0xffff0000u;
	for (unsigned n = 0; n < 4; n++)
		t->seg[n] = w[10 + n];
	t->ldt = w[14];
}

static void read_tss(struct vcpu *c, uint64_t base, bool wide, struct tss *t)
{
	uint8_t buf[TSS32_SIZE];

	memset(t, 0, sizeof *t);
	mem_sys_read(c, base, buf, wide ? TSS32_SIZE : TSS16_SIZE);
	if (wide)
		parse32(buf, t);
	else
		parse16(buf, t);
}

/* The dynamic fields of the outgoing task: EIP to GS. */
static void save_tss(struct vcpu *c, uint64_t eip, uint64_t flags)
{
	bool wide = c->seg[SEG_TR].attr & 8;
	uint64_t base = c->seg[SEG_TR].base;
	uint8_t buf[64] = { 0 };
	uint32_t v;

	if (wide) {
		memcpy(buf, &eip, 4);
		memcpy(buf + 4, &flags, 4);
		for (unsigned n = 0; n < 8; n++) {
			v = (uint32_t)c->r[n];
			memcpy(buf + 8 + 4 * n, &v, 4);
		}
		for (unsigned n = 0; n < 6; n++)
			memcpy(buf + 40 + 4 * n, &c->seg[n].selector, 2);
		mem_sys_write(c, base + 32, buf, 64);
		return;
	}
	memcpy(buf, &eip, 2);
	memcpy(buf + 2, &flags, 2);
	for (unsigned n = 0; n < 8; n++)
		memcpy(buf + 4 + 2 * n, &c->r[n], 2);
	for (unsigned n = 0; n < 4; n++)
		memcpy(buf + 20 + 2 * n, &c->seg[n].selector, 2);
	mem_sys_write(c, base + 14, buf, 28);
}

/* -- the new task's descriptor ------------------------------------------- */
static void check_target(struct vcpu *c, uint16_t selector, int why,
			 struct desc *d)
{
	unsigned vector = why == TASK_IRET ? EXC_TS : EXC_GP;
	unsigned type;
	uint64_t lin;

	if (selector & 4 || is_null(selector) ||
	    !desc_address(c, selector, 8, &lin))
		cpu_raise_error(c, vector, (selector & ~3u) | event_ext(c));
	desc_fetch(c, selector, vector, d);
	type = DESC_TYPE(d);
	if (DESC_S(d) || (why == TASK_IRET ?
	    type != SYS_TSS_BUSY && type != SYS_TSS16_BUSY :
	    type != SYS_TSS && type != SYS_TSS16))
		cpu_raise_error(c, vector, (selector & ~3u) | event_ext(c));
	if (!DESC_P(d))
		cpu_raise_error(c, EXC_NP, (selector & ~3u) | event_ext(c));
	if (desc_limit(d) < (type & 8 ? TSS32_SIZE : TSS16_SIZE) - 1u)
		ts_sel(c, selector);
}

static void set_busy(struct vcpu *c, uint16_t selector, bool busy)
{
	uint8_t access;
	uint64_t lin;

	if (!desc_address(c, selector, 8, &lin))
		return;
	mem_sys_read(c, lin + 5, &access, 1);
	access = busy ? access | 2 : access & ~2;
	mem_sys_write(c, lin + 5, &access, 1);
}

/* -- the new task's segments --------------------------------------------- */
static void load_ldt(struct vcpu *c, uint16_t selector)
{
	struct desc d;
	uint64_t lin;

	segment_set_null(c, SEG_LDTR, selector);
	if (is_null(selector))
		return;
	if (selector & 4 || !desc_address(c, selector, 8, &lin))
		ts_sel(c, selector);
	desc_fetch(c, selector, EXC_TS, &d);
	if (DESC_S(&d) || DESC_TYPE(&d) != SYS_LDT || !DESC_P(&d))
		ts_sel(c, selector);
	segment_set(c, SEG_LDTR, &d);
}

static void load_task_ss(struct vcpu *c, uint16_t selector, unsigned cpl)
{
	struct desc d;

	if (is_null(selector))
		ts_sel(c, selector);
	check_ss(c, selector, cpl, EXC_TS, &d);
	load_ss(c, &d, cpl);
}

static void load_task_cs(struct vcpu *c, uint16_t selector)
{
	unsigned cpl = selector & 3;
	struct desc d;

	if (is_null(selector))
		ts_sel(c, selector);
	desc_fetch(c, selector, EXC_TS, &d);
	if (!desc_is_code(&d) ||
	    (DESC_TYPE(&d) & TYPE_CONFORMING ? DESC_DPL(&d) > cpl :
					       DESC_DPL(&d) != cpl))
		ts_sel(c, selector);
	if (!DESC_P(&d))
		cpu_raise_error(c, EXC_NP, (selector & ~3u) | event_ext(c));
	load_cs(c, &d, cpl);
}

static void load_task_data(struct vcpu *c, int seg, uint16_t selector)
{
	struct desc d;
	uint32_t type;

	if (is_null(selector))
		return;
	desc_fetch(c, selector, EXC_TS, &d);
	type = DESC_TYPE(&d);
	if (!DESC_S(&d) || (type & TYPE_CODE && !(type & TYPE_RW)))
		ts_sel(c, selector);
	if ((type & (TYPE_CODE | TYPE_CONFORMING)) !=
		    (TYPE_CODE | TYPE_CONFORMING) &&
	    ((selector & 3u) > DESC_DPL(&d) || c->cpl > DESC_DPL(&d)))
		ts_sel(c, selector);
	if (!DESC_P(&d))
		cpu_raise_error(c, EXC_NP, (selector & ~3u) | event_ext(c));
	desc_mark_accessed(c, &d);
	segment_set(c, seg, &d);
	cpu_update_mode(c);
}

static void load_segments(struct vcpu *c, const struct tss *t)
{
	static const int data[] = { SEG_ES, SEG_DS, SEG_FS, SEG_GS };

	if (c->rflags & FLAG_VM) {
		for (int s = 0; s < 6; s++)
			segment_set_real(c, s, t->seg[s]);
		load_ldt(c, t->ldt);
		set_cpl(c, 3);
		return;
	}
	/* Until each is checked it is a selector without a segment. */
	for (int s = 0; s < 6; s++)
		segment_set_null(c, s, t->seg[s]);
	c->seg[SEG_SS].attr |= (t->seg[SEG_CS] & 3u) << 5;
	set_cpl(c, t->seg[SEG_CS] & 3);
	load_ldt(c, t->ldt);
	load_task_cs(c, t->seg[SEG_CS]);
	load_task_ss(c, t->seg[SEG_SS], c->cpl);
	for (unsigned n = 0; n < 4; n++)
		load_task_data(c, data[n], t->seg[data[n]]);
}

/* -- the switch ---------------------------------------------------------- */
static void load_cr3(struct vcpu *c, uint32_t cr3)
{
	if (!(c->cr0 & CR0_PG))
		return;
	if (c->cr4 & CR4_PAE && !pdptrs_load(c, cr3))
		ts_sel(c, c->seg[SEG_TR].selector);
	mem_flush_pcid(c, 0, false);
	cr_load(c, 3, cr3);
}

static void enter_task(struct vcpu *c, const struct tss *t, bool wide,
		       uint64_t flags)
{
	cpu_set_rflags(c, (flags & (wide ? 0x3f7fd7 : 0x7fd7)) | 2);
	for (unsigned n = 0; n < 8; n++)
		c->r[n] = t->gpr[n];
	c->r[R_RIP] = t->eip;
	c->cr0 |= CR0_TS;
	c->dr[7] &= ~0x155ull; /* local breakpoints */
	cpu_update_mode(c);
	mem_switch_context(c);
}

static void push_error(struct vcpu *c, bool wide, uint32_t error)
{
	struct stack s;

	stack_current(c, &s);
	push(&s, wide ? 4 : 2, error);
	stack_commit(&s);
}

static void do_switch(struct vcpu *c, const struct desc *d, int why,
		      struct tss *t)
{
	uint16_t old = c->seg[SEG_TR].selector, selector = d->selector;
	bool wide = DESC_TYPE(d) & 8, nested = why == TASK_CALL ||
					       why == TASK_GATE;
	uint64_t flags = cpu_rflags(c), base = desc_base(d);
	struct desc busy = *d;

	if (why == TASK_IRET)
		flags &= ~(uint64_t)FLAG_NT;
	/* Whatever the new task will write must be writable now. */
	mem_sys_probe_write(c, base, wide ? TSS32_SIZE : TSS16_SIZE);
	save_tss(c, c->r[R_RIP], flags);
	read_tss(c, base, wide, t);
	if (why == TASK_JMP || why == TASK_IRET)
		set_busy(c, old, false);
	if (nested)
		mem_sys_write(c, base, &old, 2);
	if (why != TASK_IRET)
		set_busy(c, selector, true);
	busy.raw |= 2ull << 40;
	segment_set(c, SEG_TR, &busy);
	if (wide)
		load_cr3(c, t->cr3);
	enter_task(c, t, wide, nested ? t->eflags | FLAG_NT : t->eflags);
	load_segments(c, t);
}

void task_switch(struct vcpu *c, uint16_t selector, int why, bool has_error,
		 uint32_t error)
{
	const struct insn *i = c->cur;
	unsigned len = i ? i->len : 0;
	struct desc d;
	struct tss t;

	check_target(c, selector, why, &d);
	if (!i && c->event.valid && c->event.type != EV_EXTINT)
		len = c->event.insn_len;
	if (c->nonroot)
		vmx_hook_task_switch(c, selector, why, len);
	if (i)
		cpu_sync(c, true);
	do_switch(c, &d, why, &t);
	if (has_error)
		push_error(c, DESC_TYPE(&d) & 8, error);
	if (c->r[R_RIP] > c->seg[SEG_CS].limit)
		cpu_raise_error(c, EXC_GP, event_ext(c));
	if (t.trap) {
		c->dr6_pending |= DR6_BT;
		cpu_pend(c, PEND_TRAP);
	}
	look_again(c);
	if (i)
		cpu_resume(c);
}
