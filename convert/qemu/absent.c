/* absent.c: the devices of a stream that the core's board has not, and where they
 * answer: fixed addresses by devices.def, PCI functions by their configuration
 * space, which stands first in their sections.
 */
#include "convert/qemu/stream.h"

enum { PCI_COMMAND = 4, PCI_HEADER_TYPE = 14, PCI_BAR0 = 16, MCH_PCIEXBAR = 0x60 };

struct row {
	const char *section;
	enum snapshot_region_kind kind;
	uint64_t first, size;
};
static const struct row absent[] = {
#define ON_BOARD(section)
#define ABSENT(section, kind, first, size) { section, kind, first, size },
#include "convert/qemu/devices.def"
#undef ON_BOARD
#undef ABSENT
};
static const char *const on_board[] = {
#define ON_BOARD(section) section,
#define ABSENT(section, kind, first, size)
#include "convert/qemu/devices.def"
#undef ON_BOARD
#undef ABSENT
};

static bool is_on_board(const char *name)
{
	for (size_t i = 0; i < sizeof on_board / sizeof *on_board; i++)
		if (!strcmp(on_board[i], name))
			return true;
	return false;
}

/* "0000:00:1f.2/ich9_ahci": the address of PCI mechanism 1; false: no PCI device. */
static bool pci_function(const char *section, uint64_t *at)
{
	unsigned domain, bus, dev, fn;
	int n = 0;

	if (sscanf(section, "%4x:%2x:%2x.%1x/%n", &domain, &bus, &dev, &fn, &n) != 4 ||
	    !n || domain || dev > 31 || fn > 7)
		return false;
	*at = (uint64_t)bus << 16 | dev << 11 | fn << 8;
	return true;
}

static uint32_t le32(const uint8_t *p)
{
	return p[0] | p[1] << 8 | p[2] << 16 | (uint32_t)p[3] << 24;
}

/* The base addresses that the guest has set.  Their sizes are not in there; a
 * base is aligned to its size, so that one page, or 8 ports, is the least. */
static void add_bars(struct snapshot *s, const char *name, const uint8_t *config)
{
	bool ports = config[PCI_COMMAND] & 1, memory = config[PCI_COMMAND] & 2;

	if (config[PCI_HEADER_TYPE] & 0x7f)
		return; /* a bridge: its windows belong to others */
	for (unsigned i = 0; i < 6; i++) {
		uint32_t bar = le32(config + PCI_BAR0 + 4 * i);
		uint64_t at = bar & ~15ull;

		if (bar & 1) {
			if (ports && (bar & 0xfffc))
				snapshot_add_region(s, name, SR_PORTS,
						    bar & 0xfffc, 8);
			continue;
		}
		if ((bar & 6) == 4 && i < 5)
			at |= (uint64_t)le32(config + PCI_BAR0 + 4 * ++i) << 32;
		if (memory && at)
			snapshot_add_region(s, name, SR_MEMORY, at & ~0xfffull,
					    0x1000);
	}
}

/* q35's memory-mapped configuration space: 256, 128 or 64 MiB. */
static void add_mmconfig(struct snapshot *s, const uint8_t *config)
{
	uint64_t bar = le32(config + MCH_PCIEXBAR) |
		(uint64_t)le32(config + MCH_PCIEXBAR + 4) << 32;
	unsigned shift = bar >> 1 & 3;

	if (bar & 1 && shift < 3)
		snapshot_add_region(s, "PCI configuration space", SR_MEMORY,
				    bar & 0x7ffc000000 & ~((0x10000000ull >> shift) - 1),
				    0x10000000ull >> shift);
}

static void add_pci(const struct qstream *q, const struct qsection *sec,
		    const char *name, uint64_t function, struct snapshot *s)
{
	const uint8_t *p = sec->end - sec->body >= 4 + 256 ?
		source_at(q->src, sec->body, 4 + 256) : NULL;

	snapshot_add_region(s, name, SR_PCI, function, 0x100);
	if (!p || be_at(p, 4) > 2)
		return;
	add_bars(s, name, p + 4);
	if (!strcmp(name, "mch"))
		add_mmconfig(s, p + 4);
}

void qdev_absent(const struct qstream *q, struct snapshot *s)
{
	for (uint32_t i = 0; i < q->nsections; i++) {
		const struct qsection *sec = &q->section[i];
		const char *slash = strrchr(sec->name, '/');
		const char *name = slash ? slash + 1 : sec->name;
		uint64_t function;
		bool placed = false, pci = pci_function(sec->name, &function);

		if (sec->instance && !pci)
			continue; /* the first stands for all */
		if (pci)
			add_pci(q, sec, name, function, s);
		for (size_t k = 0; k < sizeof absent / sizeof *absent; k++) {
			const struct row *r = &absent[k];

			if (strcmp(r->section, name))
				continue;
			snapshot_add_region(s, name, r->kind, r->first, r->size);
			placed = true;
		}
		if (!placed && !pci && !is_on_board(name))
			snapshot_add_region(s, name, SR_NOWHERE, 0, 0);
	}
}
