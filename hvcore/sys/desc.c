/* desc.c: instructions on descriptor tables and their registers: LGDT, LIDT,
 * LLDT, LTR and their stores; VERR, VERW, LAR, LSL, ARPL (SDM vol. 2).
 */
#include "hvcore/event/event.h"

static void hook(struct vcpu *c, const struct insn *i, enum vmx_insn_kind k)
{
	if (unlikely(c->nonroot))
		vmx_hook_insn(c, i, k);
}

/* -- GDTR, IDTR ---------------------------------------------------------- */
static void load_table(struct vcpu *c, const struct insn *i, struct dtable *t,
		       enum vmx_insn_kind k)
{
	bool wide = c->mode & MODE_CS64;
	uint8_t buf[10] = { 0 };
	uint64_t base;

	require_cpl0(c);
	hook(c, i, k);
	mem_read_bytes(c, i, insn_linear(c, i), buf, wide ? 10 : 6);
	memcpy(&base, buf + 2, 8);
	if (!wide)
		base &= insn_opsize(i) == 2 ? 0xffffff : 0xffffffff;
	if (!canonical_max(c, base))
		cpu_raise_error(c, EXC_GP, 0);
	memcpy(&t->limit, buf, 2);
	t->base = base;
}

static void store_table(struct vcpu *c, const struct insn *i,
			const struct dtable *t, enum vmx_insn_kind k)
{
	uint8_t buf[10];

	require_umip(c);
	hook(c, i, k);
	memcpy(buf, &t->limit, 2);
	memcpy(buf + 2, &t->base, 8);
	mem_write_bytes(c, i, insn_linear(c, i), buf,
			c->mode & MODE_CS64 ? 10 : 6);
}

void op_lgdt(struct vcpu *c, const struct insn *i)
{
	load_table(c, i, &c->gdtr, VI_LGDT);
}

void op_lidt(struct vcpu *c, const struct insn *i)
{
	load_table(c, i, &c->idtr, VI_LIDT);
}

void op_sgdt(struct vcpu *c, const struct insn *i)
{
	store_table(c, i, &c->gdtr, VI_SGDT);
}

void op_sidt(struct vcpu *c, const struct insn *i)
{
	store_table(c, i, &c->idtr, VI_SIDT);
}

/* -- LDTR, TR ------------------------------------------------------------ */
static uint16_t source16(struct vcpu *c, const struct insn *i)
{
	return insn_is_mem(i) ? mem_read16(c, i, insn_linear(c, i)) :
				(uint16_t)c->r[i->rm];
}

static void store16(struct vcpu *c, const struct insn *i, uint16_t v,
		    enum vmx_insn_kind k)
{
	require_prot(c);
	require_umip(c);
	hook(c, i, k);
	if (insn_is_mem(i))
		mem_write16(c, i, insn_linear(c, i), v);
	else
		set_gpr(c, i->rm, insn_opsize(i), v);
}

void op_sldt(struct vcpu *c, const struct insn *i)
{
	store16(c, i, c->seg[SEG_LDTR].selector, VI_SLDT);
}

void op_str(struct vcpu *c, const struct insn *i)
{
	store16(c, i, c->seg[SEG_TR].selector, VI_STR);
}

static _Noreturn void gp_sel(struct vcpu *c, uint16_t selector)
{
	cpu_raise_error(c, EXC_GP, selector & ~3u);
}

/* A system descriptor in the GDT: 16 bytes in 64-bit mode.  Returns its base's
 * high half. */
static uint64_t fetch_system(struct vcpu *c, uint16_t selector,
			     struct desc *d)
{
	unsigned size = long_mode(c) ? 16 : 8;
	uint64_t lin, high = 0;

	if (selector & 4 || !desc_address(c, selector, size, &lin))
		gp_sel(c, selector);
	desc_fetch(c, selector, EXC_GP, d);
	if (size == 16) {
		mem_sys_read(c, lin + 8, &high, 8);
		if (high >> 40 & 0x1f)
			gp_sel(c, selector);
	}
	return high << 32;
}

void op_lldt(struct vcpu *c, const struct insn *i)
{
	uint16_t selector;
	uint64_t high;
	struct desc d;

	require_prot(c);
	require_cpl0(c);
	hook(c, i, VI_LLDT);
	selector = source16(c, i);
	if (is_null(selector)) {
		segment_set_null(c, SEG_LDTR, selector);
		return;
	}
	high = fetch_system(c, selector, &d);
	if (DESC_S(&d) || DESC_TYPE(&d) != SYS_LDT)
		gp_sel(c, selector);
	if (!DESC_P(&d))
		cpu_raise_error(c, EXC_NP, selector & ~3u);
	if (!canonical_max(c, high | desc_base(&d)))
		gp_sel(c, selector);
	segment_set(c, SEG_LDTR, &d);
	set_segment_base(c, SEG_LDTR, high | desc_base(&d));
}

void op_ltr(struct vcpu *c, const struct insn *i)
{
	uint16_t selector;
	uint64_t high, lin;
	struct desc d;
	uint8_t access;

	require_prot(c);
	require_cpl0(c);
	hook(c, i, VI_LTR);
	selector = source16(c, i);
	if (is_null(selector))
		cpu_raise_error(c, EXC_GP, 0);
	high = fetch_system(c, selector, &d);
	if (DESC_S(&d) || (DESC_TYPE(&d) != SYS_TSS &&
	    (long_mode(c) || DESC_TYPE(&d) != SYS_TSS16)))
		gp_sel(c, selector);
	if (!DESC_P(&d))
		cpu_raise_error(c, EXC_NP, selector & ~3u);
	if (!canonical_max(c, high | desc_base(&d)))
		gp_sel(c, selector);
	d.raw |= 2ull << 40; /* busy */
	access = (uint8_t)(d.raw >> 40);
	desc_address(c, selector, 8, &lin);
	mem_sys_write(c, lin + 5, &access, 1);
	segment_set(c, SEG_TR, &d);
	set_segment_base(c, SEG_TR, high | desc_base(&d));
}

/* -- asking about selectors ---------------------------------------------- */
/* The descriptor if it is within its table; false else. */
static bool look_up(struct vcpu *c, uint16_t selector, struct desc *d)
{
	uint64_t lin;

	if (is_null(selector) || !desc_address(c, selector, 8, &lin))
		return false;
	mem_sys_read(c, lin, &d->raw, 8);
	d->selector = selector;
	return true;
}

/* Visible at this CPL and RPL: conforming code always is. */
static bool visible(const struct vcpu *c, const struct desc *d)
{
	uint32_t type = DESC_TYPE(d);

	if (DESC_S(d) && (type & (TYPE_CODE | TYPE_CONFORMING)) ==
			 (TYPE_CODE | TYPE_CONFORMING))
		return true;
	return DESC_DPL(d) >= c->cpl && DESC_DPL(d) >= (d->selector & 3u);
}

static void verify(struct vcpu *c, const struct insn *i, bool write)
{
	struct desc d;
	bool ok;
	uint32_t type;

	require_prot(c);
	ok = look_up(c, source16(c, i), &d) && DESC_S(&d) && visible(c, &d);
	if (ok) {
		type = DESC_TYPE(&d);
		if (write)
			ok = !(type & TYPE_CODE) && type & TYPE_RW;
		else
			ok = !(type & TYPE_CODE) || type & TYPE_RW;
	}
	set_zf(c, ok);
}

void op_verr(struct vcpu *c, const struct insn *i)
{
	verify(c, i, false);
}

void op_verw(struct vcpu *c, const struct insn *i)
{
	verify(c, i, true);
}

/* System types that LAR and LSL know, by mode (SDM vol. 2, tables in LAR, LSL);
 * gates have no limit. */
static bool known_system(const struct vcpu *c, unsigned type, bool limit)
{
	const uint32_t tss_ldt = 1u << SYS_LDT | 1u << SYS_TSS |
				 1u << SYS_TSS_BUSY;
	uint32_t ok = tss_ldt;

	if (!limit)
		ok |= 1u << SYS_CALL;
	if (!long_mode(c)) {
		ok |= 1u << SYS_TSS16 | 1u << SYS_TSS16_BUSY;
		if (!limit)
			ok |= 1u << SYS_CALL16 | 1u << SYS_TASK_GATE;
	}
	return ok >> type & 1;
}

static bool query(struct vcpu *c, const struct insn *i, bool limit,
		  struct desc *d)
{
	bool ok;

	require_prot(c);
	ok = look_up(c, source16(c, i), d) &&
	     (DESC_S(d) || known_system(c, DESC_TYPE(d), limit)) &&
	     visible(c, d);
	set_zf(c, ok);
	return ok;
}

void op_lar(struct vcpu *c, const struct insn *i)
{
	struct desc d;

	if (query(c, i, false, &d))
		set_gpr(c, i->reg, insn_opsize(i), d.raw >> 32 & 0xffff00);
}

void op_lsl(struct vcpu *c, const struct insn *i)
{
	struct desc d;

	if (query(c, i, true, &d))
		set_gpr(c, i->reg, insn_opsize(i), desc_limit(&d));
}

void op_arpl(struct vcpu *c, const struct insn *i)
{
	uint16_t dst, src = c->r[i->reg] & 3;
	uint64_t lin = 0;

	require_prot(c);
	if (insn_is_mem(i)) {
		lin = insn_linear(c, i);
		mem_probe_write(c, i, lin, 2);
		dst = mem_read16(c, i, lin);
	} else {
		dst = (uint16_t)c->r[i->rm];
	}
	if ((dst & 3) < src) {
		dst = (uint16_t)((dst & ~3) | src);
		if (insn_is_mem(i))
			mem_write16(c, i, lin, dst);
		else
			set_gpr(c, i->rm, 2, dst);
		set_zf(c, true);
	} else {
		set_zf(c, false);
	}
}
