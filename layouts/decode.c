/* decode.c: what a VMCS field's value means, in the SDM's words.
 *
 * Owns the decoding of one field's value by its format; what depends on the exit
 * reason (qualification, instruction information) is in decode_exit.c.
 */
#include "layouts/decode.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#define ARRAY_LEN(a) (sizeof(a) / sizeof(a)[0])

static const char *const bit_names[VF_COUNT][64] = {
#define B(format, bit, name) [VF_##format][bit] = name,
#include "layouts/bit_names.def"
#undef B
};

/* Reserved bits that say nothing when they are 1. */
static const uint64_t always_one[VF_COUNT] = {
#define DEFAULT1(format, mask) [VF_##format] = mask,
#define FIXED1(format, mask) [VF_##format] = mask,
#include "layouts/bit_names.def"
#undef DEFAULT1
#undef FIXED1
};

static const char *const exit_reasons[] = {
#define R(number, NAME, text) [number] = text,
#include "layouts/exit_reasons.def"
#undef R
};

static const char *const exit_reason_ids[] = {
#define R(number, NAME, text) [number] = #NAME,
#include "layouts/exit_reasons.def"
#undef R
};

static const char *const insn_errors[] = {
#define E(number, text) [number] = text,
#include "layouts/insn_errors.def"
#undef E
};

const char *vmcs_bit_name(enum vmcs_format format, unsigned bit)
{
	return format < VF_COUNT && bit < 64 ? bit_names[format][bit] : NULL;
}

uint64_t vmcs_default1(enum vmcs_format format)
{
	return format < VF_COUNT ? always_one[format] : 0;
}

uint64_t vmcs_known_bits(enum vmcs_format format)
{
	uint64_t mask = vmcs_default1(format);

	for (unsigned bit = 0; bit < 64; bit++)
		if (vmcs_bit_name(format, bit))
			mask |= 1ull << bit;
	return mask;
}

const char *vmx_exit_reason_name(unsigned basic)
{
	return basic < ARRAY_LEN(exit_reasons) ? exit_reasons[basic] : NULL;
}

int vmx_exit_reason_lookup(const char *text)
{
	char *end;
	unsigned long n;

	if (!strncasecmp(text, "EXIT_REASON_", 12))
		text += 12;
	for (size_t i = 0; i < ARRAY_LEN(exit_reasons); i++)
		if (exit_reasons[i] && (!strcasecmp(text, exit_reasons[i]) ||
					!strcasecmp(text, exit_reason_ids[i])))
			return (int)i;
	if (!isdigit((unsigned char)*text))
		return -1;
	n = strtoul(text, &end, 0);
	return !*end && n < ARRAY_LEN(exit_reasons) && exit_reasons[n] ?
		(int)n : -1;
}

const char *vmx_insn_error_name(unsigned number)
{
	return number < ARRAY_LEN(insn_errors) ? insn_errors[number] : NULL;
}

void text_add(struct text *t, const char *separator, const char *format, ...)
{
	va_list ap;
	int n;

	if (t->used && t->used + 1 < t->len)
		t->used += (size_t)snprintf(t->buf + t->used, t->len - t->used,
					    "%s", separator);
	if (t->used + 1 >= t->len) {
		t->used = t->len ? t->len - 1 : 0;
		return;
	}
	va_start(ap, format);
	n = vsnprintf(t->buf + t->used, t->len - t->used, format, ap);
	va_end(ap);
	if (n > 0)
		t->used += (size_t)n;
	if (t->used >= t->len)
		t->used = t->len - 1;
}

/* Set bits by name; parts of wider fields ("LEN0.1") are the caller's. */
static void add_bits(struct text *t, enum vmcs_format format, uint64_t value,
		     const char *separator)
{
	value &= ~(always_one[format]);
	for (unsigned bit = 0; bit < 64; bit++) {
		const char *name = bit_names[format][bit];

		if (!(value >> bit & 1) || (name && strchr(name, '.')))
			continue;
		if (name)
			text_add(t, separator, "%s", name);
		else
			text_add(t, separator, "bit %u", bit);
	}
}

/* A control that is 1 by default and has a name is worth telling. */
static void add_controls(struct text *t, enum vmcs_format format, uint64_t value)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		const char *name = bit_names[format][bit];

		if (!(value >> bit & 1))
			continue;
		if (name)
			text_add(t, ", ", "%s", name);
		else if (!(always_one[format] >> bit & 1))
			text_add(t, ", ", "bit %u", bit);
	}
}

static void add_selector(struct text *t, uint64_t v)
{
	if (!(v & ~3ull))
		text_add(t, "", "null");
	else
		text_add(t, "", "%s entry %u", v & 4 ? "LDT" : "GDT",
			 (unsigned)(v >> 3 & 0x1fff));
	if (v & 3)
		text_add(t, ", ", "RPL %u", (unsigned)(v & 3));
}

static const char *const system_types[16] = {
	"type 0", "16-bit TSS", "LDT", "busy 16-bit TSS", "16-bit call gate",
	"task gate", "16-bit interrupt gate", "16-bit trap gate", "type 8",
	"TSS", "type 10", "busy TSS", "call gate", "type 13",
	"interrupt gate", "trap gate",
};

/* SDM volume 3, "Guest Register State": table of the access-rights format. */
static void add_access_rights(struct text *t, uint64_t v)
{
	if (v & 0x10000) {
		text_add(t, "", "unusable");
		return;
	}
	if (!(v & 0x10))
		text_add(t, "", "%s", system_types[v & 15]);
	else if (v & 8)
		text_add(t, "", "code%s%s%s", v & 4 ? " conforming" : "",
			 v & 2 ? " readable" : "", v & 1 ? " accessed" : "");
	else
		text_add(t, "", "data%s%s%s", v & 4 ? " expand-down" : "",
			 v & 2 ? " writable" : "", v & 1 ? " accessed" : "");
	text_add(t, ", ", "DPL %u", (unsigned)(v >> 5 & 3));
	if (!(v & 0x80))
		text_add(t, ", ", "not present");
	if (v & 0x1000)
		text_add(t, ", ", "AVL");
	if (v & 0x2000)
		text_add(t, ", ", "L");
	if (v & 0x4000)
		text_add(t, ", ", "D/B");
	if (v & 0x8000)
		text_add(t, ", ", "G");
	if (v & ~0x1f0ffull)
		text_add(t, ", ", "reserved bits %#llx",
			 (unsigned long long)v & ~0x1f0ffull);
}

static const char *const memory_types[8] = {
	"UC", "WC", "type 2", "type 3", "WT", "WP", "WB", "UC-",
};

static void add_pat(struct text *t, uint64_t v)
{
	for (unsigned i = 0; i < 8; i++) {
		unsigned type = v >> 8 * i & 0xff;

		if (type < 8)
			text_add(t, " ", "%s", memory_types[type]);
		else
			text_add(t, " ", "type %u", type);
	}
}

/* SDM volume 3, "Extended-Page-Table Pointer (EPTP)". */
static void add_eptp(struct text *t, uint64_t v)
{
	if (!v)
		return;
	text_add(t, "", "%s, %u-level", memory_types[v & 7],
		 (unsigned)(v >> 3 & 7) + 1);
	if (v & 0x40)
		text_add(t, ", ", "accessed and dirty flags");
	if (v & 0x80)
		text_add(t, ", ", "supervisor shadow stack");
	text_add(t, ", ", "root at %#llx",
		 (unsigned long long)v & 0xffffffffff000ull);
}

static const char *const event_types[8] = {
	"external interrupt", "reserved type 1", "NMI", "hardware exception",
	"software interrupt", "privileged software exception",
	"software exception", "other event",
};

/* SDM volume 3, "VM-Entry Controls for Event Injection" and the two exit-side
 * fields of the same format. */
static void add_intr_info(struct text *t, uint64_t v)
{
	unsigned vector = v & 0xff, type = v >> 8 & 7;
	const char *name = vector < 64 && (type == 3 || type == 5 || type == 6) ?
		bit_names[VF_EXCEPTION_BITMAP][vector] : NULL;

	if (!(v >> 31 & 1)) {
		if (v)
			text_add(t, "", "not valid");
		return;
	}
	text_add(t, "", "%s", event_types[type]);
	if (name)
		text_add(t, " ", "%s", name);
	else if (type == 7)
		text_add(t, " ", "%s", vector ? "" : "pending MTF");
	else if (type != 2)
		text_add(t, " ", "%u", vector);
	if (v >> 11 & 1)
		text_add(t, ", ", "error code");
	if (v >> 12 & 1)
		text_add(t, ", ", "NMI unblocking due to IRET");
	if (v >> 13 & 1)
		text_add(t, ", ", "nested exception");
}

static void add_exit_reason(struct text *t, uint64_t v)
{
	unsigned basic = v & 0xffff;
	const char *name = vmx_exit_reason_name(basic);

	if (name)
		text_add(t, "", "%s (%u)", name, basic);
	else
		text_add(t, "", "unknown (%u)", basic);
	add_bits(t, VF_EXIT_REASON, v & ~0xffffull, ", ");
}

static void add_rflags(struct text *t, uint64_t v)
{
	add_bits(t, VF_RFLAGS, v, " ");
	if (v >> 12 & 3)
		text_add(t, " ", "IOPL %u", (unsigned)(v >> 12 & 3));
}

/* SDM volume 3, "Debug Control Register (DR7)". */
static void add_dr7(struct text *t, uint64_t v)
{
	static const char *const rw[4] = { "exec", "write", "I/O", "r/w" };
	static const unsigned bytes[4] = { 1, 2, 8, 4 };

	add_bits(t, VF_DR7, v, " ");
	for (unsigned i = 0; i < 4; i++) {
		unsigned ctl = v >> (16 + 4 * i) & 15;

		if (v >> 2 * i & 3)
			text_add(t, ", ", "%u: %s %u", i, rw[ctl & 3],
				 bytes[ctl >> 2]);
	}
}

static void add_activity(struct text *t, uint64_t v)
{
	static const char *const names[] = {
		"active", "HLT", "shutdown", "wait-for-SIPI",
	};

	if (v < ARRAY_LEN(names))
		text_add(t, "", "%s", names[v]);
	else
		text_add(t, "", "unknown");
}

static void add_insn_error(struct text *t, uint64_t v)
{
	const char *name = vmx_insn_error_name((unsigned)v);

	if (v)
		text_add(t, "", "%s", v <= UINT32_MAX && name ? name : "unknown");
}

const char *vmcs_field_decode(int index, uint64_t v, char *buf, size_t len)
{
	enum vmcs_format format = (enum vmcs_format)vmcs_fields[index].format;
	struct text t = { buf, len, 0 };

	if (len)
		*buf = '\0';
	switch (format) {
	case VF_SELECTOR: add_selector(&t, v); break;
	case VF_ACCESS_RIGHTS: add_access_rights(&t, v); break;
	case VF_PAT: add_pat(&t, v); break;
	case VF_EPTP: add_eptp(&t, v); break;
	case VF_INTR_INFO: add_intr_info(&t, v); break;
	case VF_EXIT_REASON: add_exit_reason(&t, v); break;
	case VF_RFLAGS: add_rflags(&t, v); break;
	case VF_DR7: add_dr7(&t, v); break;
	case VF_ACTIVITY: add_activity(&t, v); break;
	case VF_INSN_ERROR: add_insn_error(&t, v); break;
	case VF_ADDR:
		if (v == ~0ull)
			text_add(&t, "", "none");
		break;
	case VF_PIN_CTLS: case VF_PROC_CTLS: case VF_PROC2_CTLS:
	case VF_PROC3_CTLS: case VF_EXIT_CTLS: case VF_EXIT2_CTLS:
	case VF_ENTRY_CTLS: case VF_VMFUNC_CTLS:
		add_controls(&t, format, v);
		break;
	case VF_INTERRUPTIBILITY: case VF_PENDING_DBG:
		add_bits(&t, format, v, ", ");
		break;
	case VF_CR0: case VF_CR4: case VF_EFER: case VF_DEBUGCTL:
	case VF_EXCEPTION_BITMAP:
		/* All ones is a mask or a wish, not a list. */
		if (v != ~0ull && v != UINT32_MAX)
			add_bits(&t, format, v, " ");
		else
			text_add(&t, "", "all");
		break;
	case VF_HEX: case VF_DEC: case VF_CR3: case VF_EXIT_QUAL:
	case VF_INSN_INFO: case VF_COUNT:
		break;
	}
	return buf;
}
