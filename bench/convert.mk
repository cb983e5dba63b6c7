# What convert and scan cost on big files: BENCH_MIB=4096 by default.
BENCH_MIB ?= 4096
HELP += 'make bench-convert      convert and scan of 4 GiB beside cp and cat'

.PHONY: bench-convert
bench-convert: $(BUILD)/nstate
	@bench/bench-convert $(abspath $(BUILD)/nstate) $(BENCH_MIB)
