"""``pgserverconfig``: what a server needs, and what a live one has."""

from __future__ import annotations

from pgmonkey.cli.commands.entry import Command
from pgmonkey.cli.options import (
    CONFIGURATION_TO_CONNECT,
    Option,
    Section,
    count,
    count_or_none,
    network,
    not_empty,
    output,
    seconds,
    server_version,
    share,
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

COMMAND = Command(
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
                    "share of the replicas that a roll-out adds, such as 1/3 or 25%; default: 0",
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
)
