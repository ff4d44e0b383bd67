"""What the text of a value means for its key.

libpq and the server take text, so a value for them stays the text it was, checked; psycopg
and the pool take numbers and switches. An empty text never comes here: it counts as not
given.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from pgmonkey.config.interpolation import Resolved
from pgmonkey.config.keys import CONNECTION, OPTIONS, Key, nearest
from pgmonkey.config.nodes import Scalar
from pgmonkey.config.redaction import Secret, is_sensitive, redact
from pgmonkey.config.rotation import SecretSource
from pgmonkey.config.settings import Mark

Value = str | int | float | bool | Secret | SecretSource | None

_ON = frozenset({"1", "true", "yes", "on", "t", "y"})
_OFF = frozenset({"0", "false", "no", "off", "f", "n"})
_INTEGER = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER = re.compile(r"[+-]?([0-9]{1,30}(\.[0-9]{0,30})?|\.[0-9]{1,30})([eE][+-]?[0-9]{1,2})?")


def value_of(key: Key, resolved: Resolved, mark: Mark, path: str, *, plain: bool) -> Value:
    """Return what the text of *resolved*, which is not empty, means for *key*.

    *plain* says that it was not quoted, so that true is a switch and not a word.

    Raises:
        ConfigError: It means nothing.
    """
    text = resolved.text or ""
    if key.secret:
        return resolved.source or Secret(text)
    try:
        value = _MEANINGS[key.kind](key, text, plain)
    except ValueError as error:
        hidden = resolved.secret or is_sensitive(key.name)
        problem = "what the reference gives does not fit" if hidden else str(error)
        raise mark.error(problem, path) from None
    return Secret(str(value)) if resolved.secret and key.section == CONNECTION else value


def shown(text: str) -> str:
    """Return *text* as a message quotes it: escaped, not too long, without passwords."""
    text = redact(text)
    return repr(text if len(text) <= 60 else text[:59] + "…")


def _text(key: Key, text: str, plain: bool) -> str:
    return text


def _setting(key: Key, text: str, plain: bool) -> str:
    return {"true": "on", "false": "off"}.get(text.lower(), text) if plain else text


def _choice(key: Key, text: str, plain: bool) -> str:
    # libpq compares exactly; the words of SQL are ours to read.
    word = re.sub(r"[\s_-]+", " ", text.lower()) if key.section == OPTIONS else text
    if word in key.choices:
        return word
    noun = "mode" if key.name.endswith("mode") else "choice"
    if key.name == "connection_type":
        noun = "connection type"
    hint = nearest(text, key.choices) or "; choose one of " + ", ".join(key.choices)
    raise ValueError(f"{shown(text)} is not a {noun}{hint}")


def _switch(key: Key, text: str, plain: bool) -> str | bool:
    word = text.strip().lower()
    if word not in _ON and word not in _OFF:
        raise ValueError(f"{shown(text)} is neither true nor false")
    if key.section == CONNECTION:
        return "1" if word in _ON else "0"
    return word in _ON


def _integer(key: Key, text: str, plain: bool) -> str | int:
    number = text.strip()
    if not _INTEGER.fullmatch(number):
        raise ValueError(f"{shown(text)} is not a whole number{_of(key)}")
    _in_range(key, int(number), number)
    return number if key.section == CONNECTION else int(number)


def _threshold(key: Key, text: str, plain: bool) -> str | int | bool:
    return False if text.strip().lower() in _OFF - {"0"} else _integer(key, text, plain)


def _number(key: Key, text: str, plain: bool) -> float:
    number = text.strip()
    if not _NUMBER.fullmatch(number):
        raise ValueError(f"{shown(text)} is not a number{_of(key)}")
    _in_range(key, float(number), number)
    return float(number)


def _ports(key: Key, text: str, plain: bool) -> str:
    for port in text.split(","):
        if port.strip():
            _integer(key, port, plain)
    return text.strip()


def _of(key: Key) -> str:
    return f" of {key.unit}" if key.unit else ""


def _in_range(key: Key, number: float, written: str) -> None:
    if key.positive and number <= 0:
        raise ValueError(f"{written} is not more than 0")
    if number < key.minimum:
        raise ValueError(f"{written} is less than {key.minimum}")
    if key.maximum is not None and number > key.maximum:
        raise ValueError(f"{written} is more than {key.maximum}")


_MEANINGS: dict[str, Callable[[Key, str, bool], str | int | float | bool]] = {
    "text": _text,
    "setting": _setting,
    "choice": _choice,
    "switch": _switch,
    "integer": _integer,
    "threshold": _threshold,
    "number": _number,
    "ports": _ports,
}


def given(key: Key, node: Scalar) -> object:
    """Return the user's own value: a number or a switch only where one may stand."""
    if node.given is not None or not node.plain or node.text is None:
        return node.text if node.given is None else node.given
    if key.kind in ("text", "choice"):
        return node.text
    word = node.text.lower()
    if word in ("true", "false") or (key.kind == "switch" and word in ("yes", "no", "on", "off")):
        return word in _ON
    # 05432 and 1_000 are not what YAML makes of them, so they stay text.
    if re.fullmatch(r"0|-?[1-9][0-9]{0,17}", word):
        return int(word)
    if key.kind == "number" and _NUMBER.fullmatch(word):
        return float(word)
    return node.text
