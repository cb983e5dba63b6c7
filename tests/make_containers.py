"""Containers of any size for the tests and the benchmark, written from the formats'
descriptions: a migration stream, an ELF core.  Nearly all pages hold noise; some
hold a vmcs12 of an old layout."""
import os
import random
import struct

PAGE = "tests/fixtures/pages/kvm-4.17-in-l2.bin"


def old_page():
    with open(PAGE, "rb") as f:
        return f.read()


def noise(n=251, seed=None):
    """n pages that do not compress, or, with a seed, always the same ones."""
    if seed is None:
        return os.urandom(4096 * n)
    return random.Random(seed).randbytes(4096 * n)


def pages(mib, every=65536, seed=None, mixed=False):
    """mixed: as a guest's RAM compresses: noise, words, tables, without the
    repetitions at a distance that a large window would find."""
    page, rubbish = old_page(), noise(seed=seed)
    rng = random.Random(seed or 1)
    words = [rng.randbytes(rng.randrange(2, 9)) for _ in range(600)]
    for i in range(mib * 256):
        o = i % 251 * 4096
        if i % every == 77:
            yield i, page
        elif not mixed:
            yield i, rubbish[o:o + 4096]
        elif i % 3 == 0:
            yield i, rng.randbytes(4096)
        elif i % 3 == 1:
            yield i, b"".join(rng.choices(words, k=900))[:4096].ljust(4096, b"\0")
        else:
            yield i, (rng.randbytes(64) * 4 + bytes(256)) * 8


def section(kind, number):
    return struct.pack(">BI", kind, number)


def footer(number):
    return struct.pack(">BI", 0x7e, number)


def full(number, name, version, instance=0, kind=4):
    return (section(kind, number) + bytes([len(name)]) + name.encode() +
            struct.pack(">II", instance, version))


def subsection(name, version=1):
    return b"\5" + bytes([len(name)]) + name.encode() + struct.pack(">I", version)


def cpu(vmcs12=None, vmxon=0, at=0):
    """A cpu section's body, with a nested state where vmcs12 is given."""
    body = bytearray(1817)
    body[0x1e8 - 2:0x1e8] = (0x2020).to_bytes(2, "big")   # CR4
    if vmcs12 is None:
        return bytes(body)
    return (bytes(body) + subsection("cpu/nested_state") +
            struct.pack(">HHI", 0, 0, 128 + 4096) +
            subsection("cpu/kvm_nested_state/vmx") +
            struct.pack(">QQH", vmxon, at, 0) +
            subsection("cpu/kvm_nested_state/vmx/vmcs12") + vmcs12)


def stream_head(f, total, machine=b"pc-q35-10.0"):
    f.write(b"QEVM" + struct.pack(">I", 3) +
            struct.pack(">BI", 7, len(machine)) + machine)
    f.write(full(2, "ram", 4, kind=1) + struct.pack(">Q", total | 4) +
            b"\6pc.ram" + struct.pack(">QQ", total, 0x10) + footer(2))


def stream(path, mib, every=65536, seed=None, cpus=(cpu(),), mixed=False):
    """Every page a plain record; cpus: bodies of cpu sections."""
    with open(path, "wb", 1 << 20) as f:
        stream_head(f, mib << 20)
        f.write(section(2, 2))
        for i, p in pages(mib, every, seed, mixed):
            f.write(struct.pack(">Q", i << 12 | (0x28 if i else 8)) +
                    (b"" if i else b"\6pc.ram") + p)
        f.write(struct.pack(">Q", 0x10) + footer(2))
        for i, body in enumerate(cpus):
            f.write(full(4 + i, "cpu", 12, i) + body + footer(4 + i))
        f.write(b"\0")


def elf_head(f, segments):
    """segments: (guest-physical address, file offset, file size, memory size)."""
    f.write(b"\x7fELF\2\1\1" + bytes(9) + struct.pack(
        "<HHIQQQIHHHHHH", 4, 62, 1, 0, 64, 0, 0, 64, 56, len(segments), 0, 0, 0))
    for at, offset, size, memory in segments:
        f.write(struct.pack("<IIQQQQQQ", 1, 0, offset, 0, at, size, memory, 0))


def elf(path, mib, every=65536, seed=None, mixed=False):
    with open(path, "wb", 1 << 20) as f:
        elf_head(f, [(0, 4096, mib << 20, mib << 20)])
        f.write(bytes(4096 - f.tell()))
        for _, p in pages(mib, every, seed, mixed):
            f.write(p)
