"""The door for devices: `GET /sync/{library id}` on the y-websocket dialect, `GET /sync` on `promptsync.v1`.

Whoever may not come in is accepted and then closed with a code, since a browser cannot see a refused upgrade.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any
from uuid import UUID

import structlog
from starlette.types import Receive, Scope, Send

from auth.permissions import may_write
from auth.sessions import Principal
from protocol.closes import Close
from server import metrics
from server.admission import Admission, Admitted, Turned, as_turned, the_token, tokens_in
from server.errors import close_for_unreadable, is_expected
from server.link import Link
from server.member import Device
from server.services import Services
from server.sockets import Hall
from server.wire import Wire
from storage.libraries import Library

log = structlog.get_logger(__name__)

PATH = "/sync/"
STOCK = "yjs"
RICHER = "promptsync.v1"


class _Gone(Exception):
    """The device has disconnected: ends what still runs for it."""


class SyncEndpoint:
    """The ASGI application for WebSockets."""

    def __init__(self, services: Services, hall: Hall) -> None:
        self._hall = hall
        self._admission = Admission(services, hall)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await receive()  # websocket.connect
        wire: Wire = scope["extensions"]["wire"]
        dialect = next((known for known in (RICHER, STOCK) if known in scope["subprotocols"]), None)
        try:
            serve = await (self._admit_link if dialect == RICHER else self._admit_device)(scope, wire, receive)
        except Exception as error:
            turned = as_turned(error)
            log.info("opening_refused", code=int(turned.close), reason=turned.reason, address=self._admission.address(scope))
            metrics.refusals.labels(str(int(turned.close))).inc()
            await send({"type": "websocket.accept", "subprotocol": dialect})
            wire.close(turned.close, turned.reason)
            return await _until_disconnected(receive)
        await send({"type": "websocket.accept", "subprotocol": dialect})
        await serve()

    async def _admit_device(self, scope: Scope, wire: Wire, receive: Receive) -> Callable[[], Coroutine[Any, Any, None]]:
        """Everything that must hold before a stock device may open its library; and what serves it then."""
        self._admission.greet(scope)
        library_id = _library_of(scope["path"])
        principal = await self._admission.identify(the_token(tokens_in(scope)), self._admission.address(scope))
        library = await self._admission.library(library_id, principal.user.id)
        return lambda: self._serve(wire, Admitted(principal, library), receive)

    async def _admit_link(self, scope: Scope, wire: Wire, receive: Receive) -> Callable[[], Coroutine[Any, Any, None]]:
        """The same for a socket that names its libraries later, and may bring its token with hello."""
        self._admission.greet(scope)
        if scope["path"].rstrip("/") != PATH.rstrip("/"):
            _library_of(scope["path"])  # tells whoever spreads connections where it will go; any may be opened
        found = tokens_in(scope)
        principal = await self._admission.identify(the_token(found), self._admission.address(scope)) if found else None
        return lambda: self._converse(wire, scope, principal, receive)

    async def _converse(self, wire: Wire, scope: Scope, principal: Principal | None, receive: Receive) -> None:
        async def conversation(group: asyncio.TaskGroup) -> None:
            link = Link(self._hall, self._admission, scope, wire, group)
            wire.listen(link)
            link.begin(principal)
            try:
                await _until_disconnected(receive)
            finally:
                link.leave()

        await _in_a_group(wire, conversation)

    async def _serve(self, wire: Wire, admitted: Admitted, receive: Receive) -> None:
        wire.trust()

        async def conversation(group: asyncio.TaskGroup) -> None:
            user_id, session_id = admitted.principal.user.id, admitted.principal.session_id
            device = Device(self._hall, wire, group, user_id=user_id, session_id=session_id, library_id=admitted.library.id)
            device.may_write = may_write(admitted.library.role)
            wire.listen(device)
            self._hall.enter(device)
            try:
                await self._join(device, admitted.library)
                await _until_disconnected(receive)
            finally:
                device.leave()

        await _in_a_group(wire, conversation)

    async def _join(self, device: Device, library: Library) -> None:
        try:
            room = await self._hall.open(library)
        except Exception as error:
            # A library that cannot be read is refused; it never passes for an empty one.
            if not is_expected(error):
                log.error("room_not_opened", library=str(device.library_id), error=type(error).__name__, exc_info=error)
            device.refuse(close_for_unreadable(error), "the library cannot be read at the moment")
            return
        if not device.closed:
            self._hall.rooms.join(room, device)
            device.begin(room)


async def _in_a_group(wire: Wire, conversation: Callable[[asyncio.TaskGroup], Coroutine[Any, Any, None]]) -> None:
    """Run a conversation with a group for its tasks, which end with it; what goes wrong closes the socket."""
    try:
        async with asyncio.TaskGroup() as group:
            await conversation(group)
            raise _Gone
    except* _Gone:
        pass
    except* Exception as errors:
        log.error("device_failed", exc_info=errors)
        wire.close(Close.TRY_LATER, "something went wrong here")


def _library_of(path: str) -> UUID:
    try:
        if path.startswith(PATH):
            return UUID(path.removeprefix(PATH))
    except ValueError:
        pass
    raise Turned(Close.NOT_FOUND, "no library at this address")


async def _until_disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "websocket.disconnect":
        pass
