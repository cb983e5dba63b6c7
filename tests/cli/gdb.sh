#!/bin/bash
# resume --gdb: the remote protocol over a socket, with the guest in the sandbox and
# without.
. tests/cli_lib.sh
f=tests/fixtures/kvm-6.1/full/4-in-l2.nss.gz
for o in "" --no-sandbox; do
	timeout 60 "$NSTATE" resume -q $o --gdb "$T/gdb" "$f" 2>"$T/err" >/dev/null &
	timeout 50 python3 tests/gdb_client.py "$T/gdb" >"$T/out" 2>&1 ||
		fail "client: $(cat "$T/out" "$T/err")"
	wait $! || fail "resume $o: status $?: $(cat "$T/err")"
	rm -f "$T/gdb"
done
status 2 "$NSTATE" resume --gdb "$T/gdb" --engine kvm "$f"
finish
