"""Which keys are secret, and what stands in their place.

A secret leaves a program in more shapes than it came in: libpq echoes a malformed URI
whole, an exception shows it percent-encoded, ``repr`` escapes its quotes. ``scrub``
knows these shapes of secrets that are known; ``redact`` finds passwords that are not.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn, ParamSpec, TypeVar

from pgmonkey.errors import ConfigError

P = ParamSpec("P")
T = TypeVar("T")

REDACTED = "***REDACTED***"

# Documented: these, and any key with one of the words in it. The certificate paths are
# no secrets, but the documentation promises that they are treated as such.
SENSITIVE_KEYS = frozenset(
    {
        "password",
        "passwd",
        "sslpassword",
        "sslkey",
        "sslcert",
        "sslrootcert",
        "scram_client_key",
        "scram_server_key",
        "oauth_client_secret",
    }
)
SENSITIVE_WORDS = ("token", "secret", "credential")

# Passwords in text that nobody declared: scheme://user:HERE@host, ?password=HERE and
# password=HERE or password='HERE' of a conninfo string. The first takes everything up
# to the last @ before the path, since an unencoded password may contain one. No scheme is
# longer than 31 characters, and without that limit long texts take time squared.
_IN_TEXT = re.compile(
    r"""(?P<head>\b\w[\w+.-]{0,30}://[^\s/:@]*:)[^\s/]*(?=@)
      | (?P<name>\b(?:ssl)?pass(?:word|wd)\s*=\s*|\boauth_client_secret\s*=\s*)
        (?:'(?:[^'\\]|\\.)*'?|[^\s'&]+)""",
    re.VERBOSE | re.IGNORECASE,
)

# A secret of less than four characters is replaced only where it stands alone, between
# these: 'a' replaced everywhere would leave no message readable, and hide nothing.
SHORT = 4
_BEFORE, _AFTER = r"(?:(?<=[\s:@='\"/?&;,(])|^)", r"(?=[\s:@='\"/?&;,)]|$)"


class Secret:
    """A string that shows itself to nobody: repr, str, format and pickle see a mask."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Return the secret in clear."""
        return self._value

    def identity(self) -> str:
        """Return what stands for this secret in a fingerprint: its value."""
        return "value:" + self._value

    def known_values(self) -> tuple[str, ...]:
        """Return the clear texts that must appear nowhere."""
        return (self._value,)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    def __repr__(self) -> str:
        return REDACTED

    def __format__(self, spec: str) -> str:
        return format(REDACTED, spec)

    def __deepcopy__(self, memo: object) -> Secret:
        return self

    def __reduce_ex__(self, protocol: object) -> NoReturn:
        raise TypeError("a secret cannot be pickled; pass the configuration instead")


def is_sensitive(name: str) -> bool:
    """Return whether the value of a key of this name is hidden and may have no default."""
    name = name.lower()
    return name in SENSITIVE_KEYS or any(word in name for word in SENSITIVE_WORDS)


def redact(text: str) -> str:
    """Return *text* without the passwords in its URIs and conninfo strings."""
    return _IN_TEXT.sub(lambda m: (m["head"] or m["name"]) + REDACTED, text)


def redact_config(config: Any) -> Any:
    """Return a copy of *config* that is safe to print; *config* itself stays as it is.

    Values of sensitive keys are replaced whole, at any depth; elsewhere passwords inside
    URIs and conninfo strings. Empty strings and None have nothing to hide and stay.
    """
    if isinstance(config, Mapping):
        return {
            key: REDACTED
            if is_sensitive(str(key)) and value not in ("", None)
            else redact_config(value)
            for key, value in config.items()
        }
    if isinstance(config, list | tuple):
        return [redact_config(value) for value in config]
    if isinstance(config, str):
        return redact(config)
    return str(config) if hasattr(config, "reveal") else config


def scrub(text: str, secrets: Iterable[str]) -> str:
    """Return *text* without *secrets*, in clear, escaped or percent-encoded, and redacted."""
    for secret in sorted({*secrets} - {""}, key=len, reverse=True):
        text = _shapes(secret).sub(REDACTED, text)
    return redact(text)


@functools.lru_cache(maxsize=64)
def _shapes(secret: str) -> re.Pattern[str]:
    """Match *secret* with each character as it is, percent-encoded or escaped."""
    pattern = "".join(map(_shapes_of, secret))
    return re.compile(_BEFORE + pattern + _AFTER if len(secret) < SHORT else pattern)


def _shapes_of(char: str) -> str:
    """Match one character as itself, in a URI, in a form, in repr, in JSON or in conninfo."""
    percent = "".join(f"%{byte:02x}" for byte in char.encode("utf-8", "surrogatepass"))
    plain = {char, repr(char)[1:-1], json.dumps(char)[1:-1], f"\\{char}"}
    plain |= {"+"} if char == " " else set()
    # The longest first: of %25 the % alone would do too.
    each = "|".join(re.escape(shape) for shape in sorted(plain, key=len, reverse=True))
    return f"(?:(?i:{percent})|{each})"


def sealed(function: Callable[P, T]) -> Callable[P, T]:
    """Let errors of ours leave *function* without the frames they came through.

    Some tools print the local variables of every frame in a traceback, and below here
    these hold the file's text and resolved secrets. The error itself says where and why.
    """

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except ConfigError as error:
            found = without_frames(error)
        args, kwargs = (), {}  # type: ignore[assignment]  # they may hold a password
        raise found

    return call


def without_frames(error: ConfigError) -> ConfigError:
    """Return *error* itself, with its traceback and those of its causes removed."""
    each: BaseException | None = error
    while each is not None:
        each.__traceback__ = None
        each.__context__ = None
        each = each.__cause__
    return error
