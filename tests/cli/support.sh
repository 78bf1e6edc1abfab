# What the CLI test scripts share; sourced by them with TERN and MODEL as $1 and $2. Every check is counted; a failed one is
# printed, and `finish` ends the script with 1 if there was any.
set -u
tern=$1
model=$2
work=$(mktemp -d "${TMPDIR:-/tmp}/tern-test.XXXXXX") || exit 1
trap 'rm -rf "$work"' EXIT
out=$work/out err=$work/err
n_checks=0 n_failed=0

failed() {
    n_failed=$((n_failed + 1))
    echo "FAILED: $*"
    echo "  stdout: $(head -c 400 "$out")"
    echo "  stderr: $(head -c 600 "$err")"
}

# expect CODE ARGUMENTS...: runs tern and compares the exit code.
expect() {
    code=$1
    shift
    n_checks=$((n_checks + 1))
    "$tern" "$@" >"$out" 2>"$err" </dev/null
    got=$?
    [ "$got" -eq "$code" ] || failed "tern $*: exit code $got, expected $code"
}

# says FILE TEXT: the stream of the last run contains the text.
says() {
    n_checks=$((n_checks + 1))
    grep -qF -e "$2" "$1" || failed "no '$2' in ${1##*/}"
}

# same WHAT ACTUAL EXPECTED
same() {
    n_checks=$((n_checks + 1))
    [ "$2" = "$3" ] || failed "$1: '$2', expected '$3'"
}

# json WHAT: standard output of the last run is JSON.
json() {
    command -v python3 >/dev/null 2>&1 || return 0
    n_checks=$((n_checks + 1))
    python3 -m json.tool "$out" >/dev/null 2>&1 || failed "not JSON: $*"
}

finish() {
    echo "$n_checks checks, $n_failed failed"
    [ "$n_failed" -eq 0 ]
    exit $?
}
