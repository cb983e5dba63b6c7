/* rules.h: every rule that nstate knows, of the VM entry, of
 * KVM_SET_NESTED_STATE and of the neighbourhood, as one list.  The rules stand in
 * the tables of hvcore/vmx/, convert/check/; this only joins
 * them and adds what to do. */
#ifndef NSTATE_CLI_CHECK_RULES_H
#define NSTATE_CLI_CHECK_RULES_H

#include "cli/out.h"
#include "convert/check/nearby.h"
#include "convert/check/set_rules.h"
#include "hvcore/vmx_checks.h"

struct rule {
	const char *id, *sentence, *remedy;
	char where[40];                /* "SDM 27.3.1.4", "KVM_SET_NESTED_STATE" */
	int field;                     /* index, or -1 */
	const struct vmx_check *check; /* one of these three */
	const struct set_rule *set;
	const struct nearby_rule *near;
	/* How a VM entry fails when it is broken: a VM-instruction error, or else a
	 * basic exit reason; both 0: not at the entry. */
	unsigned error, reason;
};

/* The n-th rule; false: there are no more. */
bool rule_at(unsigned n, struct rule *out);
bool rule_find(const char *id, struct rule *out);
/* What to do about a rule of the VM entry. */
const char *rule_remedy(const char *id);

/* How the processor and KVM answer when it is broken, in words. */
void rule_outcome(const struct rule *r, char *text, size_t len);
/* "4.19 and later", "5.2 to 5.9", "never". */
void rule_kernels(const struct rule *r, char *text, size_t len);

/* The rule in full. */
void rule_print(const struct rule *r, struct out *out);

#endif
