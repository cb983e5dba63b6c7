# The host CPU as oracle for the core's user-mode instructions.
NATIVE_CASES ?= 10000000
NATIVE_SHORT ?= 400000
NATIVE_SEED  ?= 1
NATIVE_SRC   := $(sort $(wildcard tests/native/*.c))

CHECKS += check-native-short
HELP   += 'make check-native       instructions against the host CPU, at length'

.PHONY: check-native check-native-short
check-native: $(BUILD)/native
	@$(BUILD)/native $(NATIVE_CASES) $(NATIVE_SEED)

check-native-short: $(BUILD)/native
	@$(BUILD)/native $(NATIVE_SHORT) $(NATIVE_SEED)

$(BUILD)/native: $(NATIVE_SRC) tests/native/native.h $(BUILD)/libhvcore.a \
		$(BUILD)/libnstate.a
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $(NATIVE_SRC) $(BUILD)/libhvcore.a \
		$(BUILD)/libnstate.a $(PKGLIBS) $(LDFLAGS)
