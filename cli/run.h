/* run.h: what the commands that run the core share: stop reports,
 * statistics, moments to stop at. */
#ifndef NSTATE_CLI_RUN_H
#define NSTATE_CLI_RUN_H

#include "cli/load.h"
#include "cli/sandbox.h"
#include "cli/trace.h"
#include "hvcore/hvcore.h"

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
/* A snapshot with RAM that stays the caller's and nothing else yet; NULL: no memory. */
struct snapshot *run_new_snapshot(unsigned vcpus, const struct guest_ram *ram);
/* The whole VM. */
enum nst_status run_take_snapshot(struct vm *vm, const struct guest_ram *ram,
				  struct snapshot **out, struct nst_error *e);

bool parse_number(const char *s, uint64_t *v);

#endif
