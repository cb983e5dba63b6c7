/* fuzz_layout_file.c: a layout that is accepted is sound, and survives being
 * written and read again. */
#include <stdlib.h>

#include "layouts/layout_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct layout l, back;
	struct nst_error e;
	char *text;
	size_t len;
	FILE *f;

	if (layout_parse((const char *)data, size, &l, &e))
		return 0;
	if (layout_validate(&l, &e))
		__builtin_trap();
	f = open_memstream(&text, &len);
	layout_print(&l, NULL, f);
	fclose(f);
	if (layout_parse(text, len, &back, &e) ||
	    !layout_same_offsets(&l, &back) || l.size != back.size)
		__builtin_trap();
	free(text);
	return 0;
}
