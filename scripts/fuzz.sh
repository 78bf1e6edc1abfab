#!/bin/sh
# Runs the fuzz targets with libFuzzer, under the address and undefined-behaviour sanitizers, on one core.
#     usage: fuzz.sh MINUTES [TARGET...]      all targets unless named; the minutes are split evenly
# Inputs found on the way stay in build-fuzz/corpus/TARGET and are where the next run starts. A finding ends its target:
# the input and the report lie in build-fuzz/findings, and the script ends with 1 (2: it
# could not run).
# FUZZ_RUNS=N in the environment: at most N executions of each target. FUZZ_TIMEOUT=SECONDS (20): an input that takes
# longer by the clock is a finding; give hours when the run will be stopped and go on meanwhile.
# Columns: seconds by the clock; cpu-seconds the target used; since-new-edge: how many of these after its last new edge.
set -eu
cd "$(dirname "$0")/.."
all="gguf safetensors config tokenizer_json tokenizer_gguf encode decode chat load split directory"
minutes=${1:-}
case $minutes in
    '' | *[!0-9]*) echo "usage: fuzz.sh MINUTES [TARGET...]   targets: $all" >&2; exit 2 ;;
esac
shift
[ $# -gt 0 ] || set -- $all
for target in "$@"; do
    case " $all " in
        *" $target "*) ;;
        *) echo "fuzz.sh: there is no target $target; there are: $all" >&2; exit 2 ;;
    esac
done

mkdir -p build-fuzz/findings build-fuzz/fuzz-logs
build_log=build-fuzz/fuzz-logs/build.log
{ cmake --preset fuzz -DTERN_TESTS=ON -DTERN_CUDA=OFF && cmake --build build-fuzz --target fuzz; } > "$build_log" 2>&1 || {
    tail -40 "$build_log" >&2
    exit 2
}
export UBSAN_OPTIONS=print_stacktrace=1
# Short memory for freed blocks and who asked for them: twice the speed. Run a finding by itself for the whole story.
export ASAN_OPTIONS=malloc_context_size=1:quarantine_size_mb=16
seconds=$((minutes * 60 / $#))
[ "$seconds" -gt 0 ] || seconds=1
timeout=${FUZZ_TIMEOUT:-20}
failed=0

stat_of() { sed -n "s/^stat::$1: *//p" "$2" | tail -1; }

# Inputs longer than these only make every execution slower.
max_len() {
    case $1 in
        load | split | directory) echo 32768 ;;
        tokenizer_gguf) echo 12288 ;;
        encode | decode | chat) echo 512 ;;
        *) echo 4096 ;;
    esac
}

# The CPU seconds that a process has used so far; nothing when it is gone.
cpu_seconds() {
    { IFS= read -r line < "/proc/$1/stat"; } 2> /dev/null || return 0
    set -- ${line##*) }
    echo $(((${12} + ${13}) / ticks))
}
ticks=$(getconf CLK_TCK)

# Copies a log, whose first line is the target's process id, to its file; says how many edges it saw, the CPU seconds of
# the target, and how many of them came after the last new edge.
follow() {
    edges=0 cpu=0 last=0
    IFS= read -r pid
    while IFS= read -r line; do
        echo "$line"
        case $line in
            '#'*' cov: '*) seen=${line#* cov: } seen=${seen%% *} ;;
            *) continue ;;
        esac
        now=$(cpu_seconds "$pid")
        cpu=${now:-$cpu}
        if [ "$seen" -gt "$edges" ]; then edges=$seen last=$cpu; fi
    done > "$1"
    echo "$edges $cpu $((cpu - last))"
}

printf '%-16s %12s %8s %8s %11s %8s %14s  %s\n' target executions edges seconds cpu-seconds corpus since-new-edge findings
for target in "$@"; do
    log=build-fuzz/fuzz-logs/$target-$(date +%Y%m%d-%H%M%S).log
    corpus=build-fuzz/corpus/$target
    mkdir -p "$corpus"
    found_before=$(find build-fuzz/findings -name "$target-*" | wc -l)
    begin=$(date +%s)
    counts=$({
        sh -c 'echo $$; exec "$@" 2>&1' sh build-fuzz/tests/fuzz/fuzz_$target -max_total_time="$seconds" \
            -runs="${FUZZ_RUNS:--1}" -max_len="$(max_len "$target")" -rss_limit_mb=2048 -malloc_limit_mb=256 \
            -timeout="$timeout" -report_slow_units="$timeout" -print_final_stats=1 \
            -artifact_prefix="build-fuzz/findings/$target-" "$corpus" "build-fuzz/tests/fuzz/corpus/$target" || true
    } | follow "$log")
    found=$(($(find build-fuzz/findings -name "$target-*" | wc -l) - found_before))
    executions=$(stat_of number_of_executed_units "$log")
    # A target that ended without counts ended in a way that libFuzzer did not see.
    if [ "$found" -gt 0 ] || [ -z "$executions" ]; then
        failed=1
        cp "$log" "build-fuzz/findings/$target-report-$(date +%Y%m%d-%H%M%S).txt"
        [ "$found" -gt 0 ] || found=1
    fi
    set -- $counts
    printf '%-16s %12s %8s %8s %11s %8s %14s  %s\n' "$target" "${executions:-?}" "$1" $(($(date +%s) - begin)) "$2" \
        "$(find "$corpus" -type f | wc -l)" "$3" "$found"
done
[ "$failed" -eq 0 ] || echo "fuzz.sh: see build-fuzz/findings" >&2
exit "$failed"
