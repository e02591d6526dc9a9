"""`GET /sync/{library id}`: the door for devices on the y-websocket dialect.

Whoever may not come in is accepted and then closed with a code, since a browser cannot see a refused upgrade.
"""

import asyncio
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import structlog
from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import Receive, Scope, Send

from auth.permissions import may_write
from auth.sessions import Principal
from auth.tokens import Audience
from protocol.closes import Close
from server import metrics
from server.errors import answer_to, close_for_unreadable, is_expected
from server.member import Device
from server.services import Services
from server.sockets import Hall
from server.wire import Wire
from storage import libraries
from storage.errors import NotFound
from storage.libraries import Library

log = structlog.get_logger(__name__)

PATH = "/sync/"
DIALECT = "yjs"
BEARER = "bearer."
_TOKEN_PARAMETERS = {"token", "access_token", "sync_token", "refresh_token", "authorization", "auth", "bearer", "jwt"}


class Turned(Exception):
    """An opening that is turned away, with what the client is told."""

    def __init__(self, close: Close, reason: str) -> None:
        super().__init__(reason)
        self.close = close
        self.reason = reason


class _Gone(Exception):
    """The device has disconnected: ends what still runs for it."""


@dataclass(frozen=True, slots=True)
class Admitted:
    """Who opens which library."""

    principal: Principal
    library: Library


class SyncEndpoint:
    """The ASGI application for WebSockets."""

    def __init__(self, services: Services, hall: Hall) -> None:
        self._services = services
        self._hall = hall

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        wire: Wire = scope["extensions"]["wire"]
        subprotocol = DIALECT if DIALECT in scope["subprotocols"] else None
        try:
            admitted = await self._admit(scope)
        except Exception as error:
            turned = _as_turned(error)
            log.info("opening_refused", code=int(turned.close), reason=turned.reason, address=self._address(scope))
            metrics.refusals.labels(str(int(turned.close))).inc()
            await send({"type": "websocket.accept", "subprotocol": subprotocol})
            wire.close(turned.close, turned.reason)
            return await _until_disconnected(receive)
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        wire.trust()
        await self._serve(wire, admitted, receive)

    async def _serve(self, wire: Wire, admitted: Admitted, receive: Receive) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                device = Device(
                    self._hall,
                    wire,
                    group,
                    user_id=admitted.principal.user.id,
                    session_id=admitted.principal.session_id,
                    library_id=admitted.library.id,
                )
                device.may_write = may_write(admitted.library.role)
                wire.listen(device.receive, device.refuse)
                self._hall.enter(device)
                try:
                    await self._join(device, admitted.library)
                    await _until_disconnected(receive)
                finally:
                    device.leave()
                raise _Gone
        except* _Gone:
            pass
        except* Exception as errors:
            log.error("device_failed", exc_info=errors)
            wire.close(Close.TRY_LATER, "something went wrong here")

    async def _join(self, device: Device, library: Library) -> None:
        try:
            room = await self._hall.room_of(library)
        except Exception as error:
            # A library that cannot be read is refused; it never passes for an empty one.
            if not is_expected(error):
                log.error("room_not_opened", library=str(device.library_id), error=type(error).__name__, exc_info=error)
            device.refuse(close_for_unreadable(error), "the library cannot be read at the moment")
            return
        if not device.closed:
            self._hall.rooms.join(room, device)
            device.begin(room)

    async def _admit(self, scope: Scope) -> Admitted:
        """Everything that must hold before a socket may open; nothing asks the database before the address is counted."""
        if self._hall.draining:
            raise Turned(Close.RESTART, "the server is going down")
        if not self._services.openings.allow(self._address(scope)):
            raise Turned(Close.BUSY, "too many openings from this address")
        headers = Headers(scope=scope)
        self._check_origin(headers)
        if any(name.lower() in _TOKEN_PARAMETERS for name, _ in parse_qsl(scope["query_string"].decode("latin-1"))):
            raise Turned(Close.UNAUTHENTICATED, "a token in the address ends up in logs: send it as a header or subprotocol")
        library_id = _library_of(scope["path"])
        token = _token_of(headers, scope["subprotocols"])
        principal = await self._services.sessions.authenticate(token, {Audience.SYNC, Audience.ACCESS}, now=self._services.clock())
        async with self._services.database.acquire() as connection:
            library = await libraries.for_user(connection, library_id, principal.user.id)
        if library is None:
            raise NotFound
        return Admitted(principal, library)

    def _check_origin(self, headers: Headers) -> None:
        """A browser says which page opens the socket; that page must be known. Other clients send no Origin."""
        origin = headers.get("origin")
        if origin is None:
            return
        settings = self._services.settings
        known = {*settings.allowed_origins, *([settings.public_url.rstrip("/")] if settings.public_url else [])}
        same_host = not known and _host_of(origin) == headers.get("host")
        if origin not in known and not same_host:
            raise Turned(Close.FORBIDDEN, "this origin is not on the list")

    def _address(self, scope: Scope) -> str:
        return self._services.address_of(HTTPConnection(scope))


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _library_of(path: str) -> UUID:
    try:
        if path.startswith(PATH):
            return UUID(path.removeprefix(PATH))
    except ValueError:
        pass
    raise Turned(Close.NOT_FOUND, "no library at this address")


def _token_of(headers: Headers, subprotocols: list[str]) -> str:
    """The one token, from the Authorization header or from the subprotocols."""
    found = [offer.removeprefix(BEARER) for offer in subprotocols if offer.startswith(BEARER)]
    for value in headers.getlist("authorization"):
        scheme, _, token = value.partition(" ")
        if scheme.lower() == "bearer":
            found.append(token.strip())
    if len(found) != 1:
        raise Turned(Close.UNAUTHENTICATED, "exactly one token is needed")
    return found[0]


def _as_turned(error: Exception) -> Turned:
    if isinstance(error, Turned):
        return error
    if not is_expected(error):
        log.error("opening_failed", error=type(error).__name__, exc_info=error)
    answer = answer_to(error)
    return Turned(answer.close, answer.title)


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
