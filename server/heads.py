"""HTTP connections whose heads and bodies are bounded in bytes and in time: httptools collects without end, and waits for ever.

What two readers could read differently is refused: llhttp does so with both lengths at once, folded lines, bare line feeds and NUL, and
here come the rest: hosts, codings and versions (RFC 9112, 3.2 and 6). Whoever may be in front then sees the same requests as we do.

Where several processes share a port, a connection goes on to the one it belongs to before anything of it is parsed.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from server.problems import Problem
from server.siblings import Siblings

MAX_HEAD_BYTES = 64 << 10
"""A request line and its headers; ours take under 2 KiB. Past it: 400."""
MAX_HEADERS = 100
"""Headers of a request; browsers behind proxies send about 30. Past it: 431."""
BYTES_AROUND_A_BODY_BYTE = 16
"""What chunking may cost: sizes, extensions and trailers come on top of the body, and no body limit counts them."""
HEAD_SECONDS = 10.0
"""From the connection, or the first byte of a further request, to the end of its head. Past it: 400, where something had come."""
BODY_SECONDS = 10.0
"""How often it is looked at what has come of a body that we wait for."""
SLOWEST_BODY_BYTES = 1 << 10
"""What has to come of it meanwhile: 100 bytes a second, which any mobile network carries. Less: 408."""
FAREWELL_SECONDS = 10.0
"""A closed connection of whose answer nothing is read for so long is aborted."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP, answering 400 and closing where a head takes too much or too long."""

    def __init__(self, *arguments: Any, siblings: Siblings | None = None, handed: bytes = b"", **named: Any) -> None:
        """`siblings` are those this connection may be handed to; `handed` is what the one that handed it here has read of it."""
        super().__init__(*arguments, **named)
        self._siblings = siblings
        self._handed = handed
        self._received = 0
        self._came = 0
        self._began = False
        self._allowed = MAX_HEAD_BYTES
        self._due: asyncio.TimerHandle | None = None
        self._fault: Problem | None = None
        self._is_watched = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_head()
        if self._handed:
            handed, self._handed = self._handed, b""
            self.data_received(handed)

    def connection_lost(self, exc: Exception | None) -> None:
        self._nothing_due()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        siblings, self._siblings = self._siblings, None  # only by its first bytes
        if siblings is not None and siblings.hand_on(data, self.transport):
            return
        if self._due is None and self._between_requests:
            self._await_head()  # empty lines may come before it, and they end uvicorn's wait for a further request
        self._began = False
        self._came += len(data)
        super().data_received(data)
        # the read in which a head begins may hold the end of the body before it, and is bounded by itself
        self._received += 1 if self._began else len(data)
        if self._received > self._allowed and not self.transport.is_closing():
            self._refuse(_malformed("The request's head or framing is too large."))

    def on_message_begin(self) -> None:
        self._received, self._allowed, self._began = 0, MAX_HEAD_BYTES, True
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if (fault := self._fault_of_head()) is not None:
            self._fault = fault
            raise ValueError(fault.title)  # which ends the parsing, and has `send_400_response` called
        self._await_body()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._allowed += len(body) * (1 + BYTES_AROUND_A_BODY_BYTE)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._nothing_due()
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        if not self._is_watched:
            self._is_watched = True
            self._watch_unread()

    def timeout_keep_alive_handler(self) -> None:
        super().timeout_keep_alive_handler()
        self._part()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._fault or _malformed(msg))

    @property
    def _between_requests(self) -> bool:
        return self.cycle is None or (self.cycle.response_complete and not self.cycle.more_body)

    def _fault_of_head(self) -> Problem | None:
        """What is wrong with the head that has come, as far as the parser has not refused it."""
        version, names = self.parser.get_http_version(), [name for name, _ in self.headers]
        codings = [value.lower() for name, value in self.headers if name == b"transfer-encoding"]
        has_body = bool(codings) or any(name == b"content-length" and value.strip(b"0") for name, value in self.headers)
        if len(names) > MAX_HEADERS:
            return Problem(status=431, code="headers_too_large", title="The request has too many headers")
        if version not in ("1.0", "1.1"):
            return _malformed("The version is not HTTP/1.1.")
        if (hosts := names.count(b"host")) > 1 or (hosts == 0 and version == "1.1"):
            return _malformed("The request is not for exactly one host.")
        if codings and (codings != [b"chunked"] or version == "1.0"):
            return _malformed("The body comes in another coding than chunks.")
        if b"#" in self.url or (has_body and self.parser.should_upgrade() and self._should_upgrade()):
            return _malformed("The address has a fragment, or an upgrade has a body.")
        return None

    def _await_head(self) -> None:
        self._due_in(HEAD_SECONDS, self._refuse, _malformed("The request's head did not come in time."))

    def _await_body(self) -> None:
        self._due_in(BODY_SECONDS, self._look_at_body, self._came)

    def _look_at_body(self, came: int) -> None:
        is_ours = self.flow.read_paused or self.cycle.waiting_for_100_continue  # we have not taken what came, or not asked for it
        if is_ours or self._came - came >= SLOWEST_BODY_BYTES:
            self._await_body()
        else:
            self._refuse(Problem(status=408, code="too_slow", title="The request's body did not come in time: send it again"))

    def _due_in(self, seconds: float, do: Any, *arguments: object) -> None:
        self._nothing_due()
        self._due = self.loop.call_later(seconds, do, *arguments)

    def _nothing_due(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None

    def _refuse(self, problem: Problem) -> None:
        """Answer instead of the application where it is clear to which request, and close."""
        cycle = self.cycle
        is_of_cycle = cycle is not None and cycle.more_body and not cycle.response_started and not self.pipeline
        if self._came and (is_of_cycle or self._between_requests):
            self.transport.write(problem.raw())
        self.transport.close()
        self._part()

    def _watch_unread(self) -> None:
        """While its peer does not read, see whether the connection is closed: an application that gives up amid its answer says nothing."""
        self._is_watched = self.flow.write_paused and not self.transport.is_closing()
        if self._is_watched:
            self.loop.call_later(FAREWELL_SECONDS, self._watch_unread)
        elif self.transport.is_closing():
            self._part()

    def _part(self) -> None:
        """Abort the closed connection, unless what is unsent becomes less: a close waits for its peer to read."""
        if unsent := self.transport.get_write_buffer_size():
            self.loop.call_later(FAREWELL_SECONDS, self._abort_unless_read, unsent)

    def _abort_unless_read(self, unsent: int) -> None:
        if self.transport.get_write_buffer_size() < unsent:
            self._part()
        else:
            self.transport.abort()


def _malformed(detail: str) -> Problem:
    return Problem(status=400, code="malformed_http", title="This is not HTTP as it is read here", detail=detail)
