#!/usr/bin/env python3
"""Start-up time and peak memory of `tern logits MODEL --tokens 1` with the files out of the page cache (cold) or in it
(warm), and with weights packed anew or kept. usage: load_time.py TERN MODEL.gguf [REPEATS]

Everything is the whole process, from exec to exit: opening, loading, one token. Cold: the kernel is asked to drop the
files' pages (POSIX_FADV_DONTNEED), which it does where nobody else maps them; the printed bytes read from the device
say whether it did. Rounds take turns, so that other work on the machine hits all alike."""
import os
import shutil
import statistics
import sys
import tempfile
import time


def drop(path):
    names = [path] if os.path.isfile(path) else [os.path.join(path, n) for n in os.listdir(path)]
    for name in names:
        fd = os.open(name, os.O_RDONLY)
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(fd)


def run(tern, model, cache, out, more):
    start = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        os.execv(tern, [tern, "logits", model, "-dev", "cpu", "--tokens", "1", "--out", out, "--cache-dir", cache, *more])
    _, status, usage = os.wait4(pid, 0)
    seconds = time.monotonic() - start
    if status != 0:
        sys.exit(f"tern ended with {os.waitstatus_to_exitcode(status)}")
    return seconds, usage.ru_maxrss / 1024, usage.ru_inblock / 2048


def main():
    tern, model = sys.argv[1], sys.argv[2]
    repeats = int(sys.argv[3]) if len(sys.argv) > 3 else 5
    work = tempfile.mkdtemp(prefix="tern-load-", dir=os.path.dirname(os.path.abspath(model)))
    cache, out = os.path.join(work, "cache"), os.path.join(work, "logits.npy")
    anew = ["--no-pack-cache"]
    rows = {}

    def row(name, more, before=()):
        for path in before:
            drop(path)
        rows.setdefault(name, []).append(run(tern, model, cache, out, more))

    try:
        for _ in range(repeats):
            row("packed anew, cold", anew, [model])
            row("packed anew, warm", anew)
            row("packed anew and kept, warm", [])
            row("kept, warm", [])
            row("kept, cold", [], [model, cache])
            shutil.rmtree(cache)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f"load average {os.getloadavg()[0]:.1f}, {repeats} rounds")
    print("| start | median s | least | most | peak MiB | read MiB |\n|---|---|---|---|---|---|")
    for name, runs in rows.items():
        seconds = [r[0] for r in runs]
        peak, read = max(r[1] for r in runs), statistics.median(r[2] for r in runs)
        print(f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} | {max(seconds):.2f} | {peak:.0f} | {read:.0f} |")


if __name__ == "__main__":
    main()
