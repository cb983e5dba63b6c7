/* engine_core.c: the engine that is the embedded core. */
#include <stdlib.h>

#include "cli/resume/engine.h"

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
	for (uint32_t i = 0; !st && i < s->nvcpus; i++) {
		struct vcpu *c = hv_vcpu(g->vm, i);

		if (o->cpu || !snapshot_has(&s->vcpu[i], SN_CPUID))
			st = hv_vcpu_set_model(c, o->cpu ? o->cpu : hv_cpu_models[0], e);
	}
	for (uint32_t i = 0; !st && i < s->nvcpus; i++)
		st = hv_vcpu_load(hv_vcpu(g->vm, i), &s->vcpu[i], e);
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
