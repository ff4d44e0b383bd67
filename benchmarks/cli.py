"""What the command line costs before it does anything: CPU time of --help and --version.

    python benchmarks/cli.py

Each is compared with an interpreter that does nothing, by turns, user and system time of
the child process; the medians' ratio is the result. Exits 0 whether or not it is met.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from pathlib import Path

LIMIT = 4.0
NOTHING = ("-c", "pass")
COMMANDS = (
    ("--version",),
    ("--help",),
    ("pgconfig", "--help"),
    ("pgconfig", "test", "--help"),
    ("help", "exit-codes"),
)


def cpu_seconds(*arguments: str) -> float:
    """Return the processor time that one run of this interpreter takes."""
    child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{' '.join(arguments)} ended with {child.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="runs of each (%(default)s)")
    rounds = parser.parse_args().rounds

    # The command as it was installed, with its byte code, and not as this folder has it.
    script = Path(sys.executable).with_name("pgmonkey")
    if not script.exists():
        raise SystemExit("install the checkout first: pip install .")
    runs = {words: (str(script), *words) for words in COMMANDS}
    taken: dict[tuple[str, ...], list[float]] = {words: [] for words in ((), *runs)}
    for _ in range(rounds):
        taken[()].append(cpu_seconds(*NOTHING))
        for words, arguments in runs.items():
            taken[words].append(cpu_seconds(*arguments))

    nothing = statistics.median(taken.pop(()))
    print(f"python {sys.version.split()[0]}, `python -c pass` takes {nothing * 1000:.0f} ms")
    print(f"{'command':<32}{'CPU':>8}{'ratio':>8}   target <= {LIMIT:g}")
    for words, seconds in taken.items():
        median = statistics.median(seconds)
        ratio = median / nothing
        met = "yes" if ratio <= LIMIT else "NO"
        command = "pgmonkey " + " ".join(words)
        print(f"{command:<32}{median * 1000:>5.0f} ms{ratio:>8.2f}   {met}")


if __name__ == "__main__":
    main()
