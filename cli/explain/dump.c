/* dump.c: reads dump_vmcs()'s text back into fields; dump.def has its lines. */
#include "cli/explain/dump.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#define MOST_FIELDS 7
static const struct dump_row {
	enum dump_section section;
	const char *format;
	int field[MOST_FIELDS + 1];
} rows[] = {
#define PICK(_1, _2, _3, _4, _5, _6, _7, name, ...) name
#define F1(a) VMCS_IDX_##a
#define F2(a, ...) VMCS_IDX_##a, F1(__VA_ARGS__)
#define F3(a, ...) VMCS_IDX_##a, F2(__VA_ARGS__)
#define F4(a, ...) VMCS_IDX_##a, F3(__VA_ARGS__)
#define F5(a, ...) VMCS_IDX_##a, F4(__VA_ARGS__)
#define F6(a, ...) VMCS_IDX_##a, F5(__VA_ARGS__)
#define F7(a, ...) VMCS_IDX_##a, F6(__VA_ARGS__)
#define FIELDS(...) PICK(__VA_ARGS__, F7, F6, F5, F4, F3, F2, F1, )(__VA_ARGS__)
#define L(section, format, ...) \
	{ SECTION_##section, format, { FIELDS(__VA_ARGS__), -1 } },
#include "cli/explain/dump.def"
#undef L
};

/* "<3>[  123.456789] kvm_intel: ", "Nov 23 07:00:00 host kernel: [ 1.2] KVM: ",
 * "(XEN) ": whatever ends before the first word that is the kernel's own. */
static const char *const prefixes[] = { "kernel: ", "] ", "kvm_intel: ", "kvm: ",
					"KVM: ", "(XEN) ", "vmx: " };

const char *dump_skip_prefix(const char *line)
{
	const char *best = line, *at;

	for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
		at = strstr(best, prefixes[i]);
		/* A driver's name stands at the beginning only. */
		if (!at || (isalpha((unsigned char)*prefixes[i]) && at != best &&
			    strcmp(prefixes[i], "kernel: ")))
			continue;
		best = at + strlen(prefixes[i]);
		while (*best == ' ')
			best++;
	}
	while (isspace((unsigned char)*best))
		best++;
	return best;
}

bool dump_begins(const char *line)
{
	return strstr(line, "*** Guest State ***");
}

bool registers_begin(const char *line)
{
	unsigned long long v;

	return sscanf(line, "EAX= %llx EBX= %llx", &v, &v) == 2 ||
	       sscanf(line, "RAX= %llx RBX= %llx", &v, &v) == 2;
}

static void set(struct dump *d, int field, uint64_t value)
{
	if (!layout_has(d->l, field))
		return;
	layout_set(d->l, d->page, field, value);
	d->fields += !d->known[field];
	d->known[field] = true;
}

void dump_start(struct dump *d, const struct layout *l, unsigned line,
		bool registers)
{
	memset(d, 0, sizeof *d);
	d->l = l;
	d->first_line = line;
	d->registers = registers;
	/* Not printed; ~0 is what all but nested hypervisors have. */
	layout_set(l, d->page, VMCS_IDX_VMCS_LINK_POINTER, ~0ull);
}

static bool section_line(struct dump *d, const char *line)
{
	if (strncmp(line, "*** ", 4))
		return false;
	d->section = strstr(line, "Guest") ? SECTION_GUEST :
		strstr(line, "Host") ? SECTION_HOST :
		strstr(line, "Control") ? SECTION_CONTROL : SECTION_NONE;
	return true;
}

static bool vmcs_line(struct dump *d, const char *line)
{
	unsigned long long v[MOST_FIELDS], best[MOST_FIELDS];
	const struct dump_row *row = NULL;
	int most = 0;

	/* Where two forms begin alike, the one that takes more is right. */
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		int n;

		if (rows[i].section != d->section)
			continue;
		n = sscanf(line, rows[i].format, &v[0], &v[1], &v[2], &v[3],
			   &v[4], &v[5], &v[6]);
		if (n <= most)
			continue;
		most = n;
		row = &rows[i];
		memcpy(best, v, sizeof best);
	}
	for (int k = 0; k < most; k++)
		set(d, row->field[k], best[k]);
	return row;
}

/* -- QEMU's register dump ------------------------------------------------------------ */
static bool segment_line(struct dump *d, const char *line)
{
	static const char names[][4] = { "ES", "CS", "SS", "DS", "FS", "GS", "LDT",
					 "TR" };
	unsigned long long selector, base, limit, flags;
	char name[4];

	if (sscanf(line, "%3[A-Z] = %llx %llx %llx %llx", name, &selector, &base,
		   &limit, &flags) != 5)
		return false;
	for (uint32_t s = 0; s < 8; s++) {
		uint32_t ar = (uint32_t)(flags >> 8) & 0xf0ff;
		if (strcmp(name, names[s]))
			continue;
		/* QEMU clears P of an unusable segment. */
		if (!(ar & 0x80))
			ar |= 1u << 16;
		set(d, vmcs_field_index(VMCS_GUEST_ES_SELECTOR + 2 * s), selector);
		set(d, vmcs_field_index(VMCS_GUEST_ES_LIMIT + 2 * s), limit);
		set(d, vmcs_field_index(VMCS_GUEST_ES_AR_BYTES + 2 * s), ar);
		set(d, vmcs_field_index(VMCS_GUEST_ES_BASE + 2 * s), base);
		return true;
	}
	return false;
}

static bool word(struct dump *d, const char *line, const char *name, int field)
{
	const char *at = strstr(line, name);
	unsigned long long v;

	if (!at || (at != line && isalnum((unsigned char)at[-1])) ||
	    sscanf(at + strlen(name), "%llx", &v) != 1)
		return false;
	set(d, field, v);
	return true;
}

static bool register_line(struct dump *d, const char *line)
{
	static const struct { const char *name; int field; } words[] = {
		{ "ESP=", VMCS_IDX_GUEST_RSP }, { "RSP=", VMCS_IDX_GUEST_RSP },
		{ "EIP=", VMCS_IDX_GUEST_RIP }, { "RIP=", VMCS_IDX_GUEST_RIP },
		{ "EFL=", VMCS_IDX_GUEST_RFLAGS },
		{ "RFL=", VMCS_IDX_GUEST_RFLAGS },
		{ "CR0=", VMCS_IDX_GUEST_CR0 }, { "CR3=", VMCS_IDX_GUEST_CR3 },
		{ "CR4=", VMCS_IDX_GUEST_CR4 }, { "DR7=", VMCS_IDX_GUEST_DR7 },
		{ "EFER=", VMCS_IDX_GUEST_IA32_EFER },
	};
	unsigned long long base, limit;
	bool any = false;

	if (segment_line(d, line))
		return true;
	if (sscanf(line, "GDT= %llx %llx", &base, &limit) == 2) {
		set(d, VMCS_IDX_GUEST_GDTR_BASE, base);
		set(d, VMCS_IDX_GUEST_GDTR_LIMIT, limit);
		return true;
	}
	if (sscanf(line, "IDT= %llx %llx", &base, &limit) == 2) {
		set(d, VMCS_IDX_GUEST_IDTR_BASE, base);
		set(d, VMCS_IDX_GUEST_IDTR_LIMIT, limit);
		return true;
	}
	for (size_t i = 0; i < sizeof words / sizeof *words; i++)
		any |= word(d, line, words[i].name, words[i].field);
	return any;
}

/* "MSR guest autoload:" and its entries, "  0: msr=0x... value=0x...". */
static bool msr_line(struct dump *d, const char *line)
{
	unsigned long long index, value;
	unsigned n;

	if (!strncmp(line, "MSR ", 4)) {
		d->in_msrs = strstr(line, "guest autoload");
		return true;
	}
	if (sscanf(line, "%u: msr= %llx value= %llx", &n, &index, &value) != 3)
		return false;
	if (d->in_msrs && n == d->nmsrs && n < DUMP_MSRS) {
		d->msr[n].index = (uint32_t)index;
		d->msr[n].value = value;
		d->nmsrs++;
	}
	return true;
}

bool dump_line(struct dump *d, const char *line)
{
	if (d->registers)
		return register_line(d, line);
	if (msr_line(d, line))
		return true;
	return section_line(d, line) || vmcs_line(d, line);
}

#define PROC_BASE 0x84006172u  /* with secondary controls */
#define UNRESTRICTED_EPT 0x82u
#define ENTRY_BASE 0x11fbu
#define LOAD_EFER 0x8000u
#define IA32E 0x200u

/* QEMU shows no controls: those of every KVM with an unrestricted guest. */
void dump_finish(struct dump *d)
{
	uint64_t efer = layout_get(d->l, d->page, VMCS_IDX_GUEST_IA32_EFER);
	uint64_t entry = ENTRY_BASE;

	if (!d->registers)
		return;
	if (d->known[VMCS_IDX_GUEST_IA32_EFER])
		entry |= LOAD_EFER | (efer & 0x400 ? IA32E : 0);
	set(d, VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL, PROC_BASE);
	set(d, VMCS_IDX_SECONDARY_VM_EXEC_CONTROL, UNRESTRICTED_EPT);
	set(d, VMCS_IDX_VM_ENTRY_CONTROLS, entry);
	/* QEMU adds VMXE to neither: KVM sets it, and NE, under the guest. */
	set(d, VMCS_IDX_GUEST_CR4,
	    layout_get(d->l, d->page, VMCS_IDX_GUEST_CR4) | 0x2000);
	set(d, VMCS_IDX_GUEST_CR0,
	    layout_get(d->l, d->page, VMCS_IDX_GUEST_CR0) | 0x20);
}
