#!/bin/sh
# tern chat as scripts and people meet it. usage: test_chat.sh TERN MODEL
# Conversations through pipes; with python3 also on a pseudo terminal.

. "$(dirname "$0")/support.sh"

# talk CODE INPUT ARGUMENTS...: a conversation through a pipe; INPUT is printf's format.
talk() {
    code=$1 input=$2
    shift 2
    n_checks=$((n_checks + 1))
    # shellcheck disable=SC2059
    printf "$input" | "$tern" chat "$model" -t 1 "$@" >"$out" 2>"$err"
    got=$?
    [ "$got" -eq "$code" ] || failed "chat $* with '$input': exit code $got, expected $code"
}

# ---- a piped conversation
talk 0 'Once upon a time\nThe king\n' --temp 0 -n 8
first=$(cat "$out")
same "replies, one after the other" "$(wc -l <"$out" | tr -d ' ')" 2
says "$err" "chat format plain"
same "first line of standard error" "$(head -n 1 "$err" | cut -c 1-17)" "tern: device cpu "
talk 0 'Once upon a time\nThe king\n' --temp 0 -n 8 -b 3 -q
same "the same conversation in small batches" "$(cat "$out")" "$first"
same "standard error with -q" "$(cat "$err")" ""
talk 0 '\n  \nOnce upon a time\r\n\nThe king' --temp 0 -n 8 -q
same "empty lines and line ends do not matter" "$(cat "$out")" "$first"
talk 0 'Once upon a time\nThe king\n' --temp 0.9 -s 7 -n 8 -q
drawn=$(cat "$out")
talk 0 'Once upon a time\nThe king\n' --temp 0.9 -s 7 -n 8 -q
same "the same seed" "$(cat "$out")" "$drawn"
talk 0 '' --temp 0
same "nothing said" "$(cat "$out")" ""

# ---- run continues a text as the plain format does
"$tern" run "$model" -p "Once upon a time" --temp 0 -n 8 -q -t 1 >"$work/run" 2>/dev/null
talk 0 'Once upon a time' --temp 0 -n 8 -q
same "run and the plain format" "$(cat "$out")" "$(cat "$work/run")"

# ---- -p, -st, -f, -r, system message
talk 0 'never read\n' -p 'Once upon a time' -st --temp 0 -n 8 -q
same "a single turn" "$(cat "$out")" "$(cat "$work/run")"
talk 0 'Once upon a time\nnever answered\n' -st --temp 0 -n 8 -q
same "a single turn from standard input" "$(cat "$out")" "$(cat "$work/run")"
talk 0 'The king\n' -p 'Once upon a time' --temp 0 -n 8 -q
same "-p and then lines" "$(cat "$out")" "$first"
printf 'Once upon a time\n' >"$work/message"
talk 0 '' -f "$work/message" --temp 0 -n 8 -q
same "-f" "$(cat "$out")" "$(cat "$work/run")"
word=$(cut -c 3-8 "$work/run")
talk 0 'Once upon a time' --temp 0 -n 8 -q -r "$word"
same "-r ends a reply" "$(cat "$out")" "$(cut -c 1-2 "$work/run")"
printf 'Be kind.\n' >"$work/system"
talk 0 "Hi\n/save $work/a.json\n" -sys 'Be kind.' --chat-format bitnet --temp 0 -n 4 -q
kind=$(cat "$out")
says "$work/a.json" '"format": "bitnet"'
says "$work/a.json" '"role": "system"'
talk 0 "Hi\n" -sysf "$work/system" --chat-template bitnet --temp 0 -n 4 -q
same "-sysf" "$(cat "$out")" "$kind"
talk 0 'Hi\n' --chat-format chatml --temp 0 -n 2
says "$err" "the vocabulary has no token <|im_start|>"

# ---- commands
talk 0 "Once upon a time\nThe king\n/stats\n/save $work/b.json\n/reset\nOnce upon a time\n/stats\n/quit\nnever\n" --temp 0 -n 8
same "replies before and after /reset" "$(cat "$out")" "$first
$(cat "$work/run")"
says "$err" "4 messages"
says "$err" "the conversation begins anew"
n_checks=$((n_checks + 1))
grep -qE 'prompt +[0-9]+ tokens: [1-9][0-9]* reused' "$err" || failed "/stats shows no reuse"
talk 0 "/load $work/b.json\n/save $work/c.json\nAnd\n/stats\n" --temp 0 -n 4
n_checks=$((n_checks + 1))
cmp -s "$work/b.json" "$work/c.json" || failed "a loaded conversation is saved differently"
says "$err" "6 messages"
talk 0 "/load $work/a.json\n" -q
talk 0 "/load $work/a.json\n"
says "$err" "it goes on in plain"
talk 0 "/help\n"
says "$err" "/stats"
same "help is not on standard output" "$(cat "$out")" ""
talk 0 "one \\\\\ntwo\n /help\n/etc/passwd is a file\n/save $work/d.json\n" --temp 0 -n 2 -q
says "$work/d.json" '"content": "one \ntwo"'
says "$work/d.json" '"content": " /help"'
says "$work/d.json" '"content": "/etc/passwd is a file"'
if command -v python3 >/dev/null 2>&1; then
    n_checks=$((n_checks + 1))
    python3 -m json.tool "$work/d.json" >/dev/null || failed "/save wrote no JSON"
fi

# ---- failures end a script
talk 2 '/bogus\nOnce\n' --temp 0 -n 2
says "$err" "no command /bogus"
same "nothing follows a failure" "$(cat "$out")" ""
talk 2 '/save\n'
says "$err" "/save takes the name of a file"
talk 2 '/reset now\n'
talk 3 "/load $work/nothing.json\n"
says "$err" "nothing.json"
echo '{"tern_chat": 1, "model": "m", "format": "plain", "messages": [{"role": "user", "content": "x"}]}' >"$work/bad.json"
talk 3 "/load $work/bad.json\n"
says "$err" "bad.json: the last message is from user"
talk 2 "/load $work\n"
talk 1 "Hi\n/save $work/no/such/folder.json\n" -n 2
talk 3 'bad \377 byte\n' -n 2
says "$err" "not UTF-8"
talk 2 '' --chat-format gpt
talk 2 '' -sys a -sysf "$work/system"
talk 2 '' -p a -f "$work/message"
talk 2 '' -r ''
talk 0 '' -cnv
says "$err" "accepted and ignored: chat is always a conversation"
"$tern" chat "$work/nothing" >"$out" 2>"$err" </dev/null
same "exit code without a model" $? 3

# ---- a full context: the reply is cut and kept, the next message is refused, the conversation stays
talk 1 "Once upon a time\n/save $work/e.json\nThe king said to the queen\n/save $work/never.json\n" --temp 0 --ignore-eos -c 16
says "$err" "the reply was cut"
says "$err" "the context has 16 positions"
says "$err" "/reset"
says "$work/e.json" '"assistant"'
n_checks=$((n_checks + 1))
[ ! -e "$work/never.json" ] || failed "the script went on after a failure"
talk 1 "one two three four five six seven eight nine ten eleven twelve\n" -c 8
same "nothing was generated" "$(cat "$out")" ""

# ---- options of the model
talk 0 'Once upon a time' --temp 0 -n 8 -q --act int8
same "--act int8 is this model's own" "$(cat "$out")" "$(cat "$work/run")"
for act in int8x2 f32; do talk 0 'Once upon a time' --temp 0 -n 2 -q --act $act; done
talk 2 '' --act int4
talk 0 'Once upon a time' --temp 0 -n 8 -q --i2s-layout row4
talk 2 '' --i2s-layout 32

# ---- a reader that goes away
{ "$tern" chat "$model" -t 1 -p x -st --temp 0 --ignore-eos; echo $? >"$work/code"; } 2>"$err" </dev/null | head -c 1 >"$out"
same "exit code after a closed pipe" "$(cat "$work/code")" 0

# ---- on a terminal
if command -v python3 >/dev/null 2>&1; then
    cat >"$work/terminal.py" <<'END'
import json, os, pty, select, signal, sys, time

def start(*arguments):
    child, fd = pty.fork()
    if child == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.environ["TERM"] = "xterm"
        os.execv(sys.argv[1], [sys.argv[1], "chat", sys.argv[2], "-t", "1", "--temp", "0", *arguments])
    return child, fd

def wait_for(fd, text, seen=b"", seconds=60):
    end = time.time() + seconds
    while text not in seen:
        if time.time() > end or not select.select([fd], [], [], 1)[0] and time.time() > end:
            sys.exit("waited in vain for %r; there was %r" % (text, seen[-500:]))
        if select.select([fd], [], [], 0.1)[0]:
            seen += os.read(fd, 4096)
    return seen[seen.index(text) + len(text):]

def code(child, fd):
    try:
        while os.read(fd, 4096):
            pass
    except OSError:
        pass
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def check(what, got, expected):
    if got != expected:
        sys.exit("%s: %r, expected %r" % (what, got, expected))

saved = sys.argv[3]
signal.alarm(120) # ends this script, whatever it waits for
# Lines that come at once are one message. Ctrl-C stops a reply and keeps it; twice at the empty prompt it leaves.
child, fd = start("--ignore-eos", "-c", "250")
rest = wait_for(fd, b"> ")
os.write(fd, b"one\rtwo\r")
rest = wait_for(fd, b"two\r\n", rest)
while len(rest) < 60: # well into the reply
    rest += os.read(fd, 4096)
os.write(fd, b"\x03")
rest = wait_for(fd, b"> ", rest)
os.write(fd, ("/save %s\r" % saved).encode())
rest = wait_for(fd, b"messages to", rest)
rest = wait_for(fd, b"> ", rest)
messages = json.load(open(saved))["messages"]
check("a message of two lines", messages[0]["content"], "one\ntwo")
check("who spoke", [m["role"] for m in messages], ["user", "assistant"])
os.write(fd, b"/bogus\r")
rest = wait_for(fd, b"no command", rest)
rest = wait_for(fd, b"> ", rest)
os.write(fd, b"\x03")
rest = wait_for(fd, b"again leaves", rest)
rest = wait_for(fd, b"> ", rest)
os.write(fd, b"\x03")
check("exit code after Ctrl-C twice", code(child, fd), 0)
# Ctrl-D leaves.
child, fd = start()
wait_for(fd, b"> ")
os.write(fd, b"\x04")
check("exit code after Ctrl-D", code(child, fd), 0)
END
    n_checks=$((n_checks + 1))
    python3 "$work/terminal.py" "$tern" "$model" "$work/t.json" >"$out" 2>"$err" || failed "on a terminal"
fi

finish
