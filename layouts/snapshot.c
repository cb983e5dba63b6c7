/* snapshot.c: makes and frees struct snapshot, and finds things in one. */
#include "layouts/snapshot.h"

#include <stdlib.h>
#include <string.h>

struct snapshot *snapshot_new(uint32_t nvcpus)
{
	struct snapshot *s = calloc(1, sizeof *s);

	if (!s)
		return NULL;
	s->vcpu = calloc(nvcpus ? nvcpus : 1, sizeof *s->vcpu);
	if (!s->vcpu) {
		free(s);
		return NULL;
	}
	s->nvcpus = nvcpus;
	return s;
}

void snapshot_vcpu_clear(struct snapshot_vcpu *v)
{
	free(v->msrs);
	free(v->xsave);
	free(v->cpuid);
	free(v->nested);
	v->msrs = NULL;
	v->xsave = v->nested = NULL;
	v->cpuid = NULL;
	v->nmsrs = v->xsave_size = v->ncpuid = v->nested_size = 0;
}

void snapshot_free(struct snapshot *s)
{
	if (!s)
		return;
	for (uint32_t i = 0; i < s->nvcpus; i++)
		snapshot_vcpu_clear(&s->vcpu[i]);
	for (uint32_t i = 0; i < s->nextra; i++)
		free(s->extra[i].data);
	if (s->release)
		s->release(s);
	free(s->extra);
	free(s->region);
	free(s->origin);
	free(s->ram);
	free(s->vcpu);
	free(s);
}

struct kvm_msr_entry *snapshot_msr(const struct snapshot_vcpu *v,
				   uint32_t index)
{
	for (uint32_t i = 0; i < v->nmsrs; i++)
		if (v->msrs[i].index == index)
			return &v->msrs[i];
	return NULL;
}

bool snapshot_origin(const struct snapshot *s, const char *key, char *buf,
		     size_t len)
{
	size_t klen = strlen(key);

	for (const char *p = s->origin; p && *p; p = strchr(p, '\n')) {
		while (*p == '\n')
			p++;
		if (strncmp(p, key, klen) || p[klen] != '=')
			continue;
		size_t n = strcspn(p + klen + 1, "\n");
		if (n >= len)
			n = len - 1;
		memcpy(buf, p + klen + 1, n);
		buf[n] = 0;
		return true;
	}
	return false;
}

bool snapshot_add_region(struct snapshot *s, const char *device,
			 enum snapshot_region_kind kind, uint64_t first,
			 uint64_t size)
{
	struct snapshot_region *r;

	if (s->nregions == SNAPSHOT_MAX_REGIONS)
		return false;
	r = realloc(s->region, (s->nregions + 1) * sizeof *r);
	if (!r)
		return false;
	s->region = r;
	r += s->nregions++;
	*r = (struct snapshot_region){ .kind = kind, .first = first,
				       .size = size };
	strncpy(r->device, device, sizeof r->device - 1);
	return true;
}

uint8_t *snapshot_ram_at(const struct snapshot *s, uint64_t gpa, uint64_t len)
{
	uint32_t from = 0, to = s->nram;

	while (from < to) {
		uint32_t mid = from + (to - from) / 2;
		const struct snapshot_ram *r = &s->ram[mid];

		if (gpa < r->gpa)
			to = mid;
		else if (gpa - r->gpa >= r->size)
			from = mid + 1;
		else
			return len <= r->size - (gpa - r->gpa) ?
				r->host + (gpa - r->gpa) : NULL;
	}
	return NULL;
}
