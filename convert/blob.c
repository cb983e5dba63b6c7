/* blob.c: the reader of raw nested states (struct kvm_nested_state as the ioctl
 * gives it) and of bare vmcs12 pages.  Neither has a magic number: they are
 * known by their shape. */
#include <string.h>

#include "convert/readers.h"
#include "convert/snapshot.h"
#include "convert/source.h"
#include "layouts/vmcs.h"

#define HEADER 128u
#define MOST (HEADER + 2 * VMCS12_SIZE)
#define NONE 0xffffffffffffffffull

static bool is_revision(uint32_t word)
{
	return (word & 0x7fffffff) == VMCS12_REVISION;
}

/* Whether this is a header that some kernel could have written; why not, as
 * text, or NULL where it could. */
static const char *bad_header(const struct kvm_nested_state *h, uint64_t size)
{
	static const uint8_t zero[HEADER];

	if (size < HEADER)
		return "shorter than the 128-byte header of a nested state";
	if (h->format > KVM_STATE_NESTED_FORMAT_SVM)
		return "format is neither VMX (0) nor SVM (1)";
	if (h->flags & ~0x10f)
		return "unknown flags";
	if (h->size < HEADER || h->size > 1u << 20)
		return "the header's size field is out of range";
	if (memcmp((const uint8_t *)h + 40, zero, HEADER - 40))
		return "bytes 40 to 127 of the header are not zero";
	if (h->format == KVM_STATE_NESTED_FORMAT_VMX &&
	    h->hdr.vmx.vmxon_pa != NONE && h->hdr.vmx.vmxon_pa & 0xfff)
		return "vmxon_pa is not page-aligned";
	return NULL;
}

static void read_header(struct kvm_nested_state *h, const uint8_t *p, size_t len)
{
	memset(h, 0, HEADER);
	memcpy(h, p, len < HEADER ? len : HEADER);
}

static bool is_bare_page(const uint8_t *p, size_t len, uint64_t size)
{
	uint32_t word;

	if (size != VMCS12_SIZE || len < 4)
		return false;
	memcpy(&word, p, 4);
	return is_revision(word);
}

/* Small files only: what is longer than a buffer is no blob. */
static int probe(const uint8_t *head, size_t len, uint64_t size)
{
	union { struct kvm_nested_state h; uint8_t b[HEADER]; } u;

	if (is_bare_page(head, len, size))
		return 60;
	if (size > MOST + 65536)
		return 0;
	read_header(&u.h, head, len);
	if (!bad_header(&u.h, size))
		return 50;
	/* Nothing else claims a file of this size: say what is wrong with it. */
	return size <= MOST ? 1 : 0;
}

static enum nst_status open_blob(struct container *c, struct nst_error *e)
{
	union { struct kvm_nested_state h; uint8_t b[HEADER]; } u;
	uint64_t size = source_size(c->src);
	const uint8_t *p = source_at(c->src, 0, size);
	struct container_state *s;
	const char *why;

	if (is_bare_page(p, size, size)) {
		s = container_add_state(c, -1, p, VMCS12_SIZE, 0);
		if (s)
			s->bare_page = true;
		return s ? NST_OK : nst_fail(e, NST_SYSTEM, "out of memory");
	}
	read_header(&u.h, p, size);
	why = bad_header(&u.h, size);
	if (why)
		return nst_fail(e, NST_BAD_INPUT, "not a nested state: %s", why);
	if (u.h.size > size)
		return nst_fail(e, NST_BAD_INPUT, "cut: the header says %u bytes, "
				"the file has %llu", u.h.size,
				(unsigned long long)size);
	if (u.h.size >= HEADER + VMCS12_SIZE &&
	    u.h.format == KVM_STATE_NESTED_FORMAT_VMX) {
		uint32_t word;
		memcpy(&word, p + HEADER, 4);
		if (!is_revision(word))
			return nst_fail(e, NST_BAD_INPUT, "the vmcs12 at byte "
				"128 has revision id 0x%08x, not 0x%08x", word,
				VMCS12_REVISION);
	}
	return container_add_state(c, -1, p, (uint32_t)size, 0) ? NST_OK :
		nst_fail(e, NST_SYSTEM, "out of memory");
}

/* A nested state alone: the caller finds RAM elsewhere. */
static enum nst_status load(struct container *c, struct snapshot *s,
			    struct nst_error *e)
{
	if (c->states[0].bare_page)
		return nst_fail(e, NST_BAD_INPUT, "a bare vmcs12 page cannot "
				"be resumed: it has no RAM and no registers");
	return snapshot_set_nested(s, 0, c->states[0].data, c->states[0].size) ?
		NST_OK : nst_fail(e, NST_SYSTEM, "out of memory");
}

const struct container_ops reader_blob = {
	.kind = "raw nested state", .probe = probe, .open = open_blob,
	.load = load,
};
