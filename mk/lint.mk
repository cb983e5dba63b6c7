# Static checks: file sizes, spacing, words that mark unfinished work, cppcheck, and that
# man pages are clean.  clang-tidy runs with LINT_TIDY=1 (slow).
.PHONY: lint lint-size lint-space lint-format lint-words lint-cppcheck lint-man lint-tidy
LINT_SRC := $(sort $(wildcard layouts/*.[ch] layouts/*/*.[ch] convert/*.[ch] \
	convert/*/*.[ch] hvcore/*.[ch] hvcore/*/*.[ch] cli/*.[ch] cli/*/*.[ch]))

lint: deps-check lint-size lint-space lint-format lint-words lint-cppcheck lint-man $(if $(LINT_TIDY),lint-tidy)
	@echo "lint: clean"

# A file over 800 lines is two files.
lint-size:
	@long=$$(wc -l $(LINT_SRC) | awk '$$1 > 800 && $$2 != "total" \
		{print $$2 ": " $$1 " lines"}'); \
	[ -z "$$long" ] || { echo "$$long"; false; }

lint-space:
	@! grep -nE '[[:space:]]+$$' $(LINT_SRC)

lint-format:
	@mk/check-format $(LINT_SRC) $(wildcard tests/unit/*.[ch])

lint-words:
	@! grep -nE '\b(TODO|FIXME|XXX)\b'  $(LINT_SRC)

lint-cppcheck:
	@command -v cppcheck >/dev/null || { echo "cppcheck is not there"; exit 1; }
	@cppcheck --quiet --error-exitcode=1 --std=c11 -I. -j 2 \
		--enable=warning,portability --inline-suppr \
		--suppressions-list=mk/cppcheck.txt \
		$(filter %.c,$(filter layouts/% convert/% cli/%,$(LINT_SRC)))

lint-man:
	@for m in $(wildcard man/*.[1-9]); do \
		mandoc -T lint -W warning $$m || exit 1; done

lint-tidy: $(BUILD)/nstate
	@clang-tidy --quiet --warnings-as-errors='*' \
		--checks='-*,bugprone-*,-bugprone-easily-swappable-parameters' \
		$(filter %.c,$(LINT_SRC)) -- $(filter -I% -D% -std%,$(CFLAGS_ALL))
