"""Makes small guest images for tests/cli/run.sh: run_images.py DIR."""
import os
import struct
import sys

DIR = sys.argv[1]
p = struct.pack


def put(name, data):
    with open(os.path.join(DIR, name), "wb") as f:
        f.write(data)


def outb(port, value, bits):
    """mov dx,port; mov al,value; out dx,al"""
    dx = b"\xba" + p("<H" if bits == 16 else "<I", port)
    return dx + b"\xb0" + bytes([value]) + b"\xee"


def exit_with(v, bits):
    """mov dx,0xf4; mov eax,v; out dx,eax; hlt"""
    op = b"\x66" if bits == 16 else b""
    dx = b"\xba" + p("<H" if bits == 16 else "<I", 0xf4)
    return dx + op + b"\xb8" + p("<I", v) + op + b"\xef\xf4"


def text(s, bits):
    return b"".join(outb(0x3f8, c, bits) for c in s.encode())


# Prints the string at ESI: lodsb; test al,al; jz +3; out dx,al; jmp -8
PRINT = b"\xba" + p("<I", 0x3f8) + b"\xac\x84\xc0\x74\x03\xee\xeb\xf8"


def elf(bits, entry, segments, machine=None, phoff=None, etype=2):
    eh, ph = (64, 56) if bits == 64 else (52, 32)
    off = (eh + ph * len(segments) + 15) & ~15
    heads, body = b"", b""
    for addr, data, memsz in segments:
        at = off + len(body)
        if bits == 64:
            heads += p("<IIQQQQQQ", 1, 7, at, addr, addr, len(data), memsz, 1)
        else:
            heads += p("<IIIIIIII", 1, at, addr, addr, len(data), memsz, 7, 1)
        body += data
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    m = machine or (62 if bits == 64 else 3)
    head = ident + p("<HHI" + ("QQQ" if bits == 64 else "III"), etype, m, 1,
                     entry, eh if phoff is None else phoff, 0)
    head += p("<IHHHHHH", 0, eh, ph, len(segments), 0, 0, 0)
    return (head + heads).ljust(off, b"\0") + body


def header(flags, *more):
    return p("<III", 0x1badb002, flags, (-(0x1badb002 + flags)) & 0xffffffff) \
        + b"".join(p("<I", m) for m in more)


BASE = 0x400000
# EBX: information; +16 command line; +24 modules, whose +0 is the start.
show = text("M32 ", 32) + b"\x8b\x73\x10" + PRINT + exit_with(7, 32)
module = b"\x8b\x73\x18\x8b\x36" + PRINT + exit_with(7, 32)
put("raw", text("R", 16) + exit_with(3, 16))
put("multiboot32", elf(32, BASE + 12, [(BASE, header(3) + show, 0x10000)]))
put("multiboot64", elf(64, BASE + 12, [(BASE, header(0) + show, 0x10000)]))
put("module", elf(32, BASE + 12, [(BASE, header(0) + module, 0x10000)]))
put("hello", b"hello\0")
put("kludge", b"junk" + header(0x10000, BASE + 4, BASE, 0, BASE + 0x10000,
                               BASE + 36) + show)
# 64-bit: the top bits of a register survive only in long mode.
long = b"\x48\xb8" + p("<Q", 1 << 40) + b"\x48\xc1\xe8\x28\x3c\x01\x75\xfe" \
    + text("L64", 64) + exit_with(10, 64)
put("elf64", elf(64, BASE, [(BASE, long, 0x1000)]))
put("idle", b"\xfa\xf4")
put("reset", outb(0x64, 0xfe, 16) + b"\xf4")
put("shutdown", b"".join(outb(0x8900, c, 16) for c in b"Shutdown") + b"\xf4")
put("spin", b"\xeb\xfe")
# An empty interrupt table of no length, then a breakpoint.
put("triple", elf(64, BASE, [(BASE, b"\xcc", 0x1000)]))
# The stack where no RAM is, so that the frames overwrite nothing: mov ax,0b000h;
# mov ss,ax; xor ax,ax; mov ds,ax; mov word [18h],7c15h; mov word [1ah],0; ud2
put("faults", bytes.fromhex("b800b0 8ed0 31c0 8ed8 c7061800157c c7061a000000 0f0b"))
put("empty", b"")

good = elf(64, BASE, [(BASE, long, 0x1000)])
put("bad-truncated", good[:100])
put("bad-beyond", good[:-8])
put("bad-shrinks", elf(64, BASE, [(BASE, long, 4)]))
put("bad-address", elf(64, BASE, [(1 << 60, long, 0x1000)]))
put("bad-wraps", elf(64, BASE, [((1 << 64) - 16, long, 0x1000)]))
put("bad-machine", elf(64, BASE, [(BASE, long, 0x1000)], machine=183))
put("bad-type", elf(64, BASE, [(BASE, long, 0x1000)], etype=3))
put("bad-phoff", elf(64, BASE, [(BASE, long, 0x1000)], phoff=1 << 50))
put("bad-elf32", elf(32, BASE, [(BASE, show, 0x1000)]))
put("bad-none", elf(64, BASE, []))
put("bad-video", elf(32, BASE + 12, [(BASE, header(4) + show, 0x10000)]))
put("bad-large", b"\x90" * 0xa0000)
put("bad-kludge", b"junk" + header(0x10000, BASE - 4, BASE, 0, 0, BASE) + show)
put("bad-kludge2", b"junk" + header(0x10000, BASE + 4, BASE, BASE - 1, 0,
                                    BASE) + show)
linux = bytearray(0x4000)
linux[0x1f1] = 4
linux[0x201] = 0x6a
linux[0x202:0x206] = b"HdrS"
struct.pack_into("<H", linux, 0x206, 0x20f)
put("bad-linux32", bytes(linux))
struct.pack_into("<H", linux, 0x236, 1)
struct.pack_into("<Q", linux, 0x258, 1 << 62)
put("bad-linux-address", bytes(linux))
put("bad-linux-short", bytes(linux[:0x300]))
struct.pack_into("<H", linux, 0x206, 0x203)
put("bad-linux-old", bytes(linux))
