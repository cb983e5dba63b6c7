/* run_snapshot.c: when to stop for a snapshot, and the VM as one. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/run.h"
#include "convert/snapshot.h"

bool run_moment_parse(struct run_moment *m, const char *text)
{
	char port[32];
	uint64_t v;
	size_t len;

	if (!strcmp(text, "end")) {
		m->end = true;
		return true;
	}
	if (!strncmp(text, "insns=", 6))
		return parse_number(text + 6, &m->insns);
	if (!strncmp(text, "exits=", 6))
		return parse_number(text + 6, &m->exits);
	if (strncmp(text, "port=", 5))
		return false;
	text += 5;
	len = strcspn(text, ":");
	if (len >= sizeof port)
		return false;
	memcpy(port, text, len);
	port[len] = 0;
	m->port_count = 1;
	if (!parse_number(port, &v) || v > 0xffff ||
	    (text[len] && !parse_number(text + len + 1, &m->port_count)))
		return false;
	m->port = (int)v;
	return m->port_count;
}

bool run_moment_port(struct run_moment *m, uint16_t port)
{
	return m->port == port && m->port_count && !--m->port_count;
}

static bool add_ram(struct snapshot *s, const struct guest_ram *ram)
{
	s->ram = calloc(2, sizeof *s->ram);
	if (!s->ram)
		return false;
	s->ram[s->nram++] = (struct snapshot_ram){ 0, ram->low, ram->host };
	if (ram->high)
		s->ram[s->nram++] = (struct snapshot_ram){ 1ull << 32,
			ram->high, ram->host + ram->low };
	return true;
}

struct snapshot *run_new_snapshot(unsigned vcpus, const struct guest_ram *ram)
{
	struct snapshot *s = snapshot_new(vcpus);

	if (!s || !add_ram(s, ram)) {
		snapshot_free(s);
		return NULL;
	}
	s->origin = strdup("writer=nstate " NSTATE_VERSION "\n");
	return s;
}

enum nst_status run_take_snapshot(struct vm *vm, const struct guest_ram *ram,
				  struct snapshot **out, struct nst_error *e)
{
	struct snapshot *s = run_new_snapshot(hv_nvcpus(vm), ram);
	enum nst_status st = NST_OK;

	if (!s)
		return nst_fail(e, NST_SYSTEM, "out of memory");
	for (unsigned i = 0; !st && i < s->nvcpus; i++)
		st = hv_vcpu_save(hv_vcpu(vm, i), &s->vcpu[i], e);
	if (!st)
		st = hv_vm_save(vm, s, e);
	if (st)
		snapshot_free(s);
	else
		*out = s;
	return st;
}
