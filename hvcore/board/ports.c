/* ports.c: which port belongs to which device, and the devices that are only a
 * port or two: exit ports, fw_cfg, PCI configuration, reset, the isa test
 * device.
 */
#include <stdlib.h>

#include "hvcore/board/board.h"

/* -- fw_cfg -------------------------------------------------------------------- */
enum { FW_SIGNATURE = 0, FW_ID = 1, FW_RAM_SIZE = 3, FW_NB_CPUS = 5,
       FW_MAX_CPUS = 15, FW_FILE_DIR = 0x19 };

static uint64_t ram_size(const struct vm *vm)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < vm->nslots; i++)
		n += vm->slots[i].size;
	return n;
}

void fwcfg_select(struct board *b, uint16_t key)
{
	b->fw.select = key;
	b->fw.offset = 0;
}

uint8_t fwcfg_read(struct board *b)
{
	uint64_t v = 0;
	unsigned size = 0, off = b->fw.offset++;

	switch (b->fw.select) {
	case FW_SIGNATURE:
		v = 0x554d4551; /* "QEMU" */
		size = 4;
		break;
	case FW_ID:     /* the traditional interface only */
		v = 1;
		size = 4;
		break;
	case FW_RAM_SIZE:
		v = ram_size(b->vm);
		size = 8;
		break;
	case FW_NB_CPUS:
	case FW_MAX_CPUS:
		v = b->vm->nvcpus;
		size = 2;
		break;
	case FW_FILE_DIR: /* big-endian count of files: none */
		size = 4;
		break;
	}
	return off < size ? (uint8_t)(v >> 8 * off) : 0;
}

/* -- the isa test device -------------------------------------------------------- */
static uint8_t *testdev_bytes(struct board *b)
{
	if (!b->testdev_ram)
		b->testdev_ram = calloc(1, 0x10000);
	return b->testdev_ram;
}

uint64_t testdev_read(void *dev, struct vcpu *c, uint64_t off, unsigned size)
{
	const uint8_t *p = testdev_bytes(dev);
	uint64_t v = 0;

	(void)c;
	if (p && off + size <= 0x10000)
		memcpy(&v, p + off, size);
	return v;
}

void testdev_write(void *dev, struct vcpu *c, uint64_t off, unsigned size,
		   uint64_t v)
{
	uint8_t *p = testdev_bytes(dev);

	(void)c;
	if (p && off + size <= 0x10000)
		memcpy(p + off, &v, size);
}

/* -- ACPI power management: PM1a event and control blocks, PM timer ---------------- */
enum { PM_STATUS = 0x600, PM_ENABLE = 0x602, PM_CONTROL = 0x604,
       PM_TIMER = 0x608 };

/* No event is ever pending; SCI_EN is always on: there is no legacy mode. */
static uint32_t pm_read(const struct board *b, uint16_t port)
{
	switch (port) {
	case PM_ENABLE:
		return b->pm_enable;
	case PM_CONTROL:
		return 1;
	case PM_TIMER:
		return (uint32_t)board_to_hz(b, board_now(b), 3579545) &
			0xffffff;
	}
	return 0;
}

/* SLP_EN with sleep type 0 is S5, as the DSDT says. */
static void pm_write(struct board *b, struct vcpu *c, uint16_t port, uint32_t v)
{
	if (port == PM_ENABLE)
		b->pm_enable = (uint16_t)v;
	else if (port == PM_CONTROL && v & 0x2000 && !(v >> 10 & 7))
		board_stop(b, c, HV_STOP_SHUTDOWN, 1,
			   "the guest powered the machine off");
}

/* -- ports of one byte -------------------------------------------------------------- */
static uint8_t read8(struct board *b, uint16_t port)
{
	switch (port) {
	case 0x20: case 0x21: case 0xa0: case 0xa1: case 0x4d0: case 0x4d1:
		return pic_read(b, port);
	case 0x40 ... 0x43: case 0x61:
		return pit_read(b, port);
	case 0x70: case 0x71:
		return rtc_read(b, port);
	case 0x92:
		return b->port92;
	case 0xe0 ... 0xe3:
		return b->scratch[port - 0xe0];
	case 0x3f8 ... 0x3ff:
		return serial_read(b, port);
	case 0x511:
		return fwcfg_read(b);
	case 0xcf8 ... 0xcfb:
		return (uint8_t)(b->pci_address >> 8 * (port & 3));
	}
	return 0xff; /* 0xcfc.. too: no PCI device answers */
}

static void machine_reset(struct board *b, struct vcpu *c)
{
	board_stop(b, c, HV_STOP_SHUTDOWN, 1, "the guest reset the machine");
}

static void exit_letter(struct board *b, struct vcpu *c, uint8_t v)
{
	static const char word[] = "Shutdown";

	b->shutdown_match = v == (uint8_t)word[b->shutdown_match] ?
		b->shutdown_match + 1 : v == (uint8_t)word[0];
	if (b->shutdown_match == sizeof word - 1)
		board_stop(b, c, HV_STOP_SHUTDOWN, 1,
			   "the guest asked port 0x8900 to shut down");
}

static void write8(struct board *b, struct vcpu *c, uint16_t port, uint8_t v)
{
	switch (port) {
	case 0x20: case 0x21: case 0xa0: case 0xa1: case 0x4d0: case 0x4d1:
		pic_write(b, port, v);
		break;
	case 0x40 ... 0x43: case 0x61:
		pit_write(b, port, v);
		break;
	case 0x64:      /* keyboard controller: pulse the reset line */
		if (v == 0xfe)
			machine_reset(b, c);
		break;
	case 0x70: case 0x71:
		rtc_write(b, port, v);
		break;
	case 0x92:      /* bit 1: A20, always on here; bit 0: reset */
		b->port92 = v & ~1;
		if (v & 1)
			machine_reset(b, c);
		break;
	case 0xe0 ... 0xe3:
		b->scratch[port - 0xe0] = v;
		break;
	case 0x3f8 ... 0x3ff:
		serial_write(b, port, v);
		break;
	case 0xcf9:
		if (v & 4)
			machine_reset(b, c);
		break;
	case 0x2000 ... 0x2000 + IOAPIC_PINS - 1:
		board_test_irq(b, port - 0x2000, v);
		break;
	case 0x8900:
		exit_letter(b, c, v);
		break;
	}
}

/* -- any size -------------------------------------------------------------------- */
static uint32_t dispatch_read(struct board *b, uint16_t port, unsigned size)
{
	uint32_t v = 0;

	if (port == 0xcf8 && size == 4)
		return b->pci_address;
	if (port == 0x510 && size == 2)
		return b->fw.select;
	if (port >= PM_STATUS && port <= PM_TIMER && size > 1)
		return pm_read(b, port);
	for (unsigned i = 0; i < size; i++)
		v |= (uint32_t)read8(b, (uint16_t)(port + i)) << 8 * i;
	return v;
}

static void dispatch_write(struct board *b, struct vcpu *c, uint16_t port,
			   unsigned size, uint32_t v)
{
	/* Devices with registers wider than a byte come first. */
	if (port == 0xf4) {
		board_stop(b, c, HV_STOP_DEBUG_EXIT, v, "debug-exit port");
		return;
	}
	if (port == 0x510 && size == 2) {
		fwcfg_select(b, (uint16_t)v);
		return;
	}
	if (port == 0xcf8 && size == 4) {
		b->pci_address = v & 0x80fffffc;
		return;
	}
	if (port >= PM_STATUS && port <= PM_CONTROL && size > 1) {
		pm_write(b, c, port, v);
		return;
	}
	if (port == 0xe4)
		return; /* isa test device: page flush, nothing to flush here */
	if (port >= 0x2000 && port < 0x2000 + IOAPIC_PINS) {
		board_test_irq(b, port - 0x2000, v != 0);
		return;
	}
	for (unsigned i = 0; i < size; i++)
		write8(b, c, (uint16_t)(port + i), (uint8_t)(v >> 8 * i));
}

uint32_t io_read(struct vcpu *c, uint16_t port, unsigned size)
{
	struct vm *vm = c->vm;
	uint32_t v;

	if (unlikely(vm->nabsent))
		absent_io(c, port, size);
	v = vm->board ? dispatch_read(vm->board, port, size) :
		~0u >> (32 - 8 * size);
	if (vm->ops.io)
		vm->ops.io(vm->ops.arg, c->id, false, port, size, v);
	return v;
}

void io_write(struct vcpu *c, uint16_t port, unsigned size, uint32_t v)
{
	struct vm *vm = c->vm;

	if (unlikely(vm->nabsent))
		absent_io(c, port, size);
	if (vm->ops.io)
		vm->ops.io(vm->ops.arg, c->id, true, port, size, v);
	if (vm->board)
		dispatch_write(vm->board, c, port, size, v);
}
