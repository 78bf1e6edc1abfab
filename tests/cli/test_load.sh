#!/bin/sh
# Loading a model of some size: weights that stay packed between runs, and memory that does not suffice.
# usage: test_load.sh TERN
. "$(dirname "$0")/support.sh"
gguf=$work/model.gguf cache=$work/cache
logits() { expect 0 logits "$gguf" -dev cpu --tokens 1,2,3 --cache-dir "$cache" --out "$work/$1.npy" ${2:+"$2"}; }
equal() {
    n_checks=$((n_checks + 1))
    cmp -s "$work/$1.npy" "$work/plain.npy" || failed "logits differ: $1"
}
silent() {
    n_checks=$((n_checks + 1))
    ! grep -q 'packed weights' "$err" || failed "speaks of packed weights: $1"
}
packed() { find "$cache" -name 'packed-*' 2>/dev/null; }

expect 0 synth 700m "$gguf" --type i2_s -q
logits plain --no-pack-cache
silent "with --no-pack-cache"
same "kept with --no-pack-cache" "$(packed)" ""

logits first -v
says "$err" 'of packed weights in'
says "$err" '--no-pack-cache'
equal first
logits second -v
says "$err" 'packed weights were found'
equal second
logits third -q
same "standard error with -q" "$(cat "$err")" ""
equal third
logits fourth --no-pack-cache
silent "with --no-pack-cache and a file"
equal fourth
expect 0 bench "$gguf" -dev cpu -p 4 -n 0 -r 1 --cache-dir "$cache" -v
says "$err" 'packed weights were found'

# Damage is seen, told, and mended.
file=$(packed)
size=$(wc -c <"$file")
printf 'x' | dd of="$file" bs=1 seek=$((size / 3)) conv=notrunc 2>/dev/null
logits damaged -v
says "$err" 'are damaged'
says "$err" 'of packed weights in'
equal damaged
logits mended -v
says "$err" 'packed weights were found'
equal mended

# Two at once, with nothing kept yet.
rm -rf "$cache"
"$tern" logits "$gguf" -dev cpu --tokens 1,2,3 --cache-dir "$cache" --out "$work/left.npy" >"$out" 2>"$err" &
left=$!
"$tern" logits "$gguf" -dev cpu --tokens 1,2,3 --cache-dir "$cache" --out "$work/right.npy" >"$work/out2" 2>"$work/err2"
same "exit code of the second of two" "$?" 0
wait $left
same "exit code of the first of two" "$?" 0
equal left
equal right
same "files of both" "$(packed | wc -l | tr -d ' ')" 1
logits after -v
says "$err" 'packed weights were found'
equal after

# A directory that cannot be made is no failure.
expect 0 logits "$gguf" -dev cpu --tokens 1,2,3 --cache-dir "$gguf/below" --out "$work/below.npy"
says "$err" 'packed weights are not kept'
equal below

# A limit on address space counts as memory that is not there, wherever it is met: mapping the file, planning, mapping what
# was kept, threads. Sanitizers want more of it than this for themselves.
limit=$(ulimit -S -v)
if (ulimit -S -v 200000 && "$tern" --version) >/dev/null 2>&1; then
    for kib in 200000 300000 400000 500000 600000 700000 800000 900000 1000000; do
        ulimit -S -v $kib
        "$tern" logits "$gguf" -dev cpu --tokens 1,2,3 --cache-dir "$cache" --out "$work/limit.npy" >"$out" 2>"$err"
        got=$?
        ulimit -S -v "$limit"
        n_checks=$((n_checks + 1))
        if [ $got -eq 0 ]; then
            equal limit
        elif [ $got -ne 4 ] || ! grep -q 'error: .*[0-9][0-9]* bytes\|error: .*needs [0-9.]* [KMG]iB' "$err"; then
            failed "with $kib KiB: exit code $got"
        fi
        [ $kib -gt 200000 ] || same "exit code with 200000 KiB" $got 4
    done
fi

finish
