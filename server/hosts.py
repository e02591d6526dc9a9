"""Which hosts requests may be for. A page of another name that leads to this address (DNS rebinding) is not ours, whatever its origin says.

Supervisors and load balancers ask by whatever address they have: what they ask reads nothing of anybody, and is left out.
"""

import ipaddress
import re
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from server.config import Settings
from server.errors import UnknownHost, problem_of

ANY_HOST_PATHS = frozenset({"/healthz", "/readyz", "/metrics"})
"""What is answered whatever the host."""
LOOPBACK = frozenset({"localhost", "127.0.0.1", "[::1]"})
"""Names that lead nobody else's browser here."""

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:/@\[\]\s]+)(?::[0-9]{1,5})?")


class KnownHost:
    """Refuses requests for hosts that are not served here."""

    def __init__(self, app: ASGIApp, *, settings: Settings) -> None:
        self._app = app
        self._settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] not in ANY_HOST_PATHS and not is_served(Headers(scope=scope), self._settings):
            await problem_of(UnknownHost()).response()(scope, receive, send)
            return
        await self._app(scope, receive, send)


def is_served(headers: Headers, settings: Settings) -> bool:
    """Whether it is for a host of ours: the public address's, a listed one, loopback, and except in production any bare address."""
    found = _HOST.fullmatch(headers.get("host", ""))
    if found is None:
        return False
    name = found[1].lower().rstrip(".")
    public = urlsplit(settings.public_url or "").netloc.rpartition("@")[2]
    if name in LOOPBACK or name in settings.allowed_hosts or name == re.sub(r":[0-9]+$", "", public).lower():
        return True
    return not settings.production and _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
