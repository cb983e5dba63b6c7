# nstate: carries nested VMX state across KVM versions.
#
#   make            build everything          make demo    the main job, shown
#   make check      every test                make help    all targets
#
# Objects go to build/ (build/asan with SANITIZE=1, build/tsan, build/clang with CC=clang).
# Each folder may add a fragment, FOLDER/*.mk, which appends to the variables
# CHECKS (targets that `make check` runs) and HELP (lines of `make help`).

VERSION := 0.1
PREFIX  ?= /usr/local
LIBDIR  ?= $(PREFIX)/lib
MANDIR  ?= $(PREFIX)/share/man

# -- toolchain and flavour ----------------------------------------------------
is-clang := $(findstring clang,$(notdir $(firstword $(CC))))
flavour  := $(if $(SANITIZE),/$(if $(filter thread,$(SANITIZE)),tsan,asan))$(if $(is-clang),/clang)$(if $(FUZZ),/fuzz)$(if $(COVERAGE),/coverage)
BUILD    ?= build$(flavour)
PKGS     := libelf libdw libbpf zlib libzstd liblzma liblz4 jansson capstone \
            libseccomp
PKGLIBS   = $(shell pkg-config --libs $(PKGS)) -lbz2 -llzo2 -lsnappy -lpthread
OPT      ?= -O2
WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
            -Werror -Wno-gnu-variable-sized-type-not-at-end
CFLAGS   ?= -g
CFLAGS_ALL = -std=gnu11 $(OPT) $(WARN) -fPIC -fvisibility=hidden -pthread \
             -fno-strict-aliasing -D_GNU_SOURCE -DNSTATE_VERSION='"$(VERSION)"' \
             -I. -I$(BUILD)/gen -ffile-prefix-map=$(CURDIR)=. \
             $(SAN) $(CFLAGS) $(EXTRA_CFLAGS)
ifeq ($(SANITIZE),thread)
OPT := -O1
# It has room for few addresses.
SAN := -fsanitize=thread -DRESERVE=0x400000000ull -DHV_TRAMPOLINE
else ifdef SANITIZE
OPT := -O1
SAN := -fsanitize=address,undefined -fno-sanitize-recover=all \
       -fno-omit-frame-pointer -DHV_TRAMPOLINE
endif
ifdef FUZZ
CC  := clang
SAN := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
       -DHV_TRAMPOLINE
endif

# A guest's process ends without writing its counts: there is one process then.
# Counting gets between a call and its return, so that no tail call is left.
ifdef COVERAGE
OPT := -O1
SAN := --coverage -DNSTATE_ONE_PROCESS -DHV_TRAMPOLINE
endif

Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-7s %s\n' '$(1)' '$(2)')

# -- what there is to build ---------------------------------------------------
src = $(sort $(wildcard $(1)/*.c $(1)/*/*.c))
LAYOUTS_O := $(patsubst %.c,$(BUILD)/obj/%.o,$(call src,layouts))
CONVERT_O := $(patsubst %.c,$(BUILD)/obj/%.o,$(call src,convert))
HVCORE_O  := $(patsubst %.c,$(BUILD)/obj/%.o,$(call src,hvcore))
CLI_O     := $(patsubst %.c,$(BUILD)/obj/%.o,$(call src,cli))
LIBS      := $(BUILD)/libnstate.a $(BUILD)/libhvcore.a
SHLIBS    := $(BUILD)/libnstate.so.0 $(BUILD)/libhvcore.so.0
UNIT      := $(patsubst %.c,$(BUILD)/%,$(sort $(wildcard tests/unit/test_*.c)))
CLI_TESTS := $(sort $(wildcard tests/cli/*.sh))
CHECKS    := check-unit check-cli
HELP      :=

.PHONY: all deps deps-check deps-proof check demo clean help check-unit check-cli
.DELETE_ON_ERROR:
.SECONDARY:

all: $(BUILD)/nstate $(SHLIBS)

include $(sort $(wildcard mk/*.mk tests/*.mk tests/*/*.mk bench/*.mk))

$(BUILD)/nstate: $(CLI_O) $(LIBS)
	$(call say,LINK,$@)
	$(Q)$(CC) $(SAN) -o $@ $(CLI_O) $(LIBS) $(PKGLIBS) $(LDFLAGS)

$(BUILD)/libnstate.a: $(LAYOUTS_O) $(CONVERT_O)
$(BUILD)/libhvcore.a: $(LAYOUTS_O) $(HVCORE_O)
$(LIBS):
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcsD $@ $^

$(BUILD)/libnstate.so.0: $(LAYOUTS_O) $(CONVERT_O)
$(BUILD)/libhvcore.so.0: $(LAYOUTS_O) $(HVCORE_O)
$(SHLIBS):
	$(call say,LINK,$@)
	$(Q)$(CC) $(SAN) -shared -Wl,-soname,$(notdir $@) -o $@ $^ $(PKGLIBS) \
		$(LDFLAGS)

$(BUILD)/obj/%.o: %.c
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -c -o $@ $<

$(BUILD)/tests/unit/%: tests/unit/%.c $(LIBS)
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -MMD -MP -MF $@.d -o $@ $< $(LIBS) $(PKGLIBS) \
		-lcmocka $(LDFLAGS)

-include $(shell find $(BUILD) -path '*/kvm/selftests' -prune -o -name '*.d' -type f -print 2>/dev/null)

# -- set-up and proof ---------------------------------------------------------
deps deps-check deps-proof:
	@mk/install-packages $(patsubst deps,build,$(patsubst deps-%,%,$@))

# Sub-makes, so that the packages are there before a compiler is called.
check: deps-check
	@$(MAKE) --no-print-directory all run-checks

demo: deps
	@$(MAKE) --no-print-directory all
	@mk/demo $(BUILD)/nstate

.PHONY: run-checks
run-checks: $(CHECKS)
	@echo "all checks passed: $(CHECKS)"

check-unit: $(UNIT)
	@mk/run-tests unit $(UNIT)

check-cli: $(BUILD)/nstate
	@NSTATE=$(abspath $(BUILD)/nstate) mk/run-tests cli $(CLI_TESTS)

clean:
	rm -rf build

help:
	@sed -n 's/^#   //p' Makefile
	@printf '%s\n' 'make check SANITIZE=1   the same under ASan and UBSan' \
		'make CC=clang           build with clang' \
		'make lint               cppcheck, man pages, file sizes' \
		'make install            DESTDIR= PREFIX= LIBDIR= MANDIR=' $(HELP)
