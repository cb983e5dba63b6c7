# Much at once and much in one file.  Not a part of `make check`: some minutes.
LOAD_CONVERSIONS ?= 1000
HELP += 'make check-load         1,000 conversions at once, 64 GiB, 1,024 vCPUs, 65,536 segments'

.PHONY: check-load
check-load: $(BUILD)/nstate
	@tests/load/check $(abspath $(BUILD)/nstate) $(LOAD_CONVERSIONS)
