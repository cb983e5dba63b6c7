/* Runs the fuzz target over files: the seeds and the kept crashers, on every
 * `make check`, with any compiler. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");
		uint8_t *p = malloc(16u << 20);
		size_t n = f && p ? fread(p, 1, 16u << 20, f) : 0;

		if (!f || !p)
			return 4;
		fclose(f);
		p = realloc(p, n ? n : 1); /* so that ASan sees its end */
		LLVMFuzzerTestOneInput(p, n);
		free(p);
	}
	printf("%d files replayed\n", argc - 1);
	return argc > 1 ? 0 : 2;
}
