#!/bin/bash
# The commands of docs/ci.md, on a shipped fixture.
. tests/cli_lib.sh
F=tests/fixtures/kvm-6.1/full
n=$NSTATE
cp "$F/4-in-l2.nss.gz" "$T/start.nss"
(
	cd "$T" || exit 1
	nstate() { "$n" "$@"; }
	eval "$(awk '/^```bash$/ { on = 1; next } /^```/ { on = 0 } on' "$OLDPWD/docs/ci.md" |
		grep -v hypervisor.elf | sed -e 's/console:ready/io:0x10=700/' -e 's/fixture.nss/start.nss/' \
			-e 's/$/ || exit 1/')"
) >"$T/out" 2>"$T/err" || fail "docs/ci.md: $(tail -3 "$T/err")"
grep -q '"verdict"\|"kernels"' "$T/verdict.json" || fail "no verdict in JSON"
cmp -s "$T/want.nss" "$T/start.nss" && fail "nothing ran"
finish
