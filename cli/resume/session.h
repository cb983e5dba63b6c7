/* session.h: one run of `nstate resume`: its options, the engine, what was seen
 * on the way.  cmd_resume.c parses, run.c runs, report.c prints. */
#ifndef NSTATE_CLI_RESUME_SESSION_H
#define NSTATE_CLI_RESUME_SESSION_H

#include <stdio.h>

#include "cli/out.h"
#include "cli/resume/engine.h"
#include "cli/resume/until.h"
#include "cli/sandbox.h"
#include "cli/trace.h"
#include "convert/load.h"
#include "layouts/layouts.h"

struct gdb;

#define MAX_UNTIL 64
#define MAX_RANGES 64
#define SESSION_PLACES 256 /* vCPUs that are told of at the end */

struct gpa_range { uint64_t first, last; };

/* What is left of a run: plain data, that goes from the process that ran the guest
 * to the one that reports. */
struct session_result {
	struct hv_stop stop;
	int32_t reached;              /* index of until[], or -1 */
	struct hv_stats stats;
	uint32_t nplaces;
	struct { int32_t level; uint64_t rip; } place[SESSION_PLACES];
};

struct session {
	/* options */
	struct load_options load;
	struct load_ram ram[LOAD_MAX_RAM];
	const char *file, *out, *expect, *engine_name;
	const char *pml_log, *hash_exits, *check_hashes, *gdb;
	struct gpa_range ignored[MAX_RANGES];
	unsigned nignored;
	struct until until[MAX_UNTIL];
	unsigned nuntil;
	struct hv_limits limits;
	bool report, json, force, strict;
	struct trace trace;
	struct engine_options engine;

	/* the run */
	const struct engine_ops *ops;
	struct engine *g;
	struct snapshot *snapshot;
	const struct layout *layout;  /* of every vmcs12 once loaded */
	struct hv_stop stop;
	const struct until *reached;  /* the condition that stopped it */
	uint64_t exits_seen;
	bool at_exit;                 /* stopped to hash after an exit */
	FILE *hashes, *pml;
	bool hash_differs;
	uint64_t started_at;          /* RIP: a stop there would be no progress */
	bool stop_at_exits;           /* the debugger wants to see them */
	struct gdb *debugger;         /* while gdb_serve runs */
	int gdb_fd;                   /* its connection, or -1 */
	struct sandbox sandbox;
	struct session_result result;
	void (*at_insn)(void *arg, struct vcpu *c, uint64_t rip,
			const uint8_t *bytes, unsigned len);
};

/* run.c */
void session_hooks(struct session *s);
/* Opens the logs, before the run. */
enum nst_status session_open(struct session *s, struct nst_error *e);
enum nst_status session_run(struct session *s, struct nst_error *e);
/* report.c; fills s->result while the engine is there, prints it after. */
void session_take_result(struct session *s);
bool session_result_is_sane(const struct session *s);
void session_report(const struct session *s, struct out *o);

#endif
