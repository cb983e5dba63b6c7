# What several threads do, under ThreadSanitizer: coding, passing, scanning.
HELP += 'make check-threads      the threads of scan and convert, under ThreadSanitizer'
THREADED := $(addprefix $(BUILD)/tests/unit/,test_passing test_containers)

.PHONY: check-threads check-threads-run
check-threads:
	@$(MAKE) --no-print-directory SANITIZE=thread check-threads-run

check-threads-run: $(BUILD)/nstate $(THREADED)
	@tests/threads/check $(abspath $^)
