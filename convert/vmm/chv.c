/* chv.c: the reader of cloud-hypervisor's state.json.  Each vCPU's state is JSON
 * within a string within JSON; the nested state in it is a list of numbers.
 * Guest RAM is the file memory-ranges beside it, which is read, not changed. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "convert/bytes.h"
#include "convert/readers.h"
#include "convert/snapshot.h"
#include "convert/source.h"
#include "convert/vmm/bytearray.h"

static const char key[] = "\\\"nested_state\\\":[";

struct range { uint64_t gpa, size, at; };
struct chv {
	struct byte_lists lists;
	json_t *root;
	struct source *ram;
	struct range *range;
	uint32_t nranges;
};

static int probe(const uint8_t *head, size_t len, uint64_t size)
{
	(void)size;
	return len > 16 && head[0] == '{' &&
		memmem(head, len < 256 ? len : 256, "\"snapshots\"", 11) ? 80 : 0;
}

static json_t *path(json_t *j, const char *a, const char *b, const char *c)
{
	j = json_object_get(j, a);
	j = b ? json_object_get(j, b) : j;
	return c ? json_object_get(j, c) : j;
}

/* The JSON in a component's "state" string; to be freed. */
static json_t *inner(const json_t *component)
{
	const char *s = json_string_value(path((json_t *)(uintptr_t)component,
					       "snapshot_data", "state", NULL));

	return s ? json_loads(s, 0, NULL) : NULL;
}

/* A list of bytes; NULL where it is none. */
static uint8_t *bytes(const json_t *list, uint32_t *n)
{
	size_t len = json_array_size(list), i;
	const json_t *v;
	uint8_t *p;

	*n = 0;
	if (!len || len > BA_MOST || !(p = malloc(len)))
		return NULL;
	json_array_foreach(list, i, v) {
		json_int_t x = json_integer_value(v);
		if (!json_is_integer(v) || x < 0 || x > 255) {
			free(p);
			return NULL;
		}
		p[i] = (uint8_t)x;
	}
	*n = (uint32_t)len;
	return p;
}

static uint8_t *encode(const uint8_t *b, uint32_t n, size_t *len)
{
	char *text = malloc(4 * (size_t)n + 2), *p = text;

	if (!text)
		return NULL;
	*p++ = '[';
	for (uint32_t i = 0; i < n; i++)
		p += sprintf(p, "%s%u", i ? "," : "", b[i]);
	*p++ = ']';
	*len = (size_t)(p - text);
	return (uint8_t *)text;
}

/* The list's place in the file, from *at on; it must say what data says. */
static bool locate(struct container *c, struct chv *v, uint64_t *at,
		   const uint8_t *data, uint32_t n)
{
	uint64_t size = source_size(c->src), from;
	const uint8_t *file = source_at(c->src, 0, size);
	const uint8_t *hit = memmem(file + *at, size - *at, key, sizeof key - 1);
	uint64_t i;

	if (!hit)
		return false;
	from = (uint64_t)(hit - file) + sizeof key - 2;
	i = from + 1;
	for (uint32_t k = 0; k < n; k++) {
		unsigned x = 0, digits = 0;
		for (; i < size && file[i] >= '0' && file[i] <= '9' && digits < 4;
		     i++, digits++)
			x = x * 10 + file[i] - '0';
		if (!digits || x != data[k] || i == size ||
		    file[i++] != (k + 1 < n ? ',' : ']'))
			return false;
	}
	*at = i;
	return byte_lists_add(&v->lists, from, i);
}

static enum nst_status one_vcpu(struct container *c, struct chv *v, int id,
				const json_t *component, uint64_t *at,
				struct nst_error *e)
{
	json_t *in = inner(component), *kvm = json_object_get(in, "Kvm");
	uint32_t n, nregs, nsregs;
	uint8_t *data = bytes(json_object_get(kvm, "nested_state"), &n);
	uint8_t *regs = bytes(json_object_get(kvm, "regs"), &nregs);
	uint8_t *sregs = bytes(json_object_get(kvm, "sregs"), &nsregs);
	enum nst_status st = NST_OK;

	if (!kvm)
		st = nst_fail(e, NST_BAD_INPUT, "vCPU %d has no KVM state", id);
	else if (data && !nested_plausible(data, n))
		st = nst_fail(e, NST_BAD_INPUT, "vCPU %d: its nested_state is "
			      "none", id);
	else if (data && !locate(c, v, at, data, n))
		st = nst_fail(e, NST_BAD_INPUT, "vCPU %d: its nested_state is not "
			      "found in the text as a plain list", id);
	else if (data && !container_add_state(c, id, data, n, ~0ull))
		st = nst_fail(e, NST_SYSTEM, "out of memory");
	if (!st)
		fill_container_vcpu(&c->vcpus[id], regs, nregs, sregs, nsregs);
	free(data);
	free(regs);
	free(sregs);
	json_decref(in);
	return st;
}

static enum nst_status vcpus(struct container *c, struct chv *v,
			     struct nst_error *e)
{
	json_t *cpus = path(v->root, "snapshots", "cpu-manager", "snapshots");
	enum nst_status st = NST_OK;
	uint64_t at = 0;
	const char *name;
	json_t *one;

	if (!json_is_object(cpus))
		return nst_fail(e, NST_BAD_INPUT, "JSON without a cpu-manager: "
				"not cloud-hypervisor's state.json");
	json_object_foreach(cpus, name, one) {
		char *end;
		unsigned long id = strtoul(name, &end, 10);

		if (*end || end == name || id > 4095)
			return nst_fail(e, NST_BAD_INPUT, "a vCPU of impossible "
					"number");
		if (!container_set_vcpus(c, (uint32_t)id + 1))
			return nst_fail(e, NST_SYSTEM, "out of memory");
		st = one_vcpu(c, v, (int)id, one, &at, e);
		if (st)
			break;
	}
	return st;
}

/* memory-ranges beside the file; without it there is no RAM to scan. */
static enum nst_status ram(struct container *c, struct chv *v,
			   struct nst_error *e)
{
	const char *slash = strrchr(c->path, '/');
	int dir = slash ? (int)(slash - c->path) + 1 : 0;
	json_t *in = inner(path(v->root, "snapshots", "memory-manager", NULL));
	json_t *list = path(in, "memory_ranges", "data", NULL), *r;
	size_t n = json_array_size(list), i;
	uint64_t at = 0;
	char *name = NULL;
	bool good = n > 0 && n < 65536 &&
		asprintf(&name, "%.*smemory-ranges", dir, c->path) > 0 &&
		!source_open_raw(name, &v->ram, NULL);

	free(name);
	v->range = good ? calloc(n, sizeof *v->range) : NULL;
	json_array_foreach(list, i, r) {
		uint64_t gpa = (uint64_t)json_integer_value(
			json_object_get(r, "gpa"));
		uint64_t size = (uint64_t)json_integer_value(
			json_object_get(r, "length"));

		if (!v->range)
			break;
		if ((gpa | size) & 4095 || size > source_size(v->ram) - at) {
			json_decref(in);
			return nst_fail(e, NST_BAD_INPUT, "memory-ranges beside "
					"it is cut or of another VM");
		}
		v->range[v->nranges++] = (struct range){ gpa, size, at };
		at += size;
		if (!container_add_ram(c, gpa, size))
			break;
	}
	json_decref(in);
	return NST_OK;
}

static enum nst_status open_chv(struct container *c, struct nst_error *e)
{
	struct chv *v = calloc(1, sizeof *v);
	uint64_t size = source_size(c->src);
	json_error_t je;
	enum nst_status st;

	if (!v)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	c->priv = v;
	v->lists.encode = encode;
	v->root = json_loadb((const char *)source_at(c->src, 0, size), size, 0,
			     &je);
	if (!v->root)
		return nst_fail(e, NST_BAD_INPUT, "JSON is damaged or cut at byte "
				"%d: %s", je.position, je.text);
	st = vcpus(c, v, e);
	if (!st && strcmp(c->path, "-"))
		st = ram(c, v, e);
	if (!st)
		snprintf(c->note, sizeof c->note, "%s", v->ram ?
			 "RAM from memory-ranges beside it" :
			 "its RAM is another file (memory-ranges)");
	return st;
}

static int walk(struct container *c, container_run_fn *fn, void *arg,
		struct nst_error *e)
{
	struct chv *v = c->priv;
	int rc = 0;

	(void)e;
	for (uint32_t i = 0; !rc && i < v->nranges; i++) {
		const struct range *r = &v->range[i];
		for (uint64_t o = 0; !rc && o < r->size; o += 4 << 20) {
			uint64_t n = r->size - o < 4 << 20 ? r->size - o :
				4 << 20;
			struct container_run run = { r->gpa + o,
				source_at(v->ram, r->at + o, n), n, ~0ull };
			rc = fn(arg, &run);
			source_release(v->ram, r->at + o, n);
		}
	}
	return rc;
}

static enum nst_status rewrite(struct container *c, int fd,
			       const struct container_patch *p, size_t n,
			       struct nst_error *e)
{
	struct chv *v = c->priv;

	for (size_t i = 0; i < n; i++)
		if (p[i].kind == PATCH_RAM)
			return nst_fail(e, NST_BAD_INPUT, "page 0x%llx stands in "
					"memory-ranges, another file: convert "
					"this one with --only-current, and "
					"memory-ranges by itself with --base",
					(unsigned long long)p[i].gpa);
	return byte_lists_rewrite(c, &v->lists, fd, p, n, e);
}

/* The structs that KVM's ioctls fill stand as lists of bytes, each under its own
 * name; what has another form or size is left out. */
static void take_structs(struct snapshot *s, uint32_t id, const json_t *kvm)
{
	static const struct { const char *name; uint32_t type; } take[] = {
		{ "regs", SN_REGS }, { "sregs", SN_SREGS },
		{ "xsave", SN_XSAVE }, { "xcrs", SN_XCRS },
		{ "vcpu_events", SN_EVENTS }, { "debug_regs", SN_DEBUGREGS },
		{ "mp_state", SN_MP_STATE }, { "lapic_state", SN_LAPIC },
		{ "nested_state", SN_NESTED },
	};

	for (size_t i = 0; i < sizeof take / sizeof *take; i++) {
		uint32_t n;
		uint8_t *p = bytes(json_object_get(kvm, take[i].name), &n);

		if (p)
			snapshot_take_note(s, take[i].type, id, p, n);
		free(p);
	}
}

static enum nst_status load(struct container *c, struct snapshot *s,
			    struct nst_error *e)
{
	struct chv *v = c->priv;
	const char *name;
	json_t *one;

	json_object_foreach(path(v->root, "snapshots", "cpu-manager",
				 "snapshots"), name, one) {
		uint32_t id = (uint32_t)strtoul(name, NULL, 10);
		json_t *in = inner(one);

		take_structs(s, id, json_object_get(in, "Kvm"));
		json_decref(in);
		if (!snapshot_has(&s->vcpu[id], SN_REGS) ||
		    !snapshot_has(&s->vcpu[id], SN_SREGS))
			return nst_fail(e, NST_BAD_INPUT, "vCPU %u has no "
					"registers in a form that is known", id);
	}
	return NST_OK;
}

static void close_chv(struct container *c)
{
	struct chv *v = c->priv;

	if (!v)
		return;
	json_decref(v->root);
	source_close(v->ram);
	free(v->range);
	free(v->lists.v);
	free(v);
}

const struct container_ops reader_chv = {
	.kind = "cloud-hypervisor snapshot", .probe = probe, .open = open_chv,
	.walk = walk, .load = load, .place = byte_lists_place,
	.rewrite = rewrite, .close = close_chv,
};
