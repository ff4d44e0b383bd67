"""Findings that somebody accepted: waivers with a reason, and a baseline of known ones.

A waiver is a sentence to whoever reads the next audit, so it needs a reason and may end.
A baseline only says "not new": it holds fingerprints, which do not change with line numbers.
Reading the files is the command line's; a waiver that cannot be understood stops the run,
since a silent one would hide a finding, or fail to.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import date

from pgmonkey.config.keys import nearest
from pgmonkey.errors import ConfigError
from pgmonkey.server.audit import Audit, Result
from pgmonkey.server.checks import BY_ID

KEYS = ("id", "subject", "reason", "expires")
BASELINE_SCHEMA = "pgmonkey.baseline/1"


@dataclass(frozen=True)
class Waiver:
    """One accepted finding.

    Attributes:
        subject: Which one, for checks with several; "" is any.
        expires: The last day on which it holds; None for ever.
        place: ``waivers.yaml:3``.
    """

    id: str
    reason: str
    subject: str = ""
    expires: date | None = None
    place: str = ""

    def covers(self, result: Result, today: date) -> bool:
        """Return whether *result* is accepted by this waiver on that day."""
        if self.expires is not None and self.expires < today:
            return False
        return self.id == result.check.id and self.subject in ("", result.subject)


def parse_waivers(text: str, file: str) -> tuple[Waiver, ...]:
    """Return the waivers in YAML *text*: a list of ``id``, ``reason``, ``subject``, ``expires``.

    Raises:
        ConfigError: It is anything else; with the line.
    """
    import yaml

    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise ConfigError(f"is not YAML: {error.problem}", file=file, line=line) from error
    if root is None:
        return ()
    if not isinstance(root, yaml.SequenceNode):
        raise ConfigError("must be a list of waivers, each with id and reason", file=file, line=1)
    return tuple(_waiver(node, file) for node in root.value)


def _waiver(node: object, file: str) -> Waiver:
    import yaml

    assert isinstance(node, yaml.Node)
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError("a waiver has id and reason", file=file, line=line)
    given: dict[str, str] = {}
    for key, value in node.value:
        where = key.start_mark.line + 1
        if key.value not in KEYS:
            problem = f"{key.value!r} is no key of a waiver{nearest(str(key.value), KEYS)}"
            raise ConfigError(problem, file=file, line=where)
        if not isinstance(value, yaml.ScalarNode):
            raise ConfigError("must be text", file=file, line=where, key=key.value)
        given[key.value] = value.value.strip()
    for name in ("id", "reason"):
        if not given.get(name):
            raise ConfigError(f"the waiver has no {name}", file=file, line=line)
    id = given["id"].upper()
    if id not in BY_ID:
        close = difflib.get_close_matches(id, BY_ID, n=1)
        guess = f"; did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"there is no check {id!r}{guess}", file=file, line=line, key="id")
    expires = None
    if "expires" in given:
        try:
            expires = date.fromisoformat(given["expires"])
        except ValueError as error:
            problem = f"{given['expires']!r} is not a day such as 2030-12-31"
            raise ConfigError(problem, file=file, line=line, key="expires") from error
    return Waiver(id, given["reason"], given.get("subject", ""), expires, f"{file}:{line}")


def waived(results: Iterable[Result], waivers: Iterable[Waiver], today: date) -> tuple[Result, ...]:
    """Return *results* with the accepted findings marked as such."""
    waivers = tuple(waivers)
    return tuple(_waived(result, waivers, today) for result in results)


def _waived(result: Result, waivers: tuple[Waiver, ...], today: date) -> Result:
    if not result.finding:
        return result
    for waiver in waivers:
        if waiver.covers(result, today):
            return replace(result, status="WAIVED", waiver=waiver.reason)
    return result


def overdue(waivers: Iterable[Waiver], today: date) -> tuple[Waiver, ...]:
    """Return the waivers that have ended."""
    return tuple(w for w in waivers if w.expires is not None and w.expires < today)


def baseline_of(audit: Audit) -> str:
    """Return the fingerprints of every finding, as the text of a baseline."""
    known = {result.fingerprint: result.check.id for result in audit.findings}
    document = {"schema": BASELINE_SCHEMA, "findings": dict(sorted(known.items()))}
    return json.dumps(document, indent=2) + "\n"


def parse_baseline(text: str, file: str) -> frozenset[str]:
    """Return the fingerprints in the text of a baseline.

    Raises:
        ConfigError: It is none.
    """
    try:
        document = json.loads(text)
        if document["schema"] != BASELINE_SCHEMA:
            raise ValueError
        return frozenset(document["findings"])
    except (ValueError, KeyError, TypeError) as error:
        problem = "is no baseline; --write-baseline makes one"
        raise ConfigError(problem, file=file) from error


def known_before(results: Iterable[Result], baseline: frozenset[str]) -> tuple[Result, ...]:
    """Return *results* with the findings of the baseline marked as accepted."""
    return tuple(
        replace(result, status="WAIVED", waiver="in the baseline")
        if result.finding and result.fingerprint in baseline
        else result
        for result in results
    )
