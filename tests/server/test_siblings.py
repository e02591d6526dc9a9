"""A connection goes to the process that its library belongs to, or stays where it is; never is one lost."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, suppress
from typing import Any
from uuid import UUID, uuid4

import pytest

from server.siblings import HEAD_BYTES, SILENT_SECONDS, Siblings, Switchboard

EVEN, ODD = UUID(int=2 << 64), UUID(int=(2 << 64) + 1)  # of processes 1 and 2


def head_of(library: UUID | str) -> bytes:
    return f"GET /sync/{library} HTTP/1.1\r\nhost: here\r\n\r\n".encode()


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def inherited(orders: dict[str, Any]) -> dict[str, Any]:
    """What a process gets: descriptors of its own."""
    outboxes = {number: os.dup(descriptor) for number, descriptor in orders["outboxes"].items()}
    return {"inbox": os.dup(orders["inbox"]), "outboxes": outboxes, "pulses": os.dup(orders["pulses"])}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pair(clock: Clock) -> Iterator[tuple[Siblings, Siblings]]:
    with (
        closing(Switchboard(2)) as switchboard,
        closing(Siblings(1, inherited(switchboard.orders(1)), clock)) as first,
        closing(Siblings(2, inherited(switchboard.orders(2)), clock)) as second,
    ):
        yield first, second


class Served(asyncio.Protocol):
    """What a process does with a connection: it notes who came, and answers with its own name what it is sent."""

    def __init__(self, name: str, served: list[tuple[str, bytes]], handed: bytes = b"", siblings: Siblings | None = None) -> None:
        self._name, self._served, self._handed, self._siblings = name, served, handed, siblings

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._handed:
            self.data_received(self._handed)

    def data_received(self, data: bytes) -> None:
        siblings, self._siblings = self._siblings, None
        if siblings is not None and siblings.hand_on(data, self._transport):
            return
        self._served.append((self._name, data))
        self._transport.write(self._name.encode())


@asynccontextmanager
async def at_work(siblings: Siblings, protocol: Any) -> AsyncIterator[None]:
    task = asyncio.create_task(siblings.run(protocol))
    await asyncio.sleep(0)
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def door(first: Siblings, served: list[tuple[str, bytes]]) -> AsyncIterator[int]:
    """Process 1 listens."""
    loop = asyncio.get_running_loop()
    async with await loop.create_server(lambda: Served("first", served, siblings=first), "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]


async def ask(port: int, *parts: bytes) -> tuple[bytes, Any]:
    """Send a request in parts, each answered before the next, and what came back in all; and our address."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = b""
    for part in parts:
        writer.write(part)
        answers += await asyncio.wait_for(reader.read(100), 10)
    address = writer.get_extra_info("sockname")
    writer.close()
    return answers, address


async def test_a_connection_is_served_by_the_process_of_its_library_from_its_first_byte_on(pair: tuple[Siblings, Siblings]) -> None:
    first, second = pair
    served: list[tuple[str, bytes]] = []
    peers = []

    def taken_over(handed: bytes) -> Served:
        protocol = Served("second", served, handed)
        made = protocol.connection_made

        def connection_made(transport: asyncio.BaseTransport) -> None:
            peers.append(transport.get_extra_info("peername"))
            made(transport)

        protocol.connection_made = connection_made  # type: ignore[method-assign]
        return protocol

    async with at_work(second, taken_over), door(first, served) as port:
        answer, address = await ask(port, head_of(ODD), b"and on")
        assert answer == b"secondsecond"
        assert (await ask(port, head_of(EVEN)))[0] == b"first"
        assert (await ask(port, head_of(str(ODD).upper())))[0] == b"second"
    assert served == [("second", head_of(ODD)), ("second", b"and on"), ("first", head_of(EVEN)), ("second", head_of(str(ODD).upper()))]
    assert peers[0] == address, "limits count addresses"


@pytest.mark.parametrize(
    "head",
    [
        b"GET /healthz HTTP/1.1\r\n\r\n",
        b"POST /api/sync/" + str(ODD).encode() + b" HTTP/1.1\r\n\r\n",
        b"GET /sync/me HTTP/1.1\r\n\r\n",
        b"GET /sync/" + str(ODD).encode()[:20],
        b"GET /sync/" + str(ODD).encode().replace(b"-", b"0") + b" HTTP/1.1\r\n\r\n",
        b"GET /sync/" + str(ODD).encode() + b"0 HTTP/1.1\r\n\r\n",
        head_of(ODD) + b"x" * HEAD_BYTES,
        b"",
    ],
)
async def test_what_belongs_to_nobody_or_does_not_say_so_at_once_stays(pair: tuple[Siblings, Siblings], head: bytes) -> None:
    first, second = pair
    async with at_work(second, lambda handed: pytest.fail("it was handed on")):
        assert not first.hand_on(head, None)  # type: ignore[arg-type]  # it does not get so far


async def test_a_process_that_hangs_or_has_ended_is_handed_nothing(pair: tuple[Siblings, Siblings], clock: Clock) -> None:
    first, second = pair
    served: list[tuple[str, bytes]] = []
    async with door(first, served) as port:
        assert (await ask(port, head_of(ODD)))[0] == b"first", "it has not begun"
        async with at_work(second, lambda handed: Served("second", served, handed)):
            assert (await ask(port, head_of(ODD)))[0] == b"second"
            clock.now += SILENT_SECONDS
            assert (await ask(port, head_of(ODD)))[0] == b"first", "it hangs"
            clock.now -= SILENT_SECONDS
            assert (await ask(port, head_of(ODD)))[0] == b"second"
        assert (await ask(port, head_of(ODD)))[0] == b"first", "it has ended"


async def test_a_full_inbox_costs_no_connection(pair: tuple[Siblings, Siblings]) -> None:
    first, second = pair
    served: list[tuple[str, bytes]] = []
    async with at_work(second, lambda handed: Served("second", served, handed)):
        asyncio.get_running_loop().remove_reader(second._inbox)  # it lives, but does not get round to looking
        async with door(first, served) as port:
            asking = [asyncio.create_task(ask(port, head_of(ODD))) for _ in range(400)]
            _, waiting = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
            assert served[0][0] == "first", "past the bound it serves them itself"
            async with at_work(second, lambda handed: Served("second", served, handed)):
                answers = [answer for answer, _ in await asyncio.gather(*asking)]
    assert waiting
    assert len(answers) == 400
    assert set(answers) == {b"first", b"second"}


async def test_one_that_has_ended_on_the_way_is_no_trouble(pair: tuple[Siblings, Siblings]) -> None:
    first, second = pair
    served: list[tuple[str, bytes]] = []
    ours, theirs = socket.socketpair()
    socket.send_fds(first._outboxes[2], [head_of(ODD)], [theirs.fileno()])
    ours.close()
    theirs.close()
    async with at_work(second, lambda handed: Served("second", served, handed)), door(first, served) as port:
        assert (await ask(port, head_of(ODD)))[0] == b"second"


def test_libraries_are_spread_evenly() -> None:
    with closing(Switchboard(4)) as switchboard, closing(Siblings(3, inherited(switchboard.orders(3)))) as siblings:
        counts = [0] * 4
        for _ in range(4000):
            counts[siblings.owner(head_of(uuid4())) - 1] += 1
    assert min(counts) > 850
