"""A process with a desk: it is given orders over a pipe of its own, one at a time, and ends when that closes.

Not an executor: its threads hand each order on three times, which takes longer than most orders do. What a library is opened with goes by
memory that both share: 8 MB through the pipe take 15 ms, that way 5.
"""

import asyncio
import os
import pickle
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from server import heap
from server.apart import begin_apart, started_apart
from server.desk import DESK, Done, Order, portable
from server.errors import TookTooLong, WorkerDied

MEMORY_BYTES = 6 << 30
"""Address space of a document process: past it a document ends it, and is looked into. One of 64 MiB takes some 300 MB as a rule."""
KEPT_BYTES = 16 << 20
"""What a library may leave of the memory that both share for the next one: having it cleared again takes 3 ms of 8 MB. More goes back."""
_LENGTH = struct.Struct(">Q")


class DocumentProcess:
    """A process that is started when it is first needed, and anew when it has died. Who uses it waits for its turn."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._shared = -1

    async def do(self, useless: Sequence[UUID], order: Order | None, *, seconds: float) -> Done | None:
        """Put away what is useless and carry out an order, if there is one.

        Raises:
            WorkerDied: the process broke, and all that lay there is gone.
            TookTooLong: it was ended after so many seconds, likewise.
            what `Desk.do` raises.
        """
        try:
            async with asyncio.timeout(seconds):
                answer = await self._exchange(useless, order)
        except TimeoutError:
            self.close()
            raise TookTooLong from None
        except (OSError, EOFError) as error:
            self.close()
            raise WorkerDied from error
        except BaseException:  # nobody knows what the next answer would be to
            self.close()
            raise
        done, failure = pickle.loads(answer)  # noqa: S301  # from our own process
        if failure is not None:
            raise failure
        return done if order is None else _checked(done)

    async def _exchange(self, useless: Sequence[UUID], order: Order | None) -> bytes:
        reader, writer = self._streams or await self._start()
        shared = 0
        if order is not None and order.opening is not None:
            shared = _put(self._shared, order.opening.content)
            order = order._replace(opening=order.opening._replace(content=b""))
        asked = pickle.dumps((useless, order, shared), pickle.HIGHEST_PROTOCOL)
        writer.write(_LENGTH.pack(len(asked)))
        writer.write(asked)
        await writer.drain()
        (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
        return await reader.readexactly(size)

    async def _start(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        self._shared = os.memfd_create("opening", os.MFD_CLOEXEC)
        ours, theirs = socket.socketpair()
        with theirs:
            self._process = started_apart("server.document_process", theirs.fileno(), self._shared, GLIBC_TUNABLES=heap.TUNABLES)
        self._streams = await asyncio.open_connection(sock=ours)
        return self._streams

    def close(self) -> None:
        """End the process without waiting for what it does."""
        if self._streams is not None:
            self._streams[1].transport.abort()
        if self._process is not None:
            self._process.kill()
            self._process.wait()  # it has nothing to end with
        if self._shared >= 0:
            os.close(self._shared)
        self._streams, self._process, self._shared = None, None, -1


def _put(shared: int, content: bytes) -> int:
    """Lay the content where the process finds it; its length in bytes."""
    left = memoryview(content)
    while left:
        left = left[os.pwrite(shared, left, len(content) - len(left)) :]
    return len(content)


def _taken(shared: int, size: int) -> bytes:
    """What was laid there. The memory is kept for the next one, where that is not much."""
    content = os.pread(shared, size, 0)
    if len(content) != size:
        raise EOFError
    if size > KEPT_BYTES:
        os.ftruncate(shared, 0)
    return content


def _checked(done: Any) -> Done:
    assert isinstance(done, Done)  # noqa: S101  # tells the type checker
    return done


def serve(pipe: socket.socket, shared: int) -> None:
    """Carry out what comes, until the other end closes. What a library is opened with lies in `shared`, a file in memory."""
    stream = pipe.makefile("rb")
    while head := stream.read(_LENGTH.size):
        useless, order, size = pickle.loads(stream.read(*_LENGTH.unpack(head)))  # noqa: S301  # from our own server
        if size:
            order = order._replace(opening=order.opening._replace(content=_taken(shared, size)))
        answer = _answer(useless, order)
        pipe.sendall(_LENGTH.pack(len(answer)))
        pipe.sendall(answer)


def _answer(useless: Sequence[UUID], order: Order | None) -> bytes:
    try:
        DESK.clear(useless)
        done = DESK.do(order) if order is not None else None
        if done is not None and done.error is not None:
            done = done._replace(error=portable(done.error))
        return pickle.dumps((done, None), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # an answer that cannot be sent, too
        return pickle.dumps((None, portable(error)), pickle.HIGHEST_PROTOCOL)


if __name__ == "__main__":
    begin_apart(int(sys.argv[3]))
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))  # no document takes all memory
    heap.settle()
    with socket.socket(fileno=int(sys.argv[1])) as given:
        serve(given, int(sys.argv[2]))
