/* capture_vm.c: how a VMM saves a live VM as a native snapshot: the whole of a small
 * one, which runs a counting loop on /dev/kvm and is captured twice.
 *
 *   capture_vm AT FILE AT FILE: when the guest has written AT to port 0x10
 *
 * Exit status 77 where /dev/kvm cannot be used.
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "convert/kvm_state.h"
#include "convert/snapshot.h"

enum { RAM = 2 << 20, CODE = 0x1000 };

/* Real mode, DS at 0: inc word [0x500]; mov ax, [0x500]; mov [bx], al; add bx, 7;
 * out 0x10, ax; jmp to the beginning */
static const unsigned char code[] = {
	0xff, 0x06, 0x00, 0x05, 0xa1, 0x00, 0x05, 0x88, 0x07, 0x83, 0xc3, 0x07,
	0xe7, 0x10, 0xeb, 0xf0 };

struct vmm {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	unsigned char *ram;
};

static int make(struct vmm *m)
{
	struct kvm_userspace_memory_region slot = { .memory_size = RAM };
	struct { struct kvm_cpuid2 head; struct kvm_cpuid_entry2 e[256]; } cpuid;
	struct kvm_sregs sregs;
	struct kvm_regs regs = { .rip = CODE, .rflags = 2, .rbx = 0x600 };

	m->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	m->vm = m->kvm < 0 ? -1 : ioctl(m->kvm, KVM_CREATE_VM, 0);
	if (m->vm < 0)
		return 77;
	m->ram = mmap(NULL, RAM, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memcpy(m->ram + CODE, code, sizeof code);
	slot.userspace_addr = (unsigned long)m->ram;
	m->vcpu = ioctl(m->vm, KVM_SET_USER_MEMORY_REGION, &slot) ? -1 :
		ioctl(m->vm, KVM_CREATE_VCPU, 0);
	if (m->vcpu < 0)
		return 1;
	m->run = mmap(NULL, (size_t)ioctl(m->kvm, KVM_GET_VCPU_MMAP_SIZE, 0),
		      PROT_READ | PROT_WRITE, MAP_SHARED, m->vcpu, 0);
	memset(&cpuid, 0, sizeof cpuid);
	cpuid.head.nent = 256;
	if (ioctl(m->kvm, KVM_GET_SUPPORTED_CPUID, &cpuid) ||
	    ioctl(m->vcpu, KVM_SET_CPUID2, &cpuid) ||
	    ioctl(m->vcpu, KVM_GET_SREGS, &sregs))
		return 1;
	sregs.cs.base = sregs.cs.selector = 0;
	return ioctl(m->vcpu, KVM_SET_SREGS, &sregs) ||
		ioctl(m->vcpu, KVM_SET_REGS, &regs);
}

/* Until the guest has written `at`, and that OUT has retired. */
static int run_to(struct vmm *m, unsigned at)
{
	for (;;) {
		unsigned short v;

		if (ioctl(m->vcpu, KVM_RUN, 0) ||
		    m->run->exit_reason != KVM_EXIT_IO)
			return 1;
		memcpy(&v, (char *)m->run + m->run->io.data_offset, 2);
		if (v == at)
			break;
	}
	/* The OUT is complete only when KVM_RUN is entered again. */
	m->run->immediate_exit = 1;
	ioctl(m->vcpu, KVM_RUN, 0);
	m->run->immediate_exit = 0;
	return 0;
}

static int save(struct vmm *m, const char *path)
{
	struct snapshot_ram ram = { .gpa = 0, .size = RAM, .host = m->ram };
	struct snapshot *s;
	struct nst_error e;

	if (nstate_capture(m->kvm, m->vm, &m->vcpu, 1, &ram, 1, &s, &e) ||
	    snapshot_write(s, path, true, &e)) {
		fprintf(stderr, "capture_vm: %s: %s\n", path, e.text);
		return 1;
	}
	snapshot_free(s);
	return 0;
}

int main(int argc, char **argv)
{
	struct vmm m;
	int bad = make(&m);

	for (int i = 1; !bad && i + 1 < argc; i += 2)
		bad = run_to(&m, (unsigned)atoi(argv[i])) || save(&m, argv[i + 1]);
	return bad;
}
