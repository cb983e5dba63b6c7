/* extract.h: a vmcs12 layout out of a kernel's own binary.
 *
 * Three witnesses, each of which may be missing: KVM's table of offsets, found
 * by its symbol; struct vmcs12 as BTF has it; and as DWARF has it.
 *
 * The table is u16[], by encoding (to 4.15) or by encoding rotated left by six
 * (from 4.16); which, the table itself shows.  Symbols: vmcs_field_to_offset_table
 * (to 5.15), vmcs12_field_offsets (later), kvm_supported_vmcs12_field_offsets
 * (7.0 on, where the former is filled only when the module loads).
 * Source: arch/x86/kvm/vmx/vmcs12.c and its predecessors in vmx.c.
 */
#ifndef NSTATE_LAYOUTS_EXTRACT_H
#define NSTATE_LAYOUTS_EXTRACT_H

#include "layouts/error.h"
#include "layouts/layouts.h"

#pragma GCC visibility push(default)

enum { EXTRACT_NOTES = 16 };

/* What one witness says. */
struct extract_view {
	bool there;
	uint16_t offset[VMCS_FIELD_COUNT];
	unsigned fields;
	unsigned size;         /* of the struct; 0: it does not say */
	char note[160];        /* why it is not there, or how it was read */
};

struct extract_result {
	struct layout layout;  /* named "extracted" */
	const struct layout *equal; /* the built-in layout with these offsets */
	struct extract_view table, btf, dwarf;
	char symbol[48];       /* of the table that was used */
	bool rotated;          /* indexed by the encoding rotated left by 6 */
	/* What one should know: fields outside of the catalogue, where the
	 * witnesses differ, tables that are filled at run time only. */
	unsigned nnotes, more; /* more: notes that there was no room for */
	char note[EXTRACT_NOTES][160];
	bool disagree;
};

struct extract_input {
	const void *image;     /* ELF: module or vmlinux, already unpacked */
	size_t size;
	const void *base;      /* BTF of the kernel proper: ELF with .BTF, or raw
	                        * BTF; NULL: none.  A module's BTF needs it. */
	size_t base_size;
};

/* NST_BAD_INPUT where no witness is there.  Where they disagree, the table wins
 * (KVM itself reads it) and disagree is set. */
enum nst_status layout_extract(const struct extract_input *in,
			       struct extract_result *out, struct nst_error *e);

/* For the files of the implementation. */
void extract_note(struct extract_result *r, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
/* Takes a member of struct vmcs12 at byte `at`, if it is a field. */
void extract_member(struct extract_result *r, struct extract_view *v,
		    const char *name, unsigned at, unsigned size);
/* A file without a name that holds data; -1 where there is no memory. */
int extract_memory_file(const void *data, size_t size);
void extract_btf(const struct extract_input *in, struct extract_result *r);
void extract_dwarf(const struct extract_input *in, struct extract_result *r);

#pragma GCC visibility pop

#endif
