"""The commented configuration file that ``pgconfig create`` writes, from the table of keys."""

from __future__ import annotations

from collections.abc import Mapping

from pgmonkey.config.keys import CONNECTION, KEYS, SECTIONS, Key

# What the template's own values only stand in for.
_WHO_AND_WHERE = frozenset({"user", "password", "host", "port", "dbname"})

_HEAD = """\
# pgmonkey configuration: one file for every connection type.
#
# Any value may be a reference instead. References are resolved with resolve_env=True
# in Python, --resolve-env on the command line, or PGMONKEY_RESOLVE_ENV=1:
#   host: '${PGHOST:-localhost}'         # a variable, and a default for it
#   password:
#     from_env: PGPASSWORD               # a variable
#   password:
#     from_file: /run/secrets/password   # a file; read again for every connection
#   password:
#     from_command: [pass, show, db]     # what a program prints; likewise
# An empty value counts as not given.

# Default connection type when none is specified in the API call.
# Options: 'normal', 'pool', 'async', 'async_pool'
# You can override this per-call:
#   manager.get_database_connection('config.yaml', 'pool')
"""


def template(given: Mapping[str, str] | None = None) -> str:
    """Return the template: YAML that loads, with every common key and its meaning.

    Args:
        given: YAML for values of ``connection_settings``, by key. These stand in place of
            the template's own; who, where and which database are empty if not among them.
    """
    types = next(key for key in KEYS if not key.section)
    parts = [f"{_HEAD}{types.name}: {types.template}\n"]
    for section, meaning in SECTIONS.items():
        keys = [key for key in KEYS if key.section == section and key.template]
        if section == CONNECTION and given is not None:
            keys = _with_values(given)
        # A section of comments only would be null, so its name is a comment too.
        mute = "" if any(key.active for key in keys) else "# "
        lines = [_line(key, mute) for key in keys]
        parts.append(f"# {meaning}\n{mute}{section}:\n{''.join(lines)}")
    return "\n".join(parts)


def _with_values(given: Mapping[str, str]) -> list[Key]:
    """Return the keys of ``connection_settings`` that are in the template or *given*."""
    keys = []
    for key in KEYS:
        if key.section == CONNECTION and (key.template or key.name in given):
            without = "''" if key.name in _WHO_AND_WHERE else key.template
            keys.append(key._replace(template=given.get(key.name, without)))
    return keys


def _line(key: Key, mute: str) -> str:
    hint = f": {', '.join(key.choices)}" if key.choices else f" ({key.unit})" if key.unit else ""
    off = "" if key.active or mute else "# "
    return f"{mute}  {off}{key.name}: {key.template}  # {key.help}{hint}\n"
