/* state.c: the board's state as KVM's structs, and the rest, which KVM has no
 * struct for, as one note of the core's own.
 *
 * The structs alone are enough to go on; with the note a run goes on as if it
 * had never stopped, to the instruction.
 */
#include <stdlib.h>

#include "hvcore/board/board.h"

#define NOTE_BOARD 1
#define NOTE_VERSION 1

struct vcpu_note {
	uint64_t timer_start, deadline;
	uint32_t timer_div, esr_pending, id, pending;
	uint64_t dr6_pending;
	uint8_t timer_running, sipi_vector;
};

/* Events that KVM's structs have no place for, and which a cut would lose. */
#define KEPT_EVENTS ((uint32_t)(PEND_INIT | PEND_SIPI | PEND_SMI | PEND_TRAP))

/* Written and read by the same build only: version and size must agree. */
struct board_note {
	uint32_t version, size, nvcpus, turn;
	uint64_t now, turn_left, seed;
	struct pic pic[2];
	uint32_t dev_lines, test_lines;
	struct ioapic ioapic;
	struct pit pit;
	struct rtc rtc;
	struct serial serial;
	struct fw_cfg fw;
	uint32_t pci_address;
	uint16_t pm_enable;
	uint8_t port92, port61, scratch[4], shutdown_match;
};

/* -- the 8259s ------------------------------------------------------------------ */
static void get_pic(const struct board *b, unsigned n, struct kvm_pic_state *s)
{
	const struct pic *p = &b->pic[n];

	*s = (struct kvm_pic_state){
		.last_irr = p->lines, .irr = p->irr, .imr = p->imr,
		.isr = p->isr, .priority_add = p->priority, .irq_base = p->base,
		.read_reg_select = p->read_isr, .poll = p->poll,
		.special_mask = p->special_mask,
		.init_state = p->icw_step ? p->icw_step - 1 : 0,
		.auto_eoi = p->auto_eoi, .rotate_on_auto_eoi = p->rotate_auto,
		.special_fully_nested_mode = p->nested,
		.init4 = p->icw4_needed, .elcr = p->elcr,
		.elcr_mask = n ? 0xde : 0xf8 };
}

static void set_pic(struct board *b, unsigned n, const struct kvm_pic_state *s)
{
	b->pic[n] = (struct pic){
		.lines = s->last_irr, .irr = s->irr, .imr = s->imr,
		.isr = s->isr, .priority = s->priority_add & 7,
		.base = s->irq_base & 0xf8, .read_isr = s->read_reg_select,
		.poll = s->poll, .special_mask = s->special_mask,
		.icw_step = s->init_state ? (s->init_state & 3) + 1 : 0,
		.auto_eoi = s->auto_eoi, .rotate_auto = s->rotate_on_auto_eoi,
		.nested = s->special_fully_nested_mode,
		.icw4_needed = s->init4, .elcr = s->elcr };
}

/* -- the I/O APIC ----------------------------------------------------------------- */
static void get_ioapic(const struct board *b, struct kvm_ioapic_state *s)
{
	*s = (struct kvm_ioapic_state){ .base_address = IOAPIC_BASE,
		.ioregsel = b->ioapic.select, .id = b->ioapic.id,
		.irr = b->ioapic.irr };
	for (unsigned i = 0; i < IOAPIC_PINS; i++)
		s->redirtbl[i].bits = b->ioapic.rte[i];
}

static void set_ioapic(struct board *b, const struct kvm_ioapic_state *s)
{
	b->ioapic.select = (uint8_t)s->ioregsel;
	b->ioapic.id = s->id & 0xf;
	b->ioapic.irr = s->irr & ((1u << IOAPIC_PINS) - 1);
	b->ioapic.lines = 0;
	for (unsigned i = 0; i < IOAPIC_PINS; i++) {
		b->ioapic.rte[i] = s->redirtbl[i].bits;
		if (b->ioapic.irr >> i & 1 && b->ioapic.rte[i] >> 15 & 1)
			b->ioapic.lines |= 1u << i;
	}
}

/* -- the 8254 ----------------------------------------------------------------------- */
/* KVM's load time is in host nanoseconds; here it is board time. */
static void get_pit(const struct board *b, struct kvm_pit_state2 *s)
{
	memset(s, 0, sizeof *s);
	for (unsigned n = 0; n < 3; n++) {
		const struct pit_channel *c = &b->pit.ch[n];

		s->channels[n] = (struct kvm_pit_channel_state){
			.count = c->loaded ? c->count : 0,
			.latched_count = c->latched,
			.count_latched = c->latch_left,
			.status_latched = c->status_latched,
			.status = c->status,
			.read_state = c->access == 3 ? 3 + c->read_low_done :
				c->access,
			.write_state = c->access == 3 ? 3 + c->write_low_done :
				c->access,
			.write_latch = c->low, .rw_mode = c->access,
			.mode = c->mode, .bcd = c->bcd, .gate = c->gate,
			.count_load_time = (int64_t)(c->start) };
	}
}

static void set_pit(struct board *b, const struct kvm_pit_state2 *s)
{
	for (unsigned n = 0; n < 3; n++) {
		const struct kvm_pit_channel_state *k = &s->channels[n];
		uint32_t most = k->bcd ? 10000 : 65536;

		b->pit.ch[n] = (struct pit_channel){
			.count = k->count && k->count <= most ? k->count : most,
			.loaded = k->count != 0, .latched = k->latched_count,
			.latch_left = k->count_latched & 3,
			.status_latched = k->status_latched,
			.status = k->status, .read_low_done = k->read_state == 4,
			.write_low_done = k->write_state == 4,
			.low = k->write_latch, .access = k->rw_mode & 3,
			.mode = k->mode < 6 ? k->mode : k->mode & 3,
			.bcd = k->bcd, .gate = k->gate, .start = board_now(b) };
	}
	b->pit.out0 = pit_out(b, 0);
	pit_rearm(b);
}

/* -- the note ----------------------------------------------------------------------- */
static struct snapshot_extra *find_note(const struct snapshot *s)
{
	for (uint32_t i = 0; i < s->nextra; i++)
		if (!strcmp(s->extra[i].name, "NSTATE") &&
		    s->extra[i].type == NOTE_BOARD)
			return &s->extra[i];
	return NULL;
}

static void note_vcpus(const struct board *b, struct vcpu_note *v)
{
	for (unsigned i = 0; i < b->vm->nvcpus; i++) {
		const struct vcpu *c = b->vm->vcpus[i];
		const struct lapic *l = c->lapic;

		v[i] = (struct vcpu_note){
			.pending = c->pending_events & KEPT_EVENTS,
			.dr6_pending = c->dr6_pending,
			.timer_start = l->timer_start, .deadline = l->deadline,
			.timer_div = l->timer_div, .id = l->reg[LR_ID],
			.esr_pending = l->esr_pending,
			.timer_running = l->timer_running,
			.sipi_vector = l->sipi_vector };
	}
}

/* The note's place in s: that of an older one, or a new one at the end. */
static struct snapshot_extra *place_note(struct snapshot *s)
{
	struct snapshot_extra *x = find_note(s);

	if (x) {
		free(x->data);
		x->data = NULL;
		return x;
	}
	x = realloc(s->extra, (s->nextra + 1) * sizeof *x);
	if (!x)
		return NULL;
	s->extra = x;
	x += s->nextra++;
	*x = (struct snapshot_extra){ .name = "NSTATE", .type = NOTE_BOARD };
	return x;
}

static enum nst_status save_note(const struct board *b, struct snapshot *s,
				 struct nst_error *e)
{
	uint32_t size = (uint32_t)(sizeof(struct board_note) +
				   b->vm->nvcpus * sizeof(struct vcpu_note));
	struct board_note *n = calloc(1, size);
	struct snapshot_extra *x = n ? place_note(s) : NULL;

	if (!x) {
		free(n);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	n->version = NOTE_VERSION;
	n->size = size;
	n->nvcpus = b->vm->nvcpus;
	n->turn = b->turn;
	n->turn_left = b->turn_left;
	n->now = b->now;
	n->seed = b->vm->seed;
	memcpy(n->pic, b->pic, sizeof n->pic);
	n->dev_lines = b->dev_lines;
	n->test_lines = b->test_lines;
	n->ioapic = b->ioapic;
	n->pit = b->pit;
	n->rtc = b->rtc;
	n->serial = b->serial;
	n->fw = b->fw;
	n->pci_address = b->pci_address;
	n->pm_enable = b->pm_enable;
	n->port92 = b->port92;
	n->port61 = b->port61;
	memcpy(n->scratch, b->scratch, sizeof n->scratch);
	n->shutdown_match = b->shutdown_match;
	note_vcpus(b, (struct vcpu_note *)(n + 1));
	x->size = size;
	x->data = (uint8_t *)n;
	return NST_OK;
}

static void load_vcpus(struct board *b, const struct vcpu_note *v)
{
	for (unsigned i = 0; i < b->vm->nvcpus; i++) {
		struct vcpu *c = b->vm->vcpus[i];
		struct lapic *l = c->lapic;

		c->dr6_pending = v[i].dr6_pending & 0x1d00f;
		cpu_pend(c, v[i].pending & KEPT_EVENTS);
		l->timer_start = v[i].timer_start;
		l->deadline = v[i].deadline;
		l->timer_div = 1u << (__builtin_ctz(v[i].timer_div | 128));
		l->esr_pending = v[i].esr_pending;
		l->timer_running = v[i].timer_running && l->reg[LR_TMICT];
		l->sipi_vector = v[i].sipi_vector;
		l->reg[LR_ID] = v[i].id;
	}
}

/* What indexes or divides is made safe: a snapshot may come from anywhere. */
static void sanitize(struct board *b)
{
	struct serial *s = &b->serial;

	b->turn %= b->vm->nvcpus;
	b->pic[0].priority &= 7;
	b->pic[1].priority &= 7;
	b->rtc.index &= 0x7f;
	s->rx_head %= sizeof s->rx;
	if (s->rx_count > sizeof s->rx)
		s->rx_count = 0;
	b->shutdown_match &= 7;
	for (unsigned n = 0; n < 3; n++) {
		struct pit_channel *c = &b->pit.ch[n];

		if (!c->count || c->count > 65536)
			c->count = 65536;
		if (c->start > b->now)
			c->start = b->now;
		c->mode %= 6;
	}
	if (b->rtc.base_time > b->now)
		b->rtc.base_time = b->now;
	if (b->rtc.base_seconds < 0 || b->rtc.base_seconds > 1ll << 40)
		b->rtc.base_seconds = 0;
	rtc_rearm(b);
	pit_rearm(b);
}

static enum nst_status load_note(struct board *b,
				 const struct snapshot_extra *x,
				 struct nst_error *e)
{
	struct board_note n;

	if (x->size < sizeof n)
		return nst_fail(e, NST_BAD_INPUT, "the core's own note is "
				"too short: %u bytes", x->size);
	memcpy(&n, x->data, sizeof n);
	if (n.version != NOTE_VERSION || n.size != x->size ||
	    n.nvcpus != b->vm->nvcpus ||
	    n.size != sizeof n + n.nvcpus * sizeof(struct vcpu_note))
		return nst_fail(e, NST_BAD_INPUT, "the core's own note is of "
				"another version (%u, %u bytes)", n.version,
				n.size);
	b->turn = n.turn;
	b->turn_left = n.turn_left;
	b->now = n.now;
	b->vm->seed = n.seed;
	memcpy(b->pic, n.pic, sizeof n.pic);
	b->dev_lines = n.dev_lines;
	b->test_lines = n.test_lines;
	b->ioapic = n.ioapic;
	b->pit = n.pit;
	b->rtc = n.rtc;
	b->serial = n.serial;
	b->fw = n.fw;
	b->pci_address = n.pci_address;
	b->pm_enable = n.pm_enable;
	b->port92 = n.port92;
	b->port61 = n.port61;
	memcpy(b->scratch, n.scratch, sizeof n.scratch);
	b->shutdown_match = n.shutdown_match;
	sanitize(b);
	struct vcpu_note *v = malloc(n.nvcpus * sizeof *v);
	if (!v)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	memcpy(v, x->data + sizeof n, n.nvcpus * sizeof *v);
	load_vcpus(b, v);
	free(v);
	return NST_OK;
}

/* -- all of it ------------------------------------------------------------------------ */
/* After the vCPUs have been loaded. */
enum nst_status hv_vm_load(struct vm *vm, const struct snapshot *s,
			   struct nst_error *e)
{
	const struct snapshot_extra *x = find_note(s);
	enum nst_status st = NST_OK;
	struct board *b = vm->board;

	if (!vm->nvcpus)
		return nst_fail(e, NST_BAD_INPUT, "a VM without vCPUs");
	for (uint32_t i = 0; i < 2; i++)
		if (s->have_irqchip[i])
			set_pic(b, i, &s->irqchip[i].chip.pic);
	if (s->have_irqchip[2])
		set_ioapic(b, &s->irqchip[2].chip.ioapic);
	if (s->have >> SN_PIT & 1)
		set_pit(b, &s->pit);
	if (s->have_rtc)
		rtc_set(b, &s->rtc);
	if (s->have_uart)
		serial_set(b, &s->uart);
	if (x)
		st = load_note(b, x, e);
	for (unsigned i = 0; i < vm->nvcpus; i++) {
		struct vcpu *c = vm->vcpus[i];

		c->lapic->skew = b->now - cpu_icount(c);
		lapic_update(c->lapic);
	}
	board_rearm(b);
	return st;
}

enum nst_status hv_vm_save(struct vm *vm, struct snapshot *s,
			   struct nst_error *e)
{
	const struct board *b = vm->board;

	for (uint32_t i = 0; i < 3; i++) {
		memset(&s->irqchip[i], 0, sizeof s->irqchip[i]);
		s->irqchip[i].chip_id = i;
		s->have_irqchip[i] = true;
	}
	get_pic(b, 0, &s->irqchip[0].chip.pic);
	get_pic(b, 1, &s->irqchip[1].chip.pic);
	get_ioapic(b, &s->irqchip[2].chip.ioapic);
	get_pit(b, &s->pit);
	memset(&s->clock, 0, sizeof s->clock);
	s->clock.clock = board_to_hz(b, b->now, 1000000000);
	s->have |= 1u << SN_IRQCHIP | 1u << SN_PIT | 1u << SN_CLOCK;
	return save_note(b, s, e);
}
