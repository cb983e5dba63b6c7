/* reset.c: a vCPU at power-up, after INIT and after a start-up IPI (SDM vol. 3,
 * table 9-1). */
#include "hvcore/sys/ops.h"

static void reset_segments(struct vcpu *c)
{
	static const uint32_t attr[SEG_TR + 1] = {
		[SEG_CS] = 0x9b, [SEG_DS] = 0x93, [SEG_ES] = 0x93,
		[SEG_SS] = 0x93, [SEG_FS] = 0x93, [SEG_GS] = 0x93,
		[SEG_LDTR] = 0x82, [SEG_TR] = 0x8b,
	};

	for (int s = 0; s <= SEG_TR; s++) {
		c->seg[s] = (struct segment){ 0, 0xffff, attr[s], 0 };
		c->segbase[s] = 0;
	}
	c->seg[SEG_CS].selector = 0xf000;
	set_segment_base(c, SEG_CS, 0xffff0000);
	c->segbase[SEG_NONE] = 0;
	c->gdtr = (struct dtable){ 0, 0xffff };
	c->idtr = (struct dtable){ 0, 0xffff };
}

void cpu_reset(struct vcpu *c, bool init)
{
	uint64_t keep = c->cr0 & (CR0_CD | CR0_NW);

	memset(c->r, 0, sizeof c->r);
	c->r[R_RIP] = 0xfff0;
	c->r[R_RDX] = c->model->hot[0][0]; /* family, model, stepping */
	c->cur = NULL;
	c->efer = 0;
	c->cr0 = CR0_ET | (init ? keep : CR0_CD | CR0_NW);
	c->cr2 = c->cr3 = c->cr4 = 0;
	memset(c->pdptr, 0, sizeof c->pdptr);
	memset(c->dr, 0, sizeof c->dr);
	c->dr[6] = DR6_INIT;
	c->dr[7] = DR7_INIT;
	c->cpl = 0;
	c->rflags = 2;
	cpu_set_rflags(c, 2);
	reset_segments(c);
	c->blocking = 0;
	c->in_smm = false;
	c->dr6_pending = 0;
	/* A start-up IPI that came after the INIT is still to be taken. */
	c->pending_events &= PEND_STOP | PEND_INTR | (init ? PEND_SIPI : 0);
	c->event.valid = false;
	c->nested_faults = 0;
	c->nonroot = false;
	msr_reset(c, init);
	if (!init)
		c->fpu.pkru = 0;
	fp_reset(c, init);
	if (c->lapic)
		lapic_reset(c->lapic, init);
	/* INIT leaves VMX state alone: it is blocked in VMX operation. */
	if (!init)
		vmx_reset(c);
	c->activity = c->id == 0 ? ACT_ACTIVE : ACT_WAIT_SIPI;
	mem_flush_all(c);
	cpu_update_mode(c);
	mem_switch_context(c);
	cpu_kick(c);
}

void cpu_sipi(struct vcpu *c, uint8_t vector)
{
	c->seg[SEG_CS].selector = (uint16_t)(vector << 8);
	set_segment_base(c, SEG_CS, (uint64_t)vector << 12);
	c->r[R_RIP] = 0;
	c->activity = ACT_ACTIVE;
	cpu_update_mode(c);
	cpu_kick(c);
}
