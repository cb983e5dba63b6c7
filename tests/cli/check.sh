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
cat "$T/out" >/dev/null
finish
