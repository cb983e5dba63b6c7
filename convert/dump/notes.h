/* notes.h: the ELF notes of memory dumps: registers of each CPU. */
#ifndef NSTATE_CONVERT_DUMP_NOTES_H
#define NSTATE_CONVERT_DUMP_NOTES_H

#include "convert/container.h"

/* Registers of the vCPUs of a dump; freed by dump_cpus_free. */
struct dump_cpus {
	struct snapshot_vcpu *v;
	uint32_t n, nqemu;
};

/* Reads notes[0, size); fills c's vCPUs, note and details.  Notes that are not
 * known are passed over; a damaged note ends the list. */
enum nst_status dump_notes(struct container *c, struct dump_cpus *d,
			   const uint8_t *notes, uint64_t size,
			   struct nst_error *e);
void dump_load(const struct dump_cpus *d, struct snapshot *s, const char *kind);
void dump_cpus_free(struct dump_cpus *d);

#endif
