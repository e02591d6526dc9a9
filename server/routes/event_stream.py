"""Server-sent events (https://html.spec.whatwg.org/multipage/server-sent-events.html): an answer that is read while it is made."""

import asyncio
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import structlog
from fastapi import Response
from pydantic_core import to_json
from starlette.types import Receive, Scope, Send

from server.ai.calls import Token
from server.ai.failures import ModelFailed, Outcome
from server.idempotency import REPLAYED
from server.moving_deadline import MovingDeadline
from server.optimizer import Optimization

log = structlog.get_logger(__name__)

EVENT_STREAM = "text/event-stream"
KEEP_ALIVE_SECONDS = 15.0
"""A comment goes out when nothing else has for so long: proxies close what is quiet for a minute, some for less."""
STALL_SECONDS = 30.0
"""Who reads nothing for so long, with all buffers full, counts as gone: what still comes of the model's answer is given up."""
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_KEEP_ALIVE = b": keep-alive\n\n"


def event(name: str, data: Any) -> bytes:
    """One event. The data is JSON, which has no line breaks."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), data if isinstance(data, bytes) else to_json(data))


def told_at_once(body: bytes, headers: Mapping[str, str]) -> Response:
    """A whole answer as the one event `done`: it was made before."""
    kept = {name: headers[name] for name in ("ETag", "Location", REPLAYED) if name in headers}
    return Response(event("done", body), 200, _HEADERS | kept, media_type=EVENT_STREAM)


class EventStream(Response):
    """The tokens and the reasoning of an improvement as they come, then `done` or `error`."""

    media_type = EVENT_STREAM

    def __init__(self, optimization: Optimization, watched: AbstractAsyncContextManager[object]) -> None:
        """`watched` gives the improvement up when its reader goes away; it is left when the stream has ended."""
        super().__init__(headers=_HEADERS)
        del self.headers["content-length"]
        self._optimization = optimization
        self._watched = watched

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with self._watched:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                async with asyncio.timeout(None) as stalled:
                    await self._send_all(send, MovingDeadline(lambda: stalled.reschedule(0.0)))
        except TimeoutError:
            log.info("answer_not_read")
        finally:
            self._optimization.give_up(ModelFailed(Outcome.CANCELLED))
            self._optimization.along.leave()

    async def _send_all(self, send: Send, patience: MovingDeadline) -> None:
        along, over = self._optimization.along, False
        try:
            while not over:
                pieces = await along.take(KEEP_ALIVE_SECONDS)
                over = along.over
                events = [event("token" if isinstance(piece, Token) else "reasoning", {"text": piece.text}) for piece in pieces]
                if over:
                    events.append(self._last())
                patience.move(STALL_SECONDS)
                await send({"type": "http.response.body", "body": b"".join(events) or _KEEP_ALIVE, "more_body": not over})
                patience.lift()
        finally:
            patience.close()

    def _last(self) -> bytes:
        if not self._optimization.failed:
            return event("done", bytes(self._optimization.answer().body))
        problem, members = self._optimization.refusal()
        told = {"status": problem.status, "code": problem.code, "title": problem.title, "detail": problem.detail}
        return event("error", told | {"retry_after": problem.retry_after} | members)


async def given_up_when_gone(receive: Receive, optimization: Optimization) -> None:
    """Give an improvement up once whoever asked for it has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    optimization.give_up(ModelFailed(Outcome.CANCELLED))
