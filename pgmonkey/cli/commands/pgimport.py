"""``pgimport``: CSV files into a table."""

from __future__ import annotations

from pgmonkey.cli.commands.entry import Command
from pgmonkey.cli.options import (
    CONFIGURATION_TO_CONNECT,
    Option,
    Section,
    any_character,
    count_or_none,
    jobs,
    not_empty,
    output,
    rows,
    seconds,
)

COMMAND = Command(
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
                    "of a new table: infer, text, or COLUMN=TYPE; may be repeated; default: infer",
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
                Option(("--skip-lines",), "lines before the header", "N", convert=count_or_none),
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
                    convert=jobs,
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
)
