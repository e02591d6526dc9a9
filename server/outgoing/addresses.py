"""Base URLs as users give them, and the one form in which they are kept and asked.

An address is read by the parser that asks it later (httpx2), and what is kept is built anew from what that parser found: no two readers
can understand it differently. Where a name leads is not asked here, but at each connection (`server/outgoing/backend.py`).
"""

import re
from collections.abc import Collection
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import NamedTuple

import httpx2

from server.outgoing.errors import Reason, RefusedAddress
from server.outgoing.public import is_public

MAX_URL = 2048
"""Characters of an address; providers' have below a hundred. Past it: refused."""
MAX_NAME = 253
"""Characters of a host's name (RFC 1035)."""
HTTPS_PORT = 443
"""The one port that is asked without the operator's word: on others, private services listen rather than providers of models."""
_DEFAULT_PORTS = {"https": HTTPS_PORT, "http": 80}
_AUTHORITY = re.compile(r"(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:%@]+)(?P<port>:[0-9]{1,5})?")
_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
"""A last label by which resolvers, and browsers, take the whole for an IPv4 address: `127.1`, `0x7f000001` (WHATWG URL 3.5)."""
_PATH = re.compile(r"(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*")
_CUT_OFF = "/chat/completions"
"""People paste the whole address of a call; the app cuts this off, and so do we."""
_PRIVATE_NAMES = ("localhost", "local", "localdomain", "internal", "intranet", "lan", "home.arpa")
"""Domains that are none of the public Internet (RFC 6761, 6762 and 8375, ICANN on `internal`, and custom)."""


class BaseUrl(NamedTuple):
    """A base URL that may be asked."""

    url: str
    """`https://host/path`, with the port if it is not the scheme's own, and without a slash at the end."""
    origin: str
    """`https://host`: what a key is bound to."""


def checked_base_url(text: str, *, allowed: Collection[str], port: int = HTTPS_PORT) -> BaseUrl:
    """The address in the form in which it is kept and asked. Looks nothing up.

    `allowed` is the operator's list of `host:port` (`Settings.model_hosts`), which may be private and asked without TLS; `port` stands
    for 443 in tests.

    Raises:
        RefusedAddress: it is none that this server asks, or not one address to every reader.
    """
    if not text or len(text) > MAX_URL or any(char == "\\" or char.isspace() or not char.isprintable() for char in text):
        raise RefusedAddress(Reason.FORM)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme.lower() not in _DEFAULT_PORTS:
        raise RefusedAddress(Reason.SCHEME)
    if "?" in rest or "#" in rest:
        raise RefusedAddress(Reason.QUERY)
    authority = rest.partition("/")[0]
    if "@" in authority:
        raise RefusedAddress(Reason.USERINFO)
    if not _AUTHORITY.fullmatch(authority):
        raise RefusedAddress(Reason.HOST)
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL:
        raise RefusedAddress(Reason.HOST) from None
    host = checked_host(url.raw_host.decode("ascii"))
    check_place(url.scheme, host, url.port, allowed=allowed, port=port)
    return _rebuilt(url, host)


def checked_host(text: str) -> str:
    """The host (a name in ASCII, or an address without brackets) in its one spelling: lower case, no dot at the end.

    Raises:
        RefusedAddress: it is no name, or an address that is not spelled as one.
    """
    with suppress(ValueError):
        address = ip_address(text)
        if not isinstance(address, IPv6Address) or address.scope_id is None:
            return address.compressed
    name = text.lower().removesuffix(".")
    if len(name) > MAX_NAME or not _NAME.fullmatch(name) or _NUMBER.fullmatch(name.rpartition(".")[2]):
        raise RefusedAddress(Reason.HOST)
    return name


def check_place(scheme: str, host: str, given_port: int | None, *, allowed: Collection[str], port: int = HTTPS_PORT) -> None:
    """Raise RefusedAddress unless this scheme, host (in its one spelling) and port may be asked, so far as they tell."""
    number = _DEFAULT_PORTS.get(scheme) if given_port is None else given_port
    if number is not None and host_and_port(host, number) in allowed:
        return
    if scheme != "https":
        raise RefusedAddress(Reason.SCHEME)
    if number != port:
        raise RefusedAddress(Reason.PORT)
    if (address := literal(host)) is not None:
        if not is_public(address):
            raise RefusedAddress(Reason.PRIVATE)
    elif "." not in host or any(host == name or host.endswith(f".{name}") for name in _PRIVATE_NAMES):
        raise RefusedAddress(Reason.PRIVATE)


def host_and_port(host: str, port: int | None) -> str:
    """`host:port`, an IPv6 address in brackets, as the operator's list has it; without a port, as an address has it."""
    shown = f"[{host}]" if ":" in host else host
    return shown if port is None else f"{shown}:{port}"


def literal(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is, None if it is a name."""
    try:
        return ip_address(host)
    except ValueError:
        return None


def _rebuilt(url: httpx2.URL, host: str) -> BaseUrl:
    path = url.raw_path.decode("ascii").rstrip("/")
    path = path.removesuffix(_CUT_OFF).rstrip("/")
    if not _PATH.fullmatch(path):
        raise RefusedAddress(Reason.FORM)
    # httpx2 leaves the scheme's own port out only where the scheme came in lower case
    origin = f"{url.scheme}://{host_and_port(host, None if url.port == _DEFAULT_PORTS[url.scheme] else url.port)}"
    return BaseUrl(origin + path, origin)
