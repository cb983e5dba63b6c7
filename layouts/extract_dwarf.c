/* extract_dwarf.c: struct vmcs12 from DWARF, with libdw.
 *
 * libdwfl applies a module's relocations, without which every name in a
 * relocatable file's .debug_info would be the first one; it wants a file.
 */
#include "layouts/extract.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <unistd.h>

/* No path to a separate debug file is followed: the answer must not depend on
 * what else this machine has. */
static int no_debuginfo(Dwfl_Module *mod, void **userdata, const char *name,
			Dwarf_Addr base, const char *file, const char *link,
			GElf_Word crc, char **found)
{
	(void)mod; (void)userdata; (void)name; (void)base; (void)file;
	(void)link; (void)crc; (void)found;
	return -1;
}

static const Dwfl_Callbacks callbacks = {
	.find_elf = dwfl_build_id_find_elf,
	.find_debuginfo = no_debuginfo,
	.section_address = dwfl_offline_section_address,
};

static bool has_debug_info(const struct extract_input *in)
{
	Elf *elf = elf_memory((char *)in->image, in->size);
	Elf_Scn *scn = NULL;
	size_t names;
	bool found = false;

	if (!elf || elf_getshdrstrndx(elf, &names)) {
		elf_end(elf);
		return false;
	}
	while (!found && (scn = elf_nextscn(elf, scn))) {
		GElf_Shdr shdr;
		const char *s = gelf_getshdr(scn, &shdr) ?
			elf_strptr(elf, names, shdr.sh_name) : NULL;

		found = s && !strcmp(s, ".debug_info");
	}
	elf_end(elf);
	return found;
}

static unsigned member_offset(Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	Dwarf_Word at;

	if (!dwarf_attr(die, DW_AT_data_member_location, &attr) ||
	    dwarf_formudata(&attr, &at) || at >= VMCS12_SIZE)
		return VMCS12_SIZE;
	return (unsigned)at;
}

static unsigned member_size(Dwarf_Die *die)
{
	Dwarf_Attribute attr;
	Dwarf_Die type;
	Dwarf_Word size;

	if (!dwarf_attr(die, DW_AT_type, &attr) ||
	    !dwarf_formref_die(&attr, &type) ||
	    dwarf_aggregate_size(&type, &size))
		return 0;
	return (unsigned)size;
}

static bool read_struct(Dwarf_Die *die, struct extract_result *r)
{
	Dwarf_Die child;
	int bytes = dwarf_bytesize(die);

	if (dwarf_child(die, &child))
		return false;
	do {
		const char *name = dwarf_diename(&child);

		if (dwarf_tag(&child) == DW_TAG_member && name &&
		    member_offset(&child) < VMCS12_SIZE)
			extract_member(r, &r->dwarf, name,
				       member_offset(&child),
				       member_size(&child));
	} while (!dwarf_siblingof(&child, &child));
	r->dwarf.size = bytes > 0 ? (unsigned)bytes : 0;
	return r->dwarf.fields > 0;
}

static bool search_unit(Dwarf_Die *unit, struct extract_result *r)
{
	Dwarf_Die child;

	if (dwarf_child(unit, &child))
		return false;
	do {
		const char *name;

		if (dwarf_tag(&child) != DW_TAG_structure_type ||
		    dwarf_hasattr(&child, DW_AT_declaration))
			continue;
		name = dwarf_diename(&child);
		if (name && !strcmp(name, "vmcs12") && read_struct(&child, r))
			return true;
	} while (!dwarf_siblingof(&child, &child));
	return false;
}

void extract_dwarf(const struct extract_input *in, struct extract_result *r)
{
	struct extract_view *v = &r->dwarf;
	Dwarf_Addr bias = 0;
	Dwarf_Die *unit = NULL;
	Dwfl_Module *mod;
	Dwfl *dwfl;
	int fd;

	snprintf(v->note, sizeof v->note, "no DWARF");
	if (!has_debug_info(in))
		return;
	snprintf(v->note, sizeof v->note, "no struct vmcs12 in its DWARF");
	dwfl = dwfl_begin(&callbacks);
	fd = dwfl ? extract_memory_file(in->image, in->size) : -1;
	if (fd < 0) {
		dwfl_end(dwfl);
		return;
	}
	dwfl_report_begin(dwfl);
	/* Takes over fd. */
	mod = dwfl_report_offline(dwfl, "kernel", "kernel", fd);
	if (!mod)
		close(fd);
	dwfl_report_end(dwfl, NULL, NULL);
	while (mod && !v->there && (unit = dwfl_module_nextcu(mod, unit, &bias)))
		v->there = search_unit(unit, r);
	if (v->there)
		snprintf(v->note, sizeof v->note, "struct vmcs12 of %u bytes",
			 v->size);
	dwfl_end(dwfl);
}
