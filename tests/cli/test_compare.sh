# scripts/compare_runs over made-up result files. usage: test_compare.sh SOURCE_DIR
set -u
source=$1
command -v python3 >/dev/null || {
    echo "SKIPPED: no python3"
    exit 77
}
work=$(mktemp -d "${TMPDIR:-/tmp}/tern-test.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
n_failed=0
# check WHAT ACTUAL EXPECTED
check() {
    [ "$2" = "$3" ] || {
        n_failed=$((n_failed + 1))
        echo "FAILED: $1: '$2', expected '$3'"
    }
}

# row N_GEN WEIGHTS VALID SAMPLES...: an object with what the script reads.
row() {
    n_gen=$1 weights=$2 valid=$3
    shift 3
    samples=$(echo "$*" | tr ' ' ',')
    printf '{"model_type":"tiny %s","device":"cpu","cpu_info":"X","gpu_info":"","weights":"%s","n_threads":2,' \
        "$weights" "$weights"
    printf '"n_batch":512,"type_k":"int8","type_v":"int8","n_seq":1,"n_prompt":0,"n_gen":%s,"n_depth":0,' "$n_gen"
    printf '"valid":%s,"samples_ts":[%s]}\n' "$valid" "$samples"
}
# fast_row FLAG SAMPLES...: the same with what tells fast attention.
fast_row() {
    flag=$1 name=
    shift
    [ "$flag" = false ] || name=", fast attention"
    row 9 t64 true "$@" | sed "s/tiny t64/tiny t64$name/; s/\"valid\"/\"fast_attention\":$flag,\"valid\"/"
}
{
    row 1 t64 true 100 101 99 100 102 98 100 101
    row 2 t64 true 100 101 99 100 102 98 100 101
    row 3 t64 true 100 101 99
    row 4 t64 true 100 100 100 100 100
    row 9 t64 true 1 1 1 1 1
} >"$work/before.jsonl"
{
    echo "["
    row 2 t64 true 101 100 98 101 99 102 100 100 | sed 's/$/,/'
    row 1 t64 true 110 111 109 110 112 108 110 111 | sed 's/$/,/'
    row 3 t64 true 200 201 199 | sed 's/$/,/'
    row 4 t64 false 80 80 80 80 80
    echo "]"
} >"$work/after.json"

compare="$source/scripts/compare_runs"
"$compare" "$work/before.jsonl" "$work/after.json" --json >"$work/out" 2>"$work/err"
check "exit code" $? 0
verdict() { sed -n "s/.*\"test\": \"tg$1\".*\"verdict\": \"\([^\"]*\)\".*/\1/p" "$work/out"; }
check "ten percent more" "$(verdict 1)" "faster"
check "the same but for noise" "$(verdict 2)" "no difference"
check "three samples" "$(verdict 3)" "no interval: fewer than 5 samples"
check "constant samples" "$(verdict 4)" "slower"
check "ratio of medians" "$(sed -n 's/.*"tg1".*"ratio": \([0-9.]*\),.*/\1/p' "$work/out")" 1.1
check "an invalid row stays so" "$(sed -n 's/.*"tg4".*"valid": \([a-z]*\).*/\1/p' "$work/out")" false
check "rows without a counterpart" "$(cat "$work/err")" "compare_runs: 1 rows have no counterpart"

"$compare" "$work/before.jsonl" "$work/after.json" >"$work/table" 2>/dev/null
check "the same numbers twice" "$("$compare" "$work/before.jsonl" "$work/after.json" 2>/dev/null)" "$(cat "$work/table")"
check "widths of the table" "$(awk '{ print length($0) }' "$work/table" | sort -u | wc -l)" 1
check "lines of the table" "$(wc -l <"$work/table")" 6

{
    row 7 f16 true 10 10.1 9.9 10 10
    row 7 t64 true 20 20.1 19.9 20 20
} >"$work/twins.jsonl"
check "twins in one file" "$("$compare" --by weights=f16,t64 --json "$work/twins.jsonl" |
    sed 's/.*"ratio": \([0-9.]*\),.*"verdict": "\([a-z]*\)".*/\1 \2/')" "2.0 faster"

{
    fast_row false 10 10 10 10 10
    fast_row true 30 30 30 30 30
} >"$work/attention.jsonl"
check "fast attention beside attention" "$("$compare" --by fast_attention=false,true --json "$work/attention.jsonl" |
    sed 's/.*"ratio": \([0-9.]*\),.*"verdict": "\([a-z]*\)".*/\1 \2/')" "3.0 faster"
sed -n 1p "$work/attention.jsonl" >"$work/exact.jsonl"
sed -n '2s/, fast attention//p' "$work/attention.jsonl" >"$work/unnamed.jsonl"
"$compare" "$work/exact.jsonl" "$work/unnamed.jsonl" >"$work/out" 2>"$work/err"
check "fast attention is another thing than attention" $? 1
row 9 t64 true 20 20 20 20 20 >"$work/older.jsonl"
check "an older row has attention as defined" "$("$compare" --json "$work/older.jsonl" "$work/exact.jsonl" |
    sed 's/.*"ratio": \([0-9.]*\),.*/\1/')" "0.5"

"$compare" "$work/before.jsonl" "$work/twins.jsonl" >"$work/out" 2>"$work/err"
check "nothing in common" $? 1
echo '{"no": "samples"}' >"$work/bad.jsonl"
"$compare" "$work/bad.jsonl" "$work/after.json" >"$work/out" 2>"$work/err"
check "a file of something else" $? 2
"$compare" "$work/before.jsonl" >"$work/out" 2>"$work/err"
check "one file" $? 2
cat "$work/twins.jsonl" "$work/twins.jsonl" >"$work/doubled.jsonl"
"$compare" "$work/doubled.jsonl" "$work/twins.jsonl" >"$work/out" 2>"$work/err"
check "rows that are alike" $? 2
[ "$n_failed" -eq 0 ] && echo "compare_runs: all checks passed"
exit $((n_failed > 0))
