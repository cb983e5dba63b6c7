/* evmcs.c: the layout of an enlightened VMCS, and how to know one. */
#include "convert/evmcs.h"

#include <pthread.h>
#include <stdio.h>

static struct layout evmcs;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void fill(void)
{
	snprintf(evmcs.id, sizeof evmcs.id, "evmcs");
	snprintf(evmcs.kernels, sizeof evmcs.kernels, "Hyper-V, version 1");
	evmcs.size = 1024;
#define E(at, NAME) evmcs.offset[VMCS_IDX_##NAME] = at;
#include "convert/evmcs.def"
#undef E
}

const struct layout *evmcs_layout(void)
{
	pthread_once(&once, fill);
	return &evmcs;
}

/* What a 64-bit hypervisor cannot do without: its own selectors, CR0 with PE, NE
 * and PG, CR4 with PAE and VMXE, a link pointer of all ones. */
bool evmcs_is(const uint8_t *page)
{
	const struct layout *l = evmcs_layout();
	uint32_t id;

	memcpy(&id, page, 4);
	if (id != 1 && id != VMCS12_REVISION)
		return false;
#define GET(NAME) layout_get(l, page, VMCS_IDX_##NAME)
	return GET(VMCS_LINK_POINTER) == ~0ull &&
	       (GET(HOST_CR0) & 0x80000021) == 0x80000021 &&
	       (GET(HOST_CR4) & 0x2020) == 0x2020 && GET(HOST_CS_SELECTOR) &&
	       !(GET(HOST_CS_SELECTOR) & 7) && GET(HOST_TR_SELECTOR) &&
	       !(GET(HOST_TR_SELECTOR) & 7) && GET(HOST_RIP);
#undef GET
}
