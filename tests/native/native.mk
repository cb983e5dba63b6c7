# The host CPU as oracle for the core's user-mode instructions.
NATIVE_CASES ?= 10000000
NATIVE_SHORT ?= 400000
NATIVE_SEED  ?= 1
NATIVE_SRC   := $(sort $(wildcard tests/native/*.c))

CHECKS += check-native-short
HELP   += 'make check-native       instructions against the host CPU, at length'

.PHONY: check-native check-native-short
check-native: $(BUILD)/native
	@n=$$(nproc); pids=; bad=0; \
	for k in $$(seq $$n); do \
		$(BUILD)/native $$(($(NATIVE_CASES) / n + 1)) \
			$$(($(NATIVE_SEED) + k)) & pids="$$pids $$!"; \
	done; \
	for p in $$pids; do wait $$p || bad=1; done; exit $$bad

check-native-short: $(BUILD)/native
	@$(BUILD)/native $(NATIVE_SHORT) $(NATIVE_SEED)

$(BUILD)/native: $(NATIVE_SRC) tests/native/native.h $(BUILD)/libhvcore.a \
		$(BUILD)/libnstate.a
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $(NATIVE_SRC) $(BUILD)/libhvcore.a \
		$(BUILD)/libnstate.a $(PKGLIBS) $(LDFLAGS)

# Dispatch has to be a jump: a compiler that makes a call of it would have the
# stack grow with every instruction.  (slow.c and run.c call by pointer.)
DISPATCH_O := $(filter-out %/slow.o %/run.o %/io.o,\
	$(filter $(BUILD)/obj/hvcore/exec/%.o,$(HVCORE_O)))
ifeq ($(SANITIZE)$(FUZZ)$(COVERAGE),)
CHECKS += check-dispatch
endif
.PHONY: check-dispatch
check-dispatch: $(DISPATCH_O)
	@for o in $(DISPATCH_O); do \
		objdump -d $$o | grep -E 'call +\*' | sed "s|^|$$o: |"; \
	done | { ! grep .; } && echo "every dispatch is a jump"
