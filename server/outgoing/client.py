"""The one client that asks addresses of users' choice: every process keeps one, for its connections and its TLS context."""

import ssl
from collections.abc import Callable

import httpcore2
import httpx2

from auth.outbound import trusted
from server.config import Settings
from server.outgoing.addresses import HTTPS_PORT
from server.outgoing.backend import CheckedBackend
from server.outgoing.public import is_public as of_the_internet
from server.outgoing.resolver import Address, Resolve, Resolver
from server.outgoing.transport import GuardedTransport

MAX_CONNECTIONS = 1000
"""Of a process, so that sockets are left for devices; each running call has one. Past it a call waits as long as for connecting, and
fails."""
MAX_KEPT_CONNECTIONS = 50
"""Unused ones, for the next call; past it the longest unused are closed."""
KEPT_SECONDS = 15.0
"""How long an unused one is kept: so long at most a host is asked where its name no longer leads."""


def make_client(
    settings: Settings,
    *,
    resolve: Resolve | None = None,
    is_public: Callable[[Address], bool] = of_the_internet,
    trust: ssl.SSLContext | None = None,
    port: int = HTTPS_PORT,
) -> httpx2.AsyncClient:
    """A client that connects only to public addresses and to those that `settings.model_hosts` allows; whoever makes it closes it.

    It follows no redirect, keeps no cookie, speaks HTTP/1.1 alone, reads nothing from the environment, and bounds what an answer may
    take in bytes and time, whatever its user asks for. Its errors are httpx2's; `refusal_in` tells those of a refused address.

    `resolve`, `is_public`, `trust` (of certificates) and `port` (in the place of 443) are for tests.
    """
    # the default resolver, the system's, is made here: each client counts its own lookups
    backend = CheckedBackend(resolve or Resolver(), is_public, settings.model_hosts)
    pool = httpcore2.AsyncConnectionPool(
        ssl_context=trust or trusted(),
        max_connections=MAX_CONNECTIONS,
        max_keepalive_connections=MAX_KEPT_CONNECTIONS,
        keepalive_expiry=KEPT_SECONDS,
        # HTTP/2 would let one connection serve several hosts, of which one was checked
        http1=True,
        http2=False,
        retries=0,
        network_backend=backend,
    )
    timeouts = {
        "connect": settings.model_connect_seconds,
        "read": settings.model_idle_seconds,
        "write": settings.model_idle_seconds,
        "pool": settings.model_connect_seconds,
    }
    transport = GuardedTransport(pool, allowed=settings.model_hosts, timeouts=timeouts, seconds=settings.model_call_seconds, port=port)
    return httpx2.AsyncClient(
        transport=transport,
        timeout=httpx2.Timeout(**timeouts),
        follow_redirects=False,
        trust_env=False,
        headers={"User-Agent": "promptsync"},
    )
