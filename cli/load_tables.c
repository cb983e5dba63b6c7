/* load_tables.c: what a PC's firmware would tell of the board, at 0xf0000: the MP
 * configuration table (Intel MP specification 1.4) and ACPI's RSDP, RSDT, FADT,
 * DSDT and MADT (ACPI 6.4, chapter 5).
 *
 * The DSDT holds one object, \_S5, so that a kernel can power the machine off.
 */
#include <string.h>

#include "cli/load.h"

#define TABLES 0xf0000u
#define MP_AT 0x0u       /* offsets from TABLES */
#define ACPI_AT 0x8000u

static void write16(uint8_t *p, uint16_t v)
{
	p[0] = (uint8_t)v;
	p[1] = (uint8_t)(v >> 8);
}

static void write32(uint8_t *p, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

/* -- the MP configuration table ----------------------------------------------------- */
static uint8_t sum(const uint8_t *p, size_t n)
{
	uint8_t s = 0;

	while (n--)
		s += *p++;
	return s;
}

static uint8_t *mp_interrupt(uint8_t *p, uint8_t type, uint8_t irq,
			     uint8_t dest, uint8_t pin)
{
	p[0] = dest == 0xff ? 4 : 3; /* to every local APIC, or to the IOAPIC */
	p[1] = type;
	p[5] = irq;
	p[6] = dest;
	p[7] = pin;
	return p + 8;
}

static uint8_t *mp_entries(const struct boot *b, uint8_t *p, unsigned *n)
{
	uint8_t ioapic = (uint8_t)b->cpus;

	for (unsigned i = 0; i < b->cpus; i++, p += 20) {
		p[1] = (uint8_t)i;
		p[2] = 0x14;
		p[3] = (uint8_t)(1 | (i ? 0 : 2)); /* enabled, bootstrap */
		write32(p + 4, 0x600);
		write32(p + 8, 0x201);
	}
	memcpy(p, "\1\0ISA   ", 8);
	p += 8;
	p[0] = 2;
	p[1] = ioapic;
	p[2] = 0x11;
	p[3] = 1;
	write32(p + 4, 0xfec00000);
	p += 8;
	*n = b->cpus + 2;
	for (uint8_t irq = 0; irq < 16; irq++) {
		if (irq == 2)
			continue;
		p = mp_interrupt(p, 0, irq, ioapic, irq ? irq : 2);
		++*n;
	}
	p = mp_interrupt(p, 3, 0, 0xff, 0); /* ExtINT on LINT0 */
	p = mp_interrupt(p, 1, 0, 0xff, 1); /* NMI on LINT1 */
	*n += 2;
	return p;
}

static void mp_table(struct boot *b, uint8_t *f)
{
	uint8_t *h, *end;
	unsigned n;

	memcpy(f, "_MP_", 4);
	write32(f + 4, TABLES + MP_AT + 16);
	f[8] = 1;
	f[9] = 4;
	h = f + 16;
	memcpy(h, "PCMP", 4);
	h[6] = 4;
	memcpy(h + 8, "NSTATE  BOARD       ", 20);
	write32(h + 36, 0xfee00000);
	end = mp_entries(b, h + 44, &n);
	write16(h + 4, (uint16_t)(end - h));
	write16(h + 34, (uint16_t)n);
	h[7] = (uint8_t)-sum(h, (size_t)(end - h));
	f[10] = (uint8_t)-sum(f, 16);
}

/* -- ACPI ------------------------------------------------------------------------------ */
/* Ports of the board's power management, see hvcore/board/ports.c. */
enum { PM1A_EVENT = 0x600, PM1A_CONTROL = 0x604, PM_TIMER = 0x608, SCI = 9 };
/* FADT flags: WBINVD works, C1 on all processors, no fixed power and sleep
 * buttons, no fixed RTC wake, reset register. */
#define FADT_FLAGS (1u | 1u << 2 | 1u << 4 | 1u << 5 | 1u << 6 | 1u << 10)

/* Writes a table's header; the body is there.  Returns where the next goes. */
static uint32_t acpi_header(uint8_t *base, uint32_t at, const char *name,
			    uint8_t revision, uint32_t length)
{
	uint8_t *h = base + at;

	memcpy(h, name, 4);
	write32(h + 4, length);
	h[8] = revision;
	memcpy(h + 10, "NSTATE", 6);
	memcpy(h + 16, "BOARD   ", 8);
	write32(h + 24, 1);
	memcpy(h + 28, "NST ", 4);
	write32(h + 32, 1);
	h[9] = 0;
	h[9] = (uint8_t)-sum(h, length);
	return (at + length + 15) & ~15u;
}

static uint32_t put_dsdt(uint8_t *base, uint32_t at)
{
	/* Name (\_S5, Package (4) { 0, 0, 0, 0 }) */
	static const uint8_t aml[] = { 0x08, '_', 'S', '5', '_', 0x12, 0x06,
				       0x04, 0, 0, 0, 0 };

	memcpy(base + at + 36, aml, sizeof aml);
	return acpi_header(base, at, "DSDT", 2, 36 + sizeof aml);
}

static uint32_t put_fadt(uint8_t *base, uint32_t at, uint32_t dsdt)
{
	uint8_t *f = base + at;

	write32(f + 40, dsdt);
	f[45] = 4;                    /* performance server: no laptop */
	write16(f + 46, SCI);
	write32(f + 56, PM1A_EVENT);
	write32(f + 64, PM1A_CONTROL);
	write32(f + 76, PM_TIMER);
	f[88] = 4;                    /* lengths of these blocks */
	f[89] = 2;
	f[91] = 4;
	write16(f + 96, 0xffff);      /* no C2, no C3 */
	write16(f + 98, 0xffff);
	f[108] = 0x32;                /* century byte of the CMOS */
	write16(f + 109, 1 | 4);      /* ISA devices; no 8042, no VGA */
	write32(f + 112, FADT_FLAGS);
	f[116] = 1;                   /* reset register: port 0xcf9, 8 bits */
	f[117] = 8;
	f[119] = 1;
	write32(f + 120, 0xcf9);
	f[128] = 6;
	return acpi_header(base, at, "FACP", 4, 244);
}

static uint32_t put_madt(const struct boot *b, uint8_t *base, uint32_t at)
{
	uint8_t *m = base + at, *p = m + 44;

	write32(m + 36, 0xfee00000);
	write32(m + 40, 1);           /* 8259s are there too */
	for (unsigned i = 0; i < b->cpus; i++, p += 8) {
		p[1] = 8;
		p[2] = p[3] = (uint8_t)i;
		p[4] = 1;
	}
	p[0] = 1;                     /* I/O APIC */
	p[1] = 12;
	p[2] = (uint8_t)b->cpus;
	write32(p + 4, 0xfec00000);
	p += 12;
	p[0] = 2;                     /* IRQ 0 is pin 2 */
	p[1] = 10;
	write32(p + 4, 2);
	p += 10;
	p[0] = 2;                     /* SCI: level, active high */
	p[1] = 10;
	p[3] = SCI;
	write32(p + 4, SCI);
	write16(p + 8, 0xd);
	p += 10;
	p[0] = 4;                     /* NMI on every LINT1 */
	p[1] = 6;
	p[2] = 0xff;
	p[5] = 1;
	p += 6;
	return acpi_header(base, at, "APIC", 3, (uint32_t)(p - m));
}

static void acpi_tables(const struct boot *b, uint8_t *base)
{
	uint32_t rsdt = 32, fadt = rsdt + 48, dsdt, madt;
	uint32_t here = TABLES + ACPI_AT;

	dsdt = fadt + 256;
	madt = put_dsdt(base, dsdt);
	put_madt(b, base, madt);
	put_fadt(base, fadt, here + dsdt);
	write32(base + rsdt + 36, here + fadt);
	write32(base + rsdt + 40, here + madt);
	acpi_header(base, rsdt, "RSDT", 1, 44);
	memcpy(base, "RSD PTR ", 8);
	memcpy(base + 9, "NSTATE", 6);
	write32(base + 16, here + rsdt);
	base[8] = (uint8_t)-sum(base, 20);
}

void boot_tables(struct boot *b)
{
	uint8_t *base = boot_ram(b, TABLES, 0x10000);

	/* With more processors than 8-bit APIC IDs leave room for: none. */
	if (!base || b->cpus > 250)
		return;
	mp_table(b, base + MP_AT);
	acpi_tables(b, base + ACPI_AT);
}
