/* journal.h: changes a file in place so that it can always be put back.
 *
 * FILE.undo is written and fsynced whole before it gets its name, and it has its
 * name before FILE is touched: a magic, the size of FILE, then records {u64
 * offset, u64 length, the bytes that were there, those that come there}, then an
 * end mark {u64 ~0, u64 0} and a CRC-32 of all before it.  All integers are
 * little-endian.
 */
#ifndef NSTATE_CONVERT_JOURNAL_H
#define NSTATE_CONVERT_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "convert/outfile.h"

struct journal_write {
	uint64_t at, len;
	const uint8_t *before, *after;
};

struct journal {
	char *path, *undo;
	struct outfile out;
	bool made;
	unsigned long crc;
	struct journal_write *write;
	size_t n;
};

/* Refuses where FILE.undo already exists. */
enum nst_status journal_begin(struct journal *j, const char *path,
			      struct nst_error *e);
/* before is saved at once; after must stay valid until journal_commit. */
enum nst_status journal_add(struct journal *j, uint64_t at,
			    const uint8_t *before, const uint8_t *after,
			    size_t len, struct nst_error *e);
/* status NST_OK: completes the journal, then changes the file; else removes
 * the journal and leaves the file alone.  Frees j. */
enum nst_status journal_commit(struct journal *j, enum nst_status status,
			       struct nst_error *e);
/* Puts back what FILE.undo holds and removes it.  Refuses where FILE is not what
 * the journal was made for: of another size, or with other bytes in the places
 * that it tells of. */
enum nst_status journal_undo(const char *path, struct nst_error *e);

#endif
