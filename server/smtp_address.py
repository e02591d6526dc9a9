"""Where mails are handed over, as one address: `smtp://user:password@host:587` or `smtps://user:password@host:465`."""

from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl, unquote, urlsplit

PORTS = {"smtp": 587, "smtps": 465}
"""Submission (RFC 6409) and submission over TLS from the start (RFC 8314)."""
FORM = "not smtp://user:password@host:port or smtps://…; special characters in it are percent-encoded"


class Encryption(StrEnum):
    """When the connection is encrypted."""

    TLS = "tls"
    """From its start."""
    REQUIRED = "required"
    """By STARTTLS, before anything else is said; without it nothing is sent."""
    OPTIONAL = "optional"
    """By STARTTLS where the server offers it."""
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class SmtpServer:
    """The server that takes our mails, and what we sign in to it with."""

    host: str
    port: int
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    encryption: Encryption

    @property
    def says_it_in_clear(self) -> bool:
        """Whether the password may go over a connection that is not encrypted."""
        return self.password is not None and self.encryption in (Encryption.OPTIONAL, Encryption.NEVER)


def parse(url: str) -> SmtpServer:
    """The server in this address.

    `smtps` is encrypted from the start. `smtp` must be by STARTTLS where there is a password, and is where the server offers it
    otherwise; `?starttls=required`, `optional` or `never` says something else.

    Raises:
        ValueError: it is no such address; the text does not repeat it.
    """
    try:
        parts = urlsplit(url)
        port = parts.port or PORTS.get(parts.scheme, 0)
        options = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
        username, password = (None if part is None else unquote(part, errors="strict") for part in (parts.username, parts.password))
    except ValueError:
        raise ValueError(FORM) from None
    said = (parts.hostname or "") + (username or "") + (password or "")
    if not port or not parts.hostname or parts.path not in ("", "/") or parts.fragment or not said.isprintable():
        raise ValueError(FORM)
    if (username is None) != (password is None):
        raise ValueError("a user needs a password, and a password a user")
    return SmtpServer(
        host=parts.hostname,
        port=port,
        username=username,
        password=password,
        encryption=_encryption(parts.scheme, options, signs_in=password is not None),
    )


def _encryption(scheme: str, options: dict[str, str], *, signs_in: bool) -> Encryption:
    asked = options.pop("starttls", None)
    if options or (asked is not None and (scheme == "smtps" or asked not in ("required", "optional", "never"))):
        raise ValueError("the only option is ?starttls=required, optional or never, of smtp:// alone")
    if scheme == "smtps":
        return Encryption.TLS
    return Encryption(asked or ("required" if signs_in else "optional"))
