"""What runs in the process that calls models: `python -m server.ai.model_worker <socket> <parent>`, started by `ModelProcess`.

It carries out orders side by side, and ends when the socket closes or the server dies.
"""

import asyncio
import resource
import socket
import sys
from contextlib import aclosing
from typing import Any

import structlog
import uvloop

from server import heap
from server.ai.calls import Call, Purpose
from server.ai.failures import ModelFailed, Outcome
from server.ai.orders import Done, Failed, Frames, Kind, Needed, Order, Word, framed, order_in, target_in, written
from server.ai.wires import Wires
from server.apart import begin_apart
from server.config import load_settings
from server.logs import configure_logs
from server.outgoing.client import make_client

log = structlog.get_logger(__name__)

MEMORY_BYTES = 2 << 30
"""What it may hold: a call holds some 0.1 MB, one with the largest event that is read some 30 MB. Past it calls fail."""


class Worker(asyncio.Protocol):
    """Carries out the orders of one server."""

    def __init__(self) -> None:
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._frames = Frames()
        self._transport: Any = None
        self._wires: Wires | None = None
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._words: list[tuple[int, Word]] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for content in self._frames.feed(data):
            if self._wires is not None:
                self._take(order_in(content))
            else:  # first of all come the settings
                needed = Needed(*content)
                configure_logs(needed.log_level, json=needed.json, process=needed.process)
                settings = load_settings(**needed.settings)
                self._wires = Wires(make_client(settings), settings)

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed.set_result(None)

    def _take(self, order: Order) -> None:
        if order.kind is Kind.CANCEL:
            if (task := self._tasks.get(order.number)) is not None:
                task.cancel()
            return
        task = self._tasks[order.number] = asyncio.create_task(self._ended(order))
        task.add_done_callback(lambda _: self._tasks.pop(order.number))

    async def _ended(self, order: Order) -> None:
        try:
            self._say(order.number, await self._carry_out(order))
        except ModelFailed as error:
            self._say(order.number, Failed(error.outcome, error.said, error.retry_after))
        except Exception as error:
            log.exception("model_order_failed", error=type(error).__name__)
            self._say(order.number, Failed(Outcome.FAILED, "", None))

    async def _carry_out(self, order: Order) -> Done:
        assert self._wires is not None  # noqa: S101  # made with the settings; tells the type checker
        target = target_in(order)
        match order.kind:
            case Kind.CHECK:
                await self._wires.check(target)
            case Kind.LIST:
                return Done(tuple(await self._wires.list_models(target)))
            case _:
                call = Call(target=target, messages=order.messages, purpose=Purpose.OPTIMIZE)
                async with aclosing(self._wires.stream(call)) as pieces:
                    async for piece in pieces:
                        self._say(order.number, piece)
        return Done(())

    def _say(self, number: int, word: Word) -> None:
        """Send this with what else is said in this turn of the loop."""
        if not self._words:
            asyncio.get_running_loop().call_soon(self._send)
        self._words.append((number, word))

    def _send(self) -> None:
        words, self._words = self._words, []
        self._transport.write(framed(written(words)))


async def serve(given: socket.socket) -> None:
    """Carry out what comes, until the other end closes."""
    _, worker = await asyncio.get_running_loop().create_connection(Worker, sock=given)
    heap.settle()
    await worker.closed


if __name__ == "__main__":
    begin_apart(int(sys.argv[2]))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    uvloop.install()
    asyncio.run(serve(socket.socket(fileno=int(sys.argv[1]))))
