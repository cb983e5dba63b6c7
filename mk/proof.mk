# Proofs that take longer than `make check` or look at the build itself.
HELP += 'make coverage           line coverage of layouts/ convert/ hvcore/' \
	'make check-reproducible two builds in two places, bit for bit' \
	'make dist               build/nstate-VERSION.tar.gz from HEAD' \
	'make check-deb          the Debian package built, looked at by lintian'

.PHONY: dist coverage check-reproducible check-deb
DIST = nstate-$(VERSION)

dist:
	@mkdir -p build
	@git archive --prefix=$(DIST)/ HEAD | gzip -9n >build/$(DIST).tar.gz
	@echo "build/$(DIST).tar.gz"

# The sandbox tests have no guest process to look at: one process is counted.
coverage: deps-proof
	@find build/coverage -name '*.gcda' -delete 2>/dev/null || true
	@$(MAKE) --no-print-directory COVERAGE=1 all
	@$(MAKE) --no-print-directory COVERAGE=1 -k run-checks \
		CLI_TESTS='$(filter-out %/sandbox.sh,$(CLI_TESTS))'
	@mk/coverage build/coverage

check-reproducible: deps-check
	@mk/check-reproducible $(BUILD)

check-deb: deps-proof dist
	@mk/check-deb build/$(DIST).tar.gz
