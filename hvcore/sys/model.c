/* model.c: what kind of CPU a vCPU is: its CPUID table, and the MSR values
 * that belong to the model or that only a snapshot knows.
 *
 * The table is kept as it was given (from a snapshot: in KVM's order), so that
 * it comes back the same; what CPUID answers besides (OSXSAVE and the like) is
 * put in when asked.
 */
#include <stdlib.h>

#include "hvcore/sys/bits.h"
#include "hvcore/sys/sys.h"

struct leaf { uint32_t leaf, sub, indexed, r[4]; };
struct model_msr { uint32_t index; uint64_t value; };
struct named_model {
	const char *name;
	const struct leaf *leaves;
	const struct model_msr *msrs;
};

/* Two passes over the table: leaves, then MSRs (each list ends with ~0). */
#define MODEL(id, name) static const struct leaf leaves_##id[] = {
#define LEAF(l, s, x, a, b, c, d) { l, s, x, { a, b, c, d } },
#define MODEL_MSR(i, v)
#define END_MODEL { .leaf = ~0u } };
#include "hvcore/sys/models.def"
#define MODEL(id, name) static const struct model_msr msrs_##id[] = {
#define LEAF(l, s, x, a, b, c, d)
#define MODEL_MSR(i, v) { i, v },
#define END_MODEL { .index = ~0u } };
#include "hvcore/sys/models.def"
#define MODEL(id, name) { name, leaves_##id, msrs_##id },
#define LEAF(l, s, x, a, b, c, d)
#define MODEL_MSR(i, v)
#define END_MODEL
static const struct named_model models[] = {
#include "hvcore/sys/models.def"
};

#define MODEL(id, name) name,
#define LEAF(l, s, x, a, b, c, d)
#define MODEL_MSR(i, v)
#define END_MODEL
const char *const hv_cpu_models[] = {
#include "hvcore/sys/models.def"
	NULL
};

/* -- life ---------------------------------------------------------------- */
struct cpu_model *model_new(void)
{
	return calloc(1, sizeof(struct cpu_model));
}

void model_free(struct cpu_model *m)
{
	if (!m)
		return;
	free(m->cpuid);
	free(m->kept);
	free(m->order);
	free(m->nested);
	free(m);
}

/* Leaves that cpu_has is asked for at every turn. */
static const struct { uint32_t leaf, sub; } hot_leaves[MODEL_HOT] = {
	{ 1, 0 }, { 7, 0 }, { 7, 1 }, { 0xd, 1 }, { 0x80000001, 0 },
	{ 0x80000007, 0 }, { 0x80000008, 0 }, { 0x14, 0 },
};

static const struct kvm_cpuid_entry2 *find(const struct cpu_model *m,
					   uint32_t leaf, uint32_t sub)
{
	for (unsigned i = 0; i < m->ncpuid; i++) {
		const struct kvm_cpuid_entry2 *e = &m->cpuid[i];

		if (e->function == leaf &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) ||
		     e->index == sub))
			return e;
	}
	return NULL;
}

static void refresh(struct cpu_model *m)
{
	const struct kvm_cpuid_entry2 *e;

	for (unsigned i = 0; i < MODEL_HOT; i++) {
		e = find(m, hot_leaves[i].leaf, hot_leaves[i].sub);
		memset(m->hot[i], 0, sizeof m->hot[i]);
		if (e)
			memcpy(m->hot[i],
			       (uint32_t[]){ e->eax, e->ebx, e->ecx, e->edx },
			       sizeof m->hot[i]);
	}
	e = find(m, 0, 0);
	m->amd = e && e->ebx == 0x68747541; /* "Auth" */
	e = find(m, 0x80000008, 0);
	m->maxphyaddr = e ? e->eax & 0xff : 36;
	if (m->maxphyaddr < 32 || m->maxphyaddr > 52)
		m->maxphyaddr = 36;
}

bool model_set_cpuid(struct vcpu *c, const struct kvm_cpuid_entry2 *e,
		     unsigned n)
{
	struct cpu_model *m = c->model;
	struct kvm_cpuid_entry2 *copy = malloc((n ? n : 1) * sizeof *copy);

	if (!copy)
		return false;
	memcpy(copy, e, n * sizeof *copy);
	free(m->cpuid);
	m->cpuid = copy;
	m->ncpuid = n;
	refresh(m);
	cr4_refresh(c);
	return true;
}

/* -- MSR values without a place of their own ----------------------------- */
static struct model_value *kept(const struct cpu_model *m, uint32_t index)
{
	for (unsigned i = 0; i < m->nkept; i++)
		if (m->kept[i].index == index)
			return &m->kept[i];
	return NULL;
}

bool model_msr(const struct vcpu *c, uint32_t index, uint64_t *v)
{
	const struct model_value *k = kept(c->model, index);

	if (!k)
		return false;
	*v = k->value;
	return true;
}

bool model_msr_set(struct vcpu *c, uint32_t index, uint64_t v)
{
	struct cpu_model *m = c->model;
	struct model_value *k = kept(m, index);

	if (!k) {
		k = realloc(m->kept, (m->nkept + 1) * sizeof *k);
		if (!k)
			return false;
		m->kept = k;
		k = &m->kept[m->nkept++];
		k->index = index;
	}
	k->value = v;
	return true;
}

/* -- named models -------------------------------------------------------- */
/* A named model promises no vector instructions that the host cannot run: they
 * are done by its units. */
static void mask_host(struct kvm_cpuid_entry2 *e)
{
	if (e->function == 1 && !__builtin_cpu_supports("avx"))
		e->ecx &= ~(1u << 28 | 1u << 12 | 1u << 29);
	if (e->function == 1 && !__builtin_cpu_supports("fma"))
		e->ecx &= ~(1u << 12);
	if (e->function == 1 && !__builtin_cpu_supports("pclmul"))
		e->ecx &= ~(1u << 1 | 1u << 25);
	if (e->function == 7 && e->index == 0) {
		if (!__builtin_cpu_supports("avx2"))
			e->ebx &= ~(1u << 5);
		if (!__builtin_cpu_supports("avx512f")) {
			e->ebx &= ~(1u << 16 | 1u << 17 | 1u << 21 | 1u << 28 |
				    1u << 30 | 1u << 31);
			e->ecx &= ~(1u << 1 | 1u << 6 | 1u << 11 | 1u << 12 |
				    1u << 14);
		}
		if (!__builtin_cpu_supports("avx512vbmi2"))
			e->ecx &= ~(1u << 6 | 1u << 12);
		if (!__builtin_cpu_supports("avx512vbmi"))
			e->ecx &= ~(1u << 1);
		if (!__builtin_cpu_supports("avx512ifma"))
			e->ebx &= ~(1u << 21);
		if (!__builtin_cpu_supports("avx512vnni"))
			e->ecx &= ~(1u << 11);
		if (!__builtin_cpu_supports("avx512vpopcntdq"))
			e->ecx &= ~(1u << 14);
		if (!__builtin_cpu_supports("gfni"))
			e->ecx &= ~(1u << 8);
		if (!__builtin_cpu_supports("vpclmulqdq"))
			e->ecx &= ~(1u << 9 | 1u << 10);
	}
	if (e->function == 0xd && !__builtin_cpu_supports("avx512f")) {
		if (e->index == 0)
			e->eax &= ~0xe0u;
		else if (e->index >= 5 && e->index <= 7)
			e->eax = e->ebx = e->ecx = e->edx = 0;
	}
}

static bool use_leaves(struct vcpu *c, const struct leaf *l)
{
	struct kvm_cpuid_entry2 e[64];
	unsigned n = 0;

	for (; l->leaf != ~0u && n < 64; l++, n++) {
		memset(&e[n], 0, sizeof e[n]);
		e[n].function = l->leaf;
		e[n].index = l->sub;
		if (l->indexed)
			e[n].flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		e[n].eax = l->r[0];
		e[n].ebx = l->r[1];
		e[n].ecx = l->r[2];
		e[n].edx = l->r[3];
		if (l->leaf == 1)
			e[n].ebx |= c->id << 24;
		if (l->leaf == 0xb)
			e[n].edx = c->id;
		mask_host(&e[n]);
	}
	return model_set_cpuid(c, e, n);
}

enum nst_status hv_vcpu_set_model(struct vcpu *c, const char *name,
				  struct nst_error *e)
{
	const struct named_model *m = NULL;

	for (size_t i = 0; i < sizeof models / sizeof models[0]; i++)
		if (!strcmp(models[i].name, name))
			m = &models[i];
	if (!m)
		return nst_fail(e, NST_BAD_INPUT, "no CPU model \"%s\"", name);
	c->model->nkept = 0;
	c->model->name = m->name;
	if (!use_leaves(c, m->leaves))
		return nst_fail(e, NST_SYSTEM, "out of memory");
	for (const struct model_msr *r = m->msrs; r->index != ~0u; r++)
		if (!model_msr_set(c, r->index, r->value))
			return nst_fail(e, NST_SYSTEM, "out of memory");
	c->tsc_khz = MODEL_TSC_KHZ;
	vmx_model_changed(c);
	return NST_OK;
}

const char *model_name(const struct vcpu *c)
{
	return c->model->name;
}

/* -- asking -------------------------------------------------------------- */
bool cpu_has(const struct vcpu *c, uint32_t leaf, uint32_t sub, unsigned reg,
	     unsigned bit)
{
	const struct kvm_cpuid_entry2 *e;

	for (unsigned i = 0; i < MODEL_HOT; i++)
		if (hot_leaves[i].leaf == leaf && hot_leaves[i].sub == sub)
			return c->model->hot[i][reg] >> bit & 1;
	e = find(c->model, leaf, sub);
	if (!e)
		return false;
	return (const uint32_t[]){ e->eax, e->ebx, e->ecx, e->edx }[reg] >>
	       bit & 1;
}

unsigned maxphyaddr(const struct vcpu *c)
{
	return c->model->maxphyaddr;
}

/* Bytes of an XSAVE area that holds the components of mask; standard format,
 * or compacted (SDM vol. 1, 13.4). */
static uint32_t xsave_size(const struct vcpu *c, uint64_t mask, bool compact)
{
	uint32_t size = 512 + 64;

	for (unsigned n = 2; n < 63; n++) {
		const struct kvm_cpuid_entry2 *e;

		if (!(mask >> n & 1))
			continue;
		e = find(c->model, 0xd, n);
		if (!e)
			continue;
		if (compact) {
			if (e->ecx & 2)
				size = (size + 63) & ~63u;
			size += e->eax;
		} else if (e->ebx + e->eax > size) {
			size = e->ebx + e->eax;
		}
	}
	return size;
}

static void put_bit(uint32_t *r, unsigned bit, bool on)
{
	*r = (*r & ~(1u << bit)) | (uint32_t)on << bit;
}

static void dynamic(struct vcpu *c, uint32_t leaf, uint32_t sub, uint32_t *r)
{
	uint64_t base;

	if (leaf == 1) {
		if (r[2] >> 26 & 1)
			put_bit(&r[2], 27, c->cr4 & CR4_OSXSAVE);
		if (!(c->msr.misc_enable & MISC_ENABLE_MONITOR))
			put_bit(&r[2], 3, false);
		if (lapic_msr_read(c, 0x1b, &base))
			put_bit(&r[3], 9, r[3] >> 9 & 1 && base & 0x800);
	} else if (leaf == 0x80000001) {
		if (c->msr.misc_enable & MISC_ENABLE_XD_OFF)
			put_bit(&r[3], 20, false);
	} else if (leaf == 7 && sub == 0) {
		if (r[2] >> 3 & 1)
			put_bit(&r[2], 4, c->cr4 & CR4_PKE);
	} else if (leaf == 0xd && sub == 0 && r[0]) {
		r[1] = xsave_size(c, c->fpu.xcr0, false);
	} else if (leaf == 0xd && sub == 1 && r[0] & 10) {
		r[1] = xsave_size(c, c->fpu.xcr0 | c->fpu.xss, true);
	}
}

/* Leaves beyond the last answer as the highest basic leaf does (Intel's rule,
 * SDM vol. 2A, CPUID). */
static uint32_t clamp_leaf(const struct cpu_model *m, uint32_t leaf)
{
	const struct kvm_cpuid_entry2 *max = find(m, leaf & 0x80000000, 0);
	const struct kvm_cpuid_entry2 *basic = find(m, 0, 0);

	if ((leaf & 0xc0000000) == 0x40000000)
		max = find(m, leaf & 0xffffff00, 0);
	if (max && leaf <= max->eax)
		return leaf;
	return basic ? basic->eax : 0;
}

void cpuid_query(struct vcpu *c, uint32_t leaf, uint32_t sub, uint32_t out[4])
{
	const struct cpu_model *m = c->model;
	const struct kvm_cpuid_entry2 *e, *first;

	leaf = clamp_leaf(m, leaf);
	e = find(m, leaf, sub);
	memset(out, 0, 4 * sizeof out[0]);
	if (e) {
		out[0] = e->eax;
		out[1] = e->ebx;
		out[2] = e->ecx;
		out[3] = e->edx;
		dynamic(c, leaf, sub, out);
		return;
	}
	/* Beyond the topology's levels: ECX 7:0 and the ID still answer. */
	first = find(m, leaf, 1);
	if ((leaf == 0xb || leaf == 0x1f) && first) {
		out[2] = sub & 0xff;
		out[3] = first->edx;
	}
}
