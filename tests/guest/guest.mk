# Guests of our own in the core, on the machine that bench/guest makes.
GUEST_TESTS := $(patsubst tests/guest/%.c,$(BUILD)/bench/%.elf,\
	$(wildcard tests/guest/*.c))
CHECKS += check-guest
HELP += 'make check-guest        guests that look for what hot paths leave out'

.PHONY: check-guest
check-guest: $(BUILD)/nstate $(GUEST_TESTS)
	@for g in $(GUEST_TESTS); do \
		timeout 120 $(BUILD)/nstate run -q -m 128M $$g; \
		s=$$?; [ $$s = 1 ] || { echo "$$g: status $$s"; exit 1; }; \
	done

$(BUILD)/bench/%.o: tests/guest/%.c $(BENCH_SRC)/guest.h layouts/vmcs_fields.def
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(BENCH_CFLAGS) -I$(BENCH_SRC) -c -o $@ $<

$(GUEST_TESTS): $(BUILD)/bench/%.elf: $(BUILD)/bench/%.o \
		$(patsubst %,$(BUILD)/bench/%.o,boot console vm work loops entry)
	$(link-guest)
