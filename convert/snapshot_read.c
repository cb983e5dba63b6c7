/* snapshot_read.c: the reader of native snapshots (ELF64 cores with notes named
 * KVM). */
#include <elf.h>
#include <gelf.h>
#include <libelf.h>
#include <stdlib.h>
#include <string.h>

#include "convert/dump/runs.h"
#include "convert/readers.h"
#include "convert/snapshot.h"
#include "convert/snapshot_notes.h"
#include "convert/source.h"
#include "layouts/vmcs.h"

#define MAX_VCPUS 4096u

struct segment { uint64_t gpa, memsz, offset, filesz; };

struct native {
	Elf *elf;
	struct segment *seg;
	uint32_t nseg;
	uint64_t note_at, note_size;
	struct snapshot *notes;  /* registers and the like, without RAM */
};

/* An ELF64 core whose first note is one of ours.  The note segment stands
 * anywhere, so a core of another program is told apart in open. */
static int probe(const uint8_t *head, size_t len, uint64_t size)
{
	Elf64_Ehdr h;

	(void)size;
	if (len < sizeof h)
		return 0;
	memcpy(&h, head, sizeof h);
	if (memcmp(h.e_ident, ELFMAG, SELFMAG) ||
	    h.e_ident[EI_CLASS] != ELFCLASS64 ||
	    h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_type != ET_CORE ||
	    h.e_machine != EM_X86_64)
		return 0;
	/* The program headers and the notes usually stand at the beginning. */
	return memmem(head, len, "\4\0\0\0", 4) && memmem(head, len, "KVM", 4)
		? 90 : 0;
}

static enum nst_status take_segments(struct container *c, struct native *n,
				     struct nst_error *e)
{
	size_t count;
	uint64_t size = source_size(c->src), end = 0;

	if (elf_getphdrnum(n->elf, &count) || count > size / sizeof(Elf64_Phdr))
		return nst_fail(e, NST_BAD_INPUT, "bad program header table");
	n->seg = calloc(count ? count : 1, sizeof *n->seg);
	if (!n->seg)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	for (size_t i = 0; i < count; i++) {
		GElf_Phdr p;

		if (!gelf_getphdr(n->elf, (int)i, &p))
			return nst_fail(e, NST_BAD_INPUT,
					"cannot read program header %zu", i);
		if (p.p_type != PT_LOAD && p.p_type != PT_NOTE)
			continue;
		if (p.p_offset > size || p.p_filesz > size - p.p_offset)
			return nst_fail(e, NST_BAD_INPUT, "segment %zu (file "
				"bytes 0x%llx+0x%llx) goes beyond the end of "
				"the file", i, (unsigned long long)p.p_offset,
				(unsigned long long)p.p_filesz);
		if (p.p_type == PT_NOTE) {
			n->note_at = p.p_offset;
			n->note_size = p.p_filesz;
			continue;
		}
		if (p.p_paddr & 0xfff || p.p_memsz & 0xfff ||
		    p.p_filesz > p.p_memsz || p.p_memsz > 1ull << 52 ||
		    p.p_paddr > 1ull << 52 || p.p_paddr < end)
			return nst_fail(e, NST_BAD_INPUT, "segment %zu: not "
				"page-aligned, out of order or overlapping", i);
		end = p.p_paddr + p.p_memsz;
		n->seg[n->nseg++] = (struct segment){ p.p_paddr, p.p_memsz,
						      p.p_offset, p.p_filesz };
		if (!container_add_ram(c, p.p_paddr, p.p_memsz))
			return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	c->has_ram = n->nseg > 0;
	return NST_OK;
}

typedef enum nst_status note_fn(struct container *c, struct native *n,
				const char *name, uint32_t type, uint32_t vcpu,
				const uint8_t *data, uint32_t size,
				uint64_t offset, struct nst_error *e);

/* Calls fn for each note that has our descriptor head. */
static enum nst_status each_note(struct container *c, struct native *n,
				 note_fn *fn, struct nst_error *e)
{
	const uint8_t *base = source_at(c->src, n->note_at, n->note_size);
	uint64_t at = 0;

	while (at + 12 <= n->note_size) {
		uint32_t h[3], head[2];
		uint64_t name = at + 12, desc;

		memcpy(h, base + at, 12);
		desc = name + ((h[0] + 3ull) & ~3ull);
		at = desc + ((h[1] + 3ull) & ~3ull);
		if (desc + h[1] > n->note_size)
			return nst_fail(e, NST_BAD_INPUT, "a note goes beyond "
				"its segment at file byte 0x%llx",
				(unsigned long long)(n->note_at + name - 12));
		if (!h[0] || h[0] > 16 || base[name + h[0] - 1] || h[1] < 8)
			continue;
		memcpy(head, base + desc, 8);
		enum nst_status st = fn(c, n, (const char *)base + name, h[2],
			head[0], base + desc + 8, h[1] - 8,
			n->note_at + desc + 8, e);
		if (st)
			return st;
	}
	return NST_OK;
}

static enum nst_status count_vcpus(struct container *c, struct native *n,
				   const char *name, uint32_t type,
				   uint32_t vcpu, const uint8_t *data,
				   uint32_t size, uint64_t offset,
				   struct nst_error *e)
{
	(void)n, (void)data, (void)size, (void)type, (void)offset;
	if (strcmp(name, "KVM"))
		return NST_OK;
	if (vcpu >= MAX_VCPUS)
		return nst_fail(e, NST_BAD_INPUT, "a note names vCPU %u", vcpu);
	if (vcpu >= c->nvcpus)
		c->nvcpus = vcpu + 1;
	return NST_OK;
}

static enum nst_status keep_extra(struct snapshot *s, const char *name,
				  uint32_t type, uint32_t vcpu,
				  const uint8_t *data, uint32_t size,
				  struct nst_error *e)
{
	struct snapshot_extra *x = realloc(s->extra, (s->nextra + 1) * sizeof *x);

	if (!x)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	s->extra = x;
	x += s->nextra;
	*x = (struct snapshot_extra){ .type = type, .vcpu = vcpu, .size = size };
	memcpy(x->name, name, strlen(name));
	x->data = malloc(size ? size : 1);
	if (!x->data)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	memcpy(x->data, data, size);
	s->nextra++;
	return NST_OK;
}

static enum nst_status take_note(struct container *c, struct native *n,
				 const char *name, uint32_t type, uint32_t vcpu,
				 const uint8_t *data, uint32_t size,
				 uint64_t offset, struct nst_error *e)
{
	int taken = 0;

	if (!strcmp(name, "KVM"))
		taken = snapshot_take_note(n->notes, type, vcpu, data, size);
	else if (!strcmp(name, "NSTATE"))
		taken = snapshot_take_own_note(n->notes, type, data, size);
	if (taken < 0)
		return nst_fail(e, NST_BAD_INPUT, "note of type %u at file byte "
				"0x%llx has a wrong size (%u bytes)", type,
				(unsigned long long)offset, size);
	if (!taken)
		return keep_extra(n->notes, name, type, vcpu, data, size, e);
	if (type == SN_NESTED && !strcmp(name, "KVM") &&
	    !container_add_state(c, (int)vcpu, data, size, offset))
		return nst_fail(e, NST_SYSTEM, "out of memory");
	return NST_OK;
}

static void fill_vcpus(struct container *c, const struct snapshot *s)
{
	for (uint32_t i = 0; i < c->nvcpus; i++) {
		const struct snapshot_vcpu *v = &s->vcpu[i];
		c->vcpus[i] = (struct container_vcpu){
			.has_regs = snapshot_has(v, SN_REGS),
			.rip = v->regs.rip, .rsp = v->regs.rsp,
			.cr0 = v->sregs.cr0, .cr3 = v->sregs.cr3,
			.cr4 = v->sregs.cr4, .efer = v->sregs.efer,
		};
		if (snapshot_has(v, SN_SREGS2)) {
			c->vcpus[i].cr0 = v->sregs2.cr0;
			c->vcpus[i].cr3 = v->sregs2.cr3;
			c->vcpus[i].cr4 = v->sregs2.cr4;
			c->vcpus[i].efer = v->sregs2.efer;
		}
	}
}

static enum nst_status open_native(struct container *c, struct nst_error *e)
{
	struct native *n = calloc(1, sizeof *n);
	uint64_t size = source_size(c->src);
	enum nst_status st;

	if (!n)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	c->priv = n;
	if (elf_version(EV_CURRENT) == EV_NONE)
		return nst_fail(e, NST_SYSTEM, "libelf: %s", elf_errmsg(-1));
	n->elf = elf_memory((char *)(uintptr_t)source_at(c->src, 0, size), size);
	if (!n->elf || elf_kind(n->elf) != ELF_K_ELF)
		return nst_fail(e, NST_BAD_INPUT, "not an ELF file: %s",
				elf_errmsg(-1));
	st = take_segments(c, n, e);
	if (!st)
		st = each_note(c, n, count_vcpus, e);
	if (st)
		return st;
	n->notes = snapshot_new(c->nvcpus);
	c->vcpus = calloc(c->nvcpus ? c->nvcpus : 1, sizeof *c->vcpus);
	if (!n->notes || !c->vcpus)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	st = each_note(c, n, take_note, e);
	fill_vcpus(c, n->notes);
	if (n->notes->origin)
		snapshot_origin(n->notes, "kvm-release", c->note, sizeof c->note);
	return st;
}

static int walk_part(struct container *c, uint32_t part, uint32_t parts,
		     container_run_fn *fn, void *arg, struct nst_error *e)
{
	const struct native *n = c->priv;
	struct ram_runs runs = {
		.v = calloc(n->nseg ? n->nseg : 1, sizeof *runs.v),
		.n = n->nseg, .room = n->nseg,
	};
	int rc;

	if (!runs.v) {
		nst_fail(e, NST_SYSTEM, "out of memory");
		return -1;
	}
	for (uint32_t i = 0; i < n->nseg; i++)
		runs.v[i] = (struct ram_run){ n->seg[i].gpa, n->seg[i].filesz,
					      n->seg[i].memsz,
					      n->seg[i].offset };
	rc = runs_walk(&runs, c, part, parts, fn, arg);
	free(runs.v);
	return rc;
}

static int copy_run(void *arg, const struct container_run *run)
{
	uint8_t *to = snapshot_ram_at(arg, run->gpa, run->size);

	if (to)
		memcpy(to, run->data, run->size);
	return 0;
}

static enum nst_status load_ram(struct container *c, struct native *n,
				struct snapshot *s, struct nst_error *e)
{
	struct ram_plan *plan = calloc(n->nseg ? n->nseg : 1, sizeof *plan);
	bool good = plan != NULL;

	for (uint32_t i = 0; good && i < n->nseg; i++)
		plan[i] = (struct ram_plan){ n->seg[i].gpa, n->seg[i].memsz };
	good = good && snapshot_make_ram(s, plan, n->nseg);
	free(plan);
	if (!good)
		return nst_fail(e, NST_SYSTEM, "cannot reserve memory for the "
				"guest's RAM");
	/* As a walk, which passes over holes. */
	return walk_part(c, 0, 1, copy_run, s, e) < 0 ? NST_SYSTEM : NST_OK;
}

static enum nst_status copy_note(struct container *c, struct native *n,
				 const char *name, uint32_t type, uint32_t vcpu,
				 const uint8_t *data, uint32_t size,
				 uint64_t offset, struct nst_error *e)
{
	struct snapshot *s = n->notes;
	int taken = 0;

	(void)c, (void)offset;
	if (!strcmp(name, "KVM"))
		taken = snapshot_take_note(s, type, vcpu, data, size);
	else if (!strcmp(name, "NSTATE"))
		taken = snapshot_take_own_note(s, type, data, size);
	if (taken < 0)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	return taken ? NST_OK : keep_extra(s, name, type, vcpu, data, size, e);
}

static enum nst_status load(struct container *c, struct snapshot *s,
			    struct nst_error *e)
{
	struct native *n = c->priv;
	struct snapshot *own = n->notes;
	enum nst_status st;

	n->notes = s; /* the same notes once more, now into the caller's */
	st = each_note(c, n, copy_note, e);
	n->notes = own;
	return st ? st : load_ram(c, n, s, e);
}

static void close_native(struct container *c)
{
	struct native *n = c->priv;

	if (!n)
		return;
	snapshot_free(n->notes);
	if (n->elf)
		elf_end(n->elf);
	free(n->seg);
	free(n);
}

const struct container_ops reader_snapshot = {
	.kind = "native snapshot", .probe = probe, .open = open_native,
	.walk_part = walk_part, .load = load, .close = close_native,
};
