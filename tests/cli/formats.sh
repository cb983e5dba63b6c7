#!/bin/bash
# Forms of containers that are rarer than a plain stream: read, converted, read again.
. tests/cli_lib.sh
n=$NSTATE
python3 - "$T" <<'P' || fail 'no containers'
import shutil, struct, subprocess, sys, zlib
sys.path.insert(0, "tests")
import make_containers as mk
d, old, noise = sys.argv[1], mk.old_page(), mk.noise(1, 9)
EOS = struct.pack(">Q", 0x10)
N = 16
RAM = N << 12

def save(name, data):
    with open(f"{d}/{name}", "wb") as f:
        f.write(data)

def head(machine=b"pc-q35-10.0", capabilities=()):
    b = b"QEVM" + struct.pack(">I", 3) + struct.pack(">BI", 7, len(machine)) + machine
    if capabilities:
        b += mk.subsection("configuration/capabilities") + struct.pack(
            ">I", len(capabilities)) + b"".join(
            bytes([len(c)]) + c for c in capabilities)
    return b

def start(more=b""):
    return (mk.full(2, "ram", 4, kind=1) + struct.pack(">Q", RAM | 4) +
            b"\6pc.ram" + struct.pack(">Q", RAM) + more + EOS + mk.footer(2))

def page(i, data, name=b""):
    if not any(data):
        return struct.pack(">Q", i << 12 | (2 if name else 0x22)) + name + b"\0"
    return struct.pack(">Q", i << 12 | (8 if name else 0x28)) + name + data

def pages():
    return b"".join(page(i, old if i in (3, 5) else noise if i == 4 else bytes(4096),
                         b"" if i else b"\6pc.ram") for i in range(N))

def part(body, kind=2):
    return mk.section(kind, 2) + body + EOS + mk.footer(2)

def command(number, data=b""):
    return struct.pack(">BHH", 8, number, len(data)) + data

def cpus():
    return mk.full(4, "cpu", 12) + mk.cpu(old, 0xf000, 3 << 12) + mk.footer(4)

stream = head() + start() + part(pages()) + part(b"", 3) + cpus() + b"\0"
save("stream", stream)

# Postcopy: advised, with huge pages' sizes in the list, devices in a package.
package = command(4) + cpus() + command(5)
save("postcopy", head() + command(1) + command(2, struct.pack(">I", 1)) +
     command(3, struct.pack(">QQ", 4096, 4096)) +
     start(struct.pack(">Q", 2 << 20)) + part(pages()) +
     command(7, struct.pack(">I", len(package))) + package + b"\0")

# Shared memory is not in the stream: a block's address, and no pages.
save("shared", head(capabilities=(b"x-ignore-shared",)) +
     start(struct.pack(">Q", 0)) + part(b"", 3) + cpus() + b"\0")

# mapped-ram: a bitmap and the pages in their places.
def mapped(at=0):
    caps = head(capabilities=(b"mapped-ram",))
    block = mk.full(2, "ram", 4, kind=1) + struct.pack(">Q", RAM | 4) + \
        b"\6pc.ram" + struct.pack(">Q", RAM)
    bitmap = at + len(caps) + len(block) + 28
    first = (bitmap + 8 + 4095) & ~4095
    b = caps + block + struct.pack(">IQQQ", 1, 4096, bitmap, first)
    b += struct.pack("<Q", 1 << 3 | 1 << 4 | 1 << 5)
    b = b.ljust(first - at, b"\0")
    for i in range(N):
        b += old if i in (3, 5) else noise if i == 4 else bytes(4096)
    return b + EOS + mk.footer(2) + part(b"", 3) + cpus() + b"\0"
save("mapped", mapped())

# libvirt's images, each compression by its program.
def libvirt(form, data):
    xml = b"<domain><name>vm</name><cpu mode='host-model'/></domain>\0".ljust(420, b"\0")
    return b"LibvirtQemudSave" + struct.pack("<5I", 2, len(xml), 1, form, 0) + \
        bytes(92 - 36) + xml + data
save("libvirt-raw", libvirt(0, stream))
for i, tool in enumerate(("gzip", "bzip2", "xz", "lzop", "zstd"), 1):
    if shutil.which(tool):
        save("libvirt-" + tool, libvirt(i, subprocess.run(
            [tool, "-c"], input=stream, stdout=subprocess.PIPE,
            check=True).stdout))
save("libvirt-sparse", libvirt(6, mapped(92 + 420)))

# kdump: a page each by zlib, LZO, snappy and zstd, and plain.
def lzo(p):     # one run of literals, and the mark of the end
    n = len(p) - 18
    return b"\0" + bytes(n // 255) + bytes([n % 255]) + p + b"\x11\0\0"

def snappy(p):
    return b"\x80\x20" + b"\xf4" + struct.pack("<H", len(p) - 1) + p

def zstd(p):
    return subprocess.run(["zstd", "-c"], input=p, stdout=subprocess.PIPE,
                          check=True).stdout

def kdump():
    forms = [(1, zlib.compress(old)), (2, lzo(old)), (4, snappy(old)), (0, old)]
    if shutil.which("zstd"):
        forms.append((0x20, zstd(old)))
    n = len(forms)
    h = bytearray(4096)
    h[0:8] = b"KDUMP   "
    struct.pack_into("<I", h, 8, 6)
    struct.pack_into("<6I", h, 424, 0, 4096, 1, 2, 0, n)
    sub = bytearray(4096)
    struct.pack_into("<Q", sub, 96, N)
    bits = struct.pack("<Q", ((1 << n) - 1) << 1).ljust(4096, b"\0")
    out, data, at = bytes(h + sub) + bits * 2, b"", 4 * 4096 + 24 * n
    for flag, body in forms:
        out += struct.pack("<QIIQ", at + len(data), len(body), flag, 0)
        data += body
    return out + data
save("kdump", kdump())

def flat(b):
    out = b"makedumpfile\0\0\0\0".ljust(16, b"\0") + struct.pack(">QQ", 1, 1)
    out = out.ljust(4096, b"\0")
    for at in range(0, len(b), 5000):
        piece = b[at:at + 5000]
        out += struct.pack(">QQ", at, len(piece)) + piece
    return out + b"\xff" * 16
save("kdump-flat", flat(kdump()))
P

# reads FILE PAGES LAYOUT: so many pages of RAM, all of that layout.
reads() {
	status 0 "$n" scan "$1"
	got=$(grep -c "^  0x.*layout $3 (certain)" "$T/out")
	[ "$got" = "$2" ] || fail "$1: $got pages of $3"
}

for f in stream postcopy mapped libvirt-raw libvirt-gzip libvirt-bzip2 libvirt-xz \
	libvirt-lzop libvirt-zstd libvirt-sparse; do
	[ -f "$T/$f" ] || { echo "$f: its tool is not there"; continue; }
	reads "$T/$f" 2 v4.14
	says 'vCPU 0 .*current vmcs12, layout v4.14'
	says '0x3000 .*stale copy'
	status 0 "$n" convert -q --to v6.18 "$T/$f" -o "$T/new" -f
	reads "$T/new" 2 v6.18
	says 'vCPU 0 .*current vmcs12, layout v6.18'
	# And back: the nested state and the pages are what they were.
	status 0 "$n" convert -q --to v4.14 "$T/new" -o "$T/back" -f
	status 0 "$n" diff "$T/back" "$T/$f"
	status 0 "$n" snapshot -q "$T/$f" -o "$T/s.nss" -f
	status 0 "$n" snapshot -q "$T/back" -o "$T/s2.nss" -f
	cmp "$T/s.nss" "$T/s2.nss" || fail "$f: another VM"
done
for f in stream postcopy mapped libvirt-raw libvirt-sparse; do
	cp "$T/$f" "$T/own"
	status 0 "$n" convert -q --in-place --to v6.18 "$T/own"
	reads "$T/own" 2 v6.18
	status 0 "$n" convert --undo "$T/own"
	cmp "$T/own" "$T/$f" || fail "$f: --undo"
	# What is no longer the same file is left alone.
	status 0 "$n" convert -q --in-place --to v6.18 "$T/own"
	cp "$T/own.undo" "$T/other.undo"
	head -c "$(stat -c %s "$T/own")" /dev/urandom >"$T/other"
	cp "$T/other" "$T/before"
	status 3 "$n" convert --undo "$T/other"
	one_line
	cmp "$T/other" "$T/before" || fail "$f: --undo changed another file"
	rm -f "$T/own.undo" "$T/other.undo"
done

# Shared memory: the CPU's state is there, its RAM is said not to be.
status 0 "$n" inspect "$T/shared"
says 'RAM is in another file'
says '^vCPU 0'
status 0 "$n" convert -q --to v6.18 "$T/shared" -o "$T/new" -f

for f in kdump kdump-flat; do
	pages=5
	command -v zstd >/dev/null || pages=4
	reads "$T/$f" $pages v4.14
	status 0 "$n" convert -q --to v6.18 "$T/$f" -o "$T/new" -f
	reads "$T/new" $pages v6.18
	status 3 "$n" convert --in-place --to v6.18 "$T/$f"
	one_line
done

# --only-current leaves RAM, -j and --json do what they say.
status 0 "$n" convert --only-current --to v6.18 -j 1 "$T/stream" -o "$T/new" -f
reads "$T/new" 2 v4.14
says 'vCPU 0 .*v6.18'
status 0 "$n" convert --json --dry-run --to v6.18 "$T/stream"
python3 - "$T/out" <<'P' || fail 'convert --json'
import json, sys
r = json.load(open(sys.argv[1]))
assert (r["from"], r["to"], r["changed"], len(r["pages"])) == ("v4.14", "v6.18", 3, 3)
assert all(p["changed"] and p["gpa"] for p in r["pages"]), r
P
status 2 "$n" convert -j 0 --dry-run "$T/stream"
status 2 "$n" convert -j 65 --dry-run "$T/stream"
finish
