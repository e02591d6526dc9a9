"""`GET /api/export`: a library as a file, for a copy, for another server, or for Prompt Optimizer."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any, NamedTuple
from urllib.parse import quote
from uuid import UUID
from weakref import WeakValueDictionary

from fastapi import APIRouter, Query, Request, Response
from starlette.types import Receive, Scope, Send

from server.intents.exporting import Exported, Format, export
from server.problems import fails
from server.routes.asking import Served
from server.routes.at import READS, At
from server.routes.body import StrictRoute
from server.routes.pieces import send_pieces
from server.sockets import Hall
from server.times import ms

EXPORTS_AT_ONCE = 2
"""Exports of this process that are made and not counted in the budget of openings yet: each may take as much as its bound. Others wait."""
JSON, ZIP = "application/json", "application/zip"


class _File(NamedTuple):
    """How the file of a format is called; `{name}` is the library's, `{day}` the day."""

    name: str
    media_type: str


FILES = {
    Format.LIBRARY: _File("{name} {day}.promptsync.json", JSON),
    Format.LIBRARY_ZIP: _File("{name} {day}.promptsync.zip", ZIP),
    Format.APP: _File("prompt-optimizer-data-{day}.json", JSON),
    Format.FAVORITES: _File("favorites_{day}.json", JSON),
    Format.BACKUP_ZIP: _File("prompt-optimizer-backup-{day}.po-backup.zip", ZIP),
    Format.FAVORITES_ZIP: _File("favorites_{day}.po-favorites.zip", ZIP),
}
_FILE: dict[str, Any] = {
    "description": "The file",
    "content": {JSON: {"schema": {"type": "object"}}, ZIP: {"schema": {"type": "string", "format": "binary"}}},
    "headers": {
        "Content-Disposition": {"description": "what the file is called", "schema": {"type": "string"}},
        "X-Left-Out": {
            "description": "how many things are not in it: damaged ones, those called as secrets are, and what the format has no room for",
            "schema": {"type": "integer"},
        },
    },
}


def export_router(hall: Hall) -> APIRouter:
    """The route. What is on its way to a client is counted with the openings of this hall."""
    router = APIRouter(prefix="/api/export", tags=["libraries"], route_class=StrictRoute)
    turns = _Turns()

    @router.get("", responses={**fails(**READS), 200: _FILE}, response_class=Response)
    async def file(
        at: At, services: Served, format: Annotated[Format, Query(description="what for: see docs/library-file.md")] = Format.LIBRARY
    ) -> Response:
        """A library as a file, without secrets. In the formats of Prompt Optimizer the bin is left out, and what they have no place for."""
        now = services.clock()
        ask = partial(export, format=format, name=at.library.name, now=ms(now))
        file_name = FILES[format].name.format(name=at.library.name, day=f"{now:%Y-%m-%d}")
        return _Download(hall, turns, at.principal.user.id, lambda: at.read(ask, away=True), file_name, FILES[format].media_type)

    return router


class _Turns:
    """Whose turn it is to have an export: a user's are made and sent one after the other, so that nobody waits for all that somebody
    else wants, and whoever reads slowly does not fill the budget of all."""

    def __init__(self) -> None:
        self.to_make = asyncio.Semaphore(EXPORTS_AT_ONCE)
        self._of_users: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()  # each for as long as somebody waits

    def of(self, user_id: UUID) -> asyncio.Lock:
        """The user's turn."""
        return self._of_users.setdefault(user_id, asyncio.Lock())


class _Download(Response):
    """A file that is made once it is its turn, and counted as an opening's answer while it is on its way."""

    def __init__(
        self,
        hall: Hall,
        turns: _Turns,
        user_id: UUID,
        make: Callable[[], Awaitable[Exported]],
        file_name: str,
        media_type: str,
    ) -> None:
        super().__init__(headers={"Content-Disposition": disposition(file_name), "Cache-Control": "no-store"}, media_type=media_type)
        self._hall = hall
        self._turns = turns
        self._user_id = user_id
        self._make = make

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._turns.of(self._user_id), AsyncExitStack() as counted:
            async with self._turns.to_make:
                if await Request(scope, receive).is_disconnected():  # while it waited: nobody wants it any more
                    return
                exported = await self._make()
                await counted.enter_async_context(self._hall.opening_budget.taken(len(exported.content)))
            self.headers["Content-Length"] = str(len(exported.content))
            self.headers["X-Left-Out"] = str(exported.left_out)
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send_pieces(send, exported.content, stall_seconds=self._hall.settings.opening_stall_seconds)


def disposition(file_name: str) -> str:
    """The header that names the file: in ASCII for everybody, and in full (RFC 8187) for who can read that."""
    plain = "".join(character for character in file_name if character.isprintable() and character not in '/\\:*?"<>|').strip(". ")
    ascii_only = plain.encode("ascii", "replace").decode().replace("?", "_")
    return f"attachment; filename=\"{ascii_only}\"; filename*=UTF-8''{quote(plain, safe='')}"
