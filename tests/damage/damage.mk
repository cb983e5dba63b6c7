# One small container of each format, cut at every byte and with one bit flipped at
# 10,000 places: refused, or converted right.
DAMAGE_FLIPS ?= 10000
CHECKS += check-damage-short
HELP += 'make check-damage       every cut, 10,000 flipped bits, in every format'

.PHONY: check-damage check-damage-short
check-damage: $(BUILD)/tests/damage/damage $(BUILD)/fuzz-seeds/stream
	@$< $(DAMAGE_FLIPS) 1 $(BUILD)/fuzz-seeds/*

check-damage-short: $(BUILD)/tests/damage/damage $(BUILD)/fuzz-seeds/stream
	@$< 300 97 $(BUILD)/fuzz-seeds/*

$(BUILD)/tests/damage/damage: tests/damage/damage.c $(BUILD)/libnstate.a
	$(call say,CC,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS_ALL) -o $@ $< $(BUILD)/libnstate.a $(PKGLIBS) $(LDFLAGS)
