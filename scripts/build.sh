#!/bin/sh
# Configures and builds Tern in the folder given first (default: build); further arguments go to CMake. Kernels for CUDA are
# compiled for the GPU that is here (sm_86 where there is none), which takes a sixth of the time of compiling for all;
# -DTERN_CUDA_ARCHITECTURES=... says otherwise.
set -eu
cd "$(dirname "$0")/.."
folder=${1:-build}
[ $# -gt 0 ] && shift
case " $* " in
*-DTERN_CUDA_ARCHITECTURES=* | *-DTERN_CUDA=OFF*) ;;
*)
    capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -1 | tr -d '. ' || true)
    case $capability in
    90) capability=90a ;;
    [1-9][0-9] | 1[0-9][0-9]) ;;
    *) capability=86 ;;
    esac
    set -- -DTERN_CUDA_ARCHITECTURES="$capability" "$@"
    ;;
esac
cmake -S . -B "$folder" -G Ninja "$@" >"${TMPDIR:-/tmp}/tern-configure.$$" 2>&1 || {
    cat "${TMPDIR:-/tmp}/tern-configure.$$"
    rm -f "${TMPDIR:-/tmp}/tern-configure.$$"
    exit 1
}
sed -n '/^-- Tern /,$p' "${TMPDIR:-/tmp}/tern-configure.$$"
rm -f "${TMPDIR:-/tmp}/tern-configure.$$"
cmake --build "$folder"
