/* kvm_state.c: the ioctls between a live vCPU and struct snapshot_vcpu. */
#include "convert/kvm_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <stdio.h>

#define MAX_MSRS 1024
#define MAX_CPUID 256
#define NESTED_BUFFER 8320u /* the header and two pages; KVM may write all */

static enum nst_status failed(struct nst_error *e, const char *what)
{
	return nst_fail(e, NST_SYSTEM, "%s: %s", what, strerror(errno));
}

/* The MSRs worth saving: KVM's list and the VMX capabilities, which that list
 * leaves out. */
static struct kvm_msr_list *msr_list(int kvm_fd)
{
	size_t len = sizeof(struct kvm_msr_list) + MAX_MSRS * 4;
	struct kvm_msr_list *l = calloc(1, len);

	if (!l)
		return NULL;
	l->nmsrs = MAX_MSRS - 0x20;
	if (ioctl(kvm_fd, KVM_GET_MSR_INDEX_LIST, l)) {
		free(l);
		return NULL;
	}
	for (uint32_t i = 0x480; i <= 0x491; i++) {
		bool have = false;
		for (uint32_t k = 0; k < l->nmsrs; k++)
			have |= l->indices[k] == i;
		if (!have)
			l->indices[l->nmsrs++] = i;
	}
	return l;
}

/* One at a time: an MSR that this vCPU lacks must not hide the others. */
static enum nst_status get_msrs(int kvm_fd, int fd, struct snapshot_vcpu *v,
				struct nst_error *e)
{
	struct { struct kvm_msrs h; struct kvm_msr_entry m; } one;
	struct kvm_msr_list *l = msr_list(kvm_fd);

	if (!l)
		return failed(e, "KVM_GET_MSR_INDEX_LIST");
	v->msrs = calloc(l->nmsrs ? l->nmsrs : 1, sizeof *v->msrs);
	if (!v->msrs) {
		free(l);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	for (uint32_t i = 0; i < l->nmsrs; i++) {
		memset(&one, 0, sizeof one);
		one.h.nmsrs = 1;
		one.m.index = l->indices[i];
		if (ioctl(fd, KVM_GET_MSRS, &one) == 1)
			v->msrs[v->nmsrs++] = one.m;
	}
	free(l);
	v->have |= 1u << SN_MSRS;
	return NST_OK;
}

static enum nst_status get_cpuid(int fd, struct snapshot_vcpu *v,
				 struct nst_error *e)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof *c + MAX_CPUID *
				      sizeof c->entries[0]);

	if (!c)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	c->nent = MAX_CPUID;
	if (ioctl(fd, KVM_GET_CPUID2, c)) {
		free(c);
		return failed(e, "KVM_GET_CPUID2");
	}
	v->cpuid = calloc(c->nent ? c->nent : 1, sizeof *v->cpuid);
	if (v->cpuid) {
		memcpy(v->cpuid, c->entries, c->nent * sizeof *v->cpuid);
		v->ncpuid = c->nent;
		v->have |= 1u << SN_CPUID;
	}
	free(c);
	return v->cpuid ? NST_OK : nst_fail(e, NST_SYSTEM, "out of memory");
}

static enum nst_status get_nested(int kvm_fd, int fd, struct snapshot_vcpu *v,
				  struct nst_error *e)
{
	struct kvm_nested_state *n;

	if (ioctl(kvm_fd, KVM_CHECK_EXTENSION, KVM_CAP_NESTED_STATE) <= 0)
		return NST_OK;
	/* Always the largest size: outside guest mode KVM may write the shadow
	 * page beyond the size that it reports. */
	n = calloc(1, NESTED_BUFFER);
	if (!n)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	n->size = NESTED_BUFFER;
	if (ioctl(fd, KVM_GET_NESTED_STATE, n)) {
		free(n);
		return failed(e, "KVM_GET_NESTED_STATE");
	}
	v->nested = (uint8_t *)n;
	v->nested_size = NESTED_BUFFER;
	v->have |= 1u << SN_NESTED;
	return NST_OK;
}

static enum nst_status get_xsave(int fd, struct snapshot_vcpu *v,
				 struct nst_error *e)
{
	v->xsave_size = sizeof(struct kvm_xsave);
	v->xsave = calloc(1, v->xsave_size);
	if (!v->xsave)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	if (ioctl(fd, KVM_GET_XSAVE, v->xsave))
		return failed(e, "KVM_GET_XSAVE");
	v->have |= 1u << SN_XSAVE;
	return NST_OK;
}

enum nst_status kvm_vcpu_get(int kvm_fd, int fd, struct snapshot_vcpu *v,
			     struct nst_error *e)
{
	enum nst_status st;

#define GET(request, member, note) do {					\
	if (ioctl(fd, request, &v->member))				\
		return failed(e, #request);				\
	v->have |= 1u << (note); } while (0)
	GET(KVM_GET_REGS, regs, SN_REGS);
	GET(KVM_GET_SREGS, sregs, SN_SREGS);
	GET(KVM_GET_XCRS, xcrs, SN_XCRS);
	GET(KVM_GET_VCPU_EVENTS, events, SN_EVENTS);
	GET(KVM_GET_DEBUGREGS, debugregs, SN_DEBUGREGS);
	GET(KVM_GET_MP_STATE, mp_state, SN_MP_STATE);
#undef GET
	if (!ioctl(fd, KVM_GET_SREGS2, &v->sregs2))
		v->have |= 1u << SN_SREGS2;
	if (!ioctl(fd, KVM_GET_LAPIC, &v->lapic))
		v->have |= 1u << SN_LAPIC;
	int khz = ioctl(fd, KVM_GET_TSC_KHZ, 0);
	if (khz > 0) {
		v->tsc_khz = (uint32_t)khz;
		v->have |= 1u << SN_TSC_KHZ;
	}
	if ((st = get_xsave(fd, v, e)) || (st = get_msrs(kvm_fd, fd, v, e)) ||
	    (st = get_cpuid(fd, v, e)))
		return st;
	return get_nested(kvm_fd, fd, v, e);
}

enum nst_status kvm_supported_cpuid(int kvm_fd, struct kvm_cpuid2 **out,
				    struct nst_error *e)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof *c + MAX_CPUID *
				      sizeof *c->entries);

	*out = c;
	if (!c)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	c->nent = MAX_CPUID;
	if (!ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, c))
		return NST_OK;
	free(c);
	*out = NULL;
	return failed(e, "KVM_GET_SUPPORTED_CPUID");
}

static enum nst_status set_cpuid(int fd, const struct snapshot_vcpu *v,
				 struct nst_error *e)
{
	struct kvm_cpuid2 *c = calloc(1, sizeof *c + v->ncpuid *
				      sizeof c->entries[0]);
	int rc;

	if (!c)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	c->nent = v->ncpuid;
	memcpy(c->entries, v->cpuid, v->ncpuid * sizeof *v->cpuid);
	rc = ioctl(fd, KVM_SET_CPUID2, c);
	free(c);
	return rc ? failed(e, "KVM_SET_CPUID2") : NST_OK;
}

/* An MSR that this host will not take is passed over: it is one that the
 * guest has never had a use for, or KVM_SET_NESTED_STATE will say more. */
static void set_msrs(int fd, const struct snapshot_vcpu *v)
{
	struct { struct kvm_msrs h; struct kvm_msr_entry m; } one;

	for (uint32_t i = 0; i < v->nmsrs; i++) {
		memset(&one, 0, sizeof one);
		one.h.nmsrs = 1;
		one.m = v->msrs[i];
		(void)!ioctl(fd, KVM_SET_MSRS, &one);
	}
}

static enum nst_status set_nested(int fd, const struct snapshot_vcpu *v,
				  struct nst_error *e)
{
	int rc = ioctl(fd, KVM_SET_NESTED_STATE, v->nested);

	if (!rc)
		return NST_OK;
	if (rc > 0) /* since 5.4 a failed entry comes back positive */
		return nst_fail(e, NST_BAD_INPUT, "KVM_SET_NESTED_STATE: the VM "
				"entry failed (status %d)", rc);
	if (errno == EINVAL)
		return nst_fail(e, NST_BAD_INPUT, "KVM_SET_NESTED_STATE refuses "
				"it (EINVAL); `nstate check` says why");
	return failed(e, "KVM_SET_NESTED_STATE");
}

enum nst_status kvm_vcpu_set(int fd, const struct snapshot_vcpu *v,
			     struct nst_error *e)
{
	enum nst_status st;

	if (snapshot_has(v, SN_CPUID) && (st = set_cpuid(fd, v, e)))
		return st;
#define SET(request, pointer, note) do {				\
	if (snapshot_has(v, note) && ioctl(fd, request, pointer))	\
		return failed(e, #request); } while (0)
	SET(KVM_SET_SREGS, &v->sregs, SN_SREGS);
	if (snapshot_has(v, SN_SREGS2) && !snapshot_has(v, SN_SREGS))
		SET(KVM_SET_SREGS2, &v->sregs2, SN_SREGS2);
	/* Without an in-kernel irqchip there is none to set. */
	if (snapshot_has(v, SN_LAPIC))
		(void)!ioctl(fd, KVM_SET_LAPIC, &v->lapic);
	if (snapshot_has(v, SN_MSRS))
		set_msrs(fd, v);
	SET(KVM_SET_XCRS, &v->xcrs, SN_XCRS);
	SET(KVM_SET_XSAVE, v->xsave, SN_XSAVE);
	SET(KVM_SET_VCPU_EVENTS, &v->events, SN_EVENTS);
	SET(KVM_SET_MP_STATE, &v->mp_state, SN_MP_STATE);
	SET(KVM_SET_DEBUGREGS, &v->debugregs, SN_DEBUGREGS);
	SET(KVM_SET_REGS, &v->regs, SN_REGS);
#undef SET
	return snapshot_has(v, SN_NESTED) ? set_nested(fd, v, e) : NST_OK;
}

static char *origin_text(void)
{
	struct utsname u;
	char *text = NULL;

	if (uname(&u))
		return NULL;
	if (asprintf(&text, "kvm-release=%s\nwriter=nstate %s\n", u.release,
		     NSTATE_VERSION) < 0)
		return NULL;
	return text;
}

static void get_vm(int vm_fd, struct snapshot *s)
{
	for (uint32_t i = 0; i < 3; i++) {
		s->irqchip[i].chip_id = i;
		if (!ioctl(vm_fd, KVM_GET_IRQCHIP, &s->irqchip[i])) {
			s->have_irqchip[i] = true;
			s->have |= 1u << SN_IRQCHIP;
		}
	}
	if (!ioctl(vm_fd, KVM_GET_PIT2, &s->pit))
		s->have |= 1u << SN_PIT;
	if (!ioctl(vm_fd, KVM_GET_CLOCK, &s->clock))
		s->have |= 1u << SN_CLOCK;
}

enum nst_status nstate_capture(int kvm_fd, int vm_fd, const int *vcpu_fds,
			       uint32_t nvcpus, const struct snapshot_ram *ram,
			       uint32_t nram, struct snapshot **out,
			       struct nst_error *e)
{
	struct snapshot *s = snapshot_new(nvcpus);
	enum nst_status st = NST_OK;

	if (!s || !(s->ram = calloc(nram ? nram : 1, sizeof *ram))) {
		snapshot_free(s);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	memcpy(s->ram, ram, nram * sizeof *ram);
	s->nram = nram;
	s->origin = origin_text();
	for (uint32_t i = 0; !st && i < nvcpus; i++)
		st = kvm_vcpu_get(kvm_fd, vcpu_fds[i], &s->vcpu[i], e);
	if (!st && vm_fd >= 0)
		get_vm(vm_fd, s);
	if (st) {
		snapshot_free(s);
		return st;
	}
	*out = s;
	return NST_OK;
}
