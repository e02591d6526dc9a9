"""`POST /api/sync/{library}`: one update in, committed, its seq out. The door for updates too large for a socket."""

import asyncio
from dataclasses import dataclass, replace
from uuid import UUID

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from auth.errors import Forbidden, SessionEnded
from auth.permissions import may_write
from auth.tokens import Audience
from crdt.updates import EMPTY_UPDATE, Limits
from server.batch import Entry, Refusal
from server.budget import ByteBudget
from server.errors import Overgrown, Refused, TryLater, Unstorable
from server.routes.asking import bearer_token
from server.services import Services
from server.sockets import Hall
from storage import libraries
from storage.errors import NotFound
from storage.libraries import Library
from storage.standings import standings

MEDIA_TYPE = "application/octet-stream"
INSPECTED_AT_ONCE = 2
"""Uploads inspected and stored at once in this process: each may take many times its size in a worker; others wait."""
UPLOAD_SECONDS = 120.0
"""How long a body may take to arrive: it holds its part of what may be in memory at once, which is two of the largest uploads."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """Where a library stands once an update is in it; `stored` is false where nothing in it was new."""

    seq: int
    stored: bool


_REFUSALS: dict[Refusal, type[Exception]] = {
    Refusal.GONE: NotFound,
    Refusal.FORBIDDEN: Forbidden,
    Refusal.OVERGROWN: Overgrown,
    Refusal.UNSTORABLE: Unstorable,
    Refusal.TROUBLE: TryLater,
    Refusal.STALE: TryLater,
    Refusal.FULL: TryLater,
    Refusal.STOPPING: TryLater,
}


class _Awaited:
    """An origin whose caller waits for the outcome."""

    def __init__(self) -> None:
        self.outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def stored(self, entry: Entry, seq: int) -> None:
        if not self.outcome.done():
            self.outcome.set_result(Outcome(seq, True))

    def redundant(self, entry: Entry, head: int) -> None:
        if not self.outcome.done():
            self.outcome.set_result(Outcome(head, False))

    def refused(self, entry: Entry, refusal: Refusal) -> None:
        if not self.outcome.done():
            self.outcome.set_exception(_REFUSALS[refusal]())


def sync_routes(services: Services, hall: Hall) -> list[Route]:
    """The route, over these services."""
    turns = asyncio.Semaphore(INSPECTED_AT_ONCE)
    uploads = ByteBudget(2 * hall.settings.max_upload_bytes)

    async def push(request: Request) -> Response:
        library, session_id = await _library(services, request)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != MEDIA_TYPE:
            raise Refused(415, "unsupported_media_type", f"The body must be {MEDIA_TYPE}: one Yjs update (v1)")
        async with uploads.taken(_announced(request, hall.settings.max_upload_bytes)):
            try:
                update = await asyncio.wait_for(request.body(), UPLOAD_SECONDS)
            except TimeoutError:
                raise Refused(408, "too_slow", f"The body did not arrive within {UPLOAD_SECONDS:.0f} s") from None
            async with turns:
                library = await _as_it_stands(services, library, session_id)
                outcome = await _store(hall, library, session_id, update)
        room = await hall.rooms.open(library.id)
        return JSONResponse({"seq": outcome.seq, "epoch": room.epoch, "stored": outcome.stored})

    return [Route("/api/sync/{library_id:uuid}", push, methods=["POST"])]


def _announced(request: Request, most: int) -> int:
    """How many bytes the body has, as far as the client tells; one that comes in chunks may be as large as any."""
    announced = request.headers.get("content-length", "")
    return min(int(announced), most) if announced.isdecimal() else most


async def _library(services: Services, request: Request) -> tuple[Library, UUID]:
    principal = await services.sessions.authenticate(bearer_token(request), {Audience.ACCESS}, now=services.clock())
    async with services.database.acquire() as connection:
        library = await libraries.for_user(connection, request.path_params["library_id"], principal.user.id)
    if library is None:
        raise NotFound
    return library, principal.session_id


async def _as_it_stands(services: Services, library: Library, session_id: UUID) -> Library:
    """The library and the role in it now: the body may have been minutes on its way, and a revoked session must not write.

    Raises:
        SessionEnded: the session was revoked or is over.
        NotFound: the library is deleted, or the user is no member any more.
    """
    async with services.database.acquire() as connection:
        known = await standings(connection, [(session_id, library.id)])
    standing = known.get((session_id, library.id))
    if standing is None:
        raise SessionEnded
    if standing.role is None:
        raise NotFound
    return replace(library, role=standing.role)


async def _store(hall: Hall, library: Library, session_id: UUID, update: bytes) -> Outcome:
    """Store an update through the devices' write path, or raise what became of it instead."""
    room = await hall.rooms.open(library.id)
    if update == EMPTY_UPDATE:
        return Outcome(room.head, False)
    inspected = await hall.workers.inspect(update, Limits(size=hall.settings.max_upload_bytes))
    awaited = _Awaited()
    room = await hall.rooms.open(library.id)  # asked again: it may have been dropped while the update was inspected
    hall.writer.submit(Entry(room, update, inspected, session_id, may_write(library.role), awaited))
    return await awaited.outcome
