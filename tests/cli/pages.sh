#!/bin/bash
# Snapshots as older kernels would have left them become, page by page, what they were
# made from; a stream of a kernel that could not save nested state is said to be one.
. tests/cli_lib.sh
n=$NSTATE
F=tests/fixtures/kvm-6.1
variant() { case $1 in v4.14) echo no-shadow;; v4.12|rhel7.7)
	echo no-shadow-no-vmfunc;; *) echo no-pml;; esac; }

cat >"$T/ram.py" <<'P'
"""All pages of RAM of two snapshots: equal but for those named."""
import gzip, struct, sys
def ram(path):
    b = open(path, "rb").read()
    b = gzip.decompress(b) if b[:2] == b"\x1f\x8b" else b
    off, = struct.unpack_from("<Q", b, 32)
    num, = struct.unpack_from("<H", b, 56)
    pages = {}
    for i in range(num):
        t, _, o, _, at, size, mem, _ = struct.unpack_from("<IIQQQQQQ", b,
                                                          off + 56 * i)
        for k in range(0, mem if t == 1 else 0, 4096):
            p = b[o + k:o + min(k + 4096, size)] if k < size else b""
            if any(p):
                pages[at + k] = p.ljust(4096, b"\0")
    return pages
a, b = ram(sys.argv[1]), ram(sys.argv[2])
may = {int(x, 0) for x in sys.argv[3:]}
differ = {k for k in a.keys() | b.keys() if a.get(k) != b.get(k)}
if len(a) < 30 or differ - may:
    sys.exit(f"{len(a)} pages, {[hex(x) for x in sorted(differ - may)]}")
P
for l in v4.14 v4.12 rhel7.7 v4.0 rhel7.3; do
	for m in 2-vmptrld 4-in-l2 6-pml-nearly-full; do
		old=$F/as-$l/$m.nss.gz good=$F/$(variant $l)/$m.nss.gz
		[ -f "$old" ] && [ -f "$good" ] || continue
		status 0 "$n" convert -q --to v5.14 "$old" -o "$T/new.gz" -f
		# Page B holds a pattern in every field, the shadow VMCS what L1 wrote
		# there: in these, fields are gone that the old layout lacks.
		python3 "$T/ram.py" "$T/new.gz" "$good" 0x402000 0x403000 ||
			fail "$l $m"
		status 0 "$n" diff --no-ram "$T/new.gz" "$good"
	done
done

# 4.12 to 4.17 had no way to save nested state: RAM and CR4 tell that it was there.
python3 - "$T" <<'P' || fail 'no streams'
import sys
sys.path.insert(0, "tests")
import make_containers as mk
mk.stream(sys.argv[1] + "/lost", 2, 100, 1, [mk.cpu()])
mk.stream(sys.argv[1] + "/none", 2, 1000, 1, [mk.cpu()])
P
status 0 "$n" inspect "$T/lost"
says 'warning: vCPU 0 has CR4.VMXE .* an L2 that was active is lost'
says '0x4d000 .*not current'
says 'nested state  *none'
says_not 'what runs'
status 0 "$n" inspect --json -q "$T/lost"
says '"nested_state_lost": true'
says '"states": \[\]'
status 0 "$n" convert --to v6.18 "$T/lost" -o "$T/new"
says '5 pages change'
status 0 "$n" inspect --json "$T/new"
says '"states": \[\]'

# Pages of two layouts: shown, and refused without --from; stale pages follow.
python3 - "$T" <<'P' || fail 'no RAM'
import sys
d = sys.argv[1]
a = open("tests/fixtures/pages/kvm-4.17-in-l2.bin", "rb").read()
b = open(d + "/new", "rb").read()
i = b.index(a[:4], b.index(b"pc.ram"))
open(d + "/mixed", "wb").write(a + b[i:i + 4096] + bytes(8192))
P
status 0 "$n" scan --base 0 "$T/mixed"
says 'contradict each other: convert needs --from'
status 3 "$n" convert --base 0 --to v6.18 "$T/mixed" -o "$T/x"
one_line
says 'disagree .*--from'
[ ! -e "$T/x" ] || fail 'a refused conversion left its target'
finish
