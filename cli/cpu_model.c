/* cpu_model.c: a CPU model as the command line names it: a model of the core's,
 * with CPUID bits masked.  The bits' names are in cpu_features.def.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/cpu_model.h"

enum { EAX, EBX, ECX, EDX };
static const struct feature {
	const char *name;
	uint32_t leaf, sub;
	unsigned reg, bit;
} features[] = {
#define F(name, leaf, sub, reg, bit) { name, leaf, sub, reg, bit },
#include "cli/cpu_features.def"
#undef F
};
#define NFEATURES (sizeof features / sizeof features[0])

static const struct {
	const char *start, *model;
} names[] = {
#define N(start, model) { start, model },
#include "cli/cpu_names.def"
#undef N
};

const char *cpu_model_of(const struct snapshot *s, char *why, size_t len)
{
	const char *model = hv_cpu_models[0];
	char name[100];
	bool known = false;

	*why = 0;
	if (!s->nvcpus || snapshot_has(&s->vcpu[0], SN_CPUID))
		return NULL;
	if (!snapshot_origin(s, "cpu", name, sizeof name)) {
		snprintf(why, len, "no CPUID table in it: the CPU is taken for %s "
			 "(--cpu names another)", model);
		return model;
	}
	for (size_t i = 0; i < sizeof names / sizeof *names && !known; i++)
		if ((known = !strncmp(name, names[i].start, strlen(names[i].start))))
			model = names[i].model;
	snprintf(why, len, "no CPUID table in it: the CPU, %s by its XML, is taken for "
		 "%s (--cpu names another)", name, model);
	return model;
}

void cpu_model_list(void)
{
	for (const char *const *m = hv_cpu_models; *m; m++)
		puts(*m);
	printf("features, to take away or add (MODEL,-x,+y):");
	for (size_t i = 0; i < NFEATURES; i++)
		printf("%s%s", i % 8 ? " " : "\n  ", features[i].name);
	putchar('\n');
}

static bool change(struct snapshot_vcpu *v, const struct feature *f, bool on)
{
	for (uint32_t i = 0; i < v->ncpuid; i++) {
		struct kvm_cpuid_entry2 *e = &v->cpuid[i];
		uint32_t *r[] = { &e->eax, &e->ebx, &e->ecx, &e->edx };
		uint32_t bit = 1u << f->bit;

		if (e->function != f->leaf || e->index != f->sub)
			continue;
		*r[f->reg] = on ? *r[f->reg] | bit : *r[f->reg] & ~bit;
		return true;
	}
	return false;
}

static enum nst_status apply(struct snapshot_vcpu *v, const char *word,
			     size_t len, struct nst_error *e)
{
	if (len > 1 && (*word == '-' || *word == '+'))
		for (size_t i = 0; i < NFEATURES; i++) {
			if (strlen(features[i].name) != len - 1 ||
			    memcmp(features[i].name, word + 1, len - 1))
				continue;
			if (change(v, &features[i], *word == '+') ||
			    *word == '-')
				return NST_OK;
			return nst_fail(e, NST_USAGE, "this CPU model has no "
					"CPUID leaf for %s", features[i].name);
		}
	return nst_fail(e, NST_USAGE, "not a CPU feature with + or - before "
			"it: %.*s (--cpu help lists them)", (int)len, word);
}

enum nst_status cpu_model_set(struct vcpu *c, const char *text,
			      struct nst_error *e)
{
	size_t len = strcspn(text, ",");
	struct snapshot_vcpu v = { 0 }, table = { 0 };
	char *name = len ? strndup(text, len) : strdup(hv_cpu_models[0]);
	enum nst_status st;

	if (!name)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	st = hv_vcpu_set_model(c, name, e);
	free(name);
	if (st || !text[len])
		return st;
	st = hv_vcpu_save(c, &v, e);
	for (text += len + 1; !st && *text; text += len + (text[len] == ',')) {
		len = strcspn(text, ",");
		st = apply(&v, text, len, e);
	}
	table.have = 1u << SN_CPUID;
	table.cpuid = v.cpuid;
	table.ncpuid = v.ncpuid;
	if (!st)
		st = hv_vcpu_load(c, &table, e);
	snapshot_vcpu_clear(&v);
	return st;
}
