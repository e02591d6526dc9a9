"""Improvements of prompts that run: each a task of its own, which outlives whoever has asked once the model has answered.

While the model answers, an improvement may be given up: whoever asked has gone, or the server stops. From the end of the
answer on it may not: it was paid for, so it is kept, whoever still listens.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager, nullcontext, suppress
from dataclasses import dataclass
from http import HTTPStatus
from time import perf_counter
from typing import Any
from uuid import UUID

import structlog
from starlette.responses import Response

from server.ai.calls import Call, Finished, Piece
from server.ai.failures import ModelFailed, Outcome
from server.ai.results import Result
from server.errors import TryLater, is_expected, problem_of
from server.idempotency import ABANDONED_AFTER, Attempt, Idempotency
from server.problems import Problem
from server.reading_along import ReadingAlong

log = structlog.get_logger(__name__)

STOP_SECONDS = 1.0
"""What those have to keep their results that have them when the server stops; past it they are given up too."""
BREAK_SECONDS = 0.2
"""What one that is broken off has to tidy up, and then to note how it ended; past each of them it is broken off again."""
HOLD_SECONDS = ABANDONED_AFTER.total_seconds() / 3
"""How often a claim is said to be worked on: otherwise another process would take it over, and call the model again."""
_FOR_GOOD = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})
"""Statuses of a result that cannot be stored, and could not be a little later."""

Calling = Callable[[Call, UUID], AsyncGenerator[Piece, None]]
"""As `Models.stream`: a model's answer, piece by piece. Raises ModelFailed."""


class NotKept(Exception):
    """The model has answered, and the answer could not be stored for this `error`; `result` is what whoever asked would have got."""

    def __init__(self, error: Exception, result: dict[str, Any]) -> None:
        super().__init__(error)
        self.error = error
        self.result = result


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an improvement consists of."""

    call: Call
    user_id: UUID
    shown: AbstractAsyncContextManager[None]
    """Tells others that it runs."""
    keep: Callable[[Result], Awaitable[Response]]
    """Stores the result, and says what is answered. Raises NotKept."""
    attempt: Attempt | None
    """At a request under a key, to be ended."""


class Optimizer:
    """The improvements of this process."""

    def __init__(self, calling: Calling, idempotency: Idempotency) -> None:
        self._calling = calling
        self._idempotency = idempotency
        self._running: set[Optimization] = set()
        self._stopping = False

    def begin(self, work: Work, *, is_read: bool) -> "Optimization":
        """Begin one, whose answer is read along if `is_read`."""
        begun = Optimization(work, self._calling, self._idempotency)
        begun.along.is_read = is_read
        if self._stopping:
            begun.give_up(TryLater())
        self._running.add(begun)
        begun.when_ended(lambda: self._running.discard(begun))
        return begun

    async def stop(self) -> None:
        """Take no more, give up what still waits for its model, and let the others keep what they have."""
        self._stopping = True
        running = tuple(self._running)
        for each in running:
            each.give_up(TryLater())
        if running:
            log.info("optimizations_stopped", running=len(running))
            await asyncio.wait([asyncio.create_task(each.end(STOP_SECONDS)) for each in running])

    def __len__(self) -> int:
        return len(self._running)


class Optimization:
    """One improvement. `along` has what the model says, for who reads along; `ended` is set once there is an answer."""

    def __init__(self, work: Work, calling: Calling, idempotency: Idempotency) -> None:
        self.along = ReadingAlong()
        self.ended = asyncio.Event()
        self._work = work
        self._calling = calling
        self._idempotency = idempotency
        self._answer: Response | Exception = TryLater()
        self._reason: Exception | None = None
        self._is_answering = True
        self._has_begun = False
        self._task = asyncio.create_task(self._run())

    def when_ended(self, do: Callable[[], None]) -> None:
        """What is done then."""
        self._task.add_done_callback(lambda _: do())

    def give_up(self, reason: Exception) -> None:
        """End it with this reason, unless the model has finished."""
        if self._is_answering and self._reason is None:
            self._reason = reason
            if self._has_begun:  # a task that is cancelled before would end without a word
                self._task.cancel()

    async def end(self, within: float) -> None:
        """Wait until it has ended; past so many seconds it is broken off, whatever it does."""
        await asyncio.wait((self._task,), timeout=within)
        while not self._task.done():
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=BREAK_SECONDS)

    def answer(self) -> Response:
        """What whoever asked is answered, once it has ended."""
        if isinstance(self._answer, Response):
            return self._answer
        problem, members = self.refusal()
        return problem.response(members)

    def refusal(self) -> tuple[Problem, dict[str, Any]]:
        """Why there is no result, as a problem and its further members. Only where `failed`."""
        assert isinstance(self._answer, Exception)  # noqa: S101  # `failed`; tells the type checker
        if isinstance(self._answer, NotKept):
            return problem_of(self._answer.error), {"result": self._answer.result}
        return problem_of(self._answer), {}

    @property
    def failed(self) -> bool:
        """Whether it has ended without a result."""
        return self.ended.is_set() and isinstance(self._answer, Exception)

    async def _run(self) -> None:
        self._has_begun = True
        try:
            if self._reason is not None:
                raise self._reason
            self._answer = await self._answered()
        except asyncio.CancelledError:
            # given up; without a reason the process ends
            self._answer = self._reason or TryLater()
            if self._reason is None:
                raise
        except Exception as error:
            self._answer = error
            cause = error.error if isinstance(error, NotKept) else error
            if not is_expected(cause):
                log.error("optimization_failed", error=type(cause).__name__, exc_info=cause)
        finally:
            self._is_answering = False
            try:
                await self._settle()
            finally:
                self.along.close()
                self.ended.set()

    async def _settle(self) -> None:
        attempt = self._work.attempt
        if attempt is not None:
            if isinstance(self._answer, NotKept) and self.answer().status_code in _FOR_GOOD:
                attempt.claim.done()  # asked again it would be paid for again, and refused again: this answer has the result, and is kept
            with suppress(asyncio.CancelledError):  # broken off: whoever comes next finds what was made
                await self._idempotency.end(attempt, self.answer())

    async def _answered(self) -> Response:
        attempt = self._work.attempt
        async with nullcontext() if attempt is None else beside(self._hold(attempt)), self._work.shown:
            result = await self._result()
            if not result.text:
                raise ModelFailed(Outcome.EMPTY)
            return await self._work.keep(result)

    async def _result(self) -> Result:
        result, began = Result(), perf_counter()
        async with aclosing(self._calling(self._work.call, self._work.user_id)) as pieces:
            async for piece in pieces:
                try:
                    result.take(piece)
                except ModelFailed as error:
                    await pieces.athrow(error)  # it is written down as what it is
                if isinstance(piece, Finished):
                    self._is_answering = False
                    result.milliseconds = round((perf_counter() - began) * 1000)
                else:
                    self.along.put(piece)
        self._is_answering = False
        return result

    async def _hold(self, attempt: Attempt) -> None:
        """Say again and again that the request is worked on."""
        while True:
            await asyncio.sleep(HOLD_SECONDS)
            await self._idempotency.hold(attempt)


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Have something done for as long as the block runs."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait((task,))
