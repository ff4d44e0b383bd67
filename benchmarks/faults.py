"""Faults, done to pgmonkey and to raw psycopg_pool in the same run: the table R1 to R16.

    python benchmarks/faults.py                    everything, on servers of its own; some minutes
    python benchmarks/faults.py --quick            few repetitions: does it work at all
    python benchmarks/faults.py --only R1,R5
    python benchmarks/faults.py --soak 20          a fault every 5 s for 20 minutes, ours only

Servers are started as the tests do (--provider, --pg); R3 and R5 need binaries of this machine
or the wheel. Raw is used as psycopg's documentation shows it, with ``check=`` only for R5.
Exits with 1 where pgmonkey misses a target.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from importlib import util
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import psycopg_pool
from tabulate import tabulate

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent / "tests"), str(HERE)]

from support import faults, interrupted  # noqa: E402  # found by the line above
from support.certs import CertKit  # noqa: E402
from support.choice import Wish, choose  # noqa: E402
from support.ledger import Ours, Raw  # noqa: E402
from support.server import PgServer  # noqa: E402
from support.setup import Setup, Unavailable  # noqa: E402

# Longer than anything here takes that comes back at all.
HANGS_AFTER = 90.0


class Cell(NamedTuple):
    """One figure as it is printed, and whether it is within the target."""

    text: str
    met: bool


class Bench:
    """Servers for one run, and how often each fault is repeated."""

    def __init__(self, provider: Any, folder: Path, quick: bool, seed: int) -> None:
        self.folder, self.quick, self.seed = folder, quick, seed
        setup = Setup(CertKit(folder), tls=False, fixed_port=True)
        self.server = PgServer(provider, provider.start(setup), setup)

    def times(self, few: int, many: int) -> int:
        return few if self.quick else many

    def args(self, name: str) -> dict[str, Any]:
        return {k: str(v) for k, v in self.server.dsn_args(application_name=name).items()}

    def program(
        self, name: str, kind: Any, seconds: float = HANGS_AFTER, *options: str, **given: Any
    ) -> tuple[dict[str, Any], subprocess.CompletedProcess[str] | None, float]:
        """Run a program of fault_programs; return its last line, and None where it was killed."""
        file = self.folder / f"{name}.json"
        file.touch(mode=0o600)
        file.write_text(json.dumps({"args": self.args(f"bench-{name}"), **given}))
        script = HERE / "fault_programs.py"
        command = [sys.executable, *options, script, name, kind.name, file, str(self.seed)]
        with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            process = subprocess.Popen(command, stdout=out, stderr=err, start_new_session=True)
            try:
                code = process.wait(seconds)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, 9)
                process.wait()
                code = None
            ended = time.time()
            out.seek(0), err.seek(0)
            lines, stderr = out.read().splitlines(), err.read()
        last = json.loads(lines[-1]) if lines else {}
        if code is None:
            return last, None, ended
        return last, subprocess.CompletedProcess(command, code, "", stderr), ended


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"


def r1(bench: Bench, kind: Any) -> Cell:
    found = [faults.kill_idle(bench.server, kind, size) for size in (1, 4, 20)]
    errors, first = sum(f.errors for f in found), max(f.first_seconds for f in found)
    return Cell(f"{errors} errors, {milliseconds(first)}", errors == 0 and first < 0.1)


def _outage(outage: faults.Outage, limit: float) -> Cell:
    text = f"{outage.lost} of {outage.acknowledged} lost, {outage.slowest_seconds:.2f} s"
    met = outage.lost == 0 and outage.slowest_seconds <= limit and not outage.surprises
    return Cell(text, met)


def r2(bench: Bench, kind: Any, mode: str) -> Cell:
    rounds = bench.times(2, 20)
    return _outage(faults.restart(bench.server, kind, mode, rounds=rounds), 1.2)


def r3(bench: Bench, kind: Any) -> Cell:
    primary = bench.server
    try:
        with primary.standby() as standby, primary.settings(synchronous_standby_names="*"):
            try:
                outage = faults.failover(primary, standby, kind)
            finally:
                with suppress(Exception):
                    primary.resume()
    except Unavailable as e:
        return Cell(str(e), False)
    return _outage(outage, 0.8)


def r4(bench: Bench, kind: Any) -> Cell:
    with bench.server.twin() as other:
        errors, arrived = faults.demotion(bench.server, other, kind)
    text = f"{errors} of 40 errors" + ("" if arrived == 10 else ", not over")
    return Cell(text, errors <= 4 and arrived == 10)


def r5(bench: Bench, kind: Any) -> Cell:
    beyond = max(faults.stall(bench.server, kind, all_).beyond_seconds for all_ in (False, True))
    return Cell(f"timeout {beyond:+.2f} s", beyond <= 0.2)


def r6(bench: Bench, kind: Any, way: str) -> Cell:
    times = bench.times(300, 10_000)
    file = bench.folder / "interrupted.json"
    file.touch(mode=0o600)
    file.write_text(json.dumps(bench.args(f"bench-{way}")))
    command = [sys.executable, interrupted.__file__, file, kind.name, way, str(times)]
    done = subprocess.run(
        [*command, str(bench.seed)], capture_output=True, text=True, timeout=1200, check=False
    )
    found = json.loads(done.stdout.splitlines()[-1])
    if found["whole"] and not found["errors"]:
        return Cell(f"0 lost after {found['interrupted']}", True)
    return Cell(f"slots lost after {found['interrupted']}", False)


def r7(bench: Bench, kind: Any) -> Cell:
    rounds = bench.times(3, 20)
    found, done, _ = bench.program("fork", kind, 60.0 * rounds, rounds=rounds, queries=300)
    if done is None or done.returncode:
        return Cell("hung", False)
    text = f"{found['wrong']} of {found['of']} wrong, {found['hung']} hung"
    return Cell(text, found["wrong"] + found["hung"] == 0)


def r8(bench: Bench, kind: Any) -> Cell:
    found, done, _ = bench.program("loops", kind, 30.0, rounds=50)
    if done is None:
        return Cell(f"hangs in run {found.get('returned', 0) + 1}", False)
    time.sleep(1)
    left = bench.server.sessions("bench-loops")
    text = f"{found['returned']} returned, {found['slowest']:.2f} s at most, {left} left"
    return Cell(text, found["returned"] == 50 and found["slowest"] < 0.2 and left == 0)


def r9(bench: Bench, kind: Any) -> Cell:
    found, done, ended = bench.program("ending", kind, 60.0, "-X", "dev", "-W", "error")
    if done is None:
        return Cell("does not end", False)
    took = ended - found.get("ended_at", 0.0)
    lines = len(done.stderr.splitlines())
    text = f"exit {done.returncode}, {took:.2f} s, {lines} lines on stderr"
    return Cell(text, done.returncode == 0 and took < 1 and lines == 0)


def r10(bench: Bench, kind: Any) -> Cell:
    found = faults.rotation(bench.server, kind, bench.folder, times=bench.times(10, 100))
    errors = len(found.errors) + len(found.surprises)
    return Cell(f"{errors} errors", errors == 0)


def r11(bench: Bench, kind: Any) -> Cell:
    if kind is Raw:
        return Cell("has no cache", False)
    from pgmonkey import PGConnectionManager

    manager = PGConnectionManager()
    sizes = {"min_size": 4, "max_size": 4}
    config = {"connection_settings": bench.args("cold"), "pool_settings": sizes}
    pools = set()
    most = 0
    start = threading.Barrier(200)

    def get() -> None:
        start.wait()
        pools.add(manager.get_database_connection_from_dict(config, "pool"))

    threads = [threading.Thread(target=get) for _ in range(200)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        most = max(most, bench.server.sessions("cold"))
    most = max(most, bench.server.sessions("cold"))
    manager.clear_cache()
    return Cell(f"{len(pools)} pool, {most} sessions of 4", len(pools) == 1 and most <= 4)


def r14(bench: Bench, kind: Any) -> Cell:
    cases = bench.times(20, 200)
    secret = "canary-7f3a-never-said"
    found, done, _ = bench.program("canary", kind, 600.0, cases=cases, secret=secret)
    if done is None or done.returncode:
        return Cell(f"the program failed: {done and done.stderr[-60:]}", False)
    hits = found["hits"] + done.stderr.count(secret)
    return Cell(f"{hits} hits in {found['failures']} failures", hits == 0)


def r16(bench: Bench, kind: Any) -> Cell:
    if kind is Raw:
        return Cell("has no files", False)
    from pgmonkey.config.load import load_text
    from pgmonkey.errors import ConfigError

    spec = util.spec_from_file_location("m", HERE.parent / "tests/unit/test_config_mutations.py")
    assert spec is not None
    assert spec.loader is not None
    mutations = util.module_from_spec(spec)
    spec.loader.exec_module(mutations)
    chance = random.Random(bench.seed)
    times, loaded, refused, wrong = bench.times(500, 10_000), 0, 0, 0
    for _ in range(times):
        text = chance.choice(mutations.CORPUS)
        for _ in range(chance.randint(1, 3)):
            at = chance.randrange(len(text))
            end = at + chance.choice((0, 0, 1, 8))
            text = text[:at] + chance.choice(mutations.TOKENS) + text[end:]
        try:
            load_text(text.encode("utf-8", "surrogatepass"), "mutant.yaml")
            loaded += 1
        except ConfigError as error:
            refused += 1
            wrong += error.line is None and error.key is None
        except Exception:
            wrong += 1
    return Cell(f"{loaded} loaded, {refused} refused, {wrong} otherwise", wrong == 0)


def paired(bench: Bench) -> list[tuple[str, str, Cell, Cell, str]]:
    """R12 and R13, measured in pairs by benchmarks/connections.py."""
    import connections

    from pgmonkey import PGConnectionManager

    size = connections.POOL_SIZE
    sizes = {"min_size": size, "max_size": size}
    conninfo = bench.args("paired")
    config = {"connection_settings": conninfo, "pool_settings": sizes}
    manager = PGConnectionManager()
    handle = manager.get_database_connection_from_dict(config, "pool")
    rounds = bench.times(5, 51)
    with psycopg_pool.ConnectionPool(kwargs=conninfo, open=False, **sizes) as pool:  # type: ignore[arg-type]
        pool.wait()
        rows = [
            *(("R12", row) for row in connections.crowds(handle, pool, max(3, rounds // 5))),
            *(("R13", row) for row in connections.sync_blocks(handle, pool, rounds)),
            *(("R13", row) for row in connections.cached_get(manager, config, rounds)),
        ]
    manager.clear_cache()
    return [
        (
            id_,
            row.what,
            Cell(row.ours, row.met),
            Cell(row.raw, False),
            f"{row.target} {row.compared}",
        )
        for id_, row in rows
    ]


ROWS: list[tuple[str, str, str, Callable[[Bench, Any], Cell]]] = [
    ("R1", "all idle sessions killed, 40 requests", "0 errors, first < 100 ms", r1),
    ("R2", "fast restart under 16 threads", "0 lost, <= 1.2 s", partial(r2, mode="fast")),
    ("R2", "immediate restart under 16 threads", "0 lost, <= 1.2 s", partial(r2, mode="immediate")),
    ("R3", "failover to a promoted standby", "0 lost, <= 0.8 s", r3),
    ("R4", "primary demoted but alive, 4 connections", "<= 4 errors", r4),
    ("R5", "stalled session or server", "<= timeout + 0.2 s", r5),
    ("R6", "Ctrl-C at random points", "0 slots lost", partial(r6, way="ctrl-c")),
    ("R6", "cancellations at random points", "0 slots lost", partial(r6, way="cancel")),
    ("R7", "fork with an open pool", "0 wrong, 0 hung", r7),
    ("R8", "asyncio.run x 50, pool never closed", "each < 0.2 s, 0 sessions left", r8),
    ("R9", "exit with four types open", "exit 0, < 1 s, silent", r9),
    ("R10", "password rotated under load", "0 errors", r10),
    ("R11", "cold get by 200 threads", "1 pool, <= 4 sessions", r11),
    ("R14", "failures with a canary for a password", "0 hits", r14),
    ("R16", "mutated configurations", "loaded, or refused with a place", r16),
]
PAIRED = ("R12", "R13")


def attempt(measure: Callable[[Bench, Any], Cell], bench: Bench, kind: Any) -> Cell:
    """Take one figure; what a contender does not survive is its figure too."""
    try:
        return measure(bench, kind)
    except (AssertionError, psycopg.OperationalError, subprocess.TimeoutExpired) as error:
        with suppress(Exception):
            bench.server.resume()
        return Cell(str(error).splitlines()[0][:60], False)


def table(bench: Bench, only: set[str]) -> bool:
    """Print the table; return whether ours met every target."""
    rows, met = [], True
    for id_, what, target, measure in ROWS:
        if only and id_ not in only:
            continue
        print(f"{id_}: {what}", file=sys.stderr)
        ours, raw = attempt(measure, bench, Ours), attempt(measure, bench, Raw)
        rows.append((id_, what, ours.text, raw.text, target, "yes" if ours.met else "NO"))
        met = met and ours.met
    if not only or only & set(PAIRED):
        for id_, what, ours, raw, target in paired(bench):
            if not only or id_ in only:
                rows.append((id_, what, ours.text, raw.text, target, "yes" if ours.met else "NO"))
                met = met and ours.met
    rows.sort(key=lambda row: int(row[0][1:]))
    print(
        tabulate(
            rows, headers=("", "", "pgmonkey", "psycopg_pool", "target", "met"), tablefmt="github"
        )
    )
    return met


FAULTS = ("kill idle", "kill all", "fast restart", "immediate restart", "stall", "rotate")


def soak(bench: Bench, minutes: float) -> bool:
    """Do a fault every 5 s, and say what memory, threads and descriptors come to."""
    import psutil

    from support.ledger import Ledger
    from support.wait import until

    me, chance, server = psutil.Process(), random.Random(bench.seed), bench.server
    Ledger.create(server)
    samples: list[tuple[float, int, int]] = []
    lost = acknowledged = errors = 0
    secret = bench.folder / "soak-password"
    secret.touch(mode=0o600)
    secret.write_text(server.password)
    pool = faults.FromFile(
        server.dsn_args(application_name="soak"),
        secret,
        {"min_size": 4, "max_size": 8, "timeout": 20, "check_on_checkout": True},
    )
    end = time.monotonic() + 60 * minutes
    with Ledger(pool, 16, pause=0.02) as ledger:
        while time.monotonic() < end:
            time.sleep(5)
            fault = chance.choice(FAULTS)
            if fault.endswith("restart"):
                server.halt(fault.split()[0])
                server.resume()
            elif fault == "stall":
                with server.admin() as conn:
                    query = (
                        "SELECT pid FROM pg_stat_activity WHERE application_name = 'soak' LIMIT 1"
                    )
                    pids = [pid for (pid,) in conn.execute(query)]
                for name in ("STOP", "CONT"):
                    for pid in pids:
                        with suppress(ProcessLookupError, AssertionError):
                            server.signal(pid, name)
                    time.sleep(1.5)
            elif fault == "rotate":
                secret.write_text(f"soak-{time.monotonic_ns()}")
                server.set_password(secret.read_text())
            else:
                idle = " AND state = 'idle'" if fault == "kill idle" else ""
                with server.admin() as conn:
                    conn.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        f" WHERE application_name = 'soak'{idle}"
                    )
            ledger.goes_on()
            gone, checked = ledger.settle(server)
            lost, acknowledged = lost + gone, acknowledged + checked
            # Counted and forgotten: a kept error keeps its frames, which are not the pool's memory.
            errors += len(ledger.errors)
            ledger.errors.clear()
            samples.append((me.memory_info().rss / 2**20, me.num_threads(), me.num_fds()))
            assert (
                server.sessions("soak") <= 8 or until(lambda: server.sessions("soak") <= 8) is None
            )
            print(
                f"{fault}: {samples[-1][0]:.1f} MiB, {samples[-1][1]} threads,"
                f" {samples[-1][2]} descriptors, {acknowledged} commits, {lost} lost",
                file=sys.stderr,
            )
    stats = pool.handle.stats()
    pool.close()
    server.set_password(server.password)
    quarter = max(1, len(samples) // 4)
    early, late = samples[quarter : 2 * quarter] or samples, samples[-quarter:]
    rows, flat = [], True
    for i, (what, allowed) in enumerate((("memory, MiB", 4.0), ("threads", 1), ("descriptors", 2))):
        first, last = (statistics.median(s[i] for s in part) for part in (early, late))
        rows.append((what, f"{first:.1f}", f"{last:.1f}", f"<= +{allowed}"))
        flat = flat and last - first <= allowed
    print(tabulate(rows, headers=("", "2nd quarter", "last quarter", "target"), tablefmt="github"))
    print(
        f"{len(samples)} faults in {minutes:g} minutes, {acknowledged} acknowledged commits,"
        f" {lost} lost, {errors} errors seen by writers, {len(ledger.surprises)} surprises"
    )
    print(f"discards: {dict(stats.discards)}")
    return flat and lost == 0 and not ledger.surprises


@contextmanager
def a_bench(options: argparse.Namespace) -> Iterator[Bench]:
    choice = choose(Wish.of(os.environ, options.provider, options.pg))
    if choice.provider is None:
        sys.exit("no PostgreSQL server\n" + "\n".join(choice.reasons))
    with tempfile.TemporaryDirectory() as folder:
        bench = Bench(choice.provider, Path(folder), options.quick, options.seed)
        try:
            print(
                f"{choice.provider.title}; python {platform.python_version()},"
                f" psycopg {psycopg.__version__} ({psycopg.pq.__impl__}),"
                f" psycopg_pool {psycopg_pool.__version__}; {platform.system()}"
                f" {platform.machine()}, {os.cpu_count()} processors; seed {options.seed}\n"
            )
            yield bench
        finally:
            bench.server.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", metavar="R1,R5", default="", help="these rows")
    parser.add_argument("--quick", action="store_true", help="few repetitions")
    parser.add_argument("--soak", type=float, metavar="MINUTES", help="a fault every 5 s instead")
    parser.add_argument("--seed", type=int, default=1, help="of all chances (%(default)s)")
    parser.add_argument(
        "--provider", default="local,wheel", help="who starts servers (%(default)s)"
    )
    parser.add_argument("--pg", metavar="MAJOR", help="version of the server")
    options = parser.parse_args()
    only = set(filter(None, options.only.upper().split(",")))
    unknown = only - {row[0] for row in ROWS} - set(PAIRED)
    if unknown:
        parser.error(f"no row {', '.join(sorted(unknown))}")
    with a_bench(options) as bench:
        good = soak(bench, options.soak) if options.soak else table(bench, only)
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
