# The core beside Bochs, QEMU's TCG and the host itself, on the guest of
# bench/guest.  BENCH_WORK names what to run (LEVEL.WORK ...; all without it).
BENCH_SRC   := bench/guest
BENCH_GUEST := $(BUILD)/bench/guest.elf
BENCH_CFLAGS := -std=gnu11 -O2 $(WARN) -I. -ffreestanding -fno-pic -mno-red-zone \
	-fno-stack-protector -fno-asynchronous-unwind-tables -mgeneral-regs-only \
	-fcf-protection=none
BENCH_WORK ?=
BENCH_PAIRS ?= 5
CHECKS += check-bench
HELP += 'make bench              the core beside Bochs, QEMU and the host: ratios'

.PHONY: bench check-bench
bench: deps-proof
	@$(MAKE) --no-print-directory $(BUILD)/nstate $(BENCH_GUEST) $(BUILD)/bench/native
	@bench/bench-core --build $(BUILD) --pairs $(BENCH_PAIRS) $(BENCH_WORK)

# Every workload once: its own checks, its instruction count, the host's sums.
check-bench: $(BUILD)/nstate $(BENCH_GUEST) $(BUILD)/bench/native
	@bench/check-guest $(BUILD)

$(BUILD)/bench/%.o: $(BENCH_SRC)/%.c $(BENCH_SRC)/bench.h $(BENCH_SRC)/guest.h \
		layouts/vmcs_fields.def
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BENCH_CFLAGS) -c -o $@ $<

$(BUILD)/bench/%.o: $(BENCH_SRC)/%.S $(BENCH_SRC)/bench.h
	$(call say,AS,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BENCH_CFLAGS) -c -o $@ $<

# An ELF32 of 64-bit code: what Multiboot loaders take.
define link-guest
	$(call say,LINK,$@)
	$(Q)$(CC) -nostdlib -static -no-pie -Wl,-T,$(BENCH_SRC)/link.ld \
		-Wl,--build-id=none -Wl,-z,max-page-size=4096 \
		-Wl,-z,noexecstack -Wl,--no-warn-rwx-segments -o $@.64 $(filter %.o,$^)
	$(Q)objcopy -O elf32-i386 $@.64 $@
endef
$(BENCH_GUEST): $(patsubst %,$(BUILD)/bench/%.o,boot console main vm work loops entry) \
		$(BENCH_SRC)/link.ld
	$(link-guest)

$(BUILD)/bench/native: $(patsubst %,$(BENCH_SRC)/%,native.c work.c loops.S bench.h)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -O2 $(WARN) -o $@ $(filter %.c %.S,$^)
