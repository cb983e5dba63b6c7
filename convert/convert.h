/* convert.h: converts a container: scan, plan, write.
 *
 * The file is cloned and only its vmcs12 pages are patched, or it is changed in
 * place with an undo journal (journal.h) beside it.
 */
#ifndef NSTATE_CONVERT_CONVERT_H
#define NSTATE_CONVERT_CONVERT_H

#include "convert/container.h"
#include "convert/plan.h"

struct conversion {
	struct container *c;
	struct scan scan;
	struct plan plan;
	uint8_t **state;                /* patched nested states, or NULL each */
	struct container_patch *patch;
	uint32_t npatches;
};

/* Opens path, scans it and makes the plan and the patches. */
enum nst_status conversion_open(const char *path, const struct plan_options *o,
				struct conversion *v, struct nst_error *e);
/* flags: container_write_flags. */
enum nst_status conversion_write(struct conversion *v, const char *path,
				 unsigned flags, struct nst_error *e);
enum nst_status conversion_in_place(struct conversion *v, struct nst_error *e);
/* Applies the journal that conversion_in_place left beside path. */
enum nst_status conversion_undo(const char *path, struct nst_error *e);
void conversion_close(struct conversion *v);

#endif
