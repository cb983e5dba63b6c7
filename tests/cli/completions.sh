#!/bin/bash
# The bash completion offers what the program has; zsh and fish can read theirs.
set -eu
fail() { echo "completions.sh: $*" >&2; exit 1; }
source completions/nstate.bash

# offers WORD... -- WANT...: completing the last WORD offers each WANT.
offers() {
	COMP_WORDS=("$NSTATE")
	while [ "$1" != -- ]; do COMP_WORDS+=("$1"); shift; done
	shift
	COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
	_nstate
	for want in "$@"; do
		[[ " ${COMPREPLY[*]} " == *" $want "* ]] ||
			fail "${COMP_WORDS[*]:1}: no $want in ${COMPREPLY[*]}"
	done
}

offers "" -- inspect convert diff layouts fields
offers la -- layouts
offers layouts "" -- list show diff extract identify
offers layouts diff v4.1 -- v4.12 v4.14 v4.18
offers layouts extract --b -- --btf-base
offers convert --from = v3 -- v3.1 v3.10 v3.15 v3.19
offers convert --to "" -- v6.18 rhel7.7
offers convert --d -- --dry-run --drop-unsupported
offers convert - -- -o --output -f --force
offers fields GUEST_R -- GUEST_RIP GUEST_RSP GUEST_RFLAGS
offers explain guest-l -- guest-link-pointer guest-ldtr-ar
offers explain vmcs -- vmcs12_revision
offers check --c -- --cpu --caps
! command -v zsh >/dev/null || zsh -n completions/_nstate
! command -v fish >/dev/null || fish -n completions/nstate.fish
