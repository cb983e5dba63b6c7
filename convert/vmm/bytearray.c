/* bytearray.c: rewrites lists of numbers in a file of another kind. */
#include "convert/vmm/bytearray.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/codec.h"
#include "convert/source.h"

bool byte_lists_add(struct byte_lists *l, uint64_t from, uint64_t to)
{
	struct byte_list *v = realloc(l->v, (l->n + 1) * sizeof *v);

	if (!v)
		return false;
	l->v = v;
	v[l->n++] = (struct byte_list){ from, to };
	return true;
}

static const struct container_patch *patch_of(const struct container_patch *p,
					      size_t n, uint32_t state)
{
	for (size_t i = 0; i < n; i++)
		if (p[i].kind == PATCH_STATE && p[i].state == state)
			return &p[i];
	return NULL;
}

enum nst_status byte_lists_rewrite(struct container *c,
				   const struct byte_lists *l, int fd,
				   const struct container_patch *p, size_t n,
				   struct nst_error *e)
{
	uint64_t size = source_size(c->src), at = 0;
	const uint8_t *file = source_at(c->src, 0, size);
	bool good = true;

	for (uint32_t i = 0; good && i < l->n; i++) {
		const struct container_patch *q = patch_of(p, n, i);
		size_t len;
		uint8_t *text;

		if (!q)
			continue;
		text = l->encode(q->data, c->states[i].size, &len);
		if (!text)
			return nst_fail(e, NST_SYSTEM, "out of memory");
		good = !codec_write_all(fd, file + at, l->v[i].from - at) &&
			!codec_write_all(fd, text, len);
		at = l->v[i].to;
		free(text);
	}
	good = good && !codec_write_all(fd, file + at, size - at);
	return good ? NST_OK : nst_fail(e, NST_SYSTEM, "cannot write: %s",
					strerror(errno));
}

enum nst_status byte_lists_place(struct container *c,
				 const struct container_patch *p,
				 container_put_fn *put, void *arg,
				 struct nst_error *e)
{
	(void)c, (void)p, (void)put, (void)arg;
	return nst_fail(e, NST_BAD_INPUT, "the nested state is a list of numbers, "
			"whose length changes: write a new file with -o");
}

bool nested_plausible(const uint8_t *p, uint32_t n)
{
	return n >= 128 && le_at(p + 2, 2) <= 1 && le_at(p + 4, 4) >= 128 &&
	       le_at(p + 4, 4) <= n;
}

void fill_container_vcpu(struct container_vcpu *v, const uint8_t *regs,
			 uint32_t nregs, const uint8_t *sregs, uint32_t nsregs)
{
	struct kvm_regs r;
	struct kvm_sregs s;

	if (nregs != sizeof r || nsregs != sizeof s)
		return;
	memcpy(&r, regs, sizeof r);
	memcpy(&s, sregs, sizeof s);
	*v = (struct container_vcpu){ true, r.rip, r.rsp, s.cr0, s.cr3, s.cr4,
				      s.efer };
}
