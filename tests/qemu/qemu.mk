# A converted stream of a plain VM, loaded by Debian's QEMU (TCG).
QEMU ?= qemu-system-x86_64
HELP += 'make check-qemu         QEMU loads converted streams; all that QEMU writes is read'

.PHONY: check-qemu
check-qemu: deps-proof $(BUILD)/nstate
	@command -v $(QEMU) >/dev/null || { echo "$(QEMU) is not there"; exit 1; }
	@tests/qemu/check $(abspath $(BUILD)/nstate) $(QEMU)
	@tests/qemu/dumps $(abspath $(BUILD)/nstate) $(QEMU)
