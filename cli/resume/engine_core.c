/* engine_core.c: the engine that is the embedded core. */
#include <stdlib.h>

#include "cli/cpu_model.h"
#include "cli/resume/engine.h"
#include "hvcore/vmx_checks.h"

struct engine {
	struct vm *vm;
};

static void core_destroy(struct engine *g)
{
	if (!g)
		return;
	hv_vm_free(g->vm);
	free(g);
}

/* The L0 profile follows the kernel that wrote the snapshot. */
static const char *l0_of(const struct snapshot *s, const struct engine_options *o,
			 char *buf, size_t len)
{
	if (o->l0)
		return o->l0;
	return snapshot_origin(s, "kvm-release", buf, len) ? buf : NULL;
}

static bool is_cap(const struct kvm_msr_entry *m)
{
	return m->index - VMX_CAPS_FIRST < VMX_CAPS_COUNT;
}

/* The snapshot's vCPU on the CPU that was asked for, which c is: CPUID table and VMX
 * capability MSRs are c's. */
static enum nst_status load_on_model(struct vcpu *c, const struct snapshot_vcpu *v,
				     struct nst_error *e)
{
	struct snapshot_vcpu other = *v, model = { 0 };
	enum nst_status st = hv_vcpu_save(c, &model, e);

	other.nmsrs = 0;
	other.msrs = calloc(v->nmsrs + model.nmsrs + 1, sizeof *other.msrs);
	if (!st && !other.msrs)
		st = nst_fail(e, NST_SYSTEM, "out of memory");
	for (uint32_t i = 0; !st && i < v->nmsrs; i++)
		if (!is_cap(&v->msrs[i]))
			other.msrs[other.nmsrs++] = v->msrs[i];
	for (uint32_t i = 0; !st && i < model.nmsrs; i++)
		if (is_cap(&model.msrs[i]))
			other.msrs[other.nmsrs++] = model.msrs[i];
	other.have |= 1u << SN_CPUID;
	other.cpuid = model.cpuid;
	other.ncpuid = model.ncpuid;
	if (!st)
		st = hv_vcpu_load(c, &other, e);
	free(other.msrs);
	snapshot_vcpu_clear(&model);
	return st;
}

static enum nst_status load_vcpu(struct vcpu *c, const struct snapshot_vcpu *v,
				 const struct engine_options *o,
				 struct nst_error *e)
{
	bool own = snapshot_has(v, SN_CPUID) && !o->cpu_asked;
	enum nst_status st = own ? NST_OK :
		cpu_model_set(c, o->cpu ? o->cpu : hv_cpu_models[0], e);

	if (st)
		return st;
	return o->cpu_asked ? load_on_model(c, v, e) : hv_vcpu_load(c, v, e);
}

static enum nst_status set_up(struct engine *g, struct snapshot *s,
			      const struct engine_options *o,
			      struct nst_error *e)
{
	char release[64];
	const char *l0 = l0_of(s, o, release, sizeof release);
	enum nst_status st = NST_OK;

	for (uint32_t i = 0; i < s->nvcpus; i++)
		if (!hv_vcpu_new(g->vm))
			return nst_fail(e, NST_SYSTEM, "out of memory");
	if (o->isolate)
		st = o->isolate(o->isolate_arg, e);
	if (!st)
		st = hv_set_l0(g->vm, l0, e);
	for (uint32_t i = 0; !st && i < s->nram; i++)
		st = hv_map_ram(g->vm, s->ram[i].gpa, s->ram[i].size,
				s->ram[i].host, e);
	for (uint32_t i = 0; !st && i < s->nvcpus; i++)
		st = load_vcpu(hv_vcpu(g->vm, i), &s->vcpu[i], o, e);
	if (!st)
		st = hv_vm_load(g->vm, s, e);
	if (!st && !o->ignore_devices)
		hv_stop_at_absent(g->vm, s);
	if (!st && o->builtin_l1)
		hv_use_builtin_l1(g->vm, o->ept_identity);
	return st;
}

static enum nst_status core_create(struct engine **out, struct snapshot *s,
				   const struct engine_options *o,
				   struct nst_error *e)
{
	struct engine *g = calloc(1, sizeof *g);
	enum nst_status st;

	if (!g || !(g->vm = hv_vm_new(&o->ops))) {
		free(g);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	st = set_up(g, s, o, e);
	if (st) {
		core_destroy(g);
		return st;
	}
	*out = g;
	return NST_OK;
}

static void core_run(struct engine *g, const struct hv_limits *limits,
		     struct hv_stop *stop)
{
	hv_run(g->vm, limits, stop);
}

static void core_request_stop(struct engine *g, uint64_t code)
{
	hv_request_stop(g->vm, code);
}

static enum nst_status core_save(struct engine *g, struct snapshot *s,
				 struct nst_error *e)
{
	enum nst_status st = hv_vm_save(g->vm, s, e);

	for (uint32_t i = 0; !st && i < s->nvcpus; i++)
		st = hv_vcpu_save(hv_vcpu(g->vm, i), &s->vcpu[i], e);
	return st;
}

static const struct hv_stats *core_stats(struct engine *g)
{
	return hv_stats(g->vm);
}

static struct vm *core_vm(struct engine *g)
{
	return g->vm;
}

const struct engine_ops engine_core = {
	.name = "core", .create = core_create, .run = core_run,
	.request_stop = core_request_stop, .save = core_save,
	.stats = core_stats, .core = core_vm, .destroy = core_destroy,
};
