#!/bin/bash
# resume: determinism, snapshots on the way, the built-in L1, what stops a run.
. tests/cli_lib.sh
F=tests/fixtures/kvm-6.1/full
n=$NSTATE
start=$F/4-in-l2.nss.gz end=$F/9-end.nss.gz
r() { timeout 60 "$n" resume -q "$@"; }

# Twice the same, to the byte.
status 0 r "$start" --max-insns 54321 -o "$T/a.nss"
status 0 r "$start" --max-insns 54321 -o "$T/b.nss"
cmp -s "$T/a.nss" "$T/b.nss" || fail 'two runs differ'

# Stopped anywhere and gone on with: the same end.
RANDOM=1
for i in $(seq 50); do
	k=$((RANDOM % 120000 + 1))
	status 0 r "$start" --max-insns $k -o "$T/stop.nss" -f
	status 0 r "$T/stop.nss" --until io:0x10=700 --expect "$end"
done

# The fixtures' statistics.
status 0 r "$F/1-vmxon-only.nss.gz" --until io:0x10=700 --report
for line in 'VMREAD reflected to L1 *175$' 'VMWRITE reflected to L1 *22$' \
	    'PML full *1$' '10 CPUID *88$' '18 VMCALL *44$'; do says "$line"; done

# Stop conditions, hashes, an expectation that is missed.
status 0 r "$start" --until exit:VMCALL --report; says 'reached exit:VMCALL'
status 0 r "$start" --until rip:L1:0x2000c0 --report; says 'in L1 at 0x2000c0'
status 0 r "$start" --until write:0x80d000 --report; says 'reached write'
status 1 r "$start" --until io:0x99 --max-insns 5000; says 'no stop condition'
status 1 r "$start" --until io:0x10=100 --expect "$end"; says 'differences'
status 0 r "$start" --until io:0x10=60 --hash-exits "$T/h"
status 0 r "$start" --until io:0x10=60 --check-hashes "$T/h"
sed -i '3s/[0-9a-f]$/z/; 3s/z$/0/' "$T/h"
sed '3s/ .*/ 00000001/' "$T/h" >"$T/h2"
status 1 r "$start" --until io:0x10=60 --check-hashes "$T/h2"; says 'part at exit 3'
status 0 r "$start" --until io:0x10=200 --pml-log "$T/pml"
grep -q '^0x80d000$' "$T/pml" || fail 'the PML log lacks a page'

# Traces as JSON, out of the sandbox too.
for t in exits io pml insns; do
	status 0 r "$start" --max-insns 3000 --json --trace $t
	says '^{"event":"'
done

# A bare blob, RAM, and no L1: its code page is zero.
gzip -dc "$start" | python3 -c '
import struct, sys
d = sys.stdin.buffer.read()
at, n = struct.unpack_from("<Q", d, 32)[0], struct.unpack_from("<H", d, 56)[0]
ram = bytearray(16 << 20)
for i in range(n):
    t, _, off, _, pa, fs, _, _ = struct.unpack_from("<IIQQQQQQ", d, at + 56 * i)
    if t == 1: ram[pa:pa + fs] = d[off:off + fs]
    while t == 4 and fs >= 12:
        ns, ds, ty = struct.unpack_from("<III", d, off)
        p = off + 12 + (ns + 3 & ~3)
        name = {1: "regs", 12: "blob"}.get(ty)
        if name: open(sys.argv[1] + "/" + name, "wb").write(d[p + 8:p + ds])
        size = 12 + (ns + 3 & ~3) + (ds + 3 & ~3)
        off += size; fs -= size
ram[0x200000:0x201000] = bytes(4096)
open(sys.argv[1] + "/ram", "wb").write(ram)' "$T"
status 0 timeout 60 "$n" resume "$T/blob" --ram "$T/ram" --regs "$T/regs" \
	--l1 builtin --until io:0x10=700 --report
says 'registers are missing'
says 'VMREAD (built-in L1) *172$'
status 3 r "$T/blob" --until io:0x10=700
status 2 r "$start" --engine kvm --max-insns 1
one_line
status 2 r "$start" --engine kvm --until rip:0x200000
status 0 r "$start" --engine auto --max-insns 1
if ! r "$start" --engine kvm --until io:0x10=60 >/dev/null 2>&1; then
	status 4 r "$start" --engine kvm --until io:0x10=60
	one_line
fi
# Another CPU than the snapshot's: CPUID is that model's.
status 0 r "$start" --cpu icelake-server,-pku --max-insns 10 -o "$T/ice"
"$n" caps "$T/ice" | grep '^cpuid' >"$T/is"
"$n" caps --cpu icelake-server,-pku | grep '^cpuid' >"$T/want"
cmp "$T/is" "$T/want" || fail '--cpu did not change the CPU'
status 3 r "$start" --cpu nonesuch --max-insns 1
one_line
finish
