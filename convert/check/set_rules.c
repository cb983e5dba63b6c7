/* set_rules.c: the predicates of set_rules.def. */
#include "convert/check/set_rules.h"

#include <errno.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "layouts/layouts.h"

#define K(major, minor) KERNEL(major, minor)
#define FIRST K(4, 19)
#define LATEST 0xffffffffu
#define HEADER 128u
#define STRUCT_BYTES 998u /* sizeof(struct vmcs12) of every kernel with the ioctl */
#define NONE 0xffffffffffffffffull
#define DONE (-1)

/* Little-endian fields of struct kvm_nested_state, read where they stand; a
 * blob that is too short reads as zero. */
static uint64_t get(const struct set_context *x, uint32_t off, unsigned n)
{
	uint64_t v = 0;

	if (off + n <= x->size)
		memcpy(&v, x->blob + off, n);
	return v;
}
static unsigned flags(const struct set_context *x) { return (unsigned)get(x, 0, 2); }
static uint32_t said(const struct set_context *x) { return (uint32_t)get(x, 4, 4); }
static uint64_t vmxon(const struct set_context *x) { return get(x, 8, 8); }
static uint64_t vmcs12(const struct set_context *x) { return get(x, 16, 8); }
static unsigned smm(const struct set_context *x) { return (unsigned)get(x, 24, 2); }

static uint64_t field(const struct set_context *x, int idx)
{
	const struct layout *l = layout_newest();

	if (HEADER + VMCS12_SIZE > x->size)
		return 0;
	return layout_get(l, x->blob + HEADER, idx);
}

static bool page_valid(const struct set_context *x, uint64_t pa)
{
	return !(pa & 0xfff) && (x->maxphyaddr >= 64 || !(pa >> x->maxphyaddr));
}

static int set_buffer_size(const struct set_context *x)
{
	return said(x) >= HEADER && x->size >= HEADER;
}

static int set_flags_known(const struct set_context *x)
{
	unsigned known = KVM_STATE_NESTED_GUEST_MODE |
			 KVM_STATE_NESTED_RUN_PENDING;

	if (x->kernel >= K(4, 20))
		known |= KVM_STATE_NESTED_EVMCS;
	if (x->kernel >= K(5, 7))
		known |= KVM_STATE_NESTED_MTF_PENDING;
	if (x->kernel >= K(5, 8))
		known |= KVM_STATE_NESTED_GIF_SET;
	return !(flags(x) & ~known);
}

static int set_run_pending_needs_guest(const struct set_context *x)
{
	return !(flags(x) & KVM_STATE_NESTED_RUN_PENDING) ||
	       flags(x) & KVM_STATE_NESTED_GUEST_MODE;
}

static int set_format_vmx(const struct set_context *x)
{
	return get(x, 2, 2) == KVM_STATE_NESTED_FORMAT_VMX;
}

static int set_no_vmxon_no_vmcs(const struct set_context *x)
{
	if (x->kernel < K(5, 2) && !x->has_vmx && vmxon(x) == NONE)
		return DONE; /* accepted at once, whatever the rest */
	return vmxon(x) != NONE || (!smm(x) && vmcs12(x) == NONE);
}

static int set_no_vmxon_no_flags(const struct set_context *x)
{
	return vmxon(x) != NONE ||
	       !(flags(x) & ~(unsigned)KVM_STATE_NESTED_EVMCS);
}

static int set_cpuid_has_vmx(const struct set_context *x)
{
	return vmxon(x) == NONE || x->has_vmx;
}

static int set_vmxon_pa_valid(const struct set_context *x)
{
	return vmxon(x) == NONE || page_valid(x, vmxon(x));
}

static int set_smm_guest_xor_guest(const struct set_context *x)
{
	return !(smm(x) & KVM_STATE_NESTED_SMM_GUEST_MODE &&
		 flags(x) & KVM_STATE_NESTED_GUEST_MODE);
}

static int set_smm_flags_known(const struct set_context *x)
{
	return !(smm(x) & ~(unsigned)(KVM_STATE_NESTED_SMM_GUEST_MODE |
				      KVM_STATE_NESTED_SMM_VMXON));
}

static int set_vmx_flags_known(const struct set_context *x)
{
	return !(get(x, 28, 4) & ~1ull);
}

static int set_smm_consistent(const struct set_context *x)
{
	unsigned mask = x->kernel < K(5, 2) ? ~0u :
		KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_RUN_PENDING;

	return x->in_smm ? !(flags(x) & mask) : !smm(x);
}

static int set_smm_guest_needs_vmxon(const struct set_context *x)
{
	return !(smm(x) & KVM_STATE_NESTED_SMM_GUEST_MODE) ||
	       smm(x) & KVM_STATE_NESTED_SMM_VMXON;
}

static int set_evmcs_enabled(const struct set_context *x)
{
	return !(flags(x) & KVM_STATE_NESTED_EVMCS) ||
	       (x->has_vmx && x->evmcs_enabled);
}

/* 4.20 and 5.0 compared with the size of a pointer by mistake. */
static uint32_t least_with_vmcs12(const struct set_context *x)
{
	return x->kernel >= K(4, 20) && x->kernel < K(5, 2) ? 1006 :
	       HEADER + STRUCT_BYTES;
}

static int set_vmcs12_absent(const struct set_context *x)
{
	if (vmxon(x) == NONE)
		return DONE;
	if (said(x) >= least_with_vmcs12(x))
		return 1;
	if (x->kernel >= K(5, 8) &&
	    (flags(x) & (KVM_STATE_NESTED_GUEST_MODE | KVM_STATE_NESTED_EVMCS) ||
	     vmcs12(x) != NONE))
		return 0;
	return DONE;
}

static int set_vmcs12_pa_valid(const struct set_context *x)
{
	if (vmcs12(x) == NONE)
		return x->kernel >= K(4, 20); /* 4.19: ~0 is no address */
	return vmcs12(x) != vmxon(x) && page_valid(x, vmcs12(x));
}

static int set_vmcs12_or_evmcs(const struct set_context *x)
{
	return vmcs12(x) != NONE || flags(x) & KVM_STATE_NESTED_EVMCS;
}

static int set_vmcs12_revision(const struct set_context *x)
{
	if ((get(x, HEADER, 4) & ~(uint64_t)VMCS12_SHADOW_BIT) != VMCS12_REVISION)
		return 0;
	return flags(x) & KVM_STATE_NESTED_GUEST_MODE ? 1 : DONE;
}

#define SECONDARY_ON 0x80000000u
#define SHADOW_VMCS_ON 0x4000u

static bool has_shadow(const struct set_context *x)
{
	return field(x, VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL) & SECONDARY_ON &&
	       field(x, VMCS_IDX_SECONDARY_VM_EXEC_CONTROL) & SHADOW_VMCS_ON &&
	       field(x, VMCS_IDX_VMCS_LINK_POINTER) != NONE;
}

static int set_shadow_size(const struct set_context *x)
{
	uint32_t least = HEADER + VMCS12_SIZE + STRUCT_BYTES;

	if (x->kernel < K(4, 20))
		least = HEADER + 2 * STRUCT_BYTES;
	else if (x->kernel < K(5, 2))
		least = 2004;
	return !has_shadow(x) || said(x) >= least;
}

static int set_shadow_revision(const struct set_context *x)
{
	return !has_shadow(x) || get(x, HEADER + VMCS12_SIZE, 4) ==
		(VMCS12_REVISION | VMCS12_SHADOW_BIT);
}

static int set_activity_wait_sipi(const struct set_context *x)
{
	return field(x, VMCS_IDX_GUEST_ACTIVITY_STATE) != 3;
}

const struct set_rule set_rules[] = {
#define RULE(id, since, until, error, offset, size, sentence, remedy) \
	{ #id, since, until, error, offset, size, sentence, remedy, set_##id },
#include "convert/check/set_rules.def"
#undef RULE
};
const unsigned set_rule_count = sizeof set_rules / sizeof *set_rules;

const struct set_rule *set_rules_first_broken(const struct set_context *x,
					      bool *checks_vmcs12)
{
	*checks_vmcs12 = false;
	for (unsigned i = 0; i < set_rule_count; i++) {
		const struct set_rule *r = &set_rules[i];
		int holds;

		if (x->kernel < r->since || x->kernel > r->until)
			continue;
		holds = r->holds(x);
		if (!holds)
			return r;
		if (holds < 0)
			return NULL;
	}
	*checks_vmcs12 = true;
	return NULL;
}

/* KVM copies its struct, not the page. */
static bool has_tail(const struct set_context *x)
{
	for (uint32_t i = HEADER + STRUCT_BYTES; i < HEADER + VMCS12_SIZE &&
	     i < x->size && said(x) > HEADER; i++)
		if (x->blob[i])
			return true;
	return false;
}

/* Accepted, yet not what was saved. */
bool set_remark(const struct set_context *x, unsigned n, char *text,
		unsigned len)
{
	struct { bool holds; const char *text; } remarks[] = {
		{ x->in_smm && smm(x) & KVM_STATE_NESTED_SMM_VMXON &&
		  said(x) < least_with_vmcs12(x),
		  "VMXON parked in SMM without a current VMCS is restored as "
		  "plain VMXON" },
		{ get(x, 28, 4) & 1 && x->kernel < K(5, 8),
		  "the preemption timer's deadline is ignored before 5.8" },
		{ get(x, 28, 4) & 1 && x->kernel >= K(5, 8),
		  "the preemption timer's deadline counts in the source host's "
		  "TSC and means nothing on another host" },
		{ x->size > said(x) && said(x) == HEADER + VMCS12_SIZE &&
		  get(x, HEADER + VMCS12_SIZE, 4) != 0,
		  "a shadow vmcs12 stands beyond the size that the header gives; "
		  "KVM does not read it" },
		{ has_tail(x), "the vmcs12 has bytes beyond the 998 that KVM copies: "
		  "they are dropped" },
	};

	for (unsigned i = 0; i < sizeof remarks / sizeof *remarks; i++) {
		if (!remarks[i].holds || n--)
			continue;
		snprintf(text, len, "%s", remarks[i].text);
		return true;
	}
	return false;
}

uint32_t kernel_parse(const char *release)
{
	char *end;
	unsigned long major = strtoul(release, &end, 10), minor;

	if (end == release || *end != '.' || major > 99)
		return 0;
	release = end + 1;
	minor = strtoul(release, &end, 10);
	return end == release || minor > 999 ? 0 :
	       KERNEL((uint32_t)major, (uint32_t)minor);
}
