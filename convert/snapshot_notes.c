/* snapshot_notes.c: KVM's structs as ELF notes, one table for both directions. */
#include <stdlib.h>
#include <string.h>

#include "convert/snapshot.h"
#include "convert/snapshot_notes.h"

#define V(member) offsetof(struct snapshot_vcpu, member), \
	sizeof(((struct snapshot_vcpu *)0)->member)

/* The structs of fixed size that stand in struct snapshot_vcpu. */
static const struct fixed {
	uint32_t type;
	size_t at, size;
} fixed[] = {
	{ SN_REGS, V(regs) }, { SN_SREGS, V(sregs) }, { SN_SREGS2, V(sregs2) },
	{ SN_XCRS, V(xcrs) }, { SN_EVENTS, V(events) },
	{ SN_DEBUGREGS, V(debugregs) }, { SN_MP_STATE, V(mp_state) },
	{ SN_LAPIC, V(lapic) }, { SN_TSC_KHZ, V(tsc_khz) },
};
#define NFIXED (sizeof fixed / sizeof *fixed)

static void *copy(const void *data, size_t size)
{
	void *p = malloc(size ? size : 1);

	return p ? memcpy(p, data, size) : NULL;
}

/* A count, padding, then count entries of a fixed size. */
static int take_list(const uint8_t *data, uint32_t size, size_t head,
		     size_t each, void **out, uint32_t *count)
{
	uint32_t n;

	if (size < head)
		return -1;
	memcpy(&n, data, 4);
	if ((size - head) / each < n)
		return -1;
	free(*out);
	*out = copy(data + head, n * each);
	*count = n;
	return *out ? 1 : -1;
}

static int take_bytes(const uint8_t *data, uint32_t size, uint8_t **out,
		      uint32_t *out_size)
{
	free(*out);
	*out = copy(data, size);
	*out_size = size;
	return *out ? 1 : -1;
}

static int take_variable(struct snapshot_vcpu *v, uint32_t type,
			 const uint8_t *data, uint32_t size)
{
	switch (type) {
	case SN_MSRS:
		return take_list(data, size, sizeof(struct kvm_msrs),
				 sizeof *v->msrs, (void **)&v->msrs, &v->nmsrs);
	case SN_CPUID:
		return take_list(data, size, sizeof(struct kvm_cpuid2),
				 sizeof *v->cpuid, (void **)&v->cpuid,
				 &v->ncpuid);
	case SN_XSAVE:
		return size < 4096 ? -1 :
			take_bytes(data, size, &v->xsave, &v->xsave_size);
	case SN_NESTED:
		return size < 128 ? -1 :
			take_bytes(data, size, &v->nested, &v->nested_size);
	}
	return 0;
}

static int take_irqchip(struct snapshot *s, const uint8_t *data, uint32_t size)
{
	struct kvm_irqchip chip;

	if (size != sizeof chip)
		return -1;
	memcpy(&chip, data, sizeof chip);
	if (chip.chip_id >= 3)
		return -1;
	s->irqchip[chip.chip_id] = chip;
	s->have_irqchip[chip.chip_id] = true;
	s->have |= 1u << SN_IRQCHIP;
	return 1;
}

/* The core's own note of absent devices: struct snapshot_region, repeated. */
int snapshot_take_own_note(struct snapshot *s, uint32_t type, const uint8_t *data,
			   uint32_t size)
{
	struct snapshot_region r;

	if (type != NOTE_REGIONS)
		return 0;
	if (size % sizeof r)
		return -1;
	for (; size; size -= (uint32_t)sizeof r, data += sizeof r) {
		memcpy(&r, data, sizeof r);
		r.device[sizeof r.device - 1] = 0;
		if (!snapshot_add_region(s, r.device, r.kind, r.first, r.size))
			return -1;
	}
	return 1;
}

static int take_vm(struct snapshot *s, uint32_t type, const uint8_t *data,
		   uint32_t size)
{
	switch (type) {
	case SN_ORIGIN:
		free(s->origin);
		s->origin = strndup((const char *)data, size);
		return s->origin ? 1 : -1;
	case SN_IRQCHIP:
		return take_irqchip(s, data, size);
	case SN_PIT:
		if (size != sizeof s->pit)
			return -1;
		memcpy(&s->pit, data, size);
		s->have |= 1u << SN_PIT;
		return 1;
	case SN_CLOCK:
		if (size != sizeof s->clock)
			return -1;
		memcpy(&s->clock, data, size);
		s->have |= 1u << SN_CLOCK;
		return 1;
	}
	return 0;
}

int snapshot_take_note(struct snapshot *s, uint32_t type, uint32_t vcpu,
		       const uint8_t *data, uint32_t size)
{
	struct snapshot_vcpu *v;
	int taken = take_vm(s, type, data, size);

	if (taken)
		return taken;
	if (vcpu >= s->nvcpus)
		return -1;
	v = &s->vcpu[vcpu];
	for (size_t i = 0; i < NFIXED; i++) {
		if (fixed[i].type != type)
			continue;
		if (size != fixed[i].size)
			return -1;
		memcpy((char *)v + fixed[i].at, data, size);
		taken = 1;
	}
	if (!taken)
		taken = take_variable(v, type, data, size);
	if (taken > 0)
		v->have |= 1u << type;
	return taken;
}

bool snapshot_set_nested(struct snapshot *s, uint32_t vcpu, const void *data,
			 uint32_t size)
{
	return snapshot_take_note(s, SN_NESTED, vcpu, data, size) > 0;
}

static struct snapshot_extra *find_extra(struct snapshot *s, const char *name,
					 uint32_t type, uint32_t vcpu)
{
	struct snapshot_extra *x;

	for (uint32_t i = 0; i < s->nextra; i++) {
		x = &s->extra[i];
		if (!strcmp(x->name, name) && x->type == type && x->vcpu == vcpu)
			return x;
	}
	x = realloc(s->extra, (s->nextra + 1) * sizeof *x);
	if (!x)
		return NULL;
	s->extra = x;
	x += s->nextra++;
	*x = (struct snapshot_extra){ .type = type, .vcpu = vcpu };
	strncpy(x->name, name, sizeof x->name - 1);
	return x;
}

bool snapshot_replace_note(struct snapshot *s, const char *name, uint32_t type,
			   uint32_t vcpu, const uint8_t *data, uint32_t size)
{
	struct snapshot_extra *x;
	int taken = 0;

	if (!strcmp(name, "NSTATE") && type == NOTE_REGIONS)
		s->nregions = 0;
	if (!strcmp(name, "KVM"))
		taken = snapshot_take_note(s, type, vcpu, data, size);
	else if (!strcmp(name, "NSTATE"))
		taken = snapshot_take_own_note(s, type, data, size);
	if (taken)
		return taken > 0;
	x = find_extra(s, name, type, vcpu);
	if (!x)
		return false;
	free(x->data);
	x->data = copy(data, size);
	x->size = x->data ? size : 0;
	return x->data != NULL;
}

/* -- writing ------------------------------------------------------------------ */

static bool put_list(const struct note_sink *k, uint32_t type, uint32_t vcpu,
		     size_t head, const void *entries, size_t each, uint32_t n)
{
	uint8_t *buf = calloc(1, head + n * each);
	bool good;

	if (!buf)
		return false;
	memcpy(buf, &n, 4);
	memcpy(buf + head, entries, n * each);
	good = k->put(k->arg, "KVM", type, vcpu, buf, (uint32_t)(head + n * each));
	free(buf);
	return good;
}

static bool put_vcpu(const struct note_sink *k, const struct snapshot_vcpu *v,
		     uint32_t id)
{
	bool good = true;

	for (size_t i = 0; good && i < NFIXED; i++)
		if (v->have >> fixed[i].type & 1)
			good = k->put(k->arg, "KVM", fixed[i].type, id,
				      (const char *)v + fixed[i].at,
				      (uint32_t)fixed[i].size);
	if (good && snapshot_has(v, SN_MSRS))
		good = put_list(k, SN_MSRS, id, sizeof(struct kvm_msrs), v->msrs,
				sizeof *v->msrs, v->nmsrs);
	if (good && snapshot_has(v, SN_XSAVE))
		good = k->put(k->arg, "KVM", SN_XSAVE, id, v->xsave,
			      v->xsave_size);
	if (good && snapshot_has(v, SN_CPUID))
		good = put_list(k, SN_CPUID, id, sizeof(struct kvm_cpuid2),
				v->cpuid, sizeof *v->cpuid, v->ncpuid);
	if (good && snapshot_has(v, SN_NESTED))
		good = k->put(k->arg, "KVM", SN_NESTED, id, v->nested,
			      v->nested_size);
	return good;
}

bool snapshot_put_notes(const struct snapshot *s, const struct note_sink *k)
{
	bool good = true;

	if (s->origin)
		good = k->put(k->arg, "KVM", SN_ORIGIN, 0, s->origin,
			      (uint32_t)strlen(s->origin));
	for (uint32_t i = 0; good && i < s->nvcpus; i++)
		good = put_vcpu(k, &s->vcpu[i], i);
	for (uint32_t i = 0; good && i < 3; i++)
		if (s->have_irqchip[i])
			good = k->put(k->arg, "KVM", SN_IRQCHIP, 0,
				      &s->irqchip[i], sizeof s->irqchip[i]);
	if (good && s->have >> SN_PIT & 1)
		good = k->put(k->arg, "KVM", SN_PIT, 0, &s->pit, sizeof s->pit);
	if (good && s->have >> SN_CLOCK & 1)
		good = k->put(k->arg, "KVM", SN_CLOCK, 0, &s->clock,
			      sizeof s->clock);
	if (good && s->nregions)
		good = k->put(k->arg, "NSTATE", NOTE_REGIONS, 0, s->region,
			      (uint32_t)(s->nregions * sizeof *s->region));
	for (uint32_t i = 0; good && i < s->nextra; i++)
		good = k->put(k->arg, s->extra[i].name, s->extra[i].type,
			      s->extra[i].vcpu, s->extra[i].data,
			      s->extra[i].size);
	return good;
}
