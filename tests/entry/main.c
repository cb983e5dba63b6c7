/* main.c: check's verdict on a VM entry against the entry itself.
 *
 *   entry CASES SEED SNAPSHOT...
 *
 * Each snapshot is one in which L1 runs with a good vmcs12 that was never launched.
 * A case damages that vmcs12 at random, asks check (cli/check/) what a VM entry would
 * do, and then has the core's L1 execute VMLAUNCH.  Both have to agree: entered, or
 * failed with the same VM-instruction error, or with the same exit reason and
 * qualification.
 *
 * Every fourth case damages by VMWRITE instead: a first VMLAUNCH fails on its guest
 * state, so that controls and host state have passed; then L1 repairs that and writes
 * other fields, and the entry may only repeat the checks that those concern.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/check/rules.h"
#include "cli/check/subject.h"
#include "cli/cli.h"
#include "convert/check/nearby.h"
#include "convert/load.h"
#include "hvcore/hvcore.h"

#define BLOB_PAGE 128u
#define ENTRY_FAILED 0x80000000u
#define FLAG_ZF 0x40u
#define FLAG_CF 1u
/* Where L1's code has nothing, identity-mapped. */
#define STUB_VMLAUNCH 0x300000u
#define STUB_VMWRITE 0x300010u
#define NO_EXIT 0xffffu

bool cli_quiet;

/* -- random ---------------------------------------------------------------------------- */
static uint64_t state;

static uint64_t rnd(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state * 0x2545f4914f6cdd1dull;
}

static unsigned below(unsigned n)
{
	return (unsigned)(rnd() >> 33) % n;
}

/* -- one good vmcs12 --------------------------------------------------------------------- */
struct good {
	const char *path;
	struct loaded in;
	struct snapshot_vcpu v;      /* of which nested is damaged */
	uint8_t *pristine;           /* its nested state */
	bool own;                    /* v.msrs and v.cpuid are not the snapshot's */
	struct vm *vm, *judges;      /* the same RAM twice: vCPUs take turns */
	struct vcpu *c, *judge;
	uint8_t **ram;               /* private mappings of run i's file */
	const struct layout *l;
};

static void die(const char *what, const char *why)
{
	fprintf(stderr, "entry: %s: %s\n", what, why);
	exit(4);
}

/* A run of RAM as a private mapping of a file: what an entry has changed is dropped
 * by one call. */
static uint8_t *private_ram(const struct snapshot_ram *r)
{
	int fd = memfd_create("ram", MFD_CLOEXEC);
	uint8_t *p;

	if (fd < 0 || write(fd, r->host, r->size) != (ssize_t)r->size)
		die("memfd", "cannot hold guest RAM");
	p = mmap(NULL, r->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
	if (p == MAP_FAILED)
		die("mmap", "cannot map guest RAM");
	close(fd);
	return p;
}

static void drop_changes(const struct good *g)
{
	for (uint32_t i = 0; i < g->in.snapshot->nram; i++)
		madvise(g->ram[i], g->in.snapshot->ram[i].size, MADV_DONTNEED);
}

/* The same guest on the CPU that offers most, for the rules about what KVM 6.1's did
 * not offer. */
static void take_model(struct good *g)
{
	struct vm *vm = hv_vm_new(&(struct hv_ops){ 0 });
	struct vcpu *c = hv_vcpu_new(vm);
	struct kvm_msr_entry *msrs = calloc(g->v.nmsrs + VMX_CAPS_COUNT,
					    sizeof *msrs);
	struct snapshot_vcpu model = { 0 };
	struct nst_error e = { 0 };
	struct caps_file caps;
	uint32_t n = 0;

	if (hv_vcpu_set_model(c, "sapphire-rapids", &e) ||
	    caps_of_vcpu(c, &caps, &e) || hv_vcpu_save(c, &model, &e))
		die("sapphire-rapids", e.text);
	for (uint32_t i = 0; i < g->v.nmsrs; i++)
		if (g->v.msrs[i].index < VMX_CAPS_FIRST ||
		    g->v.msrs[i].index >= VMX_CAPS_FIRST + VMX_CAPS_COUNT)
			msrs[n++] = g->v.msrs[i];
	for (uint32_t i = 0; i < VMX_CAPS_COUNT; i++)
		msrs[n++] = (struct kvm_msr_entry){ .index = VMX_CAPS_FIRST + i,
			.data = caps.caps.msr[i] };
	g->v.msrs = msrs;
	g->v.nmsrs = n;
	g->own = true;
	g->v.cpuid = model.cpuid;
	g->v.ncpuid = model.ncpuid;
	free(model.msrs);
	free(model.xsave);
	free(model.nested);
	hv_vm_free(vm);
}

static void open_good(struct good *g, const char *path, bool newest)
{
	static const uint8_t vmlaunch[] = { 0x0f, 0x01, 0xc2 };
	static const uint8_t vmwrite[] = { 0x0f, 0x79, 0xc3 }; /* RAX, RBX */
	struct load_options o = { .for_check = true };
	struct nst_error e = { 0 };
	struct vmx_check_ctx x;
	struct snapshot *s;

	g->path = path;
	if (load_converted(path, &o, &g->in, &e))
		die(path, e.text);
	s = g->in.snapshot;
	g->vm = hv_vm_new(&(struct hv_ops){ 0 });
	g->judges = hv_vm_new(&(struct hv_ops){ 0 });
	g->ram = calloc(s->nram, sizeof *g->ram);
	memcpy(snapshot_ram_at(s, STUB_VMLAUNCH, sizeof vmlaunch), vmlaunch,
	       sizeof vmlaunch);
	memcpy(snapshot_ram_at(s, STUB_VMWRITE, sizeof vmwrite), vmwrite,
	       sizeof vmwrite);
	for (uint32_t i = 0; i < s->nram; i++) {
		g->ram[i] = private_ram(&s->ram[i]);
		if (hv_map_ram(g->vm, s->ram[i].gpa, s->ram[i].size, g->ram[i],
			       &e) ||
		    hv_map_ram(g->judges, s->ram[i].gpa, s->ram[i].size,
			       g->ram[i], &e))
			die(path, e.text);
	}
	g->v = s->vcpu[0];
	g->pristine = g->v.nested;
	g->v.nested = malloc(g->v.nested_size);
	g->v.regs.rip = STUB_VMLAUNCH;
	if (newest)
		take_model(g);
	g->c = hv_vcpu_new(g->vm);
	if (!g->c || !g->v.nested ||
	    subject_cpu(&g->v, NULL, hv_cpu_models[0], NULL, g->judges, &g->judge, &e))
		die(path, e.text);
	hv_check_context(g->judge, NULL, ~0ull, &x);
	g->l = x.l;
}

static void close_good(struct good *g)
{
	hv_vm_free(g->vm);
	hv_vm_free(g->judges);
	for (uint32_t i = 0; i < g->in.snapshot->nram; i++)
		munmap(g->ram[i], g->in.snapshot->ram[i].size);
	free(g->ram);
	free(g->v.nested);
	if (g->own) {
		free(g->v.msrs);
		free(g->v.cpuid);
	}
	snapshot_free(g->in.snapshot);
}

/* -- damages ----------------------------------------------------------------------------- */
/* Fields that decide most, so that they are hit more often than by their number. */
static const int favourites[] = {
	VMCS_IDX_PIN_BASED_VM_EXEC_CONTROL, VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL,
	VMCS_IDX_SECONDARY_VM_EXEC_CONTROL, VMCS_IDX_VM_EXIT_CONTROLS,
	VMCS_IDX_VM_ENTRY_CONTROLS, VMCS_IDX_VM_ENTRY_INTR_INFO_FIELD,
	VMCS_IDX_GUEST_CR0, VMCS_IDX_GUEST_CR4, VMCS_IDX_GUEST_RFLAGS,
	VMCS_IDX_GUEST_IA32_EFER, VMCS_IDX_GUEST_CS_AR_BYTES,
	VMCS_IDX_GUEST_SS_AR_BYTES, VMCS_IDX_GUEST_TR_AR_BYTES,
	VMCS_IDX_GUEST_ACTIVITY_STATE, VMCS_IDX_GUEST_INTERRUPTIBILITY_INFO,
	VMCS_IDX_GUEST_PENDING_DBG_EXCEPTIONS, VMCS_IDX_HOST_CR4,
	VMCS_IDX_VMCS_LINK_POINTER, VMCS_IDX_EPT_POINTER, VMCS_IDX_TPR_THRESHOLD,
};

static int any_field(const struct good *g)
{
	int i;

	if (!below(3))
		return favourites[below(sizeof favourites / sizeof *favourites)];
	do
		i = (int)below(VMCS_FIELD_COUNT);
	while (!layout_has(g->l, i));
	return i;
}

static uint64_t any_value(const struct good *g, const uint8_t *page, uint64_t old)
{
	switch (below(10)) {
	case 0: return rnd();
	case 1: return rnd() & 0xffffff000;
	case 2: return 0;
	case 3: return ~0ull;
	case 4: return old + below(5) - 2;
	case 5: return below(16);
	case 6: return layout_get(g->l, page, any_field(g));
	case 7: return old ^ 1ull << below(64) ^ 1ull << below(32);
	default: return old ^ 1ull << below(below(2) ? 64 : 32);
	}
}

/* Good states of features that the hypervisor of the snapshots does not use, so that
 * damages reach the rules about them.  OR adds bits; SET writes. */
enum { END, OR, SET };
#define PIN_ VMCS_IDX_PIN_BASED_VM_EXEC_CONTROL
#define PROC_ VMCS_IDX_CPU_BASED_VM_EXEC_CONTROL
#define SEC_ VMCS_IDX_SECONDARY_VM_EXEC_CONTROL
#define EXIT_ VMCS_IDX_VM_EXIT_CONTROLS
#define ENTRY_ VMCS_IDX_VM_ENTRY_CONTROLS
#define F(NAME) VMCS_IDX_##NAME
static const struct { int how, field; uint64_t value; } features[][10] = {
	/* TPR shadow; then APIC accesses; then all of APICv and posted interrupts */
	{ { OR, PROC_, 1 << 21 }, { SET, F(VIRTUAL_APIC_PAGE_ADDR), 0x310000 } },
	{ { OR, PROC_, 1 << 21 }, { SET, F(VIRTUAL_APIC_PAGE_ADDR), 0x310000 },
	  { OR, SEC_, 1 }, { SET, F(APIC_ACCESS_ADDR), 0x311000 } },
	{ { OR, PROC_, 1 << 21 }, { SET, F(VIRTUAL_APIC_PAGE_ADDR), 0x310000 },
	  { OR, SEC_, 0x310 }, { OR, PIN_, 0x81 }, { OR, EXIT_, 1 << 15 },
	  { SET, F(POSTED_INTR_NV), 0xf2 },
	  { SET, F(POSTED_INTR_DESC_ADDR), 0x312040 } },
	/* MBEC, SPP, #VE on top of EPT */
	{ { OR, SEC_, 1 << 22 } }, { { OR, SEC_, 1 << 23 } },
	{ { OR, SEC_, 1 << 18 } }, { { OR, SEC_, 1 << 25 },
	  { SET, F(TSC_MULTIPLIER), 1ull << 48 } },
	{ { OR, SEC_, 1 << 13 }, { SET, F(VM_FUNCTION_CONTROL), 1 } },
	/* MSR areas */
	{ { SET, F(VM_EXIT_MSR_STORE_COUNT), 1 },
	  { SET, F(VM_EXIT_MSR_STORE_ADDR), 0x313000 } },
	{ { SET, F(VM_EXIT_MSR_LOAD_COUNT), 2 },
	  { SET, F(VM_EXIT_MSR_LOAD_ADDR), 0x313000 } },
	{ { SET, F(VM_ENTRY_MSR_LOAD_COUNT), 1 },
	  { SET, F(VM_ENTRY_MSR_LOAD_ADDR), 0x313000 } },
	/* what entries and exits load */
	{ { OR, ENTRY_, 0x2004 }, { OR, EXIT_, 0x1000 },
	  { SET, F(GUEST_DR7), 0x400 } },
	{ { OR, ENTRY_, 1 << 16 } },
	{ { OR, ENTRY_, 1 << 20 }, { OR, EXIT_, 1 << 28 },
	  { OR, F(GUEST_CR4), 1 << 23 }, { OR, F(HOST_CR4), 1 << 23 },
	  { OR, F(GUEST_CR0), 1 << 16 }, { OR, F(HOST_CR0), 1 << 16 },
	  { SET, F(GUEST_S_CET), 1 }, { SET, F(GUEST_SSP), 0x7f0000 } },
	/* injections: an exception with error code, an interrupt, an NMI, INT n */
	{ { SET, F(VM_ENTRY_INTR_INFO_FIELD), 0x80000b0d } },
	{ { SET, F(VM_ENTRY_INTR_INFO_FIELD), 0x80000020 },
	  { SET, F(GUEST_RFLAGS), 0x202 } },
	{ { SET, F(VM_ENTRY_INTR_INFO_FIELD), 0x80000202 },
	  { OR, PIN_, 0x28 } },
	{ { SET, F(VM_ENTRY_INTR_INFO_FIELD), 0x80000480 },
	  { SET, F(VM_ENTRY_INSTRUCTION_LEN), 2 } },
	/* non-register state */
	{ { SET, F(GUEST_ACTIVITY_STATE), 1 } },
	{ { SET, F(GUEST_INTERRUPTIBILITY_INFO), 2 } },
	{ { SET, F(GUEST_INTERRUPTIBILITY_INFO), 1 },
	  { SET, F(GUEST_RFLAGS), 0x202 } },
	{ { SET, F(GUEST_LDTR_AR_BYTES), 0x82 }, { SET, F(GUEST_LDTR_LIMIT), 7 },
	  { SET, F(GUEST_LDTR_SELECTOR), 0x30 } },
	/* CPL 3; a PAE guest of 32 bits; one in virtual-8086 mode (segments below) */
	{ { SET, F(GUEST_CS_SELECTOR), 0x0b }, { SET, F(GUEST_SS_SELECTOR), 0x13 },
	  { SET, F(GUEST_CS_AR_BYTES), 0xa0fb },
	  { SET, F(GUEST_SS_AR_BYTES), 0xc0f3 } },
	{ { SET, ENTRY_, 0x51fb }, { SET, F(GUEST_CS_AR_BYTES), 0xc09b },
	  { SET, F(GUEST_RIP), 0x2000fe } },
	{ { SET, ENTRY_, 0x51fb }, { SET, F(GUEST_RFLAGS), 0x20002 },
	  { SET, F(GUEST_RIP), 0xfe } },
};
#undef F
#define NFEATURES (sizeof features / sizeof *features)
#define V86_FEATURE (NFEATURES - 1)

static void v86(const struct good *g, uint8_t *page)
{
	for (uint32_t n = 0; n < 12; n += 2) {
		layout_set(g->l, page, vmcs_field_index(
			VMCS_GUEST_ES_SELECTOR + n), 0x100);
		layout_set(g->l, page, vmcs_field_index(
			VMCS_GUEST_ES_BASE + n), 0x1000);
		layout_set(g->l, page, vmcs_field_index(
			VMCS_GUEST_ES_LIMIT + n), 0xffff);
		layout_set(g->l, page, vmcs_field_index(
			VMCS_GUEST_ES_AR_BYTES + n), 0xf3);
	}
}

static void use_feature(const struct good *g, uint8_t *page)
{
	unsigned n = below(NFEATURES);

	for (unsigned k = 0; k < 10 && features[n][k].how; k++) {
		int f = features[n][k].field;
		uint64_t old = features[n][k].how == OR ?
			layout_get(g->l, page, f) : 0;

		if (layout_has(g->l, f))
			layout_set(g->l, page, f, old | features[n][k].value);
	}
	if (n == V86_FEATURE)
		v86(g, page);
}

static void damage(struct good *g)
{
	uint8_t *page = g->v.nested + BLOB_PAGE;

	memcpy(g->v.nested, g->pristine, g->v.nested_size);
	for (unsigned n = below(4) + 1; n > 2; n--)
		use_feature(g, page);
	for (unsigned n = 1 + below(3); n; n--) {
		int f = any_field(g);

		if (below(12)) {
			layout_set(g->l, page, f, any_value(g, page,
				   layout_get(g->l, page, f)));
			continue;
		}
		/* Bytes that end where no field does; not the header. */
		page[16 + below(1000)] ^= (uint8_t)(1u << below(8));
	}
	layout_set(g->l, page, VMCS_IDX_VM_EXIT_REASON, NO_EXIT);
	layout_set(g->l, page, VMCS_IDX_VM_INSTRUCTION_ERROR, 0);
}

/* -- both answers ------------------------------------------------------------------------ */
struct answer {
	enum { ENTERED, VM_FAIL, ENTRY_EXIT, OTHER } kind;
	uint64_t number, qualification;
	const char *rule;
	char text[600];
};

static unsigned hits[400];

static bool read_ram(void *arg, uint64_t gpa, void *buf, unsigned len)
{
	const struct good *g = arg;

	for (uint32_t i = 0; i < g->in.snapshot->nram; i++) {
		const struct snapshot_ram *r = &g->in.snapshot->ram[i];
		if (gpa < r->gpa || gpa - r->gpa >= r->size ||
		    len > r->size - (gpa - r->gpa))
			continue;
		memcpy(buf, g->ram[i] + (gpa - r->gpa), len);
		return true;
	}
	return false;
}

/* The neighbourhood's rules have to stand any vmcs12; a sanitizer looks on. */
static void look_around(struct good *g)
{
	struct nearby_found f[NEARBY_MOST];
	const struct nearby_ctx x = { .l = g->l, .page = g->v.nested + BLOB_PAGE,
		.vmxon_pa = 0x400000, .vmcs12_pa = 0x401000, .l2_active = true,
		.maxphyaddr = 40, .ept_caps = rnd(), .misc = 0x20000165,
		.read = read_ram, .arg = g };

	if (nearby_check(&x, f) > NEARBY_MOST)
		die("nearby_check", "more than there is room for");
}

static struct answer ask_check(struct good *g)
{
	static struct broken b[MAX_BROKEN];
	struct answer a = { .kind = ENTERED };
	struct subject s;
	struct rule r;

	drop_changes(g);
	look_around(g);
	subject_fill(&g->v, NULL, true, g->judge, NULL, &s);
	if (!verdict_sdm(&s, b, MAX_BROKEN))
		return a;
	a.rule = b[0].id;
	if (!rule_find(a.rule, &r))
		die("no rule", a.rule);
	for (unsigned n = 0; rule_at(n, &r); n++)
		if (!strcmp(r.id, a.rule)) {
			hits[n]++;
			break;
		}
	a.kind = r.error ? VM_FAIL : ENTRY_EXIT;
	a.number = r.error ? r.error : r.reason;
	a.qualification = b[0].qualification;
	return a;
}

/* Runs one instruction and says what became of the VMCS. */
static struct answer run_one(struct good *g, struct snapshot_vcpu *after)
{
	const struct hv_limits one = { .insns = hv_stats(g->vm)->insns[1] +
		hv_stats(g->vm)->insns[2] + 1, .exits = ~0ull };
	struct answer a = { .kind = OTHER };
	struct nst_error e = { 0 };
	struct hv_stop stop = { 0 };
	const uint8_t *page;
	uint64_t reason;

	hv_run(g->vm, &one, &stop);
	if (hv_vcpu_save(g->c, after, &e))
		die(g->path, e.text);
	page = after->nested + BLOB_PAGE;
	reason = layout_get(g->l, page, VMCS_IDX_VM_EXIT_REASON);
	snprintf(a.text, sizeof a.text, "stop %d: %s", stop.reason, stop.text);
	if (after->nested[0] & KVM_STATE_NESTED_GUEST_MODE) {
		a.kind = ENTERED;
	} else if (reason == NO_EXIT && after->regs.rflags & FLAG_ZF) {
		a.kind = VM_FAIL;
		a.number = layout_get(g->l, page, VMCS_IDX_VM_INSTRUCTION_ERROR);
	} else if (reason & ENTRY_FAILED) {
		a.kind = ENTRY_EXIT;
		a.number = reason & 0xffff;
		a.qualification = layout_get(g->l, page,
					     VMCS_IDX_EXIT_QUALIFICATION);
	} else if (reason != NO_EXIT) {
		a.kind = ENTERED; /* and left again at once */
	}
	return a;
}

static void load(struct good *g)
{
	struct nst_error e = { 0 };

	drop_changes(g);
	if (hv_vcpu_load(g->c, &g->v, &e))
		die(g->path, e.text);
}

static struct answer ask_core(struct good *g)
{
	struct snapshot_vcpu after = { 0 };
	struct answer a;

	load(g);
	a = run_one(g, &after);
	snapshot_vcpu_clear(&after);
	return a;
}

/* -- damage by VMWRITE ---------------------------------------------------------------------- */
static void at(struct good *g, uint64_t rip, uint64_t rax, uint64_t rbx)
{
	struct kvm_regs r = g->v.regs;
	struct nst_error e = { 0 };

	r.rip = rip;
	r.rax = rax;
	r.rbx = rbx;
	if (hv_vcpu_set_regs(g->c, &r, &e))
		die(g->path, e.text);
}

static void vmwrite(struct good *g, int field, uint64_t value)
{
	struct snapshot_vcpu after = { 0 };

	at(g, STUB_VMWRITE, vmcs_fields[field].encoding, value);
	run_one(g, &after);
	snapshot_vcpu_clear(&after);
}

/* Leaves what L1 has written in g->v.nested, where check looks. */
static struct answer ask_core_by_vmwrite(struct good *g, struct answer *check)
{
	uint8_t *page = g->v.nested + BLOB_PAGE;
	struct snapshot_vcpu after = { 0 };
	struct answer a;
	uint64_t flags;

	memcpy(g->v.nested, g->pristine, g->v.nested_size);
	flags = layout_get(g->l, page, VMCS_IDX_GUEST_RFLAGS);
	layout_set(g->l, page, VMCS_IDX_GUEST_RFLAGS, 0);
	layout_set(g->l, page, VMCS_IDX_HOST_RIP, STUB_VMLAUNCH);
	load(g);
	a = run_one(g, &after);
	if (a.kind != ENTRY_EXIT)
		die(g->path, "an entry with RFLAGS 0 does not fail");
	snapshot_vcpu_clear(&after);
	vmwrite(g, VMCS_IDX_GUEST_RFLAGS, flags);
	for (unsigned n = 1 + below(3); n; n--) {
		int f = any_field(g);

		vmwrite(g, f, any_value(g, page, layout_get(g->l, page, f)));
	}
	/* The first failure's reason is still there: tell a second one from it. */
	vmwrite(g, VMCS_IDX_VM_EXIT_REASON, NO_EXIT);
	memset(&after, 0, sizeof after);
	if (hv_vcpu_save(g->c, &after, &(struct nst_error){ 0 }))
		die(g->path, "cannot be saved");
	memcpy(page, after.nested + BLOB_PAGE, VMCS12_SIZE);
	snapshot_vcpu_clear(&after);
	*check = ask_check(g);
	memset(&after, 0, sizeof after);
	at(g, STUB_VMLAUNCH, 0, 0);
	a = run_one(g, &after);
	snapshot_vcpu_clear(&after);
	return a;
}

static void describe(const char *who, const struct answer *a)
{
	static const char *const kinds[] = { "entered", "VM-instruction error",
		"entry failure, exit reason", "something else" };

	printf("  %s: %s", who, kinds[a->kind]);
	if (a->kind == VM_FAIL || a->kind == ENTRY_EXIT)
		printf(" %" PRIu64, a->number);
	if (a->kind == ENTRY_EXIT)
		printf(", qualification %" PRIu64, a->qualification);
	printf("%s%s %s\n", a->rule ? ", rule " : "", a->rule ? a->rule : "",
	       a->text);
}

static void describe_damage(const struct good *g)
{
	for (int i = 0; i < VMCS_FIELD_COUNT; i++) {
		uint64_t was, is;

		if (!layout_has(g->l, i))
			continue;
		was = layout_get(g->l, g->pristine + BLOB_PAGE, i);
		is = layout_get(g->l, g->v.nested + BLOB_PAGE, i);
		if (was != is && i != VMCS_IDX_VM_EXIT_REASON)
			printf("  %s: 0x%" PRIx64 " to 0x%" PRIx64 "\n",
			       vmcs_fields[i].name, was, is);
	}
}

static bool same(const struct answer *a, const struct answer *b)
{
	return a->kind == b->kind && a->kind != OTHER && a->number == b->number &&
		(a->kind != ENTRY_EXIT || a->qualification == b->qualification);
}

/* How much of the table the damages have tried. */
static void print_hits(void)
{
	unsigned entry = 0, hit = 0;
	struct rule r;

	for (unsigned n = 0; rule_at(n, &r); n++) {
		if (!r.error && !r.reason)
			continue;
		entry++;
		hit += hits[n] != 0;
		if (!hits[n] && getenv("VERBOSE"))
			printf("  never the first: %s\n", r.id);
	}
	printf("%u of the %u rules of a VM entry were the first to be broken in "
	       "some case\n", hit, entry);
}

int main(int argc, char **argv)
{
	unsigned long cases, differ = 0, count[4] = { 0 };
	unsigned ngood = 2 * ((unsigned)argc - 3);
	struct good *good;

	if (argc < 4)
		die("usage", "entry CASES SEED SNAPSHOT...");
	cases = strtoul(argv[1], NULL, 0);
	state = strtoul(argv[2], NULL, 0) * 0x9e3779b97f4a7c15ull + 1;
	good = calloc(ngood, sizeof *good);
	for (unsigned i = 0; i < ngood; i++)
		open_good(&good[i], argv[3 + i / 2], i % 2);
	for (unsigned long n = 0; n < cases && differ < 20; n++) {
		struct good *g = &good[n % ngood];
		struct answer check, core;

		if (n < ngood) {
			memcpy(g->v.nested, g->pristine, g->v.nested_size);
			layout_set(g->l, g->v.nested + BLOB_PAGE,
				   VMCS_IDX_VM_EXIT_REASON, NO_EXIT);
		} else {
			damage(g);
		}
		if (n >= ngood && n % 4 == 0) {
			core = ask_core_by_vmwrite(g, &check);
		} else {
			check = ask_check(g);
			core = ask_core(g);
		}
		count[core.kind]++;
		if (same(&check, &core))
			continue;
		differ++;
		printf("case %lu, %s:\n", n, g->path);
		describe("check", &check);
		describe("core", &core);
		describe_damage(g);
	}
	printf("%lu random damages: %lu entered, %lu refused by VMLAUNCH, %lu by a "
	       "VM exit; check and the core differ in %lu\n", cases,
	       count[ENTERED], count[VM_FAIL], count[ENTRY_EXIT], differ);
	print_hits();
	for (unsigned i = 0; i < ngood; i++)
		close_good(&good[i]);
	free(good);
	return differ != 0;
}
