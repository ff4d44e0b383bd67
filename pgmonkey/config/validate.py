"""Nodes -> values that are valid: one pass over a configuration against the table of keys.

Every problem is found, not only the first, so that ``pgconfig validate`` can list them;
``load`` raises the first. What a problem is depends on nothing but the nodes, the table
and, with interpolation, what the references give.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from pgmonkey.config.interpolation import (
    REFERENCES,
    Resolved,
    Resolver,
    looks_like_reference,
    not_a_value,
)
from pgmonkey.config.keys import (
    ASYNC_POOL,
    CONNECTION,
    MISNOMERS,
    MOVED,
    OPEN_SECTIONS,
    OPTIONS,
    POOL,
    SECTIONS,
    SETTING_NAME,
    Key,
    Libpq,
    keys_of,
    nearest,
)
from pgmonkey.config.nodes import Node, Scalar, Sequence, Table, kind, shown_path
from pgmonkey.config.redaction import Secret
from pgmonkey.config.settings import Mark
from pgmonkey.config.values import Value, given, value_of
from pgmonkey.errors import ConfigError


@dataclass(frozen=True)
class Item:
    """One key that was given.

    Attributes:
        key: Its row in the table.
        path: Where it stood, dotted; not ``key.path`` for a key that has moved.
        given: The user's own value, for ``load_config``.
        value: The value for ``Settings``; None when it counts as not given.
        origin: The reference that gave it, or "".
        literal: Whether it is a reference that was not resolved.
    """

    key: Key
    path: str
    mark: Mark
    given: Any = field(repr=False)
    value: Value = None
    origin: str = ""
    literal: bool = False


@dataclass
class Reading:
    """What one configuration holds, and everything that is wrong with it.

    Attributes:
        sections: Names of the sections that were given.
        ignored: What unknown connection keys had for values, for ``load_config``.
        warnings: Unknown connection keys; their ``severity`` says so.
        old_form: A warning that everything stands under ``postgresql``, as in version 2.
        exposed: A warning that everybody may read the password.
    """

    sections: list[str] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    ignored: dict[str, object] = field(default_factory=dict)
    errors: list[ConfigError] = field(default_factory=list)
    warnings: list[ConfigError] = field(default_factory=list)
    old_form: ConfigError | None = None
    exposed: ConfigError | None = None

    def in_order(self, *more: ConfigError) -> list[ConfigError]:
        """Return all errors and warnings, and *more* of them, in the order of lines."""
        special = [problem for problem in (self.old_form, self.exposed) if problem is not None]
        return sorted([*self.errors, *self.warnings, *special, *more], key=_position)


def _position(problem: ConfigError) -> tuple[int, int]:
    return problem.line or 0, problem.column or 0


class Validator:
    """Reads one configuration.

    Args:
        libpq: Decides which connection keys are valid.
        resolver: Resolves references; None leaves them as literal text.
        strict: Whether an unknown connection key is an error instead of a warning.
        public: Whether everybody may read the file.
    """

    def __init__(
        self, libpq: Libpq, resolver: Resolver | None, *, strict: bool = False, public: bool = False
    ) -> None:
        self.libpq = libpq
        self.resolver = resolver
        self.strict = strict
        self.public = public
        self.reading = Reading()

    def read(self, root: Table) -> Reading:
        """Return the items of *root*, in its flat form or under ``postgresql``."""
        root = self._flat(root)
        for name, node in root.entries.items():
            if name in SECTIONS:
                self.reading.sections.append(name)
                self._section(name, node)
            elif key := keys_of("").get(name):
                self._item(key, name, node)
            else:
                hint = nearest(name, [*keys_of(""), *SECTIONS])
                if name in keys_of(CONNECTION):
                    hint = f"; it belongs in {CONNECTION}"
                self._wrong(root.key_mark(name), name, f"is not a section{hint}")
        self._sizes(POOL)
        self._sizes(ASYNC_POOL)
        self._hosts()
        self._autocommit()
        self.reading.errors.sort(key=_position)
        return self.reading

    def _wrong(self, mark: Mark, path: str, problem: str) -> None:
        self.reading.errors.append(mark.error(problem, shown_path(path)))

    def _flat(self, root: Table) -> Table:
        """Return the sections, wherever they are; version 2 had them under one key."""
        if "postgresql" not in root.entries:
            return root
        inner = root.entries["postgresql"]
        mark = root.key_mark("postgresql")
        for name in root.entries.keys() - {"postgresql"}:
            self._wrong(root.key_mark(name), name, "stands beside 'postgresql'; put it inside")
        problem = "this is the form of version 2; move what is in it one level up"
        self.reading.old_form = _warning(mark, "postgresql", problem)
        if not isinstance(inner, Table):
            if not (isinstance(inner, Scalar) and inner.text is None):
                self._wrong(inner.mark, "postgresql", f"expects a mapping, not {kind(inner)}")
            return Table(inner.mark)
        return inner

    def _section(self, section: str, node: Node) -> None:
        if isinstance(node, Scalar) and node.text is None:
            return
        if not isinstance(node, Table):
            self._wrong(node.mark, section, f"expects a mapping of keys, not {kind(node)}")
            return
        known = keys_of(section, self.libpq)
        for name, inner in node.entries.items():
            path = f"{section}.{name}"
            key = known.get(name)
            if key is None and section in OPEN_SECTIONS and re.fullmatch(SETTING_NAME, name):
                key = Key(section, name, "", "setting")
            if key is None and section == CONNECTION:
                key = MOVED.get(name)
            if key is not None:
                self._item(key, path, inner)
            else:
                self._unknown(section, name, inner, node.key_mark(name), known)

    def _unknown(
        self, section: str, name: str, node: Node, mark: Mark, known: dict[str, Key]
    ) -> None:
        path = f"{section}.{name}"
        if name in REFERENCES:
            self._wrong(mark, path, "a whole section cannot be a reference; use it for a value")
        elif section in OPEN_SECTIONS:
            self._wrong(mark, path, "is not the name of a server setting")
        elif section != CONNECTION:
            self._wrong(mark, path, "is not a key of this section" + nearest(name, known))
        elif name in keys_of(CONNECTION):
            needed = keys_of(CONNECTION)[name].libpq
            which = f"libpq {needed}" if needed else "another build of libpq"
            self._wrong(mark, path, f"needs {which}, and this is {self.libpq.version}")
        else:
            elsewhere = "" if name in MISNOMERS else _elsewhere(name)
            guess = elsewhere or nearest(name, [*known, *MOVED])
            if self.strict:
                self._wrong(mark, path, "is not a key that libpq knows" + guess)
                return
            problem = "is not a key that libpq knows, and is ignored" + guess
            self.reading.warnings.append(_warning(mark, shown_path(path), problem))
            if isinstance(node, Scalar) and shown_path(name) == name:
                self.reading.ignored[name] = given(Key(CONNECTION, name, ""), node)

    def _item(self, key: Key, path: str, node: Node) -> None:
        try:
            item = self._read_item(key, path, node)
        except ConfigError as error:
            self.reading.errors.append(error)
            return
        self.reading.items.append(item)
        # Only a text which stands in the file itself: references have an origin.
        if self.public and key.secret and item.value is not None and not item.origin:
            problem = "stands in a file that everybody may read; take that away with chmod o-r"
            self.reading.exposed = self.reading.exposed or _warning(item.mark, path, problem)

    def _read_item(self, key: Key, path: str, node: Node) -> Item:
        if self.resolver is None and looks_like_reference(node):
            return Item(key, path, node.mark, _as_python(node), literal=True)
        if self.resolver is not None:
            resolved = self.resolver.resolve(node, path, rotates=key.secret)
        elif isinstance(node, Scalar):
            resolved = Resolved(node.text)
        else:
            raise not_a_value(node, path)
        own: object = resolved.text
        plain = False
        if isinstance(node, Scalar) and node.text == resolved.text:
            own, plain = given(key, node), node.plain
        value: Value = None
        if resolved.text:
            value = value_of(key, resolved, node.mark, path, plain=plain)
        elif resolved.text is None and key.kind == "threshold":
            value = False  # psycopg's own word for never
        return Item(key, path, node.mark, own, value, resolved.origin)

    def _sizes(self, section: str) -> None:
        """Compare the sizes of a pool, with the default where one is not given."""
        items = {i.path: i for i in self.reading.items if i.key.section == section}
        low, high = (items.get(f"{section}.{name}") for name in ("min_size", "max_size"))
        unknown = {error.key for error in self.reading.errors}
        unknown |= {item.path for item in (low, high) if item and item.literal}
        if unknown & {f"{section}.min_size", f"{section}.max_size"}:
            return
        smallest, largest = _size(low, section, "min_size"), _size(high, section, "max_size")
        if smallest <= largest:
            return
        if low is not None and low.value is not None:
            default = "" if high is not None and high.value is not None else ", the default"
            problem = f"{smallest} is larger than max_size ({largest}{default})"
            self._wrong(low.mark, low.path, problem)
        elif high is not None:
            problem = f"{largest} is smaller than min_size ({smallest}, the default)"
            self._wrong(high.mark, high.path, f"{problem}; set min_size too")

    def _hosts(self) -> None:
        """Count what stands between commas: one port for all hosts or one each, as libpq has it."""
        items = {i.key.name: i for i in self.reading.items if i.key.section == CONNECTION}
        given = {name: items[name] for name in ("hostaddr", "host", "port") if name in items}
        counts = {name: _count(item) for name, item in given.items()}
        hosts = next((counts[name] for name in ("hostaddr", "host") if counts.get(name)), None)
        if any(item.literal for item in given.values()) or hosts is None:
            return
        names, ports = counts.get("host"), counts.get("port")
        if names and names != hosts:
            item = given["hostaddr"]
            problem = f"has {hosts} for the {names} of host; give one for each"
            self._wrong(item.mark, item.path, problem)
        elif ports and ports not in (1, hosts):
            item = given["port"]
            problem = f"has {ports} for {hosts} hosts; give one for all, or one for each"
            self._wrong(item.mark, item.path, problem)

    def _autocommit(self) -> None:
        """Refuse two answers to one question."""
        path = f"{OPTIONS}.autocommit"
        found = [i for i in self.reading.items if i.key.path == path and i.value is not None]
        if len({item.value for item in found}) > 1:
            self._wrong(found[1].mark, found[1].path, f"contradicts {found[0].path}")


def _elsewhere(name: str) -> str:
    """Return "; it belongs in …" for a key of another section that stands with libpq's."""
    sections = [section for section in SECTIONS if name in keys_of(section)]
    return f"; it belongs in {' or '.join(sections)}" if sections else ""


def _count(item: Item) -> int:
    """Return how many values a list with commas holds, 0 where it is not given."""
    value = item.value.reveal() if isinstance(item.value, Secret) else item.value
    return str(value).count(",") + 1 if value is not None else 0


def _size(item: Item | None, section: str, name: str) -> int:
    given = None if item is None else item.value
    size = keys_of(section)[name].default if given is None else given
    assert isinstance(size, int)
    return size


def _warning(mark: Mark, path: str, problem: str) -> ConfigError:
    warning = mark.error(problem, path)
    warning.severity = "warning"
    return warning


def _as_python(node: Node) -> object:
    """Return a reference as it was given."""
    if isinstance(node, Table):
        return {name: _as_python(inner) for name, inner in node.entries.items()}
    if isinstance(node, Sequence):
        return [_as_python(item) for item in node.items]
    return node.text if node.given is None else node.given
