/* caps.c: the capability MSRs as data: what follows from what, and the models
 * (SDM volume 3, appendix A). */
#include "hvcore/vmx/vmx.h"

/* Bits that are 1 in IA32_VMX_*_CTLS whatever the TRUE MSRs allow (A.3 to A.5:
 * the default1 class). */
static const struct { uint16_t plain, exact; uint32_t default1; } true_pairs[] = {
	{ 0x481, 0x48d, 0x00000016 },
	{ 0x482, 0x48e, 0x0401e172 },
	{ 0x483, 0x48f, 0x00036dff },
	{ 0x484, 0x490, 0x000011ff },
};

#define AT(caps, index) ((caps)->msr[(index) - VMX_CAPS_FIRST])

void vmx_caps_complete(struct vmx_caps *caps)
{
	bool has_true = AT(caps, 0x480) >> 55 & 1;

	for (size_t n = 0; n < sizeof true_pairs / sizeof *true_pairs; n++) {
		uint64_t *plain = &AT(caps, true_pairs[n].plain);
		uint64_t *exact = &AT(caps, true_pairs[n].exact);

		if (has_true && *exact && !*plain)
			*plain = *exact | true_pairs[n].default1;
		else if (!has_true && *plain && !*exact)
			*exact = *plain;
	}
	if (!AT(caps, 0x487))
		AT(caps, 0x487) = 0xffffffff;
}

void vmx_caps_allowed(const struct vmx_caps *caps, int control,
		      uint32_t *must, uint32_t *may)
{
	bool has_true = vmx_cap(caps, 0x480) >> 55 & 1;
	uint32_t index;
	uint64_t v;

	switch (vmcs_fields[control].encoding) {
	case VMCS_PIN_BASED_VM_EXEC_CONTROL: index = 0x481; break;
	case VMCS_CPU_BASED_VM_EXEC_CONTROL: index = 0x482; break;
	case VMCS_VM_EXIT_CONTROLS: index = 0x483; break;
	case VMCS_VM_ENTRY_CONTROLS: index = 0x484; break;
	case VMCS_SECONDARY_VM_EXEC_CONTROL: index = 0x48b; break;
	default: *must = 0; *may = 0; return;
	}
	if (has_true && index <= 0x484)
		index += 0x48d - 0x481;
	v = vmx_cap(caps, index);
	*must = (uint32_t)v;
	*may = (uint32_t)(v >> 32);
}

/* -- models --------------------------------------------------------------------------- */
struct cap_model { const char *name; uint64_t msr[18]; };

static const struct cap_model models[] = {
#define MODEL(name, ...) { name, { __VA_ARGS__ } },
#include "hvcore/vmx/caps.def"
#undef MODEL
};

const char *vmx_caps_name(unsigned n)
{
	return n < sizeof models / sizeof *models ? models[n].name : NULL;
}

bool vmx_caps_model(const char *name, struct vmx_caps *out)
{
	for (size_t n = 0; n < sizeof models / sizeof *models; n++) {
		if (strcmp(models[n].name, name))
			continue;
		memset(out, 0, sizeof *out);
		memcpy(out->msr, models[n].msr, sizeof models[n].msr);
		vmx_caps_complete(out);
		return true;
	}
	return false;
}
