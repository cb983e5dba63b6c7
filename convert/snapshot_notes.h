/* snapshot_notes.h: hands each note of a snapshot to a writer; internal. */
#ifndef NSTATE_CONVERT_SNAPSHOT_NOTES_H
#define NSTATE_CONVERT_SNAPSHOT_NOTES_H

#include "layouts/snapshot.h"

struct note_sink {
	bool (*put)(void *arg, const char *name, uint32_t type, uint32_t vcpu,
		    const void *data, uint32_t size);
	void *arg;
};
/* Types under the name "NSTATE"; 1 is the core's (hvcore/board/state.c). */
enum { NOTE_REGIONS = 2 };
/* 1: taken, 0: not of a known type, -1: of a wrong size. */
int snapshot_take_own_note(struct snapshot *s, uint32_t type, const uint8_t *data,
			   uint32_t size);
/* A note that replaces what s has of it; false: no memory, or a wrong size. */
bool snapshot_replace_note(struct snapshot *s, const char *name, uint32_t type,
			   uint32_t vcpu, const uint8_t *data, uint32_t size);
bool snapshot_put_notes(const struct snapshot *s, const struct note_sink *k);

#endif
