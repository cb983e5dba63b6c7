/* bench.h: what the measured programs share: the guest (boot.S, main.c, vm.c)
 * and the host program that runs the same work natively (native.c).
 *
 * loops.S holds the loops, whose instructions are counted; work.c prepares their
 * data and says how many instructions a run of each takes.
 */
#ifndef NSTATE_BENCH_BENCH_H
#define NSTATE_BENCH_BENCH_H

/* Encodings that entry.S needs; vm.c checks them against the field list. */
#define ENC_EXIT_REASON 0x4402
#define ENC_INSTRUCTION_LEN 0x440c
#define ENC_GUEST_CR3 0x6802
#define ENC_GUEST_RSP 0x681c
#define ENC_GUEST_RIP 0x681e
#define ENC_GUEST_SYSENTER_ESP 0x6824
#define ENC_GUEST_SYSENTER_EIP 0x6826
#define ENC_GUEST_PENDING_DBG 0x6822
#define ENC_HOST_RSP 0x6c14
#define ENC_HOST_RIP 0x6c16

/* struct l2: offsets for entry.S, checked in vm.c. */
#define L2_LAUNCHED 128
#define L2_STEP_OVER 136
#define L2_REASON 144
#define L2_EXITS 152

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stdint.h>

#define PAGE 4096ul
/* What a workload may use: data below, generated code above. */
#define ARENA_DATA (33ul << 20)
#define ARENA_CODE (1ul << 20)

typedef uint64_t routine(uint64_t a, uint64_t b, uint64_t c);

struct run {
	/* Calls f where the work is to run: here, or as L2. */
	uint64_t (*call)(routine *f, uint64_t a, uint64_t b, uint64_t c);
	uint8_t *data, *code;
	uint64_t scale;
	/* filled in by the workload */
	uint64_t insns, events, sum, start, stop;
	bool bad;
};

enum { AT_BARE = 1, AT_L1 = 2, AT_L2 = 4, AT_ALL = 7, NEEDS_SHADOW = 8 };
struct workload {
	const char *name, *event; /* what is counted beside instructions */
	unsigned where;
	void (*run)(struct run *r);
};
/* Plain work; vm.c has the VMX workloads.  Both end with a NULL name. */
extern const struct workload plain_work[], vmx_work[];

/* loops.S: instructions executed, RET included, behind each. */
routine work_int;      /* n, seed: 10n + 4 */
routine work_copy;     /* dst, src, 32-byte pieces: 12n + 2 */
routine work_repmovs;  /* dst, src, quadwords: 4 */
routine work_chase;    /* first, rounds of 8 loads: 10n + 2 */
routine work_fill;     /* words, n, seed: 11n + 2 */
routine work_sort;     /* words, n, gaps: see work.c */

static inline uint64_t read_tsc(void)
{
	uint32_t lo, hi;

	__asm__ volatile ("rdtsc" : "=a" (lo), "=d" (hi));
	return (uint64_t)hi << 32 | lo;
}
#endif
#endif
