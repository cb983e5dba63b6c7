/* report.c: what resume says at the end. */
#include <inttypes.h>
#include <string.h>

#include "cli/resume/session.h"

/* For stops that have no text of their own. */
static const char *const reasons[] = {
	[HV_STOP_INSNS] = "the instruction limit", [HV_STOP_EXITS] = "the exit limit",
	[HV_STOP_REQUEST] = "interrupted", [HV_STOP_IDLE] = "every vCPU is halted",
	[HV_STOP_SHUTDOWN] = "shutdown", [HV_STOP_DEBUG_EXIT] = "debug-exit port",
	[HV_STOP_UNKNOWN] = "unknown instruction",
	[HV_STOP_UNSUPPORTED] = "not supported",
};

void session_take_result(struct session *s)
{
	struct session_result *r = &s->result;
	struct vm *vm = s->ops->core(s->g);

	memset(r, 0, sizeof *r);
	r->stop = s->stop;
	r->reached = s->reached ? (int32_t)(s->reached - s->until) : -1;
	r->stats = *s->ops->stats(s->g);
	if (!vm) {
		r->nplaces = 1;
		r->place[0].level = s->stop.level;
		r->place[0].rip = s->stop.rip;
	}
	for (unsigned i = 0; vm && i < hv_nvcpus(vm) && i < SESSION_PLACES; i++) {
		r->nplaces = i + 1;
		r->place[i].level = hv_level(hv_vcpu(vm, i));
		r->place[i].rip = hv_linear_rip(hv_vcpu(vm, i));
	}
}

/* It may come from a process that a guest took over. */
bool session_result_is_sane(const struct session *s)
{
	const struct session_result *r = &s->result;

	return r->nplaces <= SESSION_PLACES && r->reached >= -1 &&
	       r->reached < (int32_t)s->nuntil &&
	       (unsigned)r->stop.reason < sizeof reasons / sizeof *reasons &&
	       memchr(r->stop.text, 0, sizeof r->stop.text);
}

static void describe_stop(const struct session *s, char *buf, size_t len)
{
	const struct session_result *r = &s->result;

	if (r->reached >= 0)
		snprintf(buf, len, "reached %s", s->until[r->reached].text);
	else
		snprintf(buf, len, "%s", *r->stop.text ? r->stop.text :
			 reasons[r->stop.reason]);
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
	const struct session_result *r = &s->result;
	char text[300];

	describe_stop(s, text, sizeof text);
	out_str(o, "stopped", NULL, "%s", text);
	out_text(o, "stopped: %s\n", text);
	out_u64(o, "stopped_vcpu", NULL, r->stop.vcpu);
	out_list(o, "vcpus");
	for (unsigned i = 0; i < r->nplaces; i++)
		put_place(o, i, r->place[i].level, r->place[i].rip);
	out_list_end(o);
}

void session_report(const struct session *s, struct out *o)
{
	const struct hv_stats *t = &s->result.stats;

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
