#!/bin/sh
# Builds the CPU backend and the op cases for aarch64 and runs them under emulation, small shapes alone. Needs
# gcc-aarch64-linux-gnu and qemu-user; without them it says so and ends well. Usage: scripts/test_aarch64.sh [FILTER]
set -eu
cd "$(dirname "$0")/.."
cc=${AARCH64_CC:-aarch64-linux-gnu-gcc}
for tool in "$cc" qemu-aarch64; do
    if ! command -v "$tool" >/dev/null; then
        echo "skipped: $tool is not here (apt-get install gcc-aarch64-linux-gnu qemu-user)"
        exit 0
    fi
done
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
flags="-std=gnu11 -O2 -Wall -Wextra -Wconversion -Werror -ffp-contract=off -fno-math-errno -D_GNU_SOURCE
    -Icommon -Ihost/include -Ihost/model -Ihost/cpu -Ibench"
for file in common/*.c host/cpu/*.c bench/op_*.c tests/aarch64/cpu_cases.c; do
    extra=
    case $file in
    *kernels_neon_dot.c) extra=-march=armv8.2-a+dotprod ;;
    *kernels_neon_i8mm.c) extra=-march=armv8.2-a+dotprod+i8mm ;;
    esac
    # shellcheck disable=SC2086
    "$cc" $flags $extra -c "$file" -o "$out/$(basename "$file" .c).o"
done
"$cc" -static "$out"/*.o -o "$out/cpu_cases" -lpthread -lm
echo "a processor without dot products:"
qemu-aarch64 -cpu cortex-a53 "$out/cpu_cases" "${1:-}"
echo "one with them:"
qemu-aarch64 -cpu neoverse-n1 "$out/cpu_cases" "${1:-}" neon-dotprod
echo "one with matrix products too:"
qemu-aarch64 -cpu max "$out/cpu_cases" "${1:-}" neon-i8mm
