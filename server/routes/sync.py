"""`POST /api/sync/{library}`: one update in, committed, its seq out; or as msgpack both ways, for clients without a socket.

The door for updates too large for a socket.
"""

import asyncio
from contextlib import nullcontext
from dataclasses import replace
from uuid import UUID

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from auth.permissions import may_write
from auth.sessions import Principal
from auth.tokens import Audience
from crdt.errors import CrdtError
from crdt.updates import EMPTY_UPDATE, Limits, decode_state_vector
from protocol.errors import ProtocolError
from protocol.exchange import Answered, Asked, decode_asked, encode_answered
from server.awaited import REFUSALS, Awaited, NotStored, Outcome
from server.batch import Entry
from server.budget import ByteBudget
from server.errors import Refused, TryLater, WorkerDied
from server.problems import fails
from server.routes.asking import SIGNED_IN, bearer_token
from server.routes.documented import Documented
from server.routes.pieces import send_pieces
from server.routes.standing import as_it_stands
from server.services import Services
from server.sockets import Hall
from storage import libraries
from storage.errors import NotFound, StorageError, Unavailable
from storage.libraries import Library

log = structlog.get_logger(__name__)

OCTETS, MSGPACK = "application/octet-stream", "application/msgpack"
INSPECTED_AT_ONCE = 2
"""Uploads inspected and stored at once in this process: each may take many times its size in a worker; others wait."""
UPLOAD_SECONDS = 120.0
"""How long a body may take to arrive: it holds its part of what may be in memory at once, which is two of the largest uploads."""

_BYTES = {"type": "string", "format": "binary"}
_OPERATION = {
    "tags": ["sync"],
    "operationId": "push_api_sync__library_id__post",
    "description": "Store one update, durably before the answer. In msgpack, as protocol/README.md has it, with what the device lacks.",
    "parameters": [{"name": "library_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}],
    "requestBody": {"required": True, "content": {OCTETS: {"schema": _BYTES}, MSGPACK: {"schema": _BYTES}}},
    "security": [{"HTTPBearer": []}],
    "responses": {
        "200": {
            "description": "It is stored, or brought nothing new",
            "content": {
                "application/json": {
                    "schema": {
                        "type": "object",
                        "properties": {"seq": {"type": "integer"}, "epoch": {"type": "integer"}, "stored": {"type": "boolean"}},
                        "required": ["seq", "epoch", "stored"],
                    }
                },
                MSGPACK: {"schema": _BYTES},
            },
        }
    }
    | {
        str(status): response
        for status, response in fails(
            forbidden=403,
            not_found=404,
            too_slow=408,
            too_large=413,
            too_costly=413,
            library_overgrown=413,
            unsupported_media_type=415,
            invalid_update=422,
            invalid_vector=422,
            invalid_request=422,
            unstorable=422,
            too_many_attempts=429,
            try_later=503,
            **SIGNED_IN,
        ).items()
    },
}


def sync_routes(services: Services, hall: Hall) -> list[Route]:
    """The route, over these services."""
    turns = asyncio.Semaphore(INSPECTED_AT_ONCE)
    uploads = ByteBudget(2 * hall.settings.max_upload_bytes)

    async def push(request: Request) -> Response:
        library, asking = await _library(services, request)
        session_id = asking.session_id
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in (OCTETS, MSGPACK) or request.headers.get("content-encoding", "identity").lower() != "identity":
            raise Refused(415, "unsupported_media_type", f"The body must be {OCTETS}: one Yjs update (v1), or {MSGPACK}; not compressed")
        announced, most = _announced(request), hall.settings.max_upload_bytes
        await services.limits.sync(asking.user.id, announced or 0)
        async with uploads.taken(most if announced is None else min(announced, most)):
            asked = await _read(request, kind)
            if announced is None and asked.update is not None:
                await services.limits.sync_bytes(asking.user.id, len(asked.update))
            async with turns if asked.update else nullcontext():
                library = await as_it_stands(services, library, session_id)
                outcome = await _store(services, hall, library, session_id, asked.update) if asked.update is not None else None
        asked = replace(asked, update=None)  # it is stored: not kept while the answer is made
        if kind == MSGPACK:
            return _Exchanged(hall, await _answer(hall, library, asked, outcome))
        assert outcome is not None  # noqa: S101  # a body of octets is an update
        room = await hall.rooms.open(library.id)
        return JSONResponse({"seq": outcome.seq, "epoch": room.epoch, "stored": outcome.stored})

    path = "/api/sync/{library_id"
    return [Documented(f"{path}:uuid}}", push, method="POST", shown_path=f"{path}}}", operation=_OPERATION)]


def _announced(request: Request) -> int | None:
    """How many bytes the body has, as the client tells; None of one that comes in chunks, and may be as large as any."""
    announced = request.headers.get("content-length", "")
    return int(announced) if announced.isdecimal() else None


async def _read(request: Request, kind: str) -> Asked:
    """What the device says; of the body nothing else is kept.

    Raises:
        Refused: it did not come in time, or is no such map.
        InvalidStateVector: its state vector cannot be read.
    """
    try:
        body = await asyncio.wait_for(_body(request), UPLOAD_SECONDS)
    except TimeoutError:
        raise Refused(408, "too_slow", f"The body did not arrive within {UPLOAD_SECONDS:.0f} s") from None
    if kind == OCTETS:
        return Asked(vector=b"", update=body)
    try:
        asked = decode_asked(body)
    except ProtocolError as error:
        raise Refused(422, "invalid_request", f"The body is not what is exchanged here: {error.reason}") from None
    decode_state_vector(asked.vector)  # before anything is stored
    return asked


async def _body(request: Request) -> bytes:
    # request.body() would keep it as long as the request lasts, beside what was read from it
    return b"".join([part async for part in request.stream()])


async def _library(services: Services, request: Request) -> tuple[Library, Principal]:
    principal = await services.sessions.authenticate(bearer_token(request), {Audience.ACCESS}, now=services.clock())
    async with services.database.acquire() as connection:
        library = await libraries.for_user(connection, request.path_params["library_id"], principal.user.id)
    if library is None:
        raise NotFound
    return library, principal


async def _store(services: Services, hall: Hall, library: Library, session_id: UUID, update: bytes) -> Outcome:
    """Store an update through the devices' write path, or raise what became of it instead."""
    room = await hall.rooms.open(library.id)
    hall.seeding.complete(room)
    if update == EMPTY_UPDATE:
        return Outcome(room.head, False)
    inspected = await hall.workers.inspect(update, Limits(size=hall.settings.max_upload_bytes))
    library = await as_it_stands(services, library, session_id)  # asked again: large ones wait long for their turn, and are read long
    awaited = Awaited()
    room = await hall.rooms.open(library.id)  # asked again: it may have been dropped while the update was inspected
    entry = Entry(room, update, inspected, session_id, may_write(library.role), awaited)
    try:
        return await awaited.submit(hall.writer, entry)
    except NotStored as error:
        raise REFUSALS[error.refusal] from error


async def _answer(hall: Hall, library: Library, asked: Asked, outcome: Outcome | None) -> Answered:
    """What the device lacked, now that its own update is stored.

    Raises:
        NotFound, Unavailable: the library is gone, or cannot be read now.
        TryLater: it was reloaded meanwhile, or cannot be read for another reason.
    """
    stored = outcome is not None and outcome.stored
    own = outcome.seq if outcome is not None and stored else None
    try:
        room = await hall.open(library)
        seq, epoch, vector = room.head, room.epoch, room.state_vector()  # what is read next reaches so far at least
        update = await hall.shelf.after_cursor(room, asked.epoch, asked.cursor, without=own)
        if update is None:
            update = await hall.shelf.missing(room, asked.vector)
        apart = await hall.shelf.quarantined(room, asked.vector) if room.quarantined else []
    except (NotFound, Unavailable):
        raise
    except (StorageError, CrdtError, WorkerDied) as error:
        log.error("exchange_not_answered", library=str(library.id), error=type(error).__name__)
        raise TryLater from error
    return Answered(update, vector, seq, epoch, stored, apart)


class _Exchanged(Response):
    """An answer in msgpack, counted as an opening's while it is on its way; one that is not read is given up."""

    media_type = MSGPACK

    def __init__(self, hall: Hall, answered: Answered) -> None:
        super().__init__()
        self._hall = hall
        self._answered = answered

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        size = len(self._answered.update) + sum(map(len, self._answered.quarantined))
        async with self._hall.opening_budget.taken(size):  # who waits here holds no copy of its own of a cached answer
            body = encode_answered(self._answered)
            self.headers["content-length"] = str(len(body))
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send_pieces(send, body, stall_seconds=self._hall.settings.opening_stall_seconds)
