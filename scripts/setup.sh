#!/bin/sh
# Installs the Debian packages Tern is built with, and with --tests those it is tested with. Idempotent, asks nothing.
# Without root it prints the command that would do it and fails only if something is missing.
#
# Where there is an NVIDIA driver and no nvcc, CUDA's compiler comes from PyPI into the private folder .cuda, which CMake
# finds. --cuda does that without a driver too, and also gets cuBLAS (for the FP16 baseline; 500 MB); --no-cuda does not.
set -eu
cd "$(dirname "$0")/.."
cuda=auto tests=no
for argument in "$@"; do
    case $argument in
    --tests) tests=yes ;;
    --cuda) cuda=yes ;;
    --no-cuda) cuda=no ;;
    *) echo "setup: unknown argument $argument; usage: setup.sh [--tests] [--cuda | --no-cuda]" >&2; exit 2 ;;
    esac
done

# ---- CUDA's compiler: one release, as pip resolves nothing here
cuda_wheels="nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-cuda-runtime==13.0.96"
blas_wheels="nvidia-cublas==13.1.0.3"
oldest_driver=580 # for CUDA 13.0

has_nvcc() {
    command -v nvcc >/dev/null 2>&1 || [ -x /usr/local/cuda/bin/nvcc ] || [ -x /opt/cuda/bin/nvcc ] || [ -n "$(ls .cuda/nvidia/cu*/bin/nvcc 2>/dev/null)" ]
}
has_driver() { [ -r /proc/driver/nvidia/version ] || [ -e /dev/nvidiactl ]; }
driver_major() { sed -n 's/^NVRM version:.* \([0-9][0-9]*\)\.[0-9.]* .*/\1/p' /proc/driver/nvidia/version 2>/dev/null | head -1; }

if [ "$cuda" = auto ]; then
    cuda=no
    if has_driver && ! has_nvcc; then
        cuda=compiler
        major=$(driver_major)
        if [ -n "$major" ] && [ "$major" -lt "$oldest_driver" ]; then
            echo "setup: the NVIDIA driver is $major; CUDA from PyPI needs $oldest_driver or later. Building without CUDA; an own CUDA 12 toolkit with nvcc on PATH is used when there is one." >&2
            cuda=no
        fi
    fi
elif [ "$cuda" = yes ] && has_nvcc && [ ! -d .cuda ]; then
    echo "setup: nvcc is there already"
    cuda=no
fi

packages="gcc g++ make cmake ninja-build pkg-config git libjansson-dev libpcre2-dev libutf8proc-dev libedit-dev opencl-headers ocl-icd-libopencl1"
[ "$tests" = no ] || packages="$packages libcmocka-dev python3 pocl-opencl-icd oclgrind libclblast1"
[ "$cuda" = no ] || packages="$packages python3 python3-pip"

missing=""
architecture=$(dpkg --print-architecture 2>/dev/null || true)
for package in $packages; do
    dpkg-query -W -f='${Architecture} ${Status}\n' "$package" 2>/dev/null |
        grep -qE "^($architecture|all) install ok installed$" || missing="$missing $package"
done
install_packages() {
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
}
[ -z "$missing" ] || install_packages

# Into a folder of its own first, so that an interrupted download leaves nothing that looks complete.
install_cuda() {
    wheels=$cuda_wheels
    [ "$cuda" != yes ] || wheels="$wheels $blas_wheels"
    if [ "$(cat .cuda/wheels 2>/dev/null)" = "$wheels" ]; then return 0; fi
    echo "setup: getting CUDA's compiler from PyPI into .cuda"
    rm -rf .cuda.tmp
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --no-deps --only-binary :all: --target .cuda.tmp $wheels
    echo "$wheels" >.cuda.tmp/wheels
    rm -rf .cuda
    mv .cuda.tmp .cuda
    echo "setup: $(.cuda/nvidia/cu13/bin/nvcc --version | sed -n 's/^Cuda compilation tools, //p')"
}
[ "$cuda" = no ] || install_cuda
