/* run.h: what the commands that run the core share: traces, stop reports,
 * statistics, moments to stop at. */
#ifndef NSTATE_CLI_RUN_H
#define NSTATE_CLI_RUN_H

#include "cli/load.h"
#include "hvcore/hvcore.h"

struct run_trace { bool exec, event, io, exit; };

/* "exec,int,io,exit"; false: a word that is none of these. */
bool run_trace_parse(struct run_trace *t, const char *words);
void run_trace_io(const struct run_trace *t, unsigned vcpu, bool write,
		  uint16_t port, unsigned size, uint64_t value);
void run_trace_exit(const struct run_trace *t, unsigned vcpu, uint32_t reason,
		    uint64_t qualification);
void run_trace_event(const struct run_trace *t, unsigned vcpu, unsigned vector,
		     unsigned type, bool has_error, uint32_t error);
void run_trace_insn(const struct run_trace *t, struct vcpu *c, uint64_t rip,
		    const uint8_t *bytes, unsigned len);

/* When to take a snapshot. */
struct run_moment {
	uint64_t insns, exits;  /* UINT64_MAX: not by that */
	int port;               /* -1: not by a port */
	uint64_t port_count;    /* writes still to come */
	bool end;
};
bool run_moment_parse(struct run_moment *m, const char *text);
bool run_moment_port(struct run_moment *m, uint16_t port);

/* Why the run cannot go on: reason, registers, level, the instruction; on
 * standard error. */
void run_report_stop(struct vm *vm, const struct hv_stop *stop);
void run_print_stats(struct vm *vm);
/* A snapshot of the whole VM; says what is wrong and returns its status. */
int run_write_snapshot(struct vm *vm, const struct guest_ram *ram,
		       const char *path);

bool parse_number(const char *s, uint64_t *v);

#endif
