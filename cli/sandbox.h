/* sandbox.h: a guest runs in a process that can do nothing but run it.
 *
 * A state file or a kernel image comes from somewhere else.  The command forks: the
 * child gives up its privileges and, by a seccomp filter, nearly every system call
 * before anything of the file reaches the core; it can compute, write to the
 * descriptors it was left, and send what it ends with over a socket.  The parent
 * keeps the output file and its rename and the debugger's connection, and takes
 * what the child sends as it would a file's bytes.
 */
#ifndef NSTATE_CLI_SANDBOX_H
#define NSTATE_CLI_SANDBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "layouts/error.h"
#include "layouts/snapshot.h"

struct sandbox {
	bool off;              /* one process does it all */
	int link;              /* to the other process; -1: there is none */
	pid_t child;           /* in the parent */
	int outer, inner;      /* the parent copies between these, or -1 */
};
#define SANDBOX_NONE { .link = -1, .outer = -1, .inner = -1 }

/* After this there are two processes, or one where b->off.  In the child b->child
 * is 0. */
enum nst_status sandbox_fork(struct sandbox *b, struct nst_error *e);
static inline bool sandbox_is_child(const struct sandbox *b)
{
	return b->link >= 0 && !b->child;
}
static inline bool sandbox_is_parent(const struct sandbox *b)
{
	return b->child > 0;
}

/* -- the child ------------------------------------------------------------------------- */
/* For good.  keep: descriptors beside 0 to 2 and the link that stay open.  Nothing
 * happens where b->off. */
enum nst_status sandbox_enter(struct sandbox *b, const int *keep, unsigned nkeep,
			      struct nst_error *e);
/* What the command wants to know of the run: one struct, size bytes. */
void sandbox_send_result(struct sandbox *b, const void *result, size_t size);
/* Everything but RAM, which has to be shared. */
void sandbox_send_snapshot(struct sandbox *b, const struct snapshot *s);
/* The command's exit status so far; the child ends. */
_Noreturn void sandbox_end(struct sandbox *b, int status);

/* -- the parent ------------------------------------------------------------------------ */
/* Waits for the child, forwards SIGINT and SIGTERM to it.  Fills s and result where
 * the child sent them (*got: it sent a result).  Returns its status; a child that
 * died is an error told on standard error. */
int sandbox_await(struct sandbox *b, const char *file, struct snapshot *s,
		  void *result, size_t size, bool *got);

#endif
