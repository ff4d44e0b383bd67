"""``pgexport``: a table or a query to CSV."""

from __future__ import annotations

from pgmonkey.cli.commands.entry import Command
from pgmonkey.cli.options import (
    CONFIGURATION_TO_CONNECT,
    Option,
    Section,
    character,
    column_names,
    jobs,
    not_empty,
    output,
    quoted_columns,
    rows,
    seconds,
)

COMMAND = Command(
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
                Option(("--table",), "a table or view, [SCHEMA.]NAME", "NAME", convert=not_empty),
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
                Option(("--where",), "only rows for which this holds", "SQL", convert=not_empty),
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
                Option(("--overwrite",), "replace existing files, and all parts of that name"),
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
                    convert=jobs,
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
)
