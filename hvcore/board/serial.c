/* serial.c: a 16550A UART at 0x3f8, IRQ 4.  Transmission takes no time: a byte
 * written is on the host's console at once.
 */
#include "hvcore/board/board.h"

enum { IER_RX = 1, IER_THRE = 2, IER_LINE = 4, IER_MODEM = 8 };
enum { LCR_DLAB = 0x80, MCR_OUT2 = 8, MCR_LOOP = 0x10 };
enum { LSR_DR = 1, LSR_OE = 2, LSR_THRE = 0x20, LSR_TEMT = 0x40 };

/* Interrupt identification in the UART's priority order. */
static uint8_t iir(const struct serial *s)
{
	uint8_t fifo = s->fcr & 1 ? 0xc0 : 0;

	if (s->ier & IER_LINE && s->overrun)
		return fifo | 6;
	if (s->ier & IER_RX && s->rx_count)
		return fifo | 4;
	if (s->ier & IER_THRE && s->thre_pending)
		return fifo | 2;
	if (s->ier & IER_MODEM && s->msr_delta)
		return fifo;
	return fifo | 1;
}

static void update(struct board *b)
{
	struct serial *s = &b->serial;

	board_irq(b, 4, s->mcr & MCR_OUT2 && !(iir(s) & 1));
}

bool serial_receive(struct board *b, uint8_t byte)
{
	struct serial *s = &b->serial;

	if (s->rx_count == sizeof s->rx)
		return false;
	s->rx[(s->rx_head + s->rx_count++) % sizeof s->rx] = byte;
	update(b);
	return true;
}

bool hv_console_input(struct vm *vm, uint8_t byte)
{
	return vm->board && serial_receive(vm->board, byte);
}

static uint8_t pop(struct serial *s)
{
	uint8_t v;

	if (!s->rx_count)
		return 0;
	v = s->rx[s->rx_head];
	s->rx_head = (s->rx_head + 1) % sizeof s->rx;
	s->rx_count--;
	return v;
}

/* In loopback the outputs appear as the inputs; else a terminal is there. */
static uint8_t modem_status(const struct serial *s)
{
	if (!(s->mcr & MCR_LOOP))
		return 0xb0 | s->msr_delta;
	return (uint8_t)((s->mcr & 1) << 5 | (s->mcr & 2) << 3 |
			 (s->mcr & 4) << 4 | (s->mcr & 8) << 4 | s->msr_delta);
}

uint8_t serial_read(struct board *b, uint16_t port)
{
	struct serial *s = &b->serial;
	uint8_t v = 0;

	switch (port & 7) {
	case 0:
		v = s->lcr & LCR_DLAB ? s->dll : pop(s);
		break;
	case 1:
		v = s->lcr & LCR_DLAB ? s->dlm : s->ier;
		break;
	case 2:
		v = iir(s);
		if ((v & 0xf) == 2)
			s->thre_pending = false;
		break;
	case 3:
		v = s->lcr;
		break;
	case 4:
		v = s->mcr;
		break;
	case 5:
		v = LSR_THRE | LSR_TEMT | (s->rx_count ? LSR_DR : 0) |
			(s->overrun ? LSR_OE : 0);
		s->overrun = false;
		break;
	case 6:
		v = modem_status(s);
		s->msr_delta = 0;
		break;
	case 7:
		v = s->scr;
		break;
	}
	update(b);
	return v;
}

static void transmit(struct board *b, uint8_t v)
{
	struct serial *s = &b->serial;

	if (s->mcr & MCR_LOOP) {
		if (!serial_receive(b, v))
			s->overrun = true;
	} else if (b->vm->ops.console) {
		b->vm->ops.console(b->vm->ops.arg, v);
	}
	s->thre_pending = true;
}

static void write_mcr(struct serial *s, uint8_t v)
{
	uint8_t before = modem_status(s), after;

	s->mcr = v & 0x1f;
	after = modem_status(s);
	/* DCTS, DDSR, DDCD on any change; TERI on RI's trailing edge only. */
	s->msr_delta |= (before ^ after) >> 4 & 0xb;
	if (before & 0x40 && !(after & 0x40))
		s->msr_delta |= 4;
}

void serial_write(struct board *b, uint16_t port, uint8_t v)
{
	struct serial *s = &b->serial;

	switch (port & 7) {
	case 0:
		if (s->lcr & LCR_DLAB)
			s->dll = v;
		else
			transmit(b, v);
		break;
	case 1:
		if (s->lcr & LCR_DLAB) {
			s->dlm = v;
			break;
		}
		/* Enabling it while the holder is empty raises it again. */
		if (v & IER_THRE && !(s->ier & IER_THRE))
			s->thre_pending = true;
		s->ier = v & 0xf;
		break;
	case 2:
		s->fcr = v & 0xc9;
		if (v & 2)
			s->rx_count = 0;
		break;
	case 3:
		s->lcr = v;
		break;
	case 4:
		write_mcr(s, v);
		break;
	case 7:
		s->scr = v;
		break;
	}
	update(b);
}

void serial_set(struct board *b, const struct snapshot_uart *s)
{
	b->serial = (struct serial){
		.ier = s->ier & 0xf, .lcr = s->lcr, .mcr = s->mcr & 0x1f,
		.scr = s->scr, .fcr = s->fcr & 0xc9, .dll = (uint8_t)s->divider,
		.dlm = (uint8_t)(s->divider >> 8), .msr_delta = s->msr & 0xf,
		.thre_pending = (s->iir & 0xf) == 2,
		.rx = { s->rbr }, .rx_count = s->lsr & LSR_DR ? 1 : 0,
		.overrun = (s->lsr & LSR_OE) != 0 };
	update(b);
}

void serial_reset(struct board *b)
{
	b->serial = (struct serial){ .dll = 12 };
}
