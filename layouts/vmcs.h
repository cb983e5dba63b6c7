/* vmcs.h: what a VMCS field is.
 *
 * Everything here comes from vmcs_fields.def, the one list of VMCS fields
 * (Intel SDM volume 3, appendix B).  A field is named by its encoding; its
 * index in the list (enum vmcs_index, VMCS_IDX_GUEST_RIP...) is only a dense
 * number for tables and never leaves the program.
 */
#ifndef NSTATE_LAYOUTS_VMCS_H
#define NSTATE_LAYOUTS_VMCS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(default)

#define VMCS12_REVISION 0x11e57ed0u
#define VMCS12_SIZE 4096u

/* Encodings: VMCS_GUEST_RIP = 0x681e and so on. */
enum vmcs_encoding {
#define F(encoding, NAME, ...) VMCS_##NAME = encoding,
#include "layouts/vmcs_fields.def"
#undef F
};

enum vmcs_index {
#define F(encoding, NAME, ...) VMCS_IDX_##NAME,
#include "layouts/vmcs_fields.def"
#undef F
	VMCS_FIELD_COUNT
};

/* SDM appendix B, table B-1: bits 14:13, 11:10, 9:1 and 0 of an encoding. */
enum vmcs_width { VMCS_W16, VMCS_W64, VMCS_W32, VMCS_WNATURAL };
enum vmcs_type { VMCS_CONTROL, VMCS_READ_ONLY, VMCS_GUEST, VMCS_HOST };

static inline enum vmcs_width vmcs_width(uint32_t enc)
{
	return (enum vmcs_width)(enc >> 13 & 3);
}
static inline enum vmcs_type vmcs_type(uint32_t enc)
{
	return (enum vmcs_type)(enc >> 10 & 3);
}
static inline unsigned vmcs_enc_index(uint32_t enc)
{
	return enc >> 1 & 0x1ff;
}
/* The high half of a 64-bit field; only those fields have one. */
static inline bool vmcs_is_high(uint32_t enc)
{
	return enc & 1;
}
/* Bytes that a field takes in vmcs12 (natural width is always 8). */
static inline unsigned vmcs_bytes(uint32_t enc)
{
	static const uint8_t bytes[4] = { 2, 8, 4, 8 };
	return bytes[vmcs_width(enc)];
}

/* How a value is shown and decoded. */
enum vmcs_format {
	VF_HEX, VF_DEC, VF_ADDR, VF_SELECTOR, VF_ACCESS_RIGHTS,
	VF_PIN_CTLS, VF_PROC_CTLS, VF_PROC2_CTLS, VF_PROC3_CTLS,
	VF_EXIT_CTLS, VF_EXIT2_CTLS, VF_ENTRY_CTLS,
	VF_CR0, VF_CR3, VF_CR4, VF_EFER, VF_PAT, VF_RFLAGS, VF_DEBUGCTL, VF_DR7,
	VF_EXIT_REASON, VF_EXIT_QUAL, VF_INTR_INFO, VF_INSN_ERROR, VF_INSN_INFO,
	VF_INTERRUPTIBILITY, VF_ACTIVITY, VF_PENDING_DBG, VF_EPTP,
	VF_EXCEPTION_BITMAP, VF_VMFUNC_CTLS,
	VF_COUNT
};

struct vmcs_field {
	uint16_t encoding;
	uint8_t format;          /* enum vmcs_format */
	const char *name;        /* "GUEST_RIP", as in arch/x86/include/asm/vmx.h */
	const char *sdm_name;    /* "Guest RIP" */
	const char *kernel_name; /* member of struct vmcs12, or NULL */
	const char *gate;        /* the control that makes it meaningful, or NULL:
	                          * "secondary:enable EPT" */
};

extern const struct vmcs_field vmcs_fields[VMCS_FIELD_COUNT];

/* Index of the field with this encoding (a high half finds its field), or -1:
 * no such field, or reserved bits set.  O(1). */
int vmcs_field_index(uint32_t encoding);

/* By name ("GUEST_RIP", any case, "guest_rip", "Guest RIP") or encoding in
 * text ("0x681e").  Returns the index or -1. */
int vmcs_field_lookup(const char *text);

/* Writes a value's decoded form ("PE MP NE PG", "EPT violation (48)") into
 * buf; empty where the number says all.  Returns buf. */
const char *vmcs_field_decode(int index, uint64_t value, char *buf, size_t len);

/* Name of one bit of a control, CR0, ... field, or NULL. */
const char *vmcs_bit_name(enum vmcs_format format, unsigned bit);

const char *vmx_exit_reason_name(unsigned basic_reason); /* or NULL */
int vmx_exit_reason_lookup(const char *text);            /* or -1 */
const char *vmx_insn_error_name(unsigned number);        /* or NULL */

#pragma GCC visibility pop

#endif
