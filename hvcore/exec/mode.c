/* mode.c: what the decoder must know of the processor's mode; RFLAGS. */
#include "hvcore/exec/flags.h"
#include "hvcore/insn.h"
#include "hvcore/mem.h"
#include "hvcore/parts.h"

#define CR0_PE 1u
#define CR4_CET (1u << 23)
#define EFER_LMA (1u << 10)
#define CET_SHSTK_OR_IBT 5u

static bool flat(const struct segment *s, bool code)
{
	unsigned type = s->attr & AR_TYPE;

	if (s->base || s->limit != 0xffffffff || s->attr & AR_UNUSABLE ||
	    !(s->attr & AR_P) || !(s->attr & AR_S))
		return false;
	return code ? type & 8 : (type & 0xe) == 2;
}

static bool all_flat(const struct vcpu *c)
{
	return flat(&c->seg[SEG_CS], true) && flat(&c->seg[SEG_SS], false) &&
	       flat(&c->seg[SEG_DS], false) && flat(&c->seg[SEG_ES], false);
}

/* Of any kind: a data breakpoint's trap comes right after its instruction. */
static bool has_breakpoint(const struct vcpu *c)
{
	return c->dr[7] & 0xff;
}

static uint32_t size_bits(const struct vcpu *c)
{
	uint32_t cs = c->seg[SEG_CS].attr, m = 0;

	if (c->efer & EFER_LMA) {
		m |= MODE_LONG;
		if (cs & AR_L)
			return m | MODE_CS64;
	}
	m |= cs & AR_DB ? MODE_CS32 : 0;
	m |= c->seg[SEG_SS].attr & AR_DB ? MODE_SS32 : 0;
	return m;
}

void cpu_update_mode(struct vcpu *c)
{
	uint32_t m = size_bits(c);

	for (int n = SEG_ES; n <= SEG_TR; n++)
		c->segbase[n] = c->seg[n].base;
	if (c->rflags & FLAG_VM)
		m |= MODE_V86;
	else if (c->cr0 & CR0_PE)
		m |= MODE_PROT;
	if (!(m & MODE_CS64) && m & MODE_PROT && all_flat(c))
		m |= MODE_FLAT;
	if (c->cpl == 3)
		m |= MODE_USER;
	if (c->nonroot)
		m |= MODE_NONROOT;
	if (c->rflags & FLAG_TF || c->trace || has_breakpoint(c) ||
	    (c->nonroot && vmx_mtf(c)))
		m |= MODE_STEP;
	if (c->cr4 & CR4_CET && m & MODE_PROT &&
	    (c->cpl == 3 ? c->msr.u_cet : c->msr.s_cet) & CET_SHSTK_OR_IBT)
		m |= MODE_CET;
	c->mode = m;
}

uint64_t cpu_rflags(const struct vcpu *c)
{
	return (c->rflags & ~(uint64_t)FLAGS_ARITH) | cc_flags(c) | 2;
}

void cpu_set_rflags(struct vcpu *c, uint64_t v)
{
	const uint64_t all = FLAGS_ARITH | FLAG_TF | FLAG_IF | FLAG_DF |
			     FLAG_IOPL | FLAG_NT | FLAG_RF | FLAG_VM | FLAG_AC |
			     FLAG_VIF | FLAG_VIP | FLAG_ID;
	uint64_t change = c->rflags ^ v;

	cc_set_flags(c, (uint32_t)v);
	c->rflags = (v & all & ~(uint64_t)FLAGS_ARITH) | 2;
	if (change & (FLAG_TF | FLAG_VM))
		cpu_update_mode(c);
	if (change & FLAG_AC)
		mem_switch_context(c);
}

uint64_t cpu_icount(const struct vcpu *c)
{
	uint64_t n = c->deadline - (uint64_t)c->budget;

	return c->cur ? n + c->cur->ord : n;
}
