#!/usr/bin/env python3
"""json_schemas.py NSTATE: runs every command that has --json over fixtures and inputs
made here, and validates what it prints by docs/schemas; then damages it, which the
schemas must notice.  Each schema, key and enumerated value must have been seen, but
for those in UNSEEN.  Run by tests/cli/json_schemas.sh, from the tree's root."""
import glob
import gzip
import json
import re
import shlex
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, "tests")
import make_containers                                          # noqa: E402
from schema_check import Schemas                                # noqa: E402

NSTATE = sys.argv[1]
F = "tests/fixtures"
FULL, OLD = F + "/kvm-6.1/full/", F + "/kvm-4.17/no-shadow/"
L2 = FULL + "4-in-l2.nss.gz"
VMCS12_REVISION = 0x11e57ed0
T = tempfile.TemporaryDirectory()
failures = []

# Formats whose writers are in the unit tests, in C; they are printed as others are.
UNSEEN = {"common#/$defs/container_kind/enum/" + k for k in (
    "cloud-hypervisor snapshot", "crosvm vCPU", "kdump", "qcow2 snapshot")}


def fail(text):
    failures.append(text)


def run(args, stdin=b""):
    r = subprocess.run([NSTATE] + shlex.split(args), input=stdin, capture_output=True,
                       timeout=60)
    return r.returncode, r.stdout, r.stderr


# -- inputs ------------------------------------------------------------------------------
def put(name, data):
    path = T.name + "/" + name
    with open(path, "wb") as f:
        f.write(data)
    return path


def members(layout):
    out = json.loads(run("layouts show --json " + layout)[1])["members"]
    return {m["name"]: m for m in out}


def states():
    """Nested states, bare and in containers."""
    good = subprocess.run([sys.executable, "tests/nested_state.py", L2],
                          capture_output=True, check=True).stdout
    where = members("v6.18")

    def state(name, header=(), **fields):
        """KVM's nested state of L2, changed."""
        b = bytearray(good)
        for at, form, v in header:
            struct.pack_into(form, b, at, v)
        for f, v in fields.items():
            n = where[f]["bytes"]
            at = 128 + where[f]["offset"]
            v = v(int.from_bytes(b[at:at + n], "little")) if callable(v) else v
            b[at:at + n] = v.to_bytes(n, "little")
        return put(name, bytes(b))

    def with_ram(name, **fields):
        """The whole snapshot, its vmcs12 changed."""
        with open(state("changed", **fields), "rb") as f, gzip.open(L2) as whole:
            put(name, whole.read().replace(good, f.read()))

    state("plain")
    state("pending", [(0, "<H", 3), (24, "<H", 1), (28, "<I", 1), (32, "<Q", 5 << 60)])
    state("pages", CPU_BASED_VM_EXEC_CONTROL=lambda v: v | 1 << 21,
          SECONDARY_VM_EXEC_CONTROL=lambda v: v | 1)
    state("eptp", EPT_POINTER=3)
    state("cr3", GUEST_CR3=1 << 62)
    state("controls", PIN_BASED_VM_EXEC_CONTROL=0xfffffff)
    state("l1", [(0, "<H", 0)])
    state("scaling", TSC_MULTIPLIER=1 << 48,
          SECONDARY_VM_EXEC_CONTROL=lambda v: v | 1 << 25)
    state("evmcs", [(0, "<H", 5), (16, "<Q", 2**64 - 1)])
    with_ram("no-pml-page.nss", PML_ADDRESS=0xfffff000)
    with_ram("no-list.nss", EPTP_LIST_ADDRESS=0x201000)
    put("none", good[:4] + struct.pack("<I", 128) + b"\xff" * 16 + good[24:128])
    vmcb = bytearray(4096)
    vmcb[0x90] = 1
    for name, flags, pa, body in (("svm", 1, 0x5000, bytes(4096)),
                                  ("svm-paging", 1, 0x5000, bytes(vmcb)),
                                  ("svm-l1", 0, 2**64 - 1, b"")):
        put(name, struct.pack("<HHIQ", flags, 1, 128 + len(body), pa)
            .ljust(128, b"\0") + body)
    cpu = (make_containers.cpu() + make_containers.subsection("cpu/nested_state") +
           struct.pack(">HHI", 1, 1, 128 + 4096) +
           make_containers.subsection("cpu/kvm_nested_state/svm") +
           struct.pack(">Q", 0x5000) + bytes(vmcb))
    make_containers.stream(T.name + "/svm.mig", 1, seed=1, cpus=(cpu,))
    page = bytearray(struct.pack("<I", VMCS12_REVISION).ljust(4096, b"\0"))
    struct.pack_into("<H", page, where["GUEST_RIP"]["offset"], 1)
    put("unsure", bytes(page))
    # What a 64-bit hypervisor has in an enlightened VMCS (Hyper-V's TLFS).
    page = bytearray(struct.pack("<I", 1).ljust(4096, b"\0"))
    for at, form, v in ((10, "<H", 0x10), (20, "<H", 0x18), (40, "<Q", 0x80050033),
                        (56, "<Q", 0x2620), (80, "<Q", 0x2000), (416, "<Q", 2**64 - 1)):
        struct.pack_into(form, page, at, v)
    ram = bytes(4096) + bytes(page) + bytes(2 * 4096)
    put("ram.raw", ram)
    put("ram.lime", struct.pack("<IIQQQ", 0x4c694d45, 1, 0, len(ram) - 1, 0) + ram)


def guest():
    """A 64-bit guest that uses ports and takes events of every kind, in a snapshot of
    its first instruction."""
    sys.argv[1:] = [T.name]
    import run_images
    base = run_images.BASE
    idt, back, end = base + 0x800, base + 0x300, base + 0x310
    apic = 0xfee00000

    def store(at, v):                                           # mov dword [at], v
        return b"\xbb" + struct.pack("<I", at) + b"\xc7\x03" + struct.pack("<I", v)

    handlers = {1: back, 2: back, 3: back, 13: end, 0x30: back, 0x40: back}
    code = b"".join((
        b"\x8c\xc8",                                            # mov eax, cs
        b"".join(b"\x66\xa3" + struct.pack("<Q", idt + 16 * v + 2)
                 for v in handlers),                            # the gates' selectors
        b"\x0f\x01\x1c\x25" + struct.pack("<I", base + 0x7f0),  # lidt
        b"\xbc" + struct.pack("<I", base + 0x7e0),              # mov esp
        b"\xe4\x71\x66\xe5\x71\xe5\x71",                      # in al, ax, eax
        b"\xe6\x80\x66\xe7\x80\xe7\x80",                      # out
        b"\xf1\xcc\xcd\x30",                                   # int1; int3; int 0x30
        store(apic + 0xf0, 0x1ff),                              # the APIC is on
        store(apic + 0x300, 0x80400),                           # NMI to all
        b"\xfb", store(apic + 0x300, 0x40040), b"\x90\xfa",     # an interrupt to itself
        b"\x48\xb8" + struct.pack("<Q", 1 << 63) + b"\x8a\x00",  # not canonical: #GP
    ))
    gates = bytearray(16 * 0x41)
    for v, to in handlers.items():
        struct.pack_into("<HHHH", gates, 16 * v, to & 0xffff, 0, 0x8e00, to >> 16)
    image = code.ljust(back - base, b"\x90") + b"\x48\xcf".ljust(end - back, b"\x90")
    image += run_images.exit_with(1, 64)
    image = image.ljust(0x7f0, b"\0") + struct.pack("<HQ", len(gates) - 1, idt)
    path = put("image", run_images.elf(64, base, [(base, image.ljust(0x800, b"\0") +
                                                   gates, 0x2000)]))
    rc, _, err = run("run -m 8M --snapshot-at insns=1 -o %s/guest.nss %s" %
                     (T.name, path))
    if rc:
        fail("no snapshot of the guest: %s" % err)


def module(name, layout, change=None, table=True):
    """A kernel module as far as `layouts extract` looks: the table, and the struct in
    DWARF; change: a field that the struct has two bytes later."""
    rows, struct_c, at = "", "int hdr, abort, launch_state;", 12
    types = {2: "short", 4: "int", 8: "long"}
    for m in sorted(members(layout).values(), key=lambda m: m["offset"]):
        rows += "[R(%s)] = %d,\n" % (m["encoding"], m["offset"])
        if m["bytes"] == 8 and m["encoding"].startswith("0x2"):
            rows += "[R(%s + 1)] = %d,\n" % (m["encoding"], m["offset"] + 4)
        gap = m["offset"] - at + (2 if m["name"] == change else 0)
        if gap > 0:
            struct_c += "char gap%d[%d];" % (at, gap)
        struct_c += "unsigned %s %s;\n" % (types[m["bytes"]], KERNEL[m["name"]])
        at = at + max(gap, 0) + m["bytes"]
    text = ("#define R(e) (((e) << 6 | (e) >> 10) & 0xffff)\n"
            "const unsigned short %s[3300] = {%s};\n"
            "struct vmcs12 {%s} __attribute__((packed)); struct vmcs12 one;\n" %
            ("vmcs12_field_offsets" if table else "other", rows, struct_c))
    out = T.name + "/" + name
    subprocess.run(["cc", "-g", "-x", "c", "-c", "-o", out, "-"], check=True,
                   input=text.encode())


def containers():
    make_containers.stream(T.name + "/lost.mig", 1, seed=1)
    make_containers.elf(T.name + "/big.elf", 34, seed=1)
    with open(T.name + "/packed.mig", "wb") as f:
        m, page = make_containers, zlib.compress(make_containers.old_page())
        m.stream_head(f, 1 << 20)
        f.write(m.section(2, 2) + struct.pack(">Q", 0x5100) + b"\6pc.ram" +
                struct.pack(">I", len(page)) + page + struct.pack(">Q", 0x10) +
                m.footer(2) + m.full(4, "cpu", 12) + m.cpu() + m.footer(4) + b"\0")
    with open(T.name + "/lost.mig", "rb") as f:
        xml = b"<domain type='kvm'/>\0"
        put("saved", b"LibvirtQemudSave" + struct.pack("<IIII", 2, len(xml), 0, 0) +
            bytes(60) + xml + f.read())
    out = run("caps %s" % L2)[1]
    put("caps", re.sub(rb"(?m)^0x491 .*$", b"0x491 0x0", out))
    put("more-caps", out + b"0x492 0x1\n0x493 0x1\n")
    put("trace.txt", b"kvm_nested_vmenter_failed: vmcs12->launch_state\n")
    with open(F + "/explain/qemu-8.0-registers.txt", "rb") as f:
        put("sound.txt", f.read().replace(b"00008900", b"00008b00"))


# -- commands ----------------------------------------------------------------------------
def every(pattern):
    return sorted(glob.glob(F + "/" + pattern))


def commands():
    """(schema, expected statuses, arguments)"""
    t = T.name + "/"
    made = [t + x for x in (
        "plain", "pending", "pages", "eptp", "cr3", "controls", "l1", "scaling", "evmcs",
        "none", "svm", "svm-paging", "svm-l1", "svm.mig", "unsure", "lost.mig",
        "no-pml-page.nss", "no-list.nss", "guest.nss", "big.elf", "saved",
        "packed.mig", "ram.lime")]
    made.append("--kind 'raw RAM' " + t + "ram.raw")
    real = every("kvm-*/*/*.nss.gz")[::5] + every("pages/*") + [L2]
    for f in real + made:
        yield "inspect", (0,), f
        yield "scan", (0,), f
    for o in ("--all ", "--no-ram --field GUEST_RIP --field 0x2014 ",
              "--from v4.14 ", "--raw --field guest_cs_ar_bytes "):
        yield "inspect", (0,), o + L2
        yield "inspect", (0,), o + OLD + "4-in-l2.nss.gz"
    yield "inspect", (0,), "--all " + t + "plain"

    yield "diff", (0,), L2 + " " + L2
    yield "diff", (1,), "--ignore-volatile %s %s" % (L2, FULL + "5-in-l1-exit.nss.gz")
    yield "diff", (1,), "%s %s" % (FULL + "1-vmxon-only.nss.gz", L2)
    yield "diff", (0, 1), "%s %s" % (L2, F + "/kvm-6.1/as-v4.0/4-in-l2.nss.gz")
    yield "diff", (0, 1), "%s %s" % (t + "plain", t + "pending")
    yield "diff", (1,), "%s %s" % (t + "plain", t + "cr3")
    yield "diff", (0, 1), "%s %s" % (t + "plain", t + "lost.mig")

    yield "layouts-list", (0,), ""
    for layout in ("v3.1", "v4.14", "v6.18", "4.15"):
        yield "layouts-show", (0,), layout
    for pair in ("v4.12 v4.14", "v4.0 v6.18", "v6.18 v4.0", "v5.14 v5.14"):
        yield "layouts-diff", (0,), pair
    yield "layouts-extract", (0,), t + "module.ko"
    yield "layouts-extract", (0,), "--name mine " + t + "module.ko"
    yield "layouts-extract", (1,), t + "other.ko"
    yield "layouts-extract", (0,), t + "struct.ko"
    for f in real + made[:-1]:
        yield "layouts-identify", (0, 1), f
    for f in (L2, F + "/kvm-6.1/as-v4.14/4-in-l2.nss.gz", t + "lost.mig",
              t + "guest.nss"):
        yield "scan", (0,), "--evidence " + f

    for f in every("kvm-4.17/no-shadow/*") + [F + "/kvm-6.1/as-rhel7.7/4-in-l2.nss.gz",
                                              "--only-current " + L2] + made:
        if f == t + "unsure":
            continue
        yield "convert", (0,), "--dry-run " + f
    yield "convert", (0,), "--to v4.0 --drop-unsupported -o %sc.nss %s" % (t, L2)
    yield "convert", (0,), "--from v6.18 --to v4.14 --drop-unsupported --dry-run " + L2
    yield "convert", (0,), "--from v6.18 --to v5.14 --dry-run %sevmcs" % t

    for f in [OLD + "4-in-l2.nss.gz", FULL + "1-vmxon-only.nss.gz",
              FULL + "3-before-launch.nss.gz", L2] + made[:-1]:
        yield "check", (0, 1, 3), f
    yield "check", (0, 1), "--kernel 5.2 --kernel 6.1 %scr3" % t
    yield "check", (1,), "--kernel 6.1 --cpu skylake-server,-vmx " + L2
    yield "check", (0, 1), "--kernel 6.1 --cpu skylake-server " + L2
    yield "check", (1,), "--kernel 6.1 --caps %scaps %s" % (t, L2)
    yield "check", (0, 1), "--kernel 6.1 --caps %scaps %scontrols" % (t, t)

    for f in every("explain/*") + [t + "trace.txt", t + "sound.txt"]:
        yield "explain", (0, 1), f
    yield "explain", (0, 1), "--caps %scaps %s/explain/6.1-eptp.txt" % (t, F)
    yield "explain-list", (0,), "--list"
    for r in json.loads(run("explain --list --json")[1])["rules"][::3]:
        yield "explain-rule", (0,), r["rule"]
    for number in ("1", "7", "8", "10", "33", "70", "0x80000021", "0x80000022"):
        yield "explain-number", (0,), number

    for o in (L2, t + "caps", t + "more-caps", "--cpu skylake-server"):
        yield "caps", (0,), o
    for o in ("", "pml", "0x681e", "guest_*_base"):
        yield "fields", (0,), o
    yield "fields", (1,), "no_such_field"

    end = FULL + "9-end.nss.gz"
    go = "-q --until io:0x10=700 "
    yield "resume", (0,), go + "--expect %s %s" % (end, L2)
    yield "resume", (0,), go + OLD + "4-in-l2.nss.gz"
    yield "resume", (0,), go + F + "/kvm-6.1/no-ept/4-in-l2.nss.gz"
    yield "resume", (1,), "-q --max-insns 9000 --expect %s %s" % (end, L2)
    yield "resume", (1,), "-q --max-insns 9 --until idle " + L2
    yield "resume", (0,), "-q --max-insns 5000 --trace exits,io,pml " + L2
    yield "resume", (0,), "-q --max-insns 50 --trace insns --no-sandbox " + L2
    yield "resume", (0, 1, 3), "-q --max-insns 999 --trace insns,events,io " + t + \
        "guest.nss"
    yield "resume", (0, 3), "-q --max-insns 3000 --l1 builtin --trace exits " + L2


def work(what):
    schema, statuses, args = what
    command = {"layouts-list": "layouts list", "layouts-show": "layouts show",
               "layouts-diff": "layouts diff", "layouts-extract": "layouts extract",
               "layouts-identify": "layouts identify"}.get(
                   schema, schema.split("-")[0])
    rc, out, err = run("%s --json %s" % (command, args))
    return schema, statuses, command + " " + args, rc, out, err


def progress():
    """convert starts its clock before it reads: a second later it tells progress.  It
    may itself start late on a loaded machine."""
    with open(T.name + "/big.elf", "rb") as f:
        data = f.read()
    for wait in (1.3, 3, 9):
        p = subprocess.Popen([NSTATE, "convert", "-", "--json", "--dry-run", "-j", "1"],
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE)
        time.sleep(wait)
        out, err = p.communicate(data, timeout=60)
        if b"progress" in err:
            break
    return "convert", (0,), "convert - (slowly)", p.returncode, out, err


# -- verdicts ----------------------------------------------------------------------------
def take(schemas, result, documents):
    schema, statuses, args, rc, out, err = result
    if rc not in statuses:
        fail("%s: status %d: %s" % (args, rc, err[-300:]))
    found = []
    try:
        if rc < 2 or out:
            found.append((schema, json.loads(out)))
        for line in re.findall(rb'\{"event".*\}', err):
            kind = "progress" if b'"progress"' in line else "trace"
            found.append((kind, json.loads(line)))
    except ValueError as e:
        fail("%s: not JSON: %s" % (args, e))
    for name, d in found:
        wrong = schemas.error(name, d)
        if wrong:
            fail("%s: not as %s.json says: %s" % (args, name, wrong))
            continue
        schemas.note(name, d)
        documents.append((len(json.dumps(d)), name, d))


def same_words(schemas):
    """Lists that stand in the schemas are those of the tables in C."""
    def source(path, pattern, start="", end="\0"):
        with open(path, encoding="utf-8") as f:
            text = f.read()
        text = text[text.index(start):]
        return re.findall(pattern, text[:(text + end).index(end)])

    def enum(name, pointer):
        return set(schemas.follow(name, "", {"$ref": "#" + pointer})[2]["enum"])

    kinds = [k for f in glob.glob("convert/*.c") + glob.glob("convert/*/*.c")
             for k in source(f, r'\.kind = "([^"]*)"')]
    for what, have, want in (
            ("container kinds", enum("common", "/$defs/container_kind"),
             set(kinds) - {"not supported"}),
            ("vmcs12 kinds", enum("common", "/$defs/vmcs12_kind"),
             set(source("convert/scan.c", r'= "([^"]*)"', "kind_names[]", "};"))),
            ("capability MSRs", enum("caps", "/properties/msrs/items/properties/name"),
             {"IA32_VMX_" + m for m in source("cli/check/caps.c", r'"([A-Z0-9_]+)"',
                                              "msr_names[", "};")})):
        if have != want:
            fail("%s differ: %s" % (what, have ^ want))


def main():
    global KERNEL
    schemas, documents = Schemas(), []
    fields = json.loads(run("fields --json")[1])["fields"]
    KERNEL = {f["name"]: f["member"] for f in fields}
    states()
    sys.path.insert(0, "tests/cli")
    guest()
    module("module.ko", "v4.12")
    module("other.ko", "v4.12", "GUEST_RIP")
    module("struct.ko", "v4.12", table=False)
    containers()
    with ThreadPoolExecutor(2) as pool:
        slow = pool.submit(progress)
        for result in pool.map(work, list(commands())):
            take(schemas, result, documents)
        take(schemas, slow.result(), documents)
    for _, name, d in sorted(documents, key=lambda x: x[:2]):
        failures.extend(schemas.damage(name, d))
    failures.extend(schemas.lint())
    same_words(schemas)
    unseen = set(schemas.unseen())
    for place in sorted(unseen - UNSEEN):
        fail("no output shows " + place)
    for place in sorted(UNSEEN - unseen):
        fail("listed as not shown, and shown: " + place)
    failures.extend("no output lacks " + p for p in schemas.needless())
    for f in failures:
        print("FAIL: " + f)
    print("%d documents, %d schemas, %d damages" %
          (len(documents), len(schemas.text), len(schemas.damaged)))
    return 1 if failures else 0


sys.exit(main())
