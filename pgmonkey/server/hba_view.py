"""The rules of a live server, from the rows of its view pg_hba_file_rules.

The view shows the file, not what is loaded: one line that cannot be read keeps the whole
file from being loaded. It does not show quotes, so ``"all"`` and ``all`` look alike; and
its options hold passwords, which are masked here, before anybody sees a rule.

PostgreSQL documentation: "pg_hba_file_rules".
"""

from __future__ import annotations

import ipaddress
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from pgmonkey.server.hba import Problem, Rule, RuleSet, Token, masked, masked_error

_FILE = "pg_hba.conf"  # up to 15 there is only one


def from_rows(rows: Iterable[Mapping[str, Any]]) -> RuleSet:
    """Return the rules and the unreadable lines among *rows*, by column names.

    Args:
        rows: In any order; rule_number and file_name, which exist from 16 on, may be
            missing.
    """
    rules: list[Rule] = []
    problems: list[Problem] = []
    rows = list(rows)
    short = _short_names({row.get("file_name") or _FILE for row in rows})
    for row in rows:
        file = short[row.get("file_name") or _FILE]
        if row["type"] is None:
            problems.append(Problem(file, row["line_number"], masked_error(row["error"] or "")))
        else:
            rules.append(_rule(row, file))
    # Rules that are switched off have no number. They cannot match, so where they stand
    # among those of other files decides nothing.
    if any(rule.number is not None for rule in rules):
        rules = _in_order(rules)
    else:
        rules.sort(key=lambda rule: rule.line or 0)
    return RuleSet(tuple(rules), tuple(problems))


def _in_order(rules: list[Rule]) -> list[Rule]:
    """Put numbered rules in order, and the others behind the one above them in their file."""
    ordered = sorted((r for r in rules if r.number is not None), key=lambda r: r.number or 0)
    for rule in sorted((r for r in rules if r.number is None), key=lambda r: r.line or 0):
        above = [
            i
            for i, other in enumerate(ordered)
            if other.file == rule.file and (other.line or 0) < (rule.line or 0)
        ]
        ordered.insert(max(above) + 1 if above else 0, rule)
    return ordered


def _rule(row: Mapping[str, Any], file: str) -> Rule:
    address, netmask = row["address"] or "", row["netmask"] or ""
    if netmask:
        address, netmask = _cidr(address, netmask)
    options = tuple(_split(option) for option in row["options"] or ())
    rule = Rule(
        row["type"],
        tuple(map(Token, row["database"] or ())),
        tuple(map(Token, row["user_name"] or ())),
        address,
        row["auth_method"] or "",
        options,
        netmask,
        file,
        row["line_number"],
        row.get("rule_number"),
        masked_error(row["error"] or ""),
    )
    return masked(rule)


def _split(option: str) -> tuple[str, str]:
    name, _, value = option.partition("=")
    return name, value


def _cidr(address: str, netmask: str) -> tuple[str, str]:
    """Return ``10.0.0.0/8`` and no mask, where the mask is a prefix length."""
    try:
        ip, mask = ipaddress.ip_address(address), ipaddress.ip_address(netmask)
    except ValueError:
        return address, netmask
    bits = f"{int(mask):0{mask.max_prefixlen}b}"
    if "01" in bits:
        return address, netmask
    return f"{ip}/{bits.count('1')}", ""


def _short_names(paths: set[str]) -> dict[str, str]:
    """Return each file without its folder, as far as that still tells them apart."""
    names = {path: path.rpartition("/")[2] for path in paths}
    unique = Counter(names.values())
    return {path: name if unique[name] == 1 else path for path, name in names.items()}
