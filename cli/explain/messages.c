/* messages.c: lines that tell a whole story by themselves: tracepoints, messages of
 * QEMU, libvirt and KVM, and bare numbers. */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/explain/explain.h"
#include "layouts/decode.h"

#define ENTRY_FAILED 0x80000000u

static const struct trace_row { const char *ids, *words, *note; } traces[] = {
#define T(ids, words, note) { ids, words, note },
#include "cli/explain/trace.def"
#undef T
};

static const struct message { const char *key, *ids, *meaning, *todo; }
	messages[] = {
#define M(key, ids, meaning, todo) { key, ids, meaning, todo },
#include "cli/explain/messages.def"
#undef M
};

static void print_rule(const struct rule *r, struct out *out)
{
	out_begin(out, NULL);
	out_str(out, "rule", NULL, "%s", r->id);
	out_str(out, "must", NULL, "%s", r->sentence);
	out_str(out, "where", NULL, "%s", r->where);
	if (r->field >= 0)
		out_str(out, "field", NULL, "%s", vmcs_fields[r->field].name);
	if (r->remedy)
		out_str(out, "remedy", NULL, "%s", r->remedy);
	out_end(out);
	out_text(out, "    %s%s%s (%s, rule %s)\n", r->field >= 0 ?
		 vmcs_fields[r->field].name : "", r->field >= 0 ? ": " : "",
		 r->sentence, r->where, r->id);
	if (r->remedy)
		out_text(out, "    what to do: %s\n", r->remedy);
}

void explain_rules(const char *ids, struct out *out)
{
	char id[64];
	struct rule r;
	int n;

	out_list(out, "broken");
	for (; sscanf(ids, "%63s%n", id, &n) == 1; ids += n)
		if (rule_find(id, &r))
			print_rule(&r, out);
	out_list_end(out);
}

/* -- the tracepoint ------------------------------------------------------------------- */
static bool all_words(const char *text, const char *words)
{
	char word[64];
	int n;

	for (; sscanf(words, "%63s%n", word, &n) == 1; words += n)
		if (!strstr(text, word))
			return false;
	return true;
}

/* Does the text name this member of the vmcs12, as a word? */
static bool names_member(const char *text, const char *name)
{
	size_t size = strlen(name);

	for (const char *at = text; (at = strstr(at, name)); at += size)
		if ((at == text || at[-1] == '>' || at[-1] == ' ') &&
		    !isalnum((unsigned char)at[size]) && at[size] != '_')
			return true;
	return false;
}

/* Rules about the vmcs12 fields that an expression names, for checks that are
 * younger than trace.def. */
static void by_fields(const char *text, char *ids, size_t len)
{
	struct text t = { ids, len, 0 };
	struct rule r;

	*ids = 0;
	for (unsigned n = 0; rule_at(n, &r); n++)
		if (r.field >= 0 && vmcs_fields[r.field].kernel_name &&
		    names_member(text, vmcs_fields[r.field].kernel_name))
			text_add(&t, " ", "%s", r.id);
}

static void trace_rules(const char *expression, struct out *out)
{
	const struct trace_row *row = NULL;
	char ids[1000];

	for (size_t i = 0; !row && i < sizeof traces / sizeof *traces; i++)
		if (all_words(expression, traces[i].words))
			row = &traces[i];
	if (row) {
		if (row->note) {
			out_str(out, "meaning", NULL, "%s", row->note);
			out_text(out, "  %s\n", row->note);
		}
		explain_rules(row->ids, out);
		return;
	}
	by_fields(expression, ids, sizeof ids);
	if (!*ids)
		out_text(out, "  no rule here is about this expression: it is "
			 "KVM's text of the check that failed\n");
	explain_rules(ids, out);
}

bool explain_trace(const char *line, unsigned number, struct out *out)
{
	static const char name[] = "kvm_nested_vmenter_failed:";
	const char *at = strstr(line, name);

	if (!at)
		return false;
	at += sizeof name - 1;
	while (isspace((unsigned char)*at))
		at++;
	out_begin(out, NULL);
	out_str(out, "kind", NULL, "trace");
	out_u64(out, "line", NULL, number);
	out_str(out, "text", NULL, "%s", at);
	out_text(out, "line %u: KVM refused L1's VM entry (or the restore) because "
		 "of this check: %s\n", number, at);
	trace_rules(at, out);
	out_end(out);
	return true;
}

/* -- numbers ------------------------------------------------------------------------- */
/* The ids of a group, for people who only have the number. */
static void list_group(unsigned group, struct out *out)
{
	struct rule r;

	out_list(out, "rules");
	out_text(out, "  The rules (nstate explain RULE prints one in full):\n");
	for (unsigned n = 0; rule_at(n, &r); n++)
		if (r.check && r.check->group == group) {
			out_str(out, NULL, NULL, "%s", r.id);
			out_text(out, "    %-24s %s\n", r.id, r.sentence);
		}
	out_list_end(out);
}

#define ADVICE "  Which one: nstate check FILE for a saved state; for a running VM, " \
	"dmesg's dump_vmcs() (kvm_intel.dump_invalid_vmcs=1), given to nstate explain.\n"

static void entry_exit(uint32_t number, bool rules, struct out *out)
{
	unsigned basic = number & 0xffff;
	const char *name = vmx_exit_reason_name(basic);

	out_str(out, "meaning", NULL, "VM-entry failure: %s",
		name ? name : "unknown reason");
	out_text(out, "0x%x: a VM entry failed after its controls and host state had "
		 "passed: %s (exit reason %u, bit 31 set)\n", number,
		 name ? name : "an unknown reason", basic);
	if (basic == 33) {
		out_text(out, "  The guest state in the VMCS breaks a rule.  "
			 "Qualification 2: the PDPTEs; 3: an NMI while blocked; "
			 "4: the VMCS link pointer; else 0.\n" ADVICE);
		if (rules)
			list_group(CHECK_GUEST, out);
	} else if (basic == 34) {
		out_text(out, "  An entry of the VM-entry MSR-load area cannot be "
			 "loaded; the exit qualification is its number, from 1.  "
			 "The index is wrong (FS or GS base, x2APIC), bits 63:32 "
			 "are not 0, or WRMSR of the value would fault.\n");
	} else if (basic == 41) {
		out_text(out, "  A machine check came during the entry: the "
			 "hardware's log (mcelog, rasdaemon) has the cause.\n");
	}
}

void explain_entry_error(uint32_t number, bool rules, struct out *out)
{
	const char *name = vmx_insn_error_name(number);

	out_hex(out, "number", NULL, number);
	if (number & ENTRY_FAILED) {
		entry_exit(number, rules, out);
		return;
	}
	out_str(out, "meaning", NULL, "VM-instruction error: %s",
		name ? name : "unknown");
	out_text(out, "0x%x: VM-instruction error %u: %s\n", number, number,
		 name ? name : "there is no such error");
	if (number != 7 && number != 8)
		return;
	out_text(out, "  VMLAUNCH or VMRESUME failed before any guest state was "
		 "looked at.\n" ADVICE);
	if (rules)
		list_group(number == 7 ? CHECK_CONTROLS : CHECK_HOST, out);
}

void explain_number(uint64_t number, struct out *out)
{
	const char *reason = vmx_exit_reason_name((unsigned)(number & 0xffff));

	if (number & ENTRY_FAILED || vmx_insn_error_name((unsigned)number))
		explain_entry_error((uint32_t)number, true, out);
	if (number & ENTRY_FAILED || !reason)
		return;
	out_str(out, "exit_reason", NULL, "%s", reason);
	out_text(out, "As an exit reason, %" PRIu64 " is: %s\n", number, reason);
}

/* -- messages ------------------------------------------------------------------------- */
static const char *const error_keys[] = {
	"hardware error ", "failed vm entry ", "hardware_entry_failure_reason ",
	"hardware reason ", "VM-instruction error ", "VM instruction error ",
	"unexpected exit reason ", "exit reason ",
};

uint32_t explain_find_error(const char *line)
{
	for (size_t i = 0; i < sizeof error_keys / sizeof *error_keys; i++) {
		const char *at = strstr(line, error_keys[i]);
		char *end;
		unsigned long v;

		if (!at)
			continue;
		at += strlen(error_keys[i]);
		while (*at == '=' || *at == ':' || *at == ' ')
			at++;
		/* KVM prints this one in hexadecimal without 0x. */
		v = strtoul(at, &end, i == 1 ? 16 : 0);
		if (end != at && v <= 0xffffffff)
			return (uint32_t)v;
	}
	return 0;
}

static void capability_msr(const char *line, struct out *out)
{
	unsigned index;
	unsigned long long value;
	const char *at = strstr(line, "MSR 0x");

	if (!at || sscanf(at, "MSR %x to %llx", &index, &value) != 2 ||
	    index < VMX_CAPS_FIRST || index >= VMX_CAPS_FIRST + VMX_CAPS_COUNT)
		return;
	out_text(out, "  MSR 0x%x is one of the VMX capability MSRs (0x480 to 0x493): "
		 "the guest's CPU promises 0x%llx, more than this host's KVM can do. "
		 " Compare with: nstate caps --host\n", index, value);
}

bool explain_message(const char *line, unsigned number, struct out *out)
{
	uint32_t error = explain_find_error(line);
	const struct message *m = NULL;

	for (size_t i = 0; !m && i < sizeof messages / sizeof *messages; i++)
		if (strstr(line, messages[i].key))
			m = &messages[i];
	if (!m && !error)
		return false;
	out_begin(out, NULL);
	out_str(out, "kind", NULL, "message");
	out_u64(out, "line", NULL, number);
	out_str(out, "text", NULL, "%s", line);
	if (m) {
		out_str(out, "meaning", NULL, "%s", m->meaning);
		out_str(out, "remedy", NULL, "%s", m->todo);
		out_text(out, "line %u: %s\n  what to do: %s\n", number, m->meaning,
			 m->todo);
		capability_msr(line, out);
		explain_rules(m->ids, out);
	} else {
		out_text(out, "line %u: ", number);
		explain_entry_error(error, false, out);
	}
	out_end(out);
	return true;
}
