#!/bin/bash
# convert and diff: real snapshots of an older kernel become a newer one's.
. tests/cli_lib.sh
F=tests/fixtures
n=$NSTATE

# 4.17's nested state is identified and becomes 6.1's at the same moment.
for v in no-shadow no-shadow-no-vmfunc; do
	for m in 3-before-launch 4-in-l2 5-in-l1-exit 6-pml-nearly-full 9-end; do
		old=$F/kvm-4.17/$v/$m.nss.gz
		status 0 "$n" convert "$old" -o "$T/c.nss" -f
		says '^v4.14 .*identified.* to v4.18'
		status 0 "$n" diff --no-ram "$T/c.nss" "$F/kvm-6.1/$v/$m.nss.gz"
	done
done

# The "as" snapshots: fields that both layouts have come out as they were.
variant() { case $1 in v4.14) echo no-shadow;; v4.12|rhel7.7)
	echo no-shadow-no-vmfunc;; *) echo no-pml;; esac; }
for l in v4.14 v4.12 rhel7.7 v4.0 rhel7.3; do
	for m in 3-before-launch 4-in-l2 5-in-l1-exit 6-pml-nearly-full; do
		status 0 "$n" convert "$F/kvm-6.1/as-$l/$m.nss.gz" -o "$T/c.nss" -f
		status 0 "$n" diff --no-ram "$T/c.nss" \
			"$F/kvm-6.1/$(variant $l)/$m.nss.gz"
	done
done

# There and back again: the same bytes.
s=$F/kvm-6.1/no-shadow/4-in-l2.nss.gz
status 0 "$n" convert "$s" --from v5.14 --to v4.14 --drop-unsupported -o "$T/old.nss"
status 0 "$n" inspect "$T/old.nss"
says 'v4.14.*certain'
status 0 "$n" convert "$T/old.nss" --to v5.14 -o "$T/new.nss"
status 0 "$n" diff --no-ram "$T/new.nss" "$s"

# What convert refuses.
old=$F/kvm-4.17/no-shadow/4-in-l2.nss.gz
gzip -dc "$old" >"$T/in.nss"
cp "$T/in.nss" "$T/before"
status 2 "$n" convert "$old"
status 2 "$n" convert "$T/in.nss" -o "$T/in.nss" -f
says 'is the input itself'
touch "$T/there"
status 2 "$n" convert "$old" -o "$T/there"
says 'exists'
status 3 "$n" convert "$T/in.nss" --to v3.1 -o "$T/x.nss"
says 'has no place in layout v3.1'
[ ! -e "$T/x.nss" ] || fail 'a refused conversion left its target'
status 2 "$n" convert "$old" --from v9.9 -o "$T/x.nss"
cmp -s "$T/in.nss" "$T/before" || fail 'the input changed'

# --dry-run writes nothing; -o - goes to a pipe.
status 0 "$n" convert "$T/in.nss" --dry-run
says 'pages change'
"$n" convert "$T/in.nss" -o - 2>/dev/null | cmp -s - <("$n" convert -q \
	"$T/in.nss" -o "$T/y.nss" && cat "$T/y.nss") || fail 'pipe and file differ'

# In place, and undone.
status 0 "$n" convert "$T/in.nss" --in-place
cmp -s "$T/in.nss" "$T/y.nss" || fail 'in place is not like a new file'
status 2 "$n" convert "$T/in.nss" --in-place
says 'in.nss.undo exists'
status 0 "$n" convert "$T/in.nss" --undo
cmp -s "$T/in.nss" "$T/before" || fail '--undo did not put everything back'
[ ! -e "$T/in.nss.undo" ] || fail 'the journal is still there'
status 3 "$n" convert "$old" --in-place
says 'compressed'

# JSON is JSON.
status 0 "$n" convert "$T/in.nss" --dry-run --json
python3 -m json.tool <"$T/out" >/dev/null || fail 'convert --json'
status 0 "$n" inspect --all --json "$T/in.nss"
python3 -m json.tool <"$T/out" >/dev/null || fail 'inspect --json'
status 1 "$n" diff --json "$T/in.nss" "$s"
python3 -m json.tool <"$T/out" >/dev/null || fail 'diff --json'
finish
