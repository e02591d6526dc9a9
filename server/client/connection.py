"""What a connection begins with, and what is told of it."""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeAlias

Token: TypeAlias = str | Callable[[], str | Awaitable[str]]


@dataclass(frozen=True, slots=True)
class Connected:
    """The server knows us on a new socket; `count` such there were."""

    count: int


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The socket is gone, or there was none; the next attempt comes after `seconds`, or never."""

    reason: str
    seconds: float | None


async def current(token: Token) -> str:
    """The token to connect with now. Raises what the application's function does."""
    if isinstance(token, str):
        return token
    given = token()
    return await given if inspect.isawaitable(given) else given
