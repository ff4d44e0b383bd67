"""Every exception of ours, in one tree.

PGMonkeyError                 catch this for anything pgmonkey itself objects to
+-- ConfigError               the configuration is wrong; also a ValueError
|   +-- EnvInterpolationError a ${VAR}, from_env, from_file or from_command could not be resolved
|   +-- SessionSettingError   the server refused a name or value of sync_settings or async_settings
+-- HandleError               a handle was used in a way its state does not allow
|   +-- HandleBusyError       a single connection is in use by another thread or task
+-- TransactionLostError      the connection died inside a block; nothing of the block was saved
+-- CommitUnknownError        the connection died during COMMIT; the block may have been saved

What the server or libpq objects to keeps psycopg's own class (``psycopg.OperationalError``
for a refused login, ``psycopg_pool.PoolTimeout`` for an exhausted pool), with secrets
removed from its text. Nothing in this module imports psycopg.
"""

from __future__ import annotations


class PGMonkeyError(Exception):
    """Base of every exception of ours.

    Attributes:
        code: The stable identifier that ``pgmonkey help CODE`` explains.
    """

    code = "PGM901"


class ConfigError(PGMonkeyError, ValueError):
    """The configuration is wrong, and here is where.

    The text is ``file:line:column: dotted.key: what is wrong; what now``, with the parts
    that are known. Lines and columns count from 1.

    Attributes:
        problem: What is wrong and, after a semicolon, what to do about it.
        file: The file as the caller named it, ``<dict>`` or ``<environment>``.
        line, column: Position of the offending node, or None outside a file.
        key: Dotted path such as ``connection_settings.port``, or None for the whole file.
        severity: "warning" only in what ``findings`` returns; such a one is never raised.
    """

    code = "PGM201"
    severity: str = "error"

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: int | None = None,
        key: str | None = None,
    ) -> None:
        self.problem = problem
        self.file = file
        self.line = line
        self.column = column
        self.key = key
        where = ":".join(str(part) for part in (file, line, column) if part is not None)
        super().__init__(": ".join(part for part in (where, key, problem) if part))


class EnvInterpolationError(ConfigError):
    """A reference to the environment, a file or a command could not be resolved."""

    code = "PGM202"


class SessionSettingError(ConfigError):
    """The server refused a session setting; its own words are in the text."""

    code = "PGM203"


class HandleError(PGMonkeyError):
    """A handle was used in a way its state does not allow; the text says what to do instead."""

    code = "PGM310"


class HandleBusyError(HandleError):
    """A single connection stayed in use by another thread or task for the whole wait."""

    code = "PGM311"


class TransactionLostError(PGMonkeyError):
    """The connection died inside a block that went on: its transaction was rolled back."""

    code = "PGM312"


class CommitUnknownError(PGMonkeyError):
    """The connection died during COMMIT: the transaction may or may not have been saved.

    Never retried by pgmonkey, since a second try could do the work twice. Ask the
    server for what the transaction would have written.
    """

    code = "PGM313"
