/* judge.c: `nstate check`'s verdict against KVM_SET_NESTED_STATE itself.
 *
 *   judge CASES SEED SNAPSHOT...
 *
 * Runs where /dev/kvm has nested VMX.  A case damages a good snapshot's nested state
 * at random, asks the rules (cli/check/) what this kernel would say, and then sets the
 * state in a vCPU that has everything else of the snapshot.  Accepted or refused has
 * to agree.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "cli/check/subject.h"
#include "convert/kvm_state.h"
#include "convert/load.h"
#include "layouts/layouts.h"

/* L1's VMCSs and what they point to: what leaving nested mode may write. */
enum { KEPT_FIRST = 0x400000, KEPT_SIZE = 0x10000 };
#define PAGE (128u)
#define SHADOW (128u + 4096u)

bool cli_quiet;

struct good {
	const char *path;
	struct loaded in;
	struct snapshot_vcpu v;  /* with a nested state of its own */
	uint8_t *pristine, kept[KEPT_SIZE];
	int kvm, vm, fd;
	struct vm *core;
	struct vcpu *cpu;        /* what KVM offers this guest */
};

static uint64_t seed;
static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed * 0x2545f4914f6cdd1dull;
}
static unsigned below(unsigned n)
{
	return (unsigned)(rnd() >> 33) % n;
}

static void die(const char *what, const char *why)
{
	printf("judge: FAIL %s: %s\n", what, why);
	exit(1);
}

/* -- the good states ----------------------------------------------------------------- */
static void make_vm(struct good *g)
{
	struct snapshot *s = g->in.snapshot;

	g->kvm = open("/dev/kvm", O_RDWR);
	g->vm = ioctl(g->kvm, KVM_CREATE_VM, 0);
	if (g->vm < 0)
		die("/dev/kvm", strerror(errno));
	(void)!ioctl(g->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	for (uint32_t i = 0; i < s->nram; i++) {
		struct kvm_userspace_memory_region r = {
			.slot = i, .guest_phys_addr = s->ram[i].gpa,
			.memory_size = s->ram[i].size,
			.userspace_addr = (uintptr_t)s->ram[i].host };
		if (ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &r))
			die("RAM", strerror(errno));
	}
	g->fd = ioctl(g->vm, KVM_CREATE_VCPU, 0);
	if (g->fd < 0)
		die("vCPU", strerror(errno));
}

/* The rules look at the capability MSRs that KVM gives this vCPU, which are not
 * always those of the snapshot. */
static void take_capabilities(struct good *g)
{
	struct snapshot_vcpu now = { 0 };
	struct nst_error e;

	if (kvm_vcpu_get(g->kvm, g->fd, &now, &e))
		die("reading back", e.text);
	g->core = hv_vm_new(&(struct hv_ops){ 0 });
	for (uint32_t i = 0; i < g->in.snapshot->nram; i++)
		if (hv_map_ram(g->core, g->in.snapshot->ram[i].gpa,
			       g->in.snapshot->ram[i].size,
			       g->in.snapshot->ram[i].host, &e))
			die("RAM", e.text);
	if (subject_cpu(&now, NULL, hv_cpu_models[0], NULL, g->core, &g->cpu, &e))
		die("CPU", e.text);
}

static void open_good(struct good *g, const char *path)
{
	struct load_options o = { .for_check = true };
	struct nst_error e;

	g->path = path;
	if (load_converted(path, &o, &g->in, &e))
		die(path, e.text);
	g->v = g->in.snapshot->vcpu[0];
	g->v.nested = calloc(1, SHADOW + 4096);
	g->pristine = calloc(1, SHADOW + 4096);
	memcpy(g->pristine, g->in.snapshot->vcpu[0].nested, g->v.nested_size);
	memcpy(g->kept, snapshot_ram_at(g->in.snapshot, KEPT_FIRST, KEPT_SIZE),
	       KEPT_SIZE);
	make_vm(g);
	g->v.have &= ~(1u << SN_NESTED);
	if (kvm_vcpu_set(g->fd, &g->v, &e))
		die(path, e.text);
	take_capabilities(g);
}

/* -- damages --------------------------------------------------------------------------- */
static char did[256];

static void note(const char *what, unsigned at, uint64_t v)
{
	size_t n = strlen(did);

	snprintf(did + n, sizeof did - n, " %s at byte %u: 0x%" PRIx64, what, at, v);
}

static void damage_bytes(struct good *g)
{
	static const uint8_t sizes[] = { 1, 2, 4, 8 };
	unsigned size = sizes[below(4)];
	unsigned at = below(3) ? below(128) & ~(size - 1) :
		below(g->v.nested_size - size);
	uint64_t v = 0, r = rnd();

	memcpy(&v, g->v.nested + at, size);
	v = below(2) ? v ^ 1ull << below(8 * size) : below(2) ? r : 0;
	memcpy(g->v.nested + at, &v, size);
	note("value", at, v);
}

/* A field gets a bit flipped, or a value that borders on something. */
static void damage_field(struct good *g)
{
	const struct layout *l = g->in.layout;
	unsigned shadow = g->v.nested_size > SHADOW && !below(8);
	uint8_t *page = g->v.nested + (shadow ? SHADOW : PAGE);
	int field;
	uint64_t v;

	do
		field = (int)below(VMCS_FIELD_COUNT);
	while (!layout_has(l, field));
	v = layout_get(l, page, field);
	switch (below(4)) {
	case 0: v = rnd(); break;
	case 1: v = below(2) ? 0 : ~0ull; break;
	default: v ^= 1ull << below(8 * vmcs_bytes(vmcs_fields[field].encoding)); break;
	}
	layout_set(l, page, field, v);
	note(vmcs_fields[field].name, shadow, v);
}

static void damage(struct good *g)
{
	memcpy(g->v.nested, g->pristine, SHADOW + 4096);
	*did = 0;
	for (unsigned n = below(8) ? 1 : 2; n; n--)
		if (g->v.nested_size > PAGE && below(4))
			damage_field(g);
		else
			damage_bytes(g);
}

/* -- the two judges -------------------------------------------------------------------- */
/* Both answer with what the ioctl returns: 0, -EINVAL and so on, or 1 or 2. */
static int by_rules(struct good *g, uint32_t kernel, char *why, size_t len)
{
	struct snapshot_vcpu v = g->v;
	struct subject s;
	struct broken b = { 0 };
	char text[512] = "";
	bool refused;

	/* There are as many bytes as KVM could want, whatever the header says. */
	v.nested_size = SHADOW + 4096;
	subject_fill(&v, NULL, true, g->cpu, NULL, &s);
	refused = verdict_kernel(&s, kernel, &b, text, sizeof text) == V_REFUSED;
	snprintf(why, len, "%s (%d)", refused ? b.id : *text ? text : "accepted",
		 refused ? b.result : 0);
	return refused ? b.result : 0;
}

static int by_kvm(struct good *g, char *why, size_t len)
{
	static const struct kvm_nested_state none = { .size = 128,
		.hdr.vmx.vmxon_pa = ~0ull, .hdr.vmx.vmcs12_pa = ~0ull };
	struct nst_error e;
	int rc;

	(void)!ioctl(g->fd, KVM_SET_NESTED_STATE, &none);
	memcpy(snapshot_ram_at(g->in.snapshot, KEPT_FIRST, KEPT_SIZE), g->kept,
	       KEPT_SIZE);
	if (kvm_vcpu_set(g->fd, &g->v, &e))
		die("resetting the vCPU", e.text);
	errno = 0;
	rc = ioctl(g->fd, KVM_SET_NESTED_STATE, g->v.nested);
	if (rc < 0)
		rc = -errno;
	snprintf(why, len, rc ? "returns %d" : "accepts", rc);
	return rc;
}

int main(int argc, char **argv)
{
	unsigned long cases = argc > 3 ? strtoul(argv[1], NULL, 0) : 0, accepted = 0;
	unsigned long differ = 0;
	struct good *good = calloc((size_t)argc, sizeof *good);
	struct utsname u;
	uint32_t kernel;

	if (argc < 4 || uname(&u))
		return 2;
	kernel = kernel_parse(u.release);
	seed = strtoull(argv[2], NULL, 0) * 2 + 1;
	for (int i = 3; i < argc; i++)
		open_good(&good[i - 3], argv[i]);
	for (unsigned long n = 0; n < cases; n++) {
		struct good *g = &good[n % (unsigned)(argc - 3)];
		char a[160], b[160];
		int rules, kvm;

		damage(g);
		rules = by_rules(g, kernel, a, sizeof a);
		kvm = by_kvm(g, b, sizeof b);
		accepted += !kvm;
		if (rules == kvm)
			continue;
		if (differ++ < 20)
			printf("judge: FAIL %s:%s: check says %s, KVM %s\n",
			       g->path, did, a, b);
	}
	printf("judge: %s: %lu damages, %lu accepted, %lu refused, %lu judged "
	       "otherwise by check\n", u.release, cases, accepted,
	       cases - accepted, differ);
	return differ != 0;
}
