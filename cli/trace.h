/* trace.h: what happens in a run, as it happens, on standard error: text for
 * people or JSON, a line an event.
 */
#ifndef NSTATE_CLI_TRACE_H
#define NSTATE_CLI_TRACE_H

#include "hvcore/hvcore.h"

struct trace {
	bool insns, events, io, exits, pml;
	bool json;
};

/* "insns,events,io,exits,pml" ("exec" is insns, "int" events, "exit" exits); false:
 * another word. */
bool trace_parse(struct trace *t, const char *words);

/* Each prints only where the kind is on; exits are VM entries too. */
void trace_io(const struct trace *t, unsigned vcpu, bool write, uint16_t port,
	      unsigned size, uint64_t value);
void trace_exit(const struct trace *t, unsigned vcpu, uint32_t reason,
		uint64_t qualification);
void trace_entry(const struct trace *t, unsigned vcpu);
/* An exception, interrupt or NMI through the IDT; hv_ops.event's parameters. */
void trace_event(const struct trace *t, unsigned vcpu, unsigned vector,
		 unsigned type, bool has_error, uint32_t error);
void trace_pml(const struct trace *t, unsigned vcpu, uint64_t gpa);
void trace_insn(const struct trace *t, struct vcpu *c, uint64_t rip,
		const uint8_t *bytes, unsigned len);

/* One instruction in words; bits: 16, 32 or 64. */
void trace_disassemble(unsigned bits, uint64_t rip, const uint8_t *bytes,
		       unsigned len, char *out, size_t size);

#endif
