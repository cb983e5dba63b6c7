/* identify.h: which layout a vmcs12 page has, judged by what it holds.
 *
 * The revision id is the same in all layouts, so each candidate layout decodes
 * the page and every field must then be what the SDM demands of it.
 *
 * A violation is hard where the processor (or KVM in its place) refuses such a
 * value, or where bytes stand that no field owns: it excludes the candidate.
 * What is only unusual is weak: it ranks candidates and never excludes one.
 *
 * Layouts that place all the page's non-zero bytes alike make one group: they
 * give the same values, so that they are one answer.
 */
#ifndef NSTATE_LAYOUTS_IDENTIFY_H
#define NSTATE_LAYOUTS_IDENTIFY_H

#include "layouts/layouts.h"

#pragma GCC visibility push(default)

enum { IDENTIFY_MAX = 16, IDENTIFY_REASONS = 12 };

enum identify_verdict {
	IDENTIFY_CERTAIN,   /* one group is left */
	IDENTIFY_AMBIGUOUS, /* more than one is: do not guess */
	IDENTIFY_NONE,      /* none fits: another layout, or no vmcs12 */
};

/* Why a candidate lost points. */
struct identify_reason {
	int field;        /* index, or -1: bytes that no field owns */
	uint16_t offset;  /* in the page */
	bool hard;
	uint64_t value;   /* as this candidate reads it */
	const char *rule; /* what is demanded: "canonical address" */
};

struct identify_candidate {
	const struct layout *layout;
	unsigned hard, weak;  /* violations */
	/* Of the hard ones, 8-byte words with bytes that no field owns.  0 for a
	 * page whose values make no sense but stand where fields are: a page
	 * that a test filled may still be moved by the layout of its siblings. */
	unsigned unowned;
	unsigned group;       /* equal numbers: one answer */
	unsigned nreasons;    /* kept; hard + weak counts all */
	struct identify_reason reason[IDENTIFY_REASONS];
};

struct identify_result {
	enum identify_verdict verdict;
	/* The answer: of the best group, the newest layout that v4.0's offsets
	 * are kept in, or else the newest.  NULL with IDENTIFY_NONE. */
	const struct layout *layout;
	unsigned count;
	struct identify_candidate candidate[IDENTIFY_MAX]; /* best first */
	unsigned groups;      /* how many answers there are in all */
	unsigned plausible;   /* how many of them are not excluded */
	/* Hard violations of the best other group minus the best group's; 0
	 * where there is no other. */
	unsigned margin;
	bool empty;           /* no byte but the header is set: any layout */
};

/* Judges one page of VMCS12_SIZE bytes. */
void identify_page(const void *page, struct identify_result *r);

/* Evidence of several pages that one kernel wrote. */
struct identify_pool {
	unsigned pages;      /* added */
	unsigned skipped;    /* fitted no layout; counted, not used */
	bool conflict;       /* pages are certain of layouts that differ */
	bool excluded[IDENTIFY_MAX];      /* by some certain page */
	struct {
		unsigned hard, weak;
		unsigned nreasons;
		struct identify_reason reason[IDENTIFY_REASONS];
	} sum[IDENTIFY_MAX];              /* by layout_at() */
	bool differ[IDENTIFY_MAX][IDENTIFY_MAX]; /* some page tells them apart */
	bool nonempty;
};

void identify_pool_init(struct identify_pool *p);
/* Adds a page; r (may be NULL) gets the judgement of this page alone. */
void identify_pool_add(struct identify_pool *p, const void *page,
		       struct identify_result *r);
/* The judgement of all together; IDENTIFY_NONE where every page was skipped,
 * IDENTIFY_AMBIGUOUS where pages contradict each other. */
void identify_pool_result(const struct identify_pool *p,
			  struct identify_result *r);

/* The layouts of a group: "v4.0, v4.18, v5.8". */
const char *identify_group_name(const struct identify_result *r, unsigned group,
				char *buf, size_t len);
const char *identify_verdict_name(enum identify_verdict v);

/* Do both built-in layouts place every non-zero byte of the page alike? */
bool identify_same_reading(const struct layout *a, const struct layout *b,
			   const void *page);

#pragma GCC visibility pop

#endif
