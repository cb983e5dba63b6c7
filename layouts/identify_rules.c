/* identify_rules.c: judges one page under one layout.
 *
 * Owns the checks behind identify_rules.def and those that need several fields;
 * the verdict over all layouts is identify.c's.
 */
#include "layouts/identify_rules.h"

#include <pthread.h>
#include <stdio.h>

#include "layouts/decode.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof(a)[0])

/* A page under a layout, and where its violations go. */
struct judge {
	const struct layout *l;
	const uint8_t *page;
	struct identify_candidate *c;
};

enum strength { GATED, HARD, WEAK };

/* -- gates: the controls that make a field meaningful ---------------------- */
struct gate {
	uint8_t format, bit;
};
static struct gate gates[VMCS_FIELD_COUNT][3];
static uint8_t ngates[VMCS_FIELD_COUNT];
static pthread_once_t gates_once = PTHREAD_ONCE_INIT;

static const struct {
	const char *word;
	enum vmcs_format format;
	int field;
} control_words[] = {
	{ "pin:", VF_PIN_CTLS, VMCS_IDX_PIN_BASED_VM_EXEC_CONTROL },
	{ "primary:", VF_PROC_CTLS, VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL },
	{ "secondary:", VF_PROC2_CTLS, VMCS_IDX_SECONDARY_VM_EXEC_CONTROL },
	{ "tertiary:", VF_PROC3_CTLS, VMCS_IDX_TERTIARY_VM_EXEC_CONTROL },
	{ "exit:", VF_EXIT_CTLS, VMCS_IDX_VM_EXIT_CONTROLS },
	{ "exit2:", VF_EXIT2_CTLS, VMCS_IDX_SECONDARY_VM_EXIT_CONTROLS },
	{ "entry:", VF_ENTRY_CTLS, VMCS_IDX_VM_ENTRY_CONTROLS },
};

static void parse_gate(int idx, const char *text, size_t len)
{
	for (size_t w = 0; w < ARRAY_LEN(control_words); w++) {
		size_t n = strlen(control_words[w].word);

		if (n >= len || strncmp(text, control_words[w].word, n))
			continue;
		for (unsigned bit = 0; bit < 64; bit++) {
			const char *name = vmcs_bit_name(control_words[w].format,
							 bit);

			if (!name || strlen(name) != len - n ||
			    strncmp(name, text + n, len - n))
				continue;
			gates[idx][ngates[idx]++] = (struct gate){
				(uint8_t)w, (uint8_t)bit };
			return;
		}
	}
}

/* What decode.h computes, kept: a page needs it hundreds of times. */
static uint64_t known_bits[VF_COUNT], must_be_one[VF_COUNT];

static void make_masks(void)
{
	for (unsigned f = 0; f < VF_COUNT; f++) {
		known_bits[f] = vmcs_known_bits((enum vmcs_format)f);
		must_be_one[f] = vmcs_default1((enum vmcs_format)f);
		/* Those with a name may be 0, as IA32_VMX_TRUE_* say. */
		for (unsigned bit = 0; bit < 64; bit++)
			if (vmcs_bit_name((enum vmcs_format)f, bit))
				must_be_one[f] &= ~(1ull << bit);
	}
}

static void parse_gates(void)
{
	make_masks();
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		const char *p = vmcs_fields[i].gate;

		while (p && ngates[i] < ARRAY_LEN(gates[i])) {
			const char *end = strstr(p, " | ");

			parse_gate(i, p, end ? (size_t)(end - p) : strlen(p));
			p = end ? end + 3 : NULL;
		}
	}
}

static uint64_t get(const struct judge *j, int idx)
{
	return layout_has(j->l, idx) ? layout_get(j->l, j->page, idx) : 0;
}

/* The word of controls, 0 where a control above switches it off. */
static uint64_t controls(const struct judge *j, enum vmcs_format format)
{
	uint64_t primary = get(j, VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL);
	uint64_t exit = get(j, VMCS_IDX_VM_EXIT_CONTROLS);

	if ((format == VF_PROC2_CTLS && !(primary >> 31 & 1)) ||
	    (format == VF_PROC3_CTLS && !(primary >> 17 & 1)) ||
	    (format == VF_EXIT2_CTLS && !(exit >> 31 & 1)))
		return 0;
	for (size_t w = 0; w < ARRAY_LEN(control_words); w++)
		if (control_words[w].format == format)
			return get(j, control_words[w].field);
	return 0;
}

static bool gate_open(const struct judge *j, const struct gate *g)
{
	return controls(j, control_words[g->format].format) >> g->bit & 1;
}

static bool field_meaningful(const struct judge *j, int idx)
{
	if (!ngates[idx])
		return true;
	for (unsigned i = 0; i < ngates[idx]; i++)
		if (gate_open(j, &gates[idx][i]))
			return true;
	return false;
}

/* -- violations ------------------------------------------------------------ */
static void violation(const struct judge *j, int idx, unsigned offset,
		      uint64_t value, bool hard, const char *rule)
{
	struct identify_candidate *c = j->c;
	unsigned at = c->nreasons;

	if (hard)
		c->hard++;
	else
		c->weak++;
	/* Weak reasons make room for hard ones. */
	if (at == IDENTIFY_REASONS) {
		if (!hard)
			return;
		while (at-- && c->reason[at].hard)
			;
		if (at >= IDENTIFY_REASONS)
			return;
	} else {
		c->nreasons++;
	}
	c->reason[at] = (struct identify_reason){
		.field = idx, .offset = (uint16_t)offset, .hard = hard,
		.value = value, .rule = rule,
	};
}

static void field_violation(const struct judge *j, int idx, bool hard,
			    const char *rule)
{
	violation(j, idx, j->l->offset[idx], get(j, idx), hard, rule);
}

/* -- checks of one value: NULL, or what is demanded ------------------------- */
static bool is_canonical(uint64_t v)
{
	/* 57 bits: also true of every 48-bit canonical address. */
	return (uint64_t)((int64_t)(v << 7) >> 7) == v;
}

static const char *check_max(uint64_t v, uint64_t limit)
{
	return v > limit ? "too large for this field" : NULL;
}

static const char *check_clear(uint64_t v, uint64_t mask)
{
	return v & mask ? "reserved bits must be 0" : NULL;
}

static const char *check_known_bits(uint64_t v, uint64_t format)
{
	return check_clear(v, ~known_bits[format]);
}

static const char all_ones[] = "all ones is no address";

static const char *check_address(uint64_t v, uint64_t low)
{
	if (v == ~0ull)
		return all_ones;
	if (v & low)
		return "must be aligned";
	return v >> 52 ? "beyond the physical-address width" : NULL;
}

/* Fields that hypervisors (and the SDM, for the link) fill with ones to say that
 * there is no such page. */
static const char *check_address_or_none(uint64_t v, uint64_t low)
{
	return v == ~0ull ? NULL : check_address(v, low);
}

static const char *check_canonical(uint64_t v, uint64_t arg)
{
	(void)arg;
	return is_canonical(v) ? NULL : "must be canonical";
}

static const char *check_upper_half(uint64_t v, uint64_t arg)
{
	(void)arg;
	return v >> 47 && !is_canonical(v) ? "usually canonical" : NULL;
}

static const char *check_pml_index(uint64_t v, uint64_t arg)
{
	(void)arg;
	/* One below 0 says that the log is full. */
	return v > 511 && v != 0xffff ? "must be 0 to 511, or full" : NULL;
}

static const char *check_eptp(uint64_t v, uint64_t arg)
{
	unsigned type = v & 7, walk = v >> 3 & 7;

	(void)arg;
	if (v == ~0ull)
		return all_ones;
	if ((type != 0 && type != 6) || (walk != 3 && walk != 4))
		return "must be an EPT pointer";
	return v & 0xfff0000000000f00ull ? "reserved bits must be 0" : NULL;
}

static const char *check_pat(uint64_t v, uint64_t arg)
{
	(void)arg;
	for (unsigned i = 0; i < 8; i++) {
		unsigned type = v >> 8 * i & 0xff;

		if (type > 7 || type == 2 || type == 3)
			return "must be eight memory types";
	}
	return NULL;
}

static const char *check_pdpte(uint64_t v, uint64_t arg)
{
	(void)arg;
	return v & 1 && v & 0xfff00000000001e6ull ?
		"reserved bits must be 0" : NULL;
}

static const char *check_bndcfgs(uint64_t v, uint64_t arg)
{
	(void)arg;
	return v & 0xffc || !is_canonical(v) ? "must be a BNDCFGS value" : NULL;
}

static const char *check_event(uint64_t v, uint64_t reserved)
{
	if (!(v >> 31 & 1))
		return NULL; /* the rest is undefined then */
	if (v & reserved)
		return "reserved bits must be 0";
	return (v >> 8 & 7) == 1 ? "reserved event type" : NULL;
}

static const char *check_instruction_error(uint64_t v, uint64_t arg)
{
	(void)arg;
	return vmx_insn_error_name((unsigned)v) ? NULL :
		"must be an error number";
}

static const char *check_exit_reason(uint64_t v, uint64_t arg)
{
	(void)arg;
	if (!vmx_exit_reason_name(v & 0xffff))
		return "must be an exit reason";
	return v & 0x41ff0000 ? "reserved bits must be 0" : NULL;
}

static const char *check_access_rights(uint64_t v, uint64_t arg)
{
	(void)arg;
	if (v & ~0x1f0ffull)
		return "reserved bits must be 0";
	return NULL;
}

static const char *check_cr_mask(uint64_t v, uint64_t arg)
{
	(void)arg;
	return v >> 32 && v >> 32 != UINT32_MAX ?
		"usually a mask of low bits" : NULL;
}

static const char *check_cr0(uint64_t v, uint64_t arg)
{
	(void)arg;
	if (v >> 32)
		return "bits 63:32 must be 0";
	if (!(v & 0x20))
		return "NE must be 1";
	return (v & 0x80000001) == 0x80000000 ? "PG without PE" : NULL;
}

static const char *check_host_cr0(uint64_t v, uint64_t arg)
{
	(void)arg;
	if (v >> 32)
		return "bits 63:32 must be 0";
	return (v & 0x80000021) != 0x80000021 ? "PE, NE and PG must be 1" : NULL;
}

static const char *check_cr4(uint64_t v, uint64_t arg)
{
	(void)arg;
	if (!(v & 0x2000))
		return "VMXE must be 1";
	return check_known_bits(v, VF_CR4);
}

static const char *check_rflags(uint64_t v, uint64_t arg)
{
	(void)arg;
	return (v & 0xffffffffffc0802aull) != 2 ? "must be a RFLAGS value" :
		NULL;
}

static const char *check_dr7(uint64_t v, uint64_t arg)
{
	(void)arg;
	return v >> 32 ? "bits 63:32 must be 0" : NULL;
}

static const struct rule {
	int field;
	const char *(*check)(uint64_t value, uint64_t arg);
	uint64_t arg;
	enum strength strength;
} rules[] = {
#define RULE(NAME, check, arg, strength) \
	{ VMCS_IDX_##NAME, check_##check, arg, strength },
#include "layouts/identify_rules.def"
#undef RULE
};

static void judge_fields(const struct judge *j)
{
	for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
		const struct rule *r = &rules[i];
		uint64_t v = get(j, r->field);
		const char *why = v ? r->check(v, r->arg) : NULL;

		if (!why)
			continue;
		/* Ones are what the link pointer holds: in an address's place
		 * they are no leftover, whatever the controls say. */
		field_violation(j, r->field, r->strength == HARD ||
				why == all_ones ||
				(r->strength == GATED &&
				 field_meaningful(j, r->field)), why);
	}
}

/* -- bytes that no field owns ----------------------------------------------- */
static void judge_padding(const struct judge *j, const uint8_t *owned,
			  unsigned size)
{
	static const uint8_t zero[VMCS12_SIZE];

	for (unsigned at = 0; at < size; at += 8) {
		uint64_t word, mask;

		memcpy(&word, j->page + at, sizeof word);
		memcpy(&mask, owned + at, sizeof mask);
		word &= ~mask;
		if (!word)
			continue;
		j->c->unowned++;
		violation(j, -1, at, word, true,
			  "bytes without a field must be 0");
	}
	/* KVM carries along what L1 left at the end of its VMCS region: odd,
	 * but no word on where the fields are. */
	if (memcmp(j->page + size, zero, VMCS12_SIZE - size))
		violation(j, -1, size, 0, false, "usually 0 to the page's end");
}

/* -- what several fields must be together ----------------------------------- */
/* Kernels before 3.11 told L1 that no reserved control need be 1. */
static bool default1_demanded(const struct layout *l)
{
	return layout_has(l, VMCS_IDX_GUEST_BNDCFGS);
}

static void judge_default1(const struct judge *j, bool launched)
{
	for (size_t w = 0; w < ARRAY_LEN(control_words); w++) {
		enum vmcs_format format = control_words[w].format;
		uint64_t must = must_be_one[format], v;

		if (!must || !layout_has(j->l, control_words[w].field))
			continue;
		v = get(j, control_words[w].field);
		if ((v & must) != must && (v || launched))
			field_violation(j, control_words[w].field,
					default1_demanded(j->l),
					"reserved controls must be 1");
	}
}

/* A control whose field no layout of this kernel can hold was never offered.
 * Only fields that KVM holds in some layout tell: KVM itself is the witness. */
static bool field_known_elsewhere(int idx)
{
	for (unsigned i = 0; i < layout_count(); i++)
		if (layout_has(layout_at(i), idx))
			return true;
	return false;
}

static void judge_unsupported(const struct judge *j, bool launched)
{
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		if (ngates[i] == 1 && !layout_has(j->l, i) &&
		    gate_open(j, &gates[i][0]) && field_known_elsewhere(i))
			field_violation(j, control_words[gates[i][0].format].field,
					launched,
					"a control whose field is missing");
}

static const struct {
	int field;
	const char *rule;
} must_be_set[] = {
	{ VMCS_IDX_PIN_BASED_VM_EXEC_CONTROL, "set in every launched VMCS" },
	{ VMCS_IDX_VMCS_LINK_POINTER, "an address or all ones" },
	{ VMCS_IDX_GUEST_CR0, "fixed bits must be 1" },
	{ VMCS_IDX_GUEST_CR4, "fixed bits must be 1" },
	{ VMCS_IDX_GUEST_RFLAGS, "bit 1 must be 1" },
	{ VMCS_IDX_HOST_CR0, "fixed bits must be 1" },
	{ VMCS_IDX_HOST_CR4, "fixed bits must be 1" },
	{ VMCS_IDX_HOST_CS_SELECTOR, "must not be null" },
	{ VMCS_IDX_HOST_TR_SELECTOR, "must not be null" },
};

struct segment {
	int access_rights, limit;
};
static const struct segment segments[] = {
#define S(n) { VMCS_IDX_GUEST_##n##_AR_BYTES, VMCS_IDX_GUEST_##n##_LIMIT }
	S(ES), S(CS), S(SS), S(DS), S(FS), S(GS), S(LDTR), S(TR),
#undef S
};

static const char *segment_fault(const struct judge *j, const struct segment *s)
{
	uint64_t ar = get(j, s->access_rights), limit = get(j, s->limit);
	unsigned type = ar & 15;

	if (s->access_rights == VMCS_IDX_GUEST_TR_AR_BYTES) {
		if ((ar & 0x10090) != 0x80 || (type != 3 && type != 11))
			return "must be a busy TSS";
	} else if (ar & 0x10000) {
		return s->access_rights == VMCS_IDX_GUEST_CS_AR_BYTES ?
			"must be usable" : NULL;
	}
	if (!(ar & 0x80))
		return "must be present";
	if (s->access_rights == VMCS_IDX_GUEST_CS_AR_BYTES &&
	    (!(ar & 0x10) || (type != 3 && (type & 9) != 9)))
		return "must be code";
	if (ar & 0x8000 ? (limit & 0xfff) != 0xfff : limit >> 20 != 0)
		return "granularity must fit the limit";
	return NULL;
}

/* What VM entry demands; a page that was never launched may be half written. */
static void judge_entry(const struct judge *j, bool launched)
{
	uint64_t secondary = controls(j, VF_PROC2_CTLS);
	uint64_t entry = controls(j, VF_ENTRY_CTLS);

	for (size_t i = 0; i < ARRAY_LEN(must_be_set); i++)
		if ((launched || get(j, VMCS_IDX_HOST_RIP)) &&
		    !get(j, must_be_set[i].field))
			field_violation(j, must_be_set[i].field, launched,
					must_be_set[i].rule);
	for (size_t i = 0; i < ARRAY_LEN(segments); i++) {
		const char *why = segment_fault(j, &segments[i]);

		if (why && (launched || get(j, segments[i].access_rights)))
			field_violation(j, segments[i].access_rights, launched,
					why);
	}
	if (secondary >> 1 & 1 && !get(j, VMCS_IDX_EPT_POINTER))
		field_violation(j, VMCS_IDX_EPT_POINTER, launched,
				"EPT is on and needs it");
	if (secondary >> 5 & 1 && !get(j, VMCS_IDX_VIRTUAL_PROCESSOR_ID))
		field_violation(j, VMCS_IDX_VIRTUAL_PROCESSOR_ID, launched,
				"VPID is on and must not be 0");
	if (entry >> 9 & 1 &&
	    (!(get(j, VMCS_IDX_GUEST_CR0) >> 31 & 1) ||
	     !(get(j, VMCS_IDX_GUEST_CR4) >> 5 & 1)))
		field_violation(j, VMCS_IDX_VM_ENTRY_CONTROLS, launched,
				"an IA-32e guest needs PG and PAE");
	if (!is_canonical(get(j, VMCS_IDX_HOST_RSP)))
		field_violation(j, VMCS_IDX_HOST_RSP, false,
				"usually canonical");
}

void identify_judge(const struct layout *l, const uint8_t *owned, unsigned size,
		    const void *page, struct identify_candidate *c)
{
	struct judge j = { l, page, c };
	uint32_t launch_state;
	bool launched;

	pthread_once(&gates_once, parse_gates);
	c->layout = l;
	c->hard = c->weak = c->unowned = c->group = c->nreasons = 0;
	memcpy(&launch_state, j.page + VMCS12_OFF_LAUNCH, sizeof launch_state);
	launched = launch_state == 1;
	judge_fields(&j);
	judge_default1(&j, launched);
	judge_unsupported(&j, launched);
	judge_entry(&j, launched);
	/* Last: a named field's fault tells a person more. */
	judge_padding(&j, owned, size);
}

bool vmcs_field_in_use(const struct layout *l, const void *page, int idx)
{
	struct judge j = { .l = l, .page = page };

	pthread_once(&gates_once, parse_gates);
	return field_meaningful(&j, idx);
}
