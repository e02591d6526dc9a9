"""Many light sockets that are cut off and come back at once, as stock providers do (they have no jitter), and count what they get.

They come from the benchmarks' generator: a device in Python costs more than the server it asks.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.edits import library_of
from benchmarks.sockets import ServerClosed, Socket, client_frame, open_socket
from crdt.knowledge import Knowledge
from crdt.updates import inspect
from tests.support.server import Server

LIBRARY_BYTES = 4_000
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.5
"""Seconds: a stock provider's back-off, which doubles and has no jitter."""
OPEN_SECONDS = 30.0


class Seated(Socket):
    """A socket that remembers with what it was closed, and when."""

    def __init__(self) -> None:
        super().__init__()
        self.close_code = 0
        self.ended = asyncio.Event()
        self.ended_at = 0.0

    def control(self, opcode: int, payload: bytes) -> None:
        if opcode == 0x88:
            self.close_code = int.from_bytes(payload[:2], "big")
            self.transport.write(client_frame(payload[:2], 0x88))
            self.leaving = True
        else:
            super().control(opcode, payload)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended_at = time.monotonic()
        self.ended.set()
        super().connection_lost(exc)


@dataclass(frozen=True, slots=True)
class Wave:
    """What one wave of openings came to."""

    sockets: int
    seconds: float
    short: int
    """Answers that lacked anything."""

    def __str__(self) -> str:
        return f"{self.sockets} openings in {self.seconds:.1f} s ({self.sockets / max(self.seconds, 0.001):.0f}/s), {self.short} short"


class Crowd:
    """`count` devices spread over libraries of a few kilobytes, and over the processes."""

    def __init__(self, servers: Sequence[Server], token: str, libraries: Sequence[str], count: int) -> None:
        self._servers, self._token = list(servers), token
        self._libraries = [libraries[number % len(libraries)] for number in range(count)]
        self._content = library_of(LIBRARY_BYTES, small_edits=4)
        self._known = Knowledge()
        for update in self._content:
            self._known.learn(inspect(update))
        self.sockets: list[Seated | None] = [None] * count
        self.answers: Counter[int] = Counter()

    @classmethod
    async def gather(cls, servers: Sequence[Server], count: int, *, libraries: int) -> "Crowd":
        """Make an account and its libraries, filled; nobody is connected yet."""
        account = await asyncio.to_thread(servers[0].register)
        ids = [await asyncio.to_thread(servers[0].create_library, account) for _ in range(libraries)]
        crowd = cls(servers, account.sync_token, ids, count)
        for library in ids:
            for update in crowd._content:
                await asyncio.to_thread(servers[0].upload, account, library, update)
        return crowd

    def at(self, server: Server) -> list[int]:
        """Who is seated at this process."""
        return [
            number
            for number, socket in enumerate(self.sockets)
            if socket is not None and socket.transport.get_extra_info("peername")[1] == server.port
        ]

    async def come(self, who: Sequence[int], servers: Sequence[Server]) -> Wave:
        """All of `who` connect at once, spread over `servers`, each again and again until it is let in; how it went."""
        began = time.monotonic()
        complete = await asyncio.gather(*(self._sit(number, servers[place % len(servers)]) for place, number in enumerate(who)))
        return Wave(len(who), time.monotonic() - began, complete.count(False))

    async def _sit(self, number: int, server: Server) -> bool:
        wait = FIRST_WAIT
        async with asyncio.timeout(OPEN_SECONDS * 4):
            while True:
                socket = Seated()
                try:
                    async with asyncio.timeout(OPEN_SECONDS):
                        answer = await open_socket(socket, ("127.0.0.1", server.port), f"/sync/{self._libraries[number]}", self._token)
                except (OSError, ServerClosed, TimeoutError, asyncio.CancelledError):
                    if (task := asyncio.current_task()) is not None and task.cancelling():
                        raise
                    self.answers[socket.close_code] += 1
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, LONGEST_WAIT)
                    continue
                self.sockets[number] = socket
                return self._complete(answer)

    def _complete(self, answer: bytes) -> bool:
        given = Knowledge()
        given.learn(inspect(answer))
        return given == self._known

    async def wait_until_cut_off(self, who: Sequence[int], *, within: float = 30.0) -> None:
        """Wait until all of `who` have lost their connection."""
        async with asyncio.timeout(within):
            for number in who:
                socket = self.sockets[number]
                assert socket is not None
                await socket.ended.wait()

    @property
    def seated(self) -> int:
        """How many are connected."""
        return sum(1 for socket in self.sockets if socket is not None and not socket.ended.is_set())

    def leave(self) -> None:
        for socket in self.sockets:
            if socket is not None:
                socket.leave()
