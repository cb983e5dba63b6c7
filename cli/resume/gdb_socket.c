/* gdb_socket.c: the socket under gdb.c; knows nothing of what packets mean. */
#include "cli/resume/gdb_socket.h"

#include <errno.h>
#include <netdb.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct gdb_socket {
	int fd;
	unsigned char buf[4096];
	size_t at, have;
};

static int listen_unix(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (strlen(path) >= sizeof a.sun_path) {
		errno = ENAMETOOLONG;
		return -1;
	}
	strcpy(a.sun_path, path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0 && (bind(fd, (void *)&a, sizeof a) || listen(fd, 1))) {
		close(fd);
		return -1;
	}
	return fd;
}

/* Only the loopback interface unless a host is named. */
static int listen_tcp(const char *address)
{
	struct addrinfo hints = { .ai_family = AF_INET,
				  .ai_socktype = SOCK_STREAM }, *a;
	const char *colon = strrchr(address, ':');
	char host[128];
	int fd, one = 1;

	snprintf(host, sizeof host, "%.*s", (int)(colon - address), address);
	if (getaddrinfo(*host ? host : "127.0.0.1", colon + 1, &hints, &a)) {
		errno = EINVAL;
		return -1;
	}
	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd >= 0)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	if (fd >= 0 && (bind(fd, a->ai_addr, a->ai_addrlen) || listen(fd, 1))) {
		close(fd);
		fd = -1;
	}
	freeaddrinfo(a);
	return fd;
}

enum nst_status gdb_accept(const char *address, int *out, struct nst_error *e)
{
	bool tcp = strchr(address, ':') && !strchr(address, '/');
	int fd = tcp ? listen_tcp(address) : listen_unix(address);

	if (fd < 0)
		return nst_fail(e, NST_SYSTEM, "cannot listen at %s: %s",
				address, strerror(errno));
	fprintf(stderr, "nstate: waiting for gdb at %s\n", address);
	signal(SIGPIPE, SIG_IGN); /* a debugger that goes away is no reason to die */
	*out = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	close(fd);
	if (*out < 0)
		return nst_fail(e, NST_SYSTEM, "accept: %s", strerror(errno));
	return NST_OK;
}

struct gdb_socket *gdb_socket_new(int fd)
{
	struct gdb_socket *s = calloc(1, sizeof *s);

	if (s)
		s->fd = fd;
	return s;
}

void gdb_hang_up(struct gdb_socket *s)
{
	if (!s)
		return;
	close(s->fd);
	free(s);
}

static int next_byte(struct gdb_socket *s)
{
	if (s->at == s->have) {
		ssize_t n = read(s->fd, s->buf, sizeof s->buf);
		if (n <= 0)
			return -1;
		s->at = 0;
		s->have = (size_t)n;
	}
	return s->buf[s->at++];
}

static int hex(int c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c |= 0x20;
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

bool gdb_receive(struct gdb_socket *s, char *body, size_t len)
{
	for (;;) {
		size_t n = 0;
		uint8_t sum = 0;
		int c;

		while ((c = next_byte(s)) != '$')
			if (c < 0)
				return false;
		while ((c = next_byte(s)) != '#') {
			if (c < 0)
				return false;
			sum = (uint8_t)(sum + c);
			if (n + 1 < len)
				body[n++] = (char)c;
		}
		body[n] = 0;
		int h = hex(next_byte(s)), l = hex(next_byte(s));
		bool good = h >= 0 && l >= 0 && (h << 4 | l) == sum;
		if (write(s->fd, good ? "+" : "-", 1) != 1)
			return false;
		if (good)
			return true;
	}
}

bool gdb_send(struct gdb_socket *s, const char *body)
{
	size_t len = strlen(body);
	char *packet = malloc(len + 5);
	uint8_t sum = 0;
	bool good;

	if (!packet)
		return false;
	for (size_t i = 0; i < len; i++)
		sum = (uint8_t)(sum + body[i]);
	sprintf(packet, "$%s#%02x", body, sum);
	good = write(s->fd, packet, len + 4) == (ssize_t)(len + 4);
	free(packet);
	return good;
}

bool gdb_interrupted(struct gdb_socket *s)
{
	struct pollfd p = { .fd = s->fd, .events = POLLIN };

	while (s->at < s->have || poll(&p, 1, 0) > 0) {
		int c = next_byte(s);
		if (c == 3 || c < 0)
			return true;
		if (c == '$') { /* a packet: keep it for gdb_receive */
			s->at--;
			return false;
		}
	}
	return false;
}
