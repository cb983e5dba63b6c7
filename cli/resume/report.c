/* report.c: what resume says at the end. */
#include <inttypes.h>

#include "cli/resume/session.h"

/* For stops that have no text of their own. */
static const char *const reasons[] = {
	[HV_STOP_INSNS] = "the instruction limit", [HV_STOP_EXITS] = "the exit limit",
	[HV_STOP_REQUEST] = "interrupted", [HV_STOP_IDLE] = "every vCPU is halted",
	[HV_STOP_SHUTDOWN] = "shutdown", [HV_STOP_DEBUG_EXIT] = "debug-exit port",
	[HV_STOP_UNKNOWN] = "unknown instruction",
	[HV_STOP_UNSUPPORTED] = "not supported",
};

void session_describe_stop(const struct session *s, char *buf, size_t len)
{
	if (s->reached)
		snprintf(buf, len, "reached %s", s->reached->text);
	else
		snprintf(buf, len, "%s", *s->stop.text ? s->stop.text :
			 reasons[s->stop.reason]);
}

static void put(struct out *o, const char *name, const char *label, uint64_t v)
{
	out_u64(o, name, NULL, v);
	out_text(o, "  %-28s %12" PRIu64 "\n", label, v);
}

/* One count for each basic exit reason that occurred. */
static void put_exits(struct out *o, const uint64_t count[128], const char *who)
{
	for (unsigned r = 0; r < 128; r++) {
		const char *name = vmx_exit_reason_name(r);
		char label[80];

		if (!count[r])
			continue;
		snprintf(label, sizeof label, "%u %s%s", r, name ? name : "?", who);
		out_begin(o, NULL);
		out_u64(o, "reason", NULL, r);
		out_str(o, "name", NULL, "%s", name ? name : "?");
		put(o, "count", label, count[r]);
		out_end(o);
	}
}

static void put_place(struct out *o, unsigned vcpu, int level, uint64_t rip)
{
	out_begin(o, NULL);
	out_u64(o, "vcpu", NULL, vcpu);
	out_u64(o, "level", NULL, (uint64_t)level);
	out_hex(o, "rip", NULL, rip);
	out_text(o, "  vcpu %u in L%d at 0x%" PRIx64 "\n", vcpu, level, rip);
	out_end(o);
}

static void put_stop(const struct session *s, struct out *o)
{
	struct vm *vm = s->ops->core(s->g);
	char text[300];

	session_describe_stop(s, text, sizeof text);
	out_str(o, "stopped", NULL, "%s", text);
	out_text(o, "stopped: %s\n", text);
	out_u64(o, "stopped_vcpu", NULL, s->stop.vcpu);
	out_list(o, "vcpus");
	if (!vm)
		put_place(o, s->stop.vcpu, s->stop.level, s->stop.rip);
	for (unsigned i = 0; vm && i < hv_nvcpus(vm); i++)
		put_place(o, i, hv_level(hv_vcpu(vm, i)),
			  hv_linear_rip(hv_vcpu(vm, i)));
	out_list_end(o);
}

void session_report(const struct session *s, struct out *o)
{
	const struct hv_stats *t = s->ops->stats(s->g);

	put_stop(s, o);
	out_text(o, "instructions\n");
	out_begin(o, "instructions");
	put(o, "l1", "L1", t->insns[1]);
	put(o, "l2", "L2", t->insns[2]);
	out_end(o);
	out_text(o, "VM entries\n");
	out_begin(o, "entries");
	put(o, "successful", "successful", t->entries);
	put(o, "failed", "failed", t->entry_failures);
	put(o, "events_injected", "events injected", t->injected);
	out_end(o);
	out_text(o, "VM exits to L1\n");
	out_list(o, "exits");
	put_exits(o, t->exits, "");
	out_list_end(o);
	out_list(o, "exits_builtin_l1");
	put_exits(o, t->builtin, " (built-in L1)");
	out_list_end(o);
	out_text(o, "VMX features\n");
	put(o, "vmread_shadowed", "VMREAD shadowed", t->vmread_shadowed);
	put(o, "vmread_reflected", "VMREAD reflected to L1", t->exits[23]);
	put(o, "vmwrite_shadowed", "VMWRITE shadowed", t->vmwrite_shadowed);
	put(o, "vmwrite_reflected", "VMWRITE reflected to L1", t->exits[25]);
	put(o, "pml_entries", "PML entries logged", t->pml_entries);
	put(o, "pml_fulls", "PML full", t->pml_fulls);
	put(o, "eptp_switches", "EPTP switches", t->eptp_switches);
}
