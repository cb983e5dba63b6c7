/* load.c: tells kernel images apart, copies segments, and sets up the CPU state
 * that the boot protocols share.  The protocols are in load_multiboot.c and
 * load_linux.c.
 */
#include "cli/load.h"

#include <gelf.h>
#include <string.h>

#define LOW_TOP 0x9f000u
#define LOW_BASE 0x90000u

/* -- guest memory ---------------------------------------------------------------- */
uint8_t *boot_ram(const struct boot *b, uint64_t gpa, uint64_t len)
{
	if (gpa > b->ram.low || len > b->ram.low - gpa)
		return NULL;
	return b->ram.host + gpa;
}

enum nst_status boot_segment(struct boot *b, uint64_t gpa, const void *bytes,
			     uint64_t filesz, uint64_t memsz,
			     struct nst_error *e)
{
	uint8_t *p = boot_ram(b, gpa, memsz);

	if (filesz > memsz)
		return nst_fail(e, NST_BAD_INPUT, "a segment at 0x%llx has "
				"more bytes in the file than in memory",
				(unsigned long long)gpa);
	if (!p)
		return nst_fail(e, NST_BAD_INPUT, "the image needs RAM at "
				"0x%llx to 0x%llx: use a larger -m",
				(unsigned long long)gpa,
				(unsigned long long)(gpa + memsz));
	/* The RAM is fresh, so what lies beyond filesz is zero already. */
	memcpy(p, bytes, filesz);
	if (!b->image_end || gpa < b->image_start)
		b->image_start = gpa;
	if (gpa + memsz > b->image_end)
		b->image_end = gpa + memsz;
	return NST_OK;
}

/* Boot data is stacked upwards from 0x90000, the customary place. */
uint64_t boot_low(struct boot *b, uint64_t len, uint64_t align)
{
	uint64_t at = b->low_next ? b->low_next : LOW_BASE;

	at = (at + align - 1) & ~(align - 1);
	if (at < b->image_end && at + len > b->image_start)
		at = (b->image_end + align - 1) & ~(align - 1);
	if (len > LOW_TOP || at > LOW_TOP - len || !boot_ram(b, at, len))
		return 0;
	b->low_next = at + len;
	return at;
}

/* -- CPU state ------------------------------------------------------------------------ */
static struct kvm_segment code_segment(bool l, bool db)
{
	return (struct kvm_segment){ .selector = 0x10, .type = 0xb, .s = 1,
		.present = 1, .g = 1, .l = l, .db = db, .limit = 0xffffffff };
}

static struct kvm_segment data_segment(void)
{
	return (struct kvm_segment){ .selector = 0x18, .type = 3, .s = 1,
		.present = 1, .g = 1, .db = 1, .limit = 0xffffffff };
}

static void start_state(struct boot *b, uint64_t rip, bool l)
{
	struct kvm_sregs *s = &b->cpu.sregs;
	struct kvm_segment d = data_segment();

	b->cpu.have |= 1u << SN_REGS | 1u << SN_SREGS;
	b->cpu.regs.rip = rip;
	b->cpu.regs.rflags = 2;
	s->cs = code_segment(l, !l);
	s->ds = s->es = s->fs = s->gs = s->ss = d;
	s->tr = (struct kvm_segment){ .type = 0xb, .present = 1,
				      .limit = 0xffff };
	s->ldt = (struct kvm_segment){ .type = 2, .present = 1,
				       .limit = 0xffff };
	s->idt.limit = 0;
	s->cr0 = 0x11; /* PE, ET */
	s->apic_base = 0xfee00900;
}

void boot_protected_mode(struct boot *b, uint32_t eip)
{
	start_state(b, eip, false);
}

static void write64(uint8_t *p, uint64_t v)
{
	for (int i = 0; i < 8; i++)
		p[i] = (uint8_t)(v >> 8 * i);
}

enum nst_status boot_long_mode(struct boot *b, uint64_t rip,
			       struct nst_error *e)
{
	uint64_t tables = boot_low(b, 6 * 4096, 4096);
	uint64_t gdt = boot_low(b, 4 * 8, 8);
	uint8_t *t = tables ? boot_ram(b, tables, 6 * 4096) : NULL;
	uint8_t *g = gdt ? boot_ram(b, gdt, 4 * 8) : NULL;
	struct kvm_sregs *s = &b->cpu.sregs;

	if (!t || !g)
		return nst_fail(e, NST_BAD_INPUT,
				"no room below 640 KiB for page tables");
	write64(t, (tables + 4096) | 7);
	for (uint64_t i = 0; i < 4; i++)
		write64(t + 4096 + 8 * i, (tables + 4096 * (2 + i)) | 7);
	for (uint64_t i = 0; i < 2048; i++)
		write64(t + 2 * 4096 + 8 * i, i << 21 | 0x83);
	write64(g + 16, 0x00af9b000000ffff); /* 0x10: 64-bit code */
	write64(g + 24, 0x00cf93000000ffff); /* 0x18: data */
	start_state(b, rip, true);
	s->gdt.base = gdt;
	s->gdt.limit = 4 * 8 - 1;
	s->cr3 = tables;
	s->cr4 = 0x20;      /* PAE */
	s->efer = 0x500;    /* LME, LMA */
	s->cr0 = 0x80000011;
	return NST_OK;
}

void boot_real_mode(struct boot *b, uint16_t ip)
{
	struct kvm_segment d = { .type = 3, .s = 1, .present = 1,
				 .limit = 0xffff };
	struct kvm_sregs *s = &b->cpu.sregs;

	start_state(b, ip, false);
	s->ds = s->es = s->fs = s->gs = s->ss = d;
	s->cs = d;
	s->cs.type = 0xb;
	s->idt.limit = 0x3ff;
	s->cr0 = 0x10;
}

/* -- ELF ------------------------------------------------------------------------------------ */
static enum nst_status load_segments(struct boot *b, Elf *elf,
				     struct nst_error *e)
{
	enum nst_status st;
	size_t n;
	GElf_Phdr ph;
	bool any = false;

	if (elf_getphdrnum(elf, &n))
		return nst_fail(e, NST_BAD_INPUT, "ELF: %s", elf_errmsg(-1));
	for (size_t i = 0; i < n; i++) {
		if (!gelf_getphdr(elf, (int)i, &ph))
			return nst_fail(e, NST_BAD_INPUT, "ELF: %s",
					elf_errmsg(-1));
		if (ph.p_type != PT_LOAD || !ph.p_memsz)
			continue;
		if (ph.p_offset > b->image_size ||
		    ph.p_filesz > b->image_size - ph.p_offset)
			return nst_fail(e, NST_BAD_INPUT, "ELF: segment %zu "
					"reaches beyond the file's end", i);
		st = boot_segment(b, ph.p_paddr, b->image + ph.p_offset,
				  ph.p_filesz, ph.p_memsz, e);
		if (st)
			return st;
		any = true;
	}
	return any ? NST_OK : nst_fail(e, NST_BAD_INPUT,
				       "ELF: no segment to load");
}

enum nst_status boot_elf_segments(struct boot *b, uint64_t *entry, bool *is64,
				  struct nst_error *e)
{
	enum nst_status st;
	GElf_Ehdr eh;
	Elf *elf;

	elf_version(EV_CURRENT);
	elf = elf_memory((char *)(uintptr_t)b->image, b->image_size);
	if (!elf || elf_kind(elf) != ELF_K_ELF || !gelf_getehdr(elf, &eh)) {
		st = nst_fail(e, NST_BAD_INPUT, "ELF: %s", elf_errmsg(-1));
		elf_end(elf);
		return st;
	}
	*entry = eh.e_entry;
	*is64 = eh.e_ident[EI_CLASS] == ELFCLASS64;
	if (eh.e_type != ET_EXEC ||
	    (eh.e_machine != EM_386 && eh.e_machine != EM_X86_64))
		st = nst_fail(e, NST_BAD_INPUT,
			      "ELF: not an executable for x86");
	else
		st = load_segments(b, elf, e);
	elf_end(elf);
	return st;
}

static enum nst_status load_elf64(struct boot *b, struct nst_error *e)
{
	enum nst_status st;
	uint64_t entry;
	bool is64;

	st = boot_elf_segments(b, &entry, &is64, e);
	if (st)
		return st;
	if (!is64)
		return nst_fail(e, NST_BAD_INPUT, "a 32-bit ELF image without "
				"a multiboot header has no known way to start");
	b->protocol = "elf64";
	return boot_long_mode(b, entry, e);
}

/* A boot sector or any other flat code: at 0x7c00, in real mode. */
static enum nst_status load_raw(struct boot *b, struct nst_error *e)
{
	enum nst_status st;

	b->protocol = "raw";
	st = boot_segment(b, 0x7c00, b->image, b->image_size, b->image_size, e);
	if (!st && b->image_end > 0xa0000)
		st = nst_fail(e, NST_BAD_INPUT, "not a kernel image known "
			      "here, and too large for a boot sector");
	boot_real_mode(b, 0x7c00);
	return st;
}

/* Multiboot v1: the header is within the first 8 KiB, at a multiple of 4. */
static bool find_multiboot(const struct boot *b, size_t *at)
{
	uint32_t h[3];

	for (size_t i = 0; i + 12 <= b->image_size && i + 12 <= 8192; i += 4) {
		memcpy(h, b->image + i, sizeof h);
		if (h[0] == 0x1badb002 && h[0] + h[1] + h[2] == 0) {
			*at = i;
			return true;
		}
	}
	return false;
}

enum nst_status boot_load(struct boot *b, struct nst_error *e)
{
	size_t header;

	if (b->image_size >= 0x264 && !memcmp(b->image + 0x202, "HdrS", 4))
		return boot_linux(b, e);
	if (find_multiboot(b, &header))
		return boot_multiboot(b, header, e);
	if (b->image_size >= SELFMAG && !memcmp(b->image, ELFMAG, SELFMAG))
		return load_elf64(b, e);
	if (!b->image_size)
		return nst_fail(e, NST_BAD_INPUT, "empty image");
	return load_raw(b, e);
}
