#!/bin/sh
# Configures and builds Tern in the folder given first (default: build); further arguments go to CMake.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-build}
[ $# -gt 0 ] && shift
cmake -S . -B "$folder" -G Ninja "$@" >"${TMPDIR:-/tmp}/tern-configure.$$" 2>&1 || {
    cat "${TMPDIR:-/tmp}/tern-configure.$$"
    rm -f "${TMPDIR:-/tmp}/tern-configure.$$"
    exit 1
}
sed -n '/^-- Tern /,$p' "${TMPDIR:-/tmp}/tern-configure.$$"
rm -f "${TMPDIR:-/tmp}/tern-configure.$$"
cmake --build "$folder"
