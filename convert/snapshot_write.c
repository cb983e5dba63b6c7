/* snapshot_write.c: writes a native snapshot with libelf. */
#include <elf.h>
#include <gelf.h>
#include <libelf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "convert/codec.h"
#include "convert/outfile.h"
#include "convert/snapshot.h"
#include "convert/snapshot_notes.h"
#include "convert/source.h"

#define PAGE 4096ull

struct bytes { uint8_t *data; size_t len, room; };

static bool append(struct bytes *b, const void *data, size_t len)
{
	size_t padded = (len + 3) & ~(size_t)3;

	if (b->len + padded > b->room) {
		size_t room = (b->len + padded) * 2;
		uint8_t *p = realloc(b->data, room);
		if (!p)
			return false;
		b->data = p;
		b->room = room;
	}
	memset(b->data + b->len, 0, padded);
	memcpy(b->data + b->len, data, len);
	b->len += padded;
	return true;
}

static bool put_note(void *arg, const char *name, uint32_t type, uint32_t vcpu,
		     const void *data, uint32_t size)
{
	uint32_t namesz = (uint32_t)strlen(name) + 1;
	uint32_t head[3] = { namesz, size + 8, type }, who[2] = { vcpu, 0 };

	return append(arg, head, sizeof head) && append(arg, name, namesz) &&
	       append(arg, who, sizeof who) && append(arg, data, size);
}

/* One PT_LOAD: a run of pages that are not all zero, and the zero pages after
 * it (p_filesz < p_memsz). */
struct load { uint64_t gpa, memsz, filesz; const uint8_t *host; };
struct loads { struct load *v; size_t n, room; };

static bool is_zero(const uint8_t *page)
{
	static const uint8_t zero[PAGE];

	return !memcmp(page, zero, PAGE);
}

static bool add_load(struct loads *l, struct load one)
{
	if (l->n == l->room) {
		size_t room = l->room ? l->room * 2 : 64;
		struct load *v = realloc(l->v, room * sizeof *v);
		if (!v)
			return false;
		l->v = v;
		l->room = room;
	}
	l->v[l->n++] = one;
	return true;
}

/* A new segment begins where data follows at least `gap` bytes of zeros. */
static bool split_run(struct loads *l, const struct snapshot_ram *r,
		      uint64_t gap)
{
	struct load cur = { .gpa = r->gpa, .host = r->host };

	for (uint64_t o = 0; o < r->size; o += PAGE) {
		uint64_t zeros = cur.memsz - cur.filesz;
		if (is_zero(r->host + o)) {
			cur.memsz += PAGE;
			continue;
		}
		if (zeros >= gap) {
			if (!add_load(l, cur))
				return false;
			cur = (struct load){ .gpa = r->gpa + o,
					     .host = r->host + o };
		}
		cur.memsz += PAGE;
		cur.filesz = cur.memsz;
	}
	return !cur.memsz || add_load(l, cur);
}

/* Fewer and larger segments, so that e_phnum can count them with its 16 bits, as
 * far as RAM's own runs allow that. */
static bool split(struct loads *l, const struct snapshot *s)
{
	for (uint64_t gap = 16 * PAGE; ; gap <<= 2) {
		l->n = 0;
		for (uint32_t i = 0; i < s->nram; i++)
			if (!split_run(l, &s->ram[i], gap))
				return false;
		if (l->n < PN_XNUM - 1 || gap >= 1ull << 60)
			return true;
	}
}

/* Section header 0 tells the number of segments where e_phnum cannot.  libelf
 * makes it with the first section, and fills what lies between that and the table
 * with zeros: both stand at the same place. */
static bool add_section(Elf *elf, GElf_Ehdr *h, uint64_t at)
{
	Elf_Scn *scn = elf_getscn(elf, 1);
	GElf_Shdr s;

	h->e_shoff = at;
	h->e_shentsize = sizeof(Elf64_Shdr);
	if (!scn || !gelf_getshdr(scn, &s))
		return false;
	s.sh_offset = at;
	return gelf_update_shdr(scn, &s);
}

static bool write_headers(Elf *elf, const struct loads *l, size_t notes_len,
			  uint64_t *note_at, uint64_t *data_at)
{
	size_t count = l->n + 1;
	bool many = count >= PN_XNUM;
	GElf_Ehdr h;
	uint64_t at;

	if (!gelf_newehdr(elf, ELFCLASS64) || (many && !elf_newscn(elf)) ||
	    !gelf_newphdr(elf, count) || !gelf_getehdr(elf, &h))
		return false;
	h.e_ident[EI_DATA] = ELFDATA2LSB;
	h.e_type = ET_CORE;
	h.e_machine = EM_X86_64;
	h.e_version = EV_CURRENT;
	h.e_phoff = sizeof(Elf64_Ehdr);
	h.e_ehsize = sizeof(Elf64_Ehdr);
	h.e_phentsize = sizeof(Elf64_Phdr);
	h.e_phnum = many ? PN_XNUM : (GElf_Half)count;
	at = sizeof(Elf64_Ehdr) + count * sizeof(Elf64_Phdr);
	if (many) {
		if (!add_section(elf, &h, at))
			return false;
		at += 2 * sizeof(Elf64_Shdr);
	}
	if (!gelf_update_ehdr(elf, &h))
		return false;
	at = *note_at = (at + 63) & ~63ull;
	GElf_Phdr p = { .p_type = PT_NOTE, .p_offset = at, .p_filesz = notes_len,
			.p_align = 4 };
	if (!gelf_update_phdr(elf, 0, &p))
		return false;
	at = *data_at = (at + notes_len + PAGE - 1) & ~(PAGE - 1);
	for (size_t i = 0; i < l->n; i++) {
		p = (GElf_Phdr){ .p_type = PT_LOAD, .p_flags = PF_R | PF_W | PF_X,
			.p_offset = at, .p_paddr = l->v[i].gpa,
			.p_filesz = l->v[i].filesz, .p_memsz = l->v[i].memsz,
			.p_align = PAGE };
		if (!gelf_update_phdr(elf, (int)i + 1, &p))
			return false;
		at += l->v[i].filesz;
	}
	elf_flagelf(elf, ELF_C_SET, ELF_F_LAYOUT);
	return elf_update(elf, ELF_C_WRITE) >= 0;
}

static enum nst_status write_elf(const struct snapshot *s, int fd,
				 struct loads *l, struct bytes *notes,
				 struct nst_error *e)
{
	struct note_sink sink = { put_note, notes };
	enum nst_status st = NST_OK;
	uint64_t note_at = 0, at = 0;
	Elf *elf;
	bool good = snapshot_put_notes(s, &sink);

	good = good && split(l, s);
	if (!good)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	elf_version(EV_CURRENT);
	elf = elf_begin(fd, ELF_C_WRITE, NULL);
	good = elf && write_headers(elf, l, notes->len, &note_at, &at);
	if (!good)
		st = nst_fail(e, NST_SYSTEM, "libelf: %s", elf_errmsg(-1));
	if (elf)
		elf_end(elf);
	if (!st)
		st = outfile_pwrite(fd, notes->data, notes->len, note_at, e);
	for (size_t i = 0; !st && i < l->n; i++) {
		st = outfile_pwrite(fd, l->v[i].host, l->v[i].filesz, at, e);
		at += l->v[i].filesz;
	}
	return st;
}

static enum nst_status write_to(const struct snapshot *s, int fd,
				struct nst_error *e)
{
	struct loads l = { 0 };
	struct bytes notes = { 0 };
	enum nst_status st = write_elf(s, fd, &l, &notes, e);

	free(l.v);
	free(notes.data);
	return st;
}

static enum nst_status write_gzip(const struct snapshot *s, int out,
				  struct nst_error *e)
{
	int fd = outfile_spool(e);
	struct source *src;
	enum nst_status st;

	if (fd < 0)
		return NST_SYSTEM;
	st = write_to(s, fd, e);
	if (st) {
		close(fd);
		return st;
	}
	st = source_from_fd(fd, &src, e);
	if (st)
		return st;
	st = codec_encode_from(codec_by_name("gzip"), src, source_size(src), out,
			       e);
	source_close(src);
	return st;
}

enum nst_status snapshot_write(const struct snapshot *s, const char *path,
			       bool force, struct nst_error *e)
{
	size_t len = strlen(path);
	bool gz = len > 3 && !strcmp(path + len - 3, ".gz");
	struct outfile o;
	enum nst_status st = outfile_open(&o, path, force, NULL, e);

	if (st)
		return st;
	st = gz ? write_gzip(s, o.fd, e) : write_to(s, o.fd, e);
	return outfile_close(&o, st, e);
}
