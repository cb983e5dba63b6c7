/* engine_kvm.c: the engine that is real KVM.
 *
 * One thread a vCPU; everything that a thread tells the session goes under one
 * lock.  KVM does not show L2's exits to L1, so of the hooks only console and
 * io are called, and of the limits none is kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cli/resume/engine.h"
#include "convert/kvm_state.h"

struct kvm_cpu {
	struct engine *g;
	unsigned id;
	int fd;
	struct kvm_run *run;
	pthread_t thread;
};

struct engine {
	int kvm, vm;
	size_t run_size;
	struct kvm_cpu *cpu;
	unsigned ncpus;
	bool irqchip;
	struct hv_ops ops;
	struct hv_stats stats;
	pthread_mutex_t lock;
	pthread_cond_t stopped;
	bool stopping;
	struct hv_stop stop;
};

const char *engine_kvm_missing(void)
{
	static char text[96];
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), cap;

	if (fd < 0) {
		snprintf(text, sizeof text, "/dev/kvm: %s", strerror(errno));
		return text;
	}
	cap = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_NESTED_STATE);
	close(fd);
	return cap > 0 ? NULL : "KVM_CAP_NESTED_STATE is 0: kvm_intel is not "
				"loaded with nested=1";
}

static void kvm_destroy(struct engine *g)
{
	if (!g)
		return;
	for (unsigned i = 0; i < g->ncpus; i++) {
		if (g->cpu[i].run)
			munmap(g->cpu[i].run, g->run_size);
		if (g->cpu[i].fd > 0)
			close(g->cpu[i].fd);
	}
	if (g->vm > 0)
		close(g->vm);
	if (g->kvm > 0)
		close(g->kvm);
	free(g->cpu);
	free(g);
}

static enum nst_status failed(struct nst_error *e, const char *what)
{
	return nst_fail(e, NST_SYSTEM, "%s: %s", what, strerror(errno));
}

static enum nst_status make_vm(struct engine *g, struct snapshot *s,
			       struct nst_error *e)
{
	g->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (g->kvm < 0)
		return failed(e, "/dev/kvm");
	g->vm = ioctl(g->kvm, KVM_CREATE_VM, 0);
	if (g->vm < 0)
		return failed(e, "KVM_CREATE_VM");
	g->run_size = (size_t)ioctl(g->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	(void)!ioctl(g->vm, KVM_SET_TSS_ADDR, 0xfffbd000ul);
	for (uint32_t i = 0; i < s->nram; i++) {
		struct kvm_userspace_memory_region r = {
			.slot = i, .guest_phys_addr = s->ram[i].gpa,
			.memory_size = s->ram[i].size,
			.userspace_addr = (uintptr_t)s->ram[i].host,
		};
		if (ioctl(g->vm, KVM_SET_USER_MEMORY_REGION, &r))
			return failed(e, "KVM_SET_USER_MEMORY_REGION");
	}
	/* Local APICs in the kernel only where the snapshot has them. */
	g->irqchip = s->nvcpus && snapshot_has(&s->vcpu[0], SN_LAPIC);
	if (g->irqchip && ioctl(g->vm, KVM_CREATE_IRQCHIP, 0))
		return failed(e, "KVM_CREATE_IRQCHIP");
	return NST_OK;
}

/* A migration stream has no CPUID table: the host's then. */
static enum nst_status host_cpuid(struct engine *g, struct snapshot_vcpu *v,
				  struct nst_error *e)
{
	struct kvm_cpuid2 *list;
	enum nst_status st = kvm_supported_cpuid(g->kvm, &list, e);
	size_t size = st ? 0 : list->nent * sizeof *v->cpuid;

	if (st)
		return st;
	v->cpuid = malloc(size);
	if (v->cpuid) {
		memcpy(v->cpuid, list->entries, size);
		v->ncpuid = list->nent;
		v->have |= 1u << SN_CPUID;
	}
	free(list);
	return v->cpuid ? NST_OK : nst_fail(e, NST_SYSTEM, "out of memory");
}

static enum nst_status make_vcpu(struct engine *g, struct snapshot *s,
				 unsigned i, struct nst_error *e)
{
	struct kvm_cpu *c = &g->cpu[i];
	struct snapshot_vcpu *v = &s->vcpu[i];
	enum nst_status st;

	c->g = g;
	c->id = i;
	c->fd = ioctl(g->vm, KVM_CREATE_VCPU, i);
	if (c->fd < 0)
		return failed(e, "KVM_CREATE_VCPU");
	c->run = mmap(NULL, g->run_size, PROT_READ | PROT_WRITE, MAP_SHARED,
		      c->fd, 0);
	if (c->run == MAP_FAILED) {
		c->run = NULL;
		return failed(e, "mapping a vCPU");
	}
	st = snapshot_has(v, SN_CPUID) ? NST_OK : host_cpuid(g, v, e);
	return st ? st : kvm_vcpu_set(c->fd, v, e);
}

static enum nst_status set_vm_state(struct engine *g, const struct snapshot *s,
				    struct nst_error *e)
{
	/* Where the vCPUs have no local APIC there is no controller to set. */
	for (unsigned i = 0; g->irqchip && i < 3; i++)
		if (s->have_irqchip[i] &&
		    ioctl(g->vm, KVM_SET_IRQCHIP, &s->irqchip[i]))
			return failed(e, "KVM_SET_IRQCHIP");
	return NST_OK;
}

static enum nst_status kvm_create(struct engine **out, struct snapshot *s,
				  const struct engine_options *o,
				  struct nst_error *e)
{
	struct engine *g = calloc(1, sizeof *g);
	enum nst_status st;

	if (!g)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	g->ops = o->ops;
	pthread_mutex_init(&g->lock, NULL);
	pthread_cond_init(&g->stopped, NULL);
	g->cpu = calloc(s->nvcpus ? s->nvcpus : 1, sizeof *g->cpu);
	st = g->cpu ? make_vm(g, s, e) : nst_fail(e, NST_SYSTEM, "out of memory");
	for (unsigned i = 0; !st && i < s->nvcpus; i++) {
		g->ncpus = i + 1;
		st = make_vcpu(g, s, i, e);
	}
	if (!st)
		st = set_vm_state(g, s, e);
	if (st) {
		kvm_destroy(g);
		return st;
	}
	*out = g;
	return NST_OK;
}

static void stop_for(struct kvm_cpu *c, enum hv_stop_reason why,
		     const char *text)
{
	struct engine *g = c->g;

	if (g->stopping)
		return;
	g->stopping = true;
	g->stop.reason = why;
	g->stop.vcpu = c->id;
	snprintf(g->stop.text, sizeof g->stop.text, "%s", text);
	pthread_cond_signal(&g->stopped);
}

static void do_io(struct kvm_cpu *c)
{
	struct kvm_run *r = c->run;
	uint8_t *data = (uint8_t *)r + r->io.data_offset;
	bool out = r->io.direction == KVM_EXIT_IO_OUT;
	const struct hv_ops *o = &c->g->ops;

	for (uint32_t i = 0; i < r->io.count; i++, data += r->io.size) {
		uint64_t v = 0;
		if (!out) /* no device here: a UART that is always ready */
			memset(data, r->io.port == 0x3fd ? 0x60 : 0xff,
			       r->io.size);
		memcpy(&v, data, r->io.size);
		if (out && r->io.port == 0x3f8 && o->console)
			o->console(o->arg, (uint8_t)v);
		if (o->io)
			o->io(o->arg, c->id, out, r->io.port, r->io.size, v);
	}
}

/* Returns false when the vCPU is to stop. */
static bool handle_exit(struct kvm_cpu *c)
{
	char text[96];

	switch (c->run->exit_reason) {
	case KVM_EXIT_IO:
		do_io(c);
		return !c->g->stopping;
	case KVM_EXIT_MMIO:
		if (!c->run->mmio.is_write)
			memset(c->run->mmio.data, 0xff, 8);
		return true;
	case KVM_EXIT_HLT:
		stop_for(c, HV_STOP_IDLE, "halted with nothing pending");
		return false;
	case KVM_EXIT_SHUTDOWN:
		stop_for(c, HV_STOP_SHUTDOWN, "triple fault");
		return false;
	case KVM_EXIT_FAIL_ENTRY:
	case KVM_EXIT_INTERNAL_ERROR:
	default:
		snprintf(text, sizeof text, "KVM_RUN: exit reason %u, suberror %u",
			 c->run->exit_reason, c->run->internal.suberror);
		stop_for(c, HV_STOP_UNSUPPORTED, text);
		return false;
	}
}

static void *vcpu_thread(void *arg)
{
	struct kvm_cpu *c = arg;
	bool go = true;

	while (go) {
		int rc = ioctl(c->fd, KVM_RUN, 0);
		pthread_mutex_lock(&c->g->lock);
		if (rc && errno != EINTR && errno != EAGAIN)
			stop_for(c, HV_STOP_UNSUPPORTED, strerror(errno));
		else if (!rc)
			go = handle_exit(c);
		if (c->g->stopping)
			go = false;
		pthread_mutex_unlock(&c->g->lock);
	}
	/* Completes a pending I/O instruction, so that RIP is past it. */
	c->run->immediate_exit = 1;
	(void)!ioctl(c->fd, KVM_RUN, 0);
	c->run->immediate_exit = 0;
	return NULL;
}

static void ignore_signal(int sig)
{
	(void)sig;
}

static void kvm_run_all(struct engine *g, const struct hv_limits *limits,
			struct hv_stop *stop)
{
	struct sigaction sa = { .sa_handler = ignore_signal };

	(void)limits;
	sigaction(SIGUSR1, &sa, NULL);
	g->stopping = false;
	memset(&g->stop, 0, sizeof g->stop);
	for (unsigned i = 0; i < g->ncpus; i++)
		pthread_create(&g->cpu[i].thread, NULL, vcpu_thread, &g->cpu[i]);
	pthread_mutex_lock(&g->lock);
	while (!g->stopping)
		pthread_cond_wait(&g->stopped, &g->lock);
	pthread_mutex_unlock(&g->lock);
	for (unsigned i = 0; i < g->ncpus; i++) {
		/* Until it is seen: a signal just before KVM_RUN is lost. */
		while (pthread_tryjoin_np(g->cpu[i].thread, NULL)) {
			g->cpu[i].run->immediate_exit = 1;
			pthread_kill(g->cpu[i].thread, SIGUSR1);
			usleep(1000);
		}
		g->cpu[i].run->immediate_exit = 0;
	}
	*stop = g->stop;
}

static void kvm_request_stop(struct engine *g, uint64_t code)
{
	/* Called from a hook, that is under the lock, or from a signal. */
	if (g->stopping)
		return;
	g->stopping = true;
	g->stop.reason = HV_STOP_REQUEST;
	g->stop.code = code;
	snprintf(g->stop.text, sizeof g->stop.text, "asked to stop");
	pthread_cond_signal(&g->stopped);
}

static enum nst_status kvm_save(struct engine *g, struct snapshot *s,
				struct nst_error *e)
{
	for (unsigned i = 0; i < g->ncpus; i++) {
		struct snapshot_vcpu fresh = { 0 }, *v = &s->vcpu[i];
		enum nst_status st = kvm_vcpu_get(g->kvm, g->cpu[i].fd, &fresh, e);
		snapshot_vcpu_clear(v);
		*v = fresh;
		if (st)
			return st;
	}
	return NST_OK;
}

static const struct hv_stats *kvm_stats(struct engine *g)
{
	return &g->stats;
}

static struct vm *kvm_no_core(struct engine *g)
{
	(void)g;
	return NULL;
}

const struct engine_ops engine_kvm = {
	.name = "kvm", .create = kvm_create, .run = kvm_run_all,
	.request_stop = kvm_request_stop, .save = kvm_save, .stats = kvm_stats,
	.core = kvm_no_core, .destroy = kvm_destroy,
};
