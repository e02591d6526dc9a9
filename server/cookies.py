"""The refresh token of a browser, in a cookie that no script can read: cookie mode, which a page asks for with `X-Session-Mode: cookie`.

The name begins with `__Host-`, so the browser takes the cookie only from this very host, over https and for all paths (RFC 6265bis,
4.1.3): no sub-domain can plant another one. Chrome and Firefox count http://localhost as secure; Safari does not, and takes none there.
"""

from starlette.datastructures import Headers
from starlette.responses import Response

from auth.errors import InvalidRefreshToken
from server.config import Settings

REFRESH = "__Host-promptsync_refresh"
MODE_HEADER = "x-session-mode"
COOKIE_MODE = "cookie"
DAY_SECONDS = 86_400


def wants_cookie(headers: Headers) -> bool:
    """Whether the refresh token is to go into the cookie."""
    return headers.get(MODE_HEADER) == COOKIE_MODE


def refresh_cookie(headers: Headers) -> str | None:
    """The refresh token that the browser has sent along; None where there is none.

    Raises:
        InvalidRefreshToken: there are two different ones, which no browser sends.
    """
    pairs = (part.strip().partition("=") for line in headers.getlist("cookie") for part in line.split(";"))
    found = {value for name, _, value in pairs if name == REFRESH and value}
    if len(found) > 1:
        raise InvalidRefreshToken
    return found.pop() if found else None


def set_refresh_cookie(response: Response, token: str, settings: Settings) -> None:
    """Have the browser keep this refresh token in place of any other, as long as a session lasts that is not used."""
    days = min(settings.session_idle_days, settings.session_absolute_days)
    response.set_cookie(REFRESH, token, max_age=days * DAY_SECONDS, path="/", secure=True, httponly=True, samesite="strict")


def clear_refresh_cookie(response: Response) -> None:
    """Have the browser forget it."""
    response.delete_cookie(REFRESH, path="/", secure=True, httponly=True, samesite="strict")
