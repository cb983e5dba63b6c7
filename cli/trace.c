/* trace.c: see trace.h.  Standard output is the guest's, or the report's. */
#include "cli/trace.h"

#include <capstone/capstone.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "layouts/vmcs.h"

bool trace_parse(struct trace *t, const char *words)
{
	const struct { const char *name; bool *on; } known[] = {
		{ "insns", &t->insns }, { "exec", &t->insns },
		{ "events", &t->events }, { "int", &t->events },
		{ "io", &t->io }, { "exits", &t->exits }, { "exit", &t->exits },
		{ "pml", &t->pml },
	};
	size_t len, k, n = sizeof known / sizeof *known;

	for (const char *p = words; *p; p += len + (p[len] == ',')) {
		len = strcspn(p, ",");
		for (k = 0; k < n; k++)
			if (strlen(known[k].name) == len &&
			    !memcmp(known[k].name, p, len))
				break;
		if (k == n)
			return false;
		*known[k].on = true;
	}
	return *words;
}

/* Takes the object. */
static void put_json(json_t *o)
{
	if (o && !json_dumpf(o, stderr, JSON_COMPACT))
		fputc('\n', stderr);
	json_decref(o);
}

static json_t *hex(uint64_t v)
{
	char text[20];

	snprintf(text, sizeof text, "0x%" PRIx64, v);
	return json_string(text);
}

void trace_io(const struct trace *t, unsigned vcpu, bool write, uint16_t port,
	      unsigned size, uint64_t value)
{
	const char *what = write ? "out" : "in";

	if (!t->io)
		return;
	if (t->json)
		put_json(json_pack("{ss si so si so}", "event", what, "vcpu", vcpu,
				   "port", hex(port), "size", size, "value",
				   hex(value)));
	else
		fprintf(stderr, "%u: %s port 0x%x size %u value 0x%" PRIx64 "\n",
			vcpu, what, port, size, value);
}

void trace_exit(const struct trace *t, unsigned vcpu, uint32_t reason,
		uint64_t qualification)
{
	const char *name = vmx_exit_reason_name(reason & 0xffff);

	if (!t->exits)
		return;
	if (t->json)
		put_json(json_pack("{ss si si ss sb so}", "event", "exit", "vcpu",
				   vcpu, "reason", reason & 0xffff, "name",
				   name ? name : "?", "entry_failed",
				   (int)(reason >> 31), "qualification",
				   hex(qualification)));
	else
		fprintf(stderr, "%u: VM exit %u (%s)%s qualification 0x%" PRIx64
			"\n", vcpu, reason & 0xffff, name ? name : "?",
			reason >> 31 ? " entry failed" : "", qualification);
}

void trace_entry(const struct trace *t, unsigned vcpu)
{
	if (!t->exits)
		return;
	if (t->json)
		put_json(json_pack("{ss si}", "event", "entry", "vcpu", vcpu));
	else
		fprintf(stderr, "%u: VM entry\n", vcpu);
}

void trace_event(const struct trace *t, unsigned vcpu, unsigned vector,
		 unsigned type, bool has_error, uint32_t error)
{
	static const char *const types[] = {
		"external interrupt", "?", "NMI", "exception",
		"software interrupt", "privileged software exception",
		"software exception", "other",
	};
	json_t *o;

	if (!t->events)
		return;
	if (t->json) {
		o = json_pack("{ss si ss si}", "event", "delivery", "vcpu", vcpu,
			      "type", types[type & 7], "vector", vector);
		if (o && has_error)
			json_object_set_new(o, "error", hex(error));
		put_json(o);
		return;
	}
	fprintf(stderr, "%u: %s %u", vcpu, types[type & 7], vector);
	if (has_error)
		fprintf(stderr, " error 0x%x", error);
	fputc('\n', stderr);
}

void trace_pml(const struct trace *t, unsigned vcpu, uint64_t gpa)
{
	if (!t->pml)
		return;
	if (t->json)
		put_json(json_pack("{ss si so}", "event", "pml", "vcpu", vcpu,
				   "gpa", hex(gpa)));
	else
		fprintf(stderr, "%u: PML entry 0x%" PRIx64 "\n", vcpu, gpa);
}

void trace_disassemble(unsigned bits, uint64_t rip, const uint8_t *bytes,
		       unsigned len, char *out, size_t size)
{
	csh h;
	cs_insn *insn = NULL;
	cs_mode mode = bits == 64 ? CS_MODE_64 : bits == 32 ? CS_MODE_32 :
		CS_MODE_16;

	snprintf(out, size, "(not known to the disassembler)");
	if (cs_open(CS_ARCH_X86, mode, &h) != CS_ERR_OK)
		return;
	if (cs_disasm(h, bytes, len, rip, 1, &insn) == 1) {
		snprintf(out, size, "%s %s", insn->mnemonic, insn->op_str);
		cs_free(insn, 1);
	}
	cs_close(&h);
}

void trace_insn(const struct trace *t, struct vcpu *c, uint64_t rip,
		const uint8_t *bytes, unsigned len)
{
	char text[256];

	if (!t->insns)
		return;
	trace_disassemble(hv_code_bits(c), rip, bytes, len, text, sizeof text);
	if (t->json)
		put_json(json_pack("{ss si so ss}", "event", "insn", "level",
				   hv_level(c), "rip", hex(rip), "text", text));
	else
		fprintf(stderr, "L%d %016" PRIx64 " %s\n", hv_level(c), rip, text);
}
