#!/bin/sh
# The program as its users meet it: exit codes, streams, messages, interruption, files. usage: test_cli.sh TERN MODEL
. "$(dirname "$0")/support.sh"

# An error is one line, possibly followed by a hint, after the device line.
one_error() {
    n_checks=$((n_checks + 1))
    [ "$(grep -c '^tern: error: ' "$err")" -eq 1 ] || failed "expected exactly one error line"
}

# ---- usage
expect 2
says "$err" "usage: tern COMMAND"
expect 0 --version
says "$out" "tern "
expect 0 --help
says "$out" "exit codes:"
for command in run chat info devices convert tokenize logits ppl eval verify selftest bench help; do
    expect 0 help $command
    says "$out" "usage: tern $command"
    expect 0 $command --help
    says "$out" "usage: tern $command"
done
expect 0 help --man
says "$out" ".TH TERN 1"
expect 0 help --completion bash
n_checks=$((n_checks + 1))
if command -v bash >/dev/null 2>&1; then bash -n "$out" || failed "the bash completion does not parse"; fi
expect 0 help --completion zsh
expect 0 help --completion fish
expect 2 help --completion csh
expect 2 help rnu
says "$err" 'did you mean `tern run`?'
expect 2 infoo "$model"
says "$err" 'did you mean `tern info`?'
one_error

# ---- malformed options
expect 2 run "$model" -p x --tmep 1
says "$err" "unknown option '--tmep'"
says "$err" "did you mean --temp?"
one_error
expect 2 info "$model" --temp 1
says "$err" 'belongs to `tern run`'
expect 2 run "$model" -p x --temp 200
says "$err" "--temp takes a number from 0 to 100, not '200'"
expect 2 run "$model" -p x -n abc
says "$err" "not 'abc'"
expect 2 run "$model" -p x -n
says "$err" "-n needs a value"
expect 2 ppl "$model" -f /dev/null --head int3
for command in "run $model -p x" "chat $model" "logits $model --tokens 1 --out $work/never.npy" "ppl $model -f $0" \
    "bench $model -p 8 -r 1 --no-check" "plan $model"; do
    expect 4 $command --fast-attention -ctk f16 -dev cpu
    says "$err" "cpu does not run fast attention"
    says "$err" "leave --fast-attention out"
    one_error
done
expect 2 plan "$model" --card h200 --fast-attention
says "$err" "fast attention takes f16 K and V, not int8 and int8"
one_error
expect 0 plan "$model" --card h200 --fast-attention -ctk f16
says "$out" "Attention fast for prompts: not bit-equal"
expect 0 plan "$model" --card h200 --fast-attention -ctk f16 -o json
says "$out" '"attention": "fast for prompts'
expect 0 plan synthetic:3b --card h200 --fast-attention -ctk f16
says "$out" "Attention as defined: fast attention takes heads of multiples of 8"
expect 2 info "$model" --fast-attention
expect 2 run "$model" -p x -ctk q5_0
says "$err" "q5_0 is not supported yet"
expect 2 run "$model" -p x --vram 10Q
expect 2 run "$model" -p x -l 5
expect 2 run "$model" -p x -l 99999999+1
says "$err" "token 99999999"
expect 2 run "$model" extra -p x
says "$err" "unexpected argument 'extra'"
expect 2 run "$model"
says "$err" "no text"
expect 2 run "$model" -p x -f y
expect 2 run -p x
says "$err" "no model"
expect 2 run "$model" -m "$model" -p x
says "$err" "two models"
expect 2 logits "$model" --tokens 1,2
says "$err" "no output file"
expect 2 convert "$model"

# ---- bad models, inputs, devices, budgets
expect 3 run "$work/nothing" -p x
says "$err" "nothing"
one_error
same "stdout after an error" "$(cat "$out")" ""
echo "this is not a model" >"$work/bad.gguf"
expect 3 info "$work/bad.gguf"
one_error
mkdir "$work/empty"
expect 3 info "$work/empty"
expect 3 run "$model" -f "$work/no-prompt"
says "$err" "no-prompt"
expect 3 ppl "$model" -f "$work/no-text"
expect 4 run "$model" -p x -dev cuda9
says "$err" "cuda9"
says "$err" "cpu"
expect 4 run "$model" -p x -dev opencl9
says "$err" "no device 'opencl9'; there are: "
one_error
expect 4 run "$model" -p x --vram 4K

# ---- run
expect 0 run "$model" -p "Once upon a time" -n 8 --temp 0
says "$err" "device cpu"
says "$err" "tok/s"
says "$err" "GB/s"
same "first line of standard error" "$(head -n 1 "$err" | cut -c 1-17)" "tern: device cpu "
text=$(cat "$out")
n_checks=$((n_checks + 1))
[ -n "$text" ] || failed "run wrote no text"
n_checks=$((n_checks + 1))
case $text in Once*) failed "run repeated the prompt" ;; esac
expect 0 run -m "$model" -p "Once upon a time" -n 8 --temp 0 -q --display-prompt
same "the prompt and its continuation" "$(cat "$out")" "Once upon a time$text"
same "standard error with -q" "$(cat "$err")" ""
expect 0 run "$model" -p "Once upon a time" -n 8 --temp 0 -q -b 2 -t 1 -fa on
same "text in batches of two on one thread" "$(cat "$out")" "$text"
expect 0 run "$model" -p "Once upon a time" -n 4 --temp 0 -fa on -no-cnv
says "$err" "accepted and ignored: there is one attention"
says "$err" "accepted and ignored: run is never a conversation"
expect 0 run "$model" -p "Once upon a time" -n 6 --temp 0.9 -s 42 -q --ids
ids=$(cat "$out")
expect 0 run "$model" -p "Once upon a time" -n 6 --temp 0.9 -s 42 -q --ids -b 1
same "the same seed" "$(cat "$out")" "$ids"
n_checks=$((n_checks + 1))
echo "$ids" | grep -qE '^[0-9]+(,[0-9]+){5}$' || failed "--ids: '$ids' is not six ids"
first=${ids%%,*}
expect 0 run "$model" -p "Once upon a time" -n 6 --temp 0.9 -s 42 -q --ids -l "$first-inf"
n_checks=$((n_checks + 1))
case ,$(cat "$out"), in *,"$first",*) failed "-l $first-inf did not forbid the token" ;; esac
expect 0 run "$model" -p x -c 8 -n -1 --temp 0 --ids --ignore-eos
says "$err" "the context of 8 positions is full"
expect 1 run "$model" -p "one two three four five six seven eight nine ten" -c 4
says "$err" "context"
expect 0 run "$model" -p x -n 0 -q
same "no tokens asked for" "$(cat "$out")" ""

n_checks=$((n_checks + 1))
piped=$(echo "Once upon a time" | "$tern" run "$model" -p - -n 8 --temp 0 2>"$err")
[ "$piped" = "$text" ] || failed "prompt on standard input: '$piped', expected '$text'"
printf 'Once upon a time\n' >"$work/prompt"
expect 0 run "$model" -f "$work/prompt" -n 8 --temp 0
same "prompt from a file" "$(cat "$out")" "$text"

# ---- a reader that goes away, a full disk
{ "$tern" run "$model" -p x -n 200 --temp 0 --ignore-eos -c 256; echo $? >"$work/code"; } 2>"$err" | head -c 1 >"$out"
same "exit code after a closed pipe" "$(cat "$work/code")" 0
n_checks=$((n_checks + 1))
grep -q "tern: error" "$err" && failed "a closed pipe is no error"
if [ -w /dev/full ]; then
    "$tern" run "$model" -p x -n 4 >/dev/full 2>"$err"
    same "exit code on a full disk" $? 1
    says "$err" "No space left"
fi

for i in $(seq 1 400); do cat "$work/prompt"; done >"$work/long"

# ---- Ctrl-C. A background job of a shell ignores SIGINT until something resets it, so the signal is sent by a helper that
# starts tern with the default disposition; without python3 these lines are left out.
if command -v python3 >/dev/null 2>&1; then
    cat >"$work/interrupt.py" <<'END'
import signal, subprocess, sys, time
# A FIFO-like stdin that never ends, or a long measurement: interrupted after it began.
delay, arguments = float(sys.argv[1]), sys.argv[2:]
signal.signal(signal.SIGINT, signal.default_int_handler)
child = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
time.sleep(delay)
if child.poll() is not None:
    sys.exit("ended by itself")
child.send_signal(signal.SIGINT)
try:
    sys.exit(child.wait(60))
except subprocess.TimeoutExpired:
    child.kill()
    sys.exit("did not stop")
END
    for i in $(seq 1 200); do cat "$work/long"; done >"$work/endless"
    python3 "$work/interrupt.py" 1 "$tern" ppl "$model" -f "$work/endless" -c 128 2>"$err"
    same "exit code of an interrupted ppl" $? 130
    says "$err" "interrupted"
    python3 "$work/interrupt.py" 0.5 "$tern" run "$model" -p - 2>"$err"
    same "exit code of a run interrupted at its prompt" $? 130
    python3 "$work/interrupt.py" 0.5 "$tern" bench "$model" -p 0 -n 200 -r 10000 2>"$err"
    same "exit code of an interrupted bench" $? 130
fi

# ---- tokenize
expect 0 tokenize "$model" -p "Once upon a time"
plain=$(cat "$out")
expect 0 tokenize "$model" -p "Once upon a time" --add-bos
same "ids with BOS end like those without" "$(sed 's/^[0-9]*,//' "$out")" "$plain"
expect 0 tokenize "$model" -p "Once upon a time" -o json
json tokenize
mkdir "$work/tokenizer"
cp "$model/tokenizer.json" "$work/tokenizer/"
expect 0 tokenize "$work/tokenizer" -p "Once upon a time"
same "ids from tokenizer.json alone" "$(cat "$out")" "$plain"
expect 0 tokenize "$model" -p ""
same "ids of nothing" "$(cat "$out")" ""
printf '\377' >"$work/not-utf8"
expect 3 tokenize "$model" -f "$work/not-utf8"

# ---- reports
expect 0 info "$model"
says "$out" "ternary"
expect 0 info "$model" -o json
json info
expect 0 devices
says "$out" "| cpu |"
if grep -q '^| opencl0 |' "$out"; then # the same text, and kernels kept where the user says
    expect 0 run "$model" -p "Once upon a time" -n 8 --temp 0 -dev opencl0 --cache-dir "$work/kernels"
    same "text on opencl0" "$(cat "$out")" "$text"
    says "$err" "device opencl0"
    n_checks=$((n_checks + 1))
    ls "$work/kernels" | grep -q '^opencl-.*\.bin$' || failed "no kernels in --cache-dir"
else
    echo "SKIPPED: no opencl0 for tern run"
fi
expect 0 devices -o json
json devices
expect 0 run --list-devices
says "$out" "| cpu |"
expect 0 ppl "$model" -f "$work/long" -c 64 --chunks 2 -o json
json ppl
says "$out" '"n_scored": 62'
expect 0 ppl "$model" -f "$work/long" -c 64 --chunks 2
says "$out" "perplexity"
expect 2 ppl "$model" -f "$work/prompt" -c 512
says "$err" "less than one chunk"

# ---- files appear whole or not at all
expect 0 logits "$model" --tokens 1,2,3,4,5 -b 2 --out "$work/a.npy"
expect 0 logits "$model" --tokens 1,2,3,4,5 --out "$work/b.npy"
n_checks=$((n_checks + 1))
cmp -s "$work/a.npy" "$work/b.npy" || failed "logits depend on the batch"
n_checks=$((n_checks + 1))
[ "$(head -c 6 "$work/a.npy" | tail -c 5)" = NUMPY ] || failed "not a NumPy file"
cp "$work/a.npy" "$work/kept.npy"
expect 2 logits "$model" --tokens 1,99999999 --out "$work/a.npy"
n_checks=$((n_checks + 1))
cmp -s "$work/a.npy" "$work/kept.npy" || failed "a failed logits changed the old file"
expect 4 logits "$model" --tokens 1,2 --vram 4K --out "$work/new.npy"
expect 1 logits "$model" --tokens 1,2 --out "$work/no/such/folder.npy"
expect 2 logits "$model" --tokens 1,2 --out "$work"
n_checks=$((n_checks + 1))
[ -z "$(find "$work" -name '*.tmp*')" ] && [ ! -e "$work/new.npy" ] || failed "files are left: $(find "$work" -name '*.tmp*')"

expect 0 convert "$model" "$work/model.gguf" --type i2_s
expect 0 run "$work/model.gguf" -p "Once upon a time" -n 8 --temp 0
same "text of the converted model" "$(cat "$out")" "$text"
cp "$work/model.gguf" "$work/copy.gguf"
expect 2 convert "$work/model.gguf" "$work/model.gguf" --type tq2_0
n_checks=$((n_checks + 1))
cmp -s "$work/model.gguf" "$work/copy.gguf" || failed "convert onto its own input changed the file"

# A limit on address space counts as memory that is not there. Sanitizers want more of it than this for themselves.
limit=$(ulimit -S -v)
if (ulimit -S -v 400000 && "$tern" --version) >/dev/null 2>&1; then
    ulimit -S -v 400000
    expect 4 logits synthetic:1.3b -dev cpu --tokens 1,2 --out "$work/limit.npy"
    ulimit -S -v "$limit"
    one_error
    says "$err" 'the model needs'
    says "$err" 'are free'
fi

finish
