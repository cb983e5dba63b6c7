# The example program of nstate-snapshot(5): built with every check, run where there is
# /dev/kvm.
CHECKS += check-examples
EXAMPLES := $(patsubst %.c,$(BUILD)/%,$(wildcard tests/examples/*.c))
# Public headers only, and the shared library, as a VMM has them.
$(EXAMPLES): $(BUILD)/%: %.c $(SHLIBS)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -MF $@.d -o $@ $< $(BUILD)/libnstate.so.0 \
		-Wl,-rpath,$(abspath $(BUILD)) $(PKGLIBS) $(LDFLAGS)

.PHONY: check-examples
check-examples: $(EXAMPLES) $(BUILD)/nstate
	@tests/examples/check $(BUILD)/tests/examples/capture_vm $(BUILD)/nstate
