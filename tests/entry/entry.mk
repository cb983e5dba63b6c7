# What check says of a VM entry against what the core's VM entry does, over random
# damages of good vmcs12s.
ENTRY_CASES ?= 200000
ENTRY_SHORT ?= 20000
ENTRY_SEED  ?= 1
ENTRY_OBJ   := $(patsubst %,$(BUILD)/obj/cli/%.o,check/subject check/verdict \
	check/rules check/caps check/caps_file cpu_model out)
ENTRY_GOOD  := $(sort $(wildcard tests/fixtures/kvm-6.1/*/3-before-launch.nss.gz))

CHECKS += check-entry-short
HELP   += 'make check-entry        check against VM entries, at length (ENTRY_CASES=)'

.PHONY: check-entry check-entry-short
check-entry: $(BUILD)/entry
	@$(BUILD)/entry $(ENTRY_CASES) $(ENTRY_SEED) $(ENTRY_GOOD)

check-entry-short: $(BUILD)/entry
	@$(BUILD)/entry $(if $(SANITIZE),4000,$(ENTRY_SHORT)) $(ENTRY_SEED) \
		$(ENTRY_GOOD)

$(BUILD)/entry: tests/entry/main.c $(ENTRY_OBJ) $(LIBS)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ tests/entry/main.c $(ENTRY_OBJ) $(LIBS) \
		$(PKGLIBS) $(LDFLAGS)
