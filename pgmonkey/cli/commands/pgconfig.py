"""``pgconfig``: write, check and try a configuration file."""

from __future__ import annotations

from pgmonkey.cli.commands.entry import Command
from pgmonkey.cli.options import (
    CONFIG_FLAGS,
    CONFIGURATION,
    CONFIGURATION_TO_CONNECT,
    CONNECTION_TYPE,
    STRICT,
    TYPES,
    Option,
    Section,
    not_empty,
    output,
    seconds,
    server_version,
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
)
