#!/bin/bash
# The process that runs a guest has no privileges, no descriptors of its own and
# nearly no system calls; its end, however it comes, leaves the output absent or
# whole.
. tests/cli_lib.sh
F=tests/fixtures/kvm-6.1/full
n=$NSTATE
children() { c=$(cat "/proc/$1/task/$1/children") && c=${c%% *} && [ -n "$c" ] && echo "$c"; }
[ -r /proc/$$/task/$$/children ] || exit 77

"$n" resume "$F/4-in-l2.nss.gz" -o "$T/out.nss" 2>"$T/err" >/dev/null &
parent=$!
child=
for _ in $(seq 100); do
	child=$(children $parent) && grep -q 'Seccomp:.*2' "/proc/$child/status" && break
	sleep 0.05
done
[ -n "$child" ] || fail "no process of the guest's own"
st=/proc/$child/status
grep -q '^Seccomp:[[:space:]]*2' "$st" || fail "no filter"
grep -q '^NoNewPrivs:[[:space:]]*1' "$st" || fail "privileges can be gained"
[ "$(id -u)" != 0 ] || grep -q '^Uid:[[:space:]]*65534' "$st" || fail "still root"
grep -q '^CapEff:[[:space:]]*0*$' "$st" || [ "$(id -u)" = 0 ] ||
	grep -q '^CapEff:[[:space:]]*0*$' "/proc/$parent/status" || fail "capabilities"
open=$(ls "/proc/$child/fd" | wc -l)
[ "$open" -le 4 ] || fail "$open descriptors are open, not 0 to 2 and the link"
ls -l "/proc/$child/fd" | grep -q 'out.nss' && fail "it has the output file"

# Ctrl-C: a clean stop, and the snapshot is there.
kill -INT $parent
wait $parent || fail "status $? after SIGINT"
"$n" inspect -q "$T/out.nss" >/dev/null || fail "no snapshot after SIGINT"

# A guest process that dies is told of; nothing is left behind.
"$n" resume "$F/4-in-l2.nss.gz" -o "$T/none.nss" 2>"$T/err" >/dev/null &
parent=$!
for _ in $(seq 100); do child=$(children $parent) && break; sleep 0.05; done
kill -KILL "$child"
wait $parent
[ $? = 4 ] || fail "status after the guest's process died"
grep -q 'died of signal 9' "$T/err" || fail "$(cat "$T/err")"
[ ! -e "$T/none.nss" ] || fail "an output although the run died"

# And where the parent is killed the child goes too.
"$n" resume "$F/4-in-l2.nss.gz" >/dev/null 2>&1 &
parent=$!
for _ in $(seq 100); do
	child=$(children $parent) && grep -q 'Seccomp:.*2' "/proc/$child/status" && break
	sleep 0.05
done
kill -KILL $parent
wait $parent 2>/dev/null
for _ in $(seq 100); do [ -d "/proc/$child" ] || break; sleep 0.05; done
[ ! -d "/proc/$child" ] || fail "the guest outlives its keeper"

# One process on request; the results are the same.
for o in "" --no-sandbox; do
	"$n" resume $o "$F/4-in-l2.nss.gz" --until io:0x10=700 --report \
		--expect "$F/9-end.nss.gz" >"$T/report$o" 2>/dev/null ||
		fail "resume $o"
done
cmp "$T/report" "$T/report--no-sandbox" || fail "the reports differ"
"$n" run --help | grep -q no-sandbox || fail "run has no --no-sandbox"
finish
