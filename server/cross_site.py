"""Which pages may act for the user of a browser: those of our own origin, and those on the list. Not those of a neighbouring sub-domain.

A browser says itself where a request comes from, by headers that no page can set: `Sec-Fetch-Site` (Fetch Metadata, W3C) and `Origin`
(RFC 6454, 7). Cookies go along whoever asks, so whatever reads one looks here first.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers

from server.config import Settings
from server.errors import CrossSite

OWN_SITE = frozenset({"same-origin", "none"})
"""What `Sec-Fetch-Site` says of a page of our own origin, and of what the user has asked for without any page."""


def require_own_page(headers: Headers, settings: Settings) -> None:
    """Raise CrossSite unless the browser says that a page that may act for its user has sent this; one that says nothing is refused."""
    if headers.get("sec-fetch-site") in OWN_SITE:
        return
    origin = headers.get("origin")
    if origin is None or not is_known(origin, headers, settings):
        raise CrossSite


def is_known(origin: str, headers: Headers, settings: Settings) -> bool:
    """Whether pages of this origin are ours or on the list, to the letter; where nothing is set, those of the host that is asked."""
    known = {*settings.allowed_origins, *([origin_of(settings.public_url)] if settings.public_url else [])}
    if known:
        return origin in known
    return bool(host := _netloc(origin)) and host == headers.get("host")


def origin_of(url: str) -> str:
    """The origin of an address, as browsers write it: scheme, host, and the port where it is not the scheme's own."""
    parts = urlsplit(url)
    default = {"https": 443, "http": 80}.get(parts.scheme)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port not in (None, default) else "")


def _netloc(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""
