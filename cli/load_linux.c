/* load_linux.c: Linux bzImage by the 64-bit boot protocol
 * (Documentation/arch/x86/boot.rst): the kernel is entered in 64-bit mode with
 * RSI at the boot parameters.
 */
#include <asm/bootparam.h>
#include <string.h>

#include "cli/load.h"

#ifndef XLF_KERNEL_64
#define XLF_KERNEL_64 1
#endif
#define CMDLINE_DEFAULT "console=ttyS0"

static void add_run(struct boot_params *p, uint64_t at, uint64_t size,
		    uint32_t type)
{
	if (size)
		p->e820_table[p->e820_entries++] = (struct boot_e820_entry){
			.addr = at, .size = size, .type = type };
}

static void memory_map(const struct boot *b, struct boot_params *p)
{
	add_run(p, 0, 0x9fc00, 1);
	add_run(p, 0x9fc00, 0x400, 2);
	add_run(p, 0xf0000, 0x10000, 2); /* load_tables.c */
	add_run(p, 0x100000, b->ram.low - 0x100000, 1);
	add_run(p, 1ull << 32, b->ram.high, 1);
}

/* As high as the kernel allows, out of its way. */
static enum nst_status put_initrd(struct boot *b, struct boot_params *p,
				  uint64_t kernel_end, struct nst_error *e)
{
	uint64_t top = (uint64_t)p->hdr.initrd_addr_max + 1, at;

	if (top > b->ram.low)
		top = b->ram.low;
	at = b->initrd_size > top ? 0 : (top - b->initrd_size) & ~0xfffull;
	if (at < kernel_end)
		return nst_fail(e, NST_BAD_INPUT, "no room in RAM for the "
				"initrd of %zu bytes: use a larger -m",
				b->initrd_size);
	memcpy(boot_ram(b, at, b->initrd_size), b->initrd, b->initrd_size);
	p->hdr.ramdisk_image = (uint32_t)at;
	p->hdr.ramdisk_size = (uint32_t)b->initrd_size;
	return NST_OK;
}

static enum nst_status put_cmdline(struct boot *b, struct boot_params *p,
				   struct nst_error *e)
{
	const char *s = b->append ? b->append : CMDLINE_DEFAULT;
	size_t len = strlen(s);
	uint64_t at;

	if (len > p->hdr.cmdline_size)
		return nst_fail(e, NST_USAGE, "the command line is longer than "
				"the %u bytes this kernel takes",
				p->hdr.cmdline_size);
	at = boot_low(b, len + 1, 16);
	if (!at)
		return nst_fail(e, NST_USAGE, "the command line is too long");
	memcpy(boot_ram(b, at, len + 1), s, len + 1);
	p->hdr.cmd_line_ptr = (uint32_t)at;
	return NST_OK;
}

static enum nst_status check_header(const struct boot *b,
				    const struct setup_header *h,
				    uint64_t setup_bytes, struct nst_error *e)
{
	if (h->version < 0x20c || !(h->xloadflags & XLF_KERNEL_64))
		return nst_fail(e, NST_BAD_INPUT, "bzImage without a 64-bit "
				"entry (boot protocol %u.%02u)",
				h->version >> 8, h->version & 0xff);
	if (setup_bytes + 0x201 > b->image_size)
		return nst_fail(e, NST_BAD_INPUT, "bzImage ends in its set-up "
				"code");
	if (b->ram.low < 0x1000000)
		return nst_fail(e, NST_USAGE, "Linux needs 16 MiB at least");
	return NST_OK;
}

enum nst_status boot_linux(struct boot *b, struct nst_error *e)
{
	struct boot_params *p;
	uint64_t zero_page, setup_bytes, size, at, memory;
	enum nst_status st;

	b->protocol = "linux64";
	zero_page = boot_low(b, sizeof *p, 4096);
	p = (void *)boot_ram(b, zero_page, sizeof *p);
	if (!zero_page || !p)
		return nst_fail(e, NST_USAGE, "not enough RAM for Linux");
	/* The header's own length: to the byte at 0x201 plus 0x202. */
	size = 0x202u + b->image[0x201] - 0x1f1u;
	if (size > sizeof p->hdr)
		size = sizeof p->hdr;
	if (0x1f1 + size > b->image_size)
		return nst_fail(e, NST_BAD_INPUT, "bzImage ends in its header");
	memcpy(&p->hdr, b->image + 0x1f1, size);
	setup_bytes = (1 + (p->hdr.setup_sects ? p->hdr.setup_sects : 4)) * 512u;
	st = check_header(b, &p->hdr, setup_bytes, e);
	if (st)
		return st;
	at = p->hdr.pref_address;
	size = b->image_size - setup_bytes;
	memory = p->hdr.init_size > size ? p->hdr.init_size : size;
	st = boot_segment(b, at, b->image + setup_bytes, size, memory, e);
	if (st)
		return st;
	p->hdr.type_of_loader = 0xff;
	p->hdr.loadflags |= 1; /* LOADED_HIGH */
	memory_map(b, p);
	st = put_cmdline(b, p, e);
	if (!st && b->initrd)
		st = put_initrd(b, p, b->image_end, e);
	if (!st)
		st = boot_long_mode(b, at + 0x200, e);
	b->cpu.regs.rsi = zero_page;
	boot_tables(b);
	return st;
}
