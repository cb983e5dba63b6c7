/* fuzz_identify.c: any page has a judgement that holds together. */
#include "layouts/identify.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t page[VMCS12_SIZE] = { 0 };
	struct identify_result r;

	memcpy(page, data, size < sizeof page ? size : sizeof page);
	identify_page(page, &r);
	if (r.count != layout_count() || !r.groups ||
	    (r.verdict == IDENTIFY_NONE) != !r.layout)
		__builtin_trap();
	for (unsigned i = 1; i < r.count; i++) {
		const struct identify_candidate *c = &r.candidate[i];

		if (c->hard < c[-1].hard || c->nreasons > IDENTIFY_REASONS ||
		    (c->group == r.candidate[0].group) !=
		    identify_same_reading(c->layout, r.candidate[0].layout, page))
			__builtin_trap();
	}
	return 0;
}
