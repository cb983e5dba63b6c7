/* outfile.c: a file without a name, fsync, link or rename; copies of stretches of
 * files. */
#include "convert/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "convert/codec.h"

static enum nst_status sys_fail(struct nst_error *e, const char *what,
				const char *name)
{
	return nst_fail(e, NST_SYSTEM, "%s %s: %s", what, name, strerror(errno));
}

static bool same_file(const char *a, const char *b)
{
	struct stat x, y;

	return !stat(a, &x) && !stat(b, &y) && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* A new file is what the umask says, but no more than its input is. */
static void set_mode(int fd, const char *input)
{
	mode_t mask = umask(0), mode = 0666;
	struct stat st;

	umask(mask);
	if (input && !stat(input, &st) && S_ISREG(st.st_mode))
		mode = st.st_mode & 0777;
	(void)!fchmod(fd, mode & ~mask);
}

/* A file without a name, beside path; -1 where it could not get one later. */
static int nameless(const char *path)
{
	char *copy = strdup(path), *slash = copy ? strrchr(copy, '/') : NULL;
	int fd;

	if (!copy || access("/proc/self/fd", X_OK)) {
		free(copy);
		return -1;
	}
	if (slash)
		slash[slash == copy] = 0;
	fd = open(slash ? copy : ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	free(copy);
	return fd;
}

static enum nst_status make_file(struct outfile *o, struct nst_error *e)
{
	enum nst_status st;

	o->fd = nameless(o->path);
	if (o->fd >= 0)
		return NST_OK;
	if (asprintf(&o->temporary, "%s.XXXXXX", o->path) < 0) {
		o->temporary = NULL;
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	o->fd = mkostemp(o->temporary, O_CLOEXEC);
	if (o->fd >= 0)
		return NST_OK;
	st = sys_fail(e, "cannot make", o->path);
	free(o->temporary);
	o->temporary = NULL;
	return st;
}

enum nst_status outfile_open(struct outfile *o, const char *path, bool force,
			     const char *input, struct nst_error *e)
{
	struct stat st;
	enum nst_status status;

	*o = (struct outfile){ .fd = -1, .force = force };
	if (!strcmp(path, "-")) {
		o->to_stdout = true;
		o->fd = outfile_spool(e); /* patches want to seek */
		return o->fd < 0 ? NST_SYSTEM : NST_OK;
	}
	if (input && same_file(path, input))
		return nst_fail(e, NST_USAGE, "%s is the input itself; "
				"--in-place changes it with an undo journal",
				path);
	if (!force && !lstat(path, &st))
		return nst_fail(e, NST_USAGE, "%s exists; -f overwrites it", path);
	o->path = strdup(path);
	if (!o->path)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	status = make_file(o, e);
	if (status)
		free(o->path);
	else
		set_mode(o->fd, input);
	return status;
}

static enum nst_status to_stdout(int fd, struct nst_error *e)
{
	char buf[65536];
	ssize_t n;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return sys_fail(e, "cannot seek", "the output");
	while ((n = read(fd, buf, sizeof buf))) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return sys_fail(e, "cannot read", "the output");
		if (codec_write_all(1, buf, (size_t)n))
			return sys_fail(e, "cannot write", "standard output");
	}
	return NST_OK;
}

/* The directory too, or the rename may be lost with the power. */
static void sync_directory(const char *path)
{
	char *copy = strdup(path), *slash = copy ? strrchr(copy, '/') : NULL;
	int fd;

	if (slash)
		slash[slash == copy] = 0;
	fd = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0) {
		fsync(fd);
		close(fd);
	}
	free(copy);
}

/* Gives a file without a name the name `name`; -1 and errno. */
static int give_name(int fd, const char *name)
{
	char self[64];

	snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, self, AT_FDCWD, name, AT_SYMLINK_FOLLOW);
}

/* link() cannot replace a file: through a name of its own, then. */
static int replace(struct outfile *o)
{
	for (unsigned i = 0; !o->temporary; i++) {
		if (asprintf(&o->temporary, "%s.%ld.%u", o->path, (long)getpid(),
			     i) < 0) {
			o->temporary = NULL;
			errno = ENOMEM;
			return -1;
		}
		if (!give_name(o->fd, o->temporary))
			break;
		free(o->temporary);
		o->temporary = NULL;
		if (errno != EEXIST)
			return -1;
	}
	return rename(o->temporary, o->path);
}

static enum nst_status finish(struct outfile *o, struct nst_error *e)
{
	int rc;

	if (!o->no_sync && fsync(o->fd))
		return sys_fail(e, "cannot write", o->path);
	/* Without force, a file that appeared meanwhile is not lost either. */
	if (o->force)
		rc = replace(o);
	else
		rc = o->temporary ? link(o->temporary, o->path) :
			give_name(o->fd, o->path);
	if (rc)
		return sys_fail(e, "cannot make", o->path);
	if (!o->no_sync)
		sync_directory(o->path);
	return NST_OK;
}

enum nst_status outfile_close(struct outfile *o, enum nst_status status,
			      struct nst_error *e)
{
	if (o->to_stdout) {
		if (!status)
			status = to_stdout(o->fd, e);
		close(o->fd);
		return status;
	}
	if (!status)
		status = finish(o, e);
	close(o->fd);
	if (o->temporary && (status || !o->force))
		unlink(o->temporary);
	free(o->path);
	free(o->temporary);
	return status;
}

/* -- copying ------------------------------------------------------------------- */

/* One stretch of bytes that are there. */
static enum nst_status copy_data(int from, uint64_t at, uint64_t len, int to,
				 uint64_t out, struct nst_error *e)
{
	loff_t i = (loff_t)at, o = (loff_t)out;
	enum nst_status st;
	char buf[65536];

	while (len) {
		ssize_t n = copy_file_range(from, &i, to, &o, len, 0);

		if (n > 0) {
			len -= (uint64_t)n;
			continue;
		}
		/* Across file systems, or not supported: by hand. */
		n = pread(from, buf, len < sizeof buf ? len : sizeof buf, i);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return sys_fail(e, "cannot read", "the input");
		if (!n)
			return nst_fail(e, NST_BAD_INPUT, "the input was cut "
					"meanwhile, at byte %lld", (long long)i);
		st = outfile_pwrite(to, buf, (size_t)n, (uint64_t)o, e);
		if (st)
			return st;
		i += n;
		o += n;
		len -= (uint64_t)n;
	}
	return NST_OK;
}

enum nst_status outfile_copy(int from, uint64_t at, uint64_t len, int to,
			     uint64_t out, struct nst_error *e)
{
	uint64_t end = at + len;
	enum nst_status st = NST_OK;

	if (ftruncate(to, (off_t)(out + len)))
		return sys_fail(e, "cannot write", "the output");
	while (!st && at < end) {
		off_t data = lseek(from, (off_t)at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			return NST_OK; /* a hole to the end */
		/* Where holes cannot be told, all is data. */
		hole = data < 0 ? -1 : lseek(from, data, SEEK_HOLE);
		if (data < 0 || hole < 0) {
			data = (off_t)at;
			hole = (off_t)end;
		}
		if ((uint64_t)data >= end)
			break;
		if ((uint64_t)hole > end)
			hole = (off_t)end;
		out += (uint64_t)data - at;
		st = copy_data(from, (uint64_t)data, (uint64_t)(hole - data), to,
			       out, e);
		out += (uint64_t)(hole - data);
		at = (uint64_t)hole;
	}
	return st;
}

enum nst_status outfile_clone(int from, int to, struct nst_error *e)
{
	struct stat st;

	if (fstat(from, &st))
		return sys_fail(e, "cannot stat", "the input");
	if (!ioctl(to, FICLONE, from))
		return NST_OK;
	return outfile_copy(from, 0, (uint64_t)st.st_size, to, 0, e);
}

enum nst_status outfile_pwrite(int fd, const void *buf, size_t len,
			       uint64_t at, struct nst_error *e)
{
	const char *p = buf;

	while (len) {
		ssize_t n = pwrite(fd, p, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return sys_fail(e, "cannot write", "the output");
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return NST_OK;
}

enum nst_status outfile_pread(int fd, void *buf, size_t len, uint64_t at,
			      struct nst_error *e)
{
	char *p = buf;

	while (len) {
		ssize_t n = pread(fd, p, len, (off_t)at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return sys_fail(e, "cannot read", "a temporary file");
		if (!n)
			return nst_fail(e, NST_SYSTEM, "a temporary file is "
					"shorter than it was");
		p += n;
		at += (uint64_t)n;
		len -= (size_t)n;
	}
	return NST_OK;
}

int outfile_spool(struct nst_error *e)
{
	const char *dirs[] = { getenv("TMPDIR"), "/var/tmp", "/tmp" };

	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		int fd = dirs[i] ? open(dirs[i], O_TMPFILE | O_RDWR | O_CLOEXEC,
					0600) : -1;
		if (fd >= 0)
			return fd;
	}
	/* A bare initramfs has no such folder, and is memory anyway. */
	int fd = memfd_create("nstate", MFD_CLOEXEC);
	if (fd < 0)
		sys_fail(e, "cannot make", "a temporary file");
	return fd;
}
