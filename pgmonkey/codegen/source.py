"""A Python module in the making: its imports and top-level blocks, and values as source text.

The result is what the formatter would make of it, so that nobody's first commit of a
generated program is a change of its quotes.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pgmonkey.config.settings import Settings

PASSWORD_FILE = "PGPASSWORD_FILE"
QUERY = '"SELECT current_database(), current_user"'

_STANDARD = ("asyncio", "functools", "os", "pathlib", "re", "subprocess", "typing")


@dataclass
class Module:
    """A program: what it says about itself, imports, constants, and functions in order."""

    docstring: str
    imports: set[str] = field(default_factory=set)
    constants: list[str] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)

    def add(self, block: str, *imports: str) -> None:
        """Append a function or class; its text may be indented as a whole."""
        self.blocks.append(textwrap.dedent(block).strip("\n"))
        self.imports.update(imports)

    def text(self, *, is_async: bool) -> str:
        """Return the program, with the lines that run its ``main``."""
        if is_async:
            self.imports.add("import asyncio")
        run = "asyncio.run(main())" if is_async else "main()"
        groups = ["\n".join(self._imports(standard)) for standard in (True, False)]
        head = [f'"""{self.docstring}"""', *groups, "\n".join(self.constants)]
        blocks = [*self.blocks, f'if __name__ == "__main__":\n    {run}']
        return "\n\n".join(filter(None, head)) + "\n\n\n" + "\n\n\n".join(blocks) + "\n"

    def _imports(self, standard: bool) -> list[str]:
        chosen = [line for line in self.imports if (line.split()[1] in _STANDARD) is standard]
        return sorted(chosen, key=lambda line: (line.startswith("from"), line))


def opening(library: str, kind: str, *, from_file: bool) -> str:
    """Return what a program says about itself."""
    says = f"Log in to PostgreSQL with {library}, connection type {kind}, and print a row."
    if from_file:
        return says
    return f"{says}\n\nWhat is not said here, libpq's variables say: PGHOST, PGUSER, PGPASSWORD.\n"


def literal(value: object) -> str:
    """Return *value* as Python source, with double quotes where they need no escape."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = repr(value)
    if isinstance(value, str) and text.startswith("'") and '"' not in text:
        return '"' + text[1:-1].replace("\\'", "'") + '"'
    return text


def dictionary(entries: Mapping[str, str], indent: str = "") -> str:
    """Return a dict display of source texts by key, one entry a line."""
    lines = [f"{indent}    {literal(key)}: {value},\n" for key, value in entries.items()]
    return "{\n" + "".join(lines) + indent + "}" if lines else "{}"


def connection_literals(settings: Settings) -> dict[str, str]:
    """Return the connection keys that are no secrets, as source texts."""
    return {
        key: literal(value) for key, value in settings.connection.items() if isinstance(value, str)
    }


def has_password_file(settings: Settings) -> bool:
    """Return whether the password comes from the file that PGPASSWORD_FILE names."""
    return settings.origins.get("connection_settings.password") == PASSWORD_FILE
