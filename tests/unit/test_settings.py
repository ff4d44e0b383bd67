"""Settings: frozen values that are complete by construction and tell no secret."""

from __future__ import annotations

import dataclasses
import pickle

import pytest

from pgmonkey.config.load import load_settings
from pgmonkey.config.redaction import REDACTED, Secret
from pgmonkey.config.settings import (
    CONNECTION_TYPES,
    ConnectionOptions,
    Mark,
    PoolSettings,
    Settings,
)
from pgmonkey.errors import ConfigError, EnvInterpolationError


def test_empty_configuration_has_the_documented_defaults():
    settings = load_settings({})
    assert settings.connection_type == "normal"
    assert settings.connection == {}
    assert settings.pool_settings == settings.async_pool_settings == PoolSettings()
    assert settings.options == ConnectionOptions()
    pool = settings.pool_settings
    assert (pool.min_size, pool.max_size, pool.timeout) == (5, 20, 30.0)
    assert (pool.max_idle, pool.max_lifetime, pool.check_on_checkout) == (300.0, 3600.0, False)


@pytest.mark.parametrize("connection_type", CONNECTION_TYPES)
def test_each_type_has_its_pool_and_its_session(connection_type):
    settings = load_settings(
        {
            "connection_type": connection_type,
            "pool_settings": {"max_size": 7},
            "async_pool_settings": {"max_size": 8},
            "sync_settings": {"jit": False},
            "async_settings": {"jit": True},
        }
    )
    is_async = connection_type.startswith("async")
    assert settings.connection_type == connection_type
    assert settings.session(connection_type) == {"jit": "on" if is_async else "off"}
    if "pool" in connection_type:
        assert settings.pool(connection_type).max_size == (8 if is_async else 7)


def test_sections_cannot_be_changed():
    settings = load_settings({"connection_settings": {"host": "h"}})
    with pytest.raises(TypeError):
        settings.connection["host"] = "other"  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        settings.name = "other"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("connection", "target"),
    [
        ({}, "default host"),
        ({"host": "h"}, "h"),
        ({"hostaddr": "127.0.0.1", "port": "5433"}, "127.0.0.1:5433"),
        ({"host": "a,b", "port": 1, "user": "u", "dbname": "d"}, "u@a,b:1/d"),
        ({"service": "s"}, "s"),
        ({"host": "h", "dbname": "postgresql://u:pw@h/d"}, f"h/postgresql://u:{REDACTED}@h/d"),
        ({"host": "secret.example.com", "password": "secret"}, f"{REDACTED}.example.com"),
    ],
)
def test_target_says_who_and_where_without_a_secret(connection, target):
    settings = load_settings({"connection_settings": connection})
    assert settings.target == target
    assert repr(settings) == f"<Settings <dict>: {target}>"


def test_equal_configurations_have_equal_fingerprints_and_different_ones_do_not():
    base = {"connection_settings": {"host": "h", "password": "a"}, "pool_settings": {"max_size": 9}}
    fingerprint = load_settings(base).fingerprint
    same = {
        "pool_settings": {"max_size": "9"},
        "connection_settings": {"password": "a", "host": "h"},
    }
    assert load_settings(same).fingerprint == fingerprint
    others = [
        {"connection_settings": {"password": "b"}},
        {"connection_settings": {"user": "u"}},
        {"pool_settings": {"timeout": 3}},
        {"async_pool_settings": {"timeout": 3}},
        {"sync_settings": {"jit": "off"}},
        {"async_settings": {"jit": "off"}},
        {"connection_options": {"autocommit": True}},
    ]
    seen = {fingerprint}
    for change in others:
        ((section, value),) = change.items()
        changed = {**base, section: {**base.get(section, {}), **value}}
        seen.add(load_settings(changed).fingerprint)
    assert len(seen) == len(others) + 1


def test_default_type_is_no_part_of_the_fingerprint():
    one, two = (
        {"connection_type": name, "connection_settings": {"host": "h"}}
        for name in ("normal", "pool")
    )
    assert load_settings(one).fingerprint == load_settings(two).fingerprint


def test_settings_with_a_secret_cannot_be_pickled():
    settings = Settings("x", connection={"password": Secret("CANARY")})
    with pytest.raises(TypeError):
        pickle.dumps(settings)


def test_mark_of_a_key_is_where_it_was_given():
    settings = Settings("c.yaml", marks={"connection_settings.host": Mark("c.yaml", 2, 9)})
    assert str(settings.mark("connection_settings.host")) == "c.yaml:2:9"
    assert str(settings.mark("connection_settings.port")) == "c.yaml"


def test_mark_makes_an_error_about_its_place():
    error = Mark("c.yaml", 2, 9).error("is wrong", "a.b", EnvInterpolationError)
    assert isinstance(error, EnvInterpolationError)
    assert str(error) == "c.yaml:2:9: a.b: is wrong"
    assert (error.file, error.line, error.column, error.key) == ("c.yaml", 2, 9, "a.b")
    assert isinstance(error, ConfigError | ValueError)


def test_scrub_knows_every_secret_of_the_configuration():
    settings = load_settings(
        {"connection_settings": {"password": "p@ssword", "sslpassword": "other one"}}
    )
    assert settings.scrub("p@ssword, p%40ssword, other+one") == ", ".join([REDACTED] * 3)
