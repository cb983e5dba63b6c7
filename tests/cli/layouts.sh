#!/bin/sh
# nstate layouts and nstate fields: output, JSON, files, exit statuses.
set -eu
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

fail() { echo "layouts.sh: $*" >&2; exit 1; }
# status N COMMAND...: it exits with N; its output is in $tmp/out and $tmp/err.
status() {
	want=$1; shift
	got=0
	"$@" >"$tmp/out" 2>"$tmp/err" || got=$?
	[ "$got" = "$want" ] || { cat "$tmp/err" >&2; fail "$*: exit $got, not $want"; }
}
has() { grep -qF -e "$1" "$tmp/${2:-out}" || { cat "$tmp/${2:-out}" >&2; fail "no \"$1\""; }; }
one_line() { [ "$(wc -l <"$tmp/err")" = 1 ] || fail "not one line of error"; }

# -- the table
status 0 "$NSTATE" layouts
[ "$(wc -l <"$tmp/out")" = 15 ] || fail "14 layouts and a header expected"
has "v4.14    4.14 to 4.17 "
status 0 "$NSTATE" layouts list --json
python3 - "$tmp/out" <<'PY' || fail "JSON of the list"
import json, sys
l = json.load(open(sys.argv[1]))["layouts"]
assert len(l) == 14
v = {x["id"]: x for x in l}
assert v["v4.14"]["size"] == 1022 and not v["v4.14"]["preserves_v4_0"]
assert v["v6.18"]["fields"] == 147 and v["v6.18"]["emits_nested_state"]
PY

# -- one layout, by id, by kernel, as a file and back
status 0 "$NSTATE" layouts show 4.15.3
has "v4.14: struct vmcs12 of Linux 4.14 to 4.17, 1022 bytes, 141 fields"
has "  1006     2  0x0812   GUEST_PML_INDEX"
for l in $("$NSTATE" layouts | awk 'NR > 1 { print $1 }'); do
	status 0 "$NSTATE" layouts show "$l" --file -o "$tmp/$l.layout"
	"$NSTATE" layouts show "$l" >"$tmp/a"
	"$NSTATE" layouts show "$tmp/$l.layout" >"$tmp/b"
	cmp -s "$tmp/a" "$tmp/b" || fail "$l does not survive its file"
done
status 2 "$NSTATE" layouts show v4.0 --file -o "$tmp/v4.0.layout"; one_line

# -- what moved
status 0 "$NSTATE" layouts diff v4.12 v4.14
has "v4.12 (4.12 to 4.13, 1006 bytes) to v4.14 (4.14 to 4.17, 1022 bytes): 10 fields in place, 129 moved, 2 added, 0 removed"
has "VM_FUNCTION_CONTROL"
status 0 "$NSTATE" layouts diff v5.14 v5.14
has "141 fields in place, 0 moved, 0 added, 0 removed"
status 0 "$NSTATE" layouts diff rhel7.7 v4.18 --json
python3 - "$tmp/out" <<'PY' || fail "JSON of the difference"
import json, sys
d = json.load(open(sys.argv[1]))
# Nine fields that v4.0 has, and the PML's two.
assert len(d["moved"]) == 11, d["moved"]
assert {m["by"] for m in d["moved"]} == {8, -2, 136, 14}
assert [m["name"] for m in d["removed"]] == []
PY
status 0 "$NSTATE" layouts diff v4.0 v6.18 --svg -o "$tmp/d.svg"
python3 -c 'import sys, xml.dom.minidom as m
d = m.parse(sys.argv[1])
assert len(d.getElementsByTagName("rect")) > 280' "$tmp/d.svg" || fail "SVG"

# -- the catalogue
status 0 "$NSTATE" fields
[ "$(wc -l <"$tmp/out")" = 204 ] || fail "203 fields and a header expected"
status 0 "$NSTATE" fields 0x681e
has "GUEST_RIP: Guest RIP"
has "  at 568    v4.14"
status 0 "$NSTATE" fields 'guest_*_base'
status 0 "$NSTATE" fields --json pml
python3 - "$tmp/out" <<'PY' || fail "JSON of the fields"
import json, sys
f = {x["name"]: x for x in json.load(open(sys.argv[1]))["fields"]}
assert f["PML_ADDRESS"]["encoding_high"] == "0x200f"
assert f["PML_ADDRESS"]["offsets"]["v4.12"] == 184
assert "v4.0" not in f["PML_ADDRESS"]["offsets"]
assert f["GUEST_PML_INDEX"]["gate"] == "secondary:enable PML"
PY
status 0 "$NSTATE" fields -O rip
has " 568 "
status 1 "$NSTATE" fields no_such_field; one_line

# -- which layout
status 0 "$NSTATE" layouts identify tests/fixtures/pages/kvm-4.17-in-l2.bin
has "layout: v4.14: certain"
status 0 "$NSTATE" layouts identify --all --json tests/fixtures/pages/as-rhel7.7-in-l1.bin
python3 - "$tmp/out" <<'PY' || fail "JSON of the judgement"
import json, sys
t = json.load(open(sys.argv[1]))["together"]
assert t["verdict"] == "certain" and t["layout"] == "rhel7.7"
assert t["candidates"][0]["hard"] == 0
next = [c for c in t["candidates"] if c["answer"] == 1]
assert any(r["excludes"] for r in next[0]["reasons"])
PY
status 1 "$NSTATE" layouts identify tests/fixtures/pages/kvm-6.1-pattern.bin
has "none fits any page"
has "nearest is v5.14, v6.18 with"

# -- a module of our own making: this program has a table, as a kernel does
cat >"$tmp/module.c" <<'C'
#define ROL6(e) (((e) << 6 | (e) >> 10) & 0xffff)
const unsigned short vmcs12_field_offsets[3300] = {
#define X(e, at) [ROL6(e)] = at,
#include "table.h"
};
#include "struct.h"
struct vmcs12 one;
C
"$NSTATE" layouts show v4.12 | awk '$1 ~ /^[0-9]+$/ {
	type = $2 == 8 ? "long" : $2 == 4 ? "int" : $2 == 2 ? "short" : "char"
	if ($3 ~ /^0x/) printf "unsigned %s %s;\n", type, $5
	else if ($1 > 8) printf "char padding_%d[%d];\n", $1, $2
	else printf "int word%d;\n", $1
	} BEGIN { print "struct vmcs12 {" } END {
	print "} __attribute__((packed));" }' >"$tmp/struct.h"
"$NSTATE" layouts show v4.12 | awk '$3 ~ /^0x/ {
	printf "X(%s, %d)\n", $3, $1
	if ($3 ~ /^0x2/) printf "X(%s + 1, %d)\n", $3, $1 + 4 }' >"$tmp/table.h"
if ${CC:-cc} -g -c -o "$tmp/module.ko" "$tmp/module.c" 2>"$tmp/err"; then
	status 0 "$NSTATE" layouts extract "$tmp/module.ko" -o "$tmp/m.layout"
	has "equals v4.12 (Linux 4.12 to 4.13)"
	# A relocatable file: its names are found only through relocations.
	has "DWARF: 139 fields, struct vmcs12 of 1006 bytes"
	status 0 "$NSTATE" layouts diff "$tmp/m.layout" v4.12
	has "139 fields in place, 0 moved, 0 added, 0 removed"
	gzip -k "$tmp/module.ko"
	status 0 "$NSTATE" layouts extract "$tmp/module.ko.gz" --name mine
	has "name mine"
	for z in xz zstd; do
		command -v $z >/dev/null || continue
		$z -q -k "$tmp/module.ko"
	done
	for m in "$tmp"/module.ko.xz "$tmp"/module.ko.zst; do
		[ ! -e "$m" ] || status 0 "$NSTATE" layouts extract "$m" --json
	done
	# The struct says something else than the table.
	sed -i '/guest_rip/d' "$tmp/struct.h"
	${CC:-cc} -g -c -o "$tmp/other.ko" "$tmp/module.c"
	status 1 "$NSTATE" layouts extract "$tmp/other.ko"
	has "warning: table, BTF and DWARF disagree" err
	has "# note: VIRTUAL_PROCESSOR_ID: the table says 968, DWARF says 960"
	has " more"
else
	cat "$tmp/err"
	fail "no compiler"
fi

# -- bad input: one line, the right status
: >"$tmp/empty"
head -c 100000 /dev/urandom >"$tmp/noise"
status 3 "$NSTATE" layouts extract "$tmp/empty"; one_line
status 3 "$NSTATE" layouts extract "$tmp/noise"; one_line
status 3 "$NSTATE" layouts extract "$tmp"; one_line
status 3 "$NSTATE" layouts extract /bin/true; one_line
status 4 "$NSTATE" layouts extract "$tmp/missing"; one_line
status 3 "$NSTATE" layouts show "$tmp/noise"; one_line
status 3 "$NSTATE" layouts show "$tmp"; one_line
status 2 "$NSTATE" layouts show v9.9; one_line
status 2 "$NSTATE" layouts show; one_line
status 2 "$NSTATE" layouts diff v4.0; one_line
status 2 "$NSTATE" layouts frobnicate; one_line
status 3 "$NSTATE" layouts identify "$tmp/empty"; one_line
for v in "" list show diff extract identify; do
	status 0 "$NSTATE" layouts $v --help
	has Usage
done
