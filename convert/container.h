/* container.h: one interface to every file that nested state is found in.
 *
 * A reader (blob, snapshot, QEMU stream, ...) implements struct container_ops
 * and lists itself in container.c; everything above (inspect, convert, scan,
 * resume) sees only this.  Nothing here interprets a VMCS field.
 */
#ifndef NSTATE_CONVERT_CONTAINER_H
#define NSTATE_CONVERT_CONTAINER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "layouts/error.h"
#include "layouts/snapshot.h"

#pragma GCC visibility push(default)

struct container;

/* An input file, whatever its wrapping.  Peels gzip, xz, zstd, bzip2, lz4 and
 * lzop by content; a pipe is spooled.  See source.h. */
struct source;

/* One vCPU's nested state: struct kvm_nested_state and what follows it.
 * data is a private copy; size may exceed or fall short of the header's own
 * size field. */
struct container_state {
	int vcpu;            /* -1: the file does not say */
	uint8_t *data;
	uint32_t size;
	uint64_t file_offset;/* of data in the (unwrapped) input; ~0: scattered
	                      * or re-encoded */
	bool bare_page;      /* data is one vmcs12 page without a header */
};

/* A run of guest RAM as the walk meets it.  data stays valid only during the
 * call; NULL: a page that the sieve refused.  file_offset ~0: not stored plainly
 * (zero page, compressed). */
struct container_run {
	uint64_t gpa;
	const uint8_t *data;
	uint64_t size;         /* a multiple of 4096 */
	uint64_t file_offset;
};
/* Return 0 to go on, anything else to stop the walk with that value. */
typedef int container_run_fn(void *arg, const struct container_run *run);

/* New content for one 4 KiB page of guest RAM, or for a nested state. */
struct container_patch {
	enum { PATCH_STATE, PATCH_RAM } kind;
	uint32_t state;        /* PATCH_STATE: index of the container_state */
	uint64_t gpa;          /* PATCH_RAM */
	const uint8_t *data;   /* size of the state, or 4096 */
};

/* Takes one piece of the (unwrapped) file that a patch replaces. */
typedef enum nst_status container_put_fn(void *arg, uint64_t at,
					 const uint8_t *data, size_t len,
					 struct nst_error *e);

struct container_ops {
	const char *kind;      /* "raw nested state", "QEMU migration stream" */
	/* 0 to 100: how sure that head is of this kind. */
	int (*probe)(const uint8_t *head, size_t len, uint64_t file_size);
	enum nst_status (*open)(struct container *c, struct nst_error *e);
	/* Visits guest RAM in any order, final content only; NULL: no RAM. */
	int (*walk)(struct container *c, container_run_fn *fn, void *arg,
		    struct nst_error *e);
	/* Part `part` of `parts` of the same, for several threads at once; NULL:
	 * one thread only.  Needs no walk. */
	int (*walk_part)(struct container *c, uint32_t part, uint32_t parts,
			 container_run_fn *fn, void *arg, struct nst_error *e);
	/* Calls put for each piece of the file that p replaces; an error that
	 * says why where the file holds it in another form (compressed, as
	 * text).  NULL: as the walk's and the states' file offsets say. */
	enum nst_status (*place)(struct container *c,
				 const struct container_patch *p,
				 container_put_fn *put, void *arg,
				 struct nst_error *e);
	/* Fills what the container has of s: registers, MSRs, ...; NULL: no
	 * registers.  RAM is added by the caller through walk, unless the
	 * reader maps it itself here. */
	enum nst_status (*load)(struct container *c, struct snapshot *s,
				struct nst_error *e);
	/* Writes the whole container with the patches to out_fd (a new empty
	 * file).  NULL: the generic clone-and-patch by file offsets serves.
	 * rewrites_own: out_fd may be the source's own, which is then changed,
	 * and the container is good for nothing but being closed. */
	bool rewrites_own;
	/* open takes a source that passes (source.h), or gives up, which gave_up
	 * says; rewrite, where there is one, wraps it again itself. */
	bool passes;
	enum nst_status (*rewrite)(struct container *c, int out_fd,
				   const struct container_patch *p, size_t n,
				   struct nst_error *e);
	void (*close)(struct container *c);
};

/* How one vCPU stands, where the container says so cheaply (for inspect):
 * which of its registers are known.  Filled by open. */
struct container_vcpu {
	bool has_regs;
	uint64_t rip, rsp, cr0, cr3, cr4, efer;
};

/* Whom a long work tells now and then, from one thread, how far it is: bytes of how
 * many. */
struct container_progress {
	void (*tell)(void *arg, uint64_t done, uint64_t total); /* or NULL */
	void *arg;
};

/* Whether a walk has to show this page. */
typedef bool container_sieve_fn(const uint8_t *page);

struct container_options {
	const char *kind;      /* force this kind, or NULL */
	const char *snapshot;  /* qcow2: which one */
	uint64_t base;         /* raw RAM: GPA of its first byte */
	uint64_t lowmem;       /* streams: RAM below 4 GiB, 0: by machine type */
	bool share_ram;        /* of what container_load makes: see snapshot.h */
	/* streams: captures of the other channels of a multifd migration */
	const char *multifd[64];
	uint32_t nmultifd;
	/* Who names one will walk, place and rewrite, but not load: then a reader
	 * may keep those pages only, and no copy of a compressed file. */
	container_sieve_fn *sieve;
	struct container_progress progress; /* of reading, and writing, what passes */
};

struct container_ram { uint64_t gpa, size; };

struct container {
	const struct container_ops *ops;
	struct source *src;
	char *path;
	char note[256];        /* a line about this file: machine type, domain
	                        * name, CPU model; may be empty */
	struct container_state *states;
	uint32_t nstates;
	struct container_vcpu *vcpus;
	uint32_t nvcpus;
	bool has_ram;
	uint64_t ram_bytes;
	struct container_ram *ram; /* what of RAM there is; what a walk leaves
	                            * out of it is zero */
	uint32_t nram;
	char details[2048];    /* "key: value" lines for people, or empty */
	struct container_options options;
	bool gave_up;          /* it may not after all: what failed only says so */
	void *priv;
};

enum nst_status container_open(const char *path,
			       const struct container_options *o,
			       struct container **out, struct nst_error *e);
void container_close(struct container *c);

/* Adds a state (data is copied); for readers. */
struct container_state *container_add_state(struct container *c, int vcpu,
					    const void *data, uint32_t size,
					    uint64_t file_offset);

/* For readers: says that the source that passes has to be settled. */
enum nst_status container_give_up(struct container *c, struct nst_error *e);
/* For readers: names RAM that the file holds; keeps ram_bytes and has_ram. */
bool container_add_ram(struct container *c, uint64_t gpa, uint64_t size);
/* For readers: makes room for n vCPUs; what was there stays. */
bool container_set_vcpus(struct container *c, uint32_t n);
/* Adds a line to details. */
void container_detail(struct container *c, const char *format, ...)
	__attribute__((format(printf, 2, 3)));

/* Over all of RAM in parts, for as many threads; 1 where that is not
 * possible. */
bool container_walks_parts(const struct container *c);
int container_walk_part(struct container *c, uint32_t part, uint32_t parts,
			container_run_fn *fn, void *arg, struct nst_error *e);
int container_walk(struct container *c, container_run_fn *fn, void *arg,
		   struct nst_error *e);

/* Writes the container with patches to path, which is absent or whole in the end
 * (outfile.h); never the input itself. */
enum container_write_flags {
	CONTAINER_FORCE = 1,   /* replace an existing file */
	CONTAINER_NO_SYNC = 2, /* do not wait until the disk has it */
};
enum nst_status container_write(struct container *c, const char *path,
				unsigned flags, const struct container_patch *p,
				size_t n, struct nst_error *e);

/* The same, unwrapped unless it is read in passing, to an open and empty file. */
enum nst_status container_rewrite(struct container *c, int fd,
				  const struct container_patch *p, size_t n,
				  struct nst_error *e);

/* Where in the (plain) file the patches go, piece by piece; an error where what
 * one replaces is not stored plainly. */
enum nst_status container_place(struct container *c,
				const struct container_patch *p, size_t n,
				container_put_fn *put, void *arg,
				struct nst_error *e);

/* Everything the file holds, RAM included, as a snapshot. */
enum nst_status container_load(struct container *c, struct snapshot **out,
			       struct nst_error *e);

#pragma GCC visibility pop

#endif
