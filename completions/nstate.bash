# bash completion for nstate.  Commands, verbs, options and layouts are asked of
# the program itself, so that there is one list of each.

_nstate_commands() { "$@" --help 2>/dev/null | sed -n 's/^  \([a-z][a-z-]*\)  *.*/\1/p'; }
_nstate_options() { "$@" --help 2>/dev/null |
	sed -n 's/^ \{2,6\}\(-[^ ,]*\), \(--[a-z-]*\).*/\1\n\2/p; s/^ \{6\}\(--[a-z-]*\).*/\1/p'; }
_nstate_layouts() { "$1" layouts 2>/dev/null | sed -n '2,$s/ .*//p'; }

_nstate() {
	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}
	local nstate=${COMP_WORDS[0]} command=${COMP_WORDS[1]} words=

	COMPREPLY=()
	# --from=LAYOUT arrives as three words.
	[ "$cur" = "=" ] && cur=
	[ "$prev" = "=" ] && prev=${COMP_WORDS[COMP_CWORD-2]}
	if [ "$COMP_CWORD" = 1 ]; then
		words=$(_nstate_commands "$nstate")
	elif [ "$prev" = --from ] || [ "$prev" = --to ]; then
		words=$(_nstate_layouts "$nstate")
	elif [ "$command" = layouts ] && [ "$COMP_CWORD" = 2 ] && [[ $cur != -* ]]; then
		words=$(_nstate_commands "$nstate" layouts)
	elif [ "$command" = layouts ] && [[ $cur == -* ]] && [ "$COMP_CWORD" -gt 2 ]; then
		words=$(_nstate_options "$nstate" layouts "${COMP_WORDS[2]}")
	elif [ "$command" = layouts ] && [[ ${COMP_WORDS[2]} == @(show|diff) ]]; then
		words=$(_nstate_layouts "$nstate")
	elif [ "$command" = fields ] && [[ $cur != -* ]]; then
		words=$("$nstate" fields 2>/dev/null | sed -n 's/^0x[0-9a-f]*  \([A-Z0-9_]*\).*/\1/p')
	elif [ "$command" = explain ] && [[ $cur != -* ]]; then
		words=$("$nstate" explain --list 2>/dev/null | sed 's/ .*//')
	elif [[ $cur == -* ]]; then
		words=$(_nstate_options "$nstate" "$command")
	fi
	[ -z "$words" ] || COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _nstate nstate
