"""What routes share that create something: a request is done once under its `Idempotency-Key`.

A router with `route_class=CreatingRoute` and `claim: Claimed` in a handler's signature are all a route needs. The handler takes every id
and the time from the claim, and treats "that id is there already" as done.
"""

import asyncio
import hashlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Header, Request, Response
from fastapi.exceptions import RequestValidationError

from server import problems
from server.claim import Claim
from server.errors import InvalidIdempotencyKey, problem_of
from server.idempotency import REPLAYED, Asked, Attempt
from server.routes.asking import bearer_token, principal, services_of
from server.routes.body import StrictRoute

HEADER = "Idempotency-Key"
MAX_KEY_LENGTH = 255
"""Characters of a key: a UUID has 36. Past it: 422."""
HASHED_HERE_BYTES = 8 << 20
"""A body of up to so many bytes is hashed at once, which takes some 10 ms; a larger one in a thread, while others are served."""
ONCE = {"invalid_idempotency_key": 422, "idempotency_key_reused": 422, "idempotency_in_progress": 409, "too_many_idempotency_keys": 429}
"""What every route with `Claimed` can refuse with."""


@dataclass(slots=True)
class _Slot:
    """Where the dependency leaves the attempt for the route that ends it."""

    attempt: Attempt | None = None


class _Replay(Exception):
    """The request has its answer."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class CreatingRoute(StrictRoute):
    """A strict route that keeps the answer to a request that its handler's `Claimed` has claimed, before it is sent."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handler = super().get_route_handler()

        async def once(request: Request) -> Response:
            slot = request.state.creating = _Slot()
            try:
                answer = await handler(request)
            except _Replay as replay:
                return replay.answer
            except Exception as error:
                if slot.attempt is not None:
                    await services_of(request).idempotency.end(slot.attempt, _answer_to(error))
                raise
            except BaseException:
                if slot.attempt is not None:
                    services_of(request).idempotency.leave(slot.attempt)
                raise
            if slot.attempt is not None:
                await services_of(request).idempotency.end(slot.attempt, answer)
                if slot.attempt.was_answered:
                    answer.headers[REPLAYED] = "true"
            return answer

        return once


def handed_over(request: Request) -> Attempt | None:
    """The attempt at this request, if it has one, which whoever takes it has to end: its work goes on beyond the handler."""
    slot: _Slot = request.state.creating
    attempt, slot.attempt = slot.attempt, None
    return attempt


async def claim(
    request: Request,
    _: Annotated[str | None, Header(alias=HEADER, description="1 to 255 printable ASCII characters; kept for 24 hours")] = None,
) -> Claim:
    """What the request's work draws from: under a key, from the claim that the first such request made.

    Raises:
        as `principal`: nobody creates anything without saying who they are.
        InvalidIdempotencyKey: the header is senseless.
        IdempotencyKeyReused, IdempotencyInProgress, TooManyIdempotencyKeys: as `Idempotency.begin`.
    """
    slot: _Slot = request.state.creating  # no such attribute: the router lacks route_class=CreatingRoute
    # known already where a library was found for them; as one more dependency it would cost every request 40 us
    asking = await principal(request, bearer_token(request))
    key, idempotency = _key(request), services_of(request).idempotency
    if key is None:
        return idempotency.without_key()
    begun = await idempotency.begin(
        Asked(
            user_id=asking.user.id,
            key=key,
            method=request.method,
            route=request.scope["route"].path,
            path=request.scope["path"],
            query=request.scope["query_string"] + b"\n" + request.headers.get("if-match", "").encode(),
            body=await _told_apart(await request.body()),
        )
    )
    if isinstance(begun, Response):
        raise _Replay(begun)
    slot.attempt = begun
    return begun.claim


async def _told_apart(body: bytes) -> bytes:
    """The body, as far as one is told from others by it."""
    return body if len(body) <= HASHED_HERE_BYTES else await asyncio.to_thread(lambda: hashlib.sha256(body).digest())


def _key(request: Request) -> str | None:
    values = request.headers.getlist(HEADER)
    if not values:
        return None
    key = values[0]
    if len(values) > 1 or not 1 <= len(key) <= MAX_KEY_LENGTH or not (key.isascii() and key.isprintable()):
        raise InvalidIdempotencyKey
    return key


def _answer_to(error: Exception) -> Response:
    problem = problems.of_validation(error.errors()) if isinstance(error, RequestValidationError) else problem_of(error)
    return problem.response()


Claimed = Annotated[Claim, Depends(claim)]
