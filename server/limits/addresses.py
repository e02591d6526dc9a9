"""Whose address it is, as far as that can be known, and what counts as one address."""

import ipaddress
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeAlias

from starlette.types import Scope

UNKNOWN = "unknown"
"""Of a peer without an address, which a Unix socket has: all of them count as one, and none is a trusted proxy."""
_MAX_FORWARDED = 32

Network: TypeAlias = IPv4Network | IPv6Network


def bucket_of(address: str) -> str:
    """What is counted for an address: itself, or the /64 that an IPv6 subscriber has all of."""
    parsed = _parsed(address)
    if isinstance(parsed, IPv6Address):
        return str(IPv6Network((int(parsed) >> 64 << 64, 64)))
    return address if parsed is None else str(parsed)


def trusted_networks(setting: str) -> tuple[Network, ...]:
    """The addresses and networks in a comma-separated setting.

    Raises:
        ValueError: one of them is neither.
    """
    return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in setting.split(",") if part.strip())


def client_address(scope: Scope, trusted: Sequence[Network]) -> str:
    """The address that a request or socket comes from, as far as it can be known, in its usual spelling.

    X-Forwarded-For is believed only from a trusted proxy, and read from its end: the first hop that is no trusted proxy is the
    client, since everything before it is the client's own claim. `Forwarded` (RFC 7239) is not read: a proxy that sets the one
    passes the other on as the client wrote it.
    """
    client = scope.get("client")
    peer = _parsed(str(client[0])) if client else None
    if peer is None:
        return str(client[0]) if client and client[0] else UNKNOWN
    address = peer
    if _is_trusted(peer, trusted):
        lines = [value.decode("latin-1") for name, value in scope["headers"] if name == b"x-forwarded-for"]
        for hop in reversed(",".join(lines).split(",")[-_MAX_FORWARDED:]):
            parsed = _parsed(_without_port(hop.strip()))
            if parsed is None:
                break
            address = parsed
            if not _is_trusted(parsed, trusted):
                break
    return str(address)


def _without_port(hop: str) -> str:
    """The address in `address`, `v4:port`, `[v6]` or `[v6]:port`, as one proxy or the other writes them."""
    if hop.startswith("["):
        return hop[1:].partition("]")[0]
    return hop.partition(":")[0] if hop.count(":") == 1 else hop


def _parsed(address: str) -> IPv4Address | IPv6Address | None:
    """The address without its zone, an IPv4 address in IPv6's clothes as what it is; None where it is none."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return (parsed.ipv4_mapped or parsed) if isinstance(parsed, IPv6Address) else parsed


def _is_trusted(address: IPv4Address | IPv6Address, trusted: Sequence[Network]) -> bool:
    return any(address in network for network in trusted)
