/* caps.c: capability bits by name: which one a control asks for in vain, what the
 * hypervisor's user calls it. */
#include "cli/check/caps.h"

#include <stdio.h>
#include <string.h>

static const struct capbit {
	uint32_t index;
	unsigned bit;
	bool control;
	const char *qemu, *name;
} bits[] = {
#define CONTROL(index, bit, qemu) { index, bit, true, qemu, NULL },
#define FEATURE(index, bit, qemu, name) { index, bit, false, qemu, name },
#include "cli/check/capbits.def"
#undef CONTROL
#undef FEATURE
};

/* The MSRs that come as allowed-0 and allowed-1 halves, and their control. */
static const struct {
	uint32_t plain, exact;
	int field;
	enum vmcs_format format;
} controls[] = {
	{ 0x481, 0x48d, VMCS_IDX_PIN_BASED_VM_EXEC_CONTROL, VF_PIN_CTLS },
	{ 0x482, 0x48e, VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL, VF_PROC_CTLS },
	{ 0x483, 0x48f, VMCS_IDX_VM_EXIT_CONTROLS, VF_EXIT_CTLS },
	{ 0x484, 0x490, VMCS_IDX_VM_ENTRY_CONTROLS, VF_ENTRY_CTLS },
	{ 0x48b, 0x48b, VMCS_IDX_SECONDARY_VM_EXEC_CONTROL, VF_PROC2_CTLS },
};
#define NCONTROLS (sizeof controls / sizeof *controls)

static const char *const msr_names[VMX_CAPS_COUNT] = {
	"BASIC", "PINBASED_CTLS", "PROCBASED_CTLS", "EXIT_CTLS", "ENTRY_CTLS",
	"MISC", "CR0_FIXED0", "CR0_FIXED1", "CR4_FIXED0", "CR4_FIXED1",
	"VMCS_ENUM", "PROCBASED_CTLS2", "EPT_VPID_CAP", "TRUE_PINBASED_CTLS",
	"TRUE_PROCBASED_CTLS", "TRUE_EXIT_CTLS", "TRUE_ENTRY_CTLS", "VMFUNC",
	"PROCBASED_CTLS3", "EXIT_CTLS2",
};

const char *caps_msr_name(uint32_t index)
{
	return index >= VMX_CAPS_FIRST && index < VMX_CAPS_FIRST + VMX_CAPS_COUNT ?
		msr_names[index - VMX_CAPS_FIRST] : "?";
}

static bool control_msr(uint32_t index, size_t *n)
{
	for (*n = 0; *n < NCONTROLS; ++*n)
		if (index == controls[*n].plain || index == controls[*n].exact)
			return true;
	return false;
}

static struct lacking make(uint32_t index, unsigned bit, bool must)
{
	struct lacking l = { .index = index, .bit = bit, .must = must };
	uint32_t exact = index;
	size_t n;

	if (control_msr(index, &n)) {
		exact = controls[n].exact;
		l.name = vmcs_bit_name(controls[n].format, bit);
	}
	for (size_t i = 0; i < sizeof bits / sizeof *bits; i++)
		if (bits[i].index == exact && bits[i].bit == bit) {
			l.qemu = bits[i].qemu;
			l.name = bits[i].control ? l.name : bits[i].name;
		}
	return l;
}

struct list { struct lacking *out; unsigned n, max; };

static void add(struct list *l, uint32_t index, uint64_t mask, bool must)
{
	for (unsigned b = 0; b < 64 && l->n < l->max; b++)
		if (mask >> b & 1)
			l->out[l->n++] = make(index, b, must);
}

/* -- which bits break a check ------------------------------------------------------------ */
static uint64_t get(const struct vmx_check_ctx *x, int field)
{
	return layout_has(x->l, field) ? layout_get(x->l, x->page, field) : 0;
}

static void of_control(const struct vmx_check_ctx *x, size_t n, struct list *l)
{
	uint32_t must, may, v = (uint32_t)get(x, controls[n].field);
	bool has_true = vmx_cap(x->caps, 0x480) >> 55 & 1;
	uint32_t index = has_true ? controls[n].exact : controls[n].plain;

	vmx_caps_allowed(x->caps, controls[n].field, &must, &may);
	add(l, index, v & ~may, false);
	add(l, index, must & ~v, true);
}

static void of_eptp(const struct vmx_check_ctx *x, struct list *l)
{
	uint64_t v = get(x, VMCS_IDX_EPT_POINTER), have = vmx_cap(x->caps, 0x48c);
	unsigned type = v & 7, levels = (v >> 3 & 7) + 1;
	uint64_t want = (type == 0 ? 1ull << 8 : type == 6 ? 1ull << 14 : 0) |
		(levels == 4 ? 1ull << 6 : levels == 5 ? 1ull << 7 : 0) |
		(v >> 6 & 1) << 21;

	add(l, 0x48c, want & ~have, false);
}

static void of_fixed(const struct vmx_check_ctx *x, int field, uint32_t fixed1,
		     struct list *l)
{
	add(l, fixed1, get(x, field) & ~vmx_cap(x->caps, fixed1), false);
}

unsigned caps_lacking(const struct vmx_check *check, const struct vmx_check_ctx *x,
		      struct lacking *out, unsigned max)
{
	static const char *const ids[NCONTROLS] = { "ctl-pin", "ctl-primary",
		"ctl-exit", "ctl-entry", "ctl-secondary" };
	struct list l = { out, 0, max };
	uint64_t state;

	for (size_t n = 0; n < NCONTROLS; n++)
		if (!strcmp(check->id, ids[n]))
			of_control(x, n, &l);
	if (!strcmp(check->id, "ctl-eptp"))
		of_eptp(x, &l);
	if (!strcmp(check->id, "ctl-vmfunc"))
		of_fixed(x, check->field, 0x491, &l);
	if (!strcmp(check->id, "host-cr4") || !strcmp(check->id, "guest-cr4"))
		of_fixed(x, check->field, 0x489, &l);
	state = get(x, VMCS_IDX_GUEST_ACTIVITY_STATE);
	if (!strcmp(check->id, "guest-activity") && state >= 1 && state <= 3)
		add(&l, 0x485, 1ull << (5 + state), false);
	if (!strcmp(check->id, "ctl-inject-length") &&
	    !get(x, VMCS_IDX_VM_ENTRY_INSTRUCTION_LEN))
		add(&l, 0x485, 1ull << 30, false);
	return l.n;
}

/* -- two processors ------------------------------------------------------------------------ */
/* As vmx_set_vmx_msr() in KVM compares: no more may be allowed, no less
 * demanded. */
unsigned caps_compare(const struct vmx_caps *source, const struct vmx_caps *dest,
		      struct lacking *out, unsigned max)
{
	static const uint32_t plain[] = { 0x48c, 0x491 };
	/* What is a feature; the rest of these MSRs is numbers. */
	const uint64_t features_basic = 7ull << 54, features_misc = 0x600001e0;
	struct list l = { out, 0, max };

	for (size_t n = 0; n < NCONTROLS; n++) {
		uint32_t i = controls[n].exact;
		uint64_t s = vmx_cap(source, i), d = vmx_cap(dest, i);

		if (!s)
			continue;
		add(&l, i, (s & ~d) >> 32, false);
		add(&l, i, d & ~s & 0xffffffff, true);
	}
	for (size_t n = 0; n < sizeof plain / sizeof *plain; n++)
		add(&l, plain[n], vmx_cap(source, plain[n]) &
		    ~vmx_cap(dest, plain[n]), false);
	add(&l, 0x480, vmx_cap(source, 0x480) & ~vmx_cap(dest, 0x480) &
	    features_basic, false);
	add(&l, 0x485, vmx_cap(source, 0x485) & ~vmx_cap(dest, 0x485) &
	    features_misc, false);
	return l.n;
}

bool caps_remedy(const struct lacking *l, char *text, size_t len)
{
	*text = 0;
	if (!l->qemu)
		return false;
	snprintf(text, len, "QEMU: -cpu ...,%s=off; libvirt: <feature "
		 "policy='disable' name='%s'/>", l->qemu, l->qemu);
	return true;
}
