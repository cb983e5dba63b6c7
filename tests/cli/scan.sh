#!/bin/bash
# scan: what stands in RAM, in containers that the fuzzers' seeds program makes;
# snapshot: from a container, and from a directory of raw structs.
. tests/cli_lib.sh
n=$NSTATE
page=tests/fixtures/pages/kvm-4.17-in-l2.bin
cat "$page" "$page" "$page" >"$T/ram"

# Raw RAM, at an address of its own.
status 0 "$n" scan --base 0x100000 "$T/ram"
says '0x100000 .*v4.14 (certain)'
says '0x102000 '
says 'all together: v4.14'
status 0 "$n" scan --json --base 1M -j 2 "$T/ram"
says '"layout": "v4.14"'
status 2 "$n" scan --base 0x10 "$T/ram"
status 2 "$n" scan --base xyz "$T/ram"
status 2 "$n" scan --lowmem 5G "$T/ram"
status 3 "$n" scan "$T/ram"
one_line
status 0 "$n" scan -e --base 0 "$T/ram"
says ' hard, '
status 0 "$n" convert -q --base 0x100000 --to v6.18 "$T/ram" -o "$T/new"
status 0 "$n" scan --base 0x100000 "$T/new"
says_not 'v4.14'

# An enlightened VMCS is shown as such and left alone.
python3 - "$T/evmcs" <<'P'
import struct, sys
b = bytearray(8192)
struct.pack_into("<II7H", b, 4096, 0x11e57ed0, 0, 16, 8, 16, 16, 0, 0, 0x40)
struct.pack_into("<QQQ", b, 4096 + 40, 0x80000031, 0x1000, 0x2020)
struct.pack_into("<Q", b, 4096 + 80, 0xffffffff81000000)
struct.pack_into("<Q", b, 4096 + 416, 2**64 - 1)
open(sys.argv[1], "wb").write(b)
P
status 0 "$n" scan --base 0 "$T/evmcs"
says '0x1000 .*enlightened VMCS'
status 0 "$n" convert --base 0 --from v4.14 --to v6.18 --dry-run "$T/evmcs"
says 'left alone: enlightened'

# LiME: ranges with addresses.
python3 - "$T/lime" "$page" <<'P'
import struct, sys
p = open(sys.argv[2], "rb").read()
h = lambda at, n: struct.pack("<IIQQQ", 0x4c694d45, 1, at, at + n - 1, 0)
open(sys.argv[1], "wb").write(h(0x4000, 4096) + p + h(0x9000, 8192) + bytes(4096) + p)
P
status 0 "$n" scan "$T/lime"
says '0x4000 '
says '0xa000 '
head -c 9000 "$T/lime" >"$T/cut"; status 3 "$n" scan "$T/cut"
one_line

# Formats that are known and refused say why.
python3 -c "import struct,sys; open(sys.argv[1],'wb').write(struct.pack('<Q',0x0710198486640001)+bytes(200))" "$T/fc"
status 3 "$n" inspect "$T/fc"; says 'Firecracker'
printf 'PAGEDU64%0200d' 0 >"$T/win"
status 3 "$n" inspect "$T/win"; says 'Windows'

# A directory of structs.
mkdir "$T/dir" "$T/dir/vcpu1"
head -c 144 /dev/zero >"$T/dir/regs"
head -c 312 /dev/zero >"$T/dir/sregs.bin"
head -c 144 /dev/zero >"$T/dir/vcpu1/regs"
cp "$T/ram" "$T/dir/ram-0x200000"
status 0 "$n" snapshot -q --from-dir "$T/dir" -o "$T/s.nss"
status 0 "$n" inspect "$T/s.nss"
says 'native snapshot, 2 vCPUs'
says '0x200000'
status 0 "$n" snapshot -q "$T/s.nss" -o "$T/s2.nss.gz"
gzip -dc "$T/s2.nss.gz" | cmp - "$T/s.nss" || fail "a snapshot of a snapshot differs"
head -c 143 /dev/zero >"$T/dir/regs"
status 3 "$n" snapshot --from-dir "$T/dir" -o "$T/s3.nss"
one_line; says 'regs'
[ ! -e "$T/s3.nss" ] || fail "a file is left behind"
mkdir "$T/empty"
status 3 "$n" snapshot --from-dir "$T/empty" -o "$T/s3.nss"
status 2 "$n" snapshot "$T/s.nss"
status 2 "$n" snapshot -o x

# cloud-hypervisor: registers, RAM beside it.
python3 - "$T" "$page" <<'P'
import json, sys
d, page = sys.argv[1:]
p = open(page, "rb").read()
nested = bytearray(8320)
nested[0] = 1
nested[4:8] = (4224).to_bytes(4, "little")
nested[8:16] = (0x3000).to_bytes(8, "little")
nested[16:24] = (0x1000).to_bytes(8, "little")
nested[128:4224] = p
kvm = {"Kvm": {"regs": [1] * 144, "sregs": [0] * 312, "nested_state": list(nested)}}
dump = lambda x: json.dumps(x, separators=(",", ":"))
st = {"snapshots": {"cpu-manager": {"snapshots": {"0": {"snapshots": {},
      "snapshot_data": {"state": dump(kvm)}}}, "snapshot_data": None},
      "memory-manager": {"snapshots": {}, "snapshot_data": {"state": dump(
          {"memory_ranges": {"data": [{"gpa": 0, "length": 16384}]}})}}},
      "snapshot_data": None}
open(d + "/state.json", "w").write(dump(st))
open(d + "/memory-ranges", "wb").write(bytes(4096) + p + p + bytes(4096))
P
status 0 "$n" scan "$T/state.json"
says '0x1000 .*stale copy'
says '0x2000 .*not current'
status 3 "$n" convert --to v6.18 "$T/state.json" -o "$T/new.json"
one_line; says 'only-current'
status 0 "$n" convert -q --only-current --to v6.18 "$T/state.json" -o "$T/new.json"
status 0 "$n" inspect --no-ram "$T/new.json"
says_not 'v4.14'
status 0 "$n" snapshot -q "$T/state.json" -o "$T/chv.nss"
status 0 "$n" inspect "$T/chv.nss"
says '0x2000'
finish
