#!/bin/sh
# `tern convert` as its users meet it: types, head types, --verify, refusals. usage: test_convert.sh TERN MODEL
. "$(dirname "$0")/support.sh"

text=$("$tern" run "$model" -p "Once upon a time" -n 8 --temp 0 2>/dev/null)
for type in i2_s tq1_0 tq2_0 f16; do
    for head in f16 q8_0 q6_k; do
        expect 0 convert "$model" "$work/$type-$head.gguf" --type "$type" --head-type "$head" --verify
        says "$err" "verified: "
        says "$err" "tokenizer are as in the source"
    done
done
n_checks=$((n_checks + 1))
[ ! -s "$out" ] || failed "convert writes to standard output"

# The stories head is bf16, whose values fp16 holds; the other types are smaller.
expect 0 run "$work/i2_s-f16.gguf" -p "Once upon a time" -n 8 --temp 0
n_checks=$((n_checks + 1))
[ "$(cat "$out")" = "$text" ] || failed "another text after the conversion"
size() { wc -c <"$1"; }
n_checks=$((n_checks + 1))
[ "$(size "$work/i2_s-q6_k.gguf")" -lt "$(size "$work/i2_s-q8_0.gguf")" ] &&
    [ "$(size "$work/i2_s-q8_0.gguf")" -lt "$(size "$work/i2_s-f16.gguf")" ] || failed "sizes do not follow the head type"
expect 0 info "$work/i2_s-q6_k.gguf"
n_checks=$((n_checks + 1))
grep -q "Q6_K" "$out" || failed "info does not show the head's type"

# From one conversion to the next nothing is lost.
expect 0 convert "$work/i2_s-f16.gguf" "$work/again.gguf" --type i2_s --verify
n_checks=$((n_checks + 1))
cmp -s "$work/i2_s-f16.gguf" "$work/again.gguf" || failed "converted twice, the file is another"
expect 0 convert -q "$model" "$work/again.gguf" --verify
n_checks=$((n_checks + 1))
[ ! -s "$err" ] || failed "-q is not quiet"

expect 2 convert "$model" "$work/no.gguf" --head-type q4_0
expect 2 convert "$model" "$work/no.gguf" --type q8_0
expect 3 convert synthetic:1.3b "$work/no.gguf" --type tq1_0
says "$err" "it fits: I2_S, F16"
# A synthetic model as a file has the weights of the shape, and says what it is.
expect 0 synth tiny "$work/tiny.gguf" -s 3
says "$err" "(synthetic weights)"
expect 0 logits "$work/tiny.gguf" --tokens 1,2,3 --out "$work/file.npy"
expect 0 logits synthetic:tiny,seed=3 --tokens 1,2,3 --out "$work/shape.npy"
n_checks=$((n_checks + 1))
cmp -s "$work/file.npy" "$work/shape.npy" || failed "a synthetic model and its file have different logits"
expect 0 info "$work/tiny.gguf"
says "$out" "synthetic"
expect 3 synth no-such-shape "$work/no.gguf"
says "$err" "70b-v32k"
expect 2 synth tiny
head -c 100 /dev/zero >"$work/other.gguf.part"
expect 3 synth tiny "$work/other.gguf"
says "$err" "is the beginning of another file"
n_checks=$((n_checks + 1))
[ "$(wc -c <"$work/other.gguf.part")" -eq 100 ] || failed "a file that is not ours was touched"
rm -f "$work/other.gguf.part"

n_checks=$((n_checks + 1))
[ -z "$(find "$work" -name '*.part')" ] && [ ! -e "$work/no.gguf" ] || failed "files are left behind"

finish
