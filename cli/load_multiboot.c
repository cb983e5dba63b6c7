/* load_multiboot.c: the Multiboot Specification, version 0.6.96: header,
 * information block, modules, and the machine state at entry.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/load.h"

enum { HF_ALIGN = 1, HF_MEMORY = 2, HF_ADDRESSES = 0x10000 };
enum { INFO_MEMORY = 1, INFO_CMDLINE = 4, INFO_MODULES = 8, INFO_MMAP = 0x40,
       INFO_LOADER = 0x200 };

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count,
		mods_addr, syms[4], mmap_length, mmap_addr, drives[2],
		config_table, loader_name, apm_table;
};
struct module { uint32_t start, end, string, reserved; };
struct region { uint32_t size, base[2], length[2], type; };

static uint32_t word(const struct boot *b, size_t at)
{
	uint32_t v = 0;

	if (at + 4 <= b->image_size)
		memcpy(&v, b->image + at, 4);
	return v;
}

/* The header's own address fields: for images that are not ELF. */
static enum nst_status load_addresses(struct boot *b, size_t header,
				      uint64_t *entry, struct nst_error *e)
{
	uint32_t header_addr = word(b, header + 12);
	uint32_t load = word(b, header + 16), load_end = word(b, header + 20);
	uint32_t bss_end = word(b, header + 24);
	uint64_t off, size, mem;

	*entry = word(b, header + 28);
	if (header_addr < load || header_addr - load > header)
		return nst_fail(e, NST_BAD_INPUT,
				"multiboot: bad addresses in the header");
	off = header - (header_addr - load);
	size = load_end ? (uint64_t)load_end - load : b->image_size - off;
	mem = bss_end ? (uint64_t)bss_end - load : size;
	if (load_end && load_end < load)
		size = ~0ull;
	if (size > b->image_size - off || (bss_end && bss_end < load))
		return nst_fail(e, NST_BAD_INPUT, "multiboot: the header's "
				"addresses reach beyond the image");
	return boot_segment(b, load, b->image + off, size,
			    mem < size ? size : mem, e);
}

/* Puts bytes into free low memory; returns the address or 0. */
static uint32_t put(struct boot *b, const void *bytes, size_t len, size_t align)
{
	uint64_t at = boot_low(b, len, align);

	if (at)
		memcpy(boot_ram(b, at, len), bytes, len);
	return (uint32_t)at;
}

static uint32_t put_string(struct boot *b, const char *s)
{
	return put(b, s, strlen(s) + 1, 1);
}

/* Small modules fit beside the other boot data; large ones go above the image. */
static enum nst_status put_module(struct boot *b, struct info *info,
				  struct nst_error *e)
{
	struct module m = { 0 };
	uint64_t at = boot_low(b, b->initrd_size, 4096);

	if (!at) {
		at = (b->image_end + 0xfff) & ~0xfffull;
		if (at < 0x100000)
			at = 0x100000;
	}
	if (!boot_ram(b, at, b->initrd_size))
		return nst_fail(e, NST_BAD_INPUT,
				"no room in RAM for the initrd");
	memcpy(boot_ram(b, at, b->initrd_size), b->initrd, b->initrd_size);
	m.start = (uint32_t)at;
	m.end = (uint32_t)(at + b->initrd_size);
	m.string = put_string(b, "");
	info->flags |= INFO_MODULES;
	info->mods_count = 1;
	info->mods_addr = put(b, &m, sizeof m, 4);
	return NST_OK;
}

static void put_map(struct boot *b, struct info *info)
{
	uint64_t runs[][2] = { { 0, 0x9fc00 },
			       { 0x100000, b->ram.low - 0x100000 },
			       { 1ull << 32, b->ram.high } };
	struct region r[3] = { 0 };
	unsigned n = b->ram.high ? 3 : 2;

	for (unsigned i = 0; i < n; i++)
		r[i] = (struct region){ .size = 20, .type = 1,
			.base = { (uint32_t)runs[i][0],
				  (uint32_t)(runs[i][0] >> 32) },
			.length = { (uint32_t)runs[i][1],
				    (uint32_t)(runs[i][1] >> 32) } };
	info->flags |= INFO_MMAP;
	info->mmap_length = n * (uint32_t)sizeof r[0];
	info->mmap_addr = put(b, r, info->mmap_length, 4);
}

static uint32_t put_cmdline(struct boot *b)
{
	const char *args = b->append ? b->append : "";
	const char *slash = strrchr(b->kernel_name, '/');
	const char *name = slash ? slash + 1 : b->kernel_name;
	size_t len = strlen(name) + strlen(args) + 2;
	char *s = malloc(len);
	uint32_t at;

	if (!s)
		return 0;
	snprintf(s, len, "%s%s%s", name, *args ? " " : "", args);
	at = put_string(b, s);
	free(s);
	return at;
}

enum nst_status boot_multiboot(struct boot *b, size_t header,
			       struct nst_error *e)
{
	uint32_t flags = word(b, header + 4);
	struct info info = { 0 };
	enum nst_status st;
	uint64_t entry;
	bool is64;

	b->protocol = "multiboot";
	if (flags & 0xffff & ~(uint32_t)(HF_ALIGN | HF_MEMORY))
		return nst_fail(e, NST_BAD_INPUT, "multiboot: the image "
				"demands what this machine lacks (flags "
				"0x%x)", flags);
	st = flags & HF_ADDRESSES ? load_addresses(b, header, &entry, e) :
		boot_elf_segments(b, &entry, &is64, e);
	if (st)
		return st;
	info.flags = INFO_MEMORY | INFO_CMDLINE | INFO_LOADER;
	info.mem_lower = 639;
	info.mem_upper = (uint32_t)((b->ram.low - 0x100000) >> 10);
	info.cmdline = put_cmdline(b);
	info.loader_name = put_string(b, "nstate");
	put_map(b, &info);
	if (b->initrd)
		st = put_module(b, &info, e);
	if (st)
		return st;
	boot_protected_mode(b, (uint32_t)entry);
	b->cpu.regs.rax = 0x2badb002;
	b->cpu.regs.rbx = put(b, &info, sizeof info, 4);
	if (!info.cmdline || !b->cpu.regs.rbx)
		return nst_fail(e, NST_BAD_INPUT, "no room below 640 KiB for "
				"the command line and boot information");
	boot_tables(b);
	return NST_OK;
}
