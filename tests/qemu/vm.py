"""vm.py: Debian's QEMU with a guest of ours that counts in RAM, under TCG and QMP."""
import json, os, socket, struct, subprocess, sys, time

COUNT, PAGES = 0x7e00, (0x200000, 0x301000)

# cli; xor ax,ax; mov ds,ax; 1: inc dword [0x7e00]; mov cx,0xffff; 2: loop 2b;
# jmp 1b
code = bytes.fromhex("fa 31c0 8ed8 66ff06007e b9ffff e2fe ebf4")
boot = code + bytes(510 - len(code)) + b"\x55\xaa"
qemu = sys.argv[2] if len(sys.argv) > 2 else "qemu-system-x86_64"


def write_boot(d):
    """The disk that Vm boots from."""
    with open(os.path.join(d, "boot"), "wb") as f:
        f.write(boot + bytes((1 << 20) - len(boot)))


def loaders(d, page):
    """Arguments that put page into the guest's RAM at PAGES."""
    path = os.path.join(d, "loaded")
    with open(path, "wb") as f:
        f.write(page)
    return [a for at in PAGES for a in (
        "-device", f"loader,file={path},addr={at:#x},force-raw=on")]


class Vm:
    def __init__(self, d, *args, disk=None):
        self.sock = os.path.join(d, "qmp%d" % time.monotonic_ns())
        self.p = subprocess.Popen(
            [qemu, "-M", "pc", "-accel", "tcg", "-m", "8", "-display", "none",
             "-vga", "none", "-net", "none", "-nodefaults", "-drive",
             f"file={disk or d + '/boot,format=raw'},if=ide,readonly=off", "-qmp",
             f"unix:{self.sock},server=on,wait=off", *args],
            stderr=subprocess.PIPE, text=True)
        for _ in range(200):
            if os.path.exists(self.sock):
                break
            if self.p.poll() is not None:
                sys.exit("QEMU: " + self.p.stderr.read())
            time.sleep(0.05)
        self.s = socket.socket(socket.AF_UNIX)
        for _ in range(100): # it is bound before it listens
            try:
                self.s.connect(self.sock)
                break
            except ConnectionRefusedError:
                time.sleep(0.05)
        self.f = self.s.makefile("rw")
        self.f.readline()
        self.do("qmp_capabilities")

    def do(self, what, **args):
        self.f.write(json.dumps({"execute": what, "arguments": args}) + "\n")
        self.f.flush()
        while True:
            line = self.f.readline()
            if not line:
                sys.exit("QEMU is gone: " + self.p.stderr.read())
            r = json.loads(line)
            if "error" in r:
                raise RuntimeError(f"{what}: {r['error']['desc']}")
            if "return" in r:
                return r["return"]

    def memory(self, at, n, d):
        path = os.path.join(d, "mem")
        self.do("pmemsave", val=at, size=n, filename=path)
        return open(path, "rb").read()

    def count(self, d):
        return struct.unpack("<I", self.memory(COUNT, 4, d))[0]

    def wait_count(self, d, beyond):
        for _ in range(400):
            n = self.count(d)
            if n > beyond:
                return n
            time.sleep(0.05)
        sys.exit(f"the guest stands still at {n}")

    def wait_migration(self):
        for _ in range(400):
            st = self.do("query-migrate").get("status")
            if st in ("completed", "failed"):
                return st
            time.sleep(0.05)
        return "stuck"

    def end(self):
        try:
            self.do("quit")
        except (RuntimeError, SystemExit, OSError):
            pass
        self.p.wait(10)
