"""Looking names up: in threads of its own, bounded, and never holding anything else up."""

import asyncio
import socket
from collections.abc import Sequence
from ipaddress import ip_address
from threading import Event

import pytest

from server.outgoing import resolver as resolver_module
from server.outgoing.resolver import MAX_LOOKUPS, Address, Resolver, system_lookup


async def test_the_system_resolves_what_is_in_its_hosts_file_and_addresses_to_themselves() -> None:
    resolve = Resolver()
    assert ip_address("127.0.0.1") in await resolve("localhost", 443)
    assert await resolve("127.0.0.2", 443) == [ip_address("127.0.0.2")]
    assert await resolve("::1", 443) == [ip_address("::1")]


@pytest.mark.parametrize("spelling", ["127.1", "2130706433", "0x7f.1", "0177.0.0.1", "①②⑦.0.0.1", "127。0。0。1"])
def test_it_reads_odd_spellings_as_addresses_which_is_why_they_are_checked_after_it(spelling: str) -> None:
    assert system_lookup(spelling, 443) == [ip_address("127.0.0.1")]


def test_an_address_that_comes_twice_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (text, 443)) for text in ("10.0.0.2", "10.0.0.1", "10.0.0.2")]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert system_lookup("a.example", 443) == [ip_address("10.0.0.2"), ip_address("10.0.0.1")]


@pytest.mark.parametrize("error", [socket.gaierror(-2, "unknown"), UnicodeError("label too long"), ValueError("embedded null")])
async def test_whatever_a_lookup_fails_with_is_one_error(error: Exception) -> None:
    def lookup(host: str, port: int) -> Sequence[Address]:
        raise error

    with pytest.raises(OSError):  # noqa: PT011  # of any kind
        await Resolver(lookup)("a.example", 443)


class Hanging:
    """A name server that answers once it is let go."""

    def __init__(self) -> None:
        self.let_go = Event()
        self.asked = 0

    def __call__(self, host: str, port: int) -> Sequence[Address]:
        self.asked += 1
        assert self.let_go.wait(30)
        return [ip_address("127.0.0.1")]


async def test_names_that_hang_hold_up_neither_other_threads_nor_the_loop_and_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver_module, "MAX_LOOKUPS", 5)
    server = Hanging()
    resolve = Resolver(server)
    waiting = [asyncio.create_task(resolve("a.example", 443)) for _ in range(5)]
    async with asyncio.timeout(10):
        while server.asked < 5:  # noqa: ASYNC110  # threads have no event of the loop's
            await asyncio.sleep(0.001)
        assert await asyncio.to_thread(lambda: "served") == "served"
        with pytest.raises(OSError, match="too many"):
            await resolve("a.example", 443)
        # who gives up does not free the thread that still waits
        waiting[0].cancel()
        await asyncio.wait([waiting[0]])
        with pytest.raises(OSError, match="too many"):
            await resolve("a.example", 443)
        server.let_go.set()
        assert await asyncio.gather(*waiting[1:]) == [[ip_address("127.0.0.1")]] * 4
        assert await _soon(resolve) == [ip_address("127.0.0.1")]


async def _soon(resolve: Resolver) -> Sequence[Address]:
    """The answer once there is room: the thread of whoever gave up ends by itself."""
    while True:
        try:
            return await resolve("a.example", 443)
        except OSError:
            await asyncio.sleep(0)


def test_there_is_room_for_what_some_users_may_have_hanging() -> None:
    assert MAX_LOOKUPS >= 64


def test_a_lookup_that_outlives_its_loop_is_forgotten() -> None:
    server = Hanging()

    async def ask() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await Resolver(server)("a.example", 443)

    asyncio.run(ask())
    server.let_go.set()  # the thread ends without an error, which pytest would tell of
