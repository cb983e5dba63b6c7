#!/bin/bash
# Real containers of QEMU and libvirt, where NSTATE_CONTAINERS names a directory
# of them (they hold firmware, which is not ours to keep here).
. tests/cli_lib.sh
n=$NSTATE
D=${NSTATE_CONTAINERS:-}
[ -n "$D" ] && [ -d "$D" ] || { echo "NSTATE_CONTAINERS names no directory"; exit 77; }

# Every file is recognised; kind, vCPUs, nested states, VMCS pages in RAM.
python3 - "$n" "$D" <<'P' || exit 1
import json, subprocess, sys
n, d = sys.argv[1:]
S, L, E, K = "QEMU migration stream", "libvirt save image", "ELF core", "kdump"
demo = [0x200000, 0x201000, 0x202000]       # pattern, shadow id, VMXON-like
real = [0x400000, 0x401000, 0x402000, 0x403000, 0x40b000]
table = [(f"lv113-save-nested-{f}.sav", L, 1, 1, demo) for f in (
    "bzip2", "gzip", "lzop", "raw", "xz", "sparse", "sparse-parallel")] + [
    (f"q100-pc-nested-{f}.mig", S, 1, 1, demo) for f in (
        "bgsnapshot", "stream", "validateuuid", "mappedram",
        "mappedram-multifd", "ignoreshared")] + [
    (f"q72-real-nested-{f}.mig", S, 1, 1, real) for f in (
        "pc-l1", "q35-l2-1", "q35-l2-2", "noshadow-q35-l2",
        "noshadow-q35-l2-as-v4.14")] + [
    ("lv113-extsnapshot-mem.sav", L, 1, 0, demo),
    ("lv113-virshdump-memonly.elf", E, 1, 0, demo),
    ("lv113-virshdump-memonly.kdump-zlib", K, 1, 0, demo),
    ("q100-q35-2cpu-max-16m.elf", E, 2, 0, demo),
    ("q100-q35-2cpu-max-16m.kdump-raw-zlib", K, 2, 0, demo),
    ("q100-q35-2cpu-max-16m.kdump-zlib", K, 2, 0, demo),
    ("q72-kvm-nested-l2-vmcs12.mig", S, 1, 1, None),
    ("q72-kvm-q35-2cpu.mig", S, 2, 0, None),
    ("q72-pc-1cpu-8m.elf", E, 1, 0, demo),
    ("q72-pc-1cpu-8m.kdump-zlib", K, 1, 0, demo),
    ("q72-pc-1cpu-8m.mig", S, 1, 0, demo),
    ("q72-pc-1cpu-8m.paging.elf", E, 1, 0, demo),
    ("q72-pc-live-xbzrle.mig", S, 1, 0, demo),
    ("q72-pc-nested-2cpu-l2+vmxononly.mig", S, 2, 2, demo),
    ("q72-pc-nested-compress.mig", S, 1, 1, demo),
    ("q72-pc-nested-l2-vmcs12+shadow.mig", S, 1, 1, demo),
    ("q72-pc-nested-l2-vmcs12.mig", S, 1, 1, demo),
    ("q72-pc-nested-svm.mig", S, 1, 1, demo),
    ("q72-pc-realmode-4m.elf", E, 1, 0, None),
    ("q72-pc23-nested-oldmachine.mig", S, 1, 1, demo),
    ("q72-q35-2cpu-max-16m.elf", E, 2, 0, demo),
    ("q72-q35-2cpu-max-16m.kdump-zlib", K, 2, 0, demo),
    ("q72-q35-2cpu-max-16m.mig", S, 2, 0, demo),
    ("q72-q35-2cpu-max-16m.paging.elf", E, 2, 0, demo),
    ("q72-savevm.qcow2", "qcow2 snapshot", 1, 1, demo),
    ("synth-cloudhypervisor-state.json", "cloud-hypervisor snapshot", 1, 1, []),
    ("synth-crosvm-vcpu0.cbor", "crosvm vCPU", 1, 1, []),
    ("synth-q35-2cpu-16m.kdump-raw-lzo", K, 2, 0, demo),
    ("synth-q35-2cpu-16m.kdump-raw-snappy", K, 2, 0, demo),
    ("synth-rawvolume-stream-with-tail.raw", S, 1, 1, demo)]
import os
bad = 0
for name, kind, vcpus, states, ram in table:
    path = f"{d}/{name}.gz"
    if not os.path.exists(path):
        print("absent:", name)
        continue
    r = subprocess.run([n, "scan", "--json", "-q", path], capture_output=True,
                       text=True)
    i = subprocess.run([n, "inspect", "--json", "-q", path], capture_output=True,
                       text=True)
    if r.returncode or i.returncode:
        print(name, r.stderr, i.stderr)
        bad = 1
        continue
    s, j = json.loads(r.stdout), json.loads(i.stdout)
    found = [int(p["gpa"], 16) for p in s["pages"] if p["place"] == "RAM"]
    got = (j["kind"], j["vcpus"], len(j["states"]))
    if got != (kind, vcpus, states) or ram is not None and found != ram:
        print(name, got, [hex(x) for x in found])
        bad = 1
for name in os.listdir(d):
    known = {t[0] + ".gz" for t in table}
    if name.endswith(".gz") and name not in known and subprocess.run(
            [n, "inspect", "-q", f"{d}/{name}"],
            stdout=subprocess.DEVNULL).returncode:
        bad = 1
sys.exit(bad)
P

fail() { echo "$*"; exit 1; }
plain() { gzip -dc "$D/$1.gz" >"$T/$1"; }

# The same RAM whether it was migrated or dumped.
ram() { # FILE OUT: 8 or 16 MiB of RAM from address 0, as a flat file
	"$n" snapshot -q -f "$D/$1.gz" -o "$T/s.nss" || fail "$1: no snapshot"
	python3 - "$T/s.nss" "$2" "$3" <<'P'
import struct, sys
b = open(sys.argv[1], "rb").read()
off, = struct.unpack_from("<Q", b, 32)
num, = struct.unpack_from("<H", b, 56)
ram = bytearray(int(sys.argv[3]) << 20)
for i in range(num):
    t, _, o, _, pa, fs, ms, _ = struct.unpack_from("<IIQQQQQQ", b, off + 56 * i)
    if t == 1 and pa < len(ram):
        n = min(fs, len(ram) - pa)
        ram[pa:pa + n] = b[o:o + n]
# What stands from 0xa0000 to 0xfffff is ROM in a dump and RAM beneath in a stream.
del ram[0xa0000:0x100000]
open(sys.argv[2], "wb").write(ram)
P
}
if [ -e "$D/q72-q35-2cpu-max-16m.mig.gz" ]; then
	ram q72-q35-2cpu-max-16m.mig "$T/a" 16
	for f in q72-q35-2cpu-max-16m.elf q72-q35-2cpu-max-16m.kdump-zlib \
		synth-q35-2cpu-16m.kdump-raw-lzo \
		synth-q35-2cpu-16m.kdump-raw-snappy; do
		ram $f "$T/b" 16
		cmp "$T/a" "$T/b" || fail "$f: other RAM than the stream's"
	done
	ram q100-q35-2cpu-max-16m.elf "$T/a" 16
	for f in q100-q35-2cpu-max-16m.kdump-zlib \
		q100-q35-2cpu-max-16m.kdump-raw-zlib; do
		ram $f "$T/b" 16
		cmp "$T/a" "$T/b" || fail "$f: other RAM than the ELF core's"
	done
fi

# As an older kernel would have written it, and back, byte for byte.
o=q72-real-nested-noshadow-q35-l2
plain $o.mig; plain $o-as-v4.14.mig
"$n" convert -q --from v5.14 --to v4.14 --drop-unsupported "$T/$o.mig" \
	-o "$T/down" || fail "down"
cmp "$T/down" "$T/$o-as-v4.14.mig" || fail "not what an older kernel would have"
"$n" convert -q --to v5.14 "$T/$o-as-v4.14.mig" -o "$T/up" || fail "up"
"$n" convert -q --to v4.14 "$T/up" -o "$T/again" || fail "again"
cmp "$T/again" "$T/$o-as-v4.14.mig" || fail "the way up and down is not exact"

# Through a pipe and a codec.
gzip -dc "$D/$o-as-v4.14.mig.gz" | xz -1 | "$n" convert -q --to v5.14 - -o "$T/p.xz" ||
	fail "pipe"
xz -dc "$T/p.xz" | cmp - "$T/up" || fail "a piped, compressed conversion differs"

# Images of libvirt keep their header, and their compression.
for f in raw gzip bzip2 xz lzop sparse; do
	plain lv113-save-nested-$f.sav
	i=$T/lv113-save-nested-$f.sav
	"$n" convert -q --from v5.14 --to v4.14 --drop-unsupported "$i" \
		-o "$T/lv" -f || fail "libvirt $f"
	[ "$(head -c 92 "$i" | md5sum)" = "$(head -c 92 "$T/lv" | md5sum)" ] ||
		fail "libvirt $f: the header changed"
	"$n" inspect -q "$T/lv" >/dev/null || fail "libvirt $f: not readable"
done

# qcow2: in place, and back.
plain q72-savevm.qcow2
cp "$T/q72-savevm.qcow2" "$T/q"
"$n" convert -q --in-place --only-current --from v5.14 --to v4.14 \
	--drop-unsupported "$T/q" || fail "qcow2 in place"
cmp -s "$T/q" "$T/q72-savevm.qcow2" && fail "qcow2: nothing changed"
command -v qemu-img >/dev/null && { qemu-img check -q "$T/q" || fail "qcow2 check"; }
"$n" convert -q --undo "$T/q" || fail "qcow2 undo"
cmp "$T/q" "$T/q72-savevm.qcow2" || fail "qcow2: undo is not exact"

# What the board has not is named; L2 of a real stream goes on all the same.
plain q72-pc-1cpu-8m.mig
"$n" resume --max-insns 1000 "$T/q72-pc-1cpu-8m.mig" 2>"$T/warn" || fail "plain VM"
grep -q 'devices that the core has not:.* ide' "$T/warn" || fail "ide not named"
plain q72-real-nested-q35-l2-1.mig
"$n" resume -q --max-insns 100000 --json -o "$T/on.nss" -f \
	"$T/q72-real-nested-q35-l2-1.mig" >"$T/json" || fail "real L2"
grep -q '"pml_entries": [1-9]' "$T/json" || fail "L2 does not go on"
"$n" resume --max-insns 10 "$T/on.nss" 2>&1 >/dev/null | grep -q ich9_ahci ||
	fail "absent devices forgotten by the snapshot"

# A stream is changed in place where its records are plain, else not at all.
cp "$T/$o-as-v4.14.mig" "$T/ip"
"$n" convert -q --in-place --to v5.14 "$T/ip" || fail "in place"
cmp "$T/ip" "$T/up" || fail "in place differs from a new file"
exit 0
