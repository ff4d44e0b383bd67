"""pgimport and pgexport beside psql's \\copy, in one run: time, and memory of the client.

    python benchmarks/transfer.py                            everything, in full size: an hour
    python benchmarks/transfer.py --size 0.05 --rounds 3     a look at it: minutes
    python benchmarks/transfer.py --only export --tls off

Starts a server of its own, as the tests do. In each round every contestant does the same
work once, in an order that turns from round to round, so that a busy machine slows all of
them; each is divided by psql of the same round, and medians of these ratios are compared.
Times of one machine mean nothing on another: the ratio is the result. The server's own
COPY between table and file is the limit of whoever uses one backend. What a contestant
produced is compared with psql's in a first round that does not count. Exits 0 whether or
not a target is met.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import psycopg
import yaml
from psycopg import sql
from tabulate import tabulate

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from support.certs import CertKit
from support.choice import Wish, choose
from support.psql import find_psql
from support.server import PgServer
from support.setup import Setup

ROWS = {"narrow": 2_000_000, "wide": 200_000}
PARTS = ("export", "import", "gz", "rejects", "memory")
# Of bad rows among the good ones, and what a load may cost then, clean psql being 1.
BAD = {0.0001: 1.6, 0.01: 4.0, 0.1: 4.0}
MEMORY = 60  # MB, for every client of ours
MEGABYTES = (50, 1000)  # of CSV, for which it holds

# Starts a command, waits, and tells seconds and kilobytes. A process of its own, since what a
# new process is measured by begins with the memory of the one it was forked from.
RUNNER = """
import os, sys, time
began = time.perf_counter()
pid = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(pid, 0)
print(time.perf_counter() - began, usage.ru_maxrss, os.waitstatus_to_exitcode(status))
"""

NARROW = (
    "id int, code text, name text, amount numeric(12,2), at timestamptz, active bool, "
    "ratio float8, note text"
)
WORDS = (
    "anchor",
    "bridge",
    "candle",
    "d\N{LATIN SMALL LETTER E WITH ACUTE}j\N{LATIN SMALL LETTER A WITH GRAVE}",
    "ember",
    "fjord",
    "granite",
    "harbour",
)


@dataclass(frozen=True)
class Loaded(Setup):
    """A server that is not the bottleneck by a setting nobody would load with."""

    def settings(self) -> dict[str, str]:
        return super().settings() | {
            "shared_buffers": "512MB",
            "max_wal_size": "8GB",
            "checkpoint_timeout": "30min",
            "max_prepared_transactions": "16",
            "autovacuum": "off",
        }


@dataclass
class Contestant:
    """One way to do the work of a group; the first of a group is what others are compared to.

    Attributes:
        command: What is timed, from its start to its exit.
        before: Done before each time, untimed.
        check: Says whether the result is right; called after the first round.
        target: The ratio that is aimed at; None for peers and limits.
        ours: Whether its memory counts.
    """

    name: str
    command: list[str]
    before: Callable[[], None] = lambda: None
    check: Callable[[], bool] = lambda: True
    target: float | None = None
    ours: bool = False
    seconds: list[float] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Do the work once; note the time, and the most memory of any of its processes."""
        self.before()
        program = shutil.which(self.command[0])
        assert program is not None, self.command[0]
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", RUNNER, program, *self.command[1:]],
            capture_output=True,
            text=True,
            check=False,
        )
        seconds, kilobytes, code = done.stdout.split()[-3:]
        if code != "0":
            sys.exit(f"{self.name} failed with exit code {code}\n{done.stderr}")
        self.seconds.append(float(seconds))
        self.memory.append(float(kilobytes) / 1024)


def race(contestants: list[Contestant], rounds: int) -> None:
    """Let all of them work *rounds* times, by turns, after a round that is only checked."""
    for one in contestants:
        one.run()
        if not one.check():
            if one.ours:
                sys.exit(f"{one.name} did not produce what psql did")
            one.name += ", with other values"
        one.seconds.clear()
    for turn in range(rounds):
        for i in range(len(contestants)):
            contestants[(i + turn) % len(contestants)].run()


def report(title: str, contestants: list[Contestant]) -> None:
    """Print the table of one race."""
    first = contestants[0]
    rows = []
    for one in contestants:
        ratios = [a / b for a, b in zip(one.seconds, first.seconds, strict=True)]
        ratio, memory = statistics.median(ratios), max(one.memory)
        goals, met = [], True
        if one.target is not None:
            goals.append(f"<= {one.target:.2f}")
            met = ratio <= one.target
        if one.ours:
            goals.append(f"<= {MEMORY} MB")
            met = met and memory <= MEMORY
        rows.append(
            (
                one.name,
                f"{statistics.median(one.seconds):.2f} s",
                f"{ratio:.2f}",
                f"{min(ratios):.2f}-{max(ratios):.2f}",
                f"{memory:.0f} MB",
                ", ".join(goals),
                ("yes" if met else "NO") if goals else "",
            )
        )
    print(f"\n### {title}\n")
    headers = ("", "median", "ratio", "from-to", "client", "target", "met")
    aligned = ("left", "right", "right", "right", "right", "left", "left")
    print(tabulate(rows, headers=headers, tablefmt="github", colalign=aligned), flush=True)


# Data


def narrow(rng: random.Random, number: int) -> str:
    """Return a row of eight mixed columns: quotes, newlines, NULL, '' and leading zeros."""
    word = rng.choice(WORDS)
    note = ("", '""', f'"{word} said ""hello"", twice"', f'"two\nlines of {word}"', word * 3)[
        rng.randrange(5)
    ]
    return (
        f"{number},{rng.randrange(100000):05},{word} {rng.randrange(10**6)},"
        f"{rng.randrange(10**9) / 100:.2f},2024-{rng.randrange(1, 13):02}-{rng.randrange(1, 29):02} "
        f"{rng.randrange(24):02}:{rng.randrange(60):02}:00+00,{'tf'[rng.randrange(2)]},"
        f"{rng.random()},{note}\n"
    )


def wide(rng: random.Random, number: int) -> str:
    """Return a row of forty columns of text."""
    return ",".join(f"{WORDS[rng.randrange(8)]}{rng.getrandbits(40):x}" for _ in range(40)) + "\n"


def write_csv(path: Path, table: str, rows: int, seed: int, bad: float = 0.0) -> None:
    """Write *rows* rows for *table*, the share *bad* of them bad.

    Those have a word for a number, or lack a field, by turns.
    """
    rng = random.Random(seed)
    names = (
        [column.split()[0] for column in NARROW.split(", ")]
        if table == "narrow"
        else [f"c{i}" for i in range(40)]
    )
    every = round(1 / bad) if bad else 0
    make = narrow if table == "narrow" else wide
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(",".join(names) + "\n")
        for number in range(rows):
            row = make(rng, number)
            if every and number % every == every // 2:
                row = row.partition(",")[2] if number // every % 2 else "bad" + row
            file.write(row)


# The run


class Bench:
    """A server, a folder and the commands that use them."""

    def __init__(self, server: PgServer, folder: Path, options: argparse.Namespace) -> None:
        self.server = server
        self.folder = folder
        self.options = options
        self.psql_path = find_psql()
        self.admin = psycopg.connect(
            **server.dsn_args(user=server.superuser, sslmode="prefer", sslrootcert=None),
            autocommit=True,
        )
        os.environ["PGPASSWORD"] = server.password
        # The command as it was installed, with its byte code, and not as this folder has it.
        self.ours = [str(Path(sys.executable).with_name("pgmonkey"))]
        if not Path(self.ours[0]).exists():
            sys.exit("install the checkout first: pip install '.[test,fast]'")
        for table in options.tables:
            columns = NARROW if table == "narrow" else ", ".join(f"c{i} text" for i in range(40))
            for name in (table, f"{table}_in"):
                self.execute(f"CREATE TABLE {name} ({columns})")
                self.execute(f"GRANT ALL ON {name} TO PUBLIC")
            self.csv(table)
            self.execute(f"COPY {table} FROM '{self.csv(table)}' (FORMAT csv, HEADER true)")
            self.execute(f"VACUUM (FREEZE, ANALYZE) {table}")

    def execute(self, statement: str) -> Any:
        return self.admin.execute(sql.SQL(statement))

    def csv(self, table: str, bad: float = 0.0) -> Path:
        """Return the file for *table*, made when it is first asked for."""
        path = self.folder / (f"{table}.csv" if not bad else f"{table}-bad-{bad}.csv")
        if not path.exists():
            write_csv(path, table, self.rows(table), self.options.seed, bad)
        return path

    def rows(self, table: str) -> int:
        return max(1000, int(ROWS[table] * self.options.size))

    def psql(self, command: str, tls: bool) -> list[str]:
        words = self.conninfo(tls)
        return [self.psql_path, "-X", "-q", "-v", "ON_ERROR_STOP=1", words, "-c", command]

    def conninfo(self, tls: bool) -> str:
        """Return how a peer connects; its password is in the environment."""
        args = self.server.dsn_args() | ({} if tls else {"sslmode": "disable"})
        return psycopg.conninfo.make_conninfo(**(args | {"password": None}))

    def pgmonkey(self, *words: str | Path, tls: bool) -> list[str]:
        config = self.folder / f"config-{tls}.yaml"
        if not config.exists():
            args = self.server.dsn_args()
            if not tls:
                args |= {"sslmode": "disable"}
            config.touch(mode=0o600)
            config.write_text(yaml.safe_dump({"connection_settings": args}))
        return [*self.ours, *map(str, words), "-c", str(config), "-q"]

    def by_server(self, command: str) -> list[str]:
        args = self.server.dsn_args(
            user=self.server.superuser, sslmode="disable", sslrootcert=None, password=None
        )
        words = " ".join(f"{key}='{value}'" for key, value in args.items())
        return [self.psql_path, "-X", "-q", "-v", "ON_ERROR_STOP=1", words, "-c", command]

    # Export

    def exports(self, table: str, tls: bool) -> None:
        """Race for a plain file."""
        theirs, mine = self.folder / "psql.csv", self.folder / "ours.csv"
        server_file = self.folder / "server" / "server.csv"
        single = {"narrow": 1.05, "wide": 1.25}[table]
        words = ("pgexport", "--table", table, "-o", mine, "--overwrite")
        same = partial(same_bytes, theirs, mine)
        racers = [
            Contestant("psql \\copy", self.psql(f"\\copy {table} to '{theirs}' csv header", tls)),
            Contestant(
                "pgexport", self.pgmonkey(*words, tls=tls), unlinker(mine), same, single, True
            ),
            Contestant(
                "pgexport --jobs 2",
                self.pgmonkey(*words, "--jobs", "2", tls=tls),
                unlinker(mine),
                same,
                0.90,
                True,
            ),
            Contestant(
                "server COPY TO (limit)",
                self.by_server(f"COPY {table} TO '{server_file}' (FORMAT csv, HEADER true)"),
            ),
        ]
        if (duck := self.duckdb_export(table, tls)) is not None:
            racers.append(Contestant("duckdb", duck))
        race(racers, self.options.rounds)
        report(f"Export, {self.described(table, tls)}", racers)

    def exports_gz(self, table: str, tls: bool) -> None:
        """Race for a gzip file."""
        theirs, mine = self.folder / "psql.csv.gz", self.folder / "ours.csv.gz"
        words = ("pgexport", "--table", table, "-o", mine, "--overwrite")
        piped = self.psql(f"\\copy {table} to pstdout csv header", tls)
        script = 'out=$1; shift; set -o pipefail; "$@" | gzip -1 > "$out"'
        same = partial(same_unpacked, theirs, mine)
        racers = [
            Contestant("psql into gzip -1", ["bash", "-c", script, "bash", str(theirs), *piped]),
            Contestant("pgexport to .gz", self.pgmonkey(*words, tls=tls), check=same, ours=True),
            Contestant(
                "pgexport to .gz --jobs 2",
                self.pgmonkey(*words, "--jobs", "2", tls=tls),
                check=same,
                ours=True,
            ),
        ]
        race(racers, self.options.rounds)
        how = "with isal" if find_spec("isal") else "with zlib"
        report(f"Export to gzip {how}, {self.described(table, tls)}", racers)

    def duckdb_export(self, table: str, tls: bool) -> list[str] | None:
        """Return duckdb's command for the same work, None where it cannot be run."""
        if find_spec("duckdb") is None:
            return None
        if find_spec("duckdb_extensions") is not None:  # where its own INSTALL reaches nothing
            import_module("duckdb_extensions").import_extension("postgres_scanner")
        words = self.conninfo(tls)
        program = (
            "import duckdb; d = duckdb.connect(); d.execute('INSTALL postgres; LOAD postgres');"
            f"d.execute(\"ATTACH '{words}' AS pg (TYPE postgres)\");"
            f"d.execute(\"COPY pg.{table} TO '{self.folder / 'duck.csv'}' (HEADER)\")"
        )
        command = [sys.executable, "-c", program]
        tried = subprocess.run(command, capture_output=True, text=True, check=False)
        if tried.returncode:
            why = (tried.stderr.strip().splitlines() or ["?"])[-1]
            print(f"duckdb is not measured: {why[:200]}", file=sys.stderr)
            return None
        return command

    # Import

    def truncate(self, table: str) -> None:
        self.execute(f"TRUNCATE {table}")
        self.execute("CHECKPOINT")

    def same_table(self, table: str) -> bool:
        """Return whether the imported table holds what the source does, in whatever order."""
        query = "SELECT count(*), sum(hashtextextended(t::text, 0)) FROM {} AS t"
        ours, source = (
            self.execute(query.format(name)).fetchone() for name in (f"{table}_in", table)
        )
        return bool(ours == source)

    def imports(self, table: str, tls: bool) -> None:
        """Race into an empty table without indexes."""
        file, into = self.csv(table), f"{table}_in"
        words = ("pgimport", "--table", into, "--import_file", file)
        empty, same = partial(self.truncate, into), partial(self.same_table, table)
        racers = [
            Contestant(
                "psql \\copy",
                self.psql(f"\\copy {into} from '{file}' csv header", tls),
                empty,
                same,
            ),
            Contestant(
                "pgimport",
                self.pgmonkey(*words, tls=tls),
                empty,
                same,
                {"narrow": 0.70, "wide": 0.87}[table],
                True,
            ),
            Contestant(
                "pgimport --jobs 1",
                self.pgmonkey(*words, "--jobs", "1", tls=tls),
                empty,
                same,
                1.10,
                True,
            ),
            Contestant(
                "server COPY FROM (limit)",
                self.by_server(f"COPY {into} FROM '{file}' (FORMAT csv, HEADER true)"),
                empty,
                same,
            ),
        ]
        if (duck := self.duckdb_import(table, tls)) is not None:
            racers.append(Contestant("duckdb", duck, empty, same))
        race(racers, self.options.rounds)
        report(f"Import, {self.described(table, tls)}", racers)

    def imports_gz(self, table: str, tls: bool) -> None:
        """Race from a gzip file."""
        packed, into = Path(f"{self.csv(table)}.gz"), f"{table}_in"
        if not packed.exists():
            with packed.open("wb") as file:
                subprocess.run(["gzip", "-6", "-c", self.csv(table)], stdout=file, check=True)
        script = 'in=$1; shift; set -o pipefail; gzip -dc "$in" | "$@"'
        piped = self.psql(f"\\copy {into} from pstdin csv header", tls)
        empty, same = partial(self.truncate, into), partial(self.same_table, table)
        words = ("pgimport", "--table", into, "--import_file", packed)
        racers = [
            Contestant(
                "gzip -d into psql",
                ["bash", "-c", script, "bash", str(packed), *piped],
                empty,
                same,
            ),
            Contestant("pgimport from .gz", self.pgmonkey(*words, tls=tls), empty, same, ours=True),
        ]
        race(racers, self.options.rounds)
        report(f"Import from gzip, {self.described(table, tls)}", racers)

    def rejects(self, table: str, tls: bool) -> None:
        """Race with bad rows to be skipped, against psql with the clean file."""
        into = f"{table}_in"
        empty = partial(self.truncate, into)
        free = partial(self.execute, f"ALTER TABLE {into} DROP CONSTRAINT IF EXISTS few")
        clean = self.psql(f"\\copy {into} from '{self.csv(table)}' csv header", tls)
        skip = ("--on-error", "skip", "--rejects", self.folder / "rejects.csv")
        fresh = unlinker(self.folder / "rejects.csv")
        racers = [Contestant("psql \\copy, no bad row", clean, partial(chain, empty, free))]
        for share, target in BAD.items():
            words = ("pgimport", "--table", into, "--import_file", self.csv(table, share), *skip)
            racers.append(
                Contestant(
                    f"pgimport, {share:.2%} bad",
                    self.pgmonkey(*words, tls=tls),
                    partial(chain, empty, free, fresh),
                    partial(self.complete, table, share),
                    target,
                    True,
                )
            )
        for share in BAD:
            words = ("pgimport", "--table", into, "--import_file", self.csv(table), *skip)
            few = f"ADD CONSTRAINT few CHECK (ratio < {1 - share})"
            constrain = partial(self.execute, f"ALTER TABLE {into} {few}")
            racers.append(
                Contestant(
                    f"pgimport, {share:.2%} against a CHECK",
                    self.pgmonkey(*words, tls=tls),
                    partial(chain, empty, free, constrain, fresh),
                    partial(self.as_many, into, f"{table} WHERE ratio < {1 - share}"),
                    None,
                    True,
                )
            )
        race(racers, self.options.rounds)
        free()
        report(f"Import with rejects, {self.described(table, tls)}", racers)

    def as_many(self, table: str, other: str) -> bool:
        """Return whether two tables, or parts of them, have as many rows."""
        one, two = (
            self.execute(f"SELECT count(*) FROM {name}").fetchone() for name in (table, other)
        )
        return bool(one == two)

    def complete(self, table: str, share: float) -> bool:
        """Return whether exactly the good rows are there."""
        rows, every = self.rows(table), round(1 / share)
        bad = len(range(every // 2, rows, every))
        found = self.execute(f"SELECT count(*) FROM {table}_in").fetchone()
        return bool(found == (rows - bad,))

    def memory(self, tls: bool) -> None:
        """Report the memory of a client beside the size of the file, which it must not depend on."""
        sizes = [round(megabytes * self.options.size) for megabytes in MEGABYTES]
        found: dict[str, list[float]] = {}
        for megabytes in sizes:
            file, into, out = self.folder / "any.csv", "narrow_in", self.folder / "ours.csv"
            rows = megabytes * 1_000_000 * self.rows("narrow") // self.csv("narrow").stat().st_size
            write_csv(file, "narrow", rows, self.options.seed)
            load = ("pgimport", "--table", into, "--import_file", file)
            save = ("pgexport", "--table", into, "-o", out, "--overwrite")
            empty = partial(self.truncate, into)
            for name, words, before in (
                ("pgimport", load, empty),
                ("pgimport --jobs 1", (*load, "--jobs", "1"), empty),
                ("pgexport", save, unlinker(out)),
                ("pgexport --jobs 2", (*save, "--jobs", "2"), unlinker(out)),
            ):
                one = Contestant(name, self.pgmonkey(*words, tls=tls), before)
                one.run()
                found.setdefault(name, []).extend(one.memory)
            file.unlink()
            out.unlink()
        lines = []
        for name, peaks in found.items():
            met = "yes" if max(peaks) <= MEMORY else "NO"
            lines.append((name, *(f"{each:.0f} MB" for each in peaks), f"<= {MEMORY} MB", met))
        print("\n### Memory of the client, by the size of the file\n")
        headers = ("", *(f"{megabytes} MB of CSV" for megabytes in sizes), "target", "met")
        print(tabulate(lines, headers=headers, tablefmt="github"), flush=True)

    def duckdb_import(self, table: str, tls: bool) -> list[str] | None:
        """Return duckdb's command for the same work, None where it cannot be run."""
        if self.duckdb_export(table, tls) is None:
            return None
        words = self.conninfo(tls)
        program = (
            "import duckdb; d = duckdb.connect(); d.execute('LOAD postgres');"
            f"d.execute(\"ATTACH '{words}' AS pg (TYPE postgres)\");"
            f"d.execute(\"COPY pg.{table}_in FROM '{self.csv(table)}' (HEADER, ALLOW_QUOTED_NULLS false)\")"
        )
        return [sys.executable, "-c", program]

    def described(self, table: str, tls: bool) -> str:
        size = self.csv(table).stat().st_size / 1e6
        return f"{table}: {self.rows(table):,} rows, {size:.0f} MB, TLS {'on' if tls else 'off'}"


def same_bytes(one: Path, other: Path) -> bool:
    return subprocess.run(["cmp", "-s", one, other], check=False).returncode == 0


def same_unpacked(one: Path, other: Path) -> bool:
    script = 'cmp -s <(gzip -dc "$1") <(gzip -dc "$2")'
    return subprocess.run(["bash", "-c", script, "bash", one, other], check=False).returncode == 0


def unlinker(path: Path) -> Callable[[], None]:
    return partial(path.unlink, missing_ok=True)


def chain(*calls: Callable[[], object]) -> None:
    for call in calls:
        call()


def machine(server: PgServer, title: str, options: argparse.Namespace) -> str:
    """Return what the figures depend on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        model = names[0].partition(":")[2].strip() if names else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    extras = [name for name in ("isal", "zstandard", "duckdb") if find_spec(name)]
    psql = subprocess.run([find_psql(), "--version"], capture_output=True, text=True, check=True)
    return f"""\
- machine: {model}, {os.cpu_count()} cores, {memory:.0f} GiB, {platform.system()} \
{platform.machine()}; client and server on it
- server: {title}, fsync off, shared_buffers 512MB, autovacuum off
- python {platform.python_version()}, psycopg {psycopg.__version__} ({psycopg.pq.__impl__}, libpq \
{psycopg.pq.version()}), {psql.stdout.strip()}, extras: {", ".join(extras) or "none"}
- seed {options.seed}, size {options.size:g}, {options.rounds} rounds after one that is only checked
- ratio: median of time / time of the first line in the same round
- client: most memory of one process"""


@contextmanager
def a_server() -> Iterator[tuple[PgServer, str]]:
    """Start a server of our own, and give it with its name and version."""
    choice = choose(Wish.of(os.environ))
    # A container's server neither reads nor writes this machine's files.
    if choice.provider is None or choice.provider.name == "docker":
        choice = choose(Wish.of(os.environ, "local,wheel"))
    if choice.provider is None:
        sys.exit("no PostgreSQL server\n" + "\n".join(choice.reasons))
    with tempfile.TemporaryDirectory() as folder:
        setup = Loaded(CertKit(Path(folder)), tls=True)
        running = choice.provider.start(setup)
        try:
            yield PgServer(choice.provider, running, setup), choice.provider.title
        finally:
            running.stop()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--size", type=float, default=1.0, help="of the full size (%(default)s)")
    parser.add_argument("--rounds", type=int, default=7, help="that count (%(default)s)")
    parser.add_argument("--seed", type=int, default=20240229, help="of the data (%(default)s)")
    parser.add_argument("--tables", nargs="+", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--tls", default="both", choices=("on", "off", "both"))
    parser.add_argument(
        "--only", nargs="+", default=list(PARTS), metavar="PART", choices=PARTS, help="of: %(choices)s",
    )  # fmt: skip
    parser.add_argument("--dir", help="folder for some 2 GB of files; default: a temporary one")
    options = parser.parse_args()
    with a_server() as (server, title), tempfile.TemporaryDirectory(dir=options.dir) as name:
        folder = Path(name)
        folder.chmod(0o755)  # the server reads it, under whatever account it runs
        (folder / "server").mkdir()
        (folder / "server").chmod(0o777)
        print(machine(server, title, options), flush=True)
        bench = Bench(server, folder, options)
        for tls in {"on": (True,), "off": (False,), "both": (False, True)}[options.tls]:
            for table in options.tables:
                if "export" in options.only:
                    bench.exports(table, tls)
                if "import" in options.only:
                    bench.imports(table, tls)
                # What TLS costs shows above; compression and rejects do not depend on it.
                if tls and options.tls == "both":
                    continue
                if "gz" in options.only:
                    bench.exports_gz(table, tls)
                    bench.imports_gz(table, tls)
                if "rejects" in options.only and table == "narrow":
                    bench.rejects(table, tls)
                if "memory" in options.only and table == "narrow":
                    bench.memory(tls)
        bench.admin.close()
        shutil.rmtree(folder / "server", ignore_errors=True)


if __name__ == "__main__":
    main()
