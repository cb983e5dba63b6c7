#!/bin/bash
# Compressed streams, pipes: the codecs' own tools read what is written, and it is what
# a plain file becomes.
. tests/cli_lib.sh
n=$NSTATE
python3 - "$T/plain" <<'P' || fail 'no stream'
import sys
sys.path.insert(0, "tests")
import make_containers as mk
mk.stream(sys.argv[1], 2, 100, 1, [mk.cpu(mk.old_page(), 0xff000, 77 << 12)],
          mixed=True)
P
status 0 "$n" convert -q --to v6.18 "$T/plain" -o "$T/want"
some=0
for tool in gzip xz zstd bzip2 lz4 lzop; do
	command -v $tool >/dev/null || { echo "$tool is not there"; continue; }
	some=$((some + 1))
	$tool -c "$T/plain" >"$T/in" || fail $tool
	status 0 "$n" scan "$T/in"
	says '0x4d000 .*stale'
	status 0 "$n" convert -q --to v6.18 "$T/in" -o "$T/new" -f
	$tool -dc <"$T/new" | cmp - "$T/want" || fail "$tool: another file"
	# Through pipes, both ways; and twice wrapped.
	"$n" convert -q --to v6.18 - -o - <"$T/in" | cat >"$T/piped"
	cmp "$T/piped" "$T/new" || fail "$tool: pipe and file differ"
	cat "$T/in" | "$n" convert -q --to v6.18 - -o - | cmp - "$T/new" ||
		fail "$tool: a piped input differs"
	gzip -1c "$T/in" >"$T/in2"
	status 0 "$n" scan "$T/in2"
	says '0x4d000 '
	status 3 "$n" convert --in-place --to v6.18 "$T/in"
	one_line
	says 'compressed'
	# No copy is made on disk.
	(ulimit -f 1950; exec "$n" scan -q "$T/in") >"$T/o" ||
		fail "$tool: a file as large as the stream"
	# Cut in the middle: where.
	head -c 100000 "$T/in" >"$T/cut"
	status 3 "$n" scan "$T/cut"
	one_line
done
[ $some -ge 5 ] || fail "only $some codecs' tools are there"
finish
