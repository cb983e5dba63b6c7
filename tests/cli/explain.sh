#!/bin/bash
# explain: each text names its one broken rule; ids, numbers; the manual's list.
. tests/cli_lib.sh
n=$NSTATE
f=tests/fixtures/explain

# names FILE RULE: RULE, and no other, is broken.
names() {
	status 0 "$n" explain --json "$f/$1"
	python3 - "$T/out" "$2" "$1" <<'P' || fail "$1: not just $2"
import json, sys
rules = [b["rule"] for x in json.load(open(sys.argv[1]))["findings"]
         for b in x.get("broken", [])]
if rules != [sys.argv[2]]:
    print(sys.argv[3], rules)
    sys.exit(1)
P
	status 0 "$n" explain - <"$f/$1"
	says "rule $2"
	says "what to do: "
}
while read -r file rule; do
	names "$file" "$rule"
done <<'L'
4.4-rflags.txt guest-rflags
4.19-pdptes.txt guest-pdptes
4.19-tr-busy.txt guest-tr-type
5.4-host-cr4.txt host-cr4
5.4-rip.txt guest-rip
5.15-link-pointer.txt guest-link-pointer
5.15-nmi-window.txt ctl-nmi-window
5.15-msr-load.txt entry-msrs
6.1-activity.txt guest-activity
6.1-eptp.txt ctl-eptp
6.8-pat.txt guest-pat
6.18-cet.txt guest-ssp
7.2-injection.txt ctl-inject-error-flag
trace-5.4-host-ss.txt host-ss
trace-6.1-secondary.txt ctl-secondary
trace-6.18-activity.txt guest-activity
qemu-10.0-format.txt format_vmx
qemu-8.0-registers.txt guest-tr-type
L
status 0 "$n" explain $f/5.15-msr-load.txt
says 'entry 2: MSR 0xc0000101'
status 0 "$n" explain $f/qemu-7.2-set-nested.txt
says 'nstate check FILE'

# Each message of QEMU's is known, and says what to do.
status 0 "$n" explain --json $f/qemu-messages.txt
[ "$(grep -c '"kind": "message"' "$T/out")" = "$(wc -l <$f/qemu-messages.txt)" ] ||
	fail 'a message of QEMU is not known'
status 0 "$n" explain $f/qemu-messages.txt
says 'capability MSRs'

# A dump with nothing wrong in it.
sed 's/RFLAGS=0x00000000/RFLAGS=0x00000246/' $f/4.4-rflags.txt >"$T/good.txt"
status 1 "$n" explain "$T/good.txt"
says 'holds'
# Half a dump: what it does not show is not called broken.
head -12 $f/4.4-rflags.txt >"$T/half.txt"
status 0 "$n" explain "$T/half.txt"
says 'rule guest-rflags'
says_not 'rule ctl-'
status 1 "$n" explain <(head -5 $f/4.4-rflags.txt)

# A CPU that has less than any could.
"$n" caps --cpu minimal >"$T/cpu.caps" || "$n" caps --cpu skylake-server >"$T/cpu.caps"
sed -i 's/^0x48b .*/0x48b 0x0000002a00000000/' "$T/cpu.caps"
status 0 "$n" explain --caps "$T/cpu.caps" "$T/good.txt"
says 'rule ctl-secondary'
says 'vmx-unrestricted-guest=off'
status 0 "$n" explain 0x80000021
says 'guest-link-pointer'
says_not 'ctl-pin'
status 0 "$n" explain 7
says 'invalid control field'
says 'ctl-eptp'
status 0 "$n" explain 8
says 'host-cr4 '
status 0 "$n" explain 48
says 'EPT violation'
status 3 "$n" explain 0x80000099
one_line
status 0 "$n" explain vmcs12_revision
says '4.19 and later'
status 0 "$n" explain guest-rip --json
says '27.3.1.4'
status 3 "$n" explain README.md
one_line
status 3 "$n" explain tests/fixtures/kvm-6.1/full/4-in-l2.nss.gz
one_line
status 4 "$n" explain /nonexistent
one_line

# Every rule says what to do, and stands in the manual (UPDATE=1 writes it).
"$n" explain --list --json >"$T/list"
NSTATE=$n python3 - "$T/list" man/nstate-explain.1 <<'P' || fail 'the manual'
import json, os, subprocess, sys
rules = json.load(open(sys.argv[1]))["rules"]
want = "".join(".It Cm %s\n%s.\n" % (r["rule"], r["must"][0].upper() + r["must"][1:])
               for r in rules)
text = open(sys.argv[2]).read()
begin, end = '.\\" rules: begin\n', '.\\" rules: end\n'
head, rest = text.split(begin)
have, tail = rest.split(end)
if os.environ.get("UPDATE"):
    open(sys.argv[2], "w").write(head + begin + want + end + tail)
elif have != want:
    sys.exit("man/nstate-explain.1 does not list the rules as they are")
ids = [r["rule"] for r in rules]
assert len(set(ids)) == len(ids) > 150
bad = [r for r in ids if "remedy" not in json.loads(subprocess.run(
    [os.environ["NSTATE"], "explain", "--json", r], capture_output=True).stdout)]
if bad:
    sys.exit("no remedy: " + " ".join(bad))
P
finish
