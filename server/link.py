"""A socket on `promptsync.v1`: hello, and then any number of libraries, each on a channel of its own.

The conversation's order is `protocol/session.py`'s business. What has to wait runs as a task of this socket's group.
"""

import asyncio
import time
from collections.abc import Coroutine
from typing import Any
from uuid import UUID

import structlog
from starlette.types import Scope

from auth.sessions import Principal
from protocol.closes import Close
from protocol.codec import FRAME_BYTES, PART_BYTES
from protocol.messages import CloseChannel, Error, FromClient, FromServer, Hello, Limits, Open, Ping, Pong, Push, Welcome
from protocol.session import ServerSession, frames
from protocol.states import State
from server import metrics
from server.admission import Admission, Turned, as_turned, the_token
from server.broadcast import MAX_PRESENCE_BYTES
from server.channel import Channel
from server.intake import Backlog, Intake
from server.outbox import Outbox
from server.sockets import Hall
from server.wire import UNTRUSTED_MESSAGE_BYTES, Wire, encode_frame

log = structlog.get_logger(__name__)

MAX_CHANNELS = 64
"""Libraries open on one socket; past it: the error `too_many_channels`."""
HELLO_SECONDS = 10.0
"""How long a socket may take to say hello; past it: close 1013."""


class Link:
    """One socket."""

    def __init__(self, hall: Hall, admission: Admission, scope: Scope, wire: Wire, group: asyncio.TaskGroup) -> None:
        self.hall = hall
        self.admission = admission
        self.address = admission.address(scope)  # now: the handshake's headers are not kept
        self.wire = wire
        self.closed = False
        self.client = ""
        self.principal: Principal | None = None
        self.outbox = Outbox(wire, bound=hall.settings.outbox_bytes, refuse=self.refuse)
        self.intake = Intake(wire, UNTRUSTED_MESSAGE_BYTES)
        self.welcomed = False
        self.session = ServerSession(max_update_bytes=hall.settings.max_update_bytes, max_channels=MAX_CHANNELS)
        self._group = group
        self._backlog = Backlog[FromClient](self.intake, self._handle)
        self._channels: dict[int, Channel] = {}

    def begin(self, principal: Principal | None) -> None:
        """The socket is open; whose it is, where that is known by now."""
        self.principal = principal
        asyncio.get_running_loop().call_later(HELLO_SECONDS, self._expect_hello)

    def _expect_hello(self) -> None:
        if self.session.state is State.GREETING:
            self.refuse(Close.TRY_LATER, "no hello came")

    # --- frames in

    def receive(self, frame: bytes) -> None:
        """Take one binary message from the wire."""
        if self.closed:
            return
        before = self.session.joining_bytes
        asked = self.session.receive(frame)
        if self.session.joining_bytes != before:
            self.hall.joins.hold(self, self.session.joining_bytes)
        if self.session.goodbye is not None:
            self.refuse(self.session.goodbye.code, self.session.goodbye.reason)
        elif not self.welcomed and self.session.joining_bytes > UNTRUSTED_MESSAGE_BYTES:
            self.refuse(Close.TOO_LARGE, "parts past 64 KiB before welcome")
        elif isinstance(asked, Error):
            self.send(asked)
        elif asked is not None:
            self._backlog.take(asked, len(asked.update) if isinstance(asked, Push) else len(frame))

    def give_up(self) -> None:
        """Too much is joined on all sockets together: the push that comes in parts here fails."""
        self.session.give_up("try_later", "too much is waiting to be read")

    def _handle(self, asked: FromClient) -> None:
        if self.closed:
            return
        match asked:
            case Hello():
                self._backlog.busy = True
                self.spawn(self._greet(asked))
            case Ping(number):
                self.send(Pong(number))
            case Open(channel=number):
                channel = self._channels[number] = Channel(self, asked)
                channel.begin(asked)
            case CloseChannel(number):
                # out of the table first: for the session its number is free since this message, and may have been taken again
                if (closing := self._channels.pop(number, None)) is not None:
                    closing.close(Close.NORMAL, "closed")
            case _:
                if (channel_of := self._channels.get(asked.channel)) is not None:
                    channel_of.receive(asked)

    async def _greet(self, hello: Hello) -> None:
        try:
            if self.principal is None:
                token = the_token([hello.token] if hello.token is not None else [])
                self.principal = await self.admission.identify(token, self.address)
            elif hello.token is not None:
                raise Turned(Close.UNAUTHENTICATED, "exactly one token is needed: one came with the upgrade")
            if hello.device not in (None, self.principal.device_id):
                raise Turned(Close.UNAUTHENTICATED, "this token was given to another device")
        except Exception as error:
            turned = as_turned(error)
            metrics.refusals.labels(str(int(turned.close))).inc()
            return self.refuse(turned.close, turned.reason)
        if self.closed:
            return
        self.welcomed = True
        self.hall.guests.add(self)
        self.client = f"{hello.client_name} {hello.client_version}".strip()
        self.wire.trust(FRAME_BYTES)
        self.intake.allow(self.hall.settings.socket_inflight_bytes)
        limits = Limits(update=self.hall.settings.max_update_bytes, part=PART_BYTES, channels=MAX_CHANNELS, presence=MAX_PRESENCE_BYTES)
        user_id = self.principal.user.id
        self.send(Welcome(session=self.principal.session_id, user=user_id, limits=limits, time=time.time_ns() // 1_000_000))
        self._backlog.go_on()

    # --- frames out

    def send(self, message: FromServer) -> None:
        """Write a message, in as many frames as it takes."""
        if not self.closed:
            for frame in frames(message):
                self.outbox.write(encode_frame(frame))

    # --- what the devices have

    def pinged(self) -> None:
        """A ping went out behind all that was sent so far."""
        for channel in self._channels.values():
            channel.pinged()

    def ponged(self) -> None:
        """It was answered."""
        for channel in self._channels.values():
            channel.ponged()

    # --- the end

    @property
    def guest_of(self) -> UUID | None:
        """The session, where no channel stands for it."""
        return self.principal.session_id if self.principal is not None and not self._channels and not self.closed else None

    def forget(self, channel: Channel) -> None:
        """The channel is closed from this side, and its number free again."""
        if self._channels.get(channel.number) is channel:
            del self._channels[channel.number]
            self.session.closed(channel.number)
            self.hall.joins.hold(self, self.session.joining_bytes)

    def refuse(self, code: Close, reason: str) -> None:
        """Close for something this socket did or met."""
        if not self.closed:
            session = str(self.principal.session_id) if self.principal is not None else None
            log.info("link_closed", code=int(code), reason=reason, session=session)
            self.hang_up(code, reason)

    def hang_up(self, code: Close, reason: str) -> None:
        """End the connection with a code the client can read."""
        if not self.closed:
            self.closed = True
            metrics.closes.labels(str(int(code))).inc()
            self._backlog.drop()
            self.wire.close(code, reason)
            self._let_go()

    def leave(self) -> None:
        """The client has disconnected."""
        self.closed = True
        self._let_go()

    def _let_go(self) -> None:
        self.session.close()
        self.hall.joins.hold(self, 0)
        self.hall.guests.discard(self)
        for channel in tuple(self._channels.values()):
            channel.leave()
        self._channels.clear()

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run something that ends with the socket."""
        return self._group.create_task(work)
