#!/bin/sh
# All logits of the bundled model and of every fixture on the CUDA backend, executed on the CPU by tests/shim, against the
# CPU's bits: whole contexts, where the tests take prefixes. usage: shim_models.sh [BUILD] (default: build)
set -eu
cd "$(dirname "$0")/.."
program=${1:-build}/tests/cuda/test_cuda_model
[ -x "$program" ] || {
    echo "shim_models.sh: no $program; configure with -DTERN_TESTS=ON and build first" >&2
    exit 2
}
TERN_SHIM_WHOLE=1 exec "$program"
