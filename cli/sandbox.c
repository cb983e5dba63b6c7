/* sandbox.c: the two processes and what goes between them; filter.c has the filter.
 */
#include "cli/sandbox.h"

#include <errno.h>
#include <jansson.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cli/cli.h"
#include "convert/snapshot.h"
#include "convert/snapshot_notes.h"

enum message { MSG_NOTE = 1, MSG_RESULT, MSG_STATUS };
enum { LONGEST_MESSAGE = 64 << 20 };

struct head { uint32_t kind, size; };
struct note_head { char name[16]; uint32_t type, vcpu; };

enum nst_status sandbox_fork(struct sandbox *b, struct nst_error *e)
{
	int pair[2];

	b->link = -1;
	b->child = -1;
#ifdef NSTATE_ONE_PROCESS
	b->off = true;
#endif
	if (b->off)
		return NST_OK;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return nst_fail(e, NST_SYSTEM, "socketpair: %m");
	/* Else jansson does it at the child's first trace line, from /dev/urandom. */
	json_object_seed(0);
	fflush(NULL);
	b->child = fork();
	if (b->child < 0) {
		close(pair[0]);
		close(pair[1]);
		return nst_fail(e, NST_SYSTEM, "fork: %m");
	}
	b->link = pair[b->child ? 0 : 1];
	close(pair[b->child ? 1 : 0]);
	return NST_OK;
}

/* -- the child --------------------------------------------------------------------- */
static bool send_all(int fd, const void *data, size_t size)
{
	const char *p = data;

	while (size) {
		ssize_t n = write(fd, p, size);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		size -= (size_t)n;
	}
	return true;
}

/* The parent is gone where it cannot be sent: there is nobody to tell. */
static void send_message(struct sandbox *b, uint32_t kind, const void *first,
			 size_t first_size, const void *data, size_t size)
{
	struct head h = { kind, (uint32_t)(first_size + size) };

	if (!send_all(b->link, &h, sizeof h) ||
	    !send_all(b->link, first, first_size) ||
	    !send_all(b->link, data, size))
		_exit(NST_SYSTEM);
}

void sandbox_send_result(struct sandbox *b, const void *result, size_t size)
{
	send_message(b, MSG_RESULT, result, size, NULL, 0);
}

static bool put_note(void *arg, const char *name, uint32_t type, uint32_t vcpu,
		     const void *data, uint32_t size)
{
	struct note_head n = { .type = type, .vcpu = vcpu };

	strncpy(n.name, name, sizeof n.name - 1);
	send_message(arg, MSG_NOTE, &n, sizeof n, data, size);
	return true;
}

void sandbox_send_snapshot(struct sandbox *b, const struct snapshot *s)
{
	snapshot_put_notes(s, &(struct note_sink){ put_note, b });
}

void sandbox_end(struct sandbox *b, int status)
{
	int32_t v = status;

	fflush(NULL);
	send_message(b, MSG_STATUS, &v, sizeof v, NULL, 0);
	_exit(NST_OK);
}

/* -- the parent -------------------------------------------------------------------- */
static volatile pid_t forward_to;

static void forward(int sig)
{
	if (forward_to > 0)
		kill(forward_to, sig);
}

/* One direction of the relay, once; false: that end is closed. */
static bool copy_once(int from, int to)
{
	char buf[4096];
	ssize_t n = read(from, buf, sizeof buf);

	return n > 0 ? send_all(to, buf, (size_t)n) : n < 0 && errno == EINTR;
}

static void end_relay(struct sandbox *b)
{
	close(b->outer);
	close(b->inner);
	b->outer = b->inner = -1;
}

/* Until the link can be read; false: it is broken. */
static bool await_link(struct sandbox *b)
{
	for (;;) {
		struct pollfd p[3] = { { b->link, POLLIN, 0 },
			{ b->outer, POLLIN, 0 }, { b->inner, POLLIN, 0 } };

		if (poll(p, 3, -1) < 0) {
			if (errno == EINTR)
				continue;
			return false;
		}
		if ((p[1].revents && !copy_once(b->outer, b->inner)) ||
		    (p[2].revents && !copy_once(b->inner, b->outer)))
			end_relay(b);
		if (p[0].revents)
			return true;
	}
}

static bool receive_all(struct sandbox *b, void *data, size_t size)
{
	char *p = data;

	while (size) {
		ssize_t n;

		if (!await_link(b))
			return false;
		n = read(b->link, p, size);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return false;
		p += n;
		size -= (size_t)n;
	}
	return true;
}

static bool take_note(struct snapshot *s, const uint8_t *data, uint32_t size)
{
	struct note_head n;

	if (!s || size < sizeof n)
		return false;
	memcpy(&n, data, sizeof n);
	n.name[sizeof n.name - 1] = 0;
	return snapshot_replace_note(s, n.name, n.type, n.vcpu, data + sizeof n,
				     size - (uint32_t)sizeof n);
}

/* A child that sends nonsense is a child that was taken over. */
static bool take_message(struct sandbox *b, const struct head *h, uint8_t *data,
			 struct snapshot *s, void *result, size_t size, bool *got,
			 int32_t *status)
{
	if (!receive_all(b, data, h->size))
		return false;
	switch (h->kind) {
	case MSG_NOTE:
		return take_note(s, data, h->size);
	case MSG_RESULT:
		if (h->size != size)
			return false;
		memcpy(result, data, size);
		*got = true;
		return true;
	case MSG_STATUS:
		if (h->size != sizeof *status)
			return false;
		memcpy(status, data, sizeof *status);
		return true;
	}
	return false;
}

static int say_died(const char *file, int how)
{
	struct nst_error e;

	if (WIFSIGNALED(how) && WTERMSIG(how) == SIGSYS)
		nst_fail(&e, NST_SYSTEM, "the process that ran the guest asked for "
			 "a system call that the sandbox forbids, and was ended");
	else if (WIFSIGNALED(how))
		nst_fail(&e, NST_SYSTEM, "the process that ran the guest died of "
			 "signal %d (%s)", WTERMSIG(how), strsignal(WTERMSIG(how)));
	else
		nst_fail(&e, NST_SYSTEM, "the process that ran the guest sent no "
			 "end (status %d)", WEXITSTATUS(how));
	return cli_fail(file, &e);
}

int sandbox_await(struct sandbox *b, const char *file, struct snapshot *s,
		  void *result, size_t size, bool *got)
{
	struct sigaction sa = { .sa_handler = forward };
	int32_t status = -1;
	struct head h;
	int how = 0;

	*got = false;
	forward_to = b->child;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	while (status < 0 && receive_all(b, &h, sizeof h)) {
		uint8_t *data = h.size <= LONGEST_MESSAGE ?
			malloc(h.size ? h.size : 1) : NULL;
		bool good = data && take_message(b, &h, data, s, result, size, got,
						 &status);

		free(data);
		if (!good)
			break;
	}
	if (b->outer >= 0)
		end_relay(b);
	close(b->link);
	b->link = -1;
	if (status < 0)
		kill(b->child, SIGKILL);
	while (waitpid(b->child, &how, 0) < 0 && errno == EINTR)
		;
	forward_to = 0;
	return status < 0 ? say_died(file, how) : status & 0xff;
}
