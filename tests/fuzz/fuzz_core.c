/* fuzz_core.c: the core itself, on a machine state that the input has damaged.
 *
 * An input names a base (a snapshot of a nested VM, or a CPU at its reset) and then
 * changes it, item by item: registers, the vmcs12, words of RAM among which are page
 * tables, EPT tables, bitmaps and MSR lists, MSRs, pending events, local APIC; and the
 * code that runs next.  Then at most LIMIT instructions run.  Whatever they are, the
 * core may neither crash nor run for long nor touch what is not the guest's: RAM stands
 * between pages that cannot be accessed.  With FLAG_AGAIN the state is saved on the way,
 * loaded into a second machine, and both have to end alike; with CORE_TWICE two machines
 * of the same input have to.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "convert/load.h"
#include "hvcore/hvcore.h"
#include "layouts/layouts.h"
#include "tests/fuzz/fuzz_core.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define LIMIT 500u
#define HALF 200u
#define BLOB_VMCS12 128u
#define RAM_SIZE (16u << 20)
#define GUARD (1u << 20)
#define CODE_MAX 256u

static const char *const files[] = {
	"tests/fixtures/kvm-6.1/full/4-in-l2.nss.gz",
	"tests/fixtures/kvm-6.1/no-ept/4-in-l2.nss.gz",
	"tests/fixtures/kvm-6.1/full/3-before-launch.nss.gz",
	"tests/fixtures/kvm-6.1/no-shadow/5-in-l1-exit.nss.gz",
	"tests/fixtures/kvm-6.1/full/6-pml-nearly-full.nss.gz",
};
#define NFILES (sizeof files / sizeof *files)

struct base {
	struct snapshot *s;          /* NULL: a CPU at its reset */
	const struct layout *layout;
	int fd;                      /* its RAM */
	uint32_t pages[256], npages; /* that are not zero */
};
static struct base bases[NFILES + 1];

struct machine {
	struct vm *vm;
	uint8_t *area, *ram;
};

static void die(const char *what)
{
	fprintf(stderr, "fuzz_core: %s\n", what);
	abort();
}

/* -- bases ------------------------------------------------------------------------------- */
static void note_pages(struct base *b, const uint8_t *ram)
{
	static const uint8_t zero[4096];

	for (uint32_t at = 0; at < RAM_SIZE && b->npages < 256; at += 4096)
		if (memcmp(ram + at, zero, 4096))
			b->pages[b->npages++] = at;
}

static void open_base(struct base *b, const char *file)
{
	struct load_options o = { 0 };
	struct nst_error e = { 0 };
	struct loaded in;

	b->fd = memfd_create("ram", MFD_CLOEXEC);
	if (b->fd < 0 || ftruncate(b->fd, RAM_SIZE))
		die("no memory for RAM");
	if (!file)
		return;
	if (load_converted(file, &o, &in, &e))
		die(e.text);
	b->s = in.snapshot;
	b->layout = in.layout;
	for (uint32_t i = 0; i < b->s->nram; i++) {
		const struct snapshot_ram *r = &b->s->ram[i];

		if (r->gpa + r->size > RAM_SIZE ||
		    pwrite(b->fd, r->host, r->size, (off_t)r->gpa) != (ssize_t)r->size)
			die("a fixture's RAM does not fit");
		if (!r->gpa)
			note_pages(b, r->host);
	}
}

static void open_bases(void)
{
	for (size_t i = 0; i < NFILES; i++)
		open_base(&bases[i], files[i]);
	open_base(&bases[NFILES], NULL);
}

/* -- the input --------------------------------------------------------------------------- */
struct input {
	const uint8_t *at;
	size_t left;
};

static uint64_t take(struct input *in, unsigned bytes)
{
	uint64_t v = 0;
	size_t n = bytes < in->left ? bytes : in->left;

	memcpy(&v, in->at, n);
	in->at += n;
	in->left -= n;
	return v;
}

/* The state that the input makes of a base. */
struct made {
	struct base *base;
	uint8_t flags;
	struct snapshot_vcpu v;
	uint8_t nested[16384];
	struct kvm_msr_entry msrs[512];
	uint8_t code[CODE_MAX];
	unsigned code_len;
	struct { uint32_t at; uint64_t v; } words[64];
	unsigned nwords;
};

static void start(struct made *m)
{
	const struct base *b = m->base;

	if (!b->s) {
		m->v.have = 1u << SN_REGS | 1u << SN_SREGS;
		m->v.regs.rflags = 2;
		m->v.regs.rip = 0x7c00;
		m->v.sregs.cr0 = 0x10;
		m->v.sregs.apic_base = 0xfee00900;
		m->v.sregs.cs = (struct kvm_segment){ .limit = 0xffff, .type = 11,
			.present = 1, .s = 1 };
		m->v.sregs.ds = m->v.sregs.cs;
		m->v.sregs.ds.type = 3;
		m->v.sregs.es = m->v.sregs.fs = m->v.sregs.gs = m->v.sregs.ss =
			m->v.sregs.ds;
		m->v.sregs.tr = (struct kvm_segment){ .type = 11, .present = 1,
			.limit = 0xffff };
		m->v.sregs.ldt = (struct kvm_segment){ .type = 2, .present = 1,
			.limit = 0xffff };
		m->v.sregs.idt.limit = 0x3ff;
		return;
	}
	m->v = b->s->vcpu[0];
	if (m->v.nested_size > sizeof m->nested || m->v.nmsrs > 512)
		die("a fixture's state does not fit");
	memcpy(m->nested, m->v.nested, m->v.nested_size);
	memcpy(m->msrs, m->v.msrs, m->v.nmsrs * sizeof *m->msrs);
	m->v.regs.rcx &= 0xff; /* REP is not to take all the time */
	m->v.nested = m->nested;
	m->v.msrs = m->msrs;
}

static void change_field(struct made *m, struct input *in)
{
	int field = (int)(take(in, 1) % VMCS_FIELD_COUNT);
	unsigned how = (unsigned)take(in, 1);
	uint64_t v = take(in, 8);
	uint8_t *page = m->nested + BLOB_VMCS12;

	if (m->v.nested_size < BLOB_VMCS12 + VMCS12_SIZE ||
	    !layout_has(m->base->layout, field))
		return;
	if (how & 1)
		v = layout_get(m->base->layout, page, field) ^ 1ull << (how >> 1 & 63);
	layout_set(m->base->layout, page, field, v);
}

static void change_word(struct made *m, struct input *in)
{
	const struct base *b = m->base;
	uint32_t page = (uint32_t)take(in, 1), off = (uint32_t)take(in, 2);
	uint64_t v = take(in, 8);

	if (m->nwords == 64)
		return;
	page = b->npages ? b->pages[page % b->npages] : page << 12;
	m->words[m->nwords].at = page + (off & 0xff8);
	m->words[m->nwords++].v = v;
}

/* One byte of a struct. */
static void change_byte(void *p, size_t size, struct input *in)
{
	size_t at = take(in, 2) % size;

	((uint8_t *)p)[at] ^= (uint8_t)take(in, 1);
}

static void change_code(struct made *m, struct input *in)
{
	unsigned len = (unsigned)take(in, 1) & 63;

	for (; len && m->code_len < CODE_MAX && in->left; len--)
		m->code[m->code_len++] = (uint8_t)take(in, 1);
}

static void item(struct made *m, struct input *in)
{
	uint64_t *regs = (uint64_t *)&m->v.regs;
	unsigned k;

	switch (take(in, 1) % CORE_ITEMS) {
	case CORE_CODE: change_code(m, in); break;
	case CORE_REG:
		k = (unsigned)take(in, 1) % (sizeof m->v.regs / 8);
		regs[k] = take(in, 8);
		break;
	case CORE_FIELD: change_field(m, in); break;
	case CORE_WORD: change_word(m, in); break;
	case CORE_MSR:
		k = (unsigned)take(in, 1);
		if (m->v.nmsrs)
			m->msrs[k % m->v.nmsrs].data = take(in, 8);
		break;
	case CORE_SREGS:
		if (snapshot_has(&m->v, SN_SREGS2))
			change_byte(&m->v.sregs2, sizeof m->v.sregs2, in);
		else
			change_byte(&m->v.sregs, sizeof m->v.sregs, in);
		break;
	case CORE_HEADER: change_byte(m->nested, BLOB_VMCS12, in); break;
	case CORE_EVENTS:
		change_byte(&m->v.events, sizeof m->v.events, in);
		break;
	case CORE_LAPIC:
		change_byte(&m->v.lapic, sizeof m->v.lapic, in);
		break;
	}
}

/* -- machines ------------------------------------------------------------------------------ */
static bool make(struct machine *x, const struct base *b)
{
	struct nst_error e;

	x->area = mmap(NULL, RAM_SIZE + 2 * GUARD, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (x->area == MAP_FAILED)
		die("no address space");
	x->ram = mmap(x->area + GUARD, RAM_SIZE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_FIXED, b->fd, 0);
	x->vm = hv_vm_new(NULL);
	return x->ram != MAP_FAILED && x->vm &&
	       !hv_map_ram(x->vm, 0, RAM_SIZE, x->ram, &e);
}

static void unmake(struct machine *x)
{
	hv_vm_free(x->vm);
	munmap(x->area, RAM_SIZE + 2 * GUARD);
}

/* False: a state that is refused, as it may be. */
static bool load(struct machine *x, struct made *m)
{
	unsigned cpus = m->flags & CORE_TWO ? 2 : 1;
	struct nst_error e;
	uint64_t gpa;

	for (unsigned i = 0; i < m->nwords; i++)
		memcpy(x->ram + m->words[i].at, &m->words[i].v, 8);
	for (unsigned i = 0; i < cpus; i++)
		if (!hv_vcpu_new(x->vm))
			die("no vCPU");
	if (hv_set_l0(x->vm, m->flags & CORE_SDM ? "sdm" : "6.1", &e))
		die(e.text);
	for (unsigned i = 0; i < cpus; i++) {
		struct vcpu *c = hv_vcpu(x->vm, i);

		if ((!m->base->s && hv_vcpu_set_model(c, "sapphire-rapids", &e)) ||
		    hv_vcpu_load(c, &m->v, &e))
			return false;
	}
	if (m->flags & CORE_BUILTIN)
		hv_use_builtin_l1(x->vm, m->flags & CORE_IDENTITY);
	if (hv_translate(hv_vcpu(x->vm, 0), hv_linear_rip(hv_vcpu(x->vm, 0)), &gpa) &&
	    gpa <= RAM_SIZE - CODE_MAX)
		memcpy(x->ram + gpa, m->code, m->code_len);
	return true;
}

/* By its own header; the buffer may be longer. */
static uint32_t nested_size(const struct snapshot_vcpu *v)
{
	uint32_t size = 0;

	if (v->nested_size >= 8)
		memcpy(&size, v->nested + 4, 4);
	if (size > v->nested_size)
		die("a nested state longer than its buffer");
	return size;
}

static void same_msrs(const struct snapshot_vcpu *v, const struct snapshot_vcpu *w)
{
	if (v->nmsrs != w->nmsrs)
		die("two lists of MSRs");
	for (uint32_t i = 0; i < v->nmsrs; i++) {
		if (v->msrs[i].index == w->msrs[i].index &&
		    v->msrs[i].data == w->msrs[i].data)
			continue;
		fprintf(stderr, "fuzz_core: MSR %#x\n", v->msrs[i].index);
		die("an MSR differs");
	}
}

/* What the registers may not show until later. */
static void same_rest(const struct snapshot_vcpu *v, const struct snapshot_vcpu *w)
{
	if (v->xsave_size != w->xsave_size ||
	    memcmp(v->xsave, w->xsave, v->xsave_size))
		die("the XSAVE state differs");
	if (memcmp(&v->events, &w->events, sizeof v->events))
		die("the events differ");
	if (memcmp(&v->debugregs, &w->debugregs, sizeof v->debugregs))
		die("the debug registers differ");
	if (memcmp(&v->lapic, &w->lapic, sizeof v->lapic))
		die("the local APIC differs");
	if (v->mp_state.mp_state != w->mp_state.mp_state)
		die("the activity state differs");
	same_msrs(v, w);
}

/* How the machine stands, in what a guest can see. */
static void same(struct machine *a, struct machine *b)
{
	struct nst_error e;

	for (unsigned i = 0; i < hv_nvcpus(a->vm); i++) {
		struct snapshot_vcpu v = { 0 }, w = { 0 };

		if (hv_vcpu_save(hv_vcpu(a->vm, i), &v, &e) ||
		    hv_vcpu_save(hv_vcpu(b->vm, i), &w, &e))
			die("a state cannot be saved");
		if (memcmp(&v.regs, &w.regs, sizeof v.regs) ||
		    memcmp(&v.sregs, &w.sregs, sizeof v.sregs) ||
		    nested_size(&v) != nested_size(&w) ||
		    memcmp(v.nested, w.nested, nested_size(&v)))
			die("the two machines went different ways");
		same_rest(&v, &w);
		snapshot_vcpu_clear(&v);
		snapshot_vcpu_clear(&w);
	}
	if (memcmp(a->ram, b->ram, RAM_SIZE))
		die("RAM differs");
}

/* Saves x half-way, loads it into another machine and runs both to the end. */
static void again(struct machine *x, const struct base *b)
{
	unsigned cpus = hv_nvcpus(x->vm);
	struct snapshot *s = snapshot_new(cpus);
	struct nst_error e = { 0 };
	struct hv_limits rest = { LIMIT, ~0ull };
	struct hv_stop stop, other;
	struct machine y;

	if (!s || !make(&y, b))
		die("no second machine");
	for (unsigned i = 0; i < cpus; i++)
		if (hv_vcpu_save(hv_vcpu(x->vm, i), &s->vcpu[i], &e))
			die(e.text);
	if (hv_vm_save(x->vm, s, &e))
		die(e.text);
	memcpy(y.ram, x->ram, RAM_SIZE);
	for (unsigned i = 0; i < cpus; i++)
		hv_vcpu_new(y.vm);
	hv_set_l0(y.vm, "6.1", &e);
	for (unsigned i = 0; i < cpus; i++)
		if (hv_vcpu_load(hv_vcpu(y.vm, i), &s->vcpu[i], &e))
			die(e.text);
	if (hv_vm_load(y.vm, s, &e))
		die(e.text);
	hv_run(x->vm, &rest, &stop);
	rest.insns -= HALF;
	hv_run(y.vm, &rest, &other);
	if (stop.reason != other.reason)
		die("saved and loaded, a machine stops otherwise");
	same(x, &y);
	unmake(&y);
	snapshot_free(s);
}

/* The same input does the same again. */
static void deterministic(struct made *m)
{
	struct hv_limits limits = { LIMIT, ~0ull };
	struct hv_stop stop, other;
	struct machine x, y;
	bool loads;

	if (!make(&x, m->base) || !make(&y, m->base))
		die("no machine");
	loads = load(&x, m);
	if (load(&y, m) != loads)
		die("a state is refused, but not each time");
	if (loads) {
		hv_run(x.vm, &limits, &stop);
		hv_run(y.vm, &limits, &other);
		if (stop.reason != other.reason || strcmp(stop.text, other.text))
			die("the same input stops otherwise");
		same(&x, &y);
	}
	unmake(&x);
	unmake(&y);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	static struct made m;
	struct hv_limits limits = { LIMIT, ~0ull };
	struct hv_stop stop;
	struct machine x;

	if (!bases[0].fd)
		open_bases();
	memset(&m, 0, sizeof m);
	m.base = &bases[take(&in, 1) % (NFILES + 1)];
	m.flags = (uint8_t)take(&in, 1);
	start(&m);
	while (in.left)
		item(&m, &in);
	if (m.flags & CORE_TWICE)
		deterministic(&m);
	if (!make(&x, m.base))
		die("no machine");
	if (load(&x, &m)) {
		/* A model is not in the snapshot that FLAG_AGAIN makes. */
		bool twice = m.flags & CORE_AGAIN && !(m.flags & (CORE_BUILTIN | CORE_SDM));

		if (twice)
			limits.insns = HALF;
		hv_run(x.vm, &limits, &stop);
		if (twice && stop.reason == HV_STOP_INSNS)
			again(&x, m.base);
	}
	unmake(&x);
	return 0;
}
