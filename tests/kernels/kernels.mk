# The layouts of the kernels that apt offers, read from their modules.  Not a
# part of `make check`: it downloads some gigabytes.
.PHONY: check-kernels
check-kernels: $(BUILD)/nstate
	@tests/kernels/check $(abspath $(BUILD)/nstate) $(abspath $(BUILD)/kernels)

HELP += 'make check-kernels      extract the layouts of all kernels that apt offers'
