/* qmp.c: see qmp.h. */
#include "cli/capture/qmp.h"

#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

enum { REPLY_SECONDS = 60, LONGEST_LINE = 1 << 24 };

struct qmp {
	int fd;
	char *buf;       /* what came and was not yet read as a line */
	size_t have, room;
};

/* One line, without its end, into buf[0..*len). */
static enum nst_status read_line(struct qmp *q, size_t *len, struct nst_error *e)
{
	for (;;) {
		struct pollfd p = { q->fd, POLLIN, 0 };
		char *nl = q->have ? memchr(q->buf, '\n', q->have) : NULL;
		ssize_t n;

		if (nl) {
			*len = (size_t)(nl - q->buf);
			return NST_OK;
		}
		if (q->have == q->room) {
			char *more = q->room < LONGEST_LINE ?
				realloc(q->buf, q->room * 2) : NULL;
			if (!more)
				return nst_fail(e, NST_SYSTEM, "QEMU sends a line "
						"of over %zu bytes", q->room);
			q->buf = more;
			q->room *= 2;
		}
		n = poll(&p, 1, REPLY_SECONDS * 1000);
		if (n < 0 && errno == EINTR)
			continue; /* the reply still has to be read */
		if (n == 0)
			return nst_fail(e, NST_SYSTEM, "QEMU has not answered for "
					"%d seconds", REPLY_SECONDS);
		n = read(q->fd, q->buf + q->have, q->room - q->have);
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n <= 0)
			return nst_fail(e, NST_SYSTEM, "QEMU closed the connection");
		q->have += (size_t)n;
	}
}

static enum nst_status read_object(struct qmp *q, json_t **out,
				   struct nst_error *e)
{
	size_t len = 0;
	enum nst_status st = read_line(q, &len, e);

	if (st)
		return st;
	*out = json_loadb(q->buf, len, 0, NULL);
	q->have -= len + 1;
	memmove(q->buf, q->buf + len + 1, q->have);
	if (!json_is_object(*out)) {
		json_decref(*out);
		return nst_fail(e, NST_BAD_INPUT, "this is no QMP monitor");
	}
	return NST_OK;
}

/* The descriptor goes with the first byte. */
static enum nst_status send_all(struct qmp *q, const char *text, int pass,
				struct nst_error *e)
{
	size_t len = strlen(text);
	union { struct cmsghdr h; char room[CMSG_SPACE(sizeof(int))]; } c;

	while (len) {
		struct iovec v = { (char *)(uintptr_t)text, len };
		struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };
		ssize_t n;

		if (pass >= 0) {
			memset(&c, 0, sizeof c);
			c.h.cmsg_len = CMSG_LEN(sizeof(int));
			c.h.cmsg_level = SOL_SOCKET;
			c.h.cmsg_type = SCM_RIGHTS;
			memcpy(CMSG_DATA(&c.h), &pass, sizeof pass);
			m.msg_control = c.room;
			m.msg_controllen = sizeof c.room;
		}
		n = sendmsg(q->fd, &m, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return nst_fail(e, NST_SYSTEM, "cannot write to QEMU: %m");
		pass = -1;
		text += n;
		len -= (size_t)n;
	}
	return NST_OK;
}

/* Events may come before the reply. */
static enum nst_status reply(struct qmp *q, const char *command, json_t **out,
			     struct nst_error *e)
{
	for (;;) {
		json_t *o, *v;
		enum nst_status st = read_object(q, &o, e);

		if (st)
			return st;
		if ((v = json_object_get(o, "return"))) {
			if (out)
				*out = json_incref(v);
			json_decref(o);
			return NST_OK;
		}
		if ((v = json_object_get(o, "error"))) {
			const char *why = json_string_value(
				json_object_get(v, "desc"));
			nst_fail(e, NST_NO, "QEMU refuses %s: %s", command,
				 why ? why : "no reason given");
			json_decref(o);
			return NST_NO;
		}
		json_decref(o);
	}
}

enum nst_status qmp_do(struct qmp *q, const char *command, json_t *args, int pass,
		       json_t **out, struct nst_error *e)
{
	json_t *o = json_pack("{ss}", "execute", command);
	enum nst_status st;
	char *text;

	if (o && args)
		json_object_set_new(o, "arguments", args);
	text = json_dumps(o, JSON_COMPACT);
	json_decref(o);
	if (!text)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	st = send_all(q, text, pass, e);
	free(text);
	if (!st)
		st = send_all(q, "\n", -1, e);
	return st ? st : reply(q, command, out, e);
}

static enum nst_status connect_to(const char *path, int *fd, struct nst_error *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (strlen(path) >= sizeof a.sun_path)
		return nst_fail(e, NST_SYSTEM, "the path is too long for a socket");
	strcpy(a.sun_path, path);
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd >= 0 && !connect(*fd, (void *)&a, sizeof a))
		return NST_OK;
	return nst_fail(e, NST_SYSTEM, "cannot connect: %m");
}

enum nst_status qmp_open(const char *path, struct qmp **out, struct nst_error *e)
{
	struct qmp *q = calloc(1, sizeof *q);
	enum nst_status st;
	json_t *hello = NULL;

	if (!q || !(q->buf = malloc(q->room = 4096))) {
		free(q);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	q->fd = -1;
	st = connect_to(path, &q->fd, e);
	if (!st)
		st = read_object(q, &hello, e);
	if (!st && !json_object_get(hello, "QMP"))
		st = nst_fail(e, NST_BAD_INPUT, "this is no QMP monitor");
	json_decref(hello);
	if (!st)
		st = qmp_do(q, "qmp_capabilities", NULL, -1, NULL, e);
	if (st)
		qmp_close(q);
	else
		*out = q;
	return st;
}

void qmp_close(struct qmp *q)
{
	if (q->fd >= 0)
		close(q->fd);
	free(q->buf);
	free(q);
}
