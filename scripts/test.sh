#!/bin/sh
# The second command: installs what is missing (as root), builds, and runs all tests.
set -eu
cd "$(dirname "$0")/.."
./scripts/setup.sh --tests
./scripts/build.sh build -DTERN_TESTS=ON
./scripts/build.sh build-asan -DTERN_TESTS=ON -DTERN_CUDA=OFF -DTERN_OPENCL=OFF -DCMAKE_BUILD_TYPE=RelWithDebInfo -DTERN_SANITIZE=address,undefined
jobs=$(nproc)
# Under the sanitizers: everything that parses untrusted bytes, the unit tests but the long one of benchmarks, and the
# CUDA kernels on the CPU, but for whole models.
ctest --test-dir build-asan --output-on-failure -j "$jobs" -L 'unit|shim' -E '^test_(bench|cuda_model)$'
ctest --test-dir build --output-on-failure -j "$jobs"
