"""The part of a psycopg program that reads the configuration file and resolves references.

Each piece goes in only if the file needs it; ``shape`` has found out what it needs.
"""

from __future__ import annotations

from pgmonkey.codegen.shape import OLD_ROOT, Shape, Variables
from pgmonkey.codegen.source import Module

_AS_WRITTEN = '''
class AsWritten(yaml.SafeLoader):
    """Reads every value as the text that stands there: a port 05432, a password 007."""


AsWritten.yaml_implicit_resolvers = {
    first: [rule for rule in rules if rule[0].endswith((":null", ":merge"))]
    for first, rules in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
'''

_DEFAULT = '''
def variable(match: re.Match[str]) -> str:
    """Return what ${NAME}, ${NAME:-default} or ${NAME-default} stands for."""
    name, colon, default = match.groups()
    value = os.environ.get(name)
    if default is not None and (value is None or (colon and not value)):
        return default
    return os.environ[name]
'''

_NESTED = '''
def expand(
    text: str, at: int = 0, *, inside: bool = False, live: bool = True
) -> tuple[str, int]:
    """Resolve the references in a text; those which are not live may be unset."""
    done = ""
    while token := REFERENCE.search(text, at):
        done += text[at : token.start()]
        at = token.end()
        name, operator = token["name"], token["operator"] or ""
        if token[0] == "$$":
            done += "$"
        elif name is None and inside:
            return done, at
        elif name is None:
            done += "}"
        else:
            value = os.environ.get(name)
            given = bool(value) if operator.startswith(":") else value is not None
            other = live and given == operator.endswith("+")
            operand, at = expand(text, at, inside=True, live=other)
            if other and operator.endswith(("+", "-")):
                done += operand
            elif given and not operator.endswith("+"):
                done += value or ""
            elif live and not operator.endswith(("+", "-")):
                raise SystemExit(f"{name} is not set {operand}")
    return done + text[at:], len(text)
'''

_PATTERNS = {
    Variables.PLAIN: r'r"\$\{(\w+)\}"',
    Variables.DEFAULT: r'r"\$\{(\w+)(?:(:?)-([^}]*))?\}"',
    Variables.NESTED: r'r"\$\$|\$\{(?P<name>\w+)(?P<operator>:?[-?+])?|\}"',
}

_EXPANSIONS = {
    Variables.PLAIN: "REFERENCE.sub(lambda match: os.environ[match[1]], value)",
    Variables.DEFAULT: "REFERENCE.sub(variable, value)",
    Variables.NESTED: "expand(value)[0]",
}

_STRUCTURED = {
    "from_env": (
        """
    if list(value) == ["from_env"]:
        return os.environ[value["from_env"]]
""",
        "import os",
    ),
    "from_file": (
        """
    if list(value) == ["from_file"]:
        # A relative path starts at the configuration; the newline at the end is not meant.
        path = CONFIG.parent / Path(value["from_file"]).expanduser()
        return path.read_text(encoding="utf-8").removesuffix("\\n")
""",
        "from pathlib import Path",
    ),
    "from_command": (
        """
    if list(value) == ["from_command"]:
        done = subprocess.run(
            value["from_command"],
            cwd=CONFIG.parent,
            stdout=subprocess.PIPE,
            check=True,
            text=True,
            timeout=10,
        )
        return done.stdout.removesuffix("\\n")
""",
        "import subprocess",
    ),
}


def add_reader(module: Module, shape: Shape) -> None:
    """Add ``read_config`` and ``given``, with what they need."""
    module.add(_AS_WRITTEN, "import yaml")
    resolves = bool(shape.references or shape.variables)
    if shape.variables:
        pattern = _PATTERNS[shape.variables]
        module.constants.append(f"REFERENCE = re.compile({pattern})")
        module.imports.update({"import os", "import re"})
    if shape.variables == Variables.DEFAULT:
        module.add(_DEFAULT)
    elif shape.variables == Variables.NESTED:
        module.add(_NESTED)
    if resolves:
        _add_resolve(module, shape)
    root = f'["{OLD_ROOT}"]' if shape.old_form else ""
    config = f"yaml.load(text, Loader=AsWritten){root}"
    module.add(
        f'''
def read_config() -> dict[str, Any]:
    """Return the configuration{", references resolved" if resolves else ""}."""
    text = CONFIG.read_text(encoding="utf-8-sig")
    return {f"resolve({config})" if resolves else config}
''',
        "from pathlib import Path",
        "from typing import Any",
    )
    module.add(
        '''
def given(config: dict[str, Any], section: str) -> dict[str, Any]:
    """Return the values of a section which are not left empty."""
    values = config.get(section) or {}
    return {key: value for key, value in values.items() if value not in (None, "")}
'''
    )


def _add_resolve(module: Module, shape: Shape) -> None:
    module.imports.update(_STRUCTURED[name][1] for name in shape.references)
    lists = "from_command" in shape.references
    inside = "{key: resolve(inner) for key, inner in value.items()}"
    module.add(
        """
def resolve(value: Any) -> Any:
    \"\"\"Replace the references in a value, and in everything inside it.\"\"\"
    if isinstance(value, str):
        return """
        + _EXPANSIONS.get(shape.variables, "value")
        + ("\n    if isinstance(value, list):\n        return [resolve(v) for v in value]" * lists)
        + "\n    if not isinstance(value, dict):\n        return value\n"
        + (f"    value = {inside}" if shape.references else f"    return {inside}")
        + "".join(
            text.rstrip("\n") for n, (text, _) in _STRUCTURED.items() if n in shape.references
        )
        + ("\n    return value" if shape.references else "")
    )
