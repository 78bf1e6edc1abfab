#!/bin/sh
# Small op cases under oclgrind, which executes kernels item by item and reports races, accesses out of bounds and reads
# of bytes nobody wrote. It exits 0 all the same, so its log is read; two kernels broken on purpose show that it is.
# usage: small_cases.sh PROGRAM. Exit 77: there is no oclgrind.
set -u
program=$1
library=
for folder in /usr/lib/oclgrind /usr/lib/x86_64-linux-gnu/oclgrind /usr/lib/aarch64-linux-gnu/oclgrind \
    /usr/lib64/oclgrind /usr/local/lib/oclgrind /usr/local/lib /usr/lib64 /usr/lib; do
    [ -z "$library" ] && [ -f "$folder/liboclgrind-rt-icd.so" ] && library=$folder/liboclgrind-rt-icd.so
done
if [ -z "$library" ]; then
    echo "SKIPPED: oclgrind is not installed (liboclgrind-rt-icd.so is nowhere to be found)"
    exit 77
fi
work=$(mktemp -d "${TMPDIR:-/tmp}/tern-oclgrind.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
echo "$library" >"$work/oclgrind.icd"

# run LOG ARGUMENTS...
run() {
    log=$1
    shift
    : >"$log"
    OCL_ICD_VENDORS="$work" OCL_ICD_FILENAMES="$library" OCLGRIND_DATA_RACES=1 OCLGRIND_UNINITIALIZED=$uninitialized \
        OCLGRIND_CHECK_API=1 OCLGRIND_LOG="$log" "$program" "$@"
}

for broken in bounds race; do
    expected='Invalid write' uninitialized=1
    [ "$broken" = race ] && expected='data race' uninitialized=0 # which it would report first, and then no more
    run "$work/$broken" "$broken" >"$work/out" 2>&1
    code=$?
    [ "$code" -eq 77 ] && cat "$work/out" && exit 77
    if [ "$code" -ne 0 ] || ! grep -qi "$expected" "$work/$broken"; then
        echo "FAILED: the simulator did not report '$expected' for the kernel that is broken on purpose (exit $code)"
        head -n 20 "$work/out" "$work/$broken"
        exit 1
    fi
done

uninitialized=1
run "$work/log"
code=$?
if [ -s "$work/log" ]; then
    echo "FAILED: the simulator reports $(grep -c 'Kernel:' "$work/log") accesses:"
    head -n 40 "$work/log"
    exit 1
fi
exit "$code"
