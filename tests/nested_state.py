#!/usr/bin/env python3
"""nested_state.py SNAPSHOT: writes the nested state of vCPU 0 of a native
snapshot to standard output.  Reads the format on its own, so that tests of
bytes do not rest on the program under test."""
import gzip
import struct
import sys

PT_NOTE, KVM_NESTED_STATE = 4, 12


def nested_state(data):
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    phoff, = struct.unpack_from("<Q", data, 32)
    phnum, = struct.unpack_from("<H", data, 56)
    for i in range(phnum):
        kind, _, at, _, _, size = struct.unpack_from("<IIQQQQ", data,
                                                     phoff + 56 * i)
        end = at + size
        while kind == PT_NOTE and at < end:
            namesz, descsz, note = struct.unpack_from("<III", data, at)
            name = data[at + 12:at + 12 + namesz]
            at += 12 + (namesz + 3 & ~3)
            if name == b"KVM\0" and note == KVM_NESTED_STATE:
                return data[at + 8:at + descsz]
            at += descsz + 3 & ~3
    sys.exit("no nested state in " + sys.argv[1])


with open(sys.argv[1], "rb") as f:
    sys.stdout.buffer.write(nested_state(f.read()))
