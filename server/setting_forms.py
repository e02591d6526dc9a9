"""The forms of settings that are more than a text or a number."""

import ipaddress
import re
from collections.abc import Iterator
from urllib.parse import urlsplit


def networks_in(setting: str) -> Iterator[ipaddress.IPv4Network | ipaddress.IPv6Network]:
    """The networks in a list with commas; an address is a network of its own. Raises ValueError for what is none."""
    for part in setting.split(","):
        if part.strip():
            yield ipaddress.ip_network(part.strip(), strict=False)


def is_origin(text: str) -> bool:
    """Whether a browser would send it as an origin."""
    try:
        parts = urlsplit(text)
        return (
            text == f"{parts.scheme}://{parts.netloc}" and bool(parts.scheme and parts.hostname) and "*" not in text and text.isprintable()
        )
    except ValueError:
        return False


def is_postgres(text: str) -> bool:
    """Whether it is the address of a PostgreSQL that asyncpg reads as it is meant."""
    try:
        parts = urlsplit(text)
        # asyncpg takes several hosts, host:port,host:port
        ports = [int(host.rpartition("]")[2].partition(":")[2] or 5432) for host in parts.netloc.rpartition("@")[2].split(",")]
    except ValueError:
        return False
    return parts.scheme in ("postgres", "postgresql") and not parts.fragment and all(0 < port < 1 << 16 for port in ports)


def host_with_port(text: str) -> str:
    """A `host:port` in its one spelling. Raises ValueError unless the host is a name, or an address in its usual spelling."""
    from server.outgoing.addresses import checked_host, host_and_port  # most commands need no HTTP client
    from server.outgoing.errors import RefusedAddress

    host, _, port = text.rpartition(":")
    is_bracketed = host.startswith("[") and host.endswith("]")
    try:
        name = checked_host(host[1:-1] if is_bracketed else host)
    except RefusedAddress:
        raise ValueError from None
    if is_bracketed != (":" in name) or not re.fullmatch(r"[1-9][0-9]{0,4}", port) or int(port) >= 1 << 16:
        raise ValueError
    return host_and_port(name, int(port))
