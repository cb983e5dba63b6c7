/* report.c: what resume says at the end. */
#include <inttypes.h>

#include "cli/resume/session.h"

void session_describe_stop(const struct session *s, char *buf, size_t len)
{
	if (s->reached)
		snprintf(buf, len, "reached %s", s->reached->text);
	else
		snprintf(buf, len, "%s", s->stop.text);
}

static void put(FILE *f, const char *name, uint64_t v)
{
	fprintf(f, "  %-28s %12" PRIu64 "\n", name, v);
}

void session_report(const struct session *s, FILE *f)
{
	const struct hv_stats *t = s->ops->stats(s->g);
	char stop[300];

	session_describe_stop(s, stop, sizeof stop);
	fprintf(f, "stopped: %s\n", stop);
	fprintf(f, "  vcpu %u in L%d at 0x%" PRIx64 "\n", s->stop.vcpu,
		s->stop.level, s->stop.rip);
	fprintf(f, "instructions\n");
	put(f, "L1", t->insns[1]);
	put(f, "L2", t->insns[2]);
	fprintf(f, "VM entries\n");
	put(f, "successful", t->entries);
	put(f, "failed", t->entry_failures);
	put(f, "events injected", t->injected);
	fprintf(f, "VM exits to L1\n");
	for (unsigned r = 0; r < 128; r++) {
		char name[64];
		const char *n = vmx_exit_reason_name(r);
		if (!t->exits[r])
			continue;
		snprintf(name, sizeof name, "%u %s", r, n ? n : "");
		put(f, name, t->exits[r]);
	}
	for (unsigned r = 0; r < 128; r++) {
		char name[80];
		const char *n = vmx_exit_reason_name(r);
		if (!t->builtin[r])
			continue;
		snprintf(name, sizeof name, "%u %s (built-in L1)", r, n ? n : "");
		put(f, name, t->builtin[r]);
	}
	fprintf(f, "VMX features\n");
	put(f, "VMREAD shadowed", t->vmread_shadowed);
	put(f, "VMREAD reflected to L1", t->exits[23]);
	put(f, "VMWRITE shadowed", t->vmwrite_shadowed);
	put(f, "VMWRITE reflected to L1", t->exits[25]);
	put(f, "PML entries logged", t->pml_entries);
	put(f, "PML full", t->pml_fulls);
	put(f, "EPTP switches", t->eptp_switches);
}
