/* dump.h: a VMCS put together again from the text that a kernel or QEMU printed.
 *
 * Only what the text says is known; which fields those are is kept beside the
 * page, and a rule is judged only where it rests on known fields.
 */
#ifndef NSTATE_CLI_EXPLAIN_DUMP_H
#define NSTATE_CLI_EXPLAIN_DUMP_H

#include "cli/out.h"
#include "hvcore/vmx_checks.h"

enum dump_section { SECTION_NONE, SECTION_GUEST, SECTION_HOST, SECTION_CONTROL };

#define DUMP_MSRS 16
struct dump {
	const struct layout *l;
	uint8_t page[VMCS12_SIZE];
	bool known[VMCS_FIELD_COUNT];
	unsigned first_line;     /* where it begins, from 1 */
	unsigned fields;         /* known ones */
	bool registers;          /* QEMU's registers, not dump_vmcs() */
	enum dump_section section;
	/* "MSR guest autoload": the VM-entry MSR-load area of vmcs01 or vmcs02. */
	struct { uint32_t index; uint64_t value; } msr[DUMP_MSRS];
	unsigned nmsrs;
	bool in_msrs;            /* its lines are being read */
	uint32_t hardware_error; /* that stood beside it; 0: none */
};

/* The text of a line after the prefixes of dmesg, journals and drivers. */
const char *dump_skip_prefix(const char *line);

/* A new dump begins with this line. */
bool dump_begins(const char *line);
/* QEMU's register dump begins with this line. */
bool registers_begin(const char *line);
void dump_start(struct dump *d, const struct layout *l, unsigned line,
		bool registers);
/* Takes what the line says; false: it says nothing of a VMCS. */
bool dump_line(struct dump *d, const char *line);
/* The text is read: what follows from it is filled in. */
void dump_finish(struct dump *d);

/* Judges it and says what is broken; returns how many rules are. */
unsigned dump_judge(const struct dump *d, const struct vmx_check_ctx *cpu,
		    struct out *out);
/* The context to judge it in where no CPU is named: all that any CPU allows. */
void dump_any_cpu(const struct dump *d, struct vmx_caps *caps,
		  struct vmx_check_ctx *x);

#endif
