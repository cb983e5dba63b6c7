# The README followed in a clean Debian root.
FRESH_ROOT ?= $(or $(TMPDIR),/tmp)/nstate-fresh/root
HELP += 'make check-fresh        README.md word by word in a clean Debian 12 (root)'

.PHONY: check-fresh
check-fresh: deps-proof
	@mkdir -p $(dir $(FRESH_ROOT))
	@tests/fresh/check $(FRESH_ROOT)
