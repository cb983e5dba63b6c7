/* until.h: the conditions at which a run stops (--until).
 *
 *   io:PORT[=VALUE]      right after that IN or OUT retires, at any level
 *   exit:REASON          a VM exit to L1, by name or number
 *   rip:[L1:|L2:]ADDR    before the instruction at that linear address
 *   write:GPA            after a write to that L1-physical page
 *   console:TEXT         the console has printed TEXT
 *   idle                 every vCPU halted and nothing pending
 */
#ifndef NSTATE_CLI_RESUME_UNTIL_H
#define NSTATE_CLI_RESUME_UNTIL_H

#include <stdbool.h>
#include <stdint.h>

#include "layouts/error.h"

struct until {
	enum { UNTIL_IO, UNTIL_EXIT, UNTIL_RIP, UNTIL_WRITE, UNTIL_CONSOLE,
	       UNTIL_IDLE } kind;
	uint64_t a, b;      /* port and value, reason, address, GPA */
	bool has_b;
	int level;          /* RIP: 0 any, 1, 2 */
	const char *text;   /* as given */
	const char *needle; /* CONSOLE */
	unsigned matched;   /* CONSOLE: how much of needle has been seen */
};

enum nst_status until_parse(const char *text, struct until *u,
			    struct nst_error *e);
bool until_io(const struct until *u, uint16_t port, uint64_t value);
bool until_exit(const struct until *u, uint32_t reason);
bool until_console(struct until *u, uint8_t byte);
bool until_rip(const struct until *u, int level, uint64_t rip);
bool until_write(const struct until *u, uint64_t gpa);

#endif
