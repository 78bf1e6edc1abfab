#!/bin/sh
# Evaluation on the command line: two runs compared (tern ppl --kl) and multiple-choice tasks (tern eval).
# usage: test_eval.sh TERN MODEL
. "$(dirname "$0")/support.sh"
samples=$(dirname "$0")/../samples

value() { # NAME: the first number of that name in the JSON that was printed
    sed -n "s/.*\"$1\": \([-0-9.e+]*\).*/\1/p" "$out" | head -n 1
}

# holds EXPRESSION: an awk condition
holds() {
    n_checks=$((n_checks + 1))
    awk "BEGIN { exit !($1) }" || failed "not so: $1"
}

# ---- ppl --kl-base, --kl
i=0
while [ $i -lt 40 ]; do
    echo "Once upon a time, there was a little girl named Lily who had $i red balls. She liked to play in the park."
    i=$((i + 1))
done >"$work/text"
expect 0 ppl "$model" -f "$work/text" -c 64 --chunks 4 -ctk f32 --kl-base "$work/base" -o json
base=$(value perplexity)
expect 0 ppl "$model" --kl "$work/base" -ctk f32 -o json
same "perplexity of the same run" "$(value perplexity)" "$base"
same "mean divergence of a run from itself" "$(value mean)" 0.0
same "largest divergence of a run from itself" "$(value max)" 0.0
same "same top token" "$(value same_top)" 1.0
same "ratio of perplexities" "$(value ppl_ratio)" 1.0
expect 0 ppl "$model" --kl "$work/base" -ctk int8 -o json
holds "$(value mean) > 0 && $(value mean) < 0.01 && $(value mean_error) > 0 && $(value max) >= $(value p99)"
holds "$(value p99) >= $(value median) && $(value same_top) > 0.9 && $(value ppl_ratio) > 0.98 && $(value ppl_ratio) < 1.02"
expect 0 ppl "$model" --kl "$work/base" --chunks 1 -b 7
says "$out" "| mean KL divergence, nats |"

expect 2 ppl "$model" --kl "$work/base" -f "$work/text"
says "$err" "leave out -f and -c"
expect 2 ppl "$model" --kl "$work/base" --kl-base "$work/other" -f "$work/text"
expect 3 ppl "$model" --kl "$work/none"
expect 3 ppl "$model" --kl "$work/text"
says "$err" "text: it is no base file"
head -c 5000 "$work/base" >"$work/cut"
expect 3 ppl "$model" --kl "$work/cut"
says "$err" "cut: it has 5000 bytes where its header says"
expect 1 ppl "$model" -f "$work/text" -c 64 --kl-base "$work/no/such/folder"
cp "$work/base" "$work/kept"
expect 4 ppl "$model" -f "$work/text" -c 64 --vram 4K --kl-base "$work/base"
n_checks=$((n_checks + 1))
cmp -s "$work/base" "$work/kept" || failed "a failed run changed the old base file"
n_checks=$((n_checks + 1))
[ -z "$(find "$work" -name '*.tmp*')" ] || failed "files are left: $(find "$work" -name '*.tmp*')"

# ---- eval
expect 0 eval arc-easy "$samples/arc.jsonl" -m "$model" -o json
same "questions" "$(value n)" 3
accuracy=$(value acc)
expect 0 eval arc-easy "$samples/arc.jsonl" -m "$model" -o json -b 3 -t 1
same "accuracy in small batches" "$(value acc)" "$accuracy"
expect 0 eval piqa "$samples/piqa.jsonl" -m "$model" --limit 1
says "$out" "| PIQA | 1 | acc_norm |"
expect 0 eval winogrande "$samples/winogrande.jsonl" -m "$model"
says "$out" "| Winogrande | 2 | acc |"
expect 0 eval hellaswag "$samples/hellaswag.jsonl" -m "$model"
says "$out" "| HellaSwag | 2 | acc_norm |"
says "$out" "BOS before each text"
expect 2 eval arc-easy "$samples/arc.jsonl"
says "$err" "no model: give -m MODEL"
expect 2 eval arc-easy -m "$model"
expect 2 eval mmlu "$samples/arc.jsonl" -m "$model"
says "$err" "no task 'mmlu'; there are arc-easy"
expect 3 eval arc-easy "$work/none.jsonl" -m "$model"
{ cat "$samples/arc.jsonl"; echo '{"question": '; } >"$work/broken.jsonl"
expect 3 eval arc-easy "$work/broken.jsonl" -m "$model"
says "$err" "broken.jsonl, line 5: not JSON"
expect 3 eval arc-easy "$samples/arc.jsonl" -m synthetic:tiny
says "$err" "no tokenizer"

finish
