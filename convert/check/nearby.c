/* nearby.c: the rules of nearby.def. */
#include "convert/check/nearby.h"

#include "convert/check/set_rules.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NONE 0xffffffffffffffffull
#define PAGE 0x1000ull
#define SECONDARY_ON 0x80000000u
#define EPT_ON 2u
#define IA32E (1u << 9)
#define CS_L (1u << 13)
#define PIN_PTIMER (1u << 6)

const struct nearby_rule nearby_rules[] = {
#define NEAR(id, severity, sentence, remedy) \
	{ id, NEAR_##severity, sentence, remedy },
#include "convert/check/nearby.def"
#undef NEAR
};
const unsigned nearby_rule_count = sizeof nearby_rules / sizeof *nearby_rules;

struct findings {
	const struct nearby_ctx *x;
	struct nearby_found *out;
	unsigned n;
};

static uint64_t get(const struct nearby_ctx *x, int field)
{
	return layout_has(x->l, field) ? layout_get(x->l, x->page, field) : 0;
}
#define V(NAME) get(x, VMCS_IDX_##NAME)

static void found(struct findings *f, const char *id, int field, uint64_t value,
		  const char *format, ...) __attribute__((format(printf, 5, 6)));

static void found(struct findings *f, const char *id, int field, uint64_t value,
		  const char *format, ...)
{
	struct nearby_found *o = &f->out[f->n];
	va_list ap;

	if (f->n == NEARBY_MOST)
		return;
	*o = (struct nearby_found){ .field = field, .value = value };
	for (unsigned i = 0; i < nearby_rule_count; i++)
		if (!strcmp(nearby_rules[i].id, id))
			o->rule = &nearby_rules[i];
	va_start(ap, format);
	vsnprintf(o->detail, sizeof o->detail, format, ap);
	va_end(ap);
	f->n += o->rule != NULL;
}

/* -- what the vmcs12 names ------------------------------------------------------------------ */
enum control { PIN, PROC, SEC, COUNT };
struct area {
	int field;             /* index; -1: not a field */
	const char *name;      /* for people */
	uint64_t start, len;
	bool written;          /* by the processor or KVM */
};

static const struct area_row {
	int field;
	enum control control;
	uint32_t bits;         /* any of them; COUNT: a field with a count */
	int count;
	uint32_t len;          /* of an entry, with COUNT */
	bool written;
} rows[] = {
#define A(NAME, control, bits, len, written) \
	{ VMCS_IDX_##NAME, control, bits, 0, len, written }
#define LIST(NAME, count, written) \
	{ VMCS_IDX_##NAME##_ADDR, COUNT, 0, VMCS_IDX_##NAME##_COUNT, 16, written }
	A(IO_BITMAP_A, PROC, 1u << 25, 4096, false),
	A(IO_BITMAP_B, PROC, 1u << 25, 4096, false),
	A(MSR_BITMAP, PROC, 1u << 28, 4096, false),
	A(VIRTUAL_APIC_PAGE_ADDR, PROC, 1u << 21, 4096, true),
	A(PML_ADDRESS, SEC, 1u << 17, 4096, true),
	A(VMREAD_BITMAP, SEC, 1u << 14, 4096, false),
	A(VMWRITE_BITMAP, SEC, 1u << 14, 4096, false),
	A(POSTED_INTR_DESC_ADDR, PIN, 1u << 7, 64, true),
	A(VE_INFORMATION_ADDRESS, SEC, 1u << 18, 4096, true),
	LIST(VM_EXIT_MSR_STORE, COUNT, true),
	LIST(VM_EXIT_MSR_LOAD, COUNT, false),
	LIST(VM_ENTRY_MSR_LOAD, COUNT, false),
#undef A
#undef LIST
};
#define NROWS (sizeof rows / sizeof *rows)
#define MOST_AREAS (NROWS + 6)

static uint32_t secondary(const struct nearby_ctx *x)
{
	return V(CPU_BASED_VM_EXEC_CONTROL) & SECONDARY_ON ?
		(uint32_t)V(SECONDARY_VM_EXEC_CONTROL) : 0;
}

/* IA32_VMX_MISC promises 512 * (N + 1) entries. */
static uint64_t most_msrs(const struct nearby_ctx *x)
{
	return 512 * ((x->misc >> 25 & 7) + 1);
}

static bool in_use(const struct nearby_ctx *x, const struct area_row *r)
{
	uint64_t control = r->control == PIN ? V(PIN_BASED_VM_EXEC_CONTROL) :
		r->control == PROC ? V(CPU_BASED_VM_EXEC_CONTROL) :
		r->control == SEC ? secondary(x) : 0;

	return r->control == COUNT ? get(x, r->count) != 0 : control & r->bits;
}

static bool eptp_switching(const struct nearby_ctx *x)
{
	return secondary(x) & 1u << 13 && V(VM_FUNCTION_CONTROL) & 1;
}

static unsigned areas(const struct nearby_ctx *x, struct area *a)
{
	unsigned n = 0;

	for (unsigned i = 0; i < NROWS; i++) {
		const struct area_row *r = &rows[i];
		uint64_t count = r->control == COUNT ? get(x, r->count) : 1;

		if (!in_use(x, r))
			continue;
		count = count > most_msrs(x) ? most_msrs(x) : count;
		a[n++] = (struct area){ r->field, vmcs_fields[r->field].name,
			get(x, r->field), r->len * count, r->written };
	}
	if (eptp_switching(x))
		a[n++] = (struct area){ VMCS_IDX_EPTP_LIST_ADDRESS,
			"EPTP_LIST_ADDRESS", V(EPTP_LIST_ADDRESS), PAGE, false };
	if (secondary(x) & EPT_ON)
		a[n++] = (struct area){ VMCS_IDX_EPT_POINTER, "EPT_POINTER",
			V(EPT_POINTER) & ~0xfffull, PAGE, false };
	if (V(VMCS_LINK_POINTER) != NONE)
		a[n++] = (struct area){ VMCS_IDX_VMCS_LINK_POINTER,
			"VMCS_LINK_POINTER", V(VMCS_LINK_POINTER), PAGE, true };
	if (x->vmcs12_pa != NONE)
		a[n++] = (struct area){ -1, "vmcs12_pa", x->vmcs12_pa, PAGE, true };
	if (x->vmxon_pa != NONE)
		a[n++] = (struct area){ -1, "vmxon_pa", x->vmxon_pa, PAGE, true };
	return n;
}

static void check_ram(struct findings *f, const struct area *a)
{
	uint64_t at = a->start, end = a->start + a->len;
	uint8_t byte;

	for (; at < end; at = (at | 0xfff) + 1)
		if (!f->x->read(f->x->arg, at, &byte, 1)) {
			found(f, "near-ram", a->field, a->start, "%s: 0x%" PRIx64
			      " is not in guest RAM", a->name, at);
			return;
		}
}

static bool overlap(const struct area *a, const struct area *b)
{
	return a->start < b->start + b->len && b->start < a->start + a->len;
}

/* Hypervisors store on exit where they load on entry, by design. */
static bool may_overlap(const struct area *a, const struct area *b)
{
	return (!a->written && !b->written) ||
		(a->field == VMCS_IDX_VM_EXIT_MSR_STORE_ADDR &&
		 b->field == VMCS_IDX_VM_ENTRY_MSR_LOAD_ADDR);
}

static bool itself(const struct area *a, uint64_t vmcs)
{
	return a->start == vmcs && (a->field < 0 ||
				    a->field == VMCS_IDX_VMCS_LINK_POINTER);
}

static void check_areas(struct findings *f)
{
	const struct nearby_ctx *x = f->x;
	struct area a[MOST_AREAS];
	unsigned n = areas(x, a);

	for (unsigned i = 0; i < n; i++) {
		check_ram(f, &a[i]);
		for (unsigned k = i + 1; k < n; k++)
			if (overlap(&a[i], &a[k]) && !may_overlap(&a[i], &a[k]))
				found(f, "near-overlap", a[i].field, a[i].start,
				      "%s (0x%" PRIx64 ") and %s (0x%" PRIx64 ")",
				      a[i].name, a[i].start, a[k].name,
				      a[k].start);
		for (unsigned k = 0; k < x->nvmcs; k++) {
			struct area other = { -1, "", x->vmcs[k], PAGE, true };
			if (x->vmcs[k] != x->vmcs12_pa &&
			    x->vmcs[k] != x->vmxon_pa &&
			    x->vmcs[k] != V(VMCS_LINK_POINTER) &&
			    !itself(&a[i], x->vmcs[k]) && overlap(&a[i], &other))
				found(f, "near-overlap", a[i].field, a[i].start,
				      "%s: at 0x%" PRIx64 " there is a VMCS",
				      a[i].name, x->vmcs[k]);
		}
	}
	for (unsigned k = 0; k < x->ncurrent; k++)
		if (x->vmcs12_pa != NONE && x->current[k] == x->vmcs12_pa)
			found(f, "near-shared-vmcs", -1, x->vmcs12_pa,
			      "0x%" PRIx64 " is current on another vCPU too",
			      x->vmcs12_pa);
}

/* -- MSR areas ------------------------------------------------------------------------------ */
/* SDM 27.4, 28.4: what may not stand in an area. */
static bool forbidden(uint32_t index, bool store)
{
	if (index >> 8 == 8 || index == 0x9e)
		return true;
	return !store && (index == 0xc0000100 || index == 0xc0000101 ||
			  index == 0x79 || index == 0x8b);
}

static void check_msrs(struct findings *f, int address, int count, bool store)
{
	const struct nearby_ctx *x = f->x;
	uint64_t at = get(x, address), n = get(x, count);
	struct { uint32_t index, reserved; uint64_t value; } m;

	if (n > most_msrs(x)) {
		found(f, "near-msr-list", count, n, "at most %" PRIu64 " entries",
		      most_msrs(x));
		n = most_msrs(x);
	}
	for (uint64_t i = 0; i < n; i++) {
		if (!x->read(x->arg, at + 16 * i, &m, sizeof m))
			return; /* near-ram says so */
		if (!m.reserved && !forbidden(m.index, store))
			continue;
		found(f, "near-msr-list", address, at, "entry %" PRIu64 ": MSR "
		      "0x%x%s", i + 1, m.index, m.reserved ? ", reserved bits are "
		      "set" : "");
		return;
	}
}

/* -- EPT and L2's page tables ---------------------------------------------------------------- */
/* Says why a walk ended; true: it did not. */
static bool went_well(struct findings *f, enum walk_end end, const struct walk *w,
		      const char *way)
{
	const struct nearby_ctx *x = f->x;
	const char *id = end == WALK_MISCONFIG ? "near-ept-misconfig" :
		end == WALK_ABSENT ? "near-ept-absent" : "near-ept-ram";

	if (end == WALK_OK)
		return true;
	found(f, id, VMCS_IDX_EPT_POINTER, V(EPT_POINTER), "on the way to %s: level "
	      "%u entry at 0x%" PRIx64 " is 0x%" PRIx64 "%s%s", way, w->level, w->at,
	      w->entry, w->why ? ": " : "", w->why ? w->why : "");
	return false;
}

static bool ends_in_ram(struct findings *f, uint64_t gpa, const char *way)
{
	const struct nearby_ctx *x = f->x;
	struct walk w;
	uint8_t byte;

	if (!went_well(f, nearby_ept(x, gpa, &w), &w, way))
		return false;
	if (x->read(x->arg, w.to, &byte, 1))
		return true;
	found(f, "near-ept-ram", VMCS_IDX_EPT_POINTER, V(EPT_POINTER), "the way to %s "
	      "ends at 0x%" PRIx64 ", which is not in guest RAM", way, w.to);
	return false;
}

static void check_walks(struct findings *f)
{
	const struct nearby_ctx *x = f->x;
	bool in64 = V(VM_ENTRY_CONTROLS) & IA32E && V(GUEST_CS_AR_BYTES) & CS_L;
	uint64_t lin = V(GUEST_RIP) + (in64 ? 0 : V(GUEST_CS_BASE)), gpa;
	struct walk w;
	bool mapped;

	if (!in64)
		lin &= 0xffffffff;
	if (V(GUEST_CR0) >> 31 & 1 &&
	    !ends_in_ram(f, V(GUEST_CR3) & 0x000ffffffffff000ull, "L2's CR3"))
		return;
	if (!went_well(f, nearby_paging(x, lin, &gpa, &mapped, &w), &w,
		       "the page tables of L2's RIP"))
		return;
	if (mapped)
		ends_in_ram(f, gpa, "L2's RIP");
	else
		found(f, "near-paging", VMCS_IDX_GUEST_RIP, V(GUEST_RIP), "CR3 is 0x%"
		      PRIx64, V(GUEST_CR3));
}

/* What vmx_check_eptp() of KVM and the SDM (26.5.6.3) ask of an EPTP. */
static bool eptp_ok(const struct nearby_ctx *x, uint64_t v)
{
	uint64_t caps = x->ept_caps;
	unsigned type = v & 7, levels = (v >> 3 & 7) + 1;

	if (type == 0 ? !(caps >> 8 & 1) : type == 6 ? !(caps >> 14 & 1) : 1)
		return false;
	if (levels == 4 ? !(caps >> 6 & 1) : levels == 5 ? !(caps >> 7 & 1) : 1)
		return false;
	return !(v >> 6 & 1 && !(caps >> 21 & 1)) && !(v & 0xf80) &&
	       !(v >> x->maxphyaddr);
}

static void check_eptp_list(struct findings *f)
{
	const struct nearby_ctx *x = f->x;
	uint64_t at = V(EPTP_LIST_ADDRESS), e;

	for (unsigned i = 0; eptp_switching(x) && i < 512; i++) {
		if (!x->read(x->arg, at + 8 * i, &e, 8))
			return;
		if (!e || eptp_ok(x, e))
			continue;
		found(f, "near-eptp-list", VMCS_IDX_EPTP_LIST_ADDRESS, at,
		      "entry %u is 0x%" PRIx64, i, e);
		return;
	}
}

/* -- the current VMCS in RAM ------------------------------------------------------------------ */
static void check_copy(struct findings *f)
{
	const struct nearby_ctx *x = f->x;
	uint8_t ram[VMCS12_SIZE];
	unsigned differ = 0;
	uint32_t id;

	if (x->vmcs12_pa == NONE ||
	    !x->read(x->arg, x->vmcs12_pa, ram, sizeof ram))
		return;
	memcpy(&id, ram, 4);
	if ((id & ~VMCS12_SHADOW_BIT) != VMCS12_REVISION) {
		found(f, "near-vmcs-page", -1, x->vmcs12_pa, "page 0x%" PRIx64
		      " begins with 0x%x", x->vmcs12_pa, id);
		return;
	}
	for (int i = 0; i < VMCS_FIELD_COUNT; i++)
		differ += layout_has(x->l, i) &&
			layout_get(x->l, ram, i) != get(x, i);
	if (differ)
		found(f, "near-stale", -1, x->vmcs12_pa, "%u fields of page 0x%"
		      PRIx64 " are older than the nested state's", differ,
		      x->vmcs12_pa);
}

unsigned nearby_check(const struct nearby_ctx *x, struct nearby_found *out)
{
	struct findings f = { x, out, 0 };

	if (x->l2_active && x->no_deadline &&
	    V(PIN_BASED_VM_EXEC_CONTROL) & PIN_PTIMER)
		found(&f, "near-deadline", VMCS_IDX_VMX_PREEMPTION_TIMER_VALUE,
		      V(VMX_PREEMPTION_TIMER_VALUE), "the timer is armed");
	/* A launched VMCS: fields that GET did not fetch can be older than RAM. */
	if (!x->l2_active && x->source >= KERNEL(5, 3) &&
	    x->source <= KERNEL(5, 9) && x->vmcs12_pa != NONE &&
	    x->page[VMCS12_OFF_LAUNCH])
		found(&f, "near-rare-fields", -1, x->vmcs12_pa, "saved by Linux %u.%u",
		      x->source >> 16, x->source & 0xffff);
	if (!x->read)
		return f.n;
	check_copy(&f);
	/* Until L1 enters, what it has written so far need not fit. */
	if (!x->l2_active)
		return f.n;
	check_areas(&f);
	check_msrs(&f, VMCS_IDX_VM_EXIT_MSR_STORE_ADDR,
		   VMCS_IDX_VM_EXIT_MSR_STORE_COUNT, true);
	check_msrs(&f, VMCS_IDX_VM_EXIT_MSR_LOAD_ADDR,
		   VMCS_IDX_VM_EXIT_MSR_LOAD_COUNT, false);
	check_eptp_list(&f);
	check_walks(&f);
	return f.n;
}
