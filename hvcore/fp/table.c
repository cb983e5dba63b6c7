/* table.c: table.def as an array; which CPUID bit each feature is. */
#include "hvcore/fp/row.h"

const struct fp_row fp_rows[] = {
#define L(m, op, pp, n, pat, ms, feat, fl) \
	{ n, (fl), pat, ENC_LEGACY, m, op, pp, ms, 0, feat },
#define V(m, op, pp, n, pat, ms, feat, fl) \
	{ "v" n, (fl), pat, ENC_VEX, m, op, pp, ms, 0, feat },
#define E(m, op, pp, n, pat, ms, es, feat, fl) \
	{ "v" n, (fl), pat, ENC_EVEX, m, op, pp, ms, es, feat },
#include "hvcore/fp/table.def"
};
const unsigned fp_nrows = sizeof fp_rows / sizeof fp_rows[0];

static const struct { uint32_t leaf; uint8_t sub, reg, bit; } bits[FEATURES] = {
	[FPU_] = { 1, 0, 3, 0 }, [CMOV] = { 1, 0, 3, 15 },
	[MMX_] = { 1, 0, 3, 23 }, [MMXEXT] = { 1, 0, 3, 25 },
	[SSE] = { 1, 0, 3, 25 }, [SSE2] = { 1, 0, 3, 26 },
	[SSE3] = { 1, 0, 2, 0 }, [SSSE3] = { 1, 0, 2, 9 },
	[SSE41] = { 1, 0, 2, 19 }, [SSE42] = { 1, 0, 2, 20 },
	[AES] = { 1, 0, 2, 25 }, [PCLMUL] = { 1, 0, 2, 1 },
	[SHA] = { 7, 0, 1, 29 }, [GFNI] = { 7, 0, 2, 8 },
	[AVX] = { 1, 0, 2, 28 }, [F16C] = { 1, 0, 2, 29 },
	[FMA] = { 1, 0, 2, 12 }, [AVX2] = { 7, 0, 1, 5 },
	[VAES] = { 7, 0, 2, 9 }, [VPCLMUL] = { 7, 0, 2, 10 },
	[AVXVNNI] = { 7, 1, 0, 4 }, [AVX512F] = { 7, 0, 1, 16 },
	[AVX512DQ] = { 7, 0, 1, 17 }, [AVX512IFMA] = { 7, 0, 1, 21 },
	[AVX512CD] = { 7, 0, 1, 28 }, [AVX512BW] = { 7, 0, 1, 30 },
	[AVX512VL] = { 7, 0, 1, 31 }, [AVX512VBMI] = { 7, 0, 2, 1 },
	[AVX512VBMI2] = { 7, 0, 2, 6 }, [AVX512VNNI] = { 7, 0, 2, 11 },
	[AVX512BITALG] = { 7, 0, 2, 12 }, [AVX512POPCNT] = { 7, 0, 2, 14 },
	[AVX512BF16] = { 7, 1, 0, 5 }, [AVX512VP2I] = { 7, 0, 3, 8 },
	[AVX512FP16] = { 7, 0, 3, 23 },
};

bool fp_feature(uint32_t (*ask)(void *, uint32_t, uint32_t, unsigned),
		void *arg, enum feature f)
{
	return ask(arg, bits[f].leaf, bits[f].sub, bits[f].reg) >>
	       bits[f].bit & 1;
}
