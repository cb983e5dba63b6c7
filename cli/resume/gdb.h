/* gdb.h: gdb's remote serial protocol over a socket, for a resumed VM.
 *
 * Registers and memory are those of the level that runs (L2's while L2 does);
 * `monitor help` lists what the protocol has no packet for.
 */
#ifndef NSTATE_CLI_RESUME_GDB_H
#define NSTATE_CLI_RESUME_GDB_H

#include "cli/resume/session.h"

/* Serves the debugger at s->gdb_fd until it detaches, kills, or the VM stops for
 * good. */
enum nst_status gdb_serve(struct session *s, struct nst_error *e);

#endif
