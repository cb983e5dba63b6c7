/* extract.c: the offset table of a kernel binary, and the judgement over all
 * witnesses.  BTF and DWARF are read in files of their own. */
#include "layouts/extract.h"

#include "layouts/layout_file.h"

#include <errno.h>
#include <gelf.h>
#include <libelf.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

void extract_note(struct extract_result *r, const char *format, ...)
{
	va_list ap;

	if (r->nnotes == EXTRACT_NOTES) {
		r->more++;
		return;
	}
	va_start(ap, format);
	vsnprintf(r->note[r->nnotes++], sizeof r->note[0], format, ap);
	va_end(ap);
}

int extract_memory_file(const void *data, size_t size)
{
	int fd = memfd_create("nstate-extract", MFD_CLOEXEC);
	const uint8_t *p = data;

	for (size_t at = 0; fd >= 0 && at < size;) {
		ssize_t n = write(fd, p + at, size - at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			close(fd);
			return -1;
		}
		at += (size_t)n;
	}
	return fd;
}

/* Members that hold no field. */
static bool is_filler(const char *name)
{
	static const char *const fillers[] = {
		"", "hdr", "revision_id", "abort", "launch_state", "padding",
		"padding64", "paddingl", "padding32", "dead_space",
	};

	for (size_t i = 0; i < sizeof fillers / sizeof fillers[0]; i++)
		if (!strcmp(name, fillers[i]))
			return true;
	return false;
}

void extract_member(struct extract_result *r, struct extract_view *v,
		    const char *name, unsigned at, unsigned size)
{
	if (is_filler(name))
		return;
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		const struct vmcs_field *f = &vmcs_fields[i];

		/* A kernel to come may hold a field that none has held yet:
		 * its member would be called as the field is. */
		if (f->kernel_name ? strcmp(name, f->kernel_name) :
		    vmcs_field_lookup(name) != i)
			continue;
		if (size != vmcs_bytes(f->encoding))
			extract_note(r, "member %s has %u bytes, the field %u",
				     name, size, vmcs_bytes(f->encoding));
		else if (at < VMCS12_SIZE)
			v->offset[i] = (uint16_t)at;
		v->fields++;
		return;
	}
	extract_note(r, "member %s at %u is no field known to this program",
		     name, at);
}

/* -- the table ------------------------------------------------------------------ */
struct table {
	const uint8_t *data; /* NULL: the section has no bytes in the file */
	size_t entries;
	char symbol[48];
};

static const char *const symbols[] = {
	"kvm_supported_vmcs12_field_offsets",
	"vmcs12_field_offsets",
	"vmcs_field_to_offset_table",
};

static Elf_Data *section_data(Elf *elf, size_t index, GElf_Shdr *shdr)
{
	Elf_Scn *scn = elf_getscn(elf, index);

	if (!scn || !gelf_getshdr(scn, shdr))
		return NULL;
	return elf_rawdata(scn, NULL);
}

/* The bytes of a symbol; false where the file does not have them. */
static bool symbol_bytes(Elf *elf, const GElf_Sym *sym, bool relocatable,
			 struct table *t)
{
	GElf_Shdr shdr;
	Elf_Data *data = section_data(elf, sym->st_shndx, &shdr);
	uint64_t at;

	t->entries = sym->st_size / 2;
	t->data = NULL;
	if (!data || !t->entries || sym->st_size > UINT16_MAX * 2ul + 2)
		return false;
	if (shdr.sh_type == SHT_NOBITS)
		return true;
	at = relocatable ? sym->st_value : sym->st_value - shdr.sh_addr;
	if (!data->d_buf || at > data->d_size ||
	    sym->st_size > data->d_size - at)
		return false;
	t->data = (const uint8_t *)data->d_buf + at;
	return true;
}

static bool find_symbol(Elf *elf, const char *name, struct table *t)
{
	GElf_Ehdr ehdr;
	Elf_Scn *scn = NULL;

	if (!gelf_getehdr(elf, &ehdr))
		return false;
	while ((scn = elf_nextscn(elf, scn))) {
		GElf_Shdr shdr;
		Elf_Data *data;

		if (!gelf_getshdr(scn, &shdr) || shdr.sh_type != SHT_SYMTAB ||
		    !shdr.sh_entsize || !(data = elf_getdata(scn, NULL)))
			continue;
		for (size_t i = 0; i < data->d_size / shdr.sh_entsize; i++) {
			const char *s;
			GElf_Sym sym;

			if (i > INT32_MAX || !gelf_getsym(data, (int)i, &sym))
				break;
			s = elf_strptr(elf, shdr.sh_link, sym.st_name);
			if (!s || strcmp(s, name) || !sym.st_shndx ||
			    sym.st_shndx >= SHN_LORESERVE)
				continue;
			snprintf(t->symbol, sizeof t->symbol, "%s", name);
			return symbol_bytes(elf, &sym, ehdr.e_type == ET_REL, t);
		}
	}
	return false;
}

static unsigned entry(const struct table *t, size_t i)
{
	return t->data ? t->data[2 * i] | (unsigned)t->data[2 * i + 1] << 8 : 0;
}

static bool all_zero(const struct table *t)
{
	for (size_t i = 0; i < t->entries; i++)
		if (entry(t, i))
			return false;
	return true;
}

static uint32_t encoding_of(size_t i, bool rotated)
{
	return rotated ? ((uint32_t)i >> 6 | (uint32_t)i << 10) & 0xffff :
		(uint32_t)i;
}

/* How many entries are at the index of a field. */
static unsigned count_fields(const struct table *t, bool rotated)
{
	unsigned n = 0;

	for (size_t i = 0; i < t->entries; i++)
		n += entry(t, i) &&
		     vmcs_field_index(encoding_of(i, rotated)) >= 0;
	return n;
}

static void read_table(const struct table *t, struct extract_result *r)
{
	struct extract_view *v = &r->table;

	for (size_t i = 0; i < t->entries; i++) {
		uint32_t enc = encoding_of(i, r->rotated);
		int idx = vmcs_field_index(enc);
		unsigned at = entry(t, i);

		if (!at || (idx >= 0 && vmcs_is_high(enc)))
			continue;
		if (idx < 0) {
			extract_note(r, "encoding 0x%x at %u is no field known "
				     "to this program", enc, at);
			continue;
		}
		v->offset[idx] = (uint16_t)at;
		v->fields++;
	}
	/* A 64-bit field's high half is four bytes on. */
	for (size_t i = 0; i < t->entries; i++) {
		uint32_t enc = encoding_of(i, r->rotated);
		int idx = vmcs_field_index(enc);

		if (entry(t, i) && idx >= 0 && vmcs_is_high(enc) &&
		    entry(t, i) != v->offset[idx] + 4u)
			extract_note(r, "%s: its high half is at %u, not 4 "
				     "bytes on", vmcs_fields[idx].name,
				     entry(t, i));
	}
	v->there = true;
	snprintf(v->note, sizeof v->note, "symbol %s, %s", r->symbol,
		 r->rotated ? "by encoding rotated left by 6" : "by encoding");
}

static void extract_table(Elf *elf, struct extract_result *r)
{
	struct table t;
	unsigned rotated, direct;
	bool found = false;

	for (size_t i = 0; i < sizeof symbols / sizeof symbols[0]; i++) {
		if (!find_symbol(elf, symbols[i], &t))
			continue;
		found = true;
		if (!all_zero(&t))
			break;
		extract_note(r, "%s is empty in the file: filled when the "
			     "module loads", symbols[i]);
		found = false;
	}
	if (!found) {
		snprintf(r->table.note, sizeof r->table.note,
			 "no table of VMCS12 offsets among the symbols");
		return;
	}
	rotated = count_fields(&t, true);
	direct = count_fields(&t, false);
	if (rotated == direct) {
		snprintf(r->table.note, sizeof r->table.note,
			 "%s is no table of VMCS12 offsets", t.symbol);
		return;
	}
	r->rotated = rotated > direct;
	memcpy(r->symbol, t.symbol, sizeof r->symbol);
	read_table(&t, r);
}

/* -- the judgement -------------------------------------------------------------- */
static void compare_views(struct extract_result *r, const char *name,
			  const struct extract_view *a,
			  const struct extract_view *b)
{
	if (!a->there || !b->there)
		return;
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		if (a->offset[i] == b->offset[i])
			continue;
		r->disagree = true;
		extract_note(r, "%s: the table says %u, %s says %u",
			     vmcs_fields[i].name, a->offset[i], name,
			     b->offset[i]);
	}
}

static void choose(struct extract_result *r)
{
	const struct extract_view *v = r->table.there ? &r->table :
		r->btf.there ? &r->btf : &r->dwarf;
	struct layout *l = &r->layout;
	unsigned end = 0, size = r->btf.size ? r->btf.size : r->dwarf.size;

	strcpy(l->id, "extracted");
	memcpy(l->offset, v->offset, sizeof l->offset);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		unsigned last = l->offset[i] ? l->offset[i] +
			vmcs_bytes(vmcs_fields[i].encoding) : 0;

		end = last > end ? last : end;
	}
	l->size = (uint16_t)(size > end ? size : end);
	r->equal = layout_equal_builtin(l);
	if (!r->equal)
		return;
	l->emits_blob = r->equal->emits_blob;
	/* Trailing padding is in no table. */
	if (!size)
		l->size = r->equal->size;
}

enum nst_status layout_extract(const struct extract_input *in,
			       struct extract_result *out, struct nst_error *e)
{
	Elf *elf;

	memset(out, 0, sizeof *out);
	if (elf_version(EV_CURRENT) == EV_NONE)
		return nst_fail(e, NST_SYSTEM, "libelf is too old");
	elf = elf_memory((char *)in->image, in->size);
	if (!elf || elf_kind(elf) != ELF_K_ELF) {
		elf_end(elf);
		return nst_fail(e, NST_BAD_INPUT, "not an ELF file (want a "
				"kvm-intel module or a vmlinux)");
	}
	if (gelf_getclass(elf) != ELFCLASS64 ||
	    elf_getident(elf, NULL)[EI_DATA] != ELFDATA2LSB) {
		elf_end(elf);
		return nst_fail(e, NST_BAD_INPUT,
				"not a 64-bit little-endian kernel");
	}
	extract_table(elf, out);
	elf_end(elf);
	extract_btf(in, out);
	extract_dwarf(in, out);
	if (!out->table.there && !out->btf.there && !out->dwarf.there)
		return nst_fail(e, NST_BAD_INPUT, "%s; %s; %s",
				out->table.note, out->btf.note,
				out->dwarf.note);
	compare_views(out, "BTF", &out->table, &out->btf);
	compare_views(out, "DWARF", &out->table, &out->dwarf);
	if (!out->table.there)
		compare_views(out, "DWARF", &out->btf, &out->dwarf);
	choose(out);
	layout_derive(&out->layout);
	return layout_validate(&out->layout, e);
}
