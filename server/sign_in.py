"""Signing in to a server from a command, and out again."""

import json
import urllib.error
import urllib.request
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from server.config import ClientSettings
from server.errors import ServerError

ANSWER_SECONDS = 20.0


class SignInFailed(ServerError):
    """The server did not let us in; the text says why."""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """A session of this command's own."""

    access_token: str = field(repr=False)
    sync_token: str = field(repr=False)


def given_token(file: Path | None) -> str | None:
    """The token in the file, or in the environment; None where there is neither. It is never an argument: others see those."""
    if file is not None:
        return file.read_text().strip()
    token = ClientSettings().token
    return None if token is None else token.get_secret_value()


def sign_in(url: str, email: str, password: str) -> SignedIn:
    """A new session of the account. Raises SignInFailed."""
    try:
        answer = _post(f"{url.rstrip('/')}/api/auth/login", {"email": email, "password": password}, {})
        return SignedIn(answer["access_token"], answer["sync_token"])
    except urllib.error.HTTPError as error:
        raise SignInFailed(f"{url} does not let {email} in: {title_of(error)}") from None
    except (OSError, ValueError, KeyError) as error:
        raise SignInFailed(f"{url} does not answer as a promptsync server: {error}") from None


def sign_out(url: str, session: SignedIn) -> None:
    """End the session; one that cannot be ended ends by itself when it is not used."""
    with suppress(OSError, ValueError):
        _post(f"{url.rstrip('/')}/api/auth/logout", {}, {"Authorization": f"Bearer {session.access_token}"})


def _post(url: str, body: dict[str, str], headers: dict[str, str]) -> dict[str, Any]:
    if not url.startswith(("http://", "https://")):
        raise ValueError("an address begins with https:// or http://")
    request = urllib.request.Request(  # noqa: S310  # looked at above
        url, json.dumps(body).encode(), {"Content-Type": "application/json"} | headers
    )
    with urllib.request.urlopen(request, timeout=ANSWER_SECONDS) as answer:  # noqa: S310
        content = answer.read()
    found = json.loads(content) if content else {}
    return found if isinstance(found, dict) else {}


def title_of(error: urllib.error.HTTPError) -> str:
    """What the server says of a refusal."""
    with suppress(OSError, ValueError, AttributeError):
        return str(json.loads(error.read()).get("title") or error.code)
    return str(error.code)
