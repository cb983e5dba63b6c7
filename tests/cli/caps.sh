#!/bin/bash
# caps: written, read back, and the bit that a destination lacks by its names.
. tests/cli_lib.sh
n=$NSTATE
good=tests/fixtures/kvm-6.1/full/4-in-l2.nss.gz

status 0 "$n" caps "$good"
says '^0x48b 0x02137bff00000000 '
cp "$T/out" "$T/a"
status 0 "$n" caps "$T/a" -o "$T/b"
diff <(sed 1d "$T/a") <(sed 1d "$T/b") || fail 'not the same when read back'
status 2 "$n" caps "$T/a" -o "$T/b"
status 0 "$n" caps --force -o "$T/b" "$T/a"
status 0 "$n" caps --cpu skylake-server
says '^0x480 '
says '^cpuid 0x80000008 '
status 0 "$n" caps --cpu skylake-server --json
says '"vmx-pml"'
status 2 "$n" caps --cpu skylake-server --host
status 4 "$n" caps /nonexistent
status 3 "$n" caps README.md
one_line
# A host without nested VMX says so; with it, the file is good for --caps.
if "$n" caps --host -o "$T/host" 2>"$T/err"; then
	"$n" check -q --caps "$T/host" "$good"
	[ $? -le 1 ] || fail "--caps of the host's own"
else
	one_line
fi

status 0 "$n" check --caps "$T/a" "$good"
says 'every check passes'
# lacks MSR XOR PROPERTY: a destination without the bits.
lacks() {
	python3 - "$T/a" "$T/b" "$1" "$2" <<'P'
import sys
a, b, msr, bits = sys.argv[1:]
out = []
for line in open(a):
    w = line.split()
    if w[0] == msr:
        line = "%s 0x%016x\n" % (msr, int(w[1], 0) ^ int(bits, 0))
    out.append(line)
open(b, "w").writelines(out)
P
	status 1 "$n" check --kernel 6.1 --caps "$T/b" "$good"
	says "$3=off"
	says "<feature policy='disable' name='$3'/>"
}
lacks 0x48b 0x0002000000000000 vmx-pml
says 'rule ctl-secondary'
lacks 0x48b 0x0000400000000000 vmx-shadow-vmcs
lacks 0x48c 0x200000 vmx-eptad
says 'rule ctl-eptp'
lacks 0x48c 0x20000 vmx-ept-1gb
says 'KVM_SET_MSRS'
lacks 0x491 1 vmx-eptp-switching
says 'rule ctl-vmfunc'
lacks 0x48d 0x4000000000 vmx-preemption-timer
lacks 0x490 0x800000000000 vmx-entry-load-efer
echo '0x480 banana' >"$T/b"
status 3 "$n" check --caps "$T/b" "$good"
says 'line 1'
: >"$T/b"
status 3 "$n" check --caps "$T/b" "$good"
status 4 "$n" check --caps /nonexistent "$good"
status 1 "$n" check --kernel 6.1 --cpu skylake-server,-vmx "$good"
says 'rule cpuid_has_vmx'
status 2 "$n" check --cpu skylake-server --host "$good"
# Two kernels, one of which does not know a rule.
status 0 "$n" check --kernel 5.10 --kernel 6.1 "$good"
says_not 'differ'
finish
