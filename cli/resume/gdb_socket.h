/* gdb_socket.h: packets of gdb's remote protocol on a socket: framing, check
 * sums, acknowledgements, the interrupt byte. */
#ifndef NSTATE_CLI_RESUME_GDB_SOCKET_H
#define NSTATE_CLI_RESUME_GDB_SOCKET_H

#include <stdbool.h>
#include <stddef.h>

#include "layouts/error.h"

struct gdb_socket;

/* Listens at ":PORT", "HOST:PORT" or a socket's path, says so on standard
 * error, and waits for one debugger: its connection. */
enum nst_status gdb_accept(const char *address, int *out, struct nst_error *e);
/* Takes the descriptor; NULL: out of memory. */
struct gdb_socket *gdb_socket_new(int fd);
void gdb_hang_up(struct gdb_socket *s);
/* One packet's body, NUL-terminated; false: the debugger went away. */
bool gdb_receive(struct gdb_socket *s, char *body, size_t len);
bool gdb_send(struct gdb_socket *s, const char *body);
/* Whether Ctrl-C (0x03) has come in; never waits. */
bool gdb_interrupted(struct gdb_socket *s);

#endif
