/* vmcs.c: finding a VMCS field by encoding or by name.
 *
 * Owns the tables made from vmcs_fields.def; what values mean is in decode.c.
 */
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "layouts/vmcs.h"

const struct vmcs_field vmcs_fields[VMCS_FIELD_COUNT] = {
#define F(enc, NAME, member, fmt, controls, sdm)                              \
	{ .encoding = enc, .format = fmt, .name = #NAME, .sdm_name = sdm,     \
	  .kernel_name = member, .gate = controls },
#include "layouts/vmcs_fields.def"
#undef F
};

/* What an encoding may have set, but for the access bit: width, type, index.
 * Bits 12 and 15 and all above are reserved. */
#define ENC_BITS 0x6ffeu
#define ENC_KEY(enc) (((enc) >> 13 & 3) << 11 | ((enc) >> 10 & 3) << 9 | \
		      ((enc) >> 1 & 0x1ff))

_Static_assert(VMCS_FIELD_COUNT < 255, "by_key holds index + 1 in a byte");

/* Index + 1, or 0 where there is no such field. */
static const uint8_t by_key[4 * 4 * 512] = {
#define F(enc, NAME, ...) [ENC_KEY(enc)] = VMCS_IDX_##NAME + 1,
#include "layouts/vmcs_fields.def"
#undef F
};

int vmcs_field_index(uint32_t encoding)
{
	if (encoding & ~(ENC_BITS | 1))
		return -1;
	if (vmcs_is_high(encoding) && vmcs_width(encoding) != VMCS_W64)
		return -1;
	return (int)by_key[ENC_KEY(encoding)] - 1;
}

/* Letters and digits only, lower case: "Guest RIP" and GUEST_RIP meet. */
static bool same_words(const char *a, const char *b)
{
	for (;;) {
		while (*a && !isalnum((unsigned char)*a))
			a++;
		while (*b && !isalnum((unsigned char)*b))
			b++;
		if (tolower((unsigned char)*a) != tolower((unsigned char)*b))
			return false;
		if (!*a)
			return true;
		a++;
		b++;
	}
}

int vmcs_field_lookup(const char *text)
{
	char *end;
	unsigned long enc;

	if (!*text)
		return -1;
	if (isdigit((unsigned char)*text)) {
		errno = 0;
		enc = strtoul(text, &end, 0);
		if (*end || errno || enc > UINT16_MAX)
			return -1;
		return vmcs_field_index((uint32_t)enc);
	}
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		const struct vmcs_field *f = &vmcs_fields[i];

		if (!strcasecmp(text, f->name) ||
		    (f->kernel_name && !strcasecmp(text, f->kernel_name)) ||
		    same_words(text, f->sdm_name))
			return i;
	}
	return -1;
}
