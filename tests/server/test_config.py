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


def test_model_hosts_are_kept_in_one_spelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSYNC_MODEL_HOSTS", "LocalHost:11434, [FD00:0::7]:8080, 10.0.0.5:443,")
    assert load_settings().model_hosts == ("localhost:11434", "[fd00::7]:8080", "10.0.0.5:443")


@pytest.mark.parametrize(
    "hosts",
    [
        *("localhost", "localhost:", ":11434", "http://localhost:11434", "localhost:11434/v1", "user:sekret@localhost:1", "*:11434"),
        *("localhost:0", "localhost:65536", "localhost:+80", "localhost:８０", "127.1:80", "0x7f.1:80", "fd00::7:8080", "[fd00::7]"),
        *("[localhost]:80", "[10.0.0.5]:80", "10.0.0.0/8:80", "a b:80", "[fe80::1%eth0]:80"),
    ],
)
def test_a_model_host_that_is_no_host_and_port_is_refused_without_repeating_it(hosts: str) -> None:
    with pytest.raises(ValidationError, match="host:port alone") as refused:
        load_settings(model_hosts=hosts)
    assert "sekret" not in str(refused.value)


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
        load_settings(env="production", **PRODUCTION | {"public_url": url})
    assert load_settings(env="production", **PRODUCTION).production


def test_production_needs_somewhere_to_hand_mails_over() -> None:
    with pytest.raises(ValidationError, match="PROMPTSYNC_SMTP_URL"):
        load_settings(env="production", **PRODUCTION | {"smtp_url": None})
    for env in ("development", "staging"):
        assert load_settings(env=env).smtp_url is None


@pytest.mark.parametrize("how", ["never", "optional"])
def test_production_does_not_say_a_password_in_clear(how: str) -> None:
    with pytest.raises(ValidationError, match="without encryption"):
        load_settings(env="production", **PRODUCTION | {"smtp_url": f"smtp://u:sekret@mail?starttls={how}"})
    for fine in ("smtp://u:sekret@mail", "smtps://u:sekret@mail", f"smtp://mail?starttls={how}"):
        assert load_settings(env="production", **PRODUCTION | {"smtp_url": fine}).smtp_url


def test_whoever_hands_mails_over_says_whom_they_are_from() -> None:
    with pytest.raises(ValidationError, match="PROMPTSYNC_MAIL_FROM"):
        load_settings(smtp_url="smtp://localhost")


@pytest.mark.parametrize("sender", ["server", "a@example.com\r\nBcc: b@example.org", "a@b@example.com", "\u00e9@example.com", "Prompts <>"])
def test_a_sender_that_is_no_mail_address_is_refused(sender: str) -> None:
    with pytest.raises(ValidationError, match="mail_from"):
        load_settings(mail_from=sender)
    assert load_settings(mail_from="\u63d0\u793a\u8bcd <no-reply@example.com>").sender


@pytest.mark.parametrize(
    "url", ["http://u:sekret@mail", "smtp://u:sek/ret@mail", "smtp://u:sekret@mail:port", "smtp://sekret@mail", "sekret"]
)
def test_an_smtp_address_that_cannot_be_read_is_refused_without_being_shown(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), explained():
        load_settings(smtp_url=url, mail_from="a@example.com")
    said = capsys.readouterr().err
    assert said.startswith("promptsync: PROMPTSYNC_SMTP_URL: ")
    assert "sek" not in said


def test_the_smtp_address_with_its_password_is_never_shown() -> None:
    settings = load_settings(smtp_url="smtp://u:hidden-password@mail", mail_from="a@example.com")
    assert "hidden-password" not in repr(settings) + str(settings)


def test_addresses_are_verified_first_in_production_unless_it_says_otherwise() -> None:
    assert [load_settings(env=env, **PRODUCTION).verifies_first for env in Environment] == [False, False, True]
    assert not load_settings(env="production", registration="open", **PRODUCTION).verifies_first
    assert load_settings(registration="verified").verifies_first


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


def test_googles_client_ids_are_a_list_and_its_secret_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMPTSYNC_GOOGLE_CLIENT_IDS", "web.example, android.example,")
    monkeypatch.setenv("PROMPTSYNC_GOOGLE_CLIENT_SECRET", "GOCSPX-secret")
    settings = load_settings(public_url="https://sync.example")
    assert settings.google_client_ids == ("web.example", "android.example")
    assert "GOCSPX" not in repr(settings)


@pytest.mark.parametrize("missing", ["google_client_ids", "public_url"])
def test_a_secret_for_google_needs_a_client_and_an_address_to_come_back_to(missing: str, capsys: pytest.CaptureFixture[str]) -> None:
    given = {"google_client_ids": "web.example", "google_client_secret": "GOCSPX-secret", "public_url": "https://sync.example"}
    with pytest.raises(typer.Exit), explained():
        load_settings(**{name: value for name, value in given.items() if name != missing})
    said = capsys.readouterr().err
    assert "PROMPTSYNC_GOOGLE_CLIENT_SECRET needs" in said
    assert "GOCSPX" not in said


@pytest.mark.parametrize("issuer", ["http://127.0.0.1:9400", "http://accounts.google.com"])
def test_production_takes_no_issuer_without_https(issuer: str) -> None:
    with pytest.raises(ValidationError, match="GOOGLE_ISSUER"):
        load_settings(**FIT | {"google_issuer": issuer})
    assert load_settings(google_issuer=issuer).google_issuer == issuer


@pytest.mark.parametrize(
    "issuer", ["accounts.google.com", "https://accounts.google.com/", "https://a.example/?x", "https://", "ftp://a.example"]
)
def test_an_issuer_is_an_address_as_its_tokens_spell_it(issuer: str) -> None:
    with pytest.raises(ValidationError, match="google_issuer"):
        load_settings(google_issuer=issuer)


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
