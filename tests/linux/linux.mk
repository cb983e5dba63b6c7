# Debian's own kernel in the core; not in `make check`: it takes minutes and
# downloads a package of 70 MB.
HELP += 'make check-linux        boot Debian Linux to a shell in the core'

.PHONY: check-linux
check-linux: deps-proof
	@$(MAKE) --no-print-directory $(BUILD)/nstate
	@tests/linux/check $(BUILD)/nstate $(BUILD)/linux
