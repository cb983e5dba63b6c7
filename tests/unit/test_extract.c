/* Layouts read out of ELF files that this test makes: tables of every kind, BTF,
 * and (from this program's own debug information) DWARF. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <bpf/btf.h>
#include <cmocka.h>
#include <elf.h>

#include "layouts/extract.h"

/* -- a struct and a table of this program's own, as a kernel would have ---------- */
struct vmcs12 {
	uint32_t hdr, abort, launch_state, padding[7];
	uint64_t io_bitmap_a;
	uint64_t guest_rip;
	uint32_t vm_exit_reason;
	uint16_t host_tr_selector;
} __attribute__((packed));

struct vmcs12 own_vmcs12 __attribute__((used));

#define ROL6(enc) (((enc) << 6 | (enc) >> 10) & 0xffff)
const unsigned short vmcs12_field_offsets[ROL6(VMCS_GUEST_RIP) + 1]
	__attribute__((used)) = {
	[ROL6(VMCS_IO_BITMAP_A)] = 40,
	[ROL6(VMCS_IO_BITMAP_A + 1)] = 44,
	[ROL6(VMCS_GUEST_RIP)] = 48,
	[ROL6(VMCS_VM_EXIT_REASON)] = 56,
	[ROL6(VMCS_HOST_TR_SELECTOR)] = 60,
};

/* -- making ELF files ------------------------------------------------------------- */
struct table_spec {
	const char *symbol;
	uint16_t *entries;
	size_t count;
	bool nobits;
};

struct elf_spec {
	const struct table_spec *tables; /* at most two */
	size_t ntables;
	const void *btf;
	size_t btf_size;
	bool linked;                     /* sections have addresses */
};

struct elf_file {
	uint8_t *data;
	size_t size;
};

/* Sections: 0, .symtab, .strtab, .shstrtab, .BTF, tables. */
static struct elf_file make_elf(const struct elf_spec *s)
{
	static const char names[] =
		"\0.symtab\0.strtab\0.shstrtab\0.BTF\0.rodata";
	Elf64_Ehdr eh = { .e_type = s->linked ? ET_DYN : ET_REL,
		.e_machine = EM_X86_64, .e_version = 1,
		.e_ehsize = sizeof eh, .e_shentsize = sizeof(Elf64_Shdr),
		.e_shnum = (Elf64_Half)(5 + s->ntables), .e_shstrndx = 3 };
	Elf64_Shdr sh[8] = { { 0 } };
	Elf64_Sym sym[4] = { { 0 } };
	char strings[256] = "";
	size_t nstrings = 1, len;
	char *text;
	struct elf_file out;
	FILE *f = open_memstream(&text, &len);

	memcpy(eh.e_ident, ELFMAG "\2\1\1", 7);
	fwrite(&eh, sizeof eh, 1, f);
	for (size_t i = 0; i < s->ntables; i++) {
		const struct table_spec *t = &s->tables[i];
		Elf64_Shdr *h = &sh[5 + i];

		fflush(f);
		*h = (Elf64_Shdr){ .sh_name = 32, .sh_type = t->nobits ?
			SHT_NOBITS : SHT_PROGBITS, .sh_offset = len + 6,
			.sh_addr = s->linked ? 0x1000 * (i + 1) : 0,
			.sh_size = 2 * t->count + 6 };
		/* Six bytes before the table: its symbol has a value. */
		fwrite("abcdef", 1, 6, f);
		h->sh_offset = len;
		if (!t->nobits)
			fwrite(t->entries, 2, t->count, f);
		else
			fwrite("", 1, 1, f);
		sym[1 + i] = (Elf64_Sym){ .st_name = (Elf64_Word)nstrings,
			.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT),
			.st_shndx = (Elf64_Half)(5 + i),
			.st_value = h->sh_addr + 6, .st_size = 2 * t->count };
		nstrings += (size_t)snprintf(strings + nstrings,
			sizeof strings - nstrings, "%s", t->symbol) + 1;
	}
	fflush(f);
	sh[1] = (Elf64_Shdr){ .sh_name = 1, .sh_type = SHT_SYMTAB,
		.sh_offset = len, .sh_size = sizeof sym[0] * (1 + s->ntables),
		.sh_link = 2, .sh_entsize = sizeof sym[0], .sh_info = 1 };
	fwrite(sym, sizeof sym[0], 1 + s->ntables, f);
	fflush(f);
	sh[2] = (Elf64_Shdr){ .sh_name = 9, .sh_type = SHT_STRTAB,
		.sh_offset = len, .sh_size = nstrings };
	fwrite(strings, 1, nstrings, f);
	fflush(f);
	sh[3] = (Elf64_Shdr){ .sh_name = 17, .sh_type = SHT_STRTAB,
		.sh_offset = len, .sh_size = sizeof names };
	fwrite(names, 1, sizeof names, f);
	fflush(f);
	sh[4] = (Elf64_Shdr){ .sh_name = s->btf ? 27 : 0,
		.sh_type = s->btf ? SHT_PROGBITS : SHT_NULL,
		.sh_offset = len, .sh_size = s->btf_size };
	if (s->btf)
		fwrite(s->btf, 1, s->btf_size, f);
	while (fflush(f), len % 8)
		fputc(0, f);
	eh.e_shoff = len;
	fwrite(sh, sizeof sh[0], eh.e_shnum, f);
	fclose(f);
	memcpy(text, &eh, sizeof eh);
	out.data = (uint8_t *)text;
	out.size = len;
	return out;
}

/* KVM's table for a layout; direct: not rotated. */
static struct table_spec make_table(const char *symbol, const struct layout *l,
				    bool direct)
{
	struct table_spec t = { .symbol = symbol };
	size_t n = direct ? 0x7000 : 3274;

	t.entries = calloc(n, 2);
	t.count = n;
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		uint32_t enc = vmcs_fields[i].encoding;

		if (!layout_has(l, i))
			continue;
		t.entries[direct ? enc : ROL6(enc)] = l->offset[i];
		if (vmcs_width(enc) == VMCS_W64)
			t.entries[direct ? enc + 1 : ROL6(enc + 1)] =
				(uint16_t)(l->offset[i] + 4);
	}
	return t;
}

static enum nst_status extract(const struct elf_spec *s, const void *base,
			       size_t base_size, struct extract_result *r)
{
	struct elf_file f = make_elf(s);
	struct extract_input in = { f.data, f.size, base, base_size };
	struct nst_error e = { 0 };
	enum nst_status status = layout_extract(&in, r, &e);

	free(f.data);
	return status;
}

/* struct vmcs12 of a layout as BTF; members at wrong places on request. */
static struct btf *make_btf(struct btf *btf, const struct layout *l, int skew)
{
	int ids[4]; /* by width: u16, u64, u32, natural */

	ids[0] = btf__add_int(btf, "unsigned short", 2, 0);
	ids[1] = btf__add_int(btf, "unsigned long long", 8, 0);
	ids[2] = btf__add_int(btf, "unsigned int", 4, 0);
	ids[3] = btf__add_typedef(btf, "natural_width", ids[1]);
	assert_true(btf__add_struct(btf, "vmcs12", l->size) > 0);
	btf__add_field(btf, "hdr", ids[2], 0, 0);
	btf__add_field(btf, "abort", ids[2], 32, 0);
	btf__add_field(btf, "launch_state", ids[2], 64, 0);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		unsigned at = l->offset[i];

		if (!at)
			continue;
		if (i == VMCS_IDX_GUEST_RIP)
			at += (unsigned)skew;
		assert_int_equal(btf__add_field(btf, vmcs_fields[i].kernel_name,
			ids[vmcs_width(vmcs_fields[i].encoding)], 8 * at, 0), 0);
	}
	return btf;
}

/* -- tests ------------------------------------------------------------------------ */
static void every_table_is_read(void **state)
{
	static const char *const names[] = {
		"vmcs_field_to_offset_table", "vmcs12_field_offsets",
		"kvm_supported_vmcs12_field_offsets",
	};

	(void)state;
	for (unsigned n = 0; n < layout_count(); n++)
		for (unsigned k = 0; k < 6; k++) {
			const struct layout *l = layout_at(n);
			struct table_spec t = make_table(names[k % 3], l, k > 2);
			struct elf_spec s = { .tables = &t, .ntables = 1,
					      .linked = k & 1 };
			struct extract_result r;

			assert_int_equal(extract(&s, NULL, 0, &r), NST_OK);
			assert_ptr_equal(r.equal, l);
			assert_int_equal(r.rotated, k <= 2);
			assert_string_equal(r.symbol, names[k % 3]);
			assert_int_equal(r.layout.size, l->size);
			assert_int_equal(r.layout.preserves_v40,
					 l->preserves_v40);
			assert_int_equal(r.nnotes, 0);
			assert_false(r.disagree);
			free(t.entries);
		}
}

/* From 7.0 on the old name is there too, empty until the module loads. */
static void the_filled_table_is_preferred(void **state)
{
	const struct layout *l = layout_by_name("v6.18");
	struct table_spec t[2] = { { .symbol = "vmcs12_field_offsets",
		.entries = calloc(3274, 2), .count = 3274 } };
	struct elf_spec s = { .tables = t, .ntables = 2 };
	struct extract_result r;

	(void)state;
	t[1] = make_table("kvm_supported_vmcs12_field_offsets", l, false);
	assert_int_equal(extract(&s, NULL, 0, &r), NST_OK);
	assert_ptr_equal(r.equal, l);
	assert_string_equal(r.symbol, "kvm_supported_vmcs12_field_offsets");

	/* Stripped of the local one: only the empty one is left. */
	for (int nobits = 0; nobits < 2; nobits++) {
		t[0].nobits = nobits;
		s.ntables = 1;
		assert_int_equal(extract(&s, NULL, 0, &r), NST_BAD_INPUT);
		assert_int_equal(r.nnotes, 1);
		assert_non_null(strstr(r.note[0], "filled when the module"));
	}
	free(t[0].entries);
	free(t[1].entries);
}

static void unknown_layouts_are_said_to_be(void **state)
{
	struct layout l = *layout_by_name("v5.14");
	struct table_spec t;
	struct elf_spec s = { .tables = &t, .ntables = 1 };
	struct extract_result r;

	(void)state;
	l.offset[VMCS_IDX_HOST_IA32_PKRS] = 998; /* as one fork had it */
	t = make_table("vmcs12_field_offsets", &l, false);
	assert_int_equal(extract(&s, NULL, 0, &r), NST_OK);
	assert_null(r.equal);
	assert_true(layout_same_offsets(&r.layout, &l));
	assert_int_equal(r.layout.size, 1006);
	assert_true(r.layout.preserves_v40);
	/* A field that nobody knows, and a high half out of place. */
	t.entries[ROL6(0x0816)] = 336;
	t.entries[ROL6(VMCS_TSC_OFFSET + 1)]++;
	assert_int_equal(extract(&s, NULL, 0, &r), NST_OK);
	assert_int_equal(r.nnotes, 2);
	assert_non_null(strstr(r.note[0], "0x816"));
	assert_non_null(strstr(r.note[1], "TSC_OFFSET"));
	free(t.entries);
}

static void senseless_tables_are_refused(void **state)
{
	struct table_spec t = { .symbol = "vmcs12_field_offsets",
				.entries = calloc(3274, 2), .count = 3274 };
	struct elf_spec s = { .tables = &t, .ntables = 1 };
	struct extract_result r;

	(void)state;
	t.entries[ROL6(VMCS_GUEST_RIP)] = 4090; /* runs out of the page */
	assert_int_equal(extract(&s, NULL, 0, &r), NST_BAD_INPUT);
	t.entries[ROL6(VMCS_GUEST_RIP)] = 0;
	t.entries[1] = 40; /* at no field's index */
	assert_int_equal(extract(&s, NULL, 0, &r), NST_BAD_INPUT);
	free(t.entries);
	s.ntables = 0;
	assert_int_equal(extract(&s, NULL, 0, &r), NST_BAD_INPUT);
}

static void btf_is_read(void **state)
{
	(void)state;
	for (unsigned n = 0; n < layout_count(); n++) {
		const struct layout *l = layout_at(n);
		struct btf *btf = make_btf(btf__new_empty(), l, 0);
		struct table_spec t = make_table("vmcs12_field_offsets", l,
						 false);
		struct elf_spec s = { .tables = &t, .ntables = 1 };
		struct extract_result r;
		uint32_t size;

		s.btf = btf__raw_data(btf, &size);
		s.btf_size = size;
		assert_int_equal(extract(&s, NULL, 0, &r), NST_OK);
		assert_true(r.btf.there);
		assert_false(r.disagree);
		assert_int_equal(r.nnotes, 0);
		s.ntables = 0;
		assert_int_equal(extract(&s, NULL, 0, &r), NST_OK);
		assert_ptr_equal(r.equal, l);
		assert_int_equal(r.layout.size, l->size);
		btf__free(btf);
		free(t.entries);
	}
}

static void a_modules_btf_needs_its_base(void **state)
{
	const struct layout *l = layout_by_name("v5.14");
	struct btf *base = btf__new_empty(), *split;
	struct extract_result r;
	struct elf_spec s = { .ntables = 0 };
	uint32_t size, base_size;
	const void *base_data;

	(void)state;
	assert_true(btf__add_int(base, "unsigned int", 4, 0) > 0);
	assert_true(btf__add_str(base, "guest_rip") > 0);
	split = make_btf(btf__new_empty_split(base), l, 0);
	s.btf = btf__raw_data(split, &size);
	s.btf_size = size;
	base_data = btf__raw_data(base, &base_size);
	assert_int_equal(extract(&s, NULL, 0, &r), NST_BAD_INPUT);
	assert_non_null(strstr(r.btf.note, "--btf-base"));
	assert_int_equal(extract(&s, base_data, base_size, &r), NST_OK);
	assert_ptr_equal(r.equal, l);
	assert_int_equal(extract(&s, "nonsense", 8, &r), NST_BAD_INPUT);
	btf__free(split);
	btf__free(base);
}

static void disagreement_is_told(void **state)
{
	const struct layout *l = layout_by_name("v5.14");
	struct btf *btf = make_btf(btf__new_empty(), l, 1);
	struct table_spec t = make_table("vmcs12_field_offsets", l, false);
	struct elf_spec s = { .tables = &t, .ntables = 1 };
	struct extract_result r;
	uint32_t size;

	(void)state;
	s.btf = btf__raw_data(btf, &size);
	s.btf_size = size;
	assert_int_equal(extract(&s, NULL, 0, &r), NST_OK);
	assert_true(r.disagree);
	assert_int_equal(r.nnotes, 1);
	assert_string_equal(r.note[0], "GUEST_RIP: the table says 544, BTF says "
			    "545");
	assert_ptr_equal(r.equal, l); /* KVM reads the table */
	btf__free(btf);
	free(t.entries);
}

static uint8_t *read_self(size_t *size)
{
	FILE *f = fopen("/proc/self/exe", "rb");
	uint8_t *data = malloc(64u << 20);

	assert_non_null(f);
	assert_non_null(data);
	*size = fread(data, 1, 64u << 20, f);
	fclose(f);
	return data;
}

static void dwarf_is_read(void **state)
{
	struct extract_input in = { 0 };
	struct extract_result r;
	struct nst_error e;
	uint8_t *self = read_self(&in.size);

	(void)state;
	in.image = self;
	assert_int_equal(layout_extract(&in, &r, &e), NST_OK);
	assert_true(r.table.there);
	assert_int_equal(r.table.fields, 4);
	if (!r.dwarf.there) { /* built without -g */
		free(self);
		skip();
	}
	assert_int_equal(r.dwarf.fields, 4);
	assert_int_equal(r.dwarf.size, sizeof(struct vmcs12));
	assert_int_equal(r.dwarf.offset[VMCS_IDX_HOST_TR_SELECTOR], 60);
	assert_false(r.disagree);
	assert_int_equal(r.layout.size, sizeof(struct vmcs12));
	/* The same program with another table. */
	uint8_t *at = memmem(self, in.size, vmcs12_field_offsets,
			     sizeof vmcs12_field_offsets);
	assert_non_null(at);
	at[2 * ROL6(VMCS_GUEST_RIP)] += 100;
	assert_int_equal(layout_extract(&in, &r, &e), NST_OK);
	assert_true(r.disagree);
	assert_string_equal(r.note[r.nnotes - 1], "GUEST_RIP: the table says "
			    "148, DWARF says 48");
	free(self);
}

/* Cut and damaged files end in an error, never in a crash. */
static void damaged_files_are_survived(void **state)
{
	const struct layout *l = layout_by_name("v5.14");
	struct btf *btf = make_btf(btf__new_empty(), l, 0);
	struct table_spec t = make_table("vmcs12_field_offsets", l, false);
	struct elf_spec s = { .tables = &t, .ntables = 1 };
	struct elf_file f;
	uint64_t seed = 1;
	uint32_t size;

	(void)state;
	s.btf = btf__raw_data(btf, &size);
	s.btf_size = size;
	f = make_elf(&s);
	for (unsigned k = 0; k < 3000; k++) {
		uint8_t *copy = malloc(f.size);
		struct extract_input in = { copy, f.size, NULL, 0 };
		struct extract_result r;

		memcpy(copy, f.data, f.size);
		if (k < 200)
			in.size = f.size * k / 200;
		for (unsigned n = 0; k >= 200 && n < 4; n++) {
			size_t at;

			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			/* Headers rather than the table. */
			at = n & 1 ? (seed >> 33) % 64 : f.size - 1 -
				(seed >> 33) % (6 * sizeof(Elf64_Shdr));
			copy[at] = (uint8_t)(seed >> 17);
		}
		layout_extract(&in, &r, NULL);
		free(copy);
	}
	free(f.data);
	btf__free(btf);
	free(t.entries);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_table_is_read),
		cmocka_unit_test(the_filled_table_is_preferred),
		cmocka_unit_test(unknown_layouts_are_said_to_be),
		cmocka_unit_test(senseless_tables_are_refused),
		cmocka_unit_test(btf_is_read),
		cmocka_unit_test(a_modules_btf_needs_its_base),
		cmocka_unit_test(disagreement_is_told),
		cmocka_unit_test(dwarf_is_read),
		cmocka_unit_test(damaged_files_are_survived),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
