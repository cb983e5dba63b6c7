# kvm-unit-tests, built elsewhere: KUT is the directory of the x86 images.
HELP += 'make check-kut KUT=DIR  run kvm-unit-tests images in the core'

.PHONY: check-kut
check-kut: $(BUILD)/nstate
	@KUT=$(KUT) NSTATE=$(BUILD)/nstate tests/kut/run

HELP += 'make check-kut-vmx KUT=DIR  every subtest of vmx.flat by itself (20 minutes)'

.PHONY: check-kut-vmx
check-kut-vmx: $(BUILD)/nstate
	@KUT=$(KUT) NSTATE=$(BUILD)/nstate tests/kut/vmx
