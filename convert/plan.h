/* plan.h: what a conversion will do: one source layout for all pages of a VM,
 * one target, and each page before and after.
 *
 * The source is what the caller says, or what all pages together are certain
 * of: one kernel wrote them.  A page that fits no layout, or all alike, has no
 * vote and follows the others.  Where they disagree, or leave a doubt, there
 * is no plan but an error that names --from.
 */
#ifndef NSTATE_CONVERT_PLAN_H
#define NSTATE_CONVERT_PLAN_H

#include "convert/remap.h"
#include "convert/scan.h"

struct plan_options {
	const struct layout *from, *to; /* NULL: to be found */
	bool drop_unsupported;
	bool only_current;              /* leave RAM alone */
	bool judged_later;              /* a state that contradicts itself is taken
	                                 * as it is: a caller says what is wrong */
	struct container_options open;  /* how the file is read */
	struct scan_options scan;       /* threads, progress; ram is implied */
};

struct plan_page {
	const struct vmcs12_page *page; /* in the scan */
	bool remapped;                  /* false: left as it is, and why */
	const char *why_not;
	bool changed;                   /* its bytes differ */
	uint8_t after[VMCS12_SIZE];
	struct remap_report report;
};

struct plan {
	const struct layout *from, *to; /* from NULL: nothing to decide */
	struct plan_page *page;
	uint32_t n;
	uint32_t changed;
	bool given;                     /* from was given, not identified */
	struct identify_result *evidence; /* of all pages together, or NULL */
};

enum nst_status plan_make(const struct scan *s, const struct plan_options *o,
			  struct plan *out, struct nst_error *e);
void plan_free(struct plan *p);

/* The first page with values in it that fits no layout that is known, of those
 * that a conversion would remap; or NULL. */
const struct vmcs12_page *plan_unfit(const struct scan *s, bool only_current);

/* The judgement of all pages together.  votes: how many had a say; conflict:
 * some contradict each other.  False: out of memory. */
bool plan_judge(const struct scan *s, struct identify_result *r,
		unsigned *votes, bool *conflict);

#endif
