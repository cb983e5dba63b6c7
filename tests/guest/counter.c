/* counter.c: an L2 that counts in memory, one CPUID exit a count, under EPT; between
 * two counts it turns round for a while, so that a VM is mostly stopped in L2.  It ends
 * after some counts, or never where the command line says "for-ever": then it is what
 * VMs are saved and loaded with (tests/kvm/check-qemu). */
#include "guest.h"

#define COUNT_AT 0x700000
#define ROUNDS 20u
enum { REASON_CPUID = 10 };

extern uint8_t count_up[];
__asm__(".text\n.globl count_up\n"
	"count_up: incq (%rdi)\n\tmovl $1000000, %esi\n"
	"1:\tdecl %esi\n\tjnz 1b\n\tcpuid\n\tjmp count_up\n");

static uint64_t stack[512] __attribute__((aligned(4096)));
static struct l2 l2;

static bool for_ever(const uint32_t *info)
{
	const char *line = info && info[0] & 4 ?
		(const char *)(uintptr_t)info[4] : "", *want = "for-ever";

	for (; *line; line++)
		for (unsigned n = 0; line[n] == want[n]; n++)
			if (!want[n + 1])
				return true;
	return false;
}

int guest_main(const uint32_t *info)
{
	volatile uint64_t *count = (volatile uint64_t *)COUNT_AT;
	const char *why = vmx_unable(true, false);

	if (why)
		give_up(why);
	vmx_prepare(false);
	vmx_set(GUEST_RIP, (uint64_t)count_up);
	vmx_set(GUEST_RSP, (uint64_t)(stack + 512));
	l2.r[7] = COUNT_AT;
	l2.step_over = for_ever(info) ? REASON_CPUID : ~0ull;
	*count = 0;
	for (unsigned n = 0; n < ROUNDS; n++) {
		if (!vm_enter(&l2) || l2.reason != REASON_CPUID)
			give_up("L2 ended with something else than CPUID");
		vmx_set(GUEST_RIP, vmx_get(GUEST_RIP) + 2);
	}
	say_number("counted to ", *count, 10);
	say("\n");
	return *count == ROUNDS ? 0 : 1;
}
