/* segment.c: descriptors and segment registers (SDM vol. 3, 3.4 and 5.5).
 *
 * Owns the loading of every segment register; what a far transfer checks before
 * it loads CS and SS stands in far.c, iret.c and deliver.c.
 */
#include "hvcore/event/event.h"

void set_segment_base(struct vcpu *c, int seg, uint64_t base)
{
	c->seg[seg].base = base;
	c->segbase[seg] = base;
}

void set_cpl(struct vcpu *c, unsigned cpl)
{
	c->cpl = (uint8_t)cpl;
	cpu_update_mode(c);
	mem_switch_context(c);
}

uint32_t desc_limit(const struct desc *d)
{
	uint32_t limit = (uint32_t)(d->raw & 0xffff) |
			 (uint32_t)(d->raw >> 48 & 15) << 16;

	return d->raw >> 55 & 1 ? limit << 12 | 0xfff : limit;
}

/* Linear address of the selector's descriptor; false: beyond its table. */
bool desc_address(const struct vcpu *c, uint16_t selector, unsigned size,
		  uint64_t *lin)
{
	uint64_t base = c->gdtr.base;
	uint32_t limit = c->gdtr.limit, at = selector & ~7u;

	if (selector & 4) {
		if (c->seg[SEG_LDTR].attr & AR_UNUSABLE)
			return false;
		base = c->seg[SEG_LDTR].base;
		limit = c->seg[SEG_LDTR].limit;
	}
	*lin = base + at;
	return at + size - 1 <= limit;
}

static void raise_sel(struct vcpu *c, unsigned vector, uint16_t selector)
{
	cpu_raise_error(c, vector, (selector & ~3u) | event_ext(c));
}

void desc_fetch(struct vcpu *c, uint16_t selector, unsigned vector,
		struct desc *d)
{
	uint64_t lin;

	if (!desc_address(c, selector, 8, &lin))
		raise_sel(c, vector, selector);
	mem_sys_read(c, lin, &d->raw, 8);
	d->selector = selector;
}

void desc_mark_accessed(struct vcpu *c, struct desc *d)
{
	uint64_t lin;
	uint8_t access;

	if (d->raw >> 40 & 1 || !desc_address(c, d->selector, 8, &lin))
		return;
	d->raw |= 1ull << 40;
	access = (uint8_t)(d->raw >> 40);
	mem_sys_write(c, lin + 5, &access, 1);
}

void segment_set(struct vcpu *c, int seg, const struct desc *d)
{
	c->seg[seg].selector = d->selector;
	c->seg[seg].limit = desc_limit(d);
	c->seg[seg].attr = DESC_ATTR(d);
	set_segment_base(c, seg, desc_base(d));
}

void segment_set_null(struct vcpu *c, int seg, uint16_t selector)
{
	c->seg[seg].selector = selector;
	c->seg[seg].limit = 0;
	c->seg[seg].attr = AR_UNUSABLE;
	set_segment_base(c, seg, 0);
}

/* Real-address mode changes selector and base alone; virtual-8086 mode all. */
void segment_set_real(struct vcpu *c, int seg, uint16_t selector)
{
	c->seg[seg].selector = selector;
	set_segment_base(c, seg, (uint64_t)selector << 4);
	if (c->rflags & FLAG_VM) {
		c->seg[seg].limit = 0xffff;
		c->seg[seg].attr = 0xf3;
	} else if (c->seg[seg].attr & AR_UNUSABLE) {
		c->seg[seg].limit = 0xffff;
		c->seg[seg].attr = 0x93;
	}
}

void load_cs(struct vcpu *c, struct desc *d, unsigned cpl)
{
	desc_mark_accessed(c, d);
	segment_set(c, SEG_CS, d);
	c->seg[SEG_CS].selector = (uint16_t)((d->selector & ~3u) | cpl);
	set_cpl(c, cpl);
}

void check_ss(struct vcpu *c, uint16_t selector, unsigned cpl, unsigned vector,
	      struct desc *d)
{
	if (is_null(selector))
		cpu_raise_error(c, vector, event_ext(c) |
				(vector == EXC_TS ? selector & ~3u : 0));
	desc_fetch(c, selector, vector, d);
	if ((selector & 3u) != cpl || !DESC_S(d) ||
	    DESC_TYPE(d) & TYPE_CODE || !(DESC_TYPE(d) & TYPE_RW) ||
	    DESC_DPL(d) != cpl)
		raise_sel(c, vector, selector);
	if (!DESC_P(d))
		raise_sel(c, EXC_SS, selector);
}

void load_ss(struct vcpu *c, struct desc *d, unsigned cpl)
{
	if (is_null(d->selector)) {
		segment_set_null(c, SEG_SS, (uint16_t)cpl);
		c->seg[SEG_SS].attr = AR_UNUSABLE | cpl << 5;
	} else {
		desc_mark_accessed(c, d);
		segment_set(c, SEG_SS, d);
	}
	cpu_update_mode(c);
}

/* -- MOV, POP, LxS ------------------------------------------------------- */
static void load_ss_register(struct vcpu *c, uint16_t selector)
{
	struct desc d = { 0, selector };

	if (is_null(selector)) {
		/* A null SS is allowed in 64-bit code outside of CPL 3. */
		if (!(c->mode & MODE_CS64) || c->cpl == 3 ||
		    (selector & 3) != c->cpl)
			cpu_raise_error(c, EXC_GP, 0);
	} else {
		check_ss(c, selector, c->cpl, EXC_GP, &d);
	}
	load_ss(c, &d, c->cpl);
}

static void load_data_register(struct vcpu *c, int seg, uint16_t selector)
{
	struct desc d;
	unsigned rpl = selector & 3;
	uint32_t type;

	if (is_null(selector)) {
		segment_set_null(c, seg, selector);
		cpu_update_mode(c);
		return;
	}
	desc_fetch(c, selector, EXC_GP, &d);
	type = DESC_TYPE(&d);
	if (!DESC_S(&d) || (type & TYPE_CODE && !(type & TYPE_RW)))
		raise_sel(c, EXC_GP, selector);
	if ((type & (TYPE_CODE | TYPE_CONFORMING)) !=
		    (TYPE_CODE | TYPE_CONFORMING) &&
	    (rpl > DESC_DPL(&d) || c->cpl > DESC_DPL(&d)))
		raise_sel(c, EXC_GP, selector);
	if (!DESC_P(&d))
		raise_sel(c, EXC_NP, selector);
	desc_mark_accessed(c, &d);
	segment_set(c, seg, &d);
	cpu_update_mode(c);
}

void load_segment(struct vcpu *c, int seg, uint16_t selector)
{
	if (!protected_mode(c)) {
		segment_set_real(c, seg, selector);
		cpu_update_mode(c);
	} else if (seg == SEG_SS) {
		load_ss_register(c, selector);
	} else {
		load_data_register(c, seg, selector);
	}
}

/* -- the TSS's stacks ---------------------------------------------------- */
static void check_tss_range(struct vcpu *c, uint64_t at, unsigned size)
{
	if (at + size - 1 > c->seg[SEG_TR].limit)
		raise_sel(c, EXC_TS, c->seg[SEG_TR].selector);
}

void tss_stack(struct vcpu *c, unsigned pl, uint16_t *ss, uint64_t *sp)
{
	bool wide = c->seg[SEG_TR].attr & 8;
	unsigned at = wide ? 4 + 8 * pl : 2 + 4 * pl;
	uint8_t buf[8] = { 0 };
	uint32_t esp;

	check_tss_range(c, at, wide ? 8 : 4);
	mem_sys_read(c, c->seg[SEG_TR].base + at, buf, wide ? 6 : 4);
	if (wide) {
		memcpy(&esp, buf, 4);
		memcpy(ss, buf + 4, 2);
		*sp = esp;
	} else {
		*sp = buf[0] | buf[1] << 8;
		memcpy(ss, buf + 2, 2);
	}
}

uint64_t tss_rsp(struct vcpu *c, unsigned slot)
{
	uint64_t v;

	check_tss_range(c, slot, 8);
	mem_sys_read(c, c->seg[SEG_TR].base + slot, &v, 8);
	if (!canonical(c, v))
		cpu_raise_error(c, EXC_SS, event_ext(c));
	return v;
}
