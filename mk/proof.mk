# Proofs that take longer than `make check` or look at the build itself.
HELP += 'make coverage           line coverage of layouts/ convert/ hvcore/' \
	'make check-reproducible two builds in two places, bit for bit' \
	'make dist               build/nstate-VERSION.tar.gz from HEAD' \
	'make check-deb          the Debian package built, looked at by lintian'

# One file that needs nothing of the machine it runs on, for a bare initramfs.  gdb's
# host names are looked up by glibc's own modules, which a static program has not:
# addresses in numbers work.
HELP += 'make nstate-static      build/nstate-static, without shared libraries'
STATIC_LIBS = -ldw -lbpf -lelf -lz -lzstd -llzma -llz4 -lbz2 -llzo2 -lsnappy \
	-lstdc++ -ljansson -lcapstone -lseccomp -lm -lpthread

.PHONY: nstate-static
nstate-static: $(BUILD)/nstate-static
$(BUILD)/nstate-static: $(CLI_O) $(LIBS)
	$(call say,LINK,$@)
	$(Q)$(CC) -static -Wl,--no-warnings -o $@ $(CLI_O) $(LIBS) $(STATIC_LIBS) \
		$(LDFLAGS)

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
	@$(MAKE) --no-print-directory COVERAGE=1 -k run-checks check-qemu \
		CLI_TESTS='$(filter-out %/sandbox.sh,$(CLI_TESTS))'
	@mk/coverage build/coverage

check-reproducible: deps-check
	@mk/check-reproducible $(BUILD)

check-deb: deps-proof dist
	@mk/check-deb build/$(DIST).tar.gz
