/* cmd_run.c: `nstate run`: boots a kernel image in the core.
 *
 * Owns options, the console and the exit status; loading is load*.c's, the
 * traces are trace.c's.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/cpu_model.h"
#include "cli/load.h"
#include "cli/run.h"
#include "convert/snapshot.h"
#include "convert/source.h"

/* Instructions between two looks at the keyboard and at Ctrl-C. */
#define SLICE 4000000u
#define DEFAULT_RAM (128ull << 20)
#define MAX_RAM (1ull << 40)

enum { OPT_APPEND = 256, OPT_INITRD, OPT_SMP, OPT_CPU, OPT_MAX_INSNS, OPT_TRACE,
       OPT_SNAPSHOT_AT, OPT_SERIAL, OPT_STATS, OPT_KERNEL,
       OPT_NO_SANDBOX, OPT_L0, OPT_VMX_CAPS };

struct run {
	const char *kernel, *append, *initrd, *cpu, *l0, *vmx_caps, *snapshot, *output, *serial;
	uint64_t ram, max_insns;
	unsigned smp;
	bool stats, input_open;
	struct trace trace;
	FILE *console;
	struct boot boot;
	struct source *image;
	struct hv_ops ops;
	struct vm *vm;
	struct run_moment moment; /* --snapshot-at */
	struct sandbox sandbox;
};

static volatile sig_atomic_t interrupted;

static const struct argp_option options[] = {
	{ "kernel", OPT_KERNEL, "IMAGE", 0,
	  "Image to boot: multiboot, ELF64, bzImage or boot sector", 0 },
	{ "append", OPT_APPEND, "STRING", 0, "Kernel command line", 0 },
	{ "initrd", OPT_INITRD, "FILE", 0, "Initial RAM disk or module", 0 },
	{ "memory", 'm', "SIZE", 0, "RAM: 512M, 4G... (default 128M)", 0 },
	{ "smp", OPT_SMP, "N", 0, "Processors (default 1)", 0 },
	{ "cpu", OPT_CPU, "MODEL", 0, "CPU model, and features to add or take away: MODEL,-x2apic,+pcid; "
	  "`help' lists them", 0 },
	{ "l0", OPT_L0, "PROFILE", 0, "How VMX behaves where KVM differs from the "
	  "SDM: sdm or a kernel release (default: the newest)", 0 },
	{ "vmx-caps", OPT_VMX_CAPS, "SET", 0, "VMX capability MSRs: full, "
	  "kvm-4.14, kvm-5.10, kvm-6.1 or kvm-6.18 (default: what the profile "
	  "offers)", 0 },
	{ "max-insns", OPT_MAX_INSNS, "N", 0, "Stop after N instructions", 0 },
	{ "trace", OPT_TRACE, "WHAT", 0,
	  "Trace to standard error: insns, events, io, exits, pml (comma-separated)", 0 },
	{ "snapshot-at", OPT_SNAPSHOT_AT, "CONDITION", 0,
	  "Write a snapshot and stop at insns=N, exits=N, port=P[:COUNT] or "
	  "end", 0 },
	{ "output", 'o', "FILE", 0, "The snapshot's file", 0 },
	{ "serial", OPT_SERIAL, "FILE", 0,
	  "Write the console to FILE, not standard output", 0 },
	{ "stats", OPT_STATS, NULL, 0, "Print counts at the end", 0 },
	{ "no-sandbox", OPT_NO_SANDBOX, NULL, 0, "Run the guest in this process, "
	  "with all its privileges and system calls", 0 },
	{ "quiet", 'q', NULL, 0, "No warnings", 0 },
	{ 0 },
};

/* "512M" and the like; 0 if it is none. */
static uint64_t parse_size(const char *s)
{
	char *end;
	unsigned shift = 0;
	uint64_t v;

	errno = 0;
	v = strtoull(s, &end, 0);
	switch (toupper((unsigned char)*end)) {
	case 'K': shift = 10; break;
	case 'M': case 0: shift = 20; break;
	case 'G': shift = 30; break;
	default: return 0;
	}
	if (errno || !isdigit((unsigned char)*s) || (*end && end[1]) ||
	    v > MAX_RAM >> shift)
		return 0;
	return v << shift;
}

bool parse_number(const char *s, uint64_t *v)
{
	char *end;

	errno = 0;
	*v = strtoull(s, &end, 0);
	return isdigit((unsigned char)*s) && !*end && !errno;
}

static error_t parse_limits(int key, char *arg, struct argp_state *state)
{
	struct run *r = state->input;
	uint64_t v;

	switch (key) {
	case 'm':
		r->ram = parse_size(arg) & ~0xfffull;
		if (r->ram < 2 << 20)
			argp_error(state, "-m: bad size (2M at least): %s", arg);
		return 0;
	case OPT_SMP:
		if (!parse_number(arg, &v) || !v || v > 255)
			argp_error(state, "--smp: 1 to 255, not %s", arg);
		r->smp = (unsigned)v;
		return 0;
	case OPT_MAX_INSNS:
		if (!parse_number(arg, &r->max_insns))
			argp_error(state, "--max-insns: not a number: %s", arg);
		return 0;
	case OPT_TRACE:
		if (!trace_parse(&r->trace, arg))
			argp_error(state, "--trace: insns, events, io, exits; not %s",
				   arg);
		return 0;
	case OPT_SNAPSHOT_AT:
		r->snapshot = arg;
		if (!run_moment_parse(&r->moment, arg))
			argp_error(state, "--snapshot-at: insns=N, exits=N, "
				   "port=P[:COUNT] or end; not %s", arg);
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct run *r = state->input;

	switch (key) {
	case OPT_KERNEL:
		r->kernel = arg;
		return 0;
	case OPT_APPEND:
		r->append = arg;
		return 0;
	case OPT_INITRD:
		r->initrd = arg;
		return 0;
	case OPT_CPU:
		if (!strcmp(arg, "help")) {
			cpu_model_list();
			exit(NST_OK);
		}
		r->cpu = arg;
		return 0;
	case OPT_L0:
		r->l0 = arg;
		return 0;
	case OPT_VMX_CAPS:
		r->vmx_caps = arg;
		return 0;
	case OPT_SERIAL:
		r->serial = arg;
		return 0;
	case 'o':
		r->output = arg;
		return 0;
	case OPT_STATS:
		r->stats = true;
		return 0;
	case OPT_NO_SANDBOX:
		r->sandbox.off = true;
		return 0;
	case 'q':
		cli_quiet = true;
		return 0;
	case ARGP_KEY_ARG:
		if (r->kernel)
			argp_error(state, "one image only: %s", arg);
		r->kernel = arg;
		return 0;
	case ARGP_KEY_END:
		if (!r->kernel)
			argp_error(state, "no image: --kernel IMAGE");
		if (!r->snapshot != !r->output)
			argp_error(state, "--snapshot-at and -o go together");
		return 0;
	}
	return parse_limits(key, arg, state);
}

static const struct argp argp = {
	options, parse, "[--kernel] IMAGE",
	"Boots a kernel image in the embedded core.  The guest's serial port is "
	"standard output; the exit status is the debug-exit port's, "
	"(value << 1) | 1.", NULL, NULL, NULL };

/* -- what the guest does ------------------------------------------------------------ */
static void on_console(void *arg, uint8_t byte)
{
	struct run *r = arg;

	putc(byte, r->console);
	if (byte == '\n')
		fflush(r->console);
}

static void on_io(void *arg, unsigned vcpu, bool write, uint16_t port,
		  unsigned size, uint64_t value)
{
	struct run *r = arg;

	trace_io(&r->trace, vcpu, write, port, size, value);
	if (write && run_moment_port(&r->moment, port))
		hv_request_stop(r->vm, 0);
}

static void on_exit_(void *arg, unsigned vcpu, uint32_t reason, uint64_t qual)
{
	struct run *r = arg;

	trace_exit(&r->trace, vcpu, reason, qual);
}

static void on_entry(void *arg, unsigned vcpu)
{
	struct run *r = arg;

	trace_entry(&r->trace, vcpu);
}

static void on_pml(void *arg, unsigned vcpu, uint64_t gpa)
{
	struct run *r = arg;

	trace_pml(&r->trace, vcpu, gpa);
}

static void on_event(void *arg, unsigned vcpu, unsigned vector, unsigned type,
		     bool has_error, uint32_t error)
{
	struct run *r = arg;

	trace_event(&r->trace, vcpu, vector, type, has_error, error);
}

static void on_insn(void *arg, struct vcpu *c, uint64_t rip,
		    const uint8_t *bytes, unsigned len)
{
	struct run *r = arg;

	trace_insn(&r->trace, c, rip, bytes, len);
}

static void on_signal(int sig)
{
	(void)sig;
	interrupted = 1;
}

/* -- setting up ------------------------------------------------------------------------- */
/* Shared where the parent has to write it to a file afterwards. */
static enum nst_status make_ram(struct run *r, struct nst_error *e)
{
	struct guest_ram *ram = &r->boot.ram;
	int share = r->snapshot && !r->sandbox.off ? MAP_SHARED : MAP_PRIVATE;

	ram->low = r->ram < PCI_HOLE ? r->ram : PCI_HOLE;
	ram->high = r->ram - ram->low;
	ram->host = mmap(NULL, r->ram, PROT_READ | PROT_WRITE,
			 share | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (ram->host == MAP_FAILED)
		return nst_fail(e, NST_SYSTEM, "no address space for %" PRIu64
				" MiB of RAM: %s", r->ram >> 20,
				strerror(errno));
	/* Random accesses of the guest are random accesses here: spare the
	 * host's TLB. */
	madvise(ram->host, r->ram, MADV_HUGEPAGE);
	return NST_OK;
}

static enum nst_status read_initrd(const char *path, struct boot *b,
				   struct nst_error *e)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat s;
	void *p = MAP_FAILED;

	if (fd < 0 || fstat(fd, &s))
		return nst_fail(e, NST_SYSTEM, "%s", strerror(errno));
	b->initrd_size = (size_t)s.st_size;
	if (b->initrd_size)
		p = mmap(NULL, b->initrd_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (p == MAP_FAILED)
		return nst_fail(e, NST_BAD_INPUT, "cannot read the initrd%s",
				b->initrd_size ? "" : ": it is empty");
	b->initrd = p;
	return NST_OK;
}

/* Everything of the host's that the run needs. */
static int open_files(struct run *r)
{
	struct boot *b = &r->boot;
	struct nst_error e = { 0 };
	struct source *src;

	*b = (struct boot){ .append = r->append, .kernel_name = r->kernel,
			    .cpus = r->smp };
	if (r->initrd && read_initrd(r->initrd, b, &e))
		return cli_fail(r->initrd, &e);
	if (source_open(r->kernel, &src, &e))
		return cli_fail(r->kernel, &e);
	r->image = src;
	b->image_size = source_size(src);
	b->image = source_at(src, 0, b->image_size);
	if (!b->image)
		b->image_size = 0;
	if (make_ram(r, &e))
		return cli_fail(NULL, &e);
	if (r->serial && !(r->console = fopen(r->serial, "we"))) {
		nst_fail(&e, NST_SYSTEM, "%s", strerror(errno));
		return cli_fail(r->serial, &e);
	}
	return NST_OK;
}

static enum nst_status make_vm(struct run *r, struct nst_error *e)
{
	const struct guest_ram *ram = &r->boot.ram;
	enum nst_status st;

	r->vm = hv_vm_new(&r->ops);
	if (r->vm && r->l0 && (st = hv_set_l0(r->vm, r->l0, e)))
		return st;
	if (r->vm && r->vmx_caps &&
	    (st = hv_set_vmx_caps(r->vm, r->vmx_caps, e)))
		return st;
	for (unsigned i = 0; r->vm && i < r->smp; i++)
		if (!hv_vcpu_new(r->vm))
			r->vm = NULL; /* the process ends with it */
	if (!r->vm)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	st = hv_map_ram(r->vm, 0, ram->low, ram->host, e);
	if (!st && ram->high)
		st = hv_map_ram(r->vm, 1ull << 32, ram->high,
				ram->host + ram->low, e);
	return st;
}

static enum nst_status load_vcpus(struct run *r, struct nst_error *e)
{
	struct snapshot_vcpu ap = { .have = 1u << SN_MP_STATE,
		.mp_state.mp_state = KVM_MP_STATE_UNINITIALIZED };
	enum nst_status st = NST_OK;

	for (unsigned i = 0; i < r->smp && !st; i++) {
		struct vcpu *c = hv_vcpu(r->vm, i);

		if (r->cpu)
			st = cpu_model_set(c, r->cpu, e);
		if (!st)
			st = hv_vcpu_load(c, i ? &ap : &r->boot.cpu, e);
	}
	return st;
}

/* The image is looked at in the sandbox only. */
static int set_up(struct run *r)
{
	struct nst_error e = { 0 };
	int serial = fileno(r->console);

	if (make_vm(r, &e) || sandbox_enter(&r->sandbox, &serial, 1, &e) ||
	    boot_load(&r->boot, &e) || load_vcpus(r, &e))
		return cli_fail(r->kernel, &e);
	if (r->trace.insns)
		hv_set_trace(r->vm, true);
	return NST_OK;
}

/* -- the console's keyboard ------------------------------------------------------------ */
static struct termios saved_terminal;

static void restore_terminal(void)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
}

/* A terminal gives its keys one by one; Ctrl-C stays ours. */
static bool open_keyboard(void)
{
	struct termios t;

	if (!isatty(STDIN_FILENO) || tcgetattr(STDIN_FILENO, &saved_terminal))
		return false;
	t = saved_terminal;
	t.c_lflag &= (tcflag_t)~(ICANON | ECHO);
	tcsetattr(STDIN_FILENO, TCSANOW, &t);
	atexit(restore_terminal);
	return true;
}

static void feed_keyboard(struct run *r)
{
	struct pollfd p = { .fd = STDIN_FILENO, .events = POLLIN };
	uint8_t byte;

	while (r->input_open && poll(&p, 1, 0) == 1) {
		if (read(STDIN_FILENO, &byte, 1) != 1) {
			r->input_open = false;
			return;
		}
		if (!hv_console_input(r->vm, byte))
			return;
	}
}

/* -- running ------------------------------------------------------------------------------- */
static void run_loop(struct run *r, struct hv_stop *stop)
{
	struct hv_limits limits = { .insns = 0, .exits = r->moment.exits };
	uint64_t last = r->moment.insns < r->max_insns ? r->moment.insns :
		r->max_insns;

	do {
		limits.insns = last - limits.insns > SLICE ?
			limits.insns + SLICE : last;
		feed_keyboard(r);
		hv_run(r->vm, &limits, stop);
	} while (stop->reason == HV_STOP_INSNS && limits.insns < last &&
		 !interrupted);
	fflush(r->console);
}

static int exit_status(const struct run *r, const struct hv_stop *stop)
{
	switch (stop->reason) {
	case HV_STOP_DEBUG_EXIT:
		return (int)((stop->code << 1 | 1) & 0xff);
	case HV_STOP_SHUTDOWN:
		if (stop->code == 1)
			return NST_OK;
		break;
	case HV_STOP_INSNS:
		if (interrupted)
			return 128 + SIGINT;
		if (!cli_quiet && !r->snapshot)
			fprintf(stderr, "nstate: stopped after %" PRIu64
				" instructions\n", r->max_insns);
		return NST_OK;
	case HV_STOP_EXITS:
	case HV_STOP_REQUEST:
		return NST_OK;
	case HV_STOP_IDLE:
		if (!cli_quiet)
			fprintf(stderr, "nstate: %s\n", stop->text);
		return NST_OK;
	default:
		break;
	}
	run_report_stop(r->vm, stop);
	return NST_BAD_INPUT;
}

/* -- the two processes ------------------------------------------------------------------ */
static void choose_hooks(struct run *r)
{
	struct hv_ops *o = &r->ops;

	o->console = on_console;
	o->arg = r;
	if (r->trace.io || r->moment.port >= 0)
		o->io = on_io;
	if (r->trace.exits) {
		o->vmexit = on_exit_;
		o->vmentry = on_entry;
	}
	if (r->trace.pml)
		o->pml = on_pml;
	if (r->trace.events)
		o->event = on_event;
	if (r->trace.insns)
		o->insn = on_insn;
}

/* Where the guest runs.  *s: the VM as it stopped, if one was asked for. */
static int guest(struct run *r, struct snapshot **s)
{
	struct nst_error e;
	struct hv_stop stop;
	int status = set_up(r);

	if (status)
		return status;
	signal(SIGINT, on_signal);
	signal(SIGTERM, on_signal);
	run_loop(r, &stop);
	status = exit_status(r, &stop);
	if (r->snapshot && run_take_snapshot(r->vm, &r->boot.ram, s, &e))
		status = cli_fail(r->output, &e);
	if (r->stats)
		run_print_stats(r->vm);
	if (r->serial && fclose(r->console)) {
		nst_fail(&e, NST_SYSTEM, "%s", strerror(errno));
		status = cli_fail(r->serial, &e);
	}
	hv_vm_free(r->vm);
	return status;
}

static _Noreturn void be_guest(struct run *r)
{
	struct snapshot *s = NULL;
	int status = guest(r, &s);
	const uint32_t taken = s != NULL;

	if (s)
		sandbox_send_snapshot(&r->sandbox, s);
	sandbox_send_result(&r->sandbox, &taken, sizeof taken);
	sandbox_end(&r->sandbox, status);
}

/* Where the files are. */
static int keep(struct run *r, struct snapshot **s)
{
	uint32_t taken = 0;
	bool got;
	int status;

	*s = run_new_snapshot(r->smp, &r->boot.ram);
	status = sandbox_await(&r->sandbox, r->kernel, *s, &taken, sizeof taken,
			       &got);
	if (!got || !taken) {
		snapshot_free(*s);
		*s = NULL;
	}
	return status;
}

static int run_it(struct run *r)
{
	struct snapshot *s = NULL;
	struct nst_error e;
	int status;

	if (sandbox_fork(&r->sandbox, &e))
		return cli_fail(r->kernel, &e);
	if (sandbox_is_child(&r->sandbox))
		be_guest(r);
	status = sandbox_is_parent(&r->sandbox) ? keep(r, &s) : guest(r, &s);
	if (s && snapshot_write(s, r->output, true, &e))
		status = cli_fail(r->output, &e);
	snapshot_free(s);
	return status;
}

int cmd_run(int argc, char **argv)
{
	struct run r = { .ram = DEFAULT_RAM, .max_insns = UINT64_MAX, .smp = 1,
			 .console = stdout, .sandbox = SANDBOX_NONE,
			 .moment = { UINT64_MAX, UINT64_MAX, -1, 0, false } };
	int status;

	cli_parse(&argp, argc, argv, &r);
	choose_hooks(&r);
	status = open_files(&r);
	if (status)
		return status;
	r.input_open = open_keyboard();
	status = run_it(&r);
	source_close(r.image);
	return status;
}
