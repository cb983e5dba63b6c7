/* phys.c: L1's physical memory: RAM slots, device regions, or nothing.
 *
 * Owns the look-up of slots; the slots themselves belong to struct vm.  Every
 * write to RAM that does not go through a TLB entry ends in phys_written, which
 * tells the block cache, the VMX page cache and the host.
 */
#include "hvcore/mem/tlb.h"

static const struct ram_slot *find_slot(struct vm *vm, uint64_t gpa)
{
	const struct ram_slot *s;
	unsigned lo = 0, hi = vm->nslots;

	if (likely(vm->slot_hint < vm->nslots)) {
		s = &vm->slots[vm->slot_hint];
		if (likely(gpa - s->gpa < s->size))
			return s;
	}
	while (lo < hi) {
		unsigned mid = (lo + hi) / 2;

		s = &vm->slots[mid];
		if (gpa < s->gpa) {
			hi = mid;
		} else if (gpa - s->gpa >= s->size) {
			lo = mid + 1;
		} else {
			vm->slot_hint = mid;
			return s;
		}
	}
	return NULL;
}

uint8_t *phys_ptr(struct vm *vm, uint64_t gpa, uint64_t len)
{
	const struct ram_slot *s = find_slot(vm, gpa);

	if (!s || len > s->size - (gpa - s->gpa))
		return NULL;
	return s->host + (gpa - s->gpa);
}

uint8_t *phys_flags(struct vm *vm, uint64_t gpa)
{
	const struct ram_slot *s = find_slot(vm, gpa);

	return s ? &s->flags[(gpa - s->gpa) >> PAGE_BITS] : NULL;
}

const struct mmio_region *phys_mmio(struct vm *vm, uint64_t gpa)
{
	if (unlikely(vm->nmmio != vm->mmio_known)) {
		/* Nearly all RAM lies below the first device. */
		vm->mmio_known = vm->nmmio;
		vm->mmio_floor = ~0ull;
		for (unsigned i = 0; i < vm->nmmio; i++)
			if (vm->mmio[i].gpa < vm->mmio_floor)
				vm->mmio_floor = vm->mmio[i].gpa;
	}
	if (likely(gpa < vm->mmio_floor))
		return NULL;
	for (unsigned i = 0; i < vm->nmmio; i++)
		if (gpa - vm->mmio[i].gpa < vm->mmio[i].size)
			return &vm->mmio[i];
	return NULL;
}

bool phys_is_ram(struct vm *vm, uint64_t gpa)
{
	return !phys_mmio(vm, gpa) &&
	       phys_ptr(vm, gpa & ~PAGE_MASK, PAGE_MASK + 1);
}

void phys_written(struct vcpu *c, uint64_t gpa, unsigned len)
{
	uint8_t *flags = phys_flags(c->vm, gpa);

	if (likely(!flags || !*flags))
		return;
	if (*flags & PAGE_TABLE)
		tables_written(c->vm, flags);
	if (*flags & PAGE_CODE)
		block_invalidate(c->vm, gpa, len);
	if (*flags & PAGE_WATCH)
		vmx_watch_write(c, gpa, len);
	if (*flags & PAGE_NOTIFY && c->vm->ops.write)
		c->vm->ops.write(c->vm->ops.arg, c->id, gpa, len);
}

/* Largest power of two that divides off and is at most len and 8. */
static unsigned mmio_chunk(uint64_t off, unsigned len)
{
	unsigned n = 8;

	while (n > len || off & (n - 1))
		n /= 2;
	return n;
}

/* Bytes of [gpa, gpa+len) that lie in the page of gpa. */
static unsigned page_chunk(uint64_t gpa, unsigned len)
{
	uint64_t left = PAGE_MASK + 1 - (gpa & PAGE_MASK);

	return left < len ? (unsigned)left : len;
}

static void mmio_read(struct vcpu *c, const struct mmio_region *m, uint64_t gpa,
		      uint8_t *buf, unsigned len)
{
	while (len) {
		uint64_t off = gpa - m->gpa;
		unsigned n = mmio_chunk(off, len);
		uint64_t v = m->read(m->dev, c, off, n);

		memcpy(buf, &v, n);
		buf += n;
		gpa += n;
		len -= n;
	}
}

static void mmio_write(struct vcpu *c, const struct mmio_region *m,
		       uint64_t gpa, const uint8_t *buf, unsigned len)
{
	while (len) {
		uint64_t off = gpa - m->gpa, v = 0;
		unsigned n = mmio_chunk(off, len);

		memcpy(&v, buf, n);
		m->write(m->dev, c, off, n, v);
		buf += n;
		gpa += n;
		len -= n;
	}
}

void phys_read(struct vcpu *c, uint64_t gpa, void *buf, unsigned len)
{
	uint8_t *out = buf;

	while (len) {
		unsigned n = page_chunk(gpa, len);
		const struct mmio_region *m = phys_mmio(c->vm, gpa);
		const uint8_t *p = m ? NULL : phys_ptr(c->vm, gpa, n);

		if (m)
			mmio_read(c, m, gpa, out, n);
		else if (p)
			memcpy(out, p, n);
		else
			memset(out, 0xff, n);
		out += n;
		gpa += n;
		len -= n;
	}
}

void phys_write(struct vcpu *c, uint64_t gpa, const void *buf, unsigned len)
{
	const uint8_t *in = buf;

	while (len) {
		unsigned n = page_chunk(gpa, len);
		const struct mmio_region *m = phys_mmio(c->vm, gpa);
		uint8_t *p = m ? NULL : phys_ptr(c->vm, gpa, n);

		if (m) {
			mmio_write(c, m, gpa, in, n);
		} else if (p) {
			memcpy(p, in, n);
			phys_written(c, gpa, n);
		}
		in += n;
		gpa += n;
		len -= n;
	}
}

uint64_t phys_read64(struct vcpu *c, uint64_t gpa)
{
	uint64_t v;

	phys_read(c, gpa, &v, sizeof v);
	return v;
}

uint32_t phys_read32(struct vcpu *c, uint64_t gpa)
{
	uint32_t v;

	phys_read(c, gpa, &v, sizeof v);
	return v;
}

void phys_write64(struct vcpu *c, uint64_t gpa, uint64_t v)
{
	phys_write(c, gpa, &v, sizeof v);
}

void phys_write32(struct vcpu *c, uint64_t gpa, uint32_t v)
{
	phys_write(c, gpa, &v, sizeof v);
}
