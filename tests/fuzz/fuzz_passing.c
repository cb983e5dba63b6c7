/* fuzz_passing.c: a file as it is, and the same compressed, which is read in passing
 * where it can be: both are refused in the same words, or both hold the same and are
 * converted into the same. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "convert/codec.h"
#include "convert/convert.h"
#include "convert/source.h"
#include "layouts/layouts.h"

static int put(const void *data, size_t size)
{
	int fd = memfd_create("fuzz", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	return fd;
}

static int pack(int plain, size_t size)
{
	int fd = memfd_create("packed", MFD_CLOEXEC);
	struct source *s;
	struct nst_error e;

	if (fd < 0 || source_from_fd(dup(plain), &s, &e) ||
	    codec_encode_from(codec_by_name("lz4"), s, size, fd, &e))
		abort();
	source_close(s);
	return fd;
}

static enum nst_status open_fd(int fd, struct conversion *v,
			       struct nst_error *e)
{
	struct plan_options o = { .from = layout_by_name("v4.14"),
				  .to = layout_by_name("v6.18"),
				  .drop_unsupported = true };
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return conversion_open(path, &o, v, e);
}

static void same_scan(const struct scan *a, const struct scan *b)
{
	if (a->n != b->n || a->pages_seen != b->pages_seen)
		abort();
	for (uint32_t i = 0; i < a->n; i++)
		if (a->page[i].gpa != b->page[i].gpa ||
		    a->page[i].kind != b->page[i].kind ||
		    memcmp(a->page[i].data, b->page[i].data, VMCS12_SIZE))
			abort();
}

/* What the conversion writes, without a codec. */
static enum nst_status written(struct conversion *v, int *out,
			       struct nst_error *e)
{
	/* One that was settled is written without its codec, too. */
	bool passes = source_passes(v->c->src);
	int fd = memfd_create("out", MFD_CLOEXEC);
	enum nst_status st = container_rewrite(v->c, fd, v->patch, v->npatches, e);
	off_t n = lseek(fd, 0, SEEK_END);
	void *z;

	*out = fd;
	if (st || !passes)
		return st;
	z = mmap(NULL, (size_t)n, PROT_READ, MAP_SHARED, fd, 0);
	*out = memfd_create("plain", MFD_CLOEXEC);
	if (z == MAP_FAILED || codec_decode(codec_by_name("lz4"), z, (uint64_t)n,
					    *out, e))
		abort();
	munmap(z, (size_t)n);
	close(fd);
	return NST_OK;
}

static void same_bytes(int a, int b)
{
	off_t n = lseek(a, 0, SEEK_END);
	void *p, *q;

	if (lseek(b, 0, SEEK_END) != n)
		abort();
	p = mmap(NULL, (size_t)n, PROT_READ, MAP_SHARED, a, 0);
	q = mmap(NULL, (size_t)n, PROT_READ, MAP_SHARED, b, 0);
	if (p == MAP_FAILED || q == MAP_FAILED || memcmp(p, q, (size_t)n))
		abort();
	munmap(p, (size_t)n);
	munmap(q, (size_t)n);
}

static void same_writing(struct conversion *a, struct conversion *b)
{
	struct nst_error e = { 0 }, f = { 0 };
	int out[2];
	enum nst_status x = written(a, &out[0], &e), y = written(b, &out[1], &f);

	if (x != y || strcmp(e.text, f.text))
		abort();
	if (!x)
		same_bytes(out[0], out[1]);
	close(out[0]);
	close(out[1]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct nst_error e = { 0 }, f = { 0 };
	struct conversion a, b;
	int plain, packed;
	enum nst_status x, y;

	/* Without a magic it is compressed or not what it is. */
	if (size < 8 || (memcmp(data, "QEVM", 4) && memcmp(data, "Libvirt", 7) &&
			 memcmp(data, "\177ELF", 4) && memcmp(data, "EMiL", 4)))
		return 0;
	plain = put(data, size);
	packed = pack(plain, size);
	x = open_fd(plain, &a, &e);
	y = open_fd(packed, &b, &f);
	if (x != y || strcmp(e.text, f.text))
		abort();
	if (!x) {
		same_scan(&a.scan, &b.scan);
		same_writing(&a, &b);
		conversion_close(&a);
		conversion_close(&b);
	}
	close(plain);
	close(packed);
	return 0;
}
