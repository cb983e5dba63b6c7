/* qmp.h: QEMU's monitor protocol over a UNIX socket: commands, replies, passing a
 * file descriptor.  Knows nothing of what the commands mean.
 */
#ifndef NSTATE_CLI_CAPTURE_QMP_H
#define NSTATE_CLI_CAPTURE_QMP_H

#include <jansson.h>

#include "layouts/error.h"

struct qmp;

/* Connects and leaves capabilities negotiation. */
enum nst_status qmp_open(const char *path, struct qmp **out, struct nst_error *e);
void qmp_close(struct qmp *q);

/* Sends command with args (taken; may be NULL) and, where pass is not -1, a file
 * descriptor; waits for its reply.  *out (may be NULL) is what it returned, to be
 * freed.  NST_NO: QEMU refused, with its own words. */
enum nst_status qmp_do(struct qmp *q, const char *command, json_t *args, int pass,
		       json_t **out, struct nst_error *e);

#endif
