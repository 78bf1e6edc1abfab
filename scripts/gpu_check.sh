#!/bin/sh
# Everything a machine with an NVIDIA GPU can say about this tree, in under ten minutes.
# usage: gpu_check.sh [-b BUILD_DIR] [-o OUTPUT_DIR] [-d DEVICE]
#
#   -b BUILD_DIR   use this build instead of making one for the GPU at hand in build-gpu
#   -o OUTPUT_DIR  where results go (default: gpu-check-DATE)
#   -d DEVICE      the device as `tern devices` calls it (default: cuda0)
#
# Build, self-test, large op cases, equality of logits with the CPU, compute-sanitizer (memcheck, racecheck) on small
# cases, read and copy bandwidth, products at the shapes of real models beside cuBLAS FP16, prefill and decode of
# synthetic models, prefill with and without fast attention (sm_80 and later), whose op cases the self-test holds to their
# error. Results: OUTPUT_DIR/result.json with every step's log beside it; a summary of at most 40 lines is
# printed last. A step whose tool is missing is reported as skipped, never as passed.
# Exit status: 0 all passed, 1 something failed, 2 misuse, 4 no GPU.
set -eu
cd "$(dirname "$0")/.."

usage() { sed -n '2,14p' "$0" | sed 's/^# \{0,1\}//'; }
build=
out=
device=cuda0
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help)
        usage
        exit 0
        ;;
    -b | -o | -d)
        [ $# -ge 2 ] || {
            echo "gpu_check: $1 needs a value; try --help" >&2
            exit 2
        }
        case $1 in
        -b) build=$2 ;;
        -o) out=$2 ;;
        *) device=$2 ;;
        esac
        shift 2
        ;;
    *)
        echo "gpu_check: unknown argument $1; try --help" >&2
        exit 2
        ;;
    esac
done

gpu=
if command -v nvidia-smi >/dev/null 2>&1; then
    gpu=$(nvidia-smi --query-gpu=name --format=csv,noheader 2>/dev/null | sed -n 1p || true)
fi
if [ -z "$gpu" ] && [ ! -e /dev/nvidia0 ]; then
    echo "gpu_check: no NVIDIA GPU with a driver is visible on this machine, so nothing was checked." >&2
    exit 4
fi

begin=$(date +%s)
out=${out:-gpu-check-$(date +%Y-%m-%d-%H%M%S)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
: >"$out/summary.txt"
: >"$out/steps.jsonl"
failed=0

say() { printf '%s\n' "$*" >>"$out/summary.txt"; }
quote() { printf '%s' "$1" | tr -d '\000-\037' | sed 's/\\/\\\\/g; s/"/\\"/g'; }

# record NAME VERDICT SECONDS: one step's verdict.
record() {
    printf '{"step":"%s","verdict":"%s","seconds":%s}\n' "$1" "$2" "$3" >>"$out/steps.jsonl"
    [ "$2" != failed ] || failed=1
    printf '%-12s %s (%s s)\n' "$1" "$2" "$3" >&2
}

# step NAME LIMIT COMMAND...: runs it with a time limit in seconds, its own and what is left of all; standard output to
# NAME.out, the rest to NAME.log.
step() {
    name=$1
    limit=$2
    shift 2
    t0=$(date +%s)
    left=$((begin + 590 - t0))
    [ "$left" -ge "$limit" ] || limit=$left
    : >"$out/$name.out"
    if [ "$limit" -lt 1 ]; then
        record "$name" "skipped: no time left" 0
        return 1
    fi
    status=0
    timeout "$limit" "$@" >"$out/$name.out" 2>"$out/$name.log" || status=$?
    [ "$status" -ne 124 ] || echo "stopped after $limit s" >>"$out/$name.log"
    case $status in
    0) record "$name" passed $(($(date +%s) - t0)) ;;
    *) record "$name" failed $(($(date +%s) - t0)) ;;
    esac
    return "$status"
}

# A field of the JSON object on each line of standard input.
field() { sed -n "s/.*\"$1\":\"\{0,1\}\([^\",}]*\).*/\1/p"; }
array() { printf '[%s]' "$(paste -sd, "$1" 2>/dev/null || true)"; }

# ---- build
if [ -z "$build" ]; then
    build='build-gpu'
    cap=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sed -n '1s/\.//p' || true)
    case $cap in
    90) cap=90a ;;
    esac
    step build 240 ./scripts/build.sh "$build" -DTERN_TESTS=ON -DTERN_CUDA=ON \
        ${cap:+"-DTERN_CUDA_ARCHITECTURES=$cap"} || {
        cat "$out/build.out" "$out/build.log" >&2
        echo "gpu_check: the build failed; its log is in $out" >&2
        exit 1
    }
fi
tern=$build/tern
bench=$build/device_bench

# ---- facts
commit=$(git describe --always --dirty --abbrev=10 2>/dev/null || echo unknown)
smi=$(nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem,power.limit,ecc.mode.current \
    --format=csv,noheader 2>/dev/null | sed -n 1p || true)
step devices 60 "$tern" devices -o json || true
say "gpu_check: ${gpu:-GPU}, commit $commit, $(date -u +%Y-%m-%dT%H:%MZ)"
say "driver: ${smi:-not known}"

# ---- correctness
step selftest 150 "$tern" selftest -dev "$device" -o json || true
say "self-test: $(field passed <"$out/selftest.out") passed, $(field failed <"$out/selftest.out") failed, \
$(field skipped <"$out/selftest.out") skipped"
step large 100 "$bench" check "$device" full "ternary_mm M=1 N" || true # the reference takes most of this time
say "large ternary products, M = 1: $(sed -n '$p' "$out/large.out")"
cap=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | sed -n '1s/\.//p' || true)
if [ "${cap:-0}" -ge 80 ]; then
    step fast 60 "$bench" check "$device" full fast_attention || true
    say "fast attention, within its error: $(sed -n '$p' "$out/fast.out")"
else
    record fast "skipped: fast attention needs sm_80" 0
fi

same=0
different=0
for kv in f32 f16 int8 int4; do
    for d in cpu "$device"; do
        timeout 60 "$tern" logits models/stories -p "Once upon a time there was a little girl who liked to read." \
            -ctk $kv -dev "$d" --out "$out/logits-$d-$kv.npy" >>"$out/logits.log" 2>&1 || true
    done
    if cmp -s "$out/logits-cpu-$kv.npy" "$out/logits-$device-$kv.npy"; then
        same=$((same + 1))
    else
        different=$((different + 1))
    fi
    rm -f "$out/logits-cpu-$kv.npy" "$out/logits-$device-$kv.npy"
done
if [ "$different" -eq 0 ]; then record logits passed 0; else record logits failed 0; fi
say "logits of models/stories, CPU against $device (f32, f16, int8, int4 KV): $same equal, $different different"

sanitizer=$(command -v compute-sanitizer || true)
[ -n "$sanitizer" ] || [ ! -x /usr/local/cuda/bin/compute-sanitizer ] || sanitizer=/usr/local/cuda/bin/compute-sanitizer
for tool in memcheck racecheck; do
    if [ -z "$sanitizer" ]; then
        record "$tool" "skipped: no compute-sanitizer" 0
    else
        step "$tool" 75 "$sanitizer" --tool "$tool" --error-exitcode 9 "$bench" check "$device" quick "M=3 N=37 K=200" ||
            true
        [ "${cap:-0}" -lt 80 ] || step "$tool-fast" 40 "$sanitizer" --tool "$tool" --error-exitcode 9 "$bench" check \
            "$device" quick "fast_attention M=24" || true
    fi
done
say "compute-sanitizer: $(grep -E '"(memcheck|racecheck)(-fast)?"' "$out/steps.jsonl" | field verdict | paste -sd, -)"

# ---- bandwidth
read_gbps=0
nvcc=$(command -v nvcc || true)
[ -n "$nvcc" ] || [ ! -x /usr/local/cuda/bin/nvcc ] || nvcc=/usr/local/cuda/bin/nvcc
if [ -z "$nvcc" ]; then
    record read "skipped: no nvcc" 0
elif step read_build 60 "$nvcc" -O3 -arch=native -o "$out/read_bandwidth" bench/tools/read_bandwidth.cu &&
    step read 30 "$out/read_bandwidth"; then
    read_gbps=$(field read_gbps <"$out/read.out")
fi
rm -f "$out/read_bandwidth"
step probe 60 "$tern" bench --probe -dev "$device" -o jsonl || true
say "memory: read $read_gbps GB/s (own kernel), through ops: read $(field read_gbps <"$out/probe.out"), \
copy $(field copy_gbps <"$out/probe.out") GB/s (read + write)"

# ---- products. awk: median us of M = 1, GB/s, share of the read bandwidth, M = 8 against 1, and cuBLAS FP16 beside.
step kernels 200 "$tern" bench --kernels -dev "$device" -r 7 -o jsonl || true
say "products (T64; us, medians in a busy stream, weights not cached):"
say "matrix          M=1 us   GB/s  % of read   M=8/M=1   M=512 us   T80 M=1 us   cuBLAS FP16 M=1 us   M=512 us"
sed 's/[{}"]//g' "$out/kernels.out" | awk -F, -v read="$read_gbps" '
    {
        for (i = 1; i <= NF; i++) { split($i, kv, ":"); f[kv[1]] = kv[2] }
        key = f["geometry"] " " f["matrix"]
        if (!(key in seen)) { seen[key] = 1; order[++n] = key }
        op = (f["weights"] == "t80") ? "t80" : f["op"]
        us[key, op, f["m"]] = f["us"]
        gbps[key, op, f["m"]] = f["gbps"]
    }
    function show(v) { return v == "" ? "-" : sprintf("%.1f", v) }
    END {
        for (i = 1; i <= n; i++) {
            k = order[i]
            one = us[k, "ternary_mm", 1]
            g = gbps[k, "ternary_mm", 1]
            share = (read > 0) ? show(100 * g / read) : "-"
            ratio = (one > 0) ? sprintf("%.2f", us[k, "ternary_mm", 8] / one) : "-"
            printf "%-14s %7s %6s %10s %9s %10s %12s %20s %10s\n", k, show(one), show(g), share, ratio,
                show(us[k, "ternary_mm", 512]), show(us[k, "t80", 1]), show(us[k, "blas_mm", 1]),
                show(us[k, "blas_mm", 512])
        }
    }' >>"$out/summary.txt"

# ---- products by wgmma: on an sm_90 alone, and chosen by nothing until cuda/tmm.c says from how many columns on.
case $(nvidia-smi --query-gpu=compute_cap --format=csv,noheader -i "${device#cuda}" 2>/dev/null || true) in
9.0)
    step wgmma 120 "$build/tmm_bench" "${device#cuda}" || true
    [ -z "$sanitizer" ] ||
        step wgmma-memcheck 40 "$sanitizer" --tool memcheck --error-exitcode 9 "$build/tmm_bench" "${device#cuda}" none ||
        true
    say "wgmma, op cases: $(sed -n '/cases have/p' "$out/wgmma.log"); against mma.sync, us:"
    sed 's/[{}"]//g' "$out/wgmma.out" | awk -F, '
        {
            split("", f)
            for (i = 1; i <= NF; i++) { split($i, kv, ":"); f[kv[1]] = kv[2] }
        }
        "winner" in f { verdict = f["winner"] " (wgmma_from " f["wgmma_from"] "), " f["failed"] " failed" }
        "product" in f {
            key = f["product"]
            sub(/ M=.*/, "", key)
            if (!(key in seen)) { seen[key] = 1; order[++n] = key }
            of[key, f["m"]] = sprintf("%.1f / %.1f (%.2fx, %d TOPS)", f["wgmma_us"], f["mma_us"], f["speedup"],
                f["wgmma_tops"])
            if (f["bits"] != "not compared") bits[key] = f["bits"]
        }
        END {
            for (i = 1; i <= n; i++)
                printf "%-13s M=128 %s, M=512 %s, M=2048 %s; bits %s\n", order[i], of[order[i], 128],
                    of[order[i], 512], of[order[i], 2048], bits[order[i]]
            print "wins: " (verdict == "" ? "not known, the step did not end" : verdict)
        }' >>"$out/summary.txt"
    ;;
*) record wgmma "skipped: not an sm_90" 0 ;;
esac

# ---- models
# model NAME LIMIT ARGUMENTS...: rows of one model, added to models.jsonl.
: >"$out/models.jsonl"
model() {
    name=$1
    limit=$2
    shift 2
    step "model-$name" "$limit" "$tern" bench "$@" -dev "$device" -r 3 --energy-window 0 -o jsonl || true
    cat "$out/model-$name.out" >>"$out/models.jsonl"
}
# rate NAME ROW: tokens per second of a row, counted from 1.
rate() { [ ! -f "$out/model-$1.out" ] || sed -n "$2p" "$out/model-$1.out" | field avg_ts; }
model 2b4t 60 synthetic:2b4t -p 512 -n 64
model 2b4t-eager 60 synthetic:2b4t -p 0 -n 64 --eager
model 8b 60 synthetic:8b -p 512 -n 64
model 2b4t-f16 60 synthetic:2b4t -p 4096 -n 0 -ctk f16
[ "${cap:-0}" -lt 80 ] || model 2b4t-fast 60 synthetic:2b4t -p 4096 -n 0 -ctk f16 --fast-attention
model 2b4t-int8 60 synthetic:2b4t -p 4096 -n 0
model 70b 150 synthetic:70b --vram 24GiB --layout t64,t80 --head int8 -p 512 -n 32
say "models with synthetic weights: tok/s"
for name in 2b4t 8b; do
    say "  $name: prefill 512 $(rate $name 1), decode 64 $(rate $name 2)"
done
say "  2b4t, decode 64 without graphs: $(rate 2b4t-eager 1)"
say "  2b4t, prefill 4096: f16 KV $(rate 2b4t-f16 1), with fast attention $(rate 2b4t-fast 1), \
int8 KV $(rate 2b4t-int8 1)"
say "  70b within 24 GiB, int8 head: t64 prefill 512 $(rate 70b 1), decode 32 $(rate 70b 2); \
t80 $(rate 70b 3), $(rate 70b 4)"

# ---- result
{
    printf '{"commit":"%s","date":"%s","gpu":"%s","facts":"%s","read_gbps":%s,' "$(quote "$commit")" \
        "$(date -u +%Y-%m-%dT%H:%M:%SZ)" "$(quote "$gpu")" "$(quote "$smi")" "$read_gbps"
    printf '"devices":%s,"selftest":%s,' "$(grep . "$out/devices.out" || echo null)" \
        "$(grep . "$out/selftest.out" || echo null)"
    printf '"steps":%s,"probe":%s,"kernels":%s,"wgmma":%s,"models":%s}\n' "$(array "$out/steps.jsonl")" \
        "$(array "$out/probe.out")" "$(array "$out/kernels.out")" "$(array "$out/wgmma.out")" \
        "$(array "$out/models.jsonl")"
} >"$out/result.json"
say "steps: $(grep -c '"passed"' "$out/steps.jsonl") passed, $(grep -c '"failed"' "$out/steps.jsonl") failed, \
$(grep -c '"skipped' "$out/steps.jsonl") skipped, $(($(date +%s) - begin)) s in all; $out/result.json"
sed -n '1,40p' "$out/summary.txt"
exit "$failed"
