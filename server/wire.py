"""uvicorn's WebSocket protocol, taught four things: frames go straight to a sink, a frame encoded once is written to many
sockets, a close code reaches the peer or the socket is aborted, and a frame past the limit closes with 4413.

uvicorn's own path costs a queue, a task switch and a paused reader for each frame, and waits for ever for a peer that does
not read. Everything else (handshake, parsing, pings) stays uvicorn's and the websockets library's.
"""

import asyncio
import struct
from collections.abc import Callable
from typing import Any, Protocol

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import PayloadTooBig
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN, State
from websockets.speedups import apply_mask

from protocol.closes import Close
from server.problems import Problem

UNTRUSTED_MESSAGE_BYTES = 64 << 10
"""Largest message before a socket is authenticated; nothing is expected then. Past it: close 4413."""
TRUSTED_MESSAGE_BYTES = 64 << 20
"""Largest message after. An update may be half of it, so that one a little too large still gets its proper answer."""
MAX_FRAGMENTS = 16_384
"""Fragments of one message; empty ones cost memory without ever reaching the limit of bytes. Past it: close 4400."""
CLOSE_SECONDS = 5.0
"""How long a peer has to read what was written and answer a close before its socket is aborted."""
SLOWEST_BYTES = 16 << 10
"""Bytes a second, either way, that show a peer to be there while its pong waits behind a large message."""
SEND_BUFFER_BYTES = 128 << 10
"""Kernel send buffer: by default it takes up to 4 MB, and a slow reader would only be noticed after that."""

_UNREADABLE = Problem(status=431, code="headers_too_large", title="A line of the request's head is longer than is read here")
_SOL_SOCKET, _SO_SNDBUF = 1, 7  # Linux numbers: only `socket` names them, and only this one option is set


def encode_frame(payload: bytes) -> bytes:
    """`payload` as one unmasked binary WebSocket frame (RFC 6455, 5.2), to be written to any number of sockets."""
    size = len(payload)
    if size < 126:
        return bytes((0x82, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x82, 126, size) + payload
    return struct.pack("!BBQ", 0x82, 127, size) + payload


class Peer(Protocol):
    """Who is at the other end of a socket, as the endpoint sees it."""

    def receive(self, frame: bytes) -> None:
        """Take one binary message, at once."""

    def refuse(self, code: Close, reason: str) -> None:
        """The framing rules were broken."""

    def pinged(self) -> None:
        """A ping was written, behind everything else so far."""

    def ponged(self) -> None:
        """It was answered."""


class Wire:
    """The raw side of one socket, found by the endpoint in `scope["extensions"]["wire"]`."""

    __slots__ = ("_protocol", "written")

    def __init__(self, protocol: "WireProtocol") -> None:
        self._protocol = protocol
        self.written = 0
        """Bytes of all frames so far."""

    @property
    def unsent(self) -> int:
        """Bytes written that the kernel has not taken yet."""
        return self._protocol.transport.get_write_buffer_size()

    @property
    def open(self) -> bool:
        """Whether frames can still be written."""
        protocol = self._protocol
        return not (
            not protocol.handshake_complete
            or protocol.close_sent
            or protocol.disconnected
            or protocol.conn.close_rcvd
            or protocol.transport.is_closing()
        )

    def listen(self, peer: Peer) -> None:
        """From now on give what comes to `peer`."""
        self._protocol.peer = peer
        self._protocol.sink = peer.receive

    def trust(self, message_bytes: int | None = None) -> None:
        """The peer is authenticated: allow messages of so many bytes (TRUSTED_MESSAGE_BYTES), and keep nothing of the handshake."""
        self._protocol.forget_handshake()
        self._protocol.conn.max_message_size = message_bytes or TRUSTED_MESSAGE_BYTES

    def ping(self) -> None:
        """Ask for a pong now instead of when it is time, unless one is on its way."""
        self._protocol.ping_now()

    def write(self, frames: bytes) -> bool:
        """Write frames made by `encode_frame`, together; False once the socket is closing."""
        if not self.open:
            return False
        self.written += len(frames)
        self._protocol.transport.write(frames)
        return True

    def close(self, code: int, reason: str) -> None:
        """Close with a code the peer can read; abort it when it has not answered within `CLOSE_SECONDS`."""
        self._protocol.close(code, reason)

    async def drained(self, stall_seconds: float) -> bool:
        """Wait until the peer has read nearly everything; False when it has read nothing for `stall_seconds`."""
        while True:
            before = self.written - self.unsent  # what is written meanwhile is nothing that was not read
            try:
                await asyncio.wait_for(self._protocol.writable.wait(), stall_seconds)
            except TimeoutError:
                if self.written - self.unsent <= before:
                    return False
            else:
                return True

    def pause(self) -> None:
        """Stop reading from the peer."""
        if not self._protocol.transport.is_closing():
            self._protocol.unheard = True
            self._protocol.transport.pause_reading()

    def resume(self) -> None:
        """Read from the peer again."""
        if not self._protocol.transport.is_closing():
            self._protocol.unheard = False
            self._protocol.transport.resume_reading()


class WireProtocol(WebSocketsSansIOProtocol):
    """What uvicorn makes for each WebSocket connection."""

    peer: Peer | None = None
    sink: Callable[[bytes], None] | None = None
    """The peer's `receive`: looked up once."""
    unheard = False
    """Whether we have stopped reading, so that no pong can come."""
    received = 0
    _moved = (0, 0)  # bytes received and unsent when the pong was last looked for

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.conn.max_message_size = UNTRUSTED_MESSAGE_BYTES

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if (sock := transport.get_extra_info("socket")) is not None and sock.family in (2, 10):
            sock.setsockopt(_SOL_SOCKET, _SO_SNDBUF, SEND_BUFFER_BYTES)

    def data_received(self, data: bytes) -> None:
        conn = self.conn
        self.received += len(data)
        if self.sink is not None and conn.state is OPEN and conn.current_size is None and not conn.reader.buffer:
            # between two messages: nearly always small binary frames follow, and are read here
            data = data[self._read_small(data, self.sink) :]
            if not data:
                return
        conn.receive_data(data)
        if self.sink is not None:
            self._deliver(self.sink)
        if conn.parser_exc is not None:
            self.handle_parser_exception()
        elif self.sink is None:
            self.handle_events()
            if not self.handshake_initiated:  # the head came as a whole: the library has refused it, and says so in no event
                self.transport.write(_UNREADABLE.raw())
                self.transport.close()

    def _read_small(self, data: bytes, sink: Callable[[bytes], None]) -> int:
        """Give the sink the small whole binary frames that `data` begins with; where the first other frame begins.

        The library's parser takes that one: large, fragmented or incomplete frames, control frames, and every breach of the rules.
        It is right about all of them, and costs twice as much.
        """
        at, end = 0, len(data)
        while end - at >= 6 and data[at] == 0x82 and not self.close_sent:
            size = data[at + 1] - 0x80  # the highest bit says that it is masked, as a client's must be
            start = at + 6
            if size == 126 and end - at >= 8:
                size = data[at + 2] << 8 | data[at + 3]
                start = at + 8
            elif not 0 <= size < 126:
                break
            if start + size > end:
                break
            sink(apply_mask(data[start : start + size], data[start - 4 : start]))
            at = start + size
        return at

    def _deliver(self, sink: Callable[[bytes], None]) -> None:
        """Hand what arrived to the sink; everything but whole binary messages goes uvicorn's way."""
        for event in self.conn.events_received():
            if type(event) is Frame and event.opcode is Opcode.BINARY and event.fin:
                if not self.close_sent:
                    sink(bytes(event.data))
            else:
                self.conn.events.append(event)
                self.handle_events()

    def handle_cont(self, event: Frame) -> None:
        if self.close_sent:
            return
        if len(self.frames) < MAX_FRAGMENTS:
            super().handle_cont(event)
            return
        self.frames = []
        (self.peer.refuse if self.peer is not None else self.close)(Close.MALFORMED, "too many fragments")

    def send_receive_event_to_app(self) -> None:
        if self.peer is None:
            super().send_receive_event_to_app()
            return
        data, self.frames = b"".join(self.frames), []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "text":
            self.peer.refuse(Close.MALFORMED, "text frame")
        else:
            self.peer.receive(data)

    async def run_asgi(self) -> None:
        # The endpoint sees the raw side in its scope; headers are dropped once it has answered (they cost 8 KB a socket).
        extensions: dict[str, Any] = self.scope["extensions"]
        extensions["wire"] = Wire(self)
        await super().run_asgi()

    def forget_handshake(self) -> None:
        """Drop what only the handshake needed: it is kept three times over and would live as long as the socket."""
        self.request.headers.clear()
        self.response.headers.clear()
        self.scope["headers"] = []

    def close(self, code: int, reason: str) -> None:
        if self.close_sent or self.disconnected or self.transport.is_closing() or self.conn.state is not State.OPEN:
            return  # not open: the peer has closed, or broke the framing rules after what it is closed for, which is told then
        self.stop_keepalive()
        self.conn.send_close(code, reason[:100])
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def shutdown(self) -> None:
        if self.handshake_complete and not self.close_sent:
            # uvicorn would close the transport at once: what the peer is still sending then resets it, and the code is lost
            self.close(Close.RESTART, "the server restarts")
        elif self.close_timer is None:
            super().shutdown()

    def handle_parser_exception(self) -> None:
        told = self.conn.close_sent is not None and self.handshake_complete and not self.close_sent
        self.conn.data_to_send()  # the library's own close frame: 1009 and 1002 are retried for ever by stock clients
        if told and isinstance(self.conn.parser_exc, PayloadTooBig):
            self.transport.write(_close_frame(Close.TOO_LARGE, "message too large: use POST /api/sync/{library}"))
        elif told:
            self.transport.write(_close_frame(Close.MALFORMED, "malformed frame"))
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006, "reason": ""})
        self.close_sent = True
        self.transport.close()
        self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def handle_close(self, event: Frame) -> None:
        super().handle_close(event)
        self.loop.call_later(CLOSE_SECONDS, self.transport.abort)

    def send_keepalive_ping(self) -> None:
        super().send_keepalive_ping()
        self._moved = self.received, self.transport.get_write_buffer_size()
        if self.peer is not None and self.pending_ping_payload is not None:
            self.peer.pinged()

    def ping_now(self) -> None:
        """Send the next ping at once, unless one waits for its answer."""
        if self.ping_timer is not None:
            self.ping_timer.cancel()
            self.send_keepalive_ping()

    def handle_pong(self, event: Frame) -> None:
        waiting = self.pending_ping_payload
        super().handle_pong(event)
        if waiting is not None and self.pending_ping_payload is None and self.peer is not None:
            self.peer.ponged()

    def keepalive_timeout(self) -> None:
        if self._moving() and self.ping_timeout is not None:
            self.pong_timer = self.loop.call_later(self.ping_timeout, self.keepalive_timeout)
            return
        super().keepalive_timeout()
        self.transport.abort()  # close() would wait for a peer that does not read

    def _moving(self) -> bool:
        """Whether a pong may just be late: 7 MB take a minute at 1 Mbit/s, and ping and pong stand in line behind them."""
        (received, unsent), self._moved = self._moved, (self.received, self.transport.get_write_buffer_size())
        moved = self._moved[0] - received + max(0, unsent - self._moved[1])
        return not self.close_sent and (self.unheard or moved >= SLOWEST_BYTES * (self.ping_timeout or 0))


def _close_frame(code: int, reason: str) -> bytes:
    body = struct.pack("!H", code) + reason.encode()[:123]
    return bytes((0x88, len(body))) + body
