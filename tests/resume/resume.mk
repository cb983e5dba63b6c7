# Snapshots that real KVM took, resumed in the core and compared with what real
# KVM did next.
CHECKS += check-fixtures
HELP += 'make check-fixtures     resume every shipped snapshot to its known end'
.PHONY: check-fixtures
check-fixtures: $(BUILD)/nstate
	@tests/resume/check-fixtures $(BUILD)/nstate
