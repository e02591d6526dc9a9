"""The forms of settings that are more than a text or a number."""

import ipaddress
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
