/* decode.h: decoding that needs more than one field, and the text builder that
 * the decoders share.  vmcs.h has the rest. */
#ifndef NSTATE_LAYOUTS_DECODE_H
#define NSTATE_LAYOUTS_DECODE_H

#include "layouts/layouts.h"

#pragma GCC visibility push(default)

/* Text that grows in a caller's buffer and is cut where it ends. */
struct text {
	char *buf;
	size_t len, used;
};

/* Appends, after the separator unless it is the first. */
void text_add(struct text *t, const char *separator, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* Exit qualification (SDM volume 3, "Basic VM-Exit Information") of an exit for
 * that basic reason; empty where the number says all. */
const char *vmx_qualification_decode(unsigned basic_reason, uint64_t value,
				     char *buf, size_t len);

/* VM-exit instruction information (SDM volume 3, "Information for VM Exits Due to
 * Instruction Execution"); empty for reasons that leave it undefined. */
const char *vmx_insn_info_decode(unsigned basic_reason, uint32_t value,
				 char *buf, size_t len);

/* Decodes the field of a whole page, whose exit reason and layout tell more than
 * the value alone. */
const char *vmcs_page_decode(const struct layout *l, const void *page, int idx,
			     char *buf, size_t len);

/* Do the page's controls make this field mean something (its gate)? */
bool vmcs_field_in_use(const struct layout *l, const void *page, int idx);

/* Bits of a format that the SDM defines, those that are always 1 included. */
uint64_t vmcs_known_bits(enum vmcs_format format);
/* The default1 or fixed-1 bits of a format. */
uint64_t vmcs_default1(enum vmcs_format format);

#pragma GCC visibility pop

#endif
