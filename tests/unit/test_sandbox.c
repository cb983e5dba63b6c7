/* What the process that runs a guest can no longer do: each attempt in a process of
 * its own, which must die of it (or be refused, under a sanitizer). */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "cli/sandbox_filter.c"

enum { DONE = 40, REFUSED, NO_SANDBOX };

/* 0: did what it should not; else refused with errno. */
static int try_open(void) { return open("/dev/null", O_RDONLY) < 0; }
static int try_create(void) { return creat("/tmp/nstate-sandbox-test", 0600) < 0; }
static int try_socket(void) { return socket(AF_INET, SOCK_STREAM, 0) < 0; }
static int try_fork(void)
{
	pid_t p = fork();

	if (!p)
		_exit(0);
	return p < 0;
}
static int try_exec(void) { return execl("/bin/true", "true", NULL) < 0; }
static int try_kill(void) { return kill(getppid(), 0) < 0; }
static int try_trace(void) { return ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0; }
static int try_code(void)
{
	return mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS,
		    -1, 0) == MAP_FAILED;
}
static int try_make_code(void)
{
	void *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return mprotect(p, 4096, PROT_READ | PROT_EXEC) < 0;
}
static int try_unlink(void) { return unlink("/tmp/nstate-sandbox-test") < 0; }
static int try_rename(void) { return rename("/tmp/nstate-a", "/tmp/nstate-b") < 0; }

static const struct attempt {
	const char *name;
	int (*fn)(void);
} attempts[] = {
	{ "open", try_open }, { "create", try_create }, { "socket", try_socket },
	{ "fork", try_fork }, { "exec", try_exec }, { "kill", try_kill },
	{ "trace", try_trace }, { "map code", try_code },
	{ "make code", try_make_code }, { "unlink", try_unlink },
	{ "rename", try_rename },
};

/* How a process ended that entered the sandbox and ran fn. */
static int end_of(int (*fn)(void))
{
	int how;
	pid_t p;

	fflush(NULL);
	p = fork();
	if (!p) {
		struct sandbox b = { .link = 2 };
		struct nst_error e;

		_exit(sandbox_enter(&b, NULL, 0, &e) ? NO_SANDBOX :
		      fn() ? REFUSED : DONE);
	}
	assert_int_equal(waitpid(p, &how, 0), p);
	return how;
}

static void forbidden(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof attempts / sizeof *attempts; i++) {
		int how = end_of(attempts[i].fn);
		bool died = WIFSIGNALED(how) && WTERMSIG(how) == SIGSYS;

		if (FORBIDDEN != SCMP_ACT_KILL_PROCESS)
			died = died || WEXITSTATUS(how) == REFUSED;
		if (!died)
			fail_msg("%s: ended with 0x%x", attempts[i].name, how);
	}
}

/* What it needs: memory, the clock, its descriptors; no terminal. */
static int work(void)
{
	char *p = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int good = p != MAP_FAILED && write(2, "", 0) == 0 &&
		ioctl(1, TIOCGWINSZ, p) < 0;

	return !good;
}

static void allowed_work(void **state)
{
	int how = end_of(work);

	(void)state;
	assert_true(WIFEXITED(how));
	assert_int_equal(WEXITSTATUS(how), DONE);
}

static int descriptor_of_ours;
static int look(void)
{
	char c;

	return read(descriptor_of_ours, &c, 1) < 0;
}

static void descriptors_are_closed(void **state)
{
	int how;

	(void)state;
	descriptor_of_ours = open("/dev/zero", O_RDONLY);
	assert_true(descriptor_of_ours > 2);
	how = end_of(look);
	assert_true(WIFEXITED(how));
	assert_int_equal(WEXITSTATUS(how), REFUSED);
	close(descriptor_of_ours);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(forbidden), cmocka_unit_test(allowed_work),
		cmocka_unit_test(descriptors_are_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
