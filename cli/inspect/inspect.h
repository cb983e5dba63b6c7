/* inspect.h: the parts of `nstate inspect`. */
#ifndef NSTATE_CLI_INSPECT_H
#define NSTATE_CLI_INSPECT_H

#include "cli/out.h"
#include "convert/container.h"
#include "convert/plan.h"

#define INSPECT_MAX_FIELDS 64

struct inspect_options {
	const char *file;
	struct container_options open;
	const struct layout *from;
	int field[INSPECT_MAX_FIELDS];
	unsigned nfields;
	bool all, raw, json, no_ram;
};

struct inspection {
	struct container *c;
	struct scan scan;
	struct identify_result *pool;   /* of all pages together */
	const struct layout *layout;    /* to read with; never NULL */
	bool sure;                      /* layout is certain or given */
};

enum nst_status inspect_open(const struct inspect_options *o,
			     struct inspection *in, struct nst_error *e);
void inspect_close(struct inspection *in);
void inspect_print(const struct inspect_options *o, const struct inspection *in,
		   struct out *out);
/* On standard error: what a newer kernel would misread, and the like. */
void inspect_warn(const struct inspect_options *o, const struct inspection *in);

/* fields.c */
void inspect_fields(const struct inspect_options *o, const struct layout *l,
		    const uint8_t *page, struct out *out);
/* summary.c */
void inspect_summary(const struct layout *l, const uint8_t *page,
		     struct out *out);
void inspect_svm(const struct container_state *st, struct out *out);

#endif
