/* stream.h: a QEMU migration stream, taken apart: sections, guest RAM, vCPUs.
 *
 * Shared by all files that hold one: bare streams, libvirt's images, qcow2
 * snapshots.  Positions are those of the source; docs/formats.md has the
 * grammar.
 */
#ifndef NSTATE_CONVERT_QEMU_STREAM_H
#define NSTATE_CONVERT_QEMU_STREAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "convert/bytes.h"
#include "convert/container.h"
#include "convert/source.h"

enum { Q_MAX_BLOCKS = 256 };

/* How a page's last record holds it; in the top byte of an index entry, the
 * position in the low 56 bits. */
enum qpage {
	Q_NONE, Q_PLAIN, Q_FILL, Q_ZLIB, Q_SPOOLED,
	/* Plain ones of a source that passes: spooled, or refused by the sieve. */
	Q_KEPT, Q_GONE,
};

struct qblock {
	char name[256];
	uint64_t length;
	uint64_t first;        /* number of its first page in the index */
	bool seen;             /* some page has a record */
	uint64_t records;      /* of its pages, those sent again included */
	uint64_t bitmap, pages;/* mapped-ram: positions */
};

struct qindex {
	uint64_t *entry;       /* one for each page of all blocks */
	uint64_t npages;
	uint64_t *touched;     /* a bit for each 512 entries */
	int fd;                /* of what backs it, or -1 */
	uint32_t since_drop;
	int spool;             /* decoded pages, at their number * 4096; or -1 */
};

struct qsection {
	char name[256];
	uint32_t id, instance, version;
	uint64_t body, end;
};

/* A stretch of guest-physical memory in a block. */
struct qrange { uint32_t block; uint64_t offset, size, gpa; };

struct qstream {
	struct source *src;    /* borrowed, or own_src */
	bool own_src;
	const struct container_options *options;
	bool gave_up;          /* it may not: see container.h */
	uint64_t start, end;   /* the magic; behind the last byte */
	char machine[128];
	bool footers, ignore_shared, mapped_ram, postcopy;
	struct qblock block[Q_MAX_BLOCKS];
	uint32_t nblocks;
	struct qindex index;
	int last_block;        /* of CONTINUE */
	uint32_t ram_id;
	bool have_ram;
	uint64_t ram_last;     /* where the last RAM section begins, */
	uint64_t ram_eos;      /* and the record that ends it */
	uint64_t released;     /* how far its records are read and let go of */
	json_t *desc;          /* the JSON description, or NULL */
	uint64_t desc_at;
	struct qsection *section; /* devices */
	uint32_t nsections, room;
	struct qrange range[4 + Q_MAX_BLOCKS];
	uint32_t nranges;
	uint64_t records;
	struct qmultifd *multifd; /* channels' captures, or NULL */
	bool flushes;          /* the stream marks where channels are awaited; */
	uint32_t syncs;        /* how often that was */
	uint64_t unseen;       /* pages of RAM without any record, at least */
};

/* Reads the stream at `start` of src; o: the container's,
 * in use as long as q. */
enum nst_status qstream_open(struct qstream *q, struct source *src,
			     bool own_src, uint64_t start,
			     const struct container_options *o,
			     struct nst_error *e);
void qstream_close(struct qstream *q);
bool qstream_is(const uint8_t *p, size_t len);

/* ram.c: the body of a RAM section; *at moves behind it. */
enum nst_status qram_start(struct qstream *q, struct cursor *c,
			   struct nst_error *e);
enum nst_status qram_records(struct qstream *q, struct cursor *c,
			     struct nst_error *e);
/* Content of a page: pointer (into the source or buf), and its position, ~0
 * where it is not a plain record.  NULL with *at 0: no record: zero. */
const uint8_t *qram_page(struct qstream *q, uint32_t block, uint64_t page,
			 uint8_t *buf, uint64_t *at, struct nst_error *e);
int qram_walk(struct qstream *q, uint32_t part, uint32_t parts, bool plain_file,
	      container_run_fn *fn, void *arg, struct nst_error *e);
/* Whether a record of this page that is added to the last section could be
 * overtaken: QEMU decompresses in threads, which it awaits at a section's end
 * only, so that a compressed record may win over a later plain one.  The same holds
 * for a page that a channel brought after the last sync. */
bool qram_races(const struct qstream *q, uint32_t block, uint64_t page);
/* For what came over other channels: the number of a page; its content, NULL for
 * zeros, which is kept in a temporary file. */
bool qram_number(struct qstream *q, const char *block, uint64_t offset,
		 uint64_t *number);
enum nst_status qram_put(struct qstream *q, uint64_t number,
			 const uint8_t *page, struct nst_error *e);
void qram_close(struct qstream *q);
/* Where gpa stands; false: in no range. */
bool qram_find(const struct qstream *q, uint64_t gpa, uint32_t *block,
	       uint64_t *page);

/* multifd.c: captures of the other channels of a multifd migration.  Open them
 * before the stream; QEMU awaits the channels where sync is called. */
enum nst_status qmultifd_open(struct qstream *q, const char *const *path,
			      uint32_t n, struct nst_error *e);
enum nst_status qmultifd_sync(struct qstream *q, struct nst_error *e);
enum nst_status qmultifd_rest(struct qstream *q, struct nst_error *e);
void qmultifd_close(struct qstream *q);

/* map.c: guest-physical addresses of the blocks, by machine type. */
void qmap_make(struct qstream *q, uint64_t lowmem);

/* desc.c: body length of a device by the JSON; 0 unknown. */
json_t *qdesc_find(const uint8_t *p, uint64_t from, uint64_t end, uint64_t *at);
uint64_t qdesc_length(const json_t *desc, const char *name, uint32_t instance);

/* One vCPU's nested state as the stream holds it. */
struct qnested {
	uint8_t data[128 + 2 * 4096];
	uint32_t size;         /* 0: none */
	uint64_t page[2];      /* positions of vmcs12 and shadow vmcs12; 0 none */
};

/* cpu.c: length of a cpu body by the fixed table, 0 where it does not hold, ~0
 * where it does but the stream ends before. */
uint64_t qcpu_length(const uint8_t *p, uint64_t at, uint64_t end,
		     uint32_t version);
enum nst_status qcpu_load(struct qstream *q, const struct qsection *s,
			  struct snapshot_vcpu *v, struct qnested *n,
			  char *ignored, size_t ignored_len,
			  struct nst_error *e);
/* Local APIC and VM-level devices. */
void qdev_apic(const struct qstream *q, const struct qsection *s,
	       struct snapshot_vcpu *v);
void qdev_vm(const struct qstream *q, struct snapshot *s);
/* absent.c: s->region */
void qdev_absent(const struct qstream *q, struct snapshot *s);

/* reader.c: what the readers of all such files share. */
enum nst_status qcontainer_fill(struct container *c, struct qstream *q,
				bool plain_file, struct nst_error *e);
enum nst_status qcontainer_load(struct qstream *q, struct snapshot *s,
				struct nst_error *e);
/* Pieces of the source that a patch replaces; status NST_NO (not an error yet)
 * where a record has to be inserted. */
enum nst_status qcontainer_place(struct container *c, struct qstream *q,
				 const struct container_patch *p,
				 container_put_fn *put, void *arg,
				 struct nst_error *e);
/* Writes the source with patches to fd, which may be the source's own. */
enum nst_status qcontainer_rewrite(struct container *c, struct qstream *q,
				   int fd, const struct container_patch *p, size_t n,
				   struct nst_error *e);

#endif
