/* recheck.c: which rows of checks.def a VM entry has to look at.
 *
 * A row's verdict is a function of the fields that it reads, of capabilities and
 * of the CPU model.  So each evaluation notes the fields that were read, and a row
 * that held is looked at again only when one of them has changed: by VMWRITE, by
 * what a VM exit saves, or by the processor (EPTP switching).  Rows that read guest
 * RAM are never remembered.  What is skipped is therefore what would hold again.
 *
 * Owns struct vmx.recheck. */
#include "hvcore/vmx/vmx.h"

static unsigned words(void)
{
	return (vmx_check_count + 63) / 64;
}

static void mark_row(struct vmx *v, unsigned row)
{
	v->recheck.dirty[row / 64] |= 1ull << row % 64;
}

void vmx_recheck_group(struct vmx *v, unsigned groups)
{
	for (unsigned n = 0; n < vmx_check_count; n++)
		if (vmx_checks[n].group & groups)
			mark_row(v, n);
}

void vmx_recheck_all(struct vmx *v)
{
	vmx_recheck_group(v, CHECK_ALL);
	v->recheck.context_known = false;
}

/* The fields of `seen` are what row rests on; they are forgotten there. */
static void note(struct vmx *v, unsigned row, bool *seen)
{
	for (unsigned k = 0; k < SEEN_BYTES; k += 8) {
		uint64_t some;

		memcpy(&some, seen + k, 8);
		if (likely(!some))
			continue;
		for (unsigned n = k; n < k + 8; n++)
			if (seen[n])
				v->recheck.rows_of[n][row / 64] |=
					1ull << row % 64;
		memset(seen + k, 0, 8);
	}
}

struct reader {
	struct vmx_check_ctx *x; /* what to ask */
	bool used;
};

static bool noting_read(void *arg, uint64_t gpa, void *buf, unsigned len)
{
	struct reader *r = arg;

	r->used = true;
	return r->x->read(r->x->arg, gpa, buf, len);
}

/* False: row does not hold. */
static bool look(struct vmx *v, struct vmx_check_ctx *x, unsigned row,
		 bool *seen)
{
	struct reader reader = { .x = x };
	struct vmx_check_ctx y = *x;
	bool holds;

	y.read = noting_read;
	y.arg = &reader;
	y.seen = seen;
	holds = vmx_check_holds(&vmx_checks[row], &y);
	note(v, row, seen);
	if (holds && !reader.used)
		v->recheck.dirty[row / 64] &= ~(1ull << row % 64);
	return holds;
}

const struct vmx_check *vmx_recheck(struct vmx *v, struct vmx_check_ctx *x,
				    unsigned groups)
{
	bool seen[SEEN_BYTES] __attribute__((aligned(8)));
	bool fresh = true;

	for (unsigned w = 0; w < words(); w++) {
		uint64_t rows = v->recheck.dirty[w];

		for (; rows; rows &= rows - 1) {
			unsigned row = w * 64 + (unsigned)__builtin_ctzll(rows);

			if (!(vmx_checks[row].group & groups))
				continue;
			if (fresh)
				memset(seen, 0, sizeof seen);
			fresh = false;
			if (!look(v, x, row, seen))
				return &vmx_checks[row];
		}
	}
	return NULL;
}
