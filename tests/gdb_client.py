#!/usr/bin/env python3
"""gdb_client.py SOCKET: speaks gdb's remote protocol with `nstate resume --gdb` on
the full fixture stopped in L2, and checks what it answers."""
import socket, struct, sys, time

for _ in range(100):
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(sys.argv[1])
        break
    except OSError:
        time.sleep(0.05)
f = s.makefile("rwb", buffering=0)


def packet(body, bad_sum=False):
    b = body.encode()
    f.write(b"$" + b + b"#%02x" % ((sum(b) + bad_sum) & 255))


def reply():
    while f.read(1) != b"$":
        pass
    body = b""
    while (c := f.read(1)) != b"#":
        body += c
    assert int(f.read(2), 16) == sum(body) & 255
    f.write(b"+")
    return body.decode()


def ask(body):
    packet(body)
    assert f.read(1) == b"+"
    return reply()


def regs():
    return struct.unpack("<17Q", bytes.fromhex(ask("g"))[:136])


def monitor(text):
    return bytes.fromhex(ask("qRcmd," + text.encode().hex())).decode()


RIP, RAX = 16, 0
packet("?", bad_sum=True)
assert f.read(1) == b"-", "a wrong check sum was taken"
assert ask("?").startswith("T05")
assert "features:read+" in ask("qSupported")
assert ask("qXfer:features:read:target.xml:0,fff").startswith("l<?xml")
assert "L2" in monitor("where")
assert regs()[RIP] == 0x2018dd

# One instruction: MOV of three bytes.
assert ask("s").startswith("T05")
assert regs()[RIP] == 0x2018e0

# Memory: linear, and L1-physical where L2's own mapping differs (EPT).
code = ask("m2018e0,3")
assert code == "4c89c6", code
assert "L1-physical" in monitor("phys l1")
assert ask("m2018e0,3") == code
assert "L2-physical" in monitor("phys l2")
assert ask("m2018e0,3") == code
assert ask("mffff000000,1").startswith("E"), "no EPT entry there"
monitor("phys off")
assert ask("m2018e0,1") == "4c"
assert ask("mffff800000000000,4").startswith("E"), "memory where nothing is mapped"
assert ask("M700100,2:beef") == "OK" and ask("m700100,2") == "beef"

# Breakpoint at the second instruction of L2's loop, twice, then without.
at = regs()[RIP]
assert ask("Z0,%x,1" % at) == "OK"
for _ in range(2):
    assert ask("c").startswith("T05")
    assert regs()[RIP] == at
assert ask("z0,%x,1" % at) == "OK"

# Stop at the next VM exit: then L1 runs.
monitor("exits on")
assert ask("c").startswith("T05")
assert "L1" in monitor("where")
assert regs()[RIP] == 0x2000c0, hex(regs()[RIP])
monitor("exits off")

# Registers can be set.
old = bytes.fromhex(ask("g"))
new = struct.pack("<Q", 0x1234) + old[8:]
assert ask("G" + new.hex()) == "OK"
assert regs()[RAX] == 0x1234
assert ask("G" + old.hex()) == "OK"

# The interrupt byte ends a run without a breakpoint.
packet("c")
assert f.read(1) == b"+"
time.sleep(0.2)
f.write(b"\x03")
assert reply().startswith("T05")
assert ask("X1,1").startswith("") # an unknown packet: empty
packet("D")
got = b""
while b := f.read(64):
    got += b
assert got.startswith(b"+$OK#"), got # and then it is gone
print("ok")
