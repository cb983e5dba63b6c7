/* Runs the fuzz target over files: the seeds and the kept crashers, on every
 * `make check`, with any compiler.  None may take a second, nor all together more
 * than 256 MiB (sanitizers have needs of their own). */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#if defined(__SANITIZE_ADDRESS__)
#define SANITIZED 1
#elif defined(__has_feature)
#define SANITIZED __has_feature(address_sanitizer)
#else
#define SANITIZED 0
#endif

static double cpu_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double replay(const char *name)
{
	FILE *f = fopen(name, "rb");
	uint8_t *p = malloc(16u << 20);
	size_t n = f && p ? fread(p, 1, 16u << 20, f) : 0;
	double start = cpu_time();

	if (!f || !p)
		exit(4);
	fclose(f);
	p = realloc(p, n ? n : 1); /* so that ASan sees its end */
	LLVMFuzzerTestOneInput(p, n);
	free(p);
	return cpu_time() - start;
}

int main(int argc, char **argv)
{
	double slowest = 0;
	const char *which = "";
	struct rusage use;
	int bad = 0;

	for (int i = 1; i < argc; i++) {
		double t = replay(argv[i]);

		if (t > slowest) {
			slowest = t;
			which = argv[i];
		}
		if (t > 1 && !SANITIZED) {
			printf("%s takes %.1f s\n", argv[i], t);
			bad = 1;
		}
	}
	getrusage(RUSAGE_SELF, &use);
	if (use.ru_maxrss > 256 << 10 && !SANITIZED) {
		printf("%ld MiB are too much\n", use.ru_maxrss >> 10);
		bad = 1;
	}
	printf("%d files replayed; the slowest, %s, took %.3f s; %ld MiB\n",
	       argc - 1, which, slowest, use.ru_maxrss >> 10);
	return argc < 2 ? 2 : bad;
}
