import os
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import ValidationError

from server.config import Environment, environment_for, load_settings
from server.settings_table import table, written_into
from server.terminal import explained
from tests.support.rest import PRODUCTION

README = Path(__file__).parents[2] / "README.md"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("PROMPTSYNC_") or name in ("HOST", "PORT"):
            monkeypatch.delenv(name)


def test_the_defaults_are_fit_for_a_laptop() -> None:
    settings = load_settings()
    assert (settings.env, settings.host, settings.port) == (Environment.DEVELOPMENT, "127.0.0.1", 8000)
    assert settings.key_path == Path(".data/keys.json")


def test_host_and_port_are_read_without_the_prefix_and_the_prefix_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PORT", "9001")
    assert load_settings().port == 9001
    monkeypatch.setenv("PROMPTSYNC_PORT", "9002")
    assert load_settings().port == 9002
    assert load_settings(port=9003).port == 9003


def test_lists_are_comma_separated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSYNC_ALLOWED_ORIGINS", "https://a.example, https://b.example/")
    assert load_settings().allowed_origins == ("https://a.example", "https://b.example")


@pytest.mark.parametrize(
    "origins", ["*", "https://*.example", "https://a.example/path", "a.example", "https://a.example https://b.example", "https://[a"]
)
def test_an_origin_that_is_not_exact_is_refused(origins: str) -> None:
    with pytest.raises(ValidationError, match="no path and no"):
        load_settings(allowed_origins=origins)


def test_a_proxy_that_is_no_address_is_refused() -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        load_settings(trusted_proxies="10.0.0.0/8, proxy.example")
    assert load_settings(trusted_proxies="10.0.0.1/8, ::1,").trusted_proxies


@pytest.mark.parametrize(
    "url",
    [
        "mysql://u:sekret@db/x",
        "postgresql://u:sek/ret@db/x",
        "postgresql://u:sek#ret@db/x",
        "postgresql://u:sekret@db:port/x",
        "postgresql://u:sekret@db:99999/x",
        "postgresql://u:sekret@[::1/x",
        "sekret",
    ],
)
def test_a_database_address_that_cannot_be_read_is_refused_without_being_shown(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), explained():
        load_settings(database_url=url)
    said = capsys.readouterr().err
    assert said.startswith("promptsync: PROMPTSYNC_DATABASE_URL: ")
    assert said.count("\n") == 1
    assert "sek" not in said


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://promptsync@/promptsync?host=/a/b&port=5432",
        "postgres://u:s%2Fret@db:5433/x?sslmode=require",
        "postgresql://u:p@[::1]:5432,db2/x",
        "postgresql://",
    ],
)
def test_the_forms_of_a_database_address_are_taken(url: str) -> None:
    given = load_settings(database_url=url).database_url
    assert given is not None
    assert given.get_secret_value() == url


def test_an_empty_variable_is_one_that_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PROMPTSYNC_DATABASE_URL", "PROMPTSYNC_KEYS_FILE", "PORT"):
        monkeypatch.setenv(name, "")
    settings = load_settings()
    assert (settings.database_url, settings.keys_file, settings.port) == (None, None, 8000)


def test_a_life_past_what_a_calendar_holds_is_refused() -> None:
    with pytest.raises(ValidationError):
        load_settings(session_absolute_days=10**9)


@pytest.mark.parametrize("url", [None, "http://sync.example"])
def test_production_needs_its_public_https_address(url: str | None) -> None:
    with pytest.raises(ValidationError, match="PROMPTSYNC_PUBLIC_URL"):
        load_settings(env="production", public_url=url)
    assert load_settings(env="production", public_url="https://sync.example").production


def test_the_database_address_with_its_password_is_never_shown() -> None:
    settings = load_settings(database_url="postgresql://u:hidden-password@db/x")
    assert "hidden-password" not in repr(settings) + str(settings)


def test_a_server_started_by_a_command_gets_none_of_our_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSYNC_DATABASE_URL", "postgresql://elsewhere/")
    monkeypatch.setenv("PORT", "1")
    environment = environment_for(port="0")
    assert environment["PROMPTSYNC_PORT"] == "0"
    assert "PROMPTSYNC_DATABASE_URL" not in environment
    assert "PORT" not in environment


def test_the_readme_has_the_settings_as_they_are() -> None:
    text = README.read_text()
    assert table() in text
    assert written_into(text) == text


FIT: dict[str, Any] = {"env": "production", **PRODUCTION}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"public_url": None}, "PROMPTSYNC_PUBLIC_URL"),
        ({"public_url": "http://sync.example"}, "PROMPTSYNC_PUBLIC_URL"),
        ({"allowed_origins": "https://app.example,http://app.example"}, "PROMPTSYNC_ALLOWED_ORIGINS"),
        ({"allowed_origins": "http://localhost:5173"}, "PROMPTSYNC_ALLOWED_ORIGINS"),
        ({"app_url": "http://app.example"}, "PROMPTSYNC_APP_URL"),
        ({"trusted_proxies": "0.0.0.0/0"}, "PROMPTSYNC_TRUSTED_PROXIES"),
        ({"trusted_proxies": "10.0.0.1, ::/0"}, "PROMPTSYNC_TRUSTED_PROXIES"),
        ({"database_url": "postgresql://promptsync:password@db/promptsync"}, "stand in examples"),
        ({"database_url": "postgresql://promptsync:Change%2DMe@db/promptsync"}, "stand in examples"),
        ({"redis_url": "redis://:secret@cache:6379/0"}, "stand in examples"),
    ],
)
def test_production_refuses_what_is_only_fit_for_trying_out(given: dict[str, str], says: str) -> None:
    with pytest.raises(ValidationError, match=says) as refused:
        load_settings(**FIT | given)
    assert not [secret for secret in ("password", "Change", "secret@") if secret in str(refused.value)]
    assert load_settings(**given), "elsewhere it is for trying out"


def test_production_says_all_that_it_refuses_at_once() -> None:
    with pytest.raises(ValidationError, match=r"PUBLIC_URL.*; .*ALLOWED_ORIGINS.*; .*TRUSTED_PROXIES"):
        load_settings(**FIT | {"public_url": None}, allowed_origins="http://a.example", trusted_proxies="0.0.0.0/0")


def test_what_is_fit_for_production_is_taken() -> None:
    settings = load_settings(
        **FIT,
        allowed_origins="https://app.example",
        app_url="https://app.example",
        trusted_proxies="10.0.0.0/8",
        database_url="postgresql://promptsync:passwords-are-longer@db/x",
        metrics_token="m" * 16,
    )
    assert (
        settings.secrets.items() >= {"database_url": "postgresql://promptsync:passwords-are-longer@db/x", "metrics_token": "m" * 16}.items()
    )
    assert "m" * 16 not in repr(settings) + settings.model_dump_json()


def test_a_short_metrics_token_is_refused() -> None:
    with pytest.raises(ValidationError, match="metrics_token"):
        load_settings(metrics_token="x" * 15)
