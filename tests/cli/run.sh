#!/bin/sh
# nstate run: every kind of image, made here byte by byte; what the guest sees
# of its boot; exit statuses; bad images.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
bad=0
python3 tests/cli/run_images.py "$dir" || exit 1

# want NAME STATUS OUTPUT ARGS...
want() {
	name=$1 status=$2 output=$3
	shift 3
	got=$(timeout 60 "$NSTATE" run "$@" 2>"$dir/err" </dev/null)
	rc=$?
	if [ $rc != "$status" ] || [ "$got" != "$output" ]; then
		echo "FAIL $name: status $rc, not $status; output '$got'," \
			"not '$output'"
		sed 's/^/   /' "$dir/err"
		bad=1
	fi
}
# refuse NAME STATUS TEXT ARGS...: one line on standard error.
refuse() {
	name=$1 status=$2 text=$3
	shift 3
	timeout 60 "$NSTATE" run "$@" >"$dir/out" 2>"$dir/err" </dev/null
	rc=$?
	if [ $rc != "$status" ] || ! grep -q "$text" "$dir/err" ||
	   [ "$status" = 3 -a "$(wc -l <"$dir/err")" != 1 ]; then
		echo "FAIL $name: status $rc, not $status:"
		sed 's/^/   /' "$dir/err"
		bad=1
	fi
}

want raw 7 R --kernel "$dir/raw"
want multiboot32 15 "M32 multiboot32 one two" "$dir/multiboot32" --append "one two"
want multiboot64 15 "M32 multiboot64" "$dir/multiboot64"
want kludge 15 "M32 kludge a" "$dir/kludge" --append a
want module 15 "hello" "$dir/module" --initrd "$dir/hello"
want elf64 21 "L64" "$dir/elf64" -m 4G
gzip -k "$dir/elf64"
want gzip 21 "L64" "$dir/elf64.gz"
want idle 0 "" "$dir/idle"
want reset 0 "" "$dir/reset"
want shutdown 0 "" "$dir/shutdown"
want limit 0 "" "$dir/spin" --max-insns 100000
want serial-file 7 "" "$dir/raw" --serial "$dir/console"
[ "$(cat "$dir/console")" = R ] || { echo "FAIL --serial"; bad=1; }
# The same run gives the same counts.
"$NSTATE" run "$dir/multiboot32" --stats >"$dir/1" 2>&1
"$NSTATE" run "$dir/multiboot32" --stats >"$dir/2" 2>&1
cmp -s "$dir/1" "$dir/2" || { echo "FAIL runs differ"; bad=1; }

timeout 60 "$NSTATE" run "$dir/triple" >/dev/null 2>"$dir/err"
rc=$?
[ $rc = 3 ] && grep -q "rax" "$dir/err" || { echo "FAIL triple fault: $rc"; bad=1; }

# The handler of #UD is itself an undefined instruction: no count of instructions ends
# that, for none retires.
timeout 60 "$NSTATE" run "$dir/faults" --max-insns 1000 >/dev/null 2>"$dir/err"
rc=$?
[ $rc = 3 ] && grep -q "nothing but exceptions" "$dir/err" ||
	{ echo "FAIL faults for ever: $rc"; bad=1; }

refuse missing 4 "No such file" "$dir/none"
refuse empty 3 "empty" "$dir/empty"
for f in "$dir"/bad-*; do
	refuse "$(basename "$f")" 3 "nstate: $f: " "$f"
done
refuse no-room 3 "larger -m" "$dir/multiboot32" -m 2M
refuse usage 2 "no image"
refuse size 2 "bad size" "$dir/raw" -m lots
refuse smp 2 "1 to 255" "$dir/raw" --smp 0
refuse model 3 "nosuch" "$dir/raw" --cpu nosuch
refuse trace 2 "insns, events" "$dir/raw" --trace all
refuse snapshot 2 "go together" "$dir/raw" --snapshot-at end
exit $bad
