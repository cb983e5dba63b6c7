/* work.c: the plain workloads: their data, their results and their instruction
 * counts.  Freestanding: the guest and the native program share it. */
#include "bench.h"

#define SEED 0x853c49e6748fea9bull
#define COPY_BYTES (256 * 1024ul)
#define SORT_WORDS 16384ul
#define CHASE_NODES 16384ul  /* 64 bytes each: 1 MiB */
#define TLB_PAGES 8192ul     /* a node in each page of 32 MiB */

static uint64_t state;

static uint64_t next(void)
{
	state ^= state >> 12;
	state ^= state << 25;
	state = state << 27 | state >> 37;
	return state;
}

static void do_int(struct run *r)
{
	uint64_t n = r->scale * 100000, hash = SEED, sum = 0;

	r->start = read_tsc();
	r->sum = r->call(work_int, n, SEED, 0);
	r->stop = read_tsc();
	r->insns = 10 * n + 5;
	for (uint64_t i = n; i && r->scale <= 10; i--) {
		uint64_t high;

		hash = (hash ^ i) * 0xd6e8feb86659fd93ull;
		high = hash >> 32;
		hash ^= high;
		hash = hash << 7 | hash >> 57;
		sum += hash;
		sum += 4 * high + 3;
	}
	if (r->scale <= 10)
		r->bad = sum != r->sum;
}

static void copies(struct run *r, routine *how, uint64_t units, uint64_t insns)
{
	uint64_t *src = (uint64_t *)r->data, words = COPY_BYTES / 8;
	uint64_t *dst = src + 2 * words, last = work_fill((uint64_t)src, words, SEED);

	for (uint64_t i = 0; i < words; i++)
		dst[i] = 0;
	r->start = read_tsc();
	for (uint64_t i = 0; i < r->scale; i++)
		r->sum = r->call(how, (uint64_t)dst, (uint64_t)src, units);
	r->stop = read_tsc();
	r->insns = r->scale * insns;
	r->events = r->scale * COPY_BYTES;
	for (uint64_t i = 0; i < words; i++)
		r->bad |= dst[i] != src[i];
	r->sum ^= last;
}
static void do_copy(struct run *r)
{
	copies(r, work_copy, COPY_BYTES / 32, 2 + 12 * (COPY_BYTES / 32));
}
static void do_repmovs(struct run *r)
{
	copies(r, work_repmovs, COPY_BYTES / 8, 4);
}

/* One cycle through all nodes in random order (Sattolo). */
static void chase(struct run *r, uint64_t nodes, uint64_t stride)
{
	static uint32_t order[CHASE_NODES];
	uint64_t rounds = r->scale * nodes / 8, first = (uint64_t)r->data;

	state = SEED;
	for (uint64_t i = 0; i < nodes; i++)
		order[i] = (uint32_t)i;
	for (uint64_t i = nodes - 1; i; i--) {
		uint64_t j = next() % i;
		uint32_t t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
#define NODE(n) (first + (n) * stride + (stride > 64 ? (n) % 64 * 64 : 0))
	for (uint64_t i = 0; i < nodes; i++)
		*(uint64_t *)NODE(i) = NODE(order[i]);
#undef NODE
	r->start = read_tsc();
	r->sum = r->call(work_chase, first, rounds, 0);
	r->stop = read_tsc();
	r->insns = 10 * rounds + 2;
	r->events = 8 * rounds;
	r->bad = r->sum != first;
	r->sum -= first;
}
static void do_chase(struct run *r)
{
	chase(r, CHASE_NODES, 64);
}
static void do_tlb(struct run *r)
{
	chase(r, TLB_PAGES, PAGE);
}

static const uint64_t gaps[] = { 4193, 1577, 701, 301, 132, 57, 23, 10, 4, 1, 0 };

/* Sorts v as work_sort does and returns what that executes. */
static uint64_t sort_counting(uint64_t *v, uint64_t n)
{
	uint64_t count = 5; /* the list's end and RET */

	for (const uint64_t *g = gaps; *g; g++) {
		count += 5 + 2; /* its head, and the loop's end */
		for (uint64_t i = *g; i < n; i++) {
			uint64_t x = v[i], j = i;

			count += 4 + 3;
			while (j >= *g && v[j - *g] > x) {
				v[j] = v[j - *g];
				j -= *g;
				count += 9;
			}
			count += j < *g ? 3 : 6;
			v[j] = x;
		}
	}
	return count;
}

static void do_sort(struct run *r)
{
	uint64_t *v = (uint64_t *)r->data, *twin = v + 2 * SORT_WORDS, each;

	work_fill((uint64_t)twin, SORT_WORDS, SEED);
	each = sort_counting(twin, SORT_WORDS) + 2 + 11 * SORT_WORDS;
	r->start = read_tsc();
	for (uint64_t i = 0; i < r->scale; i++) {
		r->call(work_fill, (uint64_t)v, SORT_WORDS, SEED);
		r->call(work_sort, (uint64_t)v, SORT_WORDS, (uint64_t)gaps);
	}
	r->stop = read_tsc();
	r->insns = r->scale * each;
	r->events = r->scale * SORT_WORDS;
	for (uint64_t i = 0; i < SORT_WORDS; i++) {
		r->bad |= v[i] != twin[i];
		r->sum = r->sum * 31 + v[i];
	}
}

/* -- large code ------------------------------------------------------------------ */
/* Blocks of seven instructions, 42 bytes apart, each visited once a round in
 * random order: code of an operating system's kind, which no branch predictor
 * and no trace holds whole.  RDI: data, RSI: rounds, RDX: the checksum. */
#define BLOCK_BYTES 42
#define MOST_BLOCKS 16384

static uint8_t *emit(uint8_t *p, unsigned n, uint64_t bytes)
{
	for (; n; n--, bytes >>= 8)
		*p++ = (uint8_t)bytes;
	return p;
}

static uint8_t *emit_block(uint8_t *p)
{
	p = emit(p, 3, 0x878b48);               /* mov disp(%rdi), %rax */
	p = emit(p, 4, next() % PAGE & ~7ull);
	p = emit(p, 2, 0x0548);                 /* add $imm, %rax */
	p = emit(p, 4, next() & 0x7fffffff);
	p = emit(p, 3, 0xc23148);               /* xor %rax, %rdx */
	p = emit(p, 3, 0x978948);               /* mov %rdx, disp(%rdi) */
	p = emit(p, 4, next() % PAGE & ~7ull);
	p = emit(p, 4, 0x02848d48);             /* lea disp(%rdx,%rax), %rax */
	p = emit(p, 4, next() & 0x7fffffff);
	return emit(p, 3, 0xc20148);            /* add %rax, %rdx */
}

static uint8_t *emit_jump(uint8_t *p, const uint8_t *to)
{
	p = emit(p, 1, 0xe9);
	return emit(p, 4, (uint64_t)(to - p - 4));
}

/* Visits all places in random order, the highest last (its end is longer). */
static routine *generate(uint8_t *code, uint64_t blocks)
{
	static uint16_t order[MOST_BLOCKS];
	uint8_t *p;

	state = SEED;
	for (uint64_t i = 0; i < blocks; i++)
		order[i] = (uint16_t)i;
	for (uint64_t i = blocks - 2; i; i--) {
		uint64_t j = next() % (i + 1);
		uint16_t t = order[i];

		order[i] = order[j];
		order[j] = t;
	}
	for (uint64_t i = 0; i + 1 < blocks; i++) {
		p = emit_block(code + order[i] * BLOCK_BYTES);
		emit_jump(p, code + order[i + 1] * BLOCK_BYTES);
	}
	p = emit_block(code + order[blocks - 1] * BLOCK_BYTES);
	p = emit(p, 3, 0xceff48);               /* dec %rsi */
	p = emit(p, 2, 0x0574);                 /* jz over the jump */
	p = emit_jump(p, code + order[0] * BLOCK_BYTES);
	emit(p, 4, 0xc3d08948);                 /* mov %rdx, %rax; ret */
	return (routine *)(code + order[0] * BLOCK_BYTES);
}

static void large(struct run *r, uint64_t blocks)
{
	routine *f = generate(r->code, blocks);
	uint64_t rounds = r->scale * 100;

	work_fill((uint64_t)r->data, PAGE / 8, SEED);
	r->start = read_tsc();
	r->sum = r->call(f, (uint64_t)r->data, rounds, SEED);
	r->stop = read_tsc();
	r->insns = rounds * (7 * blocks + 2) + 1;
}
static void do_large(struct run *r)
{
	large(r, 1024);
}
static void do_large16(struct run *r)
{
	large(r, 16);
}
static void do_large256(struct run *r)
{
	large(r, 256);
}
static void do_huge(struct run *r)
{
	large(r, MOST_BLOCKS);
}

const struct workload plain_work[] = {
	{ "int", "none", AT_ALL, do_int },
	{ "sort", "words", AT_ALL, do_sort },
	{ "large16", "none", AT_ALL, do_large16 },
	{ "large256", "none", AT_ALL, do_large256 },
	{ "large", "none", AT_ALL, do_large },
	{ "huge", "none", AT_ALL, do_huge },
	{ "copy", "bytes", AT_ALL, do_copy },
	{ "chase", "loads", AT_ALL, do_chase },
	{ "tlb", "loads", AT_ALL, do_tlb },
	{ "repmovs", "bytes", AT_ALL, do_repmovs },
	{ 0 }
};
