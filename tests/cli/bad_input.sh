#!/bin/bash
# Bad input: one clear line, exit status 3, no crash.
. tests/cli_lib.sh
n=$NSTATE
blob() { # OFFSET BYTES...: a good-looking nested state with these bytes changed
	python3 - "$T/blob" "$@" <<'P'
import sys
b = bytearray(4224)
b[4:8] = (4224).to_bytes(4, 'little')
b[8:16] = (0x400000).to_bytes(8, 'little')
b[16:24] = (0x401000).to_bytes(8, 'little')
b[128:132] = (0x11e57ed0).to_bytes(4, 'little')
if len(sys.argv) > 2:
    at = int(sys.argv[2], 0)
    new = bytes(int(x, 0) for x in sys.argv[3:])
    b[at:at + len(new)] = new
open(sys.argv[1], 'wb').write(b)
P
}
bad() { # FILE WHAT-IT-SAYS
	for c in inspect 'convert --dry-run' 'layouts identify'; do
		# shellcheck disable=SC2086
		status 3 "$n" $c "$1"
		one_line
		says "$2"
		says "^nstate: $1: "
	done
}
: >"$T/empty"; bad "$T/empty" 'empty'
bad "$T" 'directory'
head -c 127 /dev/zero >"$T/short"; bad "$T/short" 'shorter than'
blob 4 0xff 0xff 0xff 0x00; bad "$T/blob" 'size'
blob 4 0x00 0x20 0 0; bad "$T/blob" 'cut'
blob 2 2; bad "$T/blob" 'format'
blob 128 0xd1; bad "$T/blob" 'revision'
head -c 4224 /dev/urandom >"$T/random"; bad "$T/random" 'not a'
truncate -s 4G "$T/sparse"; bad "$T/sparse" 'not a'
status 4 "$n" inspect "$T/absent"; one_line
printf '\x1f\x8b\x08\x00garbage' >"$T/x.gz"; bad "$T/x.gz" 'gzip'

# What is unusual but right is shown.
blob; status 0 "$n" inspect "$T/blob"
cat "$T/blob" /dev/zero | head -c 8320 >"$T/long"
status 0 "$n" inspect "$T/long"; says 'beyond the state'
tail -c +129 "$T/blob" >"$T/page"; status 0 "$n" inspect "$T/page"; says 'bare page'
blob 2 1; status 0 "$n" inspect "$T/blob"; says 'nothing to remap'
finish
