/* decode_exit.c: exit qualification and instruction information, whose meaning
 * depends on the exit reason. */
#include "layouts/decode.h"

#include <inttypes.h>
#include <stdio.h>

enum {
#define R(number, NAME, text) REASON_##NAME = number,
#include "layouts/exit_reasons.def"
#undef R
};

static const char *const gpr_names[16] = {
	"RAX", "RCX", "RDX", "RBX", "RSP", "RBP", "RSI", "RDI",
	"R8", "R9", "R10", "R11", "R12", "R13", "R14", "R15",
};
static const char *const segment_names[8] = {
	"ES", "CS", "SS", "DS", "FS", "GS", "segment 6", "segment 7",
};

static void add_cr_access(struct text *t, uint64_t q)
{
	unsigned cr = q & 15, type = q >> 4 & 3;
	const char *gpr = gpr_names[q >> 8 & 15];

	switch (type) {
	case 0: text_add(t, "", "MOV to CR%u from %s", cr, gpr); break;
	case 1: text_add(t, "", "MOV from CR%u to %s", cr, gpr); break;
	case 2: text_add(t, "", "CLTS"); break;
	default:
		text_add(t, "", "LMSW %#x%s", (unsigned)(q >> 16 & 0xffff),
			 q >> 6 & 1 ? " from memory" : "");
	}
}

static void add_dr_access(struct text *t, uint64_t q)
{
	text_add(t, "", "MOV %s DR%u, %s", q >> 4 & 1 ? "from" : "to",
		 (unsigned)(q & 7), gpr_names[q >> 8 & 15]);
}

static void add_io(struct text *t, uint64_t q)
{
	text_add(t, "", "%s%s%s port %#x, %u byte%s",
		 q >> 5 & 1 ? "REP " : "", q >> 3 & 1 ? "IN" : "OUT",
		 q >> 4 & 1 ? "S" : "", (unsigned)(q >> 16 & 0xffff),
		 (unsigned)(q & 7) + 1, q & 7 ? "s" : "");
	if (!(q >> 4 & 1))
		text_add(t, ", ", q >> 6 & 1 ? "immediate" : "DX");
}

static void add_permissions(struct text *t, const char *what, unsigned bits)
{
	text_add(t, ", ", "%s%c%c%c", what, bits & 1 ? 'r' : '-',
		 bits & 2 ? 'w' : '-', bits & 4 ? 'x' : '-');
}

static void add_ept_violation(struct text *t, uint64_t q)
{
	add_permissions(t, "access ", q & 7);
	add_permissions(t, "page allows ", q >> 3 & 7);
	if (q >> 6 & 1)
		text_add(t, ", ", "user-mode fetch allowed");
	if (!(q >> 7 & 1))
		text_add(t, ", ", "no guest-linear address");
	else
		text_add(t, ", ", q >> 8 & 1 ? "final translation" :
			 "during a guest page walk");
	if (q >> 12 & 1)
		text_add(t, ", ", "NMI unblocking due to IRET");
	if (q >> 13 & 1)
		text_add(t, ", ", "shadow-stack access");
	if (q >> 16 & 1)
		text_add(t, ", ", "asynchronous");
}

static void add_task_switch(struct text *t, uint64_t q)
{
	static const char *const by[4] = { "CALL", "IRET", "JMP", "task gate" };

	text_add(t, "", "to TSS %#x by %s", (unsigned)(q & 0xffff),
		 by[q >> 30 & 3]);
}

static void add_apic_access(struct text *t, uint64_t q)
{
	static const char *const types[16] = {
		"linear read", "linear write", "linear fetch",
		"linear access during event delivery", "monitoring", NULL, NULL,
		NULL, NULL, NULL, "guest-physical access during event delivery",
		NULL, NULL, NULL, NULL, "guest-physical access",
	};
	const char *type = types[q >> 12 & 15];

	text_add(t, "", "offset %#x, %s", (unsigned)(q & 0xfff),
		 type ? type : "reserved type");
}

static void add_entry_failure(struct text *t, uint64_t q)
{
	static const char *const why[5] = {
		NULL, NULL, "PDPTE loading", "NMI injection",
		"VMCS link pointer",
	};

	if (q < 5 && why[q])
		text_add(t, "", "%s", why[q]);
}

static void add_debug_exception(struct text *t, uint64_t q)
{
	for (unsigned i = 0; i < 4; i++)
		if (q >> i & 1)
			text_add(t, " ", "B%u", i);
	if (q >> 11 & 1)
		text_add(t, " ", "BLD");
	if (q >> 13 & 1)
		text_add(t, " ", "BD");
	if (q >> 14 & 1)
		text_add(t, " ", "BS");
	if (q >> 16 & 1)
		text_add(t, " ", "RTM");
}

const char *vmx_qualification_decode(unsigned reason, uint64_t q, char *buf,
				     size_t len)
{
	struct text t = { buf, len, 0 };

	if (len)
		*buf = '\0';
	switch (reason) {
	case REASON_CR_ACCESS: add_cr_access(&t, q); break;
	case REASON_DR_ACCESS: add_dr_access(&t, q); break;
	case REASON_IO_INSTRUCTION: add_io(&t, q); break;
	case REASON_EPT_VIOLATION: add_ept_violation(&t, q); break;
	case REASON_TASK_SWITCH: add_task_switch(&t, q); break;
	case REASON_APIC_ACCESS: add_apic_access(&t, q); break;
	case REASON_INVALID_STATE: add_entry_failure(&t, q); break;
	case REASON_MSR_LOAD_FAIL:
		text_add(&t, "", "entry %" PRIu64 " of the list", q);
		break;
	case REASON_APIC_WRITE:
		text_add(&t, "", "APIC offset %#x", (unsigned)(q & 0xfff));
		break;
	case REASON_EOI_INDUCED: case REASON_SIPI_SIGNAL:
		text_add(&t, "", "vector %u", (unsigned)(q & 0xff));
		break;
	case REASON_PML_FULL:
		if (q >> 12 & 1)
			text_add(&t, "", "NMI unblocking due to IRET");
		break;
	case REASON_INVLPG:
		text_add(&t, "", "linear address");
		break;
	}
	return buf;
}

/* The memory operand, as bits 1:0, 9:7 and 17:15 onward have it in every format
 * but that of INS and OUTS. */
static void add_operand(struct text *t, uint32_t v)
{
	static const unsigned address_size[8] = { 16, 32, 64 };

	text_add(t, ", ", "%s:[", segment_names[v >> 15 & 7]);
	if (!(v >> 27 & 1))
		text_add(t, "", "%s", gpr_names[v >> 23 & 15]);
	if (!(v >> 22 & 1))
		text_add(t, v >> 27 & 1 ? "" : "+", "%s*%u",
			 gpr_names[v >> 18 & 15], 1u << (v & 3));
	text_add(t, "", "%sdisplacement], %u-bit addresses",
		 v >> 27 & 1 && v >> 22 & 1 ? "" : "+",
		 address_size[v >> 7 & 7]);
}

static void add_descriptor_table(struct text *t, unsigned reason, uint32_t v)
{
	static const char *const gdtr[4] = { "SGDT", "SIDT", "LGDT", "LIDT" };
	static const char *const ldtr[4] = { "SLDT", "STR", "LLDT", "LTR" };
	const char *const *names = reason == REASON_GDTR_IDTR ? gdtr : ldtr;

	text_add(t, "", "%s", names[v >> 28 & 3]);
	if (reason == REASON_LDTR_TR && v >> 10 & 1)
		text_add(t, " ", "%s", gpr_names[v >> 3 & 15]);
	else
		add_operand(t, v);
}

const char *vmx_insn_info_decode(unsigned reason, uint32_t v, char *buf,
				 size_t len)
{
	struct text t = { buf, len, 0 };

	if (len)
		*buf = '\0';
	switch (reason) {
	case REASON_VMREAD: case REASON_VMWRITE:
		text_add(&t, "", "field in %s", gpr_names[v >> 28 & 15]);
		if (v >> 10 & 1)
			text_add(&t, ", ", "value in %s", gpr_names[v >> 3 & 15]);
		else
			add_operand(&t, v);
		break;
	case REASON_INVEPT: case REASON_INVVPID: case REASON_INVPCID:
		text_add(&t, "", "type in %s", gpr_names[v >> 28 & 15]);
		add_operand(&t, v);
		break;
	case REASON_GDTR_IDTR: case REASON_LDTR_TR:
		add_descriptor_table(&t, reason, v);
		break;
	case REASON_VMCLEAR: case REASON_VMPTRLD: case REASON_VMPTRST:
	case REASON_VMON: case REASON_XSAVES: case REASON_XRSTORS:
		add_operand(&t, v);
		break;
	case REASON_RDRAND: case REASON_RDSEED:
		text_add(&t, "", "%s, %s bits", gpr_names[v >> 3 & 15],
			 (v >> 11 & 3) == 0 ? "16" :
			 (v >> 11 & 3) == 1 ? "32" : "64");
		break;
	case REASON_TPAUSE: case REASON_UMWAIT: case REASON_LOADIWKEY:
		text_add(&t, "", "%s", gpr_names[v >> 3 & 15]);
		break;
	}
	return buf;
}

const char *vmcs_page_decode(const struct layout *l, const void *page, int idx,
			     char *buf, size_t len)
{
	uint64_t value = layout_get(l, page, idx);
	uint64_t reason = layout_get(l, page, VMCS_IDX_VM_EXIT_REASON) & 0xffff;
	uint64_t event = layout_get(l, page, VMCS_IDX_VM_EXIT_INTR_INFO);

	switch (vmcs_fields[idx].format) {
	case VF_EXIT_QUAL:
		/* #DB puts DR6's bits there, all other exceptions nothing. */
		if (reason == REASON_EXCEPTION_NMI &&
		    (event & 0x800007ff) == 0x80000301) {
			struct text t = { buf, len, 0 };

			if (len)
				*buf = '\0';
			add_debug_exception(&t, value);
			return buf;
		}
		return vmx_qualification_decode((unsigned)reason, value, buf,
						len);
	case VF_INSN_INFO:
		return vmx_insn_info_decode((unsigned)reason, (uint32_t)value,
					    buf, len);
	default:
		return vmcs_field_decode(idx, value, buf, len);
	}
}
