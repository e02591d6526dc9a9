"""Which settings need others, and what production refuses to start with."""

from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import unquote, urlsplit

from server import smtp_address
from server.setting_forms import networks_in

if TYPE_CHECKING:
    from server.config import Settings  # which asks here

_Rules: TypeAlias = "tuple[tuple[Callable[[Settings], bool], str], ...]"
"""What is so is wrong, and why."""

INCOMPLETE: _Rules = (
    (
        lambda settings: (settings.tls_cert is None) != (settings.tls_key is None),
        "PROMPTSYNC_TLS_CERT and PROMPTSYNC_TLS_KEY go together: one is missing",
    ),
    (
        lambda settings: settings.smtp_url is not None and settings.mail_from is None,
        "PROMPTSYNC_SMTP_URL needs PROMPTSYNC_MAIL_FROM, what mails are from",
    ),
    (
        lambda settings: (settings.wechat_web_appid is None) != (settings.wechat_web_secret is None),
        "PROMPTSYNC_WECHAT_WEB_APPID and _SECRET go together",
    ),
    (
        lambda settings: (settings.wechat_app_appid is None) != (settings.wechat_app_secret is None),
        "PROMPTSYNC_WECHAT_APP_APPID and _SECRET go together",
    ),
    (
        lambda settings: (settings.wechat_mini_appid is None) != (settings.wechat_mini_secret is None),
        "PROMPTSYNC_WECHAT_MINI_APPID and _SECRET go together",
    ),
    (
        lambda settings: settings.wechat_web_appid is not None and not (settings.app_url and settings.public_url),
        "PROMPTSYNC_WECHAT_WEB_APPID needs PROMPTSYNC_PUBLIC_URL, where WeChat sends browsers back to, and PROMPTSYNC_APP_URL",
    ),
    (
        lambda settings: settings.google_client_secret is not None and not (settings.google_client_ids and settings.public_url),
        "PROMPTSYNC_GOOGLE_CLIENT_SECRET needs PROMPTSYNC_GOOGLE_CLIENT_IDS and PROMPTSYNC_PUBLIC_URL",
    ),
)

EXAMPLE_SECRETS = frozenset({"changeme", "change-me", "example", "password", "postgres", "promptsync", "secret", "test"})
"""What stands for a secret in examples, and is tried first by whoever tries."""

UNFIT: _Rules = (
    (
        lambda settings: not (settings.public_url or "").startswith("https://"),
        "production needs PROMPTSYNC_PUBLIC_URL, the https:// address clients use",
    ),
    (
        lambda settings: settings.smtp_url is None,
        "production needs PROMPTSYNC_SMTP_URL, where mails are handed over: without it links would be in the log",
    ),
    (
        lambda settings: settings.smtp_url is not None and smtp_address.parse(settings.smtp_url.get_secret_value()).says_it_in_clear,
        "production does not say the password in PROMPTSYNC_SMTP_URL without encryption: leave ?starttls out",
    ),
    (
        lambda settings: any(not origin.startswith("https://") for origin in settings.allowed_origins),
        "production takes pages from https:// alone: PROMPTSYNC_ALLOWED_ORIGINS has others",
    ),
    (
        lambda settings: not settings.google_issuer.startswith("https://"),
        "production needs a PROMPTSYNC_GOOGLE_ISSUER with https://",
    ),
    (
        lambda settings: not all(url.startswith("https://") for url in (settings.wechat_api_url, settings.wechat_qr_url)),
        "production needs https:// in PROMPTSYNC_WECHAT_API_URL and _QR_URL: the AppSecret is sent there",
    ),
    (
        lambda settings: (settings.app_url or "https://").startswith("http://"),
        "production needs an https:// address in PROMPTSYNC_APP_URL",
    ),
    (
        lambda settings: any(network.prefixlen == 0 for network in networks_in(settings.trusted_proxies)),
        "PROMPTSYNC_TRUSTED_PROXIES believes everybody: production needs the proxies' own addresses",
    ),
    (
        lambda settings: any(_password_in(secret).lower() in EXAMPLE_SECRETS for secret in settings.secrets.values()),
        "a secret is one of those that stand in examples: production needs its own",
    ),
)
"""What production refuses to start with, and why. Its keys are looked at where they are read (`server/keys.py`)."""


def missing_in(settings: "Settings") -> list[str]:
    """What is set without what it needs, a sentence each."""
    return [sentence for is_so, sentence in INCOMPLETE if is_so(settings)]


def unfit_in(settings: "Settings") -> list[str]:
    """What is only fit for trying out, a sentence each."""
    return [sentence for is_so, sentence in UNFIT if is_so(settings)]


def _password_in(secret: str) -> str:
    """The password of an address; what is none is a secret as a whole."""
    try:
        return unquote(urlsplit(secret).password or "") if "://" in secret else secret
    except ValueError:
        return ""
