/* main.c: finds the command and runs it. */
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "convert/source.h"

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
} commands[] = {
#define COMMAND(name, function, summary) { name, function, summary },
#include "cli/commands.def"
#undef COMMAND
	{ NULL, NULL, NULL },
};

bool cli_quiet;

int cli_fail(const char *file, const struct nst_error *e)
{
	fprintf(stderr, "nstate: %s%s%s\n", file ? file : "", file ? ": " : "",
		e->text);
	return e->status;
}

void cli_warn(const char *file, const char *format, ...)
{
	va_list ap;

	if (cli_quiet)
		return;
	fprintf(stderr, "nstate: %s%swarning: ", file ? file : "",
		file ? ": " : "");
	va_start(ap, format);
	vfprintf(stderr, format, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void cli_parse(const struct argp *argp, int argc, char **argv, void *input)
{
	argp_err_exit_status = NST_USAGE;
	if (argp_parse(argp, argc, argv, 0, NULL, input))
		exit(NST_USAGE);
}

static void usage(FILE *f)
{
	fputs("Usage: nstate COMMAND [OPTIONS] FILE...\n"
	      "Carries a nested VM's VMX state across KVM versions and proves "
	      "that it survived.\n\n", f);
	for (const struct command *c = commands; c->name; c++)
		fprintf(f, "  %-10s %s\n", c->name, c->summary);
	fputs("\n`nstate COMMAND --help` tells a command's options; "
	      "see also nstate(1).\n", f);
}

/* A mapped input that cannot be read (a bad disk, a file that was cut meanwhile).
 * What was not finished has no name yet and is gone with the process. */
static void on_read_error(int sig, siginfo_t *info, void *context)
{
	uint64_t at = 0;
	const char *name = source_of_address(info->si_addr, &at);
	char text[4400];
	int n;

	(void)context;
	if (!name) { /* none of ours: a bug, which should look like one */
		signal(sig, SIG_DFL);
		return;
	}
	n = snprintf(text, sizeof text, "nstate: %.4096s: cannot be read at byte "
		     "0x%llx: I/O error, or the file was cut meanwhile\n", name,
		     (unsigned long long)at);
	(void)!write(2, text, (size_t)n);
	_exit(NST_SYSTEM);
}

static void set_signals(void)
{
	struct sigaction sa = { .sa_sigaction = on_read_error,
				.sa_flags = SA_SIGINFO };

	sigaction(SIGBUS, &sa, NULL);
	/* Limits on a file's size are errors of write(), not deaths. */
	signal(SIGXFSZ, SIG_IGN);
}

int main(int argc, char **argv)
{
	static char name[64];

	set_signals();
	if (argc < 2) {
		usage(stderr);
		return NST_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "help") ||
	    !strcmp(argv[1], "-h")) {
		usage(stdout);
		return NST_OK;
	}
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		puts("nstate " NSTATE_VERSION);
		return NST_OK;
	}
	for (const struct command *c = commands; c->name; c++) {
		if (strcmp(argv[1], c->name))
			continue;
		snprintf(name, sizeof name, "nstate %s", c->name);
		argv[1] = name;
		int status = c->run(argc - 1, argv + 1);
		/* A full disk or a closed pipe must not look like success. */
		if (fflush(stdout) || ferror(stdout)) {
			fputs("nstate: cannot write standard output\n", stderr);
			return NST_SYSTEM;
		}
		return status;
	}
	fprintf(stderr, "nstate: no such command: %s (see nstate --help)\n",
		argv[1]);
	return NST_USAGE;
}
