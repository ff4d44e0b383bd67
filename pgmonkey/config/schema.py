"""The table of keys for others: a JSON Schema for editors, a reference for the documentation."""

from __future__ import annotations

from typing import Any

from pgmonkey.config.keys import (
    CONNECTION,
    MOVED,
    OPEN_SECTIONS,
    SECTIONS,
    SETTING_NAME,
    Key,
)
from pgmonkey.config.keys import (
    KEYS as KEYS,
)

_TEXT = {"type": ["string", "number", "boolean"]}
_EMPTY = {"enum": ["", None]}
_REFERENCE = {
    "description": "resolved with resolve_env=True or --resolve-env",
    "type": "object",
    "minProperties": 1,
    "maxProperties": 1,
    "additionalProperties": False,
    "properties": {
        "from_env": {"description": "name of a variable", "type": "string", "minLength": 1},
        "from_file": {"description": "path of a file", "type": "string", "minLength": 1},
        "from_command": {
            "description": "program and arguments; what it prints is the value",
            "type": "array",
            "items": _TEXT,
            "minItems": 1,
        },
    },
}
_SWITCH = ["0", "1", "true", "false", "yes", "no", "on", "off"]


def json_schema() -> dict[str, Any]:
    """Return a JSON Schema (draft 2020-12) of what loads under ``strict``.

    It knows every connection key of the table, whichever libpq runs here. What it cannot
    say, such as the range of a quoted number, is left to ``pgconfig validate``.
    """
    properties: dict[str, Any] = {key.name: _value(key) for key in KEYS if not key.section}
    for section, meaning in SECTIONS.items():
        keys = [key for key in KEYS if key.section == section]
        keys += MOVED.values() if section == CONNECTION else ()
        properties[section] = {
            "description": meaning,
            "type": ["object", "null"],
            "properties": {key.name: _value(key) for key in keys},
            "additionalProperties": False,
        }
        if section in OPEN_SECTIONS:
            setting = Key(section, "", "any setting of the server", "setting")
            properties[section]["patternProperties"] = {SETTING_NAME: _value(setting)}
    config = {"type": "object", "properties": properties, "additionalProperties": False}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "pgmonkey configuration",
        "type": "object",
        "if": {"required": ["postgresql"]},
        "then": {
            "description": "the form of version 2",
            "properties": {"postgresql": {"$ref": "#/$defs/config"}},
            "additionalProperties": False,
        },
        "else": {"$ref": "#/$defs/config"},
        "$defs": {"config": config, "reference": _REFERENCE},
    }


def reference() -> str:
    """Return the keys as Markdown: a table for each section."""
    parts = []
    for section, meaning in {"": "Top level", **SECTIONS}.items():
        heading = f"### {section}\n\n{meaning}." if section else f"### {meaning}"
        rows = [
            f"| `{key.name}` | {_type(key)} | {_default(key)} | {key.help} |"
            for key in KEYS
            if key.section == section
        ]
        parts.append(
            "\n".join(
                [f"{heading}\n", "| Key | Value | Default | Meaning |", "|---|---|---|---|", *rows]
            )
        )
    return "\n\n".join(parts) + "\n"


def _value(key: Key) -> dict[str, Any]:
    """Return the schema of one value: its own type, a reference, or nothing."""
    own: list[dict[str, Any]]
    bounds: dict[str, Any] = {"exclusiveMinimum": 0} if key.positive else {"minimum": key.minimum}
    if key.maximum is not None:
        bounds["maximum"] = key.maximum
    digits = {"type": "string", "pattern": r"^\s*\+?[0-9]+\s*$"}
    if key.kind == "choice":
        own = [{"enum": list(key.choices)}]
    elif key.kind == "switch":
        own = [{"type": "boolean"}, {"enum": [0, 1, *_SWITCH]}]
    elif key.kind == "number":
        own = [
            {"type": "number", **bounds},
            {"type": "string", "pattern": r"^\s*\+?[0-9]*\.?[0-9]+\s*$"},
        ]
    elif key.kind == "integer":
        own = [{"type": "integer", **bounds}, digits]
    elif key.kind == "threshold":
        own = [{"type": "integer", **bounds}, digits, {"enum": [False, "off"]}]
    elif key.kind == "ports":
        own = [{"type": "integer", **bounds}, {"type": "string", "pattern": r"^[0-9]*(,[0-9]*)*$"}]
    else:
        own = [_TEXT]
    variable = {"type": "string", "pattern": r"\$\{"}
    schema: dict[str, Any] = {"anyOf": [*own, _EMPTY, variable, {"$ref": "#/$defs/reference"}]}
    schema["description"] = f"{key.help} ({key.unit})" if key.unit else key.help
    if key.default is not None:
        schema["default"] = key.default
    return schema


def _type(key: Key) -> str:
    names = {"integer": "whole number", "setting": "text", "threshold": "whole number or `off`"}
    if key.choices:
        return ", ".join(f"`{choice}`" for choice in key.choices)
    name = names.get(key.kind, key.kind) + (f", {key.unit}" if key.unit else "")
    return f"{name}, secret" if key.secret else name


def _default(key: Key) -> str:
    if key.default is None:
        return ""
    return f"`{str(key.default).lower() if isinstance(key.default, bool) else key.default}`"
