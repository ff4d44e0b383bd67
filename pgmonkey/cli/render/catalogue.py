"""The catalogue of checks as text: one for ``--explain``, all of them for the documentation."""

from __future__ import annotations

from pgmonkey.server.checks import CHECKS
from pgmonkey.server.checks.model import Check

# What the three letters in the middle of an id stand for.
PARTS = {
    "ADM": "Admission",
    "HBA": "Lines of pg_hba.conf",
    "TLS": "TLS and certificates",
    "AUT": "Authentication",
    "ROL": "Roles",
    "CAP": "Capacity",
    "TMO": "Timeouts and session settings",
    "CFG": "State of the configuration",
    "PRX": "What stands in between",
}


def explained(check: Check) -> str:
    """Return what *check* is about, as text of at most 79 columns."""
    from pgmonkey.cli.helptext import wrap

    good, bad = examples(check)
    lines = [f"{check.id} ({check.severity}): {check.title}", ""]
    for name, text in (
        ("why", check.why),
        ("good", good),
        ("bad", bad),
        ("remedy", check.remedy),
        ("read", check.reads),
        ("key", check.key),
    ):
        lines += wrap(text, f"  {name:<8}", 10)
    return "\n".join((*lines, ""))


def examples(check: Check) -> tuple[str, str]:
    """Return the good and the bad case that the check's own docstring gives."""
    text = " ".join((check.judge.__doc__ or "").split())
    good, _, bad = text.removeprefix("Good: ").partition(" Bad: ")
    return good, bad


def documentation() -> str:
    """Return docs/checks.md: every check, in the order in which they are made."""
    lines = [
        "# The checks of `pgserverconfig --audit`",
        "",
        "Made from the catalogue in `pgmonkey/server/checks` by",
        "`python -m pgmonkey.cli.render.catalogue > docs/checks.md`; a test compares the two.",
        "`pgmonkey pgserverconfig --explain PGM-TLS-003` prints one of them. Ids are stable: they",
        "are neither changed nor used again. The severity is the one of a finding at its worst;",
        "`--severity ID=level` sets another.",
    ]
    part = ""
    for check in CHECKS:
        if check.id[4:7] != part:
            part = check.id[4:7]
            lines += ["", f"## {PARTS[part]}"]
        good, bad = examples(check)
        lines += [
            "",
            f"### {check.id}: {check.title}",
            "",
            f"- Severity: {check.severity}",
            f"- Why: {check.why}",
            f"- Good: {good}",
            f"- Bad: {bad}",
            f"- Remedy: {check.remedy}",
            f"- Read from: {check.reads}",
            f"- Key: `{check.key}`",
        ]
    return "\n".join((*lines, ""))


if __name__ == "__main__":
    import sys

    sys.stdout.write(documentation())
