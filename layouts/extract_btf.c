/* extract_btf.c: struct vmcs12 from BTF, with libbpf. */
#include "layouts/extract.h"

#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <unistd.h>

/* The library would write to standard error. */
static int silent(enum libbpf_print_level level, const char *format, va_list ap)
{
	(void)level;
	(void)format;
	(void)ap;
	return 0;
}

static Elf_Data *find_section(Elf *elf, const char *name)
{
	size_t names;
	Elf_Scn *scn = NULL;

	if (elf_getshdrstrndx(elf, &names))
		return NULL;
	while ((scn = elf_nextscn(elf, scn))) {
		GElf_Shdr shdr;
		const char *s;

		if (!gelf_getshdr(scn, &shdr) || shdr.sh_type == SHT_NOBITS)
			continue;
		s = elf_strptr(elf, names, shdr.sh_name);
		if (s && !strcmp(s, name))
			return elf_rawdata(scn, NULL);
	}
	return NULL;
}

/* Parses raw BTF over a base (or NULL).  Debian 12's libbpf takes a base only
 * together with a file's name. */
static struct btf *parse(const void *data, size_t size, struct btf *base)
{
	struct btf *btf;
	char path[40];
	int fd;

	if (!base)
		return size <= UINT32_MAX ? btf__new(data, (uint32_t)size) : NULL;
	fd = extract_memory_file(data, size);
	if (fd < 0)
		return NULL;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	btf = btf__parse_raw_split(path, base);
	close(fd);
	return btf;
}

/* BTF of an ELF image's .BTF section, or of raw BTF. */
static struct btf *load_btf(const void *image, size_t size, struct btf *base,
			    bool *has_section)
{
	const uint8_t *bytes = image;
	struct btf *btf = NULL;
	Elf *elf;
	Elf_Data *data;

	*has_section = false;
	if (size > 2 && bytes[0] == 0x9f && bytes[1] == 0xeb) {
		*has_section = true;
		return parse(image, size, base);
	}
	elf = elf_memory((char *)image, size);
	data = elf ? find_section(elf, ".BTF") : NULL;
	if (data && data->d_buf) {
		*has_section = true;
		btf = parse(data->d_buf, data->d_size, base);
	}
	elf_end(elf);
	return btf;
}

static void read_members(struct btf *btf, const struct btf_type *t,
			 struct extract_result *r)
{
	const struct btf_member *m = btf_members(t);

	for (unsigned i = 0; i < btf_vlen(t); i++) {
		const char *name = btf__name_by_offset(btf, m[i].name_off);
		unsigned bit = btf_member_bit_offset(t, i);
		long long size = btf__resolve_size(btf, m[i].type);

		if (name && size > 0 && bit % 8 == 0)
			extract_member(r, &r->btf, name, bit / 8,
				       (unsigned)size);
	}
}

void extract_btf(const struct extract_input *in, struct extract_result *r)
{
	struct extract_view *v = &r->btf;
	struct btf *base = NULL, *btf;
	bool there;
	int id;

	libbpf_set_print(silent);
	if (in->base) {
		base = load_btf(in->base, in->base_size, NULL, &there);
		if (!base)
			extract_note(r, "no BTF in the base file");
	}
	btf = load_btf(in->image, in->size, base, &there);
	id = btf ? btf__find_by_name_kind(btf, "vmcs12", BTF_KIND_STRUCT) : -1;
	if (id > 0) {
		const struct btf_type *t = btf__type_by_id(btf, (uint32_t)id);

		read_members(btf, t, r);
		v->size = t->size;
		v->there = v->fields > 0;
	}
	if (v->there)
		snprintf(v->note, sizeof v->note, "struct vmcs12 of %u bytes",
			 v->size);
	else if (!there)
		snprintf(v->note, sizeof v->note, "no BTF");
	else if (!base && !btf)
		snprintf(v->note, sizeof v->note,
			 "its BTF needs the kernel's (--btf-base)");
	else
		snprintf(v->note, sizeof v->note, "no struct vmcs12 in its BTF%s",
			 base || !btf ? "" : ", or it needs the kernel's "
			 "(--btf-base)");
	btf__free(btf);
	btf__free(base);
}
