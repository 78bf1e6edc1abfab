#!/bin/sh
# Installs the Debian packages Tern is built with, and with --tests those it is tested with. Idempotent, asks nothing.
# Without root it prints the command that would do it and fails only if something is missing.
set -eu

packages="gcc g++ make cmake ninja-build pkg-config git libjansson-dev libpcre2-dev libutf8proc-dev libedit-dev opencl-headers ocl-icd-libopencl1"
[ "${1:-}" = --tests ] && packages="$packages libcmocka-dev python3 pocl-opencl-icd oclgrind libclblast1"

missing=""
architecture=$(dpkg --print-architecture 2>/dev/null || true)
for package in $packages; do
    dpkg-query -W -f='${Architecture} ${Status}\n' "$package" 2>/dev/null |
        grep -qE "^($architecture|all) install ok installed$" || missing="$missing $package"
done
if [ -z "$missing" ]; then
    exit 0
fi
if ! command -v apt-get >/dev/null 2>&1; then
    echo "setup: this is not a Debian system. Needed: a C11 compiler, CMake >= 3.25, pkg-config, jansson, PCRE2 (8 bit), utf8proc; libedit (line editing in tern chat), OpenCL headers and cmocka (tests) are optional." >&2
    exit 1
fi
command="apt-get install -y --no-install-recommends$missing"
if [ "$(id -u)" -ne 0 ]; then
    echo "setup: packages are missing. As root, run:" >&2
    echo "    $command" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
echo "setup: installing$missing"
apt-get update -qq
$command -qq >/dev/null
