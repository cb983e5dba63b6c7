#!/bin/bash
# RAM that went over other channels (multifd): captures of these beside the main stream.
. tests/cli_lib.sh
n=$NSTATE
python3 - "$T" <<'P' || fail 'no streams'
import struct, sys, zlib
sys.path.insert(0, "tests")
import make_containers as mk
d = sys.argv[1]
old = mk.old_page()
FLUSH, EOS = struct.pack(">Q", 0x200), struct.pack(">Q", 0x10)

def main(flush):
    """Round 1: page 0 is zero.  Round 2: page 7, which a channel brought, is zero."""
    def end(part):
        return part + (FLUSH if flush else b"") + EOS + mk.footer(2)
    total = 16 << 12
    b = b"QEVM" + struct.pack(">I", 3) + struct.pack(">BI", 7, 11) + b"pc-q35-10.0"
    b += end(mk.full(2, "ram", 4, kind=1) + struct.pack(">Q", total | 4) +
             b"\6pc.ram" + struct.pack(">Q", total))
    b += end(mk.section(2, 2) + struct.pack(">Q", 2) + b"\6pc.ram\0")
    b += end(mk.section(2, 2) + struct.pack(">QB", 7 << 12 | 0x22, 0))
    b += end(mk.section(3, 2))
    return b + mk.full(4, "cpu", 12) + mk.cpu() + mk.footer(4) + b"\0"

def packet(flags, normal, zero, data):
    name = b"pc.ram".ljust(256, b"\0")
    at = b"".join(struct.pack(">Q", p << 12) for p in normal + zero)
    return (struct.pack(">6IQ2I", 0x11223344, 1, flags, 128, len(normal),
                        len(data), 0, len(zero), 0) + bytes(24) + name +
            at.ljust(1024, b"\0") + data)

HELLO = struct.pack(">II", 0x11223344, 1) + bytes(56)
SYNC = packet(1, [], [], b"")

def plain(pages):
    return packet(0, list(pages), [], b"".join(pages.values()))

z = zlib.compressobj()
def packed(pages):
    data = b"".join(z.compress(p) for p in pages.values())
    return packet(2, list(pages), [], data + z.flush(zlib.Z_SYNC_FLUSH))

noise = mk.noise(1, 5)
for flush in (True, False):
    open(d + ("/main" if flush else "/main-old"), "wb").write(main(flush))
open(d + "/a", "wb").write(HELLO + SYNC + plain({3: old, 7: old, 9: old}) + SYNC +
                           packet(0, [], [9], b"") + SYNC + SYNC)
open(d + "/b", "wb").write(HELLO + SYNC + packed({5: noise, 6: old}) + SYNC +
                           packed({5: old}) + SYNC + SYNC)
P
m=(--multifd "$T/a" --multifd "$T/b")

# Alone it says what is missing, and is not converted as if it were all.
status 0 "$n" inspect "$T/main"
says 'multifd'
status 0 "$n" inspect "$T/main-old"
says 'see --multifd'
status 3 "$n" inspect "$T/a"
one_line
says -- '--multifd'

# With them: the last content of each page, by the rounds.
for main in main main-old; do
	status 0 "$n" scan "${m[@]}" "$T/$main"
	for at in 0x3000 0x5000 0x6000; do says "$at .*v4.14 (certain)"; done
	says_not '0x7000 '
	says_not '0x9000 '
	status 0 "$n" convert -q --to v6.18 "${m[@]}" "$T/$main" -o "$T/new" -f
	status 0 "$n" scan "${m[@]}" "$T/new"
	for at in 0x3000 0x5000 0x6000; do says "$at .*certain"; done
	says_not 'v4.14'
	status 3 "$n" convert --in-place --to v6.18 "${m[@]}" "$T/$main"
	one_line
done
status 0 "$n" snapshot -q "${m[@]}" "$T/main" -o "$T/s.nss"
status 0 "$n" scan "$T/s.nss"
says '0x6000 '

# What is no channel, or is cut or damaged.
status 3 "$n" scan --multifd "$T/main" "$T/main"
one_line
status 4 "$n" scan --multifd "$T/absent" "$T/main"
one_line
python3 - "$n" "$T" <<'P' || fail 'damage'
import random, subprocess, sys
n, d = sys.argv[1:]
rng = random.Random(1)
for name in "ab":
    whole = open(f"{d}/{name}", "rb").read()
    for i in range(120):
        b = bytearray(whole)
        if i % 2:
            del b[rng.randrange(len(b)):]
        else:
            b[rng.randrange(len(b))] ^= 1 << rng.randrange(8)
        open(d + "/damaged", "wb").write(b)
        r = subprocess.run([n, "scan", "-q", "--multifd", d + "/damaged",
                            d + "/main"], capture_output=True, text=True)
        if r.returncode not in (0, 3) or r.returncode and \
           r.stderr.count("\n") != 1:
            sys.exit(f"{name} {i}: {r.returncode} {r.stderr}")
P
finish
