# lib.sh: what the command-line tests share; sourced with the tree's root as the
# working directory and $NSTATE set.
set -u
T=$(mktemp -d)
trap 'rm -rf "$T"' EXIT
failures=0
fail() { echo "FAIL: $*"; failures=$((failures + 1)); }
# status WANT COMMAND...: runs it, out in $T/out, err in $T/err.
status() {
	local want=$1 rc
	shift
	"$@" >"$T/out" 2>"$T/err"
	rc=$?
	[ $rc = "$want" ] || fail "status $rc instead of $want: $*: $(cat "$T/err")"
}
says() { grep -q -- "$1" "$T/out" "$T/err" || fail "nothing says '$1'"; }
says_not() { ! grep -q -- "$1" "$T/out" "$T/err" || fail "something says '$1'"; }
one_line() { [ "$(wc -l <"$T/err")" = 1 ] || fail "not one line on stderr: $(cat "$T/err")"; }
finish() { [ $failures = 0 ] || exit 1; echo ok; }
