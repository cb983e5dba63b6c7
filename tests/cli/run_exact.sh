#!/bin/sh
# A run that is cut anywhere, saved, and gone on with in another process ends as
# the run that was never cut: registers, RAM, devices and time, byte for byte.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
gcc -m32 -c -o "$dir/turns.o" tests/guest/turns.S 2>/dev/null &&
	ld -m elf_i386 -Ttext 0x100000 -o "$dir/turns" "$dir/turns.o" ||
	{ echo "cannot assemble the guest"; exit 77; }
bad=0
for cpus in 1 4; do
	run="$NSTATE run $dir/turns --smp $cpus -m 4M"
	first=$($run --stats 2>"$dir/stats")
	[ $? = 1 ] && [ -n "$first" ] || { echo "FAIL run, $cpus: $first"; bad=1; }
	[ "$($run 2>/dev/null)" = "$first" ] || { echo "FAIL repeat, $cpus"; bad=1; }
	all=$(awk '/ instructions$/ { print $1 }' "$dir/stats")
	end=$((all - 100))
	$run --snapshot-at insns=$end -o "$dir/end.nss" >/dev/null 2>&1
	for cut in 1000 $((all / 3)) $((all / 2 + 1)) $((end - 1)); do
		$run --snapshot-at insns=$cut -o "$dir/cut.nss" >/dev/null 2>&1
		"$NSTATE" resume "$dir/cut.nss" --max-insns $((end - cut)) \
			-f -o "$dir/there.nss" >/dev/null 2>"$dir/err" ||
			cat "$dir/err"
		cmp "$dir/there.nss" "$dir/end.nss" ||
			{ echo "FAIL cut at $cut of $end, $cpus"; bad=1; }
	done
	echo "$cpus: $first after $all instructions"
done
exit $bad
