"""Processor time of ``pgmonkey --help`` beside ``python -c pass``, each of many runs.

    python benchmarks/startup.py [RUNS]

Prints one line a command with the median and its ratio; exits 1 when a ratio is above the
promised four. Medians of processor time, not of elapsed time: a busy machine does not count.
"""

from __future__ import annotations

import resource
import subprocess
import sys
from statistics import median

LIMIT = 4.0
NOTHING = ["-c", "pass"]
COMMANDS = [
    ["-m", "pgmonkey", "--version"],
    ["-m", "pgmonkey", "--help"],
    ["-m", "pgmonkey", "pgconfig", "--help"],
    ["-m", "pgmonkey", "pgconfig", "test", "--help"],
    ["-m", "pgmonkey", "help", "PGM301"],
]


def processor_time(words: list[str]) -> float:
    """Run Python once with *words* and return its user and system time in milliseconds."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return spent * 1000


def main() -> int:
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    times: dict[str, list[float]] = {}
    processor_time(COMMANDS[1])  # the first run compiles
    for _ in range(runs):
        # In turn, so that whatever else the machine does meets all of them alike.
        for words in [NOTHING, *COMMANDS]:
            times.setdefault(" ".join(words), []).append(processor_time(words))
    raw = median(times.pop(" ".join(NOTHING)))
    print(f"{'python -c pass':<40} {raw:6.1f} ms")
    worst = 0.0
    for name, spent in times.items():
        ratio = median(spent) / raw
        worst = max(worst, ratio)
        print(f"{'python ' + name:<40} {median(spent):6.1f} ms  {ratio:.2f} x")
    return int(worst > LIMIT)


if __name__ == "__main__":
    raise SystemExit(main())
