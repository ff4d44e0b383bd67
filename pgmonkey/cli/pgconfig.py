"""The ``pgmonkey pgconfig`` commands that need no server; ``pgconfig_test`` has the other."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from pgmonkey.cli.common import STDIN, Source, load, nothing_given, read_stdin
from pgmonkey.cli.exits import ANSWER_IS_NO, OK, REFUSED, USAGE
from pgmonkey.cli.failures import CommandError, Failure
from pgmonkey.cli.output import Output
from pgmonkey.cli.render import Finding, Report, Value, render

if TYPE_CHECKING:
    from pgmonkey.codegen import Library
    from pgmonkey.config.settings import ConnectionType
    from pgmonkey.errors import ConfigError

STDOUT = "-"


def create(
    *,
    config: str | None,
    type: str,
    force: bool,
    from_env: bool,
    from_dsn: str | None,
    out: Output,
) -> int:
    """Write the commented template to *config*, which ``-`` makes standard output."""
    from pgmonkey.config.newfile import write_new
    from pgmonkey.config.template import template

    if config is None:
        raise CommandError(
            Failure("PGM102", "which file? give --filepath PATH, or - for standard output")
        )
    if from_env and from_dsn is not None:
        raise CommandError(Failure("PGM102", "--from-env and --from-dsn exclude each other"))
    begin = None
    if from_env or from_dsn is not None:
        from pgmonkey.cli import beginning

        begin = beginning.from_environment() if from_dsn is None else beginning.from_dsn(from_dsn)
    text = template(begin.values if begin else None)
    if config == STDOUT:
        out.result(text)
    else:
        try:
            write_new(Path(config).expanduser(), text, replace=force)
        except FileExistsError:
            raise CommandError(
                Failure(
                    "PGM402",
                    f"{config} exists already and was not touched",
                    hint="another name, or --force to replace it",
                    exit_code=REFUSED,
                )
            ) from None
        secrets = any("{from_" in value for value in begin.values.values()) if begin else False
        how = " --resolve-env" if secrets else ""
        out.note(f"wrote {config}; next: pgmonkey pgconfig test -c {shlex.quote(config)}{how}")
    for variable in begin.variables if begin else ():
        set_it = "" if variable in os.environ else "; set it first"
        out.note(f"no secret was written: --resolve-env reads it from {variable}{set_it}")
    return OK


def validate(
    *,
    file: tuple[str, ...],
    config: str | None,
    resolve_env: bool,
    allow_sensitive_defaults: bool,
    strict: bool,
    out: Output,
) -> int:
    """Check files without a server; the answer is no when one of them has an error.

    A file that cannot be read is a finding too; the others are checked all the same.
    """
    from pgmonkey.config.load import findings

    last = config or (None if file else Source().path)
    paths = file if last is None else (*file, last)
    if not paths:
        raise CommandError(
            nothing_given()._replace(
                message="validate checks files, and none was named",
                hint="pgmonkey pgconfig validate FILE; - is standard input",
            )
        )
    found: list[Finding] = []
    unread = False
    for path in paths:
        source = read_stdin(out) if path == STDIN else Path(path).expanduser()
        name = "<stdin>" if path == STDIN else path
        problems = findings(
            source,
            resolve_env=resolve_env,
            allow_sensitive_defaults=allow_sensitive_defaults,
            strict=strict,
            name=name,
        )
        found += [_finding(problem, name) for problem in problems]
        unread = unread or any(isinstance(problem.__cause__, OSError) for problem in problems)
    errors = sum(finding.severity == "error" for finding in found)
    # A file that was not checked leaves the question open, which is not the answer no.
    code = USAGE if unread else ANSWER_IS_NO if errors else OK
    report = Report("pgconfig validate", code, tuple(found))
    out.result(render(report, out.format))
    warnings = len(found) - errors
    out.note(
        f"{_count(len(paths), 'file')}: {_count(errors, 'error')}, {_count(warnings, 'warning')}"
    )
    return code


def show(*, source: Source, out: Output) -> int:
    """Print every effective value and where it comes from; secrets are hidden."""
    from pgmonkey.config.explain import explain

    settings = load(source, out, to_connect=False)
    values = tuple(Value(row.key, row.value, row.origin) for row in explain(settings))
    out.result(render(Report("pgconfig show", OK, values), out.format, width=out.width()))
    return OK


def schema(*, out: Output) -> int:
    """Print the JSON Schema of the configuration file."""
    import json

    from pgmonkey.config.schema import json_schema

    out.result(json.dumps(json_schema(), indent=2))
    return OK


def generate_code(
    *,
    source: Source,
    connection_type: ConnectionType | None,
    library: Library,
    out: Output,
) -> int:
    """Print a program that connects as the configuration says."""
    from pgmonkey.codegen import generate
    from pgmonkey.config.interpolation import switched_on

    # What came over standard input is gone when the program runs: its values stand in it.
    settings = load(source, out, to_connect=source.path == STDIN)
    path = None if source.path == STDIN else source.path
    resolve = switched_on(source.resolve_env)
    out.result(
        generate(
            settings,
            config_path=path,
            connection_type=connection_type or settings.connection_type,
            library=library,
            resolve_env=resolve,
            allow_sensitive_defaults=source.allow_sensitive_defaults,
        )
    )
    if path is not None and not resolve and _has_references(path):
        out.note("the file has references, which this program will not resolve: add --resolve-env")
    return OK


def _has_references(path: str) -> bool:
    from pgmonkey.config.load import findings
    from pgmonkey.config.remarks import UNRESOLVED

    return any(problem.problem == UNRESOLVED for problem in findings(Path(path).expanduser()))


def _finding(problem: ConfigError, name: str) -> Finding:
    return Finding(
        problem.file or name,
        problem.line,
        problem.column,
        problem.key,
        problem.code,
        "warning" if problem.severity == "warning" else "error",
        problem.problem,
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")
