/* load.h: kernel images into guest RAM, and the registers to start them with.
 *
 * Knows multiboot v1 (ELF32, ELF64 and the header's own addresses), ELF64,
 * Linux bzImage by the 64-bit boot protocol, and raw boot sectors; told apart
 * by content.  Writes only to the RAM given.
 */
#ifndef NSTATE_CLI_LOAD_H
#define NSTATE_CLI_LOAD_H

#include <stdbool.h>
#include <stddef.h>

#include "layouts/error.h"
#include "layouts/snapshot.h"

#define PCI_HOLE 0xc0000000ull /* RAM above 3 GiB goes on at 4 GiB */

/* Guest RAM: [0, low) at host, [4 GiB, 4 GiB + high) at host + low. */
struct guest_ram {
	uint8_t *host;
	uint64_t low, high;
};

struct boot {
	struct guest_ram ram;
	const char *append;     /* command line, or NULL */
	const char *kernel_name;
	const uint8_t *image;
	size_t image_size;
	const uint8_t *initrd;  /* or NULL */
	size_t initrd_size;
	unsigned cpus;
	/* Results: what the bootstrap processor starts with. */
	struct snapshot_vcpu cpu;
	const char *protocol;   /* for people: "multiboot", "linux64"... */
	uint64_t image_start, image_end;
	uint64_t low_next;      /* boot_low's next free byte */
};

/* Finds out what the image is and loads it. */
enum nst_status boot_load(struct boot *b, struct nst_error *e);

/* -- for the loaders ----------------------------------------------------------- */
/* Host pointer to [gpa, gpa+len) of low RAM, or NULL. */
uint8_t *boot_ram(const struct boot *b, uint64_t gpa, uint64_t len);
/* Copies one segment, zero-filling to memsz; widens image_start/end. */
enum nst_status boot_segment(struct boot *b, uint64_t gpa, const void *bytes,
			     uint64_t filesz, uint64_t memsz,
			     struct nst_error *e);
/* Room for boot data of len bytes below 640 KiB, clear of the image; 0: none. */
uint64_t boot_low(struct boot *b, uint64_t len, uint64_t align);
/* Identity page tables for the first 4 GiB, a GDT, and 64-bit mode with paging
 * on; or flat 32-bit protected mode; or real mode at cs:ip 0:ip. */
enum nst_status boot_long_mode(struct boot *b, uint64_t rip,
			       struct nst_error *e);
void boot_protected_mode(struct boot *b, uint32_t eip);
void boot_real_mode(struct boot *b, uint16_t ip);
enum nst_status boot_multiboot(struct boot *b, size_t header,
			       struct nst_error *e);
enum nst_status boot_elf_segments(struct boot *b, uint64_t *entry, bool *is64,
				  struct nst_error *e);
enum nst_status boot_linux(struct boot *b, struct nst_error *e);

/* The MP configuration table and ACPI's tables at 0xf0000, by which a kernel
 * finds its processors, interrupt lines and the way to power off. */
void boot_tables(struct boot *b);

#endif
