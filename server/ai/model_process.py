"""A process that calls models for a server: what each token costs, and what a provider may do, is no burden on what the server relays.

It is started when it is first needed, and anew when it has died. It knows how to reach providers and nothing else: no database, no keys of
this server, nothing of its environment. A secret reaches it with the call that it is for.
"""

import asyncio
import itertools
import socket
import subprocess
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import structlog

from server import metrics
from server.ai.calls import Call, Finished, Message, Piece, Target
from server.ai.failures import ModelFailed, Outcome
from server.ai.listed_models import ListedModel
from server.ai.model_caller import CHECK_SECONDS
from server.ai.orders import Done, Failed, Frames, Kind, Needed, Order, Word, framed, plain, words_in
from server.apart import started_apart
from server.config import Settings

log = structlog.get_logger(__name__)

_NEEDED = ("model_hosts", "model_connect_seconds", "model_idle_seconds", "model_call_seconds")
STUCK_SECONDS = 10.0
"""What the process has beyond the longest that a call may take. Past it the process is ended, and its other calls with it: it is stuck."""
MAX_WAITING_BYTES = 64 << 20
"""Of orders that the process has not read yet. Past it, which only one that is stuck lets happen, a call is cut off before it begins."""
_GONE = Failed(Outcome.CUT_OFF, "", None)


class ModelProcess:
    """A `ModelCaller`: has models called in a process of its own."""

    def __init__(self, settings: Settings) -> None:
        """Nothing is started before something is asked."""
        self._settings = settings
        self._line: _Line | None = None
        self._starting = asyncio.Lock()

    async def stream(self, call: Call) -> AsyncGenerator[Piece, None]:
        """As `ModelCaller.stream`. Where the process dies, the call has been cut off."""
        async with self._ordered(Kind.STREAM, call.target, call.messages) as order:
            while not isinstance(word := await order.word(), Done):
                if isinstance(word, Failed):
                    raise word.error()
                yield word
                if isinstance(word, Finished):  # what the provider still sends is read there, for the sake of its connection
                    return

    async def check(self, target: Target) -> None:
        """As `ModelCaller.check`."""
        await self._done(Kind.CHECK, target)

    async def list_models(self, target: Target) -> Sequence[ListedModel]:
        """As `ModelCaller.list_models`."""
        return (await self._done(Kind.LIST, target)).listed

    async def close(self) -> None:
        """End the process, whatever it does."""
        async with self._starting:
            if self._line is not None:
                self._line.close()

    @property
    def pid(self) -> int | None:
        """The process, where it runs."""
        return None if self._line is None or self._line.ended else self._line.process.pid

    async def _done(self, kind: Kind, target: Target) -> Done:
        async with self._ordered(kind, target, ()) as order:
            match await order.word():
                case Done() as done:
                    return done
                case Failed() as failed:
                    raise failed.error()
                case _:
                    raise ModelFailed(Outcome.FAILED)

    @asynccontextmanager
    async def _ordered(self, kind: Kind, target: Target, messages: Sequence[Message]) -> "AsyncIterator[_Running]":
        """An order under way, given up where the block is left before its end."""
        line = await self._ready()
        running = line.begin(kind, target, messages)
        longest = self._settings.model_call_seconds if kind is Kind.STREAM else CHECK_SECONDS
        bound = asyncio.get_running_loop().call_later(longest + STUCK_SECONDS, line.close)
        try:
            yield running
        finally:
            bound.cancel()
            line.end(running)

    async def _ready(self) -> "_Line":
        """A line to a process. Raises ModelFailed where none can be started."""
        async with self._starting:
            if self._line is None or self._line.ended:
                try:
                    self._line = await _line(self._settings)
                except OSError as error:  # no room for another process at the moment
                    log.error("model_process_not_started", error=type(error).__name__)
                    raise _GONE.error() from error
            return self._line


class _Running:
    """An order that is carried out, and what was said of it and not heard yet."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended = False
        """Nothing more is said of it that matters."""
        self._words: deque[Word] = deque()
        self._waiter: asyncio.Future[None] | None = None

    def put(self, word: Word) -> None:
        self._words.append(word)
        self.ended = isinstance(word, (Done, Failed, Finished))
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def word(self) -> Word:
        """What is said next."""
        while not self._words:
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                await self._waiter
            finally:
                self._waiter = None
        return self._words.popleft()


class _Line(asyncio.Protocol):
    """The way to one process, and the orders that it carries out."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.ended = False
        self._transport: Any = None
        self._frames = Frames()
        self._numbers = itertools.count()
        self._running: dict[int, _Running] = {}

    def begin(self, kind: Kind, target: Target, messages: Sequence[Message]) -> _Running:
        running = _Running(next(self._numbers))
        if self.ended or self._transport.get_write_buffer_size() > MAX_WAITING_BYTES:
            running.put(_GONE)
        else:
            self.write(Order(running.number, kind, plain(target), tuple(messages)))
        self._running[running.number] = running  # now that nothing can go wrong any more: whoever ends it has it
        return running

    def end(self, running: _Running) -> None:
        del self._running[running.number]
        if not running.ended and not self.ended:
            self.write(Order(running.number, Kind.CANCEL, {}, ()))

    def write(self, content: Needed | Order) -> None:
        self._transport.write(framed(content))

    def close(self) -> None:
        if not self.ended:
            self._transport.abort()
            self._over()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for words in self._frames.feed(data):
            for number, word in words_in(words):
                if (running := self._running.get(number)) is not None:
                    running.put(word)

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.ended:
            self._over()

    def _over(self) -> None:
        self.ended = True
        if self._running:
            metrics.model_processes_ended.inc()
            log.error("model_process_ended", running=len(self._running))
        self.process.kill()
        self.process.wait()  # it has nothing to end with
        for running in self._running.values():
            if not running.ended:
                running.put(_GONE)


async def _line(settings: Settings) -> _Line:
    """A line to a new process. Raises OSError."""
    ours, theirs = socket.socketpair()
    try:
        with theirs:
            process = started_apart("server.ai.model_worker", theirs.fileno())
    except BaseException:
        ours.close()
        raise
    try:
        _, line = await asyncio.get_running_loop().create_connection(lambda: _Line(process), sock=ours)
    except BaseException:  # whoever waited has gone: nobody else knows of it
        process.kill()
        process.wait()
        raise
    needed = {name: getattr(settings, name) for name in _NEEDED}
    number = structlog.contextvars.get_contextvars().get("process")
    line.write(Needed(needed, settings.log_level, settings.production, number))
    return line
