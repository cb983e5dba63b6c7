/* outfile.c: temporary file, fsync, rename. */
#include "convert/outfile.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
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

enum nst_status outfile_open(struct outfile *o, const char *path, bool force,
			     const char *input, struct nst_error *e)
{
	struct stat st;

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
	if (!o->path || asprintf(&o->temporary, "%s.XXXXXX", path) < 0) {
		o->temporary = NULL;
		free(o->path);
		return nst_fail(e, NST_SYSTEM, "out of memory");
	}
	o->fd = mkostemp(o->temporary, O_CLOEXEC);
	if (o->fd < 0) {
		enum nst_status s = sys_fail(e, "cannot make", o->temporary);
		free(o->path);
		free(o->temporary);
		return s;
	}
	/* mkstemp's 0600 is not what a user's umask asks for. */
	mode_t mask = umask(0);
	umask(mask);
	(void)!fchmod(o->fd, 0666 & ~mask);
	return NST_OK;
}

static enum nst_status to_stdout(int fd, struct nst_error *e)
{
	char buf[65536];
	ssize_t n;

	if (lseek(fd, 0, SEEK_SET) < 0)
		return sys_fail(e, "cannot seek", "the output");
	while ((n = read(fd, buf, sizeof buf)) > 0)
		if (codec_write_all(1, buf, (size_t)n))
			return sys_fail(e, "cannot write", "standard output");
	return n ? sys_fail(e, "cannot read", "the output") : NST_OK;
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

static enum nst_status finish(struct outfile *o, struct nst_error *e)
{
	if (fsync(o->fd))
		return sys_fail(e, "cannot write", o->path);
	/* Without force, a file that appeared meanwhile is not lost either. */
	if (!o->force ? link(o->temporary, o->path) :
	    rename(o->temporary, o->path))
		return sys_fail(e, "cannot make", o->path);
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
	if (status || !o->force)
		unlink(o->temporary);
	free(o->path);
	free(o->temporary);
	return status;
}

enum nst_status outfile_clone(int from, int to, struct nst_error *e)
{
	struct stat st;
	loff_t in = 0, out = 0;
	char buf[65536];

	if (fstat(from, &st))
		return sys_fail(e, "cannot stat", "the input");
	if (!ioctl(to, FICLONE, from))
		return NST_OK;
	while (in < st.st_size) {
		ssize_t n = copy_file_range(from, &in, to, &out,
					    (size_t)(st.st_size - in), 0);
		if (n > 0)
			continue;
		/* Across file systems, or not supported: by hand. */
		n = pread(from, buf, sizeof buf, in);
		if (n <= 0)
			return n ? sys_fail(e, "cannot read", "the input") :
				nst_fail(e, NST_BAD_INPUT, "the input shrank");
		if (pwrite(to, buf, (size_t)n, out) != n)
			return sys_fail(e, "cannot write", "the output");
		in += n;
		out += n;
	}
	return NST_OK;
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

int outfile_spool(struct nst_error *e)
{
	const char *dirs[] = { getenv("TMPDIR"), "/var/tmp", "/tmp" };

	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		int fd = dirs[i] ? open(dirs[i], O_TMPFILE | O_RDWR | O_CLOEXEC,
					0600) : -1;
		if (fd >= 0)
			return fd;
	}
	sys_fail(e, "cannot make", "a temporary file");
	return -1;
}
