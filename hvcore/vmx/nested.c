/* nested.c: struct kvm_nested_state in and out, as KVM_SET_NESTED_STATE and
 * KVM_GET_NESTED_STATE have it (arch/x86/kvm/vmx/nested.c). */
#include <linux/kvm.h>
#include <stdlib.h>

#include "hvcore/vmx/vmx.h"

#define HEADER 128u
#define PAGE VMCS12_SIZE
/* KVM's preemption timer counts every 32nd TSC tick, its deadline too. */
#define KVM_PTIMER_SHIFT 5

struct header {
	uint16_t flags, format;
	uint32_t size;
	uint64_t vmxon_pa, vmcs12_pa;
	uint16_t smm_flags, pad;
	uint32_t vmx_flags;
	uint64_t deadline;
	uint8_t tail[88];
};
_Static_assert(sizeof(struct header) == HEADER, "kvm_nested_state header");

static bool page_ok(const struct vcpu *c, uint64_t pa)
{
	return !(pa & PAGE_MASK) && !(pa >> maxphyaddr(c));
}

static enum nst_status check_header(const struct vcpu *c, const struct header *h,
				    uint32_t size, struct nst_error *e)
{
	if (h->format != KVM_STATE_NESTED_FORMAT_VMX)
		return nst_fail(e, NST_BAD_INPUT, "the nested state is SVM's; "
				"the core virtualizes VMX");
	if (h->flags & KVM_STATE_NESTED_EVMCS)
		return nst_fail(e, NST_BAD_INPUT, "an enlightened VMCS is in use "
				"(flag EVMCS): the core has no Hyper-V interface");
	if (h->size < HEADER || h->size > size)
		return nst_fail(e, NST_BAD_INPUT, "nested state: size %u of %u "
				"bytes", h->size, size);
	if (h->vmxon_pa == VMX_NONE)
		return NST_OK;
	if (!page_ok(c, h->vmxon_pa))
		return nst_fail(e, NST_BAD_INPUT, "vmxon_pa 0x%llx is no page "
				"address", (unsigned long long)h->vmxon_pa);
	if (h->smm_flags)
		return nst_fail(e, NST_BAD_INPUT, "VMX operation is parked in "
				"SMM (smm.flags 0x%x): not supported",
				h->smm_flags);
	if (h->vmcs12_pa != VMX_NONE &&
	    (!page_ok(c, h->vmcs12_pa) || h->vmcs12_pa == h->vmxon_pa))
		return nst_fail(e, NST_BAD_INPUT, "vmcs12_pa 0x%llx is no page "
				"address", (unsigned long long)h->vmcs12_pa);
	if (h->vmcs12_pa != VMX_NONE && h->size < HEADER + PAGE)
		return nst_fail(e, NST_BAD_INPUT, "the nested state names a "
				"current VMCS and is too short to hold it");
	if (h->flags & KVM_STATE_NESTED_GUEST_MODE && h->vmcs12_pa == VMX_NONE)
		return nst_fail(e, NST_BAD_INPUT, "guest mode without a current "
				"VMCS");
	return NST_OK;
}

/* What KVM checks again of a vmcs12 whose L2 goes on: all that does not depend on
 * where L2 has got to since. */
static enum nst_status check_vmcs12(struct vcpu *c, struct nst_error *e)
{
	struct vmx *v = c->vmx;
	struct vmx_check_ctx x;

	hv_check_context(c, v->page, v->current, &x);
	x.host_lma = v->ctl.exit & EXIT_HOST64;
	for (unsigned n = 0; n < vmx_check_count; n++)
		if (vmx_checks[n].kvm && !vmx_check_holds(&vmx_checks[n], &x))
			return nst_fail(e, NST_BAD_INPUT, "L2 cannot go on: %s (rule "
					"%s, SDM %s)", vmx_checks[n].sentence,
					vmx_checks[n].id, vmx_checks[n].section);
	return NST_OK;
}

/* L2 was running: its registers are in the vCPU already. */
static enum nst_status enter_guest(struct vcpu *c, const struct header *h,
				   const uint8_t *blob, struct nst_error *e)
{
	struct vmx *v = c->vmx;
	enum nst_status st;

	vmx_decode_controls(c);
	if (v->ctl.sec & SEC_SHADOW &&
	    VGET(v, VMCS_LINK_POINTER) != VMX_NONE &&
	    h->size < HEADER + 2 * PAGE)
		return nst_fail(e, NST_BAD_INPUT, "VMCS shadowing is on and the "
				"nested state lacks the shadow vmcs12");
	st = check_vmcs12(c, e);
	if (st)
		return st;
	/* As KVM: segments come from the vmcs12, which tells more of unusable
	 * ones than kvm_sregs can. */
	vmx_load_segments(c);
	c->dr6_pending = VGET(v, GUEST_PENDING_DBG_EXCEPTIONS);
	vmx_start_guest(c, false);
	/* The preemption timer had been started: it ends when it would have. */
	if (v->ctl.pin & PIN_PTIMER &&
	    h->vmx_flags & KVM_STATE_VMX_PREEMPTION_TIMER_DEADLINE) {
		v->ptimer_due = h->deadline << KVM_PTIMER_SHIFT;
		cpu_pend(c, PEND_PTIMER);
	}
	if (v->shadow_pa != VMX_NONE)
		memcpy(v->shadow, blob + HEADER + PAGE, PAGE);
	v->run_pending = h->flags & KVM_STATE_NESTED_RUN_PENDING;
	if (h->flags & KVM_STATE_NESTED_MTF_PENDING) {
		v->mtf_pending = true;
		cpu_pend(c, PEND_MTF);
	}
	if (v->run_pending) {
		vmx_inject(c);
		cpu_pend(c, PEND_WINDOW); /* where run_pending ends */
	}
	return NST_OK;
}

enum nst_status vmx_set_nested(struct vcpu *c, const void *data, uint32_t size,
			       struct nst_error *e)
{
	struct vmx *v = c->vmx;
	const uint8_t *blob = data;
	struct header h;
	enum nst_status st;
	uint32_t id;

	if (size < HEADER)
		return nst_fail(e, NST_BAD_INPUT, "nested state of %u bytes",
				size);
	memcpy(&h, blob, HEADER);
	st = check_header(c, &h, size, e);
	if (st)
		return st;
	vmx_reset(c);
	v->nested_size = size;
	v->smm_flags = h.smm_flags;
	memcpy(v->header_tail, h.tail, sizeof h.tail);
	v->vmxon_pa = h.vmxon_pa;
	if (h.vmxon_pa == VMX_NONE || h.vmcs12_pa == VMX_NONE)
		return NST_OK;
	memcpy(v->page, blob + HEADER, PAGE);
	memcpy(&id, v->page, 4);
	if ((id & ~VMCS12_SHADOW_BIT) != VMCS12_REVISION)
		return nst_fail(e, NST_BAD_INPUT, "vmcs12 has revision id 0x%x",
				id);
	v->current = h.vmcs12_pa;
	if (h.flags & KVM_STATE_NESTED_GUEST_MODE)
		return enter_guest(c, &h, blob, e);
	return NST_OK;
}

/* Fills blob (size bytes of room) and returns the bytes that a GET needs, as the
 * ioctl does; what was loaded beyond them is the caller's to keep. */
uint32_t vmx_get_nested(struct vcpu *c, void *data, uint32_t room)
{
	struct vmx *v = c->vmx;
	uint8_t *blob = data;
	uint32_t need = HEADER;
	struct header h = { .vmxon_pa = v->vmxon_pa, .vmcs12_pa = v->current,
			    .smm_flags = v->smm_flags };

	if (v->vmxon_pa == VMX_NONE)
		h.vmcs12_pa = VMX_NONE;
	if (h.vmcs12_pa != VMX_NONE)
		need += PAGE;
	if (c->nonroot) {
		h.flags |= KVM_STATE_NESTED_GUEST_MODE;
		if (v->run_pending)
			h.flags |= KVM_STATE_NESTED_RUN_PENDING;
		if (v->ctl.pin & PIN_PTIMER) {
			h.vmx_flags = KVM_STATE_VMX_PREEMPTION_TIMER_DEADLINE;
			h.deadline = v->ptimer_due >> KVM_PTIMER_SHIFT;
		}
		if (v->mtf_pending)
			h.flags |= KVM_STATE_NESTED_MTF_PENDING;
		if (v->shadow_pa != VMX_NONE)
			need += PAGE;
	}
	if (room < need)
		return need;
	memset(blob, 0, room);
	h.size = need;
	memcpy(h.tail, v->header_tail, sizeof h.tail);
	memcpy(blob, &h, HEADER);
	if (need > HEADER)
		memcpy(blob + HEADER, v->page, PAGE);
	if (c->nonroot)
		vmx_save_guest(c, blob + HEADER);
	if (need > HEADER + PAGE)
		memcpy(blob + HEADER + PAGE, v->shadow, PAGE);
	return need;
}
