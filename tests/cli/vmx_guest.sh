#!/bin/sh
# A hypervisor with an L2 of its own (tests/guest/vmx/) checks what the core shows
# it: with all that the core has, and as each kernel release would offer it.
set -u
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
gcc -std=gnu11 -O1 -Wall -Wextra -ffreestanding -fno-pic -mcmodel=kernel \
	-fno-stack-protector -fcf-protection=none -mgeneral-regs-only \
	-mno-red-zone -fno-asynchronous-unwind-tables -I. -nostdlib -static \
	-no-pie -Wl,-T,tests/guest/vmx/guest.lds,--build-id=none \
	-o "$dir/guest" tests/guest/vmx/*.S tests/guest/vmx/*.c 2>"$dir/log" || {
	cat "$dir/log"
	[ "$(uname -m)" = x86_64 ] && command -v gcc >/dev/null && exit 1
	exit 77
}
bad=0
check() {
	out=$(timeout 120 "$NSTATE" run "$dir/guest" -m 64M "$@" 2>&1)
	[ $? = 1 ] || { echo "FAIL $*"; bad=1; }
	echo "$*: $out" | tr '\n' ';'
	echo
}
check --cpu sapphire-rapids --l0 sdm --vmx-caps full
case $out in *skipped*) echo "FAIL: tests are missing"; bad=1;; esac
check --cpu skylake-server --l0 7.2
for release in 4.17 5.10 6.1 6.18; do
	check --cpu sapphire-rapids --l0 $release
done
exit $bad
