/* fuzz_extract.c: damaged kernel modules. */
#include "layouts/extract.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct extract_result r;
	struct extract_input in = { data, size, NULL, 0 };
	struct nst_error e;

	if (!layout_extract(&in, &r, &e) && r.layout.size > VMCS12_SIZE)
		__builtin_trap();
	return 0;
}
