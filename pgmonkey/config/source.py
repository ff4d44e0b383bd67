"""YAML text as nodes that know where they stand.

YAML 1.1 reads 05432 as 2842, ``no`` as False and 12:30:45 as 45045, so nothing is
resolved here: a scalar keeps the text the user wrote, and the key it belongs to decides
what that text means. Nodes are built from the parser's events rather than by PyYAML's
composer, which recurses; nothing here does. No message repeats the user's text: the
parser does not know yet which part of it is a password.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from pgmonkey.config.nodes import (
    MAX_DEPTH,
    Node,
    Scalar,
    Sequence,
    Table,
    check_text,
    kind,
    shown_path,
)
from pgmonkey.config.settings import Mark
from pgmonkey.errors import ConfigError

if TYPE_CHECKING:
    import yaml

# The template has 5 KB and 40 keys. Beyond these a file is not a configuration, and reading
# it would only take time and memory.
MAX_BYTES = 256 * 1024
MAX_KEYS = 1_000

# What YAML 1.2 allows in a stream; PyYAML refuses the rest too, but without a position.
_FORBIDDEN = re.compile(
    # As three sets, which compile in a tenth of the time of one.
    "[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]|[\ud800-\udfff]|[\ufffe\uffff]"
)
_NULLS = ("", "~", "null", "Null", "NULL")
_TAG = "tag:yaml.org,2002:"
_SCALAR_TAGS = frozenset(_TAG + kind for kind in ("str", "int", "float", "bool", "null"))


def read_bytes(
    data: bytes, file: str, *, max_bytes: int = MAX_BYTES, max_keys: int = MAX_KEYS
) -> Table:
    """Return the root of a YAML file; UTF-8, with or without a byte order mark.

    Raises:
        ConfigError: It is not UTF-8, not YAML, or not one mapping.
    """
    start = Mark(file, 1, 1)
    if len(data) > max_bytes:
        raise start.error(f"is larger than {max_bytes // 1024} KiB")
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise start.error("is UTF-16, not UTF-8; save it as UTF-8")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise _after(before, file).error("this is not UTF-8; save the file as UTF-8") from None
    if bad := _FORBIDDEN.search(text):
        name = f"U+{ord(bad[0]):04X}"
        raise _after(text[: bad.start()], file).error(f"the character {name} cannot stand in YAML")
    root = _read_text(text, file, max_keys)
    if isinstance(root, Table):
        return root
    if isinstance(root, Scalar) and root.text is None:
        raise root.mark.error("is empty; `pgmonkey pgconfig create` writes a template")
    raise root.mark.error(f"expects a mapping of sections, not {kind(root)}")


def _read_text(text: str, file: str, max_keys: int) -> Node:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        return _Builder(text, file, loader(text), max_keys).document()
    except yaml.MarkedYAMLError as error:
        at = error.problem_mark or error.context_mark
        line, column = (at.line, at.column) if at else (0, 0)
        problem = _in_our_words(text, line, column, error)
    # Not from the parser's error, which shows a piece of the file.
    raise Mark(file, line + 1, column + 1).error(problem)


def _after(before: str, file: str) -> Mark:
    """Return the place of the character that comes after *before*."""
    lines = f"{before}x".splitlines()
    return Mark(file, len(lines), len(lines[-1]))


def _in_our_words(text: str, line: int, column: int, error: yaml.MarkedYAMLError) -> str:
    """Return the parser's problem without what it quotes from the file."""
    lines = text.splitlines()
    here = lines[line] if line < len(lines) else ""
    if here[column : column + 1] == "\t" or "\t" in here[: len(here) - len(here.lstrip())]:
        return "a tab; YAML is indented with spaces"
    if here[column : column + 1] in ("@", "`", "%"):
        return f"a value cannot begin with {here[column]!r}; put it in quotes"
    problem = (error.problem or "").partition(", but ")[0]
    # The pure Python parser quotes tokens: ':' may stay, anything longer may be a password.
    problem = re.sub(r"(['\"]).{2,}\1", "…", problem, flags=re.DOTALL)
    while_ = f"{error.context}: " if error.context and "'" not in error.context else ""
    return f"not YAML: {while_}{problem or 'cannot be read'}"


class _Builder:
    """Nodes from one stream of parser events."""

    def __init__(self, text: str, file: str, loader: yaml.SafeLoader, max_keys: int) -> None:
        self.file = file
        self.max_keys = max_keys
        self.lines = text.splitlines(keepends=True)
        self.loader = loader
        self.anchors: dict[str, Node] = {}
        self.waiting: list[tuple[str, Mark] | None] = []
        self.count = 0

    def document(self) -> Node:
        """Return the root node of the only document."""
        import yaml

        root: Node | None = None
        # Each open collection with its anchor; ``waiting`` has the key whose value is due in it.
        open_nodes: list[tuple[Table | Sequence, str | None]] = []
        waiting = self.waiting
        while self.loader.check_event():
            event = self.loader.get_event()  # type: ignore[no-untyped-call]
            if isinstance(event, yaml.DocumentStartEvent) and root is not None:
                raise self.error(event, "a second document; one file holds one configuration")
            if isinstance(event, yaml.CollectionStartEvent):
                node: Node = self.collection(event, len(open_nodes))
                open_nodes.append((node, event.anchor))  # type: ignore[arg-type]  # never a scalar
                waiting.append(None)
                continue
            if isinstance(event, yaml.CollectionEndEvent):
                node, anchor = open_nodes.pop()
                waiting.pop()
                # Only now, so that a node which contains itself is an unknown anchor.
                if anchor:
                    self.anchors[anchor] = node
            elif isinstance(event, yaml.AliasEvent):
                if event.anchor not in self.anchors:
                    raise self.error(event, "no such anchor; quote a value that begins with '*'")
                node = self.anchors[event.anchor]
            elif isinstance(event, yaml.ScalarEvent):
                node = self.scalar(event)
            else:
                continue
            if not open_nodes:
                root = node
                continue
            parent = open_nodes[-1][0]
            if isinstance(parent, Sequence):
                parent.items.append(node)
            elif waiting[-1] is None:
                waiting[-1] = self.key(parent, node)
            else:
                self.entry(parent, *waiting[-1], node)
                waiting[-1] = None
        return root or Scalar(Mark(self.file, 1, 1), None)

    def mark(self, event: yaml.Event) -> Mark:
        assert event.start_mark is not None  # a stream of events always has marks
        return Mark(self.file, event.start_mark.line + 1, event.start_mark.column + 1)

    def error(self, place: yaml.Event | Mark, problem: str, key: str = "") -> ConfigError:
        """Return an error at *place*, in the value of the keys that wait, or at *key* itself."""
        mark = place if isinstance(place, Mark) else self.mark(place)
        path = ".".join(
            [entry[0] for entry in self.waiting if entry and entry[0] != "<<"] + [key] * bool(key)
        )
        return mark.error(problem, shown_path(path.removeprefix("postgresql.")) or None)

    def collection(self, event: yaml.CollectionStartEvent, depth: int) -> Table | Sequence:
        import yaml

        if depth >= MAX_DEPTH:
            raise self.error(event, f"nested deeper than {MAX_DEPTH} levels")
        table = isinstance(event, yaml.MappingStartEvent)
        if event.tag not in (None, "!", _TAG + ("map" if table else "seq")):
            raise self.error(event, "tags are not supported; quote a value that begins with '!'")
        return Table(self.mark(event)) if table else Sequence(self.mark(event))

    def scalar(self, event: yaml.ScalarEvent) -> Scalar:
        if event.tag not in (None, "!") and event.tag not in _SCALAR_TAGS:
            raise self.error(event, "tags are not supported; quote a value that begins with '!'")
        plain = not event.style and event.tag is None
        null = event.tag == _TAG + "null" or (plain and event.value in _NULLS)
        if event.anchor and null:
            raise self.error(event, "an anchor without a value; quote a value that begins with '&'")
        try:
            check_text(event.value)
        except ValueError as error:
            raise self.error(event, str(error)) from None
        opens = tuple(self.opens(event)) if "${" in event.value else ()
        node = Scalar(self.mark(event), None if null else event.value, plain, None, opens)
        if event.anchor:
            self.anchors[event.anchor] = node
        return node

    def opens(self, event: yaml.ScalarEvent) -> list[Mark]:
        """Return where the source of a scalar has ``${``, whatever its style."""
        first, last = event.start_mark, event.end_mark
        assert first is not None
        assert last is not None
        found = []
        for number in range(first.line, min(last.line + 1, len(self.lines))):
            line = self.lines[number]
            stop = last.column if number == last.line else len(line)
            at = line.find("${", first.column if number == first.line else 0, stop)
            while at >= 0:
                found.append(Mark(self.file, number + 1, at + 1))
                at = line.find("${", at + 2, stop)
        return found

    def key(self, table: Table, node: Node) -> tuple[str, Mark]:
        if not isinstance(node, Scalar):
            raise self.error(node.mark, f"a key must be text, not {kind(node)}")
        self.count += 1
        if self.count > self.max_keys:
            raise self.error(node.mark, f"more than {self.max_keys} keys")
        name = node.text or ""
        if name in table.keys:
            line = table.keys[name].line
            problem = f"the same key stands in line {line} already; drop one of them"
            raise self.error(node.mark, problem, name)
        return name, node.mark

    def entry(self, table: Table, name: str, mark: Mark, node: Node) -> None:
        """Add one entry; what ``<<`` brings gives way to what stands in the mapping itself."""
        table.keys[name] = mark
        if name != "<<":
            table.entries[name] = node
            return
        sources = node.items if isinstance(node, Sequence) else [node]
        for source in sources:
            if not isinstance(source, Table):
                raise self.error(source.mark, f"'<<' takes mappings, not {kind(source)}")
            self.count += len(source.entries)
            if self.count > self.max_keys:
                raise self.error(mark, f"more than {self.max_keys} keys")
            for key, value in source.entries.items():
                table.entries.setdefault(key, value)
