"""References are resolved here: ``${VAR}``, ``from_env``, ``from_file``, ``from_command``.

Only values are looked at, each once: what a variable holds is not scanned again, so a
password may contain ``${``. No message repeats what a reference gave, nor a default that
stands in it. With the command line, this is the only reader of the environment.
"""

from __future__ import annotations

import contextlib
import hashlib
import marshal
import os
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from pgmonkey.config import rotation
from pgmonkey.config.grammar import MalformedError, Part, Reference, parse, references
from pgmonkey.config.keys import nearest
from pgmonkey.config.nodes import Node, Scalar, Sequence, Table, kind
from pgmonkey.config.redaction import is_sensitive
from pgmonkey.config.settings import Mark
from pgmonkey.errors import ConfigError, EnvInterpolationError

SWITCH = "PGMONKEY_RESOLVE_ENV"
REFERENCES = ("from_env", "from_file", "from_command")
Stamp = tuple[int, ...]

_DIGEST_KEY = secrets.token_bytes(32)


def environment(name: str) -> str | None:
    """Return the variable *name*, or None when it is not set."""
    return os.environ.get(name)


def switched_on(resolve_env: bool) -> bool:
    """Return whether to interpolate: the caller's wish, else PGMONKEY_RESOLVE_ENV."""
    if resolve_env:
        return True
    value = os.environ.get(SWITCH)
    if not value:
        return False
    if value.lower() in ("1", "true", "yes", "on"):
        return True
    if value.lower() in ("0", "false", "no", "off"):
        return False
    raise ConfigError(f"{value!r} is neither 1 nor 0", file="<environment>", key=SWITCH)


def stamp(path: str | os.PathLike[str]) -> Stamp:
    """Return what changes whenever the file *path* does."""
    s = os.stat(path)  # noqa: PTH116  # a Path costs microseconds, and every cached get pays
    return (s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino, s.st_dev, s.st_mode)


def digest(names: Iterable[str]) -> bytes:
    """Return what changes whenever one of these variables does, and tells nobody its value."""
    values = tuple(map(os.environ.get, names))
    return hashlib.blake2b(marshal.dumps(values, 2), key=_DIGEST_KEY).digest()


@dataclass(frozen=True)
class Resolved:
    """What a value is after interpolation.

    Attributes:
        text: None when it is null.
        origin: The references that gave it, or "" for a literal.
        secret: Whether a variable of a sensitive name went into it.
        source: Where to read it again, if it came from a file or a command.
    """

    text: str | None = field(repr=False)
    origin: str = ""
    secret: bool = False
    source: rotation.SecretSource | None = None


def reference_name(node: Node) -> str | None:
    """Return ``from_env``, ``from_file`` or ``from_command`` if *node* is such a mapping."""
    if isinstance(node, Table) and len(node.entries) == 1:
        ((name, inner),) = node.entries.items()
        items = inner.items if isinstance(inner, Sequence) else [inner]
        if name in REFERENCES and all(isinstance(item, Scalar) for item in items):
            return name
    return None


def looks_like_reference(node: Node) -> bool:
    """Return whether interpolation would change *node*."""
    if not isinstance(node, Scalar):
        return reference_name(node) is not None
    if not node.opens:
        return False
    try:
        return any(references(parse(node.text or "")))
    except MalformedError:
        return False  # without interpolation it is text like any other


def not_a_value(node: Node, key: str) -> ConfigError:
    """Return the error for a list or a mapping in a value's place, which may be misspelt."""
    guess = ""
    if isinstance(node, Table) and len(node.entries) == 1:
        (name,) = node.entries
        guess = nearest(name, REFERENCES) if name not in REFERENCES else ""
    return node.mark.error(f"expects one value, not {kind(node)}{guess}", key)


class Resolver:
    """Resolves the references of one configuration, and remembers what it looked at.

    Attributes:
        variables: Every variable that was read, with its value or None.
        files: Every file that was read once and for all, with its stamp from before.
    """

    def __init__(self, folder: Path | None, *, allow_sensitive_defaults: bool, strict: bool):
        self.folder = folder
        self.allow_sensitive_defaults = allow_sensitive_defaults
        self.strict = strict
        self.variables: dict[str, str | None] = {}
        self.files: dict[Path, Stamp] = {}

    def resolve(self, node: Node, key: str, *, rotates: bool = False) -> Resolved:
        """Return the value of *node*, which stands at the dotted *key*.

        With *rotates*, the caller keeps the source instead of the text.

        Raises:
            EnvInterpolationError: A reference is ill-formed or cannot be resolved.
            ConfigError: The value is a list or a mapping.
        """
        name = reference_name(node)
        if name is not None:
            assert isinstance(node, Table)
            return self._structured(name, node.entries[name], f"{key}.{name}", rotates)
        if not isinstance(node, Scalar):
            raise not_a_value(node, key)
        if not node.opens:
            text = node.text.replace("$$", "$") if node.text else node.text
            return Resolved(text)
        try:
            parts = parse(node.text or "")
        except MalformedError as error:
            count = (node.text or "").count("${", 0, error.at)
            mark = node.opens[count] if count < len(node.opens) else node.mark
            raise mark.error(str(error), key, EnvInterpolationError) from None
        used = list(references(parts))
        return Resolved(
            self._expand(parts, node.mark, key),
            " ".join(dict.fromkeys(str(reference) for reference in used)),
            any(is_sensitive(reference.name) for reference in used),
        )

    def _structured(self, name: str, node: Node, key: str, rotates: bool) -> Resolved:
        if name == "from_command":
            args = self._arguments(node, key)
            source = rotation.from_command(args, self.folder, node.mark, key)
            return Resolved(source.reveal(), f"{name} {args[0]}", source=source)
        text = self.resolve(node, key).text if isinstance(node, Scalar) else None
        if not text:
            what = "the name of a variable" if name == "from_env" else "a path"
            raise node.mark.error(f"expects {what}", key, EnvInterpolationError)
        if name == "from_env":
            value = self._variable(text, node.mark, key)
            if value is None:
                raise node.mark.error(f"{text} is not set", key, EnvInterpolationError)
            return Resolved(value, f"{name} {text}", is_sensitive(text))
        path = (self.folder or Path.cwd()) / Path(os.path.expanduser(text))  # noqa: PTH111
        source = rotation.from_file(path, node.mark, key, strict=self.strict)
        if not rotates:
            with contextlib.suppress(OSError, ValueError):  # reading it says why
                self.files[path] = stamp(path)
        return Resolved(source.reveal(), f"{name} {text}", source=source)

    def _arguments(self, node: Node, key: str) -> list[str]:
        items = node.items if isinstance(node, Sequence) else []
        if not items or not all(isinstance(item, Scalar) for item in items):
            problem = "expects a list: [program, argument, ...]"
            raise node.mark.error(problem, key, EnvInterpolationError)
        return [self.resolve(item, key).text or "" for item in items]

    def _variable(self, name: str, mark: Mark, key: str) -> str | None:
        if "=" in name or "\0" in name:
            raise mark.error("this is not the name of a variable", key, EnvInterpolationError)
        value = self.variables[name] = environment(name)
        if value is not None and any("\udc80" <= char <= "\udcff" for char in value):
            raise mark.error(f"the value of {name} is not UTF-8", key, EnvInterpolationError)
        return value

    def _expand(self, parts: Iterable[Part], mark: Mark, key: str) -> str:
        return "".join(
            part if isinstance(part, str) else self._value(part, mark, key) for part in parts
        )

    def _value(self, reference: Reference, mark: Mark, key: str) -> str:
        def wrong(problem: str) -> ConfigError:
            return mark.error(problem, key, EnvInterpolationError)

        operator = reference.operator
        sensitive = is_sensitive(key.rpartition(".")[2])
        if operator[-1:] in ("-", "+") and sensitive and not self.allow_sensitive_defaults:
            raise wrong(
                f"${{{reference.name}{operator}…}} gives a secret a default; "
                "leave it out, or allow it with allow_sensitive_defaults"
            )
        value = self._variable(reference.name, mark, key)
        given = value is not None and (value != "" or not operator.startswith(":"))
        if operator[-1:] == "+":
            return self._expand(reference.operand, mark, key) if given else ""
        if given:
            return value or ""
        if operator[-1:] == "-":
            if self.strict and value is None:
                raise wrong(f"{reference} is not set, and strict allows no default in its place")
            return self._expand(reference.operand, mark, key)
        if operator[-1:] == "?":
            state = "empty" if value == "" else "not set"
            # The operand is shown as it stands: the values of its references are not.
            message = "".join(str(part) for part in reference.operand)
            raise wrong(f"{reference} is {state}" + (f"; {message}" if message else ""))
        raise wrong(f"{reference} is not set and has no default")
