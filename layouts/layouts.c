/* layouts.c: finding a built-in layout, and comparing layouts. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

#include "layouts/builtin.h"

static const struct {
	const char *id;
	unsigned first, last; /* major << 16 | minor */
} mainline[] = {
#define KERNELS(id, major1, minor1, major2, minor2) \
	{ id, (major1) << 16 | (minor1), (major2) << 16 | (minor2) },
#include "layouts/layouts.def"
#undef KERNELS
};

static const struct {
	const char *id, *base;
	unsigned first, last; /* build numbers */
} rhel[] = {
#define RHEL_KERNELS(id, base, first, last) { id, base, first, last },
#include "layouts/layouts.def"
#undef RHEL_KERNELS
};

#define ARRAY_LEN(a) (sizeof(a) / sizeof(a)[0])

unsigned layout_count(void)
{
	return LI_COUNT;
}

const struct layout *layout_at(unsigned i)
{
	return i < LI_COUNT ? &builtin_layouts[i] : NULL;
}

const struct layout *layout_by_name(const char *id)
{
	for (unsigned i = 0; i < LI_COUNT; i++)
		if (!strcasecmp(builtin_layouts[i].id, id))
			return &builtin_layouts[i];
	return NULL;
}

const struct layout *layout_newest(void)
{
	return &builtin_layouts[LI_v6_18];
}

/* RHEL keeps a base version for years and changes what is in it: only the build
 * number tells. */
static const struct layout *layout_of_rhel(const char *release)
{
	for (size_t i = 0; i < ARRAY_LEN(rhel); i++) {
		size_t n = strlen(rhel[i].base);
		unsigned long build;

		if (strncmp(release, rhel[i].base, n) || release[n] != '-')
			continue;
		build = strtoul(release + n + 1, NULL, 10);
		if (build >= rhel[i].first && build <= rhel[i].last)
			return layout_by_name(rhel[i].id);
	}
	return NULL;
}

const struct layout *layout_of_kernel(const char *release)
{
	unsigned long major, minor;
	unsigned version;
	char *end;

	if (strstr(release, ".el"))
		return layout_of_rhel(release);
	if (!isdigit((unsigned char)*release))
		return NULL;
	major = strtoul(release, &end, 10);
	if (*end++ != '.' || !isdigit((unsigned char)*end))
		return NULL;
	minor = strtoul(end, &end, 10);
	if (major > 1000 || minor > 1000 || isalpha((unsigned char)*end))
		return NULL;
	version = (unsigned)(major << 16 | minor);
	for (size_t i = 0; i < ARRAY_LEN(mainline); i++)
		if (version >= mainline[i].first && version <= mainline[i].last)
			return layout_by_name(mainline[i].id);
	return NULL;
}

bool layout_same_offsets(const struct layout *a, const struct layout *b)
{
	return !memcmp(a->offset, b->offset, sizeof a->offset);
}

const struct layout *layout_equal_builtin(const struct layout *l)
{
	for (unsigned i = 0; i < LI_COUNT; i++)
		if (layout_same_offsets(l, &builtin_layouts[i]))
			return &builtin_layouts[i];
	return NULL;
}
