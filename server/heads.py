"""HTTP connections whose heads are bounded in bytes and in time: httptools collects headers without end, and waits for them for ever.

Where several processes share a port, a connection goes on to the one it belongs to before anything of it is parsed.
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from server.problems import Problem
from server.siblings import Siblings

MAX_HEAD_BYTES = 64 << 10
"""A request line and its headers; ours take under 2 KiB."""
BYTES_AROUND_A_BODY_BYTE = 16
"""What chunking may cost: sizes, extensions and trailers come on top of the body, and no body limit counts them."""
HEAD_SECONDS = 20.0
"""From the connection, or the first byte of a further request, to the end of its head."""


class BoundedHttp(HttpToolsProtocol):
    """uvicorn's HTTP, answering 400 and closing where a head takes too much or too long."""

    def __init__(self, *arguments: Any, siblings: Siblings | None = None, handed: bytes = b"", **named: Any) -> None:
        """`siblings` are those this connection may be handed to; `handed` is what the one that handed it here has read of it."""
        super().__init__(*arguments, **named)
        self._siblings = siblings
        self._handed = handed
        self._received = 0
        self._began = False
        self._allowed = MAX_HEAD_BYTES
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        super().connection_made(transport)
        self._await_head()
        if self._handed:
            handed, self._handed = self._handed, b""
            self.data_received(handed)

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        siblings, self._siblings = self._siblings, None  # only by its first bytes
        if siblings is not None and siblings.hand_on(data, self.transport):
            return
        self._began = False
        super().data_received(data)
        # the read in which a head begins may hold the end of the body before it, and is bounded by itself
        self._received += 1 if self._began else len(data)
        if self._received > self._allowed and not self.transport.is_closing():
            self._refuse("The request's head or framing is too large.")

    def on_message_begin(self) -> None:
        self._received, self._allowed, self._began = 0, MAX_HEAD_BYTES, True
        self._await_head()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._head_came()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._allowed += len(body) * (1 + BYTES_AROUND_A_BODY_BYTE)
        super().on_body(body)

    def send_400_response(self, msg: str) -> None:
        answer = Problem(status=400, code="malformed_http", title="This is not HTTP as it is read here", detail=msg).response()
        head = b"".join(b"%b: %b\r\n" % header for header in answer.raw_headers)
        self.transport.write(STATUS_LINE[400] + head + b"connection: close\r\n\r\n" + bytes(answer.body))
        self.transport.close()

    def _await_head(self) -> None:
        self._head_came()
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._refuse, "The request's head did not come in time.")

    def _head_came(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _refuse(self, why: str) -> None:
        if self._received and (self.cycle is None or self.cycle.response_complete):
            self.send_400_response(why)
        else:
            self.transport.close()  # nothing was asked, or an answer is under way
