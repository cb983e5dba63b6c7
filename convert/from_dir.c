/* from_dir.c: gathers a directory of raw KVM structs into a snapshot. */
#include "convert/from_dir.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "convert/snapshot.h"
#include "convert/source.h"

#define MAX_VCPUS 4096u
#define MAX_RAM 64u

static const struct { const char *name; uint32_t type; bool vm; } names[] = {
	{ "regs", SN_REGS, false }, { "sregs", SN_SREGS, false },
	{ "sregs2", SN_SREGS2, false }, { "msrs", SN_MSRS, false },
	{ "xsave", SN_XSAVE, false }, { "xcrs", SN_XCRS, false },
	{ "vcpu_events", SN_EVENTS, false },
	{ "debugregs", SN_DEBUGREGS, false },
	{ "mp_state", SN_MP_STATE, false }, { "lapic_state", SN_LAPIC, false },
	{ "cpuid2", SN_CPUID, false }, { "nested_state", SN_NESTED, false },
	{ "tsc_khz", SN_TSC_KHZ, false }, { "irqchip0", SN_IRQCHIP, true },
	{ "irqchip1", SN_IRQCHIP, true }, { "irqchip2", SN_IRQCHIP, true },
	{ "pit_state2", SN_PIT, true }, { "clock_data", SN_CLOCK, true },
	{ "origin", SN_ORIGIN, true },
};

struct ram_file { uint64_t gpa, size; char *path; };
struct gather {
	struct snapshot *s;
	struct ram_file ram[MAX_RAM];
	uint32_t nram, found;
};

/* DIR/NAME or DIR/NAME.bin; NULL: neither is there. */
static char *file_of(const char *dir, const char *name)
{
	static const char *const ends[] = { "", ".bin" };

	for (int i = 0; i < 2; i++) {
		struct stat st;
		char *path;

		if (asprintf(&path, "%s/%s%s", dir, name, ends[i]) < 0)
			return NULL;
		if (!stat(path, &st) && S_ISREG(st.st_mode))
			return path;
		free(path);
	}
	return NULL;
}

static enum nst_status take(struct gather *g, const char *path, uint32_t type,
			    uint32_t vcpu, struct nst_error *e)
{
	struct source *src;
	enum nst_status st = source_open(path, &src, e);
	uint64_t size;

	if (st)
		return st;
	size = source_size(src);
	if (size > 64u << 20 || snapshot_take_note(g->s, type, vcpu,
		source_at(src, 0, size), (uint32_t)size) <= 0)
		st = nst_fail(e, NST_BAD_INPUT, "%s: %llu bytes are not the size "
			      "of that struct", path, (unsigned long long)size);
	source_close(src);
	g->found++;
	return st;
}

static enum nst_status take_all(struct gather *g, const char *dir, uint32_t vcpu,
				bool vm, struct nst_error *e)
{
	enum nst_status st = NST_OK;

	for (size_t i = 0; !st && i < sizeof names / sizeof *names; i++) {
		char *path = vm || !names[i].vm ? file_of(dir, names[i].name) :
			NULL;
		if (path)
			st = take(g, path, names[i].type, vcpu, e);
		free(path);
	}
	return st;
}

/* -- RAM ----------------------------------------------------------------------- */

static bool ram_name(const char *name, uint64_t *gpa)
{
	char *end;

	*gpa = 0;
	if (!strcmp(name, "ram") || !strcmp(name, "ram.bin"))
		return true;
	if (strncmp(name, "ram-", 4))
		return false;
	errno = 0;
	*gpa = strtoull(name + 4, &end, 0);
	return !errno && end != name + 4 && (!*end || !strcmp(end, ".bin"));
}

static int by_gpa(const void *a, const void *b)
{
	const struct ram_file *x = a, *y = b;

	return x->gpa < y->gpa ? -1 : x->gpa > y->gpa;
}

static enum nst_status list_ram(struct gather *g, const char *dir, uint32_t *vcpus,
				struct nst_error *e)
{
	DIR *d = opendir(dir);
	struct dirent *f;
	enum nst_status st = NST_OK;

	if (!d)
		return nst_fail(e, NST_SYSTEM, "cannot open: %s", strerror(errno));
	while (!st && (f = readdir(d))) {
		struct ram_file *r = &g->ram[g->nram];
		unsigned n;
		struct stat sb;

		if (sscanf(f->d_name, "vcpu%u", &n) == 1 && n < MAX_VCPUS &&
		    n >= *vcpus)
			*vcpus = n + 1;
		if (g->nram == MAX_RAM || !ram_name(f->d_name, &r->gpa))
			continue;
		if (asprintf(&r->path, "%s/%s", dir, f->d_name) < 0)
			st = nst_fail(e, NST_SYSTEM, "out of memory");
		else if (g->nram++, stat(r->path, &sb))
			st = nst_fail(e, NST_SYSTEM, "%s: %s", r->path,
				      strerror(errno));
		else if (r->gpa & 4095)
			st = nst_fail(e, NST_BAD_INPUT, "%s: its address is not "
				      "page-aligned", f->d_name);
		else
			r->size = ((uint64_t)sb.st_size + 4095) & ~4095ull;
	}
	closedir(d);
	if (g->nram)
		qsort(g->ram, g->nram, sizeof *g->ram, by_gpa);
	return st;
}

static enum nst_status copy_ram(struct gather *g, const struct ram_file *r,
				struct nst_error *e)
{
	struct source *src;
	enum nst_status st = source_open_raw(r->path, &src, e);
	uint64_t size;
	uint8_t *to;

	if (st)
		return st;
	size = source_size(src);
	to = size <= r->size ? snapshot_ram_at(g->s, r->gpa, size ? size : 1) :
		NULL;
	if (!to)
		st = nst_fail(e, NST_SYSTEM, "%s changed while it was read",
			      r->path);
	else
		memcpy(to, source_at(src, 0, size), size);
	source_close(src);
	return st;
}

static enum nst_status take_ram(struct gather *g, struct nst_error *e)
{
	struct ram_plan plan[MAX_RAM];
	enum nst_status st = NST_OK;

	for (uint32_t i = 0; i < g->nram; i++) {
		plan[i] = (struct ram_plan){ g->ram[i].gpa, g->ram[i].size };
		if (i && plan[i].gpa < plan[i - 1].gpa + plan[i - 1].size)
			return nst_fail(e, NST_BAD_INPUT, "%s and %s overlap",
					g->ram[i - 1].path, g->ram[i].path);
	}
	if (g->nram && !snapshot_make_ram(g->s, plan, g->nram))
		return nst_fail(e, NST_SYSTEM, "cannot reserve memory for RAM");
	for (uint32_t i = 0; !st && i < g->nram; i++)
		if (g->ram[i].size)
			st = copy_ram(g, &g->ram[i], e);
	return st;
}

/* -- all of it ----------------------------------------------------------------- */

static enum nst_status gather(struct gather *g, const char *dir,
			      struct nst_error *e)
{
	uint32_t vcpus = 1;
	enum nst_status st = list_ram(g, dir, &vcpus, e);

	if (st)
		return st;
	g->s = snapshot_new(vcpus);
	if (!g->s)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	st = take_all(g, dir, 0, true, e);
	for (uint32_t i = 0; !st && i < vcpus; i++) {
		char *sub;

		if (asprintf(&sub, "%s/vcpu%u", dir, i) < 0)
			return nst_fail(e, NST_SYSTEM, "out of memory");
		st = take_all(g, sub, i, false, e);
		free(sub);
	}
	if (!st && !g->found && !g->nram)
		st = nst_fail(e, NST_BAD_INPUT, "holds no file named as one of "
			      "KVM's structs (regs, sregs, nested_state, ram, "
			      "...)");
	return st ? st : take_ram(g, e);
}

enum nst_status snapshot_from_dir(const char *dir, struct snapshot **out,
				  struct nst_error *e)
{
	struct gather *g = calloc(1, sizeof *g);
	enum nst_status st = g ? gather(g, dir, e) :
		nst_fail(e, NST_SYSTEM, "out of memory");

	for (uint32_t i = 0; g && i < g->nram; i++)
		free(g->ram[i].path);
	if (!st)
		*out = g->s;
	else if (g)
		snapshot_free(g->s);
	free(g);
	return st;
}
