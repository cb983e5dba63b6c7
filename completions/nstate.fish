# fish completion for nstate; what there is is asked of the program itself.

function __nstate_commands
    command nstate $argv --help 2>/dev/null | string match -rg '^  ([a-z][a-z-]*) +(.*)' |
        while read -l name; read -l text; printf '%s\t%s\n' $name $text; end
end

function __nstate_options
    set -l words (commandline -opc)
    set -l at $words[2]
    test "$words[2]" = layouts; and set -q words[3]; and set at layouts $words[3]
    command nstate $at --help 2>/dev/null |
        string match -rg '^ {2,6}(?:-., )?(--[a-z-]+)[^ ]* +(.*)' |
        while read -l name; read -l text; printf '%s\t%s\n' $name $text; end
end

function __nstate_layouts
    command nstate layouts 2>/dev/null | string match -rg '^((?:v|rhel)[0-9.]+) '
end

complete -c nstate -n 'test (count (commandline -opc)) -eq 1' -f -a '(__nstate_commands)'
complete -c nstate -n 'test (count (commandline -opc)) -eq 2; and __fish_seen_subcommand_from layouts' -f -a '(__nstate_commands layouts)'
complete -c nstate -n 'test (count (commandline -opc)) -ge 2; and string match -q -- "-*" (commandline -ct)' -f -a '(__nstate_options)'
complete -c nstate -n 'contains -- (commandline -opc)[-1] --from --to' -f -a '(__nstate_layouts)'
complete -c nstate -n '__fish_seen_subcommand_from show diff' -a '(__nstate_layouts)'
complete -c nstate -n '__fish_seen_subcommand_from explain' -a '(command nstate explain --list 2>/dev/null | string replace -r " .*" "")'
