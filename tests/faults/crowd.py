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
from crdt.seed import SEED
from crdt.updates import inspect
from tests.faults.judge import Verdict
from tests.faults.writers import bystander
from tests.support.many import Fleet
from tests.support.server import Server

LIBRARY_BYTES = 4_000
FIRST_WAIT, LONGEST_WAIT = 0.1, 2.5
"""Seconds: a stock provider's back-off, which doubles and has no jitter."""
PATIENCE = 60.0
"""Seconds one opening may take, and one in a hundred sockets more: all of them come at once, and openings wait for each other."""


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
        self._content = [SEED, *library_of(LIBRARY_BYTES, small_edits=4)]
        self._known = Knowledge()
        for update in self._content:
            self._known.learn(inspect(update))
        self.sockets: list[Seated | None] = [None] * count
        self.refusals: Counter[int] = Counter()
        """Close codes of openings that had to be repeated; 0 where there was no answer at all."""
        self._patience = PATIENCE + count / 100

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
        async with asyncio.timeout(self._patience * 2):
            while True:
                socket = Seated()
                try:
                    async with asyncio.timeout(self._patience):
                        answer = await open_socket(socket, ("127.0.0.1", server.port), f"/sync/{self._libraries[number]}", self._token)
                except (OSError, ServerClosed, TimeoutError, asyncio.CancelledError):
                    if (task := asyncio.current_task()) is not None and task.cancelling():
                        raise
                    self.refusals[socket.close_code] += 1
                    await asyncio.sleep(wait)
                    wait = min(wait * 2, LONGEST_WAIT)
                    continue
                self.sockets[number] = socket
                return self._complete(answer)

    def _complete(self, answer: bytes) -> bool:
        given = Knowledge()
        given.learn(inspect(answer))
        return given == self._known

    async def wait_until_cut_off(self, who: Sequence[int], *, within: float = 60.0) -> None:
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


async def come_in_waves(fleet: Fleet, count: int) -> tuple[dict[str, Wave], Verdict]:
    """`count` sockets over two processes: all come, one process is killed and its sockets go to the other, which is drained in turn."""
    here, there = fleet.nodes
    crowd = await Crowd.gather(fleet.nodes, count, libraries=20)
    everybody = list(range(count))
    waves = {"first": await crowd.come(everybody, fleet.nodes)}
    async with bystander(there, there) as beside:
        cut_off = crowd.at(here)
        here.kill9()
        await crowd.wait_until_cut_off(cut_off)
        waves["one process killed"] = await crowd.come(cut_off, [there])
        await here.again()
    assert crowd.seated == count, f"{crowd.seated} of {count} are connected"
    began = time.monotonic()
    stopping = asyncio.create_task(there.stop())
    await crowd.wait_until_cut_off(everybody)
    waves["the other one drained"] = await crowd.come(everybody, [here])
    await stopping
    await there.again()
    seconds = time.monotonic() - began
    assert crowd.seated == count, f"{crowd.seated} of {count} are connected"
    crowd.leave()
    short = sum(wave.short for wave in waves.values())
    return waves, Verdict(seen=sum(wave.sockets for wave in waves.values()), lost=short, recovery=seconds, bystander=beside.p99)
