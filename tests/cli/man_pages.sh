#!/bin/bash
# Every command has a page, every long option of a command stands in it, and
# nstate(1) names every command.
. tests/cli_lib.sh
commands=$("$NSTATE" --help | sed -n 's/^  \([a-z][a-z-]*\)  *.*/\1/p')
[ "$(echo "$commands" | wc -l)" -ge 12 ] || fail "--help lists: $commands"
# The page as plain words: "\-" is a dash, ".It Fl -x" an option.
options_of() { sed -n 's/^ \{2,6\}\(-[^ ,]*, \)\{0,1\}\(--[a-z0-9-]*\).*/\2/p'; }
documented() { grep -qE "(Fl |--|-)${2#--}( |\$|,|[^a-z-])" "$1"; }
for c in $commands; do
	page=man/nstate-$c.1
	[ -f "$page" ] || { fail "no $page"; continue; }
	grep -q "nstate-$c\b\|Cm $c\b\|Ic $c\b\|It .*$c" man/nstate.1 ||
		fail "nstate(1) does not name $c"
	verbs=
	[ "$c" = layouts ] && verbs="list show diff extract identify"
	for v in "" $verbs; do
		for o in $("$NSTATE" "$c" $v --help | options_of); do
			case $o in --help | --usage) continue;; esac
			documented "$page" "$o" || fail "$page: no $o ($c $v)"
		done
	done
done
finish
