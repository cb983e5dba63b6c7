/* snapshot.h: the native snapshot file, an ELF64 core; see nstate-snapshot(5).
 */
#ifndef NSTATE_CONVERT_SNAPSHOT_H
#define NSTATE_CONVERT_SNAPSHOT_H

#include <stdbool.h>
#include <stdint.h>

#include "layouts/error.h"
#include "layouts/snapshot.h"

#pragma GCC visibility push(default)

/* Writes s to path ("-": standard output).  A name that ends in .gz makes it
 * gzip'ed.  Pages of zeros at the end of a run of RAM take no room.  Same s,
 * same bytes. */
enum nst_status snapshot_write(const struct snapshot *s, const char *path,
			       bool force, struct nst_error *e);

/* Puts one KVM note's struct where it belongs in s; 1 taken, 0 not known (the
 * caller keeps it as extra), -1 wrong size or out of memory. */
int snapshot_take_note(struct snapshot *s, uint32_t type, uint32_t vcpu,
		       const uint8_t *data, uint32_t size);

/* A copy of data as the vCPU's nested state. */
bool snapshot_set_nested(struct snapshot *s, uint32_t vcpu, const void *data,
			 uint32_t size);

/* Gives s zeroed private RAM for these runs, which are in rising order; runs
 * that touch become one.  False: no room in the address space. */
struct ram_plan { uint64_t gpa, size; };
bool snapshot_make_ram(struct snapshot *s, const struct ram_plan *runs,
		       uint32_t n);

#pragma GCC visibility pop

#endif
