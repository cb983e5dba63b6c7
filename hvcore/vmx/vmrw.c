/* vmrw.c: VMREAD and VMWRITE, on the current VMCS and, in non-root operation
 * with VMCS shadowing, on the shadow VMCS (SDM 25.10, 31.3). */
#include "hvcore/exec/ea.h"
#include "hvcore/exec/families.h"
#include "hvcore/exec/flags.h"
#include "hvcore/vmx/vmx.h"

enum { ERR_UNSUPPORTED_FIELD = 12, ERR_READ_ONLY = 13 };

/* -- shadowing ------------------------------------------------------------------- */
/* True: no exit.  Any bit above 14 that is set exits; the rest indexes the
 * bitmap. */
bool vmx_shadow_access(struct vcpu *c, uint64_t encoding, bool write)
{
	const struct vmx_ctl *k = &c->vmx->ctl;
	const uint8_t *map = write ? k->vmwrite_bitmap : k->vmread_bitmap;

	if (!(k->sec & SEC_SHADOW) || encoding >> 15 || !map)
		return false;
	return !(map[encoding >> 3] >> (encoding & 7) & 1);
}

/* While L2 runs, the shadow VMCS is cached; vmx_shadow_flush takes it back. */
void vmx_shadow_load(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	v->shadow_pa = VMX_NONE;
	if (!(v->ctl.sec & SEC_SHADOW))
		return;
	uint64_t pa = VGET(v, VMCS_LINK_POINTER);
	if (pa == VMX_NONE)
		return;
	phys_read(c, pa, v->shadow, VMCS12_SIZE);
	v->shadow_pa = pa;
}

void vmx_shadow_flush(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	if (v->shadow_pa != VMX_NONE)
		phys_write(c, v->shadow_pa, v->shadow, VMCS12_SIZE);
	v->shadow_pa = VMX_NONE;
}

/* -- operands ---------------------------------------------------------------------- */
static bool is64(const struct vcpu *c)
{
	return c->mode & MODE_CS64;
}

static uint64_t encoding_of(const struct vcpu *c, const struct insn *i)
{
	return is64(c) ? c->r[i->reg] : (uint32_t)c->r[i->reg];
}

/* The access goes to the shadow VMCS, or leaves, or is L1's own. */
static void decide(struct vcpu *c, const struct insn *i, uint64_t encoding,
		   bool write)
{
	if (!vmx_on(c) || !(c->cr0 & CR0_PE) || c->rflags & FLAG_VM ||
	    (c->efer & EFER_LMA && !is64(c)))
		cpu_raise(c, EXC_UD);
	if (c->nonroot && !vmx_shadow_access(c, encoding, write)) {
		VSET(c->vmx, VMX_INSTRUCTION_INFO, vmx_insn_info(c, i));
		vmx_exit_insn(c, write ? XR_VMWRITE : XR_VMREAD,
			      vmx_insn_disp(c, i));
	}
	if (c->cpl)
		cpu_raise_error(c, EXC_GP, 0);
}

/* The page to work on, or NULL: VMfailInvalid has been set. */
static uint8_t *target(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	if (c->nonroot ? v->shadow_pa == VMX_NONE : v->current == VMX_NONE) {
		vmx_fail_invalid(c);
		return NULL;
	}
	return c->nonroot ? v->shadow : v->page;
}

/* Index of a field that VMREAD finds, or -1: VMfailValid has been set. */
static int find(struct vcpu *c, uint64_t encoding)
{
	int idx = encoding >> 16 ? -1 : vmcs_field_index((uint32_t)encoding);

	if (idx >= 0 && vmx_knows_field(c, idx))
		return idx;
	vmx_fail_valid(c, ERR_UNSUPPORTED_FIELD);
	return -1;
}

/* -- the short way ---------------------------------------------------------------------- */
/* VMWRITE takes it to fields that it stores as they are and that are no high
 * halves; which fields there are depends on the model and the L0 profile. */
static bool plain_write(const struct vcpu *c, int idx)
{
	const struct vmcs_field *f = &vmcs_fields[idx];

	return (f->format != VF_ACCESS_RIGHTS ||
		c->vm->l0->ar_mask == 0xffffffff) &&
	       vmcs_type(f->encoding) != VMCS_READ_ONLY;
}

static void learn_slots(struct vcpu *c)
{
	struct vmx *v = c->vmx;

	if (likely(v->slots_known))
		return;
	v->slots_known = true;
	memset(v->slots, 0, sizeof v->slots);
	for (int idx = 0; idx < VMCS_FIELD_COUNT; idx++) {
		uint32_t encoding = vmcs_fields[idx].encoding;
		struct field_slot *s = &v->slots[field_slot(encoding)];

		if (encoding & ~FIELD_SLOT_BITS || !vmx_knows_field(c, idx) ||
		    v->l->offset[idx] > VMCS12_SIZE - 8)
			continue;
		s->offset = v->l->offset[idx];
		s->unused_bits = (uint8_t)(64 - 8 * vmcs_bytes(encoding));
		s->index = (uint8_t)idx;
		s->may_write = plain_write(c, idx);
	}
}

/* The field of the VMCS at hand, at CPL 0 of 64-bit code; NULL: the long way
 * finds out what is the matter. */
static inline const struct field_slot *
quick_slot(struct vcpu *c, uint64_t encoding, bool write, uint8_t **page)
{
	struct vmx *v = c->vmx;
	const struct field_slot *s = &v->slots[field_slot(encoding)];

	if (unlikely(encoding & ~(uint64_t)FIELD_SLOT_BITS || !s->offset ||
		     c->cpl || !(c->mode & MODE_CS64)))
		return NULL;
	if (c->nonroot) {
		*page = v->shadow;
		return v->shadow_pa != VMX_NONE &&
		       vmx_shadow_access(c, encoding, write) ? s : NULL;
	}
	*page = v->page;
	return v->current != VMX_NONE ? s : NULL;
}

static inline void quick_success(struct vcpu *c)
{
	cc_set(c, CC_ALL, 1, 0);
}

INSN_GLOBAL(vmread_fast)
{
	uint8_t *page;
	const struct field_slot *s = quick_slot(c, c->r[i->reg], false, &page);
	uint64_t v;

	if (unlikely(!s))
		TAIL(exec_slow, c, i);
	memcpy(&v, page + s->offset, 8);
	c->r[i->rm] = v << s->unused_bits >> s->unused_bits;
	c->vm->stats.vmread_shadowed += c->nonroot;
	quick_success(c);
	NEXT(c, i);
}

INSN_GLOBAL(vmwrite_fast)
{
	uint8_t *page;
	const struct field_slot *s = quick_slot(c, c->r[i->reg], true, &page);
	uint64_t old, change;

	if (unlikely(!s || !s->may_write))
		TAIL(exec_slow, c, i);
	memcpy(&old, page + s->offset, 8);
	change = (old ^ c->r[i->rm]) << s->unused_bits >> s->unused_bits;
	if (change) {
		old ^= change;
		memcpy(page + s->offset, &old, 8);
		if (!c->nonroot)
			vmx_field_changed(c->vmx, s->index);
	}
	c->vm->stats.vmwrite_shadowed += c->nonroot;
	quick_success(c);
	NEXT(c, i);
}

/* -- VMREAD --------------------------------------------------------------------------- */
static void put(struct vcpu *c, const struct insn *i, uint64_t value)
{
	if (!insn_is_mem(i))
		c->r[i->rm] = is64(c) ? value : (uint32_t)value;
	else if (is64(c))
		mem_write64(c, i, insn_linear(c, i), value);
	else
		mem_write32(c, i, insn_linear(c, i), (uint32_t)value);
}

void op_vmread(struct vcpu *c, const struct insn *i)
{
	uint64_t encoding = encoding_of(c, i), value;
	const uint8_t *page;
	int idx;

	decide(c, i, encoding, false);
	learn_slots(c);
	page = target(c);
	if (!page)
		return;
	idx = find(c, encoding);
	if (idx < 0)
		return;
	value = layout_get(c->vmx->l, page, idx);
	put(c, i, vmcs_is_high((uint32_t)encoding) ? value >> 32 : value);
	if (c->nonroot)
		c->vm->stats.vmread_shadowed++;
	vmx_succeed(c);
}

/* -- VMWRITE -------------------------------------------------------------------------- */
static uint64_t get(struct vcpu *c, const struct insn *i)
{
	if (!insn_is_mem(i))
		return is64(c) ? c->r[i->rm] : (uint32_t)c->r[i->rm];
	if (is64(c))
		return mem_read64(c, i, insn_linear(c, i));
	return mem_read32(c, i, insn_linear(c, i));
}

static void store(struct vcpu *c, uint8_t *page, int idx, uint32_t encoding,
		  uint64_t value)
{
	const struct layout *l = c->vmx->l;
	const struct vmcs_field *f = &vmcs_fields[idx];

	if (f->format == VF_ACCESS_RIGHTS)
		value &= c->vm->l0->ar_mask;
	if (vmcs_is_high(encoding))
		value = (value << 32) | (uint32_t)layout_get(l, page, idx);
	else if (vmcs_width(encoding) == VMCS_W64 && !is64(c))
		value = (layout_get(l, page, idx) & ~0xffffffffull) |
			(uint32_t)value;
	layout_set(l, page, idx, value);
}

void op_vmwrite(struct vcpu *c, const struct insn *i)
{
	struct vmx *v = c->vmx;
	uint64_t encoding = encoding_of(c, i), value;
	uint8_t *page;
	int idx;

	decide(c, i, encoding, true);
	value = get(c, i);
	learn_slots(c);
	page = target(c);
	if (!page)
		return;
	idx = find(c, encoding);
	if (idx < 0)
		return;
	if (vmcs_type((uint32_t)encoding) == VMCS_READ_ONLY &&
	    !(vmx_cap(&v->caps, 0x485) >> 29 & 1)) {
		vmx_fail_valid(c, ERR_READ_ONLY);
		return;
	}
	store(c, page, idx, (uint32_t)encoding, value);
	if (c->nonroot)
		c->vm->stats.vmwrite_shadowed++;
	else
		vmx_field_changed(v, (unsigned)idx);
	vmx_succeed(c);
}
