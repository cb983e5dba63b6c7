# Nothing is lost by kill -9, a full disk, read errors, interrupted and short calls.
NOLOSS_KILLS ?= 200
CHECKS += check-noloss-short
HELP += 'make check-noloss       kill -9, full disk, read errors: nothing is lost'

.PHONY: check-noloss check-noloss-short
check-noloss: $(BUILD)/nstate $(BUILD)/tests/noloss/fault.so
	@tests/noloss/check $(abspath $^) $(NOLOSS_KILLS)

check-noloss-short: $(BUILD)/nstate $(BUILD)/tests/noloss/fault.so
	@tests/noloss/check $(abspath $^) 24

$(BUILD)/tests/noloss/fault.so: tests/noloss/fault.c
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu11 -O1 -Wall -Wextra -Werror -shared -fPIC -o $@ $<
