/* snapshot_notes.h: hands each note of a snapshot to a writer; internal. */
#ifndef NSTATE_CONVERT_SNAPSHOT_NOTES_H
#define NSTATE_CONVERT_SNAPSHOT_NOTES_H

#include "layouts/snapshot.h"

struct note_sink {
	bool (*put)(void *arg, const char *name, uint32_t type, uint32_t vcpu,
		    const void *data, uint32_t size);
	void *arg;
};
bool snapshot_put_notes(const struct snapshot *s, const struct note_sink *k);

#endif
