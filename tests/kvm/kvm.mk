# Real KVM as the judge, on any machine: Debian's kernel boots in the core, loads
# kvm_intel with nested=1, and takes the snapshots.
KVM_CASES ?= 3000
# Debian's newer kernel, where apt offers it.
KVM_NEWER ?= linux-image-6.12-amd64
HELP += 'make check-kvm          real KVM, in the core, takes the snapshots and judges check'

$(BUILD)/kvm/judge: tests/kvm/judge.c $(ENTRY_OBJ) $(LIBS)
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -static -Wl,--no-warnings -o $@ tests/kvm/judge.c \
		$(ENTRY_OBJ) $(LIBS) $(STATIC_LIBS) $(LDFLAGS)

.PHONY: check-kvm
check-kvm: deps-proof
	@$(MAKE) --no-print-directory $(BUILD)/nstate $(BUILD)/nstate-static \
		$(BUILD)/kvm/judge
	@tests/kvm/check $(BUILD) $(KVM_CASES)
	@tests/kvm/check $(BUILD) $(KVM_CASES) $(KVM_NEWER) || [ $$? = 77 ]

HELP += 'make check-selftests    kernel selftests of nested KVM, in the core'
.PHONY: check-selftests
check-selftests: deps-proof
	@$(MAKE) --no-print-directory $(BUILD)/nstate
	@tests/kvm/selftests $(BUILD)

HELP += 'make check-kvm-qemu     QEMU on that KVM saves a VM inside L2, and takes it again'
.PHONY: check-kvm-qemu
check-kvm-qemu: deps-proof
	@$(MAKE) --no-print-directory $(BUILD)/nstate $(BUILD)/nstate-static \
		$(BUILD)/bench/counter.elf
	@tests/kvm/check-qemu $(BUILD)
