#!/bin/sh
# Models larger than what they may use: layers streamed or on the CPU, chosen by the plan or by flags, with the logits of
# the plain model bit for bit. usage: test_placement.sh TERN MODEL
. "$(dirname "$0")/support.sh"

tokens=$(seq -s , 1 70)
cache=$(dirname "$tern")/tests/kernels

# logits FILE CODE FLAGS...
logits() {
    file=$1
    code=$2
    shift 2
    expect "$code" logits "$model" --tokens "$tokens" -b 16 --cache-dir "$cache" --out "$work/$file" "$@"
}

# the_same FLAGS...: logits with these flags have the plain model's bits.
the_same() {
    rm -f "$work/got.npy"
    logits got.npy 0 "$@"
    n_checks=$((n_checks + 1))
    cmp -s "$work/plain.npy" "$work/got.npy" || failed "other logits with $*"
}

logits plain.npy 0 -dev cpu
devices=cpu
expect 0 devices
if grep -q '^| opencl0 |' "$out"; then devices="cpu opencl0"; else echo "SKIPPED: no opencl0"; fi
for device in $devices; do
    for flags in "-ngl 0" "-ngl 1" "-ngl 4" "-ngl all" "-ngl 99" "--stream 1" "--stream 6" "-ngl 5 --stream 4" \
        "--layout t80" "--layout t80 --stream 3" "--embedding host" "--embedding device"; do
        the_same -dev $device $flags
    done
    the_same -dev $device -ngl 4
    says "$err" "2 of 6 layers on the CPU"
    the_same -dev $device --stream 4
    says "$err" "4 of 6 layers streamed from host memory"

    # What it needs is in the refusal; with some less, layers must be streamed; with next to nothing, nothing helps.
    logits none.npy 4 -dev $device --stream none --layout t64 --vram 100K
    needed=$(sed -n 's/.*the model needs \([0-9]*\) bytes.*/\1/p' "$err")
    n_checks=$((n_checks + 1))
    [ -n "$needed" ] || failed "no bytes in the refusal"
    the_same -dev $device --layout t64 --vram "$needed"
    n_checks=$((n_checks + 1))
    grep -q "streamed" "$err" && failed "streamed although it fits"
    the_same -dev $device --layout t64 --vram $((needed - 1))
    says "$err" "layers streamed from host memory"
    logits none.npy 4 -dev $device --layout t64 --stream none --vram $((needed - 1))
    says "$err" "--stream"
    says "$err" "would fit"
    the_same -dev $device --vram $((needed - 1)) -ngl 3
    says "$err" "3 of 6 layers on the CPU"
    n_checks=$((n_checks + 1))
    [ ! -e "$work/none.npy" ] || failed "a refused plan wrote a file"

    expect 0 run "$model" -p "Once upon a time" -n 8 --temp 0 -dev $device --cache-dir "$cache"
    text=$(cat "$out")
    expect 0 run "$model" -p "Once upon a time" -n 8 --temp 0 -dev $device --cache-dir "$cache" -ngl 4 --stream 3
    same "text of a model in three places" "$(cat "$out")" "$text"
    says "$err" "2 of 6 layers on the CPU"
    says "$err" "3 of 6 layers streamed"
    for flags in "" "--embedding host" "-ngl 4"; do
        expect 0 run "$model" -p "Once upon a time" -n 8 --temp 0 -dev $device --cache-dir "$cache" --head screen $flags
        same "text of a screened head with $flags" "$(cat "$out")" "$text"
    done
    expect 0 bench "$model" -dev $device --cache-dir "$cache" -p 4 -n 2 -r 1 --stream 4 --head screen -o json
    says "$out" '"head": "screen"'
    says "$out" '"n_layers_streamed": 4'
done

expect 2 run "$model" -p x -ngl some
says "$err" "-ngl takes a whole number"
says "$err" "auto or all"
expect 2 run "$model" -p x --layout t99

# ---- plans
expect 0 plan "$model" -dev cpu -c 128 --stream 4 -ngl 5
says "$out" "pinned host memory"
says "$out" "1 of 6 layers run on the CPU: -ngl 5."
expect 0 plan synthetic:70b --card rtx4090 -c 8192 --head screen
says "$out" "head screened in int4, the best 256 logits as stored"
says "$out" "Head: int4 rows choose 256 tokens, whose logits come from the stored rows, in pinned host memory."
says "$out" "4.00 MiB over the link"
expect 0 plan synthetic:70b --card rtx3060
says "$out" "copied to the device for each step"
says "$out" "link: 25 GB/s"
says "$out" "t80 total"
expect 4 plan synthetic:70b --card rtx3060 -c 8192 --stream none
says "$out" "--stream"
expect 0 plan synthetic:70b-v32k --card rtx4090 -o json
says "$out" '"n_layers_device": 80'
finish
