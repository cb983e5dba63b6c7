/* journal.h: changes a file in place so that it can always be put back.
 *
 * FILE.undo is written and fsynced whole before FILE is touched: a magic, then
 * records {u64 offset, u64 length, the bytes that were there}, then an end mark
 * and a CRC-32 of all before it.  All integers are little-endian.  A journal
 * that is cut was never acted on.
 */
#ifndef NSTATE_CONVERT_JOURNAL_H
#define NSTATE_CONVERT_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "layouts/error.h"

struct journal_write { uint64_t at; uint64_t len; const uint8_t *data; };

struct journal {
	char *path, *undo;
	int fd;                      /* of the journal */
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
/* Puts back what FILE.undo holds and removes it. */
enum nst_status journal_undo(const char *path, struct nst_error *e);

#endif
