#!/bin/sh
# The claims report on the smallest shape: a complete folder, a verdict for every claim, pages that parse, nothing left
# after failures. usage: test_verify.sh TERN MODEL
. "$(dirname "$0")/support.sh"

# exists FILE: in the report, and not empty
exists() {
    n_checks=$((n_checks + 1))
    [ -s "$work/report/$1" ] || failed "no $1 in the report"
}

i=0
while [ $i -lt 60 ]; do
    echo "Once upon a time, there was a little girl named Lily who had $i red balls. She liked to play in the park."
    i=$((i + 1))
done >"$work/text"
expect 0 verify --quick --shapes tiny -dev cpu -m "$model" -f "$work/text" --out "$work/report"
says "$out" "| mem-7b |"
says "$out" "results of a CPU"
says "$out" "INDICATIVE ONLY"
for file in REPORT.md REPORT.html SUMMARY.md environment.json results.json samples.jsonl SHA256SUMS; do exists $file; done
same "files" "$(ls "$work/report" | wc -l | tr -d ' ')" 7
n_checks=$((n_checks + 1))
if command -v sha256sum >/dev/null 2>&1; then
    (cd "$work/report" && sha256sum -c --quiet SHA256SUMS) >"$out" 2>&1 || failed "hashes"
fi
if command -v python3 >/dev/null 2>&1; then
    n_checks=$((n_checks + 1))
    python3 - "$work/report" >"$out" 2>&1 <<'PY' || failed "the report's contents"
import html.parser, json, sys
folder = sys.argv[1] + "/"
results = json.load(open(folder + "results.json"))
names = {"confirmed", "confirmed in part", "refuted", "not decided", "not testable here", "invalid"}
assert len(results["claims"]) >= 20 and results["is_quick"]
for claim in results["claims"]:
    assert claim["verdicts"]["cpu"] in names, claim
    assert claim["parts"], claim
    for part in claim["parts"]:
        assert part["verdict"] in names
        assert "value" in part or part["detail"], part
parts = {p["measure"]: p for c in results["claims"] for p in c["parts"]}
assert parts["lossless_bits"]["value"] == 0 and parts["lossless_bits"]["verdict"] == "confirmed"
assert parts["lossless_kl"]["verdict"] == "confirmed"
assert parts["throughput_ratio"]["verdict"] in {"confirmed", "refuted", "not decided"}, parts["throughput_ratio"]
assert parts["memory_ratio"]["is_computed"]
environment = json.load(open(folder + "environment.json"))
assert environment["devices"][0]["selftest_passed"] > 0 and environment["devices"][0]["selftest_failed"] == 0
assert any(f["role"] == "text" and len(f["sha256"]) == 64 for f in environment["files"])
rows = [json.loads(line) for line in open(folder + "samples.jsonl")]
assert len(rows) >= 4 and all(len(row["samples_ns"]) == 3 for row in rows)

class Checker(html.parser.HTMLParser):
    void = {"meta", "br"}
    def __init__(self):
        super().__init__()
        self.open, self.seen = [], set()
    def handle_starttag(self, tag, attrs):
        self.seen.add(tag)
        if tag not in self.void:
            self.open.append(tag)
    def handle_startendtag(self, tag, attrs):
        self.seen.add(tag)
    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, (tag, self.open[-5:], self.getpos())
        self.open.pop()
checker = Checker()
page = open(folder + "REPORT.html").read()
checker.feed(page)
checker.close()
assert not checker.open and {"svg", "table", "h1"} <= checker.seen
assert "src=" not in page and "<link" not in page, "the page must be self-contained"
assert "nan" not in page.lower().replace("finan", "")
PY
fi

expect 2 verify --quick --shapes tiny --out "$work/report"
says "$err" "exists; give --out a name that is free"
expect 3 verify --quick --shapes huge --out "$work/other"
says "$err" "no such shape"
expect 4 verify --quick -dev nothing0 --out "$work/other"
n_checks=$((n_checks + 1))
[ -z "$(find "$work" -name '*.tmp*')" ] && [ ! -e "$work/other" ] || failed "files are left after failures"

finish
