/* caps_file.c: capabilities from a file, a host and a vCPU of the core. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "cli/check/caps.h"
#include "convert/kvm_state.h"

/* The leaves that the rules look at. */
static const struct { uint32_t function, index; } leaves[] = {
	{ 1, 0 }, { 7, 0 }, { 0x80000001, 0 }, { 0x80000008, 0 },
};

static void take_leaf(struct caps_file *out, const struct kvm_cpuid_entry2 *leaf)
{
	for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++)
		if (leaf->function == leaves[i].function &&
		    leaf->index == leaves[i].index &&
		    out->nleaves < CAPS_LEAVES)
			out->leaf[out->nleaves++] = *leaf;
}

/* -- the file --------------------------------------------------------------------------- */
/* Only a comment may follow. */
static bool ends(const char *rest)
{
	rest += strspn(rest, " \t\r\n");
	return !*rest || *rest == '#';
}

static bool take_line(struct caps_file *out, const char *line)
{
	struct kvm_cpuid_entry2 leaf = { 0 };
	uint32_t index;
	uint64_t value;
	int n = 0;

	if (sscanf(line, "cpuid %" SCNx32 " %" SCNx32 " %" SCNx32 " %" SCNx32
		   " %" SCNx32 " %" SCNx32 "%n", &leaf.function, &leaf.index,
		   &leaf.eax, &leaf.ebx, &leaf.ecx, &leaf.edx, &n) == 6) {
		if (!ends(line + n))
			return false;
		leaf.flags = leaf.function == 7 ?
			KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0;
		take_leaf(out, &leaf);
		return true;
	}
	if (sscanf(line, "%" SCNx32 " %" SCNx64 "%n", &index, &value, &n) != 2 ||
	    !ends(line + n) ||
	    index < VMX_CAPS_FIRST || index >= VMX_CAPS_FIRST + VMX_CAPS_COUNT)
		return false;
	out->caps.msr[index - VMX_CAPS_FIRST] = value;
	return true;
}

enum nst_status caps_read(const char *path, struct caps_file *out,
			  struct nst_error *e)
{
	char line[256];
	unsigned number = 0;
	FILE *f = strcmp(path, "-") ? fopen(path, "r") : stdin;
	enum nst_status st = NST_OK;

	if (!f)
		return nst_fail(e, NST_SYSTEM, "%s: %s", path, strerror(errno));
	memset(out, 0, sizeof *out);
	snprintf(out->origin, sizeof out->origin, "%s", path);
	while (!st && fgets(line, sizeof line, f)) {
		number++;
		if (*line != '#' && *line != '\n' && !take_line(out, line))
			st = nst_fail(e, NST_BAD_INPUT, "%s: line %u is neither "
				      "\"INDEX VALUE\" of 0x480 to 0x493 nor "
				      "\"cpuid LEAF INDEX EAX EBX ECX EDX\"",
				      path, number);
	}
	if (!st && ferror(f))
		st = nst_fail(e, NST_SYSTEM, "%s: %s", path, strerror(errno));
	if (f != stdin)
		fclose(f);
	if (!st && !vmx_cap(&out->caps, 0x480))
		st = nst_fail(e, NST_BAD_INPUT, "%s has no line for 0x480, "
			      "IA32_VMX_BASIC: no capabilities", path);
	if (!st)
		vmx_caps_complete(&out->caps);
	return st;
}

void caps_write(const struct caps_file *c, FILE *f)
{
	fprintf(f, "# VMX capabilities: %s\n", c->origin);
	for (uint32_t i = 0; i < VMX_CAPS_COUNT; i++)
		if (c->caps.msr[i])
			fprintf(f, "0x%x 0x%016" PRIx64 "  # IA32_VMX_%s\n",
				VMX_CAPS_FIRST + i, c->caps.msr[i],
				caps_msr_name(VMX_CAPS_FIRST + i));
	for (unsigned i = 0; i < c->nleaves; i++) {
		const struct kvm_cpuid_entry2 *l = &c->leaf[i];
		fprintf(f, "cpuid 0x%x 0x%x 0x%08x 0x%08x 0x%08x 0x%08x\n",
			l->function, l->index, l->eax, l->ebx, l->ecx, l->edx);
	}
}

/* -- the host ---------------------------------------------------------------------------- */
static enum nst_status host_cpuid(int fd, struct caps_file *out,
				  struct nst_error *e)
{
	struct kvm_cpuid2 *list;
	enum nst_status st = kvm_supported_cpuid(fd, &list, e);

	for (uint32_t i = 0; !st && i < list->nent; i++)
		take_leaf(out, &list->entries[i]);
	free(list);
	return st;
}

/* MSRs are asked for one by one: a kernel knows some of them only. */
static void host_msrs(int fd, struct caps_file *out)
{
	struct kvm_msrs *one = calloc(1, sizeof *one + sizeof *one->entries);

	for (uint32_t i = 0; one && i < VMX_CAPS_COUNT; i++) {
		one->nmsrs = 1;
		one->entries[0] = (struct kvm_msr_entry){
			.index = VMX_CAPS_FIRST + i };
		if (ioctl(fd, KVM_GET_MSRS, one) == 1)
			out->caps.msr[i] = one->entries[0].data;
	}
	free(one);
}

enum nst_status caps_of_host(struct caps_file *out, struct nst_error *e)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	enum nst_status st;

	memset(out, 0, sizeof *out);
	if (fd < 0)
		return nst_fail(e, NST_SYSTEM, "/dev/kvm: %s (nstate caps on the "
				"destination host writes a file for --caps)",
				strerror(errno));
	snprintf(out->origin, sizeof out->origin, "KVM of this host");
	host_msrs(fd, out);
	st = host_cpuid(fd, out, e);
	close(fd);
	if (!st && !vmx_cap(&out->caps, 0x480))
		st = nst_fail(e, NST_BAD_INPUT, "the KVM of this host offers no "
			      "nested VMX (no Intel CPU, or kvm_intel.nested=0, or "
			      "a kernel before 4.17)");
	if (!st)
		vmx_caps_complete(&out->caps);
	return st;
}

/* -- the core's vCPU ------------------------------------------------------------------------ */
enum nst_status caps_of_vcpu(struct vcpu *c, struct caps_file *out,
			     struct nst_error *e)
{
	struct snapshot_vcpu v = { 0 };
	struct vmx_check_ctx x;
	enum nst_status st = hv_vcpu_save(c, &v, e);

	memset(out, 0, sizeof *out);
	if (!st) {
		hv_check_context(c, NULL, ~0ull, &x);
		out->caps = *x.caps;
		for (uint32_t i = 0; i < v.ncpuid; i++)
			take_leaf(out, &v.cpuid[i]);
	}
	snapshot_vcpu_clear(&v);
	return st;
}

/* The destination's CPUID bounds what its guests see: physical-address width,
 * 57-bit addresses, control-register bits. */
static void put_leaf(struct snapshot_vcpu *v, const struct kvm_cpuid_entry2 *l)
{
	for (uint32_t i = 0; i < v->ncpuid; i++)
		if (v->cpuid[i].function == l->function &&
		    v->cpuid[i].index == l->index)
			v->cpuid[i] = *l;
}

enum nst_status caps_to_vcpu(const struct caps_file *in, struct vcpu *c,
			     struct nst_error *e)
{
	struct snapshot_vcpu v = { 0 }, table = { .have = 1u << SN_CPUID |
		1u << SN_MSRS };
	struct kvm_msr_entry msrs[VMX_CAPS_COUNT];
	enum nst_status st = hv_vcpu_save(c, &v, e);

	for (uint32_t i = 0; i < VMX_CAPS_COUNT; i++)
		msrs[i] = (struct kvm_msr_entry){ .index = VMX_CAPS_FIRST + i,
						  .data = in->caps.msr[i] };
	for (unsigned i = 0; !st && i < in->nleaves; i++)
		put_leaf(&v, &in->leaf[i]);
	table.cpuid = v.cpuid;
	table.ncpuid = v.ncpuid;
	table.msrs = msrs;
	table.nmsrs = VMX_CAPS_COUNT;
	if (!st)
		st = hv_vcpu_load(c, &table, e);
	snapshot_vcpu_clear(&v);
	return st;
}
