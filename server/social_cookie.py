"""The cookie that binds a sign-in at another provider to the browser that began it."""

from starlette.requests import Request
from starlette.responses import Response

from auth.social_states import LIFETIME, MAX_CHARACTERS
from server.config import Settings

PATH = "/"
"""What the prefix `__Host-` asks for."""


def keep(response: Response, secret: str, settings: Settings) -> None:
    """Have the browser keep the secret until the sign-in is over. A later sign-in replaces it: the one begun last can be finished.

    SameSite=Lax, not Strict: the provider's page sends the browser back, which counts as coming from another site.
    """
    response.set_cookie(
        _name(settings), secret, max_age=int(LIFETIME.total_seconds()), path=PATH, secure=_is_https(settings), httponly=True, samesite="lax"
    )


def kept(request: Request, settings: Settings) -> str | None:
    """The secret that the browser sends; None without one, or where it sends two."""
    name = f"{_name(settings)}="
    pairs = [pair.strip() for header in request.headers.getlist("cookie") for pair in header.split(";")]
    found = [pair.removeprefix(name) for pair in pairs if pair.startswith(name)]
    return found[0] if len(found) == 1 and 0 < len(found[0]) <= MAX_CHARACTERS else None


def drop(response: Response, settings: Settings) -> None:
    """Have the browser forget it."""
    response.delete_cookie(_name(settings), path=PATH, secure=_is_https(settings), httponly=True, samesite="lax")


def _name(settings: Settings) -> str:
    # `__Host-` needs Secure, and not every browser takes Secure cookies from http://localhost
    return "__Host-promptsync-social" if _is_https(settings) else "promptsync-social"


def _is_https(settings: Settings) -> bool:
    return (settings.public_url or "").startswith("https://")
