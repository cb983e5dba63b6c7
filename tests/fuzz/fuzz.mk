# Fuzzing: `make fuzz` builds one libFuzzer program a format and runs each for
# FUZZ_TIME seconds; `make check` replays the seeds and what was ever found.
FUZZ_TIME ?= 60
FUZZ_JOBS ?= 1
FUZZ_FORMATS := any passing stream libvirt qcow2 kdump elf blob snapshot chv crosvm lime
fuzz-kind-any :=
fuzz-kind-stream := QEMU migration stream
fuzz-kind-libvirt := libvirt save image
fuzz-kind-qcow2 := qcow2 snapshot
fuzz-kind-kdump := kdump
fuzz-kind-elf := ELF core
fuzz-kind-blob := raw nested state
fuzz-kind-snapshot := native snapshot
fuzz-kind-chv := cloud-hypervisor snapshot
fuzz-kind-crosvm := crosvm vCPU
fuzz-kind-lime := LiME capture
FUZZ_SEEDS := $(BUILD)/fuzz-seeds
FUZZ_BIN := $(patsubst %,$(BUILD)/tests/fuzz/fuzz-%,$(FUZZ_FORMATS))

CHECKS += check-fuzz
HELP += 'make fuzz               libFuzzer on every format, FUZZ_TIME seconds each'

.PHONY: fuzz fuzz-run check-fuzz
$(BUILD)/tests/fuzz/seeds: tests/fuzz/seeds.c tests/unit/container_gen.h
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -fsanitize=fuzzer-no-link%,$(CFLAGS_ALL)) -o $@ $< -lz

$(FUZZ_SEEDS)/stream: $(BUILD)/tests/fuzz/seeds
	$(Q)mkdir -p $(FUZZ_SEEDS)
	$(Q)$< $(FUZZ_SEEDS)

# A replay of each target, and the targets that are not one format's.
$(BUILD)/tests/fuzz/replay-%: tests/fuzz/replay.c tests/fuzz/fuzz_%.c \
		tests/fuzz/fuzz_core.h $(LIBS)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ tests/fuzz/replay.c tests/fuzz/fuzz_$*.c \
		$(LIBS) $(PKGLIBS) $(LDFLAGS)

FUZZ_NAMED := $(addprefix $(BUILD)/tests/fuzz/fuzz-,passing core)
$(FUZZ_NAMED): $(BUILD)/tests/fuzz/fuzz-%: tests/fuzz/fuzz_%.c \
		tests/fuzz/fuzz_core.h $(LIBS)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer -o $@ $< $(LIBS) $(PKGLIBS) \
		$(LDFLAGS)

check-fuzz: $(BUILD)/tests/fuzz/replay-container $(BUILD)/tests/fuzz/replay-passing \
		$(FUZZ_SEEDS)/stream
	@$< $(FUZZ_SEEDS)/* $(wildcard tests/fuzz/corpus/*)
	@$(BUILD)/tests/fuzz/replay-passing $(FUZZ_SEEDS)/*stream* \
		$(FUZZ_SEEDS)/libvirt $(FUZZ_SEEDS)/elf $(FUZZ_SEEDS)/lime \
		$(wildcard tests/fuzz/corpus/*)

fuzz:
	@$(MAKE) --no-print-directory FUZZ=1 fuzz-run

$(BUILD)/tests/fuzz/fuzz-%: tests/fuzz/fuzz_container.c $(BUILD)/libnstate.a
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -fsanitize=fuzzer \
		-DFORMAT='"$(fuzz-kind-$*)"' -o $@ $< $(BUILD)/libnstate.a \
		$(PKGLIBS) $(LDFLAGS)

fuzz-run: $(FUZZ_BIN) $(FUZZ_SEEDS)/stream
	@for f in $(FUZZ_FORMATS); do \
		mkdir -p $(BUILD)/fuzz-corpus/$$f $(BUILD)/fuzz-found/ && \
		echo "== $$f" && \
		$(BUILD)/tests/fuzz/fuzz-$$f -max_total_time=$(FUZZ_TIME) \
			-max_len=1048576 -timeout=10 -rss_limit_mb=1024 \
			-malloc_limit_mb=256 -print_final_stats=1 \
			-artifact_prefix=$(BUILD)/fuzz-found/$$f- \
			$(BUILD)/fuzz-corpus/$$f $(FUZZ_SEEDS) \
			tests/fuzz/corpus 2>&1 | tail -n 12 || exit 1; \
	done
	@[ -z "$$(ls $(BUILD)/fuzz-found)" ] || { ls $(BUILD)/fuzz-found; false; }

# The core: states and code at random, over snapshots of nested VMs.
HELP += 'make fuzz-core          libFuzzer on the core itself, FUZZ_TIME seconds'
CORE_SEEDS := $(BUILD)/core-seeds
CHECKS += check-fuzz-core

$(BUILD)/tests/fuzz/core-seeds: tests/fuzz/core_seeds.c tests/fuzz/fuzz_core.h
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(filter-out -fsanitize=fuzzer-no-link%,$(CFLAGS_ALL)) -o $@ $<

$(CORE_SEEDS)/0: $(BUILD)/tests/fuzz/core-seeds
	$(Q)mkdir -p $(CORE_SEEDS)
	$(Q)$< $(CORE_SEEDS)

.PHONY: check-fuzz-core fuzz-core fuzz-core-run
check-fuzz-core: $(BUILD)/tests/fuzz/replay-core $(CORE_SEEDS)/0
	@$< $(CORE_SEEDS)/* $(wildcard tests/fuzz/core/*)

fuzz-core:
	@$(MAKE) --no-print-directory FUZZ=1 fuzz-core-run

fuzz-core-run: $(BUILD)/tests/fuzz/fuzz-core $(CORE_SEEDS)/0
	@mkdir -p $(BUILD)/fuzz-corpus/core $(BUILD)/fuzz-found
	@$(BUILD)/tests/fuzz/fuzz-core -max_total_time=$(FUZZ_TIME) -max_len=1024 \
		-len_control=0 -timeout=60 -rss_limit_mb=1024 -malloc_limit_mb=256 -print_final_stats=1 \
		-artifact_prefix=$(BUILD)/fuzz-found/core- \
		$(BUILD)/fuzz-corpus/core $(CORE_SEEDS) $(wildcard tests/fuzz/core) \
		2>&1 | tail -n 40
	@[ -z "$$(ls $(BUILD)/fuzz-found)" ] || { ls $(BUILD)/fuzz-found; false; }
