/* Measures identify: plausible pages of every layout, counted right, ambiguous
 * or wrong against each other layout.
 *
 * IDENTIFY_PAGES=n sets the pages a layout (20,000 unless told); with
 * IDENTIFY_REPORT=1 the whole matrix is printed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "layouts/identify.h"
#include "tests/unit/identify_plausible.h"

#define TSV "tests/fixtures/vmcs12_layouts.tsv"
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SLOW 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define SLOW 1
#endif
#ifdef SLOW
#define DEFAULT_PAGES 2000
#else
#define DEFAULT_PAGES 20000
#endif

static struct gen_layout layouts[IDENTIFY_MAX];
static unsigned nlayouts;

/* What became of a page of the first layout, as far as the second goes. */
struct pair {
	unsigned right, alike, ambiguous, wrong;
	unsigned by_stage[GEN_STAGES]; /* ambiguous ones */
};
static struct pair pairs[IDENTIFY_MAX][IDENTIFY_MAX];
static unsigned refused[IDENTIFY_MAX], unclear[IDENTIFY_MAX][GEN_STAGES];
static unsigned made[IDENTIFY_MAX][GEN_STAGES];

static const char *const stage_names[GEN_STAGES] = {
	"launched", "cleared", "never launched", "half written", "zero-ish",
	"shadow", "empty",
};

static unsigned gen_index(const char *id)
{
	for (unsigned i = 0; i < nlayouts; i++)
		if (!strcmp(layouts[i].id, id))
			return i;
	fail_msg("no such layout: %s", id);
	return 0;
}

static void dump(const struct gen *g, const struct identify_result *r)
{
	char names[256];

	print_error("page of %s, kind %d, %s: verdict %s, best %s\n", g->l->id,
		    g->kind, stage_names[g->stage],
		    identify_verdict_name(r->verdict),
		    identify_group_name(r, 0, names, sizeof names));
	for (unsigned i = 0; i < r->count; i++) {
		const struct identify_candidate *c = &r->candidate[i];

		if (strcmp(c->layout->id, g->l->id))
			continue;
		for (unsigned k = 0; k < c->nreasons; k++)
			print_error("  %s: %s %s@%u = %#llx: %s\n",
				c->layout->id,
				c->reason[k].hard ? "hard" : "weak",
				c->reason[k].field < 0 ? "no field" :
				vmcs_fields[c->reason[k].field].name,
				c->reason[k].offset,
				(unsigned long long)c->reason[k].value,
				c->reason[k].rule);
	}
}

static unsigned group_of(const struct identify_result *r, const char *id)
{
	for (unsigned i = 0; i < r->count; i++)
		if (!strcmp(r->candidate[i].layout->id, id))
			return r->candidate[i].group;
	fail_msg("no such candidate: %s", id);
	return ~0u;
}

/* Counts one page.  The groups come from identify; that they are what they say
 * (all non-zero bytes alike) is test_identify's. */
static void count(const struct gen *g, const uint8_t *page, unsigned truth,
		  const struct identify_result *r)
{
	unsigned group = group_of(r, g->l->id), i;

	made[truth][g->stage]++;
	if (r->verdict == IDENTIFY_NONE) {
		if (!refused[truth]++)
			dump(g, r);
		return;
	}
	unclear[truth][g->stage] += r->verdict == IDENTIFY_AMBIGUOUS;
	for (i = 0; i < r->count; i++) {
		const struct identify_candidate *c = &r->candidate[i];
		unsigned other = gen_index(c->layout->id);
		struct pair *p = &pairs[truth][other];

		if (other == truth)
			continue;
		if (c->group == group) {
			p->alike++;
		} else if (r->verdict == IDENTIFY_CERTAIN && c->group == 0) {
			if (!p->wrong++)
				dump(g, r);
		} else if (r->verdict == IDENTIFY_AMBIGUOUS && !c->hard) {
			const char *why = pl_wrong(&layouts[other], page);

			p->ambiguous++;
			p->by_stage[g->stage]++;
			if (why) {
				dump(g, r);
				fail_msg("%s is left standing as %s, but: %s",
					 g->l->id, c->layout->id, why);
			}
		} else {
			p->right++;
		}
	}
}

static void report(void)
{
	puts("pages of / read as: right, alike, ambiguous, wrong");
	for (unsigned a = 0; a < nlayouts; a++)
		for (unsigned b = 0; b < nlayouts; b++)
			if (a != b)
				printf("%-8s %-8s %6u %6u %6u %6u\n",
				       layouts[a].id, layouts[b].id,
				       pairs[a][b].right, pairs[a][b].alike,
				       pairs[a][b].ambiguous,
				       pairs[a][b].wrong);
}

static void summary(unsigned pages)
{
	unsigned stage_made[GEN_STAGES] = { 0 }, stage_amb[GEN_STAGES] = { 0 };
	unsigned wrong = 0, none = 0;

	for (unsigned a = 0; a < nlayouts; a++) {
		none += refused[a];
		for (unsigned b = 0; b < nlayouts; b++)
			wrong += pairs[a][b].wrong;
		for (unsigned s = 0; s < GEN_STAGES; s++) {
			stage_made[s] += made[a][s];
			stage_amb[s] += unclear[a][s];
		}
	}
	printf("identify: %u pages of each of %u layouts: %u wrong, %u refused; "
	       "ambiguous:\n", pages, nlayouts, wrong, none);
	for (unsigned s = 0; s < GEN_STAGES; s++)
		printf("  %-15s %6u of %6u\n", stage_names[s], stage_amb[s],
		       stage_made[s]);
}

static void no_plausible_page_is_misread(void **state)
{
	const char *text = getenv("IDENTIFY_PAGES");
	unsigned pages = text ? (unsigned)atoi(text) : DEFAULT_PAGES;
	struct gen g = { .seed = 0x6e7374617465ull };

	(void)state;
	nlayouts = gen_read_layouts(TSV, layouts, IDENTIFY_MAX);
	assert_int_equal(nlayouts, layout_count());
	for (unsigned a = 0; a < nlayouts; a++) {
		g.l = &layouts[a];
		for (unsigned n = 0; n < pages; n++) {
			uint8_t page[VMCS12_SIZE];
			struct identify_result r;
			const char *why;

			gen_make(&g, page);
			why = pl_wrong(g.l, page);
			if (why)
				fail_msg("the generator made a bad page of %s "
					 "(%s): %s", g.l->id,
					 stage_names[g.stage], why);
			identify_page(page, &r);
			count(&g, page, a, &r);
		}
	}
	summary(pages);
	if (getenv("IDENTIFY_REPORT"))
		report();
	for (unsigned a = 0; a < nlayouts; a++) {
		assert_int_equal(refused[a], 0);
		for (unsigned b = 0; b < nlayouts; b++)
			assert_int_equal(pairs[a][b].wrong, 0);
		/* A VMCS that has run says enough of itself. */
		assert_int_equal(unclear[a][GEN_LAUNCHED], 0);
		assert_int_equal(unclear[a][GEN_EMPTY], 0);
	}
}

/* A VMCS that has run, but for one field that holds noise: that may cost the
 * answer, but must not turn it. */
static void noise_in_a_field_misleads_nobody(void **state)
{
	unsigned right = 0, doubt = 0, none = 0, wrong = 0;
	struct gen g = { .seed = 0x6f6464ull };

	(void)state;
	nlayouts = gen_read_layouts(TSV, layouts, IDENTIFY_MAX);
	for (unsigned n = 0; n < nlayouts * 1000; n++) {
		uint8_t page[VMCS12_SIZE];
		struct identify_result r;
		char name[256];
		uint64_t noise;
		int field;

		g.l = &layouts[n % nlayouts];
		do
			gen_make(&g, page);
		while (g.stage != GEN_LAUNCHED);
		do
			field = (int)gen_below(&g, VMCS_FIELD_COUNT);
		while (!g.l->at[field]);
		noise = gen_rand(&g);
		memcpy(page + g.l->at[field], &noise,
		       vmcs_bytes(vmcs_fields[field].encoding));
		identify_page(page, &r);
		if (r.verdict == IDENTIFY_AMBIGUOUS)
			doubt++;
		else if (r.verdict == IDENTIFY_NONE)
			none++;
		else if (group_of(&r, g.l->id) == 0)
			right++;
		else if (!wrong++)
			print_error("%s read as %s: noise in %s\n", g.l->id,
				    identify_group_name(&r, 0, name,
							sizeof name),
				    vmcs_fields[field].name);
	}
	printf("identify: with noise in one field: %u right, %u ambiguous, "
	       "%u refused, %u wrong\n", right, doubt, none, wrong);
	assert_int_equal(wrong, 0);
	assert_true(right > 2 * (doubt + none));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(no_plausible_page_is_misread),
		cmocka_unit_test(noise_in_a_field_misleads_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
