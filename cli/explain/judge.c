/* judge.c: which rule a VMCS that was put together from text breaks. */
#include <stdio.h>
#include <string.h>

#include "cli/check/print.h"
#include "cli/check/rules.h"
#include "cli/explain/dump.h"
#include "layouts/decode.h"

#define AT(caps, index) ((caps)->msr[(index) - VMX_CAPS_FIRST])
#define ENTRY_FAILED 0x80000000u

static void control(struct vmx_caps *caps, uint32_t index, uint32_t must,
		    enum vmcs_format format)
{
	AT(caps, index) = vmcs_known_bits(format) << 32 | must;
}

/* Which bits are 1 whatever the CPU (SDM appendix A.3 to A.5, with the TRUE MSRs);
 * every bit that the SDM defines may be 1. */
static void any_caps(struct vmx_caps *caps)
{
	memset(caps, 0, sizeof *caps);
	AT(caps, 0x480) = 1ull << 55;
	control(caps, 0x48d, 0x00000016, VF_PIN_CTLS);
	control(caps, 0x48e, 0x04006172, VF_PROC_CTLS);
	control(caps, 0x48f, 0x00036dfb, VF_EXIT_CTLS);
	control(caps, 0x490, 0x000011fb, VF_ENTRY_CTLS);
	control(caps, 0x48b, 0, VF_PROC2_CTLS);
	AT(caps, 0x485) = 1ull << 30 | 4ull << 16 | 0x1e0;
	AT(caps, 0x486) = 0x80000021;
	AT(caps, 0x487) = 0xffffffff;
	AT(caps, 0x488) = 0x2000;
	AT(caps, 0x489) = vmcs_known_bits(VF_CR4);
	AT(caps, 0x48c) = 0x00000f01067341c1;
	AT(caps, 0x491) = 1;
	vmx_caps_complete(caps);
}

void dump_any_cpu(const struct dump *d, struct vmx_caps *caps,
		  struct vmx_check_ctx *x)
{
	uint64_t la57 = layout_get(d->l, d->page, VMCS_IDX_HOST_CR4) |
		layout_get(d->l, d->page, VMCS_IDX_GUEST_CR4);

	any_caps(caps);
	*x = (struct vmx_check_ctx){
		.caps = caps, .maxphyaddr = 52, .long_mode = true,
		.linear_bits = la57 >> 12 & 1 ? 57 : 48,
		.efer_reserved = ~0xd01ull,
		.perf_reserved = ~0x1ffff0000ffffull, .has_rtm = true, .current = ~0ull,
	};
}

static uint32_t observed(const struct dump *d)
{
	uint64_t reason = layout_get(d->l, d->page, VMCS_IDX_VM_EXIT_REASON);

	return reason & ENTRY_FAILED ? (uint32_t)reason : d->hardware_error;
}

/* Does a break of this rule end an entry as it was seen to end? */
static bool fits(const struct vmx_check *c, uint32_t seen)
{
	if (seen & ENTRY_FAILED)
		return (seen & 0xffff) == 33 ? c->group == CHECK_GUEST : false;
	return !seen || seen == c->error;
}

enum judged { HOLDS, BROKEN, UNKNOWN };

/* QEMU's registers leave most of the VMCS unsaid, and what the check wants of the
 * rest is no one's fault. */
static enum judged judge(const struct dump *d, const struct vmx_check *c,
			 struct vmx_check_ctx *x)
{
	bool seen[VMCS_FIELD_COUNT] = { false }, holds, memory;

	x->seen = seen;
	memory = c >= vmx_memory_checks &&
		c < vmx_memory_checks + VMX_MEMORY_CHECKS;
	holds = memory ? vmx_memory_check_holds(c, x) : vmx_check_holds(c, x);
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (seen[i] && !d->known[i])
			return UNKNOWN;
	return holds ? HOLDS : BROKEN;
}

static void print(const struct dump *d, const struct vmx_check *c,
		  const struct vmx_check_ctx *x, struct out *out)
{
	struct broken b = { .id = c->id, .sentence = c->sentence,
		.where = c->section, .remedy = rule_remedy(c->id),
		.field = c->field,
		.value = layout_get(d->l, d->page, c->field) };

	if (!d->known[c->field])
		b.field = -1;
	else
		b.nlacking = caps_lacking(c, x, b.lacking,
					  sizeof b.lacking / sizeof *b.lacking);
	broken_print(out, &b);
}

static const struct vmx_check *nth(unsigned n)
{
	return n < vmx_check_count ? &vmx_checks[n] :
		n < vmx_check_count + VMX_MEMORY_CHECKS ?
		&vmx_memory_checks[n - vmx_check_count] : NULL;
}

/* The qualification of a failed entry names some checks by itself. */
static const struct vmx_check *by_qualification(const struct dump *d)
{
	uint64_t q = layout_get(d->l, d->page, VMCS_IDX_EXIT_QUALIFICATION);
	const struct vmx_check *c;

	if (!d->known[VMCS_IDX_EXIT_QUALIFICATION] || !q ||
	    (observed(d) & 0xffff) != 33)
		return NULL;
	for (unsigned n = 0; (c = nth(n)); n++)
		if (c->qualification == q)
			return c;
	return NULL;
}

/* Exit reason 34 says by its qualification which MSR could not be loaded. */
static bool print_msr(const struct dump *d, uint32_t seen, struct out *out)
{
	uint64_t q = layout_get(d->l, d->page, VMCS_IDX_EXIT_QUALIFICATION);
	struct broken b = { .id = vmx_msr_check.id, .field = -1,
		.sentence = vmx_msr_check.sentence,
		.where = vmx_msr_check.section,
		.remedy = rule_remedy(vmx_msr_check.id) };

	if (!(seen & ENTRY_FAILED) || (seen & 0xffff) != 34)
		return false;
	if (q && q <= d->nmsrs)
		snprintf(b.detail, sizeof b.detail, "entry %u: MSR 0x%x, value 0x%llx",
			 (unsigned)q, d->msr[q - 1].index,
			 (unsigned long long)d->msr[q - 1].value);
	else if (d->known[VMCS_IDX_EXIT_QUALIFICATION])
		snprintf(b.detail, sizeof b.detail, "entry %llu",
			 (unsigned long long)q);
	broken_print(out, &b);
	return true;
}

static void print_unknown(const struct dump *d, struct vmx_check_ctx *x,
			  uint32_t seen, struct out *out)
{
	const struct vmx_check *c;
	char text[1000] = "";
	struct text t = { text, sizeof text, 0 };

	out_list(out, "not_judged");
	for (unsigned n = 0; (c = nth(n)); n++)
		if (fits(c, seen) && judge(d, c, x) == UNKNOWN) {
			out_str(out, NULL, NULL, "%s", c->id);
			text_add(&t, ", ", "%s", c->id);
		}
	out_list_end(out);
	if (*text)
		out_text(out, "  The text does not show the fields of these rules: "
			 "%s\n", text);
}

unsigned dump_judge(const struct dump *d, const struct vmx_check_ctx *cpu,
		    struct out *out)
{
	const struct vmx_check *c, *named = by_qualification(d);
	struct vmx_check_ctx x = *cpu;
	uint32_t seen = observed(d);
	unsigned found = 0;

	x.l = d->l;
	x.page = d->page;
	/* vmcs01 and vmcs02 have KVM for a host, which runs in 64-bit mode. */
	x.host_lma = layout_get(d->l, d->page, VMCS_IDX_VM_EXIT_CONTROLS) >> 9 & 1;
	out_list(out, "broken");
	found += print_msr(d, seen, out);
	if (named) {
		print(d, named, &x, out);
		found++;
	}
	/* What fits the observed failure comes first. */
	for (int other = 0; other < 2; other++)
		for (unsigned n = 0; (c = nth(n)); n++)
			if (c != named && fits(c, seen) == !other &&
			    judge(d, c, &x) == BROKEN) {
				if (other && !found)
					out_text(out, "  (not the failure that "
						 "was reported:)\n");
				print(d, c, &x, out);
				found++;
			}
	out_list_end(out);
	if (!found) {
		out_text(out, "  Every rule that can be judged from this text "
			 "holds.\n");
		print_unknown(d, &x, seen, out);
	}
	return found;
}
