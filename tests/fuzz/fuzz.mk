# make fuzz [FUZZ_TIME=seconds]: each tests/fuzz/fuzz_NAME.c under libFuzzer,
# ASan and UBSan, from the seeds that FUZZ_SEEDS_NAME lists.  What it finds stays
# in build/fuzz/corpus, crashes in build/fuzz/crashes.
FUZZ_TIME ?= 60
FUZZ_SRC  := $(sort $(wildcard tests/fuzz/fuzz_*.c))
FUZZ_BIN  := $(patsubst tests/fuzz/fuzz_%.c,$(BUILD)/tests/fuzz/%,$(FUZZ_SRC))
FUZZ_SEEDS_identify := $(wildcard tests/fixtures/pages/*.bin)
FUZZ_SEEDS_extract   = $(BUILD)/tests/fuzz/seed_module.o
FUZZ_SEEDS_layout_file := $(wildcard tests/fuzz/*.layout)

.PHONY: fuzz fuzz-run
fuzz:
	@$(MAKE) --no-print-directory FUZZ=1 fuzz-run

fuzz-run: $(addprefix fuzz-run-,$(notdir $(FUZZ_BIN)))

fuzz-run-%: $(BUILD)/tests/fuzz/%
	@$(if $(FUZZ_SEEDS_$*),$(MAKE) -s --no-print-directory FUZZ=1 $(FUZZ_SEEDS_$*))
	@mkdir -p $(BUILD)/corpus/$* $(BUILD)/crashes
	@$(if $(FUZZ_SEEDS_$*),cp -n $(FUZZ_SEEDS_$*) $(BUILD)/corpus/$*)
	@$< -max_total_time=$(FUZZ_TIME) -max_len=65536 -rss_limit_mb=3000 \
		-timeout=20 -artifact_prefix=$(BUILD)/crashes/$*- -print_final_stats=1 \
		$(BUILD)/corpus/$* >$(BUILD)/crashes/$*.log 2>&1 || \
		{ echo "FAIL fuzz/$*"; tail -n 40 $(BUILD)/crashes/$*.log; false; }
	@echo "ok   fuzz/$*: $$(sed -n 's/^Done \([0-9]* runs in [0-9]* second\).*/\1s/p' \
		$(BUILD)/crashes/$*.log)"

$(BUILD)/tests/fuzz/%: tests/fuzz/fuzz_%.c $(BUILD)/libnstate.a
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer -MMD -MP -MF $@.d -o $@ $< \
		$(BUILD)/libnstate.a $(PKGLIBS) $(LDFLAGS)

$(BUILD)/tests/fuzz/seed_module.o: tests/fuzz/seed_module.c
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -g -c -o $@ $<

HELP += 'make fuzz FUZZ_TIME=60   fuzz the readers of files with libFuzzer'
