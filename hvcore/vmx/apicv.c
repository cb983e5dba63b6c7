/* apicv.c: APIC virtualization: TPR shadow, the APIC-access page, x2APIC mode,
 * virtual-interrupt delivery, posted interrupts (SDM volume 3, chapter 30).
 *
 * What follows a virtualized write (TPR, EOI, self-IPI virtualization, an
 * APIC-write exit) happens after the instruction: vapic_after notes it and
 * vapic_deliver does it between blocks. */
#include "hvcore/vmx/vmx.h"

enum { R_ID = 0x20, R_TPR = 0x80, R_PPR = 0xa0, R_EOI = 0xb0, R_LDR = 0xd0,
       R_DFR = 0xe0, R_SVR = 0xf0, R_ISR = 0x100, R_TMR = 0x180, R_IRR = 0x200,
       R_ESR = 0x280, R_ICR = 0x300, R_ICR2 = 0x310, R_LVT_FIRST = 0x320,
       R_LVT_LAST = 0x370, R_TMICT = 0x380, R_TMCCT = 0x390, R_TDCR = 0x3e0,
       R_SELF_IPI = 0x3f0 };

/* -- the virtual-APIC page ---------------------------------------------------------- */
static uint32_t get(const struct vcpu *c, unsigned off)
{
	uint32_t v = 0;

	if (c->vmx->ctl.vapic)
		memcpy(&v, c->vmx->ctl.vapic + off, 4);
	return v;
}

static void put(struct vcpu *c, unsigned off, uint32_t v)
{
	if (c->vmx->ctl.vapic)
		memcpy(c->vmx->ctl.vapic + off, &v, 4);
}

static void set_bit(struct vcpu *c, unsigned bank, unsigned vector, bool on)
{
	unsigned off = bank + (vector >> 5) * 16;
	uint32_t bit = 1u << (vector & 31);

	put(c, off, on ? get(c, off) | bit : get(c, off) & ~bit);
}

static unsigned highest(const struct vcpu *c, unsigned bank)
{
	for (int n = 7; n >= 0; n--) {
		uint32_t w = get(c, bank + (unsigned)n * 16);
		if (w)
			return (unsigned)n * 32 + 31 -
				(unsigned)__builtin_clz(w);
	}
	return 0;
}

static unsigned rvi(const struct vcpu *c)
{
	return VGET(c->vmx, GUEST_INTR_STATUS) & 0xff;
}
static unsigned svi(const struct vcpu *c)
{
	return VGET(c->vmx, GUEST_INTR_STATUS) >> 8 & 0xff;
}
static void set_status(struct vcpu *c, unsigned s, unsigned r)
{
	VSET(c->vmx, GUEST_INTR_STATUS, s << 8 | r);
}

/* -- priorities ------------------------------------------------------------------------- */
static void ppr_virtualization(struct vcpu *c)
{
	unsigned tpr = get(c, R_TPR) & 0xff, s = svi(c);

	put(c, R_PPR, tpr >> 4 >= s >> 4 ? tpr : s & 0xf0);
}

void vapic_evaluate(struct vcpu *c)
{
	if (c->vmx->ctl.sec & SEC_VID &&
	    rvi(c) >> 4 > (get(c, R_PPR) & 0xff) >> 4)
		cpu_pend(c, PEND_VAPIC);
}

static void note(struct vcpu *c, enum vapic_after what, unsigned value)
{
	c->vmx->after = what;
	c->vmx->after_value = value;
	cpu_pend(c, PEND_VAPIC);
}

static void tpr_virtualization(struct vcpu *c)
{
	const struct vmx_ctl *k = &c->vmx->ctl;

	if (k->sec & SEC_VID) {
		ppr_virtualization(c);
		vapic_evaluate(c);
	} else if ((get(c, R_TPR) >> 4 & 15) <
		   (VGET(c->vmx, TPR_THRESHOLD) & 15)) {
		note(c, AFTER_TPR_EXIT, 0);
	}
}

static void eoi_virtualization(struct vcpu *c)
{
	unsigned vector = svi(c);
	uint64_t map;

	set_bit(c, R_ISR, vector, false);
	set_status(c, highest(c, R_ISR), rvi(c));
	ppr_virtualization(c);
	map = layout_get(c->vmx->l, c->vmx->page, vmcs_field_index(
		VMCS_EOI_EXIT_BITMAP0 + 2 * (vector >> 6)));
	if (map >> (vector & 63) & 1)
		note(c, AFTER_EOI_EXIT, vector);
	else
		vapic_evaluate(c);
}

static void self_ipi_virtualization(struct vcpu *c, unsigned vector)
{
	set_bit(c, R_IRR, vector, true);
	if (vector > rvi(c))
		set_status(c, svi(c), vector);
	vapic_evaluate(c);
}

/* A self-IPI that ICR's low half asks for: fixed, edge, no reserved bits. */
static bool is_self_ipi(uint32_t icr)
{
	return (icr & 0xfffff700) == 0x40000 && (icr & 0xff) >= 16;
}

/* 30.4.3.2: what a write to the page at off leads to. */
static void apic_write_emulation(struct vcpu *c, unsigned off)
{
	bool vid = c->vmx->ctl.sec & SEC_VID;

	switch (off) {
	case R_TPR:
		put(c, R_TPR, get(c, R_TPR) & 0xff);
		tpr_virtualization(c);
		return;
	case R_EOI:
		if (!vid)
			break;
		put(c, R_EOI, 0);
		eoi_virtualization(c);
		return;
	case R_ICR:
		if (!vid || !is_self_ipi(get(c, R_ICR)))
			break;
		self_ipi_virtualization(c, get(c, R_ICR) & 0xff);
		return;
	case R_ICR2:
		put(c, R_ICR2, get(c, R_ICR2) & 0xff000000);
		return;
	}
	note(c, AFTER_WRITE_EXIT, off);
}

/* -- the APIC-access page ------------------------------------------------------------------ */
bool vmx_is_apic_access(const struct vcpu *c, uint64_t hpa)
{
	return c->nonroot &&
	       (hpa & ~PAGE_MASK) == c->vmx->ctl.apic_access;
}

static bool always_readable(unsigned off)
{
	switch (off) {
	case R_ID: case 0x30: case R_TPR: case R_EOI: case R_LDR: case R_DFR:
	case R_SVR: case R_ESR: case R_ICR: case R_ICR2: case R_TMICT:
	case R_TDCR:
		return true;
	}
	return (off >= R_ISR && off < R_ESR) ||
	       (off >= R_LVT_FIRST && off <= R_LVT_LAST);
}

static bool always_writable(unsigned off)
{
	switch (off) {
	case R_ID: case R_TPR: case R_EOI: case R_LDR: case R_DFR: case R_SVR:
	case R_ESR: case R_ICR: case R_ICR2: case R_TMICT: case R_TDCR:
		return true;
	}
	return off >= R_LVT_FIRST && off <= R_LVT_LAST;
}

static bool virtualized(const struct vcpu *c, uint64_t offset, unsigned size,
			bool write)
{
	const struct vmx_ctl *k = &c->vmx->ctl;
	unsigned reg = offset & 0xff0;

	/* Within the low 32 bits of a register, and a TPR shadow at least. */
	if (!(k->proc & PROC_TPR_SHADOW) || size > 4 ||
	    (offset & 15) + size > 4 || c->event.valid)
		return false;
	if (k->sec & SEC_APIC_REGS)
		return write ? always_writable(reg) : always_readable(reg);
	if (write && k->sec & SEC_VID)
		return reg == R_TPR || reg == R_EOI || reg == R_ICR;
	return reg == R_TPR;
}

/* Access types of the qualification (SDM table 28-6). */
enum { BY_READ = 0, BY_WRITE = 1, BY_FETCH = 2, BY_EVENT = 3,
       PHYSICAL_BY_EVENT = 10, PHYSICAL = 15 };

_Noreturn static void access_exit(struct vcpu *c, uint64_t offset,
				  uint64_t type)
{
	if (c->event.valid)
		type = BY_EVENT;
	vmx_exit_memory(c, XR_APIC_ACCESS, offset | type << 12);
}

void vapic_fetch(struct vcpu *c, uint64_t offset)
{
	access_exit(c, offset, BY_FETCH);
}

/* An entry of L2's paging structures in the page; the offset is undefined. */
void vapic_physical(struct vcpu *c)
{
	vmx_exit_memory(c, XR_APIC_ACCESS, (uint64_t)(c->event.valid ?
			PHYSICAL_BY_EVENT : PHYSICAL) << 12);
}

bool vapic_read(struct vcpu *c, uint64_t offset, unsigned size, uint64_t *v)
{
	if (!virtualized(c, offset, size, false))
		access_exit(c, offset, BY_READ);
	*v = get(c, offset & 0xff0) >> 8 * (offset & 3);
	return true;
}

bool vapic_write(struct vcpu *c, uint64_t offset, unsigned size, uint64_t v)
{
	if (!virtualized(c, offset, size, true))
		access_exit(c, offset, BY_WRITE);
	if (c->vmx->ctl.vapic) /* else no RAM: writes are lost */
		memcpy(c->vmx->ctl.vapic + offset, &v, size);
	apic_write_emulation(c, offset & 0xff0);
	return true;
}

/* -- MOV CR8 and x2APIC MSRs --------------------------------------------------------------------- */
uint64_t vmx_apic_tpr(struct vcpu *c, bool write, uint64_t v)
{
	if (!c->nonroot || !(c->vmx->ctl.proc & PROC_TPR_SHADOW)) {
		if (!c->lapic)
			return 0;
		if (write)
			lapic_set_tpr(c->lapic, (uint8_t)(v << 4));
		return lapic_tpr(c->lapic) >> 4;
	}
	if (write) {
		put(c, R_TPR, (uint32_t)(v & 15) << 4);
		tpr_virtualization(c);
	}
	return get(c, R_TPR) >> 4 & 15;
}

bool vmx_x2apic_read(struct vcpu *c, uint32_t index, uint64_t *v)
{
	const struct vmx_ctl *k = &c->vmx->ctl;
	unsigned off = (index & 0xff) << 4;

	if (!c->nonroot || !(k->sec & SEC_X2APIC) || index < 0x800 ||
	    index > 0x8ff)
		return false;
	if (!(k->sec & SEC_APIC_REGS) && off != R_TPR)
		return false;
	*v = get(c, off);
	if (off == R_ICR || k->sec & SEC_APIC_REGS)
		*v |= (uint64_t)get(c, off + 4) << 32;
	return true;
}

/* False: not virtualized; the physical x2APIC takes it. */
bool vmx_x2apic_write(struct vcpu *c, uint32_t index, uint64_t v)
{
	const struct vmx_ctl *k = &c->vmx->ctl;

	if (!c->nonroot || !(k->sec & SEC_X2APIC) ||
	    !(index == 0x808 || ((index == 0x80b || index == 0x83f) &&
				 k->sec & SEC_VID)))
		return false;
	if (index == 0x80b ? v : v >> 8)
		cpu_raise_error(c, EXC_GP, 0);
	if (index == 0x808) {
		put(c, R_TPR, (uint32_t)v);
		tpr_virtualization(c);
	} else if (index == 0x80b) {
		eoi_virtualization(c);
	} else {
		put(c, R_SELF_IPI, (uint32_t)v);
		if (v < 16)
			note(c, AFTER_WRITE_EXIT, R_SELF_IPI);
		else
			self_ipi_virtualization(c, (unsigned)v);
	}
	return true;
}

/* -- delivery ------------------------------------------------------------------------------------------ */
void vapic_entry(struct vcpu *c)
{
	if (c->vmx->ctl.sec & SEC_VID) {
		ppr_virtualization(c);
		vapic_evaluate(c);
		return;
	}
	/* 27.7.7: an entry with a TPR below the threshold exits. */
	if ((get(c, R_TPR) >> 4 & 15) < (VGET(c->vmx, TPR_THRESHOLD) & 15))
		note(c, AFTER_TPR_EXIT, 0);
}

bool vapic_after_write(struct vcpu *c)
{
	enum vapic_after what = c->vmx->after;
	unsigned value = c->vmx->after_value;

	c->vmx->after = AFTER_NOTHING;
	switch (what) {
	case AFTER_NOTHING: return false;
	case AFTER_TPR_EXIT: vmx_exit_now(c, XR_TPR, 0); return true;
	case AFTER_EOI_EXIT: vmx_exit_now(c, XR_EOI, value); return true;
	case AFTER_WRITE_EXIT: vmx_exit_now(c, XR_APIC_WRITE, value); return true;
	}
	return false;
}

static bool recognized(const struct vcpu *c)
{
	return c->vmx->ctl.sec & SEC_VID &&
	       rvi(c) >> 4 > (get(c, R_PPR) & 0xff) >> 4;
}

bool vapic_deliver(struct vcpu *c)
{
	unsigned vector;

	if (!recognized(c)) {
		c->pending_events &= ~(uint32_t)PEND_VAPIC;
		return false;
	}
	if (!(c->rflags & FLAG_IF) || c->blocking & (BLOCK_STI | BLOCK_MOVSS) ||
	    c->vmx->ctl.proc & PROC_INTR_WINDOW ||
	    (c->activity != ACT_ACTIVE && c->activity != ACT_HLT))
		return false;
	vector = rvi(c);
	set_bit(c, R_ISR, vector, true);
	set_bit(c, R_IRR, vector, false);
	put(c, R_PPR, vector & 0xf0);
	set_status(c, vector, highest(c, R_IRR));
	c->activity = ACT_ACTIVE;
	vapic_evaluate(c);
	event_inject(c, vector, EV_EXTINT, false, 0, 0);
	return true;
}

/* 30.6: the notification came; requests move from the descriptor to VIRR. */
void vapic_process_posted(struct vcpu *c)
{
	uint64_t desc = VGET(c->vmx, POSTED_INTR_DESC_ADDR), pir[4];
	uint32_t on;

	on = phys_read32(c, desc + 32);
	phys_write32(c, desc + 32, on & ~1u);
	phys_read(c, desc, pir, sizeof pir);
	for (unsigned v = 0; v < 256; v++) {
		if (!(pir[v >> 6] >> (v & 63) & 1))
			continue;
		set_bit(c, R_IRR, v, true);
		if (v > rvi(c))
			set_status(c, svi(c), v);
	}
	memset(pir, 0, sizeof pir);
	phys_write(c, desc, pir, sizeof pir);
	vapic_evaluate(c);
}
