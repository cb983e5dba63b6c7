/* sandbox_filter.c: what the process that runs a guest gives up.  Own file, because
 * this list is what there is to review.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/sandbox.h"

/* SCMP_A0() leaves a member out, which clang minds. */
#pragma GCC diagnostic ignored "-Wmissing-field-initializers"

enum { NOBODY = 65534 };

/* A sanitizer's report asks for more; it must not be cut off. */
#if defined(__SANITIZE_ADDRESS__)
#define FORBIDDEN SCMP_ACT_ERRNO(EPERM)
#else
#define FORBIDDEN SCMP_ACT_KILL_PROCESS
#endif

static const int allowed[] = {
	/* what it was left */
	SCMP_SYS(read), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(close),
	SCMP_SYS(poll), SCMP_SYS(ppoll), SCMP_SYS(lseek), SCMP_SYS(fstat),
	/* its own memory; mmap and mprotect are below */
	SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(brk),
	/* its own threads of control and time */
	SCMP_SYS(futex), SCMP_SYS(sched_yield), SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack),
	SCMP_SYS(restart_syscall), SCMP_SYS(clock_gettime),
	SCMP_SYS(gettimeofday), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep),
	SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(getrandom),
	SCMP_SYS(sysinfo), /* qsort() asks how much memory there is */
	SCMP_SYS(exit), SCMP_SYS(exit_group),
};

static bool add_rules(scmp_filter_ctx f)
{
	const struct scmp_arg_cmp no_exec =
		SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0);
	const struct scmp_arg_cmp anonymous =
		SCMP_A3(SCMP_CMP_MASKED_EQ, MAP_ANONYMOUS, MAP_ANONYMOUS);
	const struct scmp_arg_cmp itself =
		SCMP_A0(SCMP_CMP_EQ, (scmp_datum_t)getpid());

	for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
		if (seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0))
			return false;
	/* Code that the core makes lies in memory that was mapped before. */
	return !seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 2, no_exec,
				 anonymous) &&
	       !seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1,
				 no_exec) &&
	       /* abort() */
	       !seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, itself) &&
	       /* stdio asks whether it writes to a terminal, or to what */
	       !seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOTTY), SCMP_SYS(ioctl), 0) &&
	       !seccomp_rule_add(f, SCMP_ACT_ERRNO(EACCES), SCMP_SYS(newfstatat),
				 0);
}

static bool filter(void)
{
	scmp_filter_ctx f = seccomp_init(FORBIDDEN);
	bool good = f && add_rules(f) && !seccomp_load(f);

	if (f)
		seccomp_release(f);
	return good;
}

static int by_value(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

/* All but 0 to 2, the link and keep. */
static bool close_rest(const struct sandbox *b, const int *keep, unsigned nkeep)
{
	int stay[16] = { 2, b->link }, n = 2;
	struct rlimit none = { 0, 0 };

	for (unsigned i = 0; i < nkeep && n < 16; i++)
		if (keep[i] > 2)
			stay[n++] = keep[i];
	qsort(stay, (size_t)n, sizeof *stay, by_value);
	for (int i = 0; i < n; i++) {
		unsigned first = (unsigned)stay[i] + 1;
		unsigned last = i + 1 < n ? (unsigned)stay[i + 1] - 1 : ~0u;

		if (first <= last && close_range(first, last, 0))
			return false;
	}
	return !setrlimit(RLIMIT_CORE, &none);
}

/* From root to nobody; others are who they were. */
static bool drop_privileges(void)
{
	if (geteuid() == 0 && (setgroups(0, NULL) ||
			       setresgid(NOBODY, NOBODY, NOBODY) ||
			       setresuid(NOBODY, NOBODY, NOBODY)))
		return false;
	return !prctl(PR_SET_PDEATHSIG, 9) && !prctl(PR_SET_DUMPABLE, 0) &&
	       !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

enum nst_status sandbox_enter(struct sandbox *b, const int *keep, unsigned nkeep,
			      struct nst_error *e)
{
	const char *what;

	if (!sandbox_is_child(b))
		return NST_OK;
	what = !close_rest(b, keep, nkeep) ? "close descriptors" :
		!drop_privileges() ? "drop privileges" :
		!filter() ? "load the filter" : NULL;
	if (!what)
		return NST_OK;
	return nst_fail(e, NST_SYSTEM, "cannot enter the sandbox (%s: %m); "
			"--no-sandbox does without", what);
}
