"""The settings: the only place that reads the environment."""

import os
import re
from email.utils import parseaddr
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Self

from pydantic import AliasChoices, Field, SecretStr, ValidationInfo, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from server import setting_forms, setting_rules, smtp_address

_HOST = re.compile(r"[A-Za-z0-9_.-]+|\[[0-9A-Fa-f:.]+\]")
_APPID = r"^[A-Za-z0-9_-]{1,64}$"
_BASE_URL = r"^https?://[^\s/?#@]+$"


class Environment(StrEnum):
    """Where this server runs; production refuses what is only fit for trying out."""

    DEVELOPMENT = "development"
    STAGING = "staging"
    PRODUCTION = "production"


class Registration(StrEnum):
    """How an account is made."""

    OPEN = "open"
    """At once; its address is verified later."""
    VERIFIED = "verified"
    """Once the token in a mail has come back."""


class Settings(BaseSettings):
    """Every setting, its default and what it is for. Read from `PROMPTSYNC_<NAME>`."""

    # an error would quote what was given, passwords among it
    model_config = SettingsConfigDict(
        env_prefix="PROMPTSYNC_", env_ignore_empty=True, extra="ignore", frozen=True, hide_input_in_errors=True
    )

    env: Environment = Field(Environment.DEVELOPMENT, description="development, staging or production")
    host: str = Field(
        "127.0.0.1",
        validation_alias=AliasChoices("PROMPTSYNC_HOST", "HOST", "host"),
        description="address to listen on (`HOST` is read too)",
    )
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        validation_alias=AliasChoices("PROMPTSYNC_PORT", "PORT", "port"),
        description="port to listen on (`PORT` is read too); 0 takes a free one",
    )
    public_url: str | None = Field(None, description="the address clients use, `https://…`; required in production")
    app_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s#?]+$",
        description="the address of the web app that share links open in, `https://…`; default: they are answered without one",
    )
    allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="further host names that requests may be for, comma separated; that of the public address and loopback always may"
    )
    tls_cert: Path | None = Field(None, description="certificate chain in PEM form, the server's own first: serve https and wss")
    tls_key: Path | None = Field(None, description="its private key in PEM form, readable by this server alone")
    metrics_token: SecretStr | None = Field(
        None, min_length=16, description="what `/metrics` asks for as a bearer token; without it, it is open, and off in production"
    )
    data_dir: Path = Field(Path(".data"), description="folder of the embedded database, the key file and the lock")
    keys_file: Path | None = Field(None, description="key file; default `<data_dir>/keys.json`")
    database_url: SecretStr | None = Field(None, description="an external PostgreSQL >= 15, `postgresql://…`; default: the embedded one")
    database_pool: int = Field(
        8,
        ge=2,
        le=100,
        description="connections for REST, openings and jobs; two more write, one each is for the bus, compaction and the job queue,"
        " and one more while one is replaced",
    )

    workers: int = Field(1, ge=1, le=64, description="processes that serve the port; the devices of a library meet in one of them")
    redis_url: SecretStr | None = Field(
        None, description="`redis://…` or `rediss://…`: Redis or Valkey carries messages and counts for limits; default: PostgreSQL"
    )
    jobs: bool = Field(True, description="run background jobs inside `serve`; false where `promptsync worker` runs them")
    drain_seconds: float = Field(4.0, ge=0, le=5, description="a server that stops closes its sockets spread over so long")

    compact_updates: int = Field(500, ge=2, description="updates after the snapshot from which on a library is compacted")
    compact_bytes: int = Field(
        256 << 10, ge=1024, description="their bytes from which on it is (or a third of the snapshot, if that is more)"
    )
    trim_after_seconds: float = Field(3600.0, ge=0, description="how long compacted updates are kept besides their snapshot")

    allowed_origins: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="exact browser origins, comma separated; empty: same host only"
    )
    trusted_proxies: str = Field("", description="addresses whose X-Forwarded-For is believed, comma separated")
    idle_seconds: float = Field(
        15.0,
        gt=0,
        description="a connection that asks for nothing for so long is closed; more than a proxy keeps its own, if one is in front",
    )
    log_level: str = Field("info", description="debug, info, warning or error")

    access_token_seconds: int = Field(600, ge=60, le=3600, description="life of an access token")
    session_idle_days: int = Field(60, ge=1, le=36500, description="a session that is not refreshed for so long ends")
    session_absolute_days: int = Field(180, ge=1, le=36500, description="a session ends after so long in any case")
    refresh_grace_seconds: int = Field(
        30, ge=0, le=300, description="how long the previous refresh token still answers with the current one"
    )

    recent_login_seconds: int = Field(
        600, ge=60, le=86400, description="how long after signing in one may change password, address and identities, or delete the account"
    )

    audit_days: int = Field(
        365, ge=30, le=36500, description="how long the audit log is kept; the database refuses to delete rows younger than 30 days"
    )

    registration: Registration | None = Field(
        None,
        description="`open`: registering makes an account at once; `verified`: once its mailbox was shown; default: verified in production",
    )
    smtp_url: SecretStr | None = Field(
        None,
        description="`smtp://user:password@host:587` or `smtps://…` takes our mails; required in production. Default: they go to the log",
    )
    mail_from: str | None = Field(None, description="what mails are from, `Name <address>`; required with the one above")
    mail_token_minutes: int = Field(10, ge=1, le=1440, description="how long a token in a mail is good for")

    wechat_web_appid: str | None = Field(
        None, pattern=_APPID, description="the website registered at WeChat (docs/wechat.md); takes `public_url` and `app_url` too"
    )
    wechat_web_secret: SecretStr | None = Field(None, description="its AppSecret")
    wechat_app_appid: str | None = Field(None, pattern=_APPID, description="the mobile app registered at WeChat")
    wechat_app_secret: SecretStr | None = Field(None, description="its AppSecret")
    wechat_mini_appid: str | None = Field(None, pattern=_APPID, description="the mini-program registered at WeChat")
    wechat_mini_secret: SecretStr | None = Field(None, description="its AppSecret")
    wechat_api_url: str = Field("https://api.weixin.qq.com", pattern=_BASE_URL, description="where WeChat is asked who somebody is")
    wechat_qr_url: str = Field("https://open.weixin.qq.com", pattern=_BASE_URL, description="where WeChat's page with the QR code is")

    google_client_ids: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="OAuth client ids at Google, comma separated, the web client's first; empty: nobody signs in with Google"
    )
    google_client_secret: SecretStr | None = Field(
        None, description="the web client's secret: browsers may be sent to Google's page; takes `public_url` too"
    )
    google_issuer: str = Field(
        "https://accounts.google.com",
        pattern=r"^https?://[^\s?#]*[^\s?#/]$",
        description="another OpenID provider in Google's place, for tests",
    )

    login_attempts_a_minute: int = Field(10, ge=1, description="logins an address may try a minute; past it: 429")
    login_attempts_burst: int = Field(20, ge=1, description="so many of them may come at once")
    login_free_failures: int = Field(
        5, ge=1, description="failed logins of an account from one address (or own device) before waits begin: 1 s, 2 s, 4 s, …"
    )
    login_failures_an_account: int = Field(
        50, ge=1, description="failed logins of an account from all addresses and devices that are not its own before those wait"
    )
    login_wait_seconds: int = Field(900, ge=1, le=86400, description="the longest of these waits; failures are forgotten after 12 hours")
    registrations_an_hour: int = Field(30, ge=1, description="accounts an address may register an hour; past it: 429")
    mails_a_mailbox: int = Field(5, ge=1, description="mails of one kind that may be asked for to one mailbox in an hour; past it: 429")
    mails_an_address: int = Field(30, ge=1, description="mails that an address may ask for in an hour; past it: 429")
    refreshes_a_minute: int = Field(60, ge=1, description="refreshes of a session from an address a minute; past it: 429")
    refreshes_an_address: int = Field(600, ge=1, description="refreshes an address may ask for a minute, for any sessions; past it: 429")
    password_checks: int = Field(10, ge=1, description="times a signed-in user may show or change the password in 15 minutes; past it: 429")
    social_attempts_a_minute: int = Field(
        30, ge=1, description="sign-ins by other providers an address may try a minute, twice as many at once; past it: 429"
    )
    openings_a_minute: int = Field(600, ge=1, description="sockets an address may open a minute, before any database work; past it: 4503")
    openings_a_user_a_second: int = Field(50, ge=1, description="sockets a user may open a second; past it: close 4503")
    sockets_a_user: int = Field(200, ge=1, description="sockets a user may have open at a time in a process; past it: close 4503")
    socket_updates_a_second: int = Field(
        20_000,
        ge=1,
        description="messages taken from a socket a second (ten times as many at once); past it it is not read from for a while",
    )
    socket_bytes_a_second: int = Field(16 << 20, ge=1 << 20, description="and bytes of them")
    sync_requests_a_minute: int = Field(600, ge=1, description="requests of `POST /api/sync` a user may make a minute; past it: 429")
    sync_bytes_a_minute: int = Field(
        1 << 30, ge=1 << 20, description="and bytes of their bodies, of which each request counts as its share"
    )
    imports_a_minute: int = Field(
        10, ge=1, description="files a user may import or preview a minute, three times as many at once; past it: 429"
    )
    force_seconds: int = Field(5, ge=1, description="a user may have libraries brought up to date once in so long; past it: 429")
    restores_a_minute: int = Field(10, ge=1, description="libraries a user may have put back a minute; past it: 429")

    model_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (),
        description="`host:port`, comma separated, that configurations may name though private or plain http: `localhost:11434`",
    )
    models_file: Path | None = Field(None, description="a JSON file of models that everybody here may use, and prices (docs/models.md)")
    model_connect_seconds: float = Field(5.0, gt=0, le=60, description="how long connecting to a provider may take")
    model_idle_seconds: float = Field(60.0, gt=0, le=600, description="how long a provider may say nothing; past it the call has failed")
    model_call_seconds: float = Field(300.0, gt=0, le=3600, description="how long a call may take over all")
    model_calls_a_minute: int = Field(60, ge=1, description="calls of models a user may ask for a minute; past it: 429")
    model_calls_at_once: int = Field(8, ge=1, description="calls of models a user may have running at a time in a process; past it: 429")
    model_validations_a_minute: int = Field(5, ge=1, description="keys a user may have their providers asked about a minute; past it: 429")
    shared_model_tokens_a_day: int | None = Field(
        None, ge=1, description="tokens a user may use of the operator's models a day (UTC); past it: 429; default: no limit"
    )
    usage_days: int = Field(400, ge=1, le=36500, description="how long calls of models are kept for `GET /api/usage`")

    shared_reads_a_minute: int = Field(120, ge=1, description="shared prompts an address may read a minute")
    shared_failures_an_address: int = Field(
        30, ge=1, description="share links an address may ask for in 15 minutes that are none; past it: 429 for all of them"
    )

    max_update_bytes: int = Field(32 << 20, description="largest update on a socket; past it: close 4413, use `POST /api/sync`")
    max_upload_bytes: int = Field(128 << 20, description="largest update by `POST /api/sync`; past it: 413")
    max_body_bytes: int = Field(1 << 20, description="largest JSON body; past it: 413")
    max_batch_bytes: int = Field(8 << 20, description="largest body of `POST /api/prompts/batch`; past it: 413")
    max_import_bytes: int = Field(64 << 20, ge=1024, description="largest file of `POST /api/import`; past it: 413")
    outbox_bytes: int = Field(1 << 20, description="what a slow reader may leave unread before it is closed with 1013")
    opening_bytes: int = Field(256 << 20, description="opening answers in flight in this process; past it openings wait")
    opening_stall_seconds: float = Field(
        30.0, gt=0, description="an opening answer of which nothing is read for so long is closed with 1013"
    )
    writer_queue_bytes: int = Field(64 << 20, description="updates that wait to be stored; past it sockets are closed with 1013")
    room_cache_bytes: int = Field(128 << 20, description="what rooms without members may keep in memory")
    document_cache_bytes: int = Field(128 << 20, description="merged libraries kept for openings")
    open_document_bytes: int = Field(256 << 20, description="libraries kept open as documents for REST; past it the longest unused go")
    document_workers: int = Field(1, ge=1, le=16, description="processes that hold the larger ones, each of about 40 MB and what is open")
    socket_inflight_bytes: int = Field(8 << 20, description="unstored updates of one socket before it is no longer read from")
    ping_seconds: float = Field(20.0, gt=0, description="a socket that does not answer a ping for so long is dropped")
    keepalive_seconds: float = Field(15.0, gt=0, description="a socket that was sent nothing for so long gets a keep-alive frame")
    session_poll_seconds: float = Field(1.0, gt=0, description="how often live sockets are compared with their sessions")
    update_workers: int = Field(1, ge=1, le=16, description="processes that inspect, merge and diff large updates")

    @field_validator("google_client_ids", "model_hosts", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_origins", "allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip().rstrip("/") for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @field_validator("allowed_origins")
    @classmethod
    def _exact(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        # "*" among them would let every page read answers, and a path or a space never equals what a browser sends
        if not all(setting_forms.is_origin(origin) for origin in value):
            raise ValueError("each origin is a scheme and a host as browsers send them, https://app.example, with no path and no *")
        return value

    @field_validator("allowed_hosts")
    @classmethod
    def _names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_HOST.fullmatch(name) for name in value):
            raise ValueError("each host is a name or address alone, sync.example, with no scheme, port, path or *")
        return tuple(name.lower().rstrip(".") for name in value)

    @field_validator("model_hosts")
    @classmethod
    def _hosts_with_ports(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            return tuple(setting_forms.host_with_port(text) for text in value)
        except ValueError:
            # what was given is not repeated: somebody may have put a whole address with a key there
            raise ValueError("each is host:port alone, localhost:11434 or [fd00::7]:8080, with no scheme and no path") from None

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, value: str) -> str:
        list(setting_forms.networks_in(value))
        return value

    @field_validator("database_url")
    @classmethod
    def _address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not setting_forms.is_postgres(value.get_secret_value()):
            # a password with / # ? or @ in it is the usual cause; the parser's own error would quote a part of it
            raise ValueError("not postgresql://user:password@host:port/database; special characters in it are percent-encoded")
        return value

    @field_validator("smtp_url")
    @classmethod
    def _smtp_server(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            smtp_address.parse(value.get_secret_value())
        return value

    @field_validator("mail_from")
    @classmethod
    def _mailbox(cls, value: str | None) -> str | None:
        if value is not None and not (value.isprintable() and parseaddr(value)[1].isascii() and parseaddr(value)[1].count("@") == 1):
            raise ValueError("not a mail address, or a name and an address in <>")
        return value

    @field_validator("log_level")
    @classmethod
    def _level(cls, value: str, info: ValidationInfo) -> str:
        if value.lower() not in {"debug", "info", "warning", "error"}:
            raise ValueError(f"{info.field_name} is debug, info, warning or error")
        return value.lower()

    @model_validator(mode="after")
    def _by_the_rules(self) -> Self:
        if missing := setting_rules.missing_in(self):
            raise ValueError("; ".join(missing))
        if self.production and (found := setting_rules.unfit_in(self)):
            raise ValueError("; ".join(found))
        return self

    @property
    def secrets(self) -> dict[str, str]:
        """Every secret that is set, in the clear, by the name of its setting: never to be logged or shown."""
        return {name: value.get_secret_value() for name in type(self).model_fields if isinstance(value := getattr(self, name), SecretStr)}

    @property
    def verifies_first(self) -> bool:
        """Whether an account is made only once its mailbox was shown."""
        return (self.registration or (Registration.VERIFIED if self.production else Registration.OPEN)) is Registration.VERIFIED

    @property
    def sender(self) -> str:
        """What mails are from."""
        return self.mail_from or "promptsync@localhost"

    @property
    def key_path(self) -> Path:
        """The key file that is used."""
        return self.keys_file or self.data_dir / "keys.json"

    @property
    def issuer(self) -> str:
        """The `iss` of our tokens: stable over restarts, whatever the port."""
        return self.public_url or "promptsync"

    @property
    def production(self) -> bool:
        return self.env is Environment.PRODUCTION


class ClientSettings(BaseSettings):
    """What a command reads that is a client of some server."""

    model_config = SettingsConfigDict(env_prefix="PROMPTSYNC_", env_ignore_empty=True, extra="ignore", frozen=True)

    token: SecretStr | None = None


def load_settings(**given: object) -> Settings:
    """The settings as the environment gives them, `given` first.

    Raises:
        pydantic.ValidationError: a setting is not what it may be.
    """
    return Settings(**given)  # type: ignore[arg-type]  # checked by the model itself


def environment_for(**settings: str) -> dict[str, str]:
    """This process's environment with none of our settings but the given ones, for a server started by a command."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PROMPTSYNC_") and name not in ("HOST", "PORT")}
    return kept | {f"PROMPTSYNC_{name.upper()}": value for name, value in settings.items()}
