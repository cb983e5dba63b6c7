#!/bin/bash
# Raw nested states, byte for byte: what an older kernel had becomes exactly what
# Linux 6.1 had at the same moment of the same VM.
. tests/cli_lib.sh
F=tests/fixtures
n=$NSTATE
blob() { python3 tests/nested_state.py "$1" >"$2" || fail "no blob in $1"; }
same() { # OLD NEW LAYOUT
	blob "$1" "$T/old"
	blob "$2" "$T/new"
	status 0 "$n" convert "$T/old" -o "$T/out.bin" -f
	if [ "$(stat -c %s "$T/old")" -gt 128 ]; then
		says "^$3 .*identified"
		cmp -s "$T/old" "$T/new" && fail "$1 was no other layout"
	fi
	cmp "$T/out.bin" "$T/new" || fail "$1 does not become $2"
}
for v in no-shadow no-shadow-no-vmfunc; do
	for m in 1-vmxon-only 3-before-launch 4-in-l2 5-in-l1-exit \
		6-pml-nearly-full 9-end; do
		same "$F/kvm-4.17/$v/$m.nss.gz" "$F/kvm-6.1/$v/$m.nss.gz" v4.14
	done
done
variant() { case $1 in v4.14) echo no-shadow;; v4.12|rhel7.7)
	echo no-shadow-no-vmfunc;; *) echo no-pml;; esac; }
for l in v4.14 v4.12 rhel7.7 v4.0 rhel7.3; do
	for m in 3-before-launch 4-in-l2 5-in-l1-exit 6-pml-nearly-full; do
		blob "$F/kvm-6.1/as-$l/$m.nss.gz" "$T/old"
		blob "$F/kvm-6.1/$(variant $l)/$m.nss.gz" "$T/new"
		status 0 "$n" convert "$T/old" --to v5.14 -o "$T/out.bin" -f
		cmp "$T/out.bin" "$T/new" || fail "as-$l $m"
	done
done

# Every page of every layout and back: a raw state loses nothing.
blob "$F/kvm-6.1/no-pml/4-in-l2.nss.gz" "$T/new"
for l in v4.0 v4.12 v4.14 v4.18 v5.8 v5.13 v5.14 v6.18; do
	status 0 "$n" convert --from v5.14 --to $l "$T/new" -o "$T/there" -f
	status 0 "$n" convert --from $l --to 6.1 "$T/there" -o "$T/back" -f
	cmp "$T/back" "$T/new" || fail "v5.14 to $l and back"
	status 0 "$n" diff --from-a $l --from-b v5.14 "$T/there" "$T/new"
done

# A layout may be a release or a file.
"$n" layouts show --file v4.14 >"$T/mine.layout" || fail 'layouts show --file'
blob "$F/kvm-4.17/no-shadow/4-in-l2.nss.gz" "$T/old"
blob "$F/kvm-6.1/no-shadow/4-in-l2.nss.gz" "$T/new"
for from in v4.14 4.17.3 "$T/mine.layout"; do
	status 0 "$n" convert --from "$from" "$T/old" -o "$T/out.bin" -f
	cmp "$T/out.bin" "$T/new" || fail "--from $from"
done

# Cut to its header, or in a buffer longer than it: the rest stays as it was.
{ cat "$T/old"; head -c 512 /dev/zero | tr '\0' Z; } >"$T/long"
status 0 "$n" convert "$T/long" -o "$T/out.bin" -f
cmp "$T/out.bin" <(cat "$T/new"; head -c 512 /dev/zero | tr '\0' Z) ||
	fail 'what is beyond the state changed'
tail -c +129 "$T/old" | head -c 4096 >"$T/page"
status 0 "$n" convert "$T/page" -o "$T/out.bin" -f
cmp "$T/out.bin" <(tail -c +129 "$T/new" | head -c 4096) || fail 'bare page'

# One wrong reading is named, one field is shown.
status 0 "$n" inspect "$T/old"
says 'would misread .*GUEST_RIP'
status 0 "$n" inspect "$T/new"
says_not 'would misread'
status 0 "$n" inspect -q --field GUEST_RIP "$T/old"
says 'GUEST_RIP .*2018dd'
status 0 "$n" inspect -q --raw --field 0x681e "$T/old"
says '+568 .*8 bytes .*0x681e'

# Values that fit no layout are never passed on as converted.
python3 - "$T/new" "$T/odd" <<'Q'
import random, sys
b = bytearray(open(sys.argv[1], 'rb').read())
random.seed(3)
b[140:] = random.randbytes(len(b) - 140)
open(sys.argv[2], 'wb').write(b)
Q
status 3 "$n" convert "$T/odd" -o "$T/no"
one_line
says 'fits no layout'
[ ! -e "$T/no" ] || fail 'a refused conversion left its target'
status 0 "$n" inspect -q "$T/odd"
says 'none that is known fits'
finish
