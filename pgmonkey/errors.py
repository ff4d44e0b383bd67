"""Every exception of ours, in one tree.

PGMonkeyError                 catch this for anything pgmonkey itself objects to
+-- ConfigError               the configuration is wrong; also a ValueError
|   +-- EnvInterpolationError a ${VAR}, from_env, from_file or from_command could not be resolved
|   +-- SessionSettingError   the server refused a name or value of sync_settings or async_settings
+-- HandleError               a handle was used in a way its state does not allow
|   +-- HandleBusyError       a single connection is in use by another thread or task
+-- TransactionLostError      the connection died inside a block; nothing of the block was saved
+-- CommitUnknownError        the connection died during COMMIT; the block may have been saved
+-- TransferError             a CSV import or export failed; what it would have done is undone
    +-- CsvError              the file is not what it was taken for; the text has file:line
    |   +-- ShapeError        a value does not stay what it is in the type inferred for its column
    +-- TargetError           the table, its columns or its rules do not admit this
    |   +-- ColumnError       a field of the file has no column in the table
    +-- RequestError          the options contradict each other or the file; also a ValueError
    +-- RejectLimitError      more rows were bad than max_errors allows

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


class TransferError(PGMonkeyError):
    """A CSV import or export failed. Nothing was changed, unless the text says what was.

    The text is ``file:line: what is wrong; what now``, with the parts that are known.

    Attributes:
        problem: What is wrong and, after a semicolon, what to do about it.
        file: The file as the caller named it.
        line: Of the file, counted from 1 as ``sed -n Np`` does; None for the whole file.
    """

    code = "PGM410"

    def __init__(self, problem: str, *, file: str | None = None, line: int | None = None) -> None:
        self.problem = problem
        self.file = file
        self.line = line
        where = ":".join(str(part) for part in (file, line) if part is not None)
        super().__init__(f"{where}: {problem}" if where else problem)


class CsvError(TransferError):
    """The file is not what it was taken for: its records, encoding, quotes or header."""

    code = "PGM411"


class ShapeError(CsvError):
    """A value does not stay what it is in the type that was inferred for its column.

    Attributes:
        column: What the file calls it.
        kind: The inferred type.
        value: The text in the file.
    """

    def __init__(
        self, column: str, kind: str, value: str, *, file: str | None = None, line: int | None
    ) -> None:
        self.column = column
        self.kind = kind
        self.value = value
        shown = value if len(value) <= 60 else value[:60] + "..."
        super().__init__(
            f"column {column}: {shown!r} would not stay as it is in a column of type {kind}, "
            f"which the beginning of the file suggests; say --types {column}=text",
            file=file,
            line=line,
        )


class TargetError(TransferError):
    """The table, its columns or its rules do not admit what was asked."""

    code = "PGM412"


class ColumnError(TargetError):
    """A field of the file has no column in the table, and nothing says where it goes."""


class RequestError(TransferError, ValueError):
    """What was asked contradicts itself, or names a column which the file does not have."""

    code = "PGM413"


class RejectLimitError(TransferError):
    """More rows were rejected than ``max_errors`` allows; nothing was loaded."""

    code = "PGM414"


class RowError(TransferError):
    """The server refused a value or a row of the file.

    Attributes:
        column: The column it is about, or None where the server names none.
        value: What the file has for that column; None where it is not known.
        sqlstate: The server's code for the reason.
    """

    code = "PGM415"

    def __init__(
        self,
        problem: str,
        *,
        file: str | None = None,
        line: int | None = None,
        column: str | None = None,
        value: str | None = None,
        sqlstate: str | None = None,
    ) -> None:
        self.column = column
        self.value = value
        self.sqlstate = sqlstate
        super().__init__(problem, file=file, line=line)


class LostError(TransferError):
    """The connection or the server ended in the middle of a load."""

    code = "PGM416"


class PartlyError(TransferError):
    """Some connections of a load committed, and then another could not; the text says which."""

    code = "PGM417"
