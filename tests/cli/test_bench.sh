#!/bin/sh
# tern bench as its users meet it: lists, forms, probes and kernels. usage: test_bench.sh TERN MODEL
. "$(dirname "$0")/support.sh"

expect 0 bench "$model" -p 8 -n 4 -r 2
says "$out" "pp8"
says "$out" "tg4"
says "$out" "% BW: of"
says "$out" "GB/s, the median read of cpu"
fast="-r 1 --no-check --no-warmup --energy-window 0"
expect 0 bench "$model" -p 4-8*2 -n 2 -d 0,32 -np 1,2 --weights stored,f16 $fast -o json
json "bench over lists"
same "rows of a grid" "$(grep -c '"valid": false' "$out")" 24
same "rows with attention as defined" "$(grep -c '"fast_attention": false' "$out")" 24
expect 0 bench "$model" -p 0 -n 2 --weights stored,f16 --layout t64,t80 --head stored,int8 $fast -o json
json "bench over layouts"
same "rows of layouts and heads, and one twin" "$(grep -o '"weights": "[a-z0-9]*"' "$out" | sort | uniq -c | tr -s ' \n' ' ')" \
    ' 1 "weights": "f16" 2 "weights": "t64" 2 "weights": "t80" '
expect 0 bench "$model" -p 0 -n 2 $fast -o sql
if command -v python3 >/dev/null && python3 -c 'import sqlite3' 2>/dev/null; then
    same "row in sqlite" "$(python3 - "$out" <<'END'
import sqlite3, sys
db = sqlite3.connect(":memory:")
db.executescript(open(sys.argv[1]).read())
for row in db.execute('SELECT n_gen, weights, typeof(avg_ts), avg_ts > 0, valid, "group" FROM llama_bench'):
    print(*row)
END
)" "2 t64 real 1 0 0"
fi
expect 0 bench "$model" -p 0 -n 2 $fast -o csv
same "lines of CSV" "$(grep -c . "$out")" 2
expect 0 bench --probe -t 1 -o json
json "bench --probe"
says "$out" "read_gbps"
expect 0 bench --kernels-filter "2b4t o M=1 " --no-check -r 1 -t 1
says "$out" "| 2b4t"
expect 3 bench --kernels-filter nothing --no-check
expect 2 bench --probe "$model"
expect 2 bench --probe --kernels
expect 2 bench "$model" -p 0 -n 0
expect 2 bench "$model" -p 8-4
expect 2 bench "$model" -np 65
expect 2 bench "$model" --weights stored,f8
expect 2 bench "$model" -pg 1,2,3
expect 3 bench "$model,$work/nothing" -p 4 -n 0 -r 1

finish
