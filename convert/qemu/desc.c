/* desc.c: the JSON description at the end of a stream: where it is, and how long
 * it says that each device's section is. */
#include <string.h>

#include "convert/qemu/stream.h"

/* A hostile file may hold many beginnings of JSON that lead nowhere. */
#define MAX_TRIES 64
#define MAX_DEPTH 32

json_t *qdesc_find(const uint8_t *p, uint64_t from, uint64_t end, uint64_t *at)
{
	int tries = 0;

	/* 00 06, u32 length, then the text. */
	for (uint64_t i = from; tries < MAX_TRIES && i + 8 < end; i++) {
		const uint8_t *hit = memmem(p + i, end - i, "{\"", 2);
		uint64_t len;
		json_t *j;

		if (!hit)
			return NULL;
		i = (uint64_t)(hit - p);
		if (i < from + 6 || hit[-6] || hit[-5] != 6)
			continue;
		len = be_at(hit - 4, 4);
		if (len > end - i || hit[len - 1] != '}')
			continue;
		tries++;
		j = json_loadb((const char *)hit, len, 0, NULL);
		if (j && json_is_array(json_object_get(j, "devices"))) {
			*at = i;
			return j;
		}
		json_decref(j);
	}
	return NULL;
}

static bool add(uint64_t *sum, uint64_t n)
{
	return !__builtin_add_overflow(*sum, n, sum);
}

static uint64_t number(const json_t *o, const char *key, uint64_t none)
{
	const json_t *v = json_object_get(o, key);
	json_int_t n = json_integer_value(v);

	return json_is_integer(v) && n >= 0 ? (uint64_t)n : none;
}

/* Fields, then subsections with their headers; false where it makes no sense. */
static bool body(const json_t *o, int depth, uint64_t *sum)
{
	size_t i;
	const json_t *f;

	if (depth > MAX_DEPTH)
		return false;
	json_array_foreach(json_object_get(o, "fields"), i, f) {
		uint64_t n;

		if (__builtin_mul_overflow(number(f, "size", 0),
					   number(f, "array_len", 1), &n) ||
		    !add(sum, n))
			return false;
	}
	json_array_foreach(json_object_get(o, "subsections"), i, f) {
		const char *name = json_string_value(
			json_object_get(f, "vmsd_name"));
		if (!name || !add(sum, 6 + strlen(name)) ||
		    !body(f, depth + 1, sum))
			return false;
	}
	return true;
}

uint64_t qdesc_length(const json_t *desc, const char *name, uint32_t instance)
{
	size_t i;
	const json_t *d;

	json_array_foreach(json_object_get(desc, "devices"), i, d) {
		const char *s = json_string_value(json_object_get(d, "name"));
		uint64_t sum = 0;

		if (!s || strcmp(s, name) ||
		    number(d, "instance_id", ~0ull) != instance)
			continue;
		return body(d, 0, &sum) ? sum : 0;
	}
	return 0;
}
