#!/bin/sh
# What the house rules ask and a script can see. usage: check_style.sh [BUILD_DIR]
#   - the library calls none of exit, abort, printf, puts, assert (by its object code and by its text)
#   - includes point one way: common <- host, cuda, opencl <- bench <- host/cli, tests
#   - no file over 1,000 lines, no line over 120 characters, no note left instead of work
set -eu
cd "$(dirname "$0")/.."
build=${1:-build}
failed=0
complain() {
    echo "style: $1"
    echo "$2"
    failed=1
}
rooms() { for room in "$@"; do [ -d "$room" ] && echo "$room"; done; }
sources() { find $(rooms "$@") -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cl' 2>/dev/null | grep -v '^host/cli/' || true; }

library=$(sources common host cuda opencl)
found=$(echo "$library" | xargs grep -nE '\b(exit|_exit|abort|assert|printf|vprintf|puts|putchar|perror|strcpy|strcat|sprintf|atoi|atof)\(' |
    grep -vE '_Static_assert|static_assert|^[^:]*:[0-9]*: *(//|\*)' || true)
[ -z "$found" ] || complain "the library must not end the process, print, or use unbounded strings" "$found"

# The same by object code: what the library's own objects import. Not nvcc's, which puts an exit into the host's empty form
# of device functions, and not the CUDA runtime's.
objects=$(find "$build/CMakeFiles/tern_objects.dir" "$build/CMakeFiles/tern_cuda.dir" -name '*.c.o' 2>/dev/null || true)
if [ -n "$objects" ] && ! echo "$objects" | head -1 | xargs nm | grep -q __asan; then
    found=$(echo "$objects" | xargs nm -u | awk '{print $2}' | sort -u |
        grep -xE 'exit|_exit|abort|__assert_fail|printf|__printf_chk|puts|putchar|perror|strcpy|strcat|sprintf|signal|sigaction' || true)
    [ -z "$found" ] || complain "objects of the library import" "$found"
fi

found=$(sources common | xargs grep -nE '#include "(model|tern|gguf|matrix|tokenizer|engine|cpu|op_cases|selftest)\.h"' || true)
[ -z "$found" ] || complain "common/ includes another room" "$found"
found=$(echo "$library" | grep '^host/' | xargs grep -nE '#include "(op_cases|op_run|selftest|stats|bandwidth|probe|energy|gpu_sensor|model_bench|kernel_bench|bench_[a-z]*|report|report_json|perplexity|npy|opt)\.h"' || true)
[ -z "$found" ] || complain "the library includes bench/ or host/cli" "$found"

all=$(find $(rooms common host cuda opencl bench tests) -name '*.[ch]' -o -name '*.cu' -o -name '*.cuh' -o -name '*.cpp' -o -name '*.cl')
found=$(echo "$all" | xargs wc -l | awk '$1 > 1000 && $2 != "total"')
[ -z "$found" ] || complain "files over 1,000 lines" "$found"
found=$(echo "$all" | grep -v "^tests/" | xargs grep -nE "^.{121,}" | cut -c1-100 || true)
[ -z "$found" ] || complain "lines over 120 characters" "$found"
found=$(echo "$all" | xargs grep -nE '\b(TODO|FIXME|XXX|HACK)\b' || true)
[ -z "$found" ] || complain "notes left instead of work" "$found"

[ "$failed" -ne 0 ] || echo "style: ok"
exit "$failed"
