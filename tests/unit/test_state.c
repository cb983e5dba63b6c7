/* test_state.c: a vCPU's state in KVM's structs: what goes in comes out the
 * same, what no CPU could hold is refused, nothing of it crashes; CPUID and MSRs
 * as the table and the model say.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "hvcore/mem.h"
#include "hvcore/parts.h"
#include "hvcore/sys/bits.h"

#define RAM_SIZE 0x100000u

struct machine {
	struct vm *vm;
	struct vcpu *c;
	uint8_t *ram;
	uint64_t random;
};

static uint64_t rnd(struct machine *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return m->random;
}

static void make(struct machine *m)
{
	m->random = 88172645463325252ull;
	m->vm = hv_vm_new(NULL);
	m->ram = aligned_alloc(4096, RAM_SIZE);
	memset(m->ram, 0, RAM_SIZE);
	assert_int_equal(hv_map_ram(m->vm, 0, RAM_SIZE, m->ram, NULL), NST_OK);
	m->c = hv_vcpu_new(m->vm);
	assert_non_null(m->c);
}

static void unmake(struct machine *m)
{
	hv_vm_free(m->vm);
	free(m->ram);
}

static struct snapshot *saved(struct machine *m)
{
	struct snapshot *s = snapshot_new(1);
	struct nst_error e;

	assert_non_null(s);
	assert_int_equal(hv_vcpu_save(m->c, &s->vcpu[0], &e), NST_OK);
	return s;
}

static void same(const struct snapshot_vcpu *a, const struct snapshot_vcpu *b)
{
	assert_memory_equal(&a->regs, &b->regs, sizeof a->regs);
	assert_memory_equal(&a->sregs, &b->sregs, sizeof a->sregs);
	assert_memory_equal(&a->sregs2, &b->sregs2, sizeof a->sregs2);
	assert_memory_equal(&a->events, &b->events, sizeof a->events);
	assert_memory_equal(&a->debugregs, &b->debugregs, sizeof a->debugregs);
	assert_memory_equal(&a->xcrs, &b->xcrs, sizeof a->xcrs);
	assert_int_equal(a->mp_state.mp_state, b->mp_state.mp_state);
	assert_int_equal(a->nmsrs, b->nmsrs);
	for (uint32_t i = 0; i < a->nmsrs; i++) {
		assert_int_equal(a->msrs[i].index, b->msrs[i].index);
		assert_true(a->msrs[i].data == b->msrs[i].data);
	}
	assert_int_equal(a->ncpuid, b->ncpuid);
	assert_memory_equal(a->cpuid, b->cpuid, a->ncpuid * sizeof *a->cpuid);
	assert_memory_equal(&a->lapic, &b->lapic, sizeof a->lapic);
}

static void random_segment(struct machine *m, struct kvm_segment *s)
{
	s->base = rnd(m) & 0x7fffffffffff;
	s->limit = (uint32_t)rnd(m);
	s->selector = (uint16_t)rnd(m);
	s->type = rnd(m) & 15;
	s->dpl = rnd(m) & 3;
	s->db = rnd(m) & 1;
	s->s = rnd(m) & 1;
	s->g = rnd(m) & 1;
	s->avl = rnd(m) & 1;
	s->unusable = rnd(m) & 1;
	s->present = !s->unusable; /* as KVM says it */
	s->l = 0;
}

/* Registers that are allowed, with everything else at random. */
static void randomize(struct machine *m, struct snapshot_vcpu *v)
{
	struct kvm_sregs2 *s = &v->sregs2;
	uint64_t *r = (uint64_t *)(void *)&v->regs;

	for (unsigned i = 0; i < 17; i++)
		r[i] = rnd(m);
	v->regs.rflags = (rnd(m) & 0x3f7fd7 & ~(uint64_t)FLAG_VM) | 2;
	random_segment(m, &s->cs);
	random_segment(m, &s->ds);
	random_segment(m, &s->es);
	random_segment(m, &s->fs);
	random_segment(m, &s->gs);
	random_segment(m, &s->ss);
	random_segment(m, &s->tr);
	random_segment(m, &s->ldt);
	s->gdt.base = rnd(m);
	s->gdt.limit = (uint16_t)rnd(m);
	s->cr0 = CR0_PE | CR0_ET | (rnd(m) & (CR0_TS | CR0_WP | CR0_AM));
	s->cr4 = rnd(m) & (CR4_PSE | CR4_TSD | CR4_DE | CR4_PGE);
	s->cr2 = rnd(m);
	s->cr3 = rnd(m) & 0xfffff000;
	v->sregs.cs = s->cs;
	v->sregs.ds = s->ds;
	v->sregs.es = s->es;
	v->sregs.fs = s->fs;
	v->sregs.gs = s->gs;
	v->sregs.ss = s->ss;
	v->sregs.tr = s->tr;
	v->sregs.ldt = s->ldt;
	v->sregs.gdt = s->gdt;
	v->sregs.cr0 = s->cr0;
	v->sregs.cr2 = s->cr2;
	v->sregs.cr3 = s->cr3;
	v->sregs.cr4 = s->cr4;
	for (unsigned i = 0; i < 4; i++)
		v->debugregs.db[i] = rnd(m);
	v->events.nmi.masked = rnd(m) & 1;
	v->events.exception.injected = rnd(m) & 1;
	v->events.exception.nr = v->events.exception.injected ? 13 : 0;
	v->events.exception.has_error_code = v->events.exception.injected;
	v->events.exception.error_code = v->events.exception.injected ?
		(uint32_t)rnd(m) & 0xffff : 0;
	/* FS and GS bases are MSRs too. */
	for (uint32_t i = 0; i < v->nmsrs; i++) {
		if (v->msrs[i].index == 0xc0000100)
			v->msrs[i].data = s->fs.base;
		if (v->msrs[i].index == 0xc0000101)
			v->msrs[i].data = s->gs.base;
	}
}

static void round_trips(void **state)
{
	struct machine m;
	struct snapshot *a, *b;
	struct nst_error e = { 0 };

	(void)state;
	make(&m);
	for (unsigned i = 0; i < 200; i++) {
		a = saved(&m);
		randomize(&m, &a->vcpu[0]);
		assert_int_equal(hv_vcpu_load(m.c, &a->vcpu[0], &e), NST_OK);
		b = saved(&m);
		same(&a->vcpu[0], &b->vcpu[0]);
		snapshot_free(a);
		snapshot_free(b);
	}
	unmake(&m);
}

static void impossible_registers(void **state)
{
	static const struct { uint64_t cr0, cr4, efer; } t[] = {
		{ CR0_PG, 0, 0 }, { CR0_NW | CR0_PE, 0, 0 },
		{ CR0_PE | 1ull << 40, 0, 0 },
		{ CR0_PE, 1ull << 30, 0 }, { CR0_PE, 1ull << 15, 0 },
		{ CR0_PE | CR0_PG, 0, EFER_LME },
		{ CR0_PE | CR0_PG, 0, EFER_LME | EFER_LMA },
		{ CR0_PE, CR4_PAE, EFER_LME | EFER_LMA },
	};
	struct machine m;
	struct snapshot *a;
	struct nst_error e = { 0 };

	(void)state;
	make(&m);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++) {
		a = saved(&m);
		a->vcpu[0].sregs2.cr0 = t[i].cr0;
		a->vcpu[0].sregs2.cr4 = t[i].cr4;
		a->vcpu[0].sregs2.efer = t[i].efer;
		assert_int_equal(hv_vcpu_load(m.c, &a->vcpu[0], &e),
				 NST_BAD_INPUT);
		assert_true(strlen(e.text) > 10);
		snapshot_free(a);
	}
	unmake(&m);
}

/* Structs full of noise are refused or loaded; then they run, a little. */
static void noise(void **state)
{
	struct machine m;
	struct snapshot *a, *b;
	struct hv_limits limits = { 100, ~0ull };
	struct hv_stop stop;
	struct nst_error e;

	(void)state;
	make(&m);
	for (unsigned i = 0; i < 300; i++) {
		struct snapshot_vcpu *v;
		uint8_t *p;

		a = saved(&m);
		v = &a->vcpu[0];
		p = (uint8_t *)(i & 1 ? (void *)&v->sregs2 : (void *)&v->regs);
		for (unsigned k = 0; k < sizeof v->regs; k++)
			if (rnd(&m) % 3 == 0)
				p[k] = (uint8_t)rnd(&m);
		for (unsigned k = 0; k < sizeof v->events; k++)
			if (rnd(&m) % 8 == 0)
				((uint8_t *)&v->events)[k] = (uint8_t)rnd(&m);
		for (unsigned k = 0; k < v->ncpuid; k++)
			if (rnd(&m) % 8 == 0)
				v->cpuid[k].eax = (uint32_t)rnd(&m);
		for (unsigned k = 0; k < v->nmsrs; k++)
			if (rnd(&m) % 8 == 0 && v->msrs[k].index != 0x1b)
				v->msrs[k].data = rnd(&m);
		v->xcrs.nr_xcrs = (uint32_t)rnd(&m);
		v->mp_state.mp_state = rnd(&m) & 7;
		if (hv_vcpu_load(m.c, v, &e) == NST_OK) {
			limits.insns = m.vm->icount + 100;
			hv_run(m.vm, &limits, &stop);
			b = saved(&m);
			snapshot_free(b);
		}
		snapshot_free(a);
		hv_vm_free(m.vm);
		free(m.ram);
		m.vm = NULL;
		{
			uint64_t keep = m.random;

			make(&m);
			m.random = keep;
		}
	}
	unmake(&m);
}

/* -- CPUID --------------------------------------------------------------- */
static void cpuid_answers(void **state)
{
	struct machine m;
	uint32_t r[4], max[4];

	(void)state;
	make(&m);
	assert_int_equal(hv_vcpu_set_model(m.c, "skylake-server", NULL), NST_OK);
	cpuid_query(m.c, 0, 0, r);
	assert_memory_equal(&r[1], "GenuntelineI", 12);
	cpuid_query(m.c, 1, 0, r);
	assert_false(r[2] >> 27 & 1);
	m.c->cr4 |= CR4_OSXSAVE | CR4_PKE;
	cpuid_query(m.c, 1, 0, r);
	assert_true(r[2] >> 27 & 1);
	cpuid_query(m.c, 7, 0, r);
	assert_true(r[2] >> 4 & 1);
	/* Leaf 0xd says how much XCR0's components take. */
	m.c->fpu.xcr0 = 3;
	cpuid_query(m.c, 0xd, 0, r);
	assert_int_equal(r[1], 576);
	m.c->fpu.xcr0 = 7;
	cpuid_query(m.c, 0xd, 0, r);
	assert_int_equal(r[1], 576 + 256);
	/* Beyond the last leaf: the highest basic one. */
	cpuid_query(m.c, 0x16, 0, max);
	cpuid_query(m.c, 0x12345, 0, r);
	assert_memory_equal(r, max, sizeof r);
	assert_int_equal(hv_vcpu_set_model(m.c, "none such", NULL),
			 NST_BAD_INPUT);
	for (unsigned i = 0; hv_cpu_models[i]; i++)
		assert_int_equal(hv_vcpu_set_model(m.c, hv_cpu_models[i], NULL),
				 NST_OK);
	unmake(&m);
}

/* -- MSRs ---------------------------------------------------------------- */
static bool wrmsr(struct machine *m, uint32_t index, uint64_t v)
{
	bool gp;

	msr_write(m->c, index, v, &gp);
	return !gp;
}

static uint64_t rdmsr(struct machine *m, uint32_t index)
{
	bool gp;
	uint64_t v = msr_read(m->c, index, &gp);

	return gp ? ~0ull - 1 : v;
}

static void msr_rules(void **state)
{
	static const struct { uint32_t index; uint64_t v; bool ok; } t[] = {
		{ 0x277, 0x0007040600070406, true }, /* PAT */
		{ 0x277, 0x0007040600070402, false },
		{ 0xc0000082, 0xffff800000000000, true }, /* LSTAR */
		{ 0xc0000082, 0x0000800000000000, false },
		{ 0xc0000084, 0x100000000, false }, /* FMASK */
		{ 0xc0000080, EFER_SCE | EFER_NXE, true },
		{ 0xc0000080, 1ull << 20, false },
		{ 0x2ff, 0xc06, true }, { 0x2ff, 0xc02, false }, /* MTRR */
		{ 0x200, 0x6, true }, { 0x200, 0x102, false },
		{ 0x201, 0xff000800, true }, { 0x201, 1ull << 50, false },
		{ 0x250, 0x0606060606060606, true }, { 0x250, 3, false },
		{ 0x10a, 0, false }, { 0xce, 0, false }, { 0x12345, 0, false },
		{ 0x8b, 5, true }, { 0x49, 1, true }, { 0x49, 2, false },
		{ 0x17b, ~0ull, true }, { 0x17b, 5, false },
		{ 0x401, 0, true }, { 0x401, 1, false },
		{ 0x3a, 5, true }, { 0x3a, 5, false }, /* locked now */
		{ 0xc0000103, 7, true }, { 0xc0000103, 1ull << 32, false },
		{ 0x480, 0, false }, { 0x4b564d00, 1, false },
	};
	struct machine m;

	(void)state;
	make(&m);
	for (size_t i = 0; i < sizeof t / sizeof t[0]; i++)
		assert_int_equal(wrmsr(&m, t[i].index, t[i].v), t[i].ok);
	assert_true(rdmsr(&m, 0xc0000082) == 0xffff800000000000);
	assert_true(rdmsr(&m, 0x8b) != 5); /* the write is dropped */
	/* TSC and TSC_ADJUST move together (SDM 17.17.3). */
	assert_true(wrmsr(&m, 0x10, 1000000));
	assert_true(rdmsr(&m, 0x10) == 1000000);
	assert_true(rdmsr(&m, 0x3b) == 1000000);
	assert_true(wrmsr(&m, 0x3b, 500));
	assert_true(rdmsr(&m, 0x10) == 500);
	unmake(&m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(round_trips),
		cmocka_unit_test(impossible_registers),
		cmocka_unit_test(noise), cmocka_unit_test(cpuid_answers),
		cmocka_unit_test(msr_rules),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
