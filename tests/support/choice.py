"""Which server the tests use, decided once per run and told at its head.

``--provider`` or PGMONKEY_TEST_PROVIDER names docker, local or wheel, or several with
commas between, of which the first that works is taken; auto means all three. ``--pg`` or
PGMONKEY_TEST_PG names a major version, PGMONKEY_TEST_IMAGE an image. Without any server the tests that need one are skipped,
unless PGMONKEY_REQUIRE_SERVER is set, as it is in CI, or a provider was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from support import docker, local
from support.setup import Provider, Unavailable

PROVIDERS = ("docker", "local", "wheel")
VERSIONS = (13, 15, 17, 18)
# libpq's sslnegotiation=direct needs a server of 17.
DIRECT_TLS_SINCE = 17


@dataclass(frozen=True)
class Wish:
    """What the caller asked for.

    Attributes:
        providers: Names out of ``PROVIDERS``, in order of preference.
        major: Version of PostgreSQL, None for the provider's own default.
        image: Image for docker, None for the public tag of that version.
        required: Whether a run without a server must fail.
    """

    providers: tuple[str, ...] = PROVIDERS
    major: int | None = None
    image: str | None = None
    required: bool = False

    @classmethod
    def of(
        cls, environ: Mapping[str, str], provider: str | None = None, pg: str | None = None
    ) -> Wish:
        """Read a wish from the environment and two options, which win.

        Raises:
            ValueError: A provider or a version nobody has heard of.
        """
        names = provider or environ.get("PGMONKEY_TEST_PROVIDER") or "auto"
        providers = PROVIDERS if names == "auto" else tuple(names.split(","))
        for name in providers:
            if name not in PROVIDERS:
                raise ValueError(f"{name!r} is no provider; use auto, {', '.join(PROVIDERS)}")
        major = pg or environ.get("PGMONKEY_TEST_PG")
        if major and not major.isdecimal():
            raise ValueError(
                f"{major!r} is no major version of PostgreSQL; use a number such as 17"
            )
        return cls(
            providers,
            int(major) if major else None,
            environ.get("PGMONKEY_TEST_IMAGE"),
            required=names != "auto" or environ.get("PGMONKEY_REQUIRE_SERVER", "") not in ("", "0"),
        )


@dataclass(frozen=True)
class Choice:
    """The provider that is used, None when there is none, and why the others are not."""

    provider: Provider | None
    reasons: tuple[str, ...]

    def lines(self) -> list[str]:
        """Return what the head of the run says: what is used, what is not covered and why."""
        if self.provider is None:
            return ["server: none; " + "; ".join(self.reasons)]
        uncovered = [f"PostgreSQL {v}" for v in VERSIONS if v != self.provider.major]
        if self.provider.major and self.provider.major < DIRECT_TLS_SINCE:
            uncovered.append(f"sslnegotiation=direct (needs {DIRECT_TLS_SINCE})")
        lines = [f"server: {self.provider.title}, with TLS and without"]
        lines += [f"server: not used: {reason}" for reason in self.reasons]
        return [*lines, "server: not covered by this run: " + ", ".join(uncovered)]


def choose(wish: Wish) -> Choice:
    """Return the first provider that works on this machine and does what *wish* says."""
    reasons: list[str] = []
    for name in wish.providers:
        try:
            return Choice(_find(name, wish), tuple(reasons))
        except Unavailable as e:
            reasons.append(f"{name}: {e}")
    return Choice(None, tuple(reasons))


def _find(name: str, wish: Wish) -> Provider:
    if name == "docker":
        return docker.find(docker.image_for(wish.major, wish.image))
    return {"local": local.find_local, "wheel": local.find_wheel}[name](wish.major)
