/* An LD_PRELOAD that makes system calls go wrong, as FAULT says:
 *
 *   eintr     every other call is interrupted before it does anything
 *   short     reads and writes do 1 to 1000 bytes at a time
 *   read:N    from the N-th on, every reading call fails with EIO
 *   write:N   from the N-th on, every writing call fails with ENOSPC
 *   sync:N    the N-th fsync fails with EIO
 *   kill:N    the N-th call of any kind is the last: SIGKILL
 *   map       a page in the middle of each big mapped file cannot be read
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

enum kind { READS, WRITES, SYNCS, NAMES };

static bool is(const char *what)
{
	const char *f = getenv("FAULT");

	return f && !strncmp(f, what, strlen(what));
}

static unsigned long number(void)
{
	const char *f = getenv("FAULT"), *colon = f ? strchr(f, ':') : NULL;

	return colon ? strtoul(colon + 1, NULL, 10) : ~0ul;
}

/* Whether this call fails, with errno set. */
static bool fails(enum kind kind)
{
	static unsigned long calls, of[4];
	unsigned long n = __atomic_fetch_add(&calls, 1, __ATOMIC_SEQ_CST);
	unsigned long k = __atomic_fetch_add(&of[kind], 1, __ATOMIC_SEQ_CST);

	if (is("kill:") && n >= number())
		raise(SIGKILL);
	if (is("eintr") && n % 2 && (kind == READS || kind == WRITES)) {
		errno = EINTR;
		return true;
	}
	if (is("read:") && kind == READS && k >= number()) {
		errno = EIO;
		return true;
	}
	if (is("write:") && kind == WRITES && k >= number()) {
		errno = ENOSPC;
		return true;
	}
	if (is("sync:") && kind == SYNCS && k == number()) {
		errno = EIO;
		return true;
	}
	return false;
}

static size_t some(size_t n)
{
	static unsigned seed = 1;

	if (!is("short") || n < 2)
		return n;
	size_t most = 1 + (size_t)rand_r(&seed) % 1000;
	return n < most ? n : most;
}

/* The system call itself: the C library's functions are those replaced. */
#define CALL(kind, ...) (fails(kind) ? -1 : syscall(__VA_ARGS__))

ssize_t read(int fd, void *p, size_t n)
{
	return CALL(READS, SYS_read, fd, p, some(n));
}

ssize_t pread(int fd, void *p, size_t n, off_t at)
{
	return CALL(READS, SYS_pread64, fd, p, some(n), at);
}

ssize_t pread64(int fd, void *p, size_t n, off_t at)
{
	return pread(fd, p, n, at);
}

ssize_t write(int fd, const void *p, size_t n)
{
	return CALL(WRITES, SYS_write, fd, p, some(n));
}

ssize_t pwrite(int fd, const void *p, size_t n, off_t at)
{
	return CALL(WRITES, SYS_pwrite64, fd, p, some(n), at);
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t at)
{
	return pwrite(fd, p, n, at);
}

/* Reads and writes: either may be what is wrong. */
ssize_t copy_file_range(int in, off_t *i, int out, off_t *o, size_t n,
			unsigned flags)
{
	if (fails(READS) || fails(WRITES))
		return -1;
	return syscall(SYS_copy_file_range, in, i, out, o, some(n), flags);
}

int fsync(int fd)
{
	return (int)CALL(SYNCS, SYS_fsync, fd);
}

int ftruncate(int fd, off_t n)
{
	return (int)CALL(NAMES, SYS_ftruncate, fd, n);
}

int linkat(int a, const char *from, int b, const char *to, int flags)
{
	return (int)CALL(NAMES, SYS_linkat, a, from, b, to, flags);
}

int rename(const char *from, const char *to)
{
	return (int)CALL(NAMES, SYS_rename, from, to);
}

int unlink(const char *name)
{
	return (int)CALL(NAMES, SYS_unlink, name);
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
	void *p = (void *)syscall(SYS_mmap, at, n, prot, flags, fd, off);
	int none;

	if (!is("map") || p == MAP_FAILED || fd < 0 || prot != PROT_READ ||
	    !(flags & MAP_SHARED) || n < 1 << 20)
		return p;
	/* A page beyond the end of a file is one that cannot be read. */
	none = memfd_create("none", 0);
	syscall(SYS_mmap, (char *)p + (n / 2 & ~4095ul), 4096, PROT_READ,
		MAP_SHARED | MAP_FIXED, none, 0);
	close(none);
	return p;
}

void *mmap64(void *at, size_t n, int prot, int flags, int fd, off_t off)
{
	return mmap(at, n, prot, flags, fd, off);
}
