#!/bin/bash
# check: the verdict of real KVM 6.1 on each damage of a good nested state.
. tests/cli_lib.sh
n=$NSTATE
good=tests/fixtures/kvm-6.1/full/4-in-l2.nss.gz
status 0 "$n" check "$good" --kernel 6.1
status 0 "$n" check "$good" --kernel all
status 1 "$n" check tests/fixtures/kvm-4.17/no-shadow/4-in-l2.nss.gz
says 'has layout v4.14'
status 0 "$n" check tests/fixtures/kvm-6.1/full/1-vmxon-only.nss.gz
status 2 "$n" check "$good" --kernel banana

NSTATE=$n python3 - "$good" "$T" <<'P' || fail 'verdicts differ from KVM'
import gzip, json, os, struct, subprocess, sys
good, tmp = sys.argv[1:]
elf = bytearray(gzip.open(good).read())
at = struct.unpack_from("<Q", elf, 32)[0]
for i in range(struct.unpack_from("<H", elf, 56)[0]):
    t, _, off, _, _, fs, _, _ = struct.unpack_from("<IIQQQQQQ", elf, at + 56 * i)
    while t == 4 and fs >= 12:
        ns, ds, ty = struct.unpack_from("<III", elf, off)
        if ty == 12:
            blob = off + 12 + (ns + 3 & ~3) + 8
        n = 12 + (ns + 3 & ~3) + (ds + 3 & ~3)
        off += n; fs -= n
bad = rows = 0
for line in open("tests/fixtures/set-nested-state.tsv"):
    if line.startswith("#") or line.startswith("name\t"):
        continue
    name, off, size, value, result = line.rstrip("\n").split("\t")
    off, size, value, result = int(off), int(size), int(value, 0), int(result)
    mine = bytearray(elf)
    mine[blob + off:blob + off + size] = value.to_bytes(size, "little")
    path = tmp + "/damaged.nss"
    open(path, "wb").write(mine)
    p = subprocess.run([os.environ["NSTATE"], "check", "--from", "v5.14", "--json",
                        "--kernel", "6.1", path], capture_output=True, text=True)
    rows += 1
    if p.returncode not in (0, 1):
        print(name, "status", p.returncode, p.stderr); bad += 1; continue
    k = json.loads(p.stdout)["vcpus"][0]["kernels"][0]
    refused = k["verdict"].startswith("refused")
    if refused != (result != 0):
        print(name, "KVM:", result, "here:", k["verdict"], k["broken"]); bad += 1
    elif refused and size:
        b = k["broken"][0]
        if b["offset"] >= off + size or b["offset"] + b["size"] <= off:
            print(name, "names", b["rule"], b.get("field")); bad += 1
print(rows, "rows,", bad, "differ")
sys.exit(bad != 0)
P

# damaged NAME CHANGE...: the good state with fields of its vmcs12 (FIELD=VALUE) or
# 8 bytes of RAM (0xGPA=VALUE) changed, as $T/NAME.nss.
fields=$("$n" layouts show v5.14)
export fields
damaged() {
	python3 - "$good" "$T/$1.nss" "${@:2}" <<'P'
import gzip, os, struct, sys
good, out, *changes = sys.argv[1:]
elf = bytearray(gzip.open(good).read())
at = struct.unpack_from("<Q", elf, 32)[0]
loads = []
for i in range(struct.unpack_from("<H", elf, 56)[0]):
    t, _, off, _, pa, fs, _, _ = struct.unpack_from("<IIQQQQQQ", elf, at + 56 * i)
    if t == 1:
        loads.append((pa, off, fs))
    while t == 4 and fs >= 12:
        ns, ds, ty = struct.unpack_from("<III", elf, off)
        if ty == 12:
            blob = off + 12 + (ns + 3 & ~3) + 8
        n = 12 + (ns + 3 & ~3) + (ds + 3 & ~3)
        off += n; fs -= n
where = {}
for line in os.environ["fields"].splitlines():
    w = line.split()
    if len(w) > 3 and w[2].startswith("0x"):
        where[w[3]] = int(w[0]), int(w[1])
for c in changes:
    name, value = c.split("=")
    if name.startswith("0x"):
        gpa = int(name, 0)
        pa, off, fs = next(l for l in loads if l[0] <= gpa < l[0] + l[2])
        struct.pack_into("<Q", elf, off + gpa - pa, int(value, 0))
    else:
        o, size = where[name]
        elf[blob + 128 + o:blob + 128 + o + size] = int(value, 0).to_bytes(size, "little")
open(out, "wb").write(elf)
P
}
# The neighbourhood: a misconfigured EPT entry, an address in nowhere, an overlap.
damaged ept 0x410000=0x411002
status 1 "$n" check --kernel 6.1 "$T/ept.nss"
says 'rule near-ept-misconfig'
says 'writable and not readable'
damaged ram MSR_BITMAP=0x40000000
status 1 "$n" check --kernel 6.1 "$T/ram.nss" --json
says '"near-ram"'
damaged overlap PML_ADDRESS=0x401000
status 1 "$n" check --kernel 6.1 "$T/overlap.nss"
says 'rule near-overlap'
status 0 "$n" check "$good"
says 'near-stale'

# An MSR that no entry may load.
damaged msrs VM_ENTRY_MSR_LOAD_COUNT=1 VM_ENTRY_MSR_LOAD_ADDR=0x500c00 0x500c00=0xc0000100
status 1 "$n" check --kernel 6.1 "$T/msrs.nss"
says 'rule entry-msrs'
says 'entry 1 cannot be loaded'
damaged msrs VM_ENTRY_MSR_LOAD_COUNT=1 VM_ENTRY_MSR_LOAD_ADDR=0x500c00 0x500c00=0x174
status 0 "$n" check --kernel 6.1 "$T/msrs.nss"

# What a kernel takes and gets wrong.
damaged scaling SECONDARY_VM_EXEC_CONTROL=0x20260aa TSC_MULTIPLIER=0x2000000000000
status 0 "$n" check --kernel 6.1 "$T/scaling.nss"
status 1 "$n" check --kernel 5.10 --kernel 6.1 "$T/scaling.nss"
says '^  5.10 .*TSC_MULTIPLIER = 0x2000000000000 is in use'
says 'The kernels differ'
damaged zero SECONDARY_VM_EXEC_CONTROL=0x20260aa TSC_MULTIPLIER=0
status 1 "$n" check --kernel 6.18 --kernel 6.19 "$T/zero.nss"
says '^  6.18 .*the first KVM_RUN fails'
says '^  6.19 .*refused'
damaged cr3 GUEST_CR3=0x100000000000000
status 1 "$n" check "$T/cr3.nss"
says '^  5.4 to 7.2 .*refused (returns 2)'
says '^  4.19 to 4.20 .*refused (EINVAL)'
finish
