"""What a supervisor asks: does the process live, can it store, and what has it counted."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from hmac import compare_digest

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from auth.errors import InvalidToken
from server import metrics
from server.routes.asking import bearer_token
from server.services import Services
from storage.errors import NotFound, StorageError
from storage.health import prove_commits

READY_SECONDS = 2.0
"""A database that has not committed within this is not ready."""
FRESH_SECONDS = 1.0
"""For so long an answer is given again: each costs a commit, and anybody may ask."""


def health_routes(
    services: Services, *, draining: Callable[[], bool] = lambda: False, failing: Callable[[], bool] = lambda: False
) -> list[Route]:
    """`/healthz`, `/readyz` and `/metrics`. While `draining` says so this process wants no new work, and is not ready.

    `/metrics` tells how much is done here, and nothing of anybody; still it is for operators, who have its token.
    Nor is it while `failing` says that updates cannot be stored: a full database may well commit what needs no room.
    """
    readiness = Readiness(lambda: prove_commits(services.database))

    async def healthz(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def readyz(request: Request) -> Response:
        if draining():
            return _unavailable("draining", "the server is going down")
        if not await readiness.holds():
            return _unavailable("unavailable", "the database does not commit")
        if failing():
            return _unavailable("unavailable", "the database does not store")
        return JSONResponse({"status": "ok"})

    async def exposition(request: Request) -> Response:
        token = services.settings.metrics_token
        if token is None and services.settings.production:
            raise NotFound
        if token is not None and not compare_digest(bearer_token(request).encode(), token.get_secret_value().encode()):
            raise InvalidToken("not that of the metrics")
        return Response(metrics.exposition(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", exposition)]


class Readiness:
    """Whether the database commits: asked at most once at a time and once in `FRESH_SECONDS`, whoever wants to know."""

    def __init__(self, prove: Callable[[], Awaitable[None]], clock: Callable[[], float] = time.monotonic) -> None:
        self._prove = prove
        self._clock = clock
        self._answer = False
        self._fresh_until = float("-inf")
        self._question: asyncio.Task[None] | None = None

    async def holds(self) -> bool:
        """Whether it does, or did just now."""
        if self._clock() >= self._fresh_until:
            if self._question is None or self._question.done():
                self._question = asyncio.create_task(self._ask())
            await asyncio.shield(self._question)  # others may wait for it when this one has gone
        return self._answer

    async def _ask(self) -> None:
        try:
            await asyncio.wait_for(self._prove(), READY_SECONDS)
        except (StorageError, TimeoutError):
            self._answer = False
        else:
            self._answer = True
        self._fresh_until = self._clock() + FRESH_SECONDS


def _unavailable(status: str, reason: str) -> Response:
    return JSONResponse({"status": status, "reason": reason}, 503, {"Retry-After": "2"})
