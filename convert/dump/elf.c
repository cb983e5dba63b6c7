/* elf.c: the reader of ELF cores of physical memory: QEMU's dump-guest-memory,
 * virsh dump --memory-only, /proc/vmcore and makedumpfile -E. */
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>

#include "convert/dump/notes.h"
#include "convert/dump/runs.h"
#include "convert/readers.h"
#include "convert/source.h"

#define HEADERS_WITHIN (1u << 20)

struct core {
	Elf *elf;
	struct ram_runs runs;
	struct dump_cpus cpus;
	uint64_t end;          /* of the segment that ends last */
};

/* Below the native snapshot's reader, which knows its own by their notes. */
static int probe(const uint8_t *head, size_t len, uint64_t size)
{
	uint16_t type, machine;

	(void)size;
	if (len < 52 || memcmp(head, ELFMAG, SELFMAG) ||
	    head[EI_DATA] != ELFDATA2LSB)
		return 0;
	memcpy(&type, head + 16, 2);
	memcpy(&machine, head + 18, 2);
	return type == ET_CORE && (machine == EM_X86_64 || machine == EM_386) ?
		80 : 0;
}

/* RAM of a file that passes is not there yet. */
static bool is_beyond(struct container *c, const GElf_Phdr *p)
{
	uint64_t size = source_size(c->src);

	if (source_passes(c->src) && p->p_type == PT_LOAD)
		return p->p_offset + p->p_filesz < p->p_offset;
	return p->p_filesz && (p->p_offset > size ||
			       p->p_filesz > size - p->p_offset);
}

static enum nst_status one_segment(struct container *c, struct core *k, size_t i,
				   struct nst_error *e)
{
	GElf_Phdr p;

	if (!gelf_getphdr(k->elf, (int)i, &p))
		return nst_fail(e, NST_BAD_INPUT, "cannot read program header "
				"%zu: %s", i, elf_errmsg(-1));
	if (p.p_type != PT_LOAD && p.p_type != PT_NOTE)
		return NST_OK;
	if (source_passes(c->src) && p.p_type == PT_NOTE)
		source_need(c->src, p.p_offset + p.p_filesz);
	if (is_beyond(c, &p))
		return nst_fail(e, NST_BAD_INPUT, "cut: segment %zu (file bytes "
				"0x%llx+0x%llx) goes beyond the end of the file",
				i, (unsigned long long)p.p_offset,
				(unsigned long long)p.p_filesz);
	if (p.p_type == PT_NOTE)
		return dump_notes(c, &k->cpus, source_at(c->src, p.p_offset,
							 p.p_filesz),
				  p.p_filesz, e);
	/* Without bytes it says only that there would be memory. */
	if (!p.p_filesz)
		return NST_OK;
	if (k->end < p.p_offset + p.p_filesz)
		k->end = p.p_offset + p.p_filesz;
	return runs_add(&k->runs, p.p_paddr, p.p_filesz, p.p_memsz, p.p_offset) ?
		NST_OK : nst_fail(e, NST_SYSTEM, "out of memory");
}

/* Waits for the headers of a file that passes: 64 bits, and their number in the
 * first of them. */
static bool headers_are_there(struct container *c)
{
	const uint8_t *h = source_at(c->src, 0, sizeof(Elf64_Ehdr));
	Elf64_Ehdr head;

	if (!h)
		return false;
	memcpy(&head, h, sizeof head);
	return head.e_ident[EI_CLASS] == ELFCLASS64 && head.e_phnum != PN_XNUM &&
		head.e_phoff < HEADERS_WITHIN &&
		source_need(c->src, head.e_phoff + head.e_phnum *
			    (uint64_t)sizeof(Elf64_Phdr));
}

static enum nst_status read_core(struct container *c, struct core *k,
				 struct nst_error *e)
{
	uint64_t size = source_size(c->src);
	enum nst_status st = NST_OK;
	size_t count;

	elf_version(EV_CURRENT);
	k->elf = elf_memory((char *)(uintptr_t)source_at(c->src, 0, size), size);
	if (!k->elf || elf_kind(k->elf) != ELF_K_ELF ||
	    elf_getphdrnum(k->elf, &count))
		return nst_fail(e, NST_BAD_INPUT, "a damaged ELF file: %s",
				elf_errmsg(-1));
	if (count > size / 32)
		return nst_fail(e, NST_BAD_INPUT, "%zu program headers in a file "
				"of %llu bytes", count, (unsigned long long)size);
	for (size_t i = 0; !st && i < count; i++)
		st = one_segment(c, k, i, e);
	if (!st && source_passes(c->src) &&
	    (!runs_pass_all(&k->runs, c) || source_size(c->src) < k->end))
		return container_give_up(c, e);
	if (!st && !runs_finish(&k->runs, c))
		st = nst_fail(e, NST_SYSTEM, "out of memory");
	if (!st && !k->runs.n && !k->cpus.n)
		st = nst_fail(e, NST_BAD_INPUT, "an ELF core without physical "
			      "memory or registers");
	return st;
}

static enum nst_status open_core(struct container *c, struct nst_error *e)
{
	struct core *k = calloc(1, sizeof *k);
	enum nst_status st;

	if (!k)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	c->priv = k;
	if (!source_passes(c->src))
		return read_core(c, k, e);
	/* What is wrong with it is said when all of it is there. */
	st = headers_are_there(c) ? read_core(c, k, e) : NST_BAD_INPUT;
	return st ? container_give_up(c, e) : NST_OK;
}

static int walk_part(struct container *c, uint32_t part, uint32_t parts,
		     container_run_fn *fn, void *arg, struct nst_error *e)
{
	(void)e;
	return runs_walk(&((struct core *)c->priv)->runs, c, part, parts, fn, arg);
}

static enum nst_status load(struct container *c, struct snapshot *s,
			    struct nst_error *e)
{
	(void)e;
	dump_load(&((struct core *)c->priv)->cpus, s, c->ops->kind);
	return NST_OK;
}

static void close_core(struct container *c)
{
	struct core *k = c->priv;

	if (!k)
		return;
	if (k->elf)
		elf_end(k->elf);
	runs_free(&k->runs);
	dump_cpus_free(&k->cpus);
	free(k);
}

const struct container_ops reader_elf = {
	.kind = "ELF core", .probe = probe, .open = open_core,
	.walk_part = walk_part, .load = load, .passes = true,
	.close = close_core,
};
